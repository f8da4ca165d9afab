/* SPDX-License-Identifier: Apache-2.0 */
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <apr_base64.h>
#include <apr_pools.h>
#include <apr_strings.h>

#include "database/value.h"
#include "suites.h"

#define COUNT(array) (sizeof(array) / sizeof(array[0]))

static apr_pool_t *pool;

static void setup(void)
{
    apr_pool_create(&pool, NULL);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

/* From exact-size storage, so that reading past the end is seen by ASan. */
static const char *parse(const cp_param_spec_t *spec, const char *data,
                         size_t size, cp_value_t *value)
{
    char *copy = malloc(size ? size : 1);
    memcpy(copy, data, size);
    const char *reason = cp_value_parse(pool, spec, copy, size, value);
    if (!reason && value->storage == CP_TEXT) {
        value->as.bytes.data = data;
    }
    free(copy);
    return reason;
}

static const char *parse_as(cp_type_t type, const char *text, cp_value_t *value)
{
    cp_param_spec_t spec = {.name = "x", .type = type};
    return parse(&spec, text, strlen(text), value);
}

static cp_value_t text_value(const char *text)
{
    cp_value_t value = {.storage = CP_TEXT};
    value.as.bytes.data = text;
    value.as.bytes.size = strlen(text);
    return value;
}

static cp_value_t integer_value(apr_int64_t integer)
{
    cp_value_t value = {.storage = CP_INTEGER, .as = {.integer = integer}};
    return value;
}

static cp_value_t real_value(double real)
{
    cp_value_t value = {.storage = CP_REAL, .as = {.real = real}};
    return value;
}

START_TEST(integer_is_read_exactly)
{
    static const struct {
        const char *text;
        apr_int64_t value;
    } cases[] = {
        {"0", 0},
        {"-0", 0},
        {"42", 42},
        {"-42", -42},
        {"007", 7},
        {"9007199254740993", APR_INT64_C(9007199254740993)},
        {"9223372036854775807", APR_INT64_MAX},
        {"-9223372036854775808", APR_INT64_MIN},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        cp_value_t value;
        ck_assert_ptr_null(parse_as(CP_TYPE_INTEGER, cases[i].text, &value));
        ck_assert_int_eq(value.storage, CP_INTEGER);
        ck_assert_int_eq(value.as.integer, cases[i].value);
    }
}
END_TEST

START_TEST(real_is_read_as_the_nearest_double)
{
    static const struct {
        const char *text;
        double value;
    } cases[] = {
        {"0", 0.0},
        {"-0.0", -0.0},
        {"1", 1.0},
        {"1.5", 1.5},
        {"-2.25e2", -225.},
        {"1e3", 1000.0},
        {"1E+3", 1000.0},
        {"1e-3", 0.001},
        {"0.1", 0.1},
        {"1e-999", 0.0},
        {"1.7976931348623157e308", 1.7976931348623157e308},
        {"5e-324", 5e-324},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        cp_value_t value;
        ck_assert_ptr_null(parse_as(CP_TYPE_REAL, cases[i].text, &value));
        ck_assert_int_eq(value.storage, CP_REAL);
        ck_assert(value.as.real == cases[i].value);
        ck_assert_int_eq(!!signbit(value.as.real), !!signbit(cases[i].value));
    }
}
END_TEST

/* Texts that a lax parser would take for something of the type. */
START_TEST(no_type_takes_what_is_not_exactly_of_it)
{
    enum {
        I = 1,
        R = 2,
        B = 4,
        D = 8,
        S = 16,
        T = 32
    }; /* S: base64 */
    static const struct {
        const char *text;
        int accepted;
    } cases[] = {
        {"", T | S},
        {"1", I | R | B | T},
        {"0", I | R | B | T},
        {"2", I | R | T},
        {"-1", I | R | T},
        {"+1", T},
        {" 1", T},
        {"1 ", T},
        {"1\n", T},
        {"1e3", R | T},
        {"1E3", R | T},
        {"1e", T},
        {"1e+", T},
        {"e3", T},
        {"1.0", R | T},
        {"1.", T},
        {".5", T},
        {"-", T},
        {"--1", T},
        {"-.5", T},
        {"0x10", T | S},
        {"0X10", T | S},
        {"0b11", T | S},
        {"0o17", T | S},
        {"1_000", T},
        {"1,000", T},
        {"1,5", T},
        {"1.5.2", T},
        {"\xd9\xa3", T},     /* Arabic digit three */
        {"\xef\xbc\x91", T}, /* full-width one */
        {"\xe2\x88\x92"
         "1",
         T}, /* minus sign */
        {"\xc2\xa0"
         "1",
         T}, /* no-break space */
        {"NaN", T},
        {"nan", T},
        {"inf", T},
        {"Infinity", T | S},
        {"-inf", T},
        {"1e999", T},
        {"0x1p4", T},
        {"9223372036854775808", R | T},
        {"-9223372036854775809", R | T},
        {"18446744073709551616", R | T | S},
        {"99999999999999999999999999", R | T},
        {"true", B | T | S},
        {"false", B | T},
        {"TRUE", T | S},
        {"True", T | S},
        {"yes", T},
        {"on", B | T},
        {"off", B | T},
        {"On", T},
        {"t", T},
        {"01", I | R | T},
        {"null", T | S},
        {"NULL", T | S},
        {"undefined", T},
        {"[1]", T},
        {"{}", T},
        {"[object Object]", T},
        {"'1'", T},
        {"1;DROP", T},
        {"2024-02-29", D | T},
        {"2023-02-29", T},
        {"YQ==", T | S},
        {"YQ=", T},
        {"YQ", T},
        {"\xff", 0},
        {"\xc0\x80", 0},
        {"\xed\xa0\x80", 0},
        {"1\xff", 0},
    };
    static const struct {
        cp_type_t type;
        int bit;
    } types[] = {
        {CP_TYPE_INTEGER, I}, {CP_TYPE_REAL, R}, {CP_TYPE_BOOLEAN, B},
        {CP_TYPE_DATE, D},    {CP_TYPE_BLOB, S}, {CP_TYPE_TEXT, T},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (size_t j = 0; j < COUNT(types); j++) {
            cp_value_t value;
            const char *reason = parse_as(types[j].type, cases[i].text, &value);
            ck_assert_msg(
                (reason == NULL) == !!(cases[i].accepted & types[j].bit),
                "'%s' as %s: %s", cases[i].text, cp_type_names[types[j].type],
                reason ? reason : "accepted");
        }
    }
}
END_TEST

START_TEST(nul_byte_is_refused_by_every_type)
{
    static const char text[] = "1\0"
                               "1";
    for (int type = 0; type < CP_TYPES; type++) {
        cp_param_spec_t spec = {.name = "x", .type = (cp_type_t)type};
        cp_value_t value;
        for (size_t size = 2; size <= 3; size++) {
            ck_assert_msg(parse(&spec, text, size, &value) != NULL, "%s",
                          cp_type_names[type]);
        }
    }
}
END_TEST

START_TEST(real_does_not_depend_on_the_locale)
{
    cp_value_t value;
    /* Where no such locale is installed this still tests the C locale. */
    setlocale(LC_NUMERIC, "de_DE.UTF-8");
    ck_assert_ptr_null(parse_as(CP_TYPE_REAL, "1.5", &value));
    ck_assert(value.as.real == 1.5);
    ck_assert_ptr_nonnull(parse_as(CP_TYPE_REAL, "1,5", &value));
    setlocale(LC_NUMERIC, "C");
}
END_TEST

START_TEST(boolean_becomes_one_or_zero)
{
    static const struct {
        const char *text;
        int value;
    } cases[] = {{"true", 1},  {"1", 1}, {"on", 1},
                 {"false", 0}, {"0", 0}, {"off", 0}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        cp_value_t value;
        ck_assert_ptr_null(parse_as(CP_TYPE_BOOLEAN, cases[i].text, &value));
        ck_assert_int_eq(value.storage, CP_INTEGER);
        ck_assert_int_eq(value.as.integer, cases[i].value);
    }
}
END_TEST

START_TEST(date_that_exists_is_kept_as_it_came)
{
    static const char *const dates[] = {
        "2024-02-29",
        "2000-02-29",
        "0000-01-01",
        "9999-12-31",
        "2024-01-31T23:59:59Z",
        "2024-01-31T23:59",
        "2024-01-31 23:59",
        "2024-01-31 00:00:00.123",
        "2024-01-31T00:00:00.123456789Z",
        "2024-01-31T00:00Z",
        "2024-01-31T00:00:00+02:00",
        "2024-01-31T00:00:00-12:00",
        "2024-01-31 00:00+14:00",
    };
    for (size_t i = 0; i < COUNT(dates); i++) {
        cp_value_t value;
        const char *reason = parse_as(CP_TYPE_DATE, dates[i], &value);
        ck_assert_msg(!reason, "%s %s", dates[i], reason);
        ck_assert_int_eq(value.storage, CP_TEXT);
        ck_assert_uint_eq(value.as.bytes.size, strlen(dates[i]));
    }
}
END_TEST

START_TEST(date_that_does_not_exist_is_refused)
{
    static const char *const dates[] = {
        "",
        "now",
        "2024",
        "2024-01",
        "2024-1-1",
        "24-01-01",
        "2024-00-01",
        "2024-13-01",
        "2024-01-00",
        "2024-01-32",
        "2024-04-31",
        "2023-02-29",
        "1900-02-29",
        "2024-02-30",
        "2024/01/01",
        "20240101",
        "-2024-01-01",
        "12024-01-01",
        " 2024-01-01",
        "2024-01-01 ",
        "2024-01-01T",
        "2024-01-01Z",
        "2024-01-01T24:00",
        "2024-01-01T1:00",
        "2024-01-01T10",
        "2024-01-01T10:60",
        "2024-01-01T10:00:60",
        "2024-01-01T10:00:5",
        "2024-01-01T10:00:",
        "2024-01-01T10:00:00.",
        "2024-01-01T10:00.5",
        "2024-01-01T10:00:00,5",
        "2024-01-01T10:00:00.1234567890",
        "2024-01-01T10:00:00z",
        "2024-01-01t10:00:00Z",
        "2024-01-01  10:00",
        "2024-01-01T10:00:00+2",
        "2024-01-01T10:00:00+02",
        "2024-01-01T10:00:00+0200",
        "2024-01-01T10:00:00+15:00",
        "2024-01-01T10:00:00+02:60",
        "2024-01-01T10:00:00ZZ",
        "2024-01-01T10:00:00 Z",
        "2024-01-01T10:00:00\xe2\x88\x92"
        "01:00",
        "2024-01-01x10:00",
        "2024-W01-1",
    };
    for (size_t i = 0; i < COUNT(dates); i++) {
        cp_value_t value;
        const char *reason = parse_as(CP_TYPE_DATE, dates[i], &value);
        ck_assert_msg(reason != NULL, "accepted: %s", dates[i]);
        ck_assert_str_eq(reason, "is not a date (YYYY-MM-DD or RFC 3339)");
    }
}
END_TEST

START_TEST(date_range_compares_points_in_time)
{
    static const struct {
        const char *text, *min, *max;
        const char *reason;
    } cases[] = {
        {"2024-01-01", "2024-01-01", "2024-12-31", NULL},
        {"2024-12-31", "2024-01-01", "2024-12-31", NULL},
        {"2024-12-31T23:59:59Z", "2024-01-01", "2024-12-31", NULL},
        {"2025-01-01", "2024-01-01", "2024-12-31", "is after 2024-12-31"},
        {"2023-12-31", "2024-01-01", "2024-12-31", "is before 2024-01-01"},
        {"2024-12-31T23:00:00-02:00", NULL, "2024-12-31",
         "is after 2024-12-31"},
        {"2024-01-01T01:00:00+02:00", "2024-01-01", NULL,
         "is before 2024-01-01"},
        {"2024-02-29T12:00+00:30", "2024-02-29T11:30Z", "2024-02-29T11:30Z",
         NULL},
        {"2024-02-29T11:30:00.000000001Z", NULL, "2024-02-29T11:30Z",
         "is after 2024-02-29T11:30Z"},
        {"2024-03-01", "2024-02-29", NULL, NULL},
        {"2024-02-28", "2024-02-29", NULL, "is before 2024-02-29"},
        {"2000-03-01", NULL, "2000-02-29", "is after 2000-02-29"},
        {"0000-02-28", "0000-02-29", NULL, "is before 0000-02-29"},
        {"0000-03-01", NULL, "0000-02-29", "is after 0000-02-29"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        cp_param_spec_t spec = {.name = "d", .type = CP_TYPE_DATE};
        cp_value_t value;
        if (cases[i].min) {
            spec.has_min = 1;
            spec.min = text_value(cases[i].min);
        }
        if (cases[i].max) {
            spec.has_max = 1;
            spec.max = text_value(cases[i].max);
        }
        const char *reason = parse(&spec, cases[i].text, strlen(cases[i].text),
                                   &value);
        if (cases[i].reason) {
            ck_assert_msg(reason != NULL, "accepted: %s", cases[i].text);
            ck_assert_str_eq(reason, cases[i].reason);
        }
        else {
            ck_assert_msg(!reason, "%s %s", cases[i].text, reason);
        }
    }
}
END_TEST

START_TEST(numbers_are_held_to_their_range)
{
    cp_param_spec_t spec = {.name = "n", .type = CP_TYPE_INTEGER};
    cp_value_t value;
    spec.has_min = spec.has_max = 1;
    spec.min = integer_value(-5);
    spec.max = integer_value(10);
    ck_assert_ptr_null(parse(&spec, "-5", 2, &value));
    ck_assert_ptr_null(parse(&spec, "10", 2, &value));
    ck_assert_str_eq(parse(&spec, "-6", 2, &value), "is less than -5");
    ck_assert_str_eq(parse(&spec, "11", 2, &value), "is greater than 10");

    spec.type = CP_TYPE_REAL;
    ck_assert_ptr_null(parse(&spec, "10.0", 4, &value));
    ck_assert_str_eq(parse(&spec, "10.01", 5, &value), "is greater than 10");
    ck_assert_str_eq(parse(&spec, "1e999", 5, &value), "is too large a number");
    spec.min = real_value(0.5);
    ck_assert_ptr_null(parse(&spec, "0.5", 3, &value));
    ck_assert_str_eq(parse(&spec, "0.49", 4, &value), "is less than 0.5");
}
END_TEST

START_TEST(text_is_held_to_its_length_in_bytes)
{
    cp_param_spec_t spec = {.name = "t", .type = CP_TYPE_TEXT, .maxlen = 4};
    cp_value_t value;
    ck_assert_ptr_null(parse(&spec, "\xc3\xa4\xc3\xb6", 4, &value));
    ck_assert_uint_eq(value.as.bytes.size, 4);
    ck_assert_str_eq(parse(&spec, "abcde", 5, &value),
                     "is longer than 4 bytes");

    char *large = apr_palloc(pool, 65537);
    memset(large, 'a', 65537);
    spec.maxlen = 0; /* the default */
    ck_assert_ptr_null(parse(&spec, large, 65536, &value));
    ck_assert_str_eq(parse(&spec, large, 65537, &value),
                     "is longer than 65536 bytes");
}
END_TEST

START_TEST(text_names_what_is_wrong_with_it)
{
    cp_param_spec_t spec = {.name = "t", .type = CP_TYPE_TEXT};
    cp_value_t value;
    ck_assert_str_eq(parse(&spec, "a\0b", 3, &value), "contains a NUL byte");
    ck_assert_str_eq(parse(&spec, "a\xff", 2, &value), "is not valid UTF-8");
}
END_TEST

START_TEST(blob_survives_a_round_trip_of_every_length)
{
    unsigned seed = 1;
    for (int size = 0; size < 200; size++) {
        unsigned char bytes[200];
        char encoded[300];
        for (int i = 0; i < size; i++) {
            bytes[i] = (unsigned char)rand_r(&seed);
        }
        apr_base64_encode_binary(encoded, bytes, size);
        cp_value_t value;
        ck_assert_ptr_null(parse_as(CP_TYPE_BLOB, encoded, &value));
        ck_assert_int_eq(value.storage, CP_BLOB);
        ck_assert_uint_eq(value.as.bytes.size, (size_t)size);
        ck_assert_mem_eq(value.as.bytes.data, bytes, (size_t)size);
    }
}
END_TEST

START_TEST(blob_that_is_not_canonical_base64_is_refused)
{
    static const char *const texts[] = {
        "A",        "AA",       "AAA",     "AA=",    "A===",  "====",
        "=",        "==",       "AA=A",    "A=AA",   "=AAA",  "AAAA=",
        "AAAA====", "AB==",     "AAB=",    "AA A",   "AAA\n", "AA-_",
        "AA%3D",    "AA==AA==", "AAA\xc3", "YQ==\n",
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        cp_value_t value;
        ck_assert_msg(parse_as(CP_TYPE_BLOB, texts[i], &value) != NULL, "%s",
                      texts[i]);
    }
}
END_TEST

START_TEST(blob_is_held_to_its_decoded_length)
{
    cp_param_spec_t spec = {.name = "b", .type = CP_TYPE_BLOB, .maxlen = 3};
    cp_value_t value;
    ck_assert_ptr_null(parse(&spec, "AAAA", 4, &value));
    ck_assert_str_eq(parse(&spec, "AAAAAA==", 8, &value),
                     "is longer than 3 bytes");
}
END_TEST

START_TEST(typed_value_must_match_the_declared_type)
{
    const cp_value_t values[] = {
        {.storage = CP_INTEGER, .as = {.integer = 1}},
        {.storage = CP_REAL, .as = {.real = 1.5}},
        text_value("2024-01-01"),
        {.storage = CP_BLOB, .as = {.bytes = {"x", 1}}},
    };
    static const struct {
        cp_type_t type;
        int accepted[4]; /* integer, real, text, blob */
    } cases[] = {
        {CP_TYPE_INTEGER, {1, 0, 0, 0}}, {CP_TYPE_REAL, {1, 1, 0, 0}},
        {CP_TYPE_TEXT, {0, 0, 1, 0}},    {CP_TYPE_BOOLEAN, {1, 0, 0, 0}},
        {CP_TYPE_DATE, {0, 0, 1, 0}},    {CP_TYPE_BLOB, {0, 0, 0, 1}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        cp_param_spec_t spec = {.name = "x", .type = cases[i].type};
        for (size_t j = 0; j < COUNT(values); j++) {
            const char *reason = cp_value_in_range(pool, &spec, &values[j]);
            ck_assert_msg((reason == NULL) == cases[i].accepted[j],
                          "%s, value %zu: %s", cp_type_names[cases[i].type], j,
                          reason ? reason : "accepted");
        }
    }
    cp_param_spec_t spec = {.name = "x", .type = CP_TYPE_BOOLEAN};
    cp_value_t two = integer_value(2), nan_value = real_value(NAN);
    ck_assert_ptr_nonnull(cp_value_in_range(pool, &spec, &two));
    spec.type = CP_TYPE_REAL;
    ck_assert_ptr_nonnull(cp_value_in_range(pool, &spec, &nan_value));
}
END_TEST

START_TEST(null_is_refused_only_where_a_value_is_required)
{
    cp_value_t null = {.storage = CP_NULL};
    for (int type = 0; type < CP_TYPES; type++) {
        cp_param_spec_t spec = {.name = "x", .type = (cp_type_t)type};
        ck_assert_ptr_null(cp_value_in_range(pool, &spec, &null));
        spec.is_required = 1;
        ck_assert_ptr_nonnull(cp_value_in_range(pool, &spec, &null));
    }
}
END_TEST

Suite *value_suite(void)
{
    Suite *suite = suite_create("value");
    TCase *tc = tcase_create("value");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, integer_is_read_exactly);
    tcase_add_test(tc, real_is_read_as_the_nearest_double);
    tcase_add_test(tc, no_type_takes_what_is_not_exactly_of_it);
    tcase_add_test(tc, nul_byte_is_refused_by_every_type);
    tcase_add_test(tc, real_does_not_depend_on_the_locale);
    tcase_add_test(tc, boolean_becomes_one_or_zero);
    tcase_add_test(tc, date_that_exists_is_kept_as_it_came);
    tcase_add_test(tc, date_that_does_not_exist_is_refused);
    tcase_add_test(tc, date_range_compares_points_in_time);
    tcase_add_test(tc, numbers_are_held_to_their_range);
    tcase_add_test(tc, text_is_held_to_its_length_in_bytes);
    tcase_add_test(tc, text_names_what_is_wrong_with_it);
    tcase_add_test(tc, blob_survives_a_round_trip_of_every_length);
    tcase_add_test(tc, blob_that_is_not_canonical_base64_is_refused);
    tcase_add_test(tc, blob_is_held_to_its_decoded_length);
    tcase_add_test(tc, typed_value_must_match_the_declared_type);
    tcase_add_test(tc, null_is_refused_only_where_a_value_is_required);
    suite_add_tcase(suite, tc);
    return suite;
}
