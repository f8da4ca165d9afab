/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include <apr_pools.h>
#include <apr_strings.h>

#include "base/number.h"
#include "suites.h"

#define MS   APR_TIME_C(1000)
#define SEC  APR_USEC_PER_SEC
#define HOUR (3600 * SEC)
#define KIB  APR_INT64_C(1024)

static apr_pool_t *pool;

static void setup(void)
{
    apr_pool_create(&pool, NULL);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

START_TEST(split_keeps_words_with_quotes_together)
{
    static const struct {
        const char *line;
        const char *words[5];
    } cases[] = {
        {"", {NULL}},
        {"  \t ", {NULL}},
        {"a b", {"a", "b"}},
        {"  a\t b  ", {"a", "b"}},
        {"\"a b\" c", {"a b", "c"}},
        {"'a b' c", {"a b", "c"}},
        {"match=\"a b\" x", {"match=a b", "x"}},
        {"a\"b\"c'd'", {"abcd"}},
        {"\"\" ''", {"", ""}},
        {"\"say \\\"hi\\\"\"", {"say \"hi\""}},
        {"'it\\'s'", {"it's"}},
        {"\"it's\"", {"it's"}},
        {"'a\\\\'", {"a\\"}},
        {"\"^\\d+$\"", {"^\\d+$"}},
        {"C:\\dir\\file x", {"C:\\dir\\file", "x"}},
        {"q db \"SELECT 'a''b'\" write=on",
         {"q", "db", "SELECT 'a''b'", "write=on"}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char **words;
        int count;
        ck_assert_ptr_null(
            cp_params_split(pool, cases[i].line, &words, &count));
        int expected = 0;
        for (; cases[i].words[expected]; expected++) {
            ck_assert_int_lt(expected, count);
            ck_assert_str_eq(words[expected], cases[i].words[expected]);
        }
        ck_assert_int_eq(count, expected);
        ck_assert_ptr_null(words[count]);
    }
}
END_TEST

START_TEST(split_refuses_an_open_quote)
{
    static const char *const lines[] = {"\"", "a 'b c", "a \"b\\\"",
                                        "x=\"y' z"};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        const char **words;
        int count;
        const char *error = cp_params_split(pool, lines[i], &words, &count);
        ck_assert_msg(error != NULL, "accepted: %s", lines[i]);
        ck_assert_ptr_nonnull(strstr(error, "not closed"));
    }
}
END_TEST

START_TEST(name_accepts_only_what_labels_can_carry)
{
    char exact[65], longer[66];
    memset(exact, 'a', 64);
    exact[64] = '\0';
    memset(longer, 'a', 65);
    longer[65] = '\0';
    const char *good[] = {"a", "_", "events", "My-pool_2.x", exact};
    const char *bad[] = {"",    "1a",       "-a",   ".a",    "a b",     "a/b",
                         "a\"", "\xc3\xa4", longer, "a\xff", "${NAME}", "a\n"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ck_assert_ptr_null(cp_params_name(pool, good[i]));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(cp_params_name(pool, bad[i]) != NULL, "%s", bad[i]);
    }
}
END_TEST

START_TEST(int_accepts_decimals_in_range)
{
    static const struct {
        const char *word;
        apr_int64_t min, max, value;
    } cases[] = {
        {"1", 1, 10000, 1},
        {"10000", 1, 10000, 10000},
        {"007", 1, 10000, 7},
        {"-5", -5, 5, -5},
        {"-0", 0, 5, 0},
        {"9223372036854775807", 0, APR_INT64_MAX, APR_INT64_MAX},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        apr_int64_t value = 42;
        ck_assert_ptr_null(cp_params_int(pool, cases[i].word, cases[i].min,
                                         cases[i].max, &value));
        ck_assert_int_eq(value, cases[i].value);
    }
}
END_TEST

/* Zero, negative, powers of two, units, exponents. */
START_TEST(int_refuses_everything_else_and_says_the_range)
{
    static const char *const words[] = {
        "",
        "0",
        "-1",
        "10001",
        "+1",
        " 1",
        "1 ",
        "1e3",
        "0x10",
        "10k",
        "5ms",
        "--1",
        "-",
        "1.0",
        "true",
        "2147483648",
        "NaN",
        "1,000",
        "4294967297",
        "9223372036854775808",
        "\xd9\xa3",
        "1\n",
        "18446744073709551617",
        "99999999999999999999999999999999999999999999"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        apr_int64_t value = 42;
        const char *error = cp_params_int(pool, words[i], 1, 10000, &value);
        ck_assert_msg(error != NULL, "accepted: %s", words[i]);
        ck_assert_str_eq(error,
                         apr_psprintf(pool,
                                      "'%s' is not a whole number from 1 "
                                      "to 10000",
                                      words[i]));
        ck_assert_int_eq(value, 42);
    }
}
END_TEST

START_TEST(duration_reads_every_unit)
{
    static const struct {
        const char *word;
        apr_interval_time_t value;
    } cases[] = {
        {"0", 0},        {"2", 2 * SEC},       {"250ms", 250 * MS},
        {"2s", 2 * SEC}, {"10min", 600 * SEC}, {"1h", HOUR},
        {"1H", HOUR},    {"5MS", 5 * MS},      {"60min", HOUR},
        {"0ms", 0},      {"0005s", 5 * SEC},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        apr_interval_time_t value = 42;
        const char *error = cp_params_duration(pool, cases[i].word, 0, HOUR,
                                               &value);
        ck_assert_msg(error == NULL, "%s", error);
        ck_assert_int_eq(value, cases[i].value);
    }
}
END_TEST

START_TEST(duration_refuses_bad_units_ranges_and_overflow)
{
    static const char *const words[] = {"",
                                        "5x",
                                        "s",
                                        "-1s",
                                        "1.5s",
                                        "1 s",
                                        "1s ",
                                        "us",
                                        "5us",
                                        "5m",
                                        "0",
                                        "61min",
                                        "2h",
                                        "1e3",
                                        "0x5",
                                        "1ss",
                                        "999999999999h",
                                        "99999999999h",
                                        "9223372036854775807",
                                        "9223372036854775808ms",
                                        "2562047789h"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        apr_interval_time_t value = 42;
        const char *error = cp_params_duration(pool, words[i], MS, HOUR,
                                               &value);
        ck_assert_msg(error != NULL, "accepted: %s", words[i]);
        ck_assert_str_eq(error, apr_psprintf(pool,
                                             "'%s' is not a duration from 1ms "
                                             "to 1h (units ms, s, min, h)",
                                             words[i]));
        ck_assert_int_eq(value, 42);
    }
}
END_TEST

START_TEST(size_reads_every_unit)
{
    static const struct {
        const char *word;
        apr_int64_t value;
    } cases[] = {
        {"0", 0},
        {"12", 12},
        {"512K", 512 * KIB},
        {"512k", 512 * KIB},
        {"8M", 8 * KIB * KIB},
        {"1G", KIB * KIB * KIB},
        {"8589934591G", APR_INT64_C(8589934591) * KIB * KIB * KIB},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        apr_int64_t value = 42;
        ck_assert_ptr_null(
            cp_params_size(pool, cases[i].word, 0, APR_INT64_MAX, &value));
        ck_assert_int_eq(value, cases[i].value);
    }
}
END_TEST

START_TEST(size_refuses_bad_units_ranges_and_overflow)
{
    static const char *const words[] = {"",
                                        "12Q",
                                        "K",
                                        "-1K",
                                        "1.5M",
                                        "1 M",
                                        "1KB",
                                        "63K",
                                        "2G",
                                        "0",
                                        "1T",
                                        "0x1M",
                                        "8589934592G",
                                        "9223372036854775808",
                                        "18446744073709551616K"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        apr_int64_t value = 42;
        const char *error = cp_params_size(pool, words[i], 64 * KIB,
                                           KIB * KIB * KIB, &value);
        ck_assert_msg(error != NULL, "accepted: %s", words[i]);
        ck_assert_str_eq(error, apr_psprintf(pool,
                                             "'%s' is not a size from 64K to "
                                             "1G (units K, M, G)",
                                             words[i]));
        ck_assert_int_eq(value, 42);
    }
}
END_TEST

START_TEST(flag_takes_more_words_from_the_environment)
{
    static const struct {
        const char *word;
        int directive, environment; /* -1: refused */
    } cases[] = {
        {"on", 1, 1},     {"On", 1, 1},        {"OFF", 0, 0},   {"true", -1, 1},
        {"False", -1, 0}, {"1", -1, 1},        {"0", -1, 0},    {"YES", -1, 1},
        {"no", -1, 0},    {"", -1, -1},        {"onn", -1, -1}, {"2", -1, -1},
        {" on", -1, -1},  {"enabled", -1, -1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int is_environment = 0; is_environment < 2; is_environment++) {
            int value = -1;
            const char *error = cp_params_flag(pool, cases[i].word,
                                               is_environment, &value);
            ck_assert_int_eq(value, is_environment ? cases[i].environment
                                                   : cases[i].directive);
            ck_assert_int_eq(error != NULL, value == -1);
        }
    }
    int value;
    ck_assert_str_eq(cp_params_flag(pool, "x", 0, &value),
                     "'x' is not on or off");
}
END_TEST

START_TEST(choice_finds_a_word_in_any_case_or_lists_all)
{
    static const char *const choices[] = {"direct", "reject", NULL};
    int place = -1;
    ck_assert_ptr_null(cp_params_choice(pool, "REJECT", choices, &place));
    ck_assert_int_eq(place, 1);
    ck_assert_str_eq(cp_params_choice(pool, "rejected", choices, &place),
                     "'rejected' is not one of direct, reject");
    ck_assert_int_eq(place, 1);
}
END_TEST

START_TEST(option_splits_at_the_first_equals_sign)
{
    const char *key, *value;
    ck_assert_ptr_null(cp_params_option(pool, "Max-Rows=a=b", &key, &value));
    ck_assert_str_eq(key, "max-rows");
    ck_assert_str_eq(value, "a=b");
    ck_assert_ptr_null(cp_params_option(pool, "k=", &key, &value));
    ck_assert_str_eq(value, "");
    ck_assert_str_eq(cp_params_option(pool, "max", &key, &value),
                     "'max' is not of the form key=value");
    ck_assert_ptr_nonnull(cp_params_option(pool, "=5", &key, &value));
    ck_assert_ptr_nonnull(cp_params_option(pool, "", &key, &value));
}
END_TEST

START_TEST(long_value_is_cut_in_the_sentence)
{
    char word[5000];
    memset(word, '9', sizeof(word) - 1);
    word[sizeof(word) - 1] = '\0';
    apr_int64_t value;
    const char *error = cp_params_int(pool, word, 1, 5, &value);
    ck_assert_uint_lt(strlen(error), 200);
    ck_assert_ptr_nonnull(strstr(error, "9...' is not"));
}
END_TEST

/* As it stands in the sentence that tells the range. */
static const char *shown_duration(apr_interval_time_t value)
{
    static const char before[] = "a duration from ";
    apr_interval_time_t ignored;
    const char *at = strstr(
        cp_params_duration(pool, "no", value, value, &ignored), before);

    ck_assert_ptr_nonnull(at);
    at += strlen(before);
    return apr_pstrmemdup(pool, at, strcspn(at, " "));
}

START_TEST(durations_and_sizes_are_shown_as_they_are_written)
{
    static const struct {
        apr_interval_time_t value;
        const char *shown;
    } durations[] = {
        {0, "0s"},           {MS, "1ms"},
        {250 * MS, "250ms"}, {SEC, "1s"},
        {30 * SEC, "30s"},   {1500 * MS, "1500ms"},
        {120 * SEC, "2min"}, {90 * SEC, "90s"},
        {HOUR, "1h"},        {90 * 60 * SEC, "90min"},
        {1500, "1500us"},
    };
    static const struct {
        apr_int64_t value;
        const char *shown;
    } sizes[] = {
        {0, "0"},
        {1, "1"},
        {1000, "1000"},
        {512 * KIB, "512K"},
        {8 * KIB * KIB, "8M"},
        {1536 * KIB, "1536K"},
        {KIB * KIB * KIB, "1G"},
        {APR_INT64_MAX, "9223372036854775807"},
    };
    for (size_t i = 0; i < sizeof(durations) / sizeof(durations[0]); i++) {
        ck_assert_str_eq(shown_duration(durations[i].value),
                         durations[i].shown);
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        ck_assert_str_eq(cp_params_show_size(pool, sizes[i].value),
                         sizes[i].shown);
    }
}
END_TEST

START_TEST(rates_have_a_unit)
{
    static const struct {
        const char *word;
        int count;
        apr_interval_time_t period;
    } good[] = {
        {"20/s", 20, apr_time_from_sec(1)},
        {"1/MIN", 1, apr_time_from_sec(60)},
        {"1000000/h", 1000000, apr_time_from_sec(3600)},
    };
    static const char *const bad[] = {
        "", "20", "20/", "/s", "0/s", "-1/s", "1.5/s", "1000001/s", "20/d"};
    int count;
    apr_interval_time_t period;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ck_assert_ptr_null(cp_params_rate(pool, good[i].word, &count, &period));
        ck_assert_int_eq(count, good[i].count);
        ck_assert_int_eq(period, good[i].period);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *error = cp_params_rate(pool, bad[i], &count, &period);

        ck_assert_ptr_nonnull(error);
        ck_assert_ptr_nonnull(strstr(error, "is not a rate"));
    }
}
END_TEST

Suite *number_suite(void)
{
    Suite *suite = suite_create("number");
    TCase *tc = tcase_create("number");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, split_keeps_words_with_quotes_together);
    tcase_add_test(tc, rates_have_a_unit);
    tcase_add_test(tc, split_refuses_an_open_quote);
    tcase_add_test(tc, name_accepts_only_what_labels_can_carry);
    tcase_add_test(tc, int_accepts_decimals_in_range);
    tcase_add_test(tc, int_refuses_everything_else_and_says_the_range);
    tcase_add_test(tc, duration_reads_every_unit);
    tcase_add_test(tc, duration_refuses_bad_units_ranges_and_overflow);
    tcase_add_test(tc, size_reads_every_unit);
    tcase_add_test(tc, size_refuses_bad_units_ranges_and_overflow);
    tcase_add_test(tc, flag_takes_more_words_from_the_environment);
    tcase_add_test(tc, choice_finds_a_word_in_any_case_or_lists_all);
    tcase_add_test(tc, option_splits_at_the_first_equals_sign);
    tcase_add_test(tc, long_value_is_cut_in_the_sentence);
    tcase_add_test(tc, durations_and_sizes_are_shown_as_they_are_written);
    suite_add_tcase(suite, tc);
    return suite;
}
