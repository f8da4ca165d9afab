/* SPDX-License-Identifier: Apache-2.0 */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_base64.h>
#include <apr_pools.h>
#include <apr_strings.h>

#include "answers/encode.h"
#include "base/bytes/utf8.h"
#include "suites.h"

#define COUNT(array) (sizeof(array) / sizeof(array[0]))

static apr_pool_t *pool;
static cp_buffer_t out;

static void setup(void)
{
    apr_pool_create(&pool, NULL);
    memset(&out, 0, sizeof(out));
}

static void teardown(void)
{
    cp_buffer_free(&out);
    apr_pool_destroy(pool);
}

static const char *written(void)
{
    const char *text = apr_pstrmemdup(pool, out.data, out.size);
    out.size = 0;
    return text;
}

static cp_value_t bytes(cp_storage_t storage, const char *data, size_t size)
{
    cp_value_t value = {.storage = storage};
    value.as.bytes.data = data;
    value.as.bytes.size = size;
    return value;
}

static cp_value_t text(const char *data)
{
    return bytes(CP_TEXT, data, strlen(data));
}

static cp_value_t integer(apr_int64_t n)
{
    cp_value_t value = {.storage = CP_INTEGER, .as = {.integer = n}};
    return value;
}

static cp_value_t real(double d)
{
    cp_value_t value = {.storage = CP_REAL, .as = {.real = d}};
    return value;
}

static cp_value_t null(void)
{
    cp_value_t value = {.storage = CP_NULL};
    return value;
}

/* From exact-size storage, so that reading past the end is seen by ASan. */
static const char *json_string(const char *data, size_t size)
{
    char *copy = malloc(size ? size : 1);
    memcpy(copy, data, size);
    cp_encode_json_string(&out, copy, size);
    free(copy);
    return written();
}

/* rows * columns values, NULL names mean "a", "b", ... */
static const char *table(cp_format_t format, int columns, int rows,
                         const char *const *names, const cp_value_t *values)
{
    static const char *const letters[] = {"a", "b", "c", "d"};
    cp_encoder_t *enc = cp_encoder_create(pool, format, columns,
                                          names ? names : letters);
    cp_encode_begin(enc, &out);
    for (int i = 0; i < rows; i++) {
        cp_encode_row(enc, &out, values + i * columns);
    }
    cp_encode_end(enc, &out);
    return written();
}

static const char *json(cp_value_t value)
{
    return table(CP_FORMAT_VALUE, 1, 1, NULL, &value);
}

START_TEST(integer_is_written_exactly)
{
    unsigned seed = 1;
    apr_int64_t edges[] = {0,
                           1,
                           9,
                           10,
                           99,
                           100,
                           101,
                           999,
                           1000,
                           65535,
                           APR_INT64_MAX,
                           APR_INT64_MIN,
                           -1,
                           -10,
                           -100,
                           APR_INT64_C(9007199254740993)};
    for (size_t i = 0; i < COUNT(edges); i++) {
        ck_assert_str_eq(json(integer(edges[i])),
                         apr_psprintf(pool, "%" APR_INT64_T_FMT, edges[i]));
    }
    for (int i = 0; i < 20000; i++) {
        apr_uint64_t n = (apr_uint64_t)rand_r(&seed) << 62
                         ^ (apr_uint64_t)rand_r(&seed) << 31
                         ^ (apr_uint64_t)rand_r(&seed);
        apr_int64_t value = (apr_int64_t)(n >> rand_r(&seed) % 64);
        char expected[32];
        snprintf(expected, sizeof(expected), "%lld", (long long)value);
        ck_assert_str_eq(json(integer(value)), expected);
    }
}
END_TEST

START_TEST(real_is_written_with_the_shortest_digits)
{
    static const struct {
        double value;
        const char *expected;
    } cases[] = {
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {1.0, "1.0"},
        {-1.0, "-1.0"},
        {123.0, "123.0"},
        {0.1, "0.1"},
        {-0.1, "-0.1"},
        {0.5, "0.5"},
        {0.05, "0.05"},
        {1.05, "1.05"},
        {-12.34, "-12.34"},
        {0.3, "0.3"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1.0 / 3, "0.3333333333333333"},
        {2.0 / 3, "0.6666666666666666"},
        {52.520008, "52.520008"},
        {0.000001, "0.000001"},
        {1e-7, "1e-07"},
        {1e15, "1000000000000000.0"},
        {9007199254740991.0, "9007199254740991.0"},
        {9007199254740992.0, "9007199254740992.0"},
        {12345678901234568.0, "12345678901234568.0"},
        {1e16, "1e+16"},
        {1e22, "1e+22"},
        {1e23, "1e+23"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {2.2250738585072014e-308, "2.2250738585072014e-308"},
        {5e-324, "5e-324"},
        {99999999999.999, "99999999999.999"},
        {3.141592653589793, "3.141592653589793"},
        {NAN, "null"},
        {INFINITY, "null"},
        {-INFINITY, "null"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        ck_assert_str_eq(json(real(cases[i].value)), cases[i].expected);
    }
}
END_TEST

/* Reads back equal, looks real, and not with a digit less. */
static void check_real(double value)
{
    const char *shown = json(real(value));
    ck_assert_msg(strtod(shown, NULL) == value, "%.17g as %s", value, shown);
    ck_assert_msg(strpbrk(shown, ".e") != NULL, "%s", shown);
    int digits = 0, seen = 0, zeros = 0;
    for (const char *c = shown; *c && *c != 'e'; c++) {
        if (*c >= '0' && *c <= '9' && (seen || *c != '0')) {
            seen = 1;
            digits++;
            zeros = *c == '0' ? zeros + 1 : 0;
        }
    }
    digits -= zeros;
    if (digits > 1) {
        char shorter[400];
        snprintf(shorter, sizeof(shorter), "%.*g", digits - 1, value);
        ck_assert_msg(strtod(shorter, NULL) != value, "%s, though %s would do",
                      shown, shorter);
    }
}

START_TEST(real_reads_back_equal)
{
    unsigned seed = 2;
    for (int i = 0; i < 50000; i++) {
        apr_uint64_t bits = (apr_uint64_t)rand_r(&seed) << 62
                            ^ (apr_uint64_t)rand_r(&seed) << 31
                            ^ (apr_uint64_t)rand_r(&seed);
        double value;
        memcpy(&value, &bits, sizeof(value));
        if (isfinite(value)) {
            check_real(value);
        }
        /* Decimals of every length, and their neighbours. */
        double power = pow(10, rand_r(&seed) % 18);
        value = (double)(bits >> rand_r(&seed) % 64) / power;
        check_real(value);
        check_real(nextafter(value, INFINITY));
        check_real(-nextafter(value, 0));
    }
}
END_TEST

START_TEST(real_has_a_point_in_every_locale)
{
    /* Where no such locale is installed this still tests the C locale. */
    setlocale(LC_NUMERIC, "de_DE.UTF-8");
    const char *shown = json(real(1.0 / 3));
    setlocale(LC_NUMERIC, "C");
    ck_assert_str_eq(shown, "0.3333333333333333");
}
END_TEST

START_TEST(string_escapes_what_json_and_html_need)
{
    static const struct {
        const char *data;
        size_t size;
        const char *expected;
    } cases[] = {
        {"", 0, "\"\""},
        {"abc", 3, "\"abc\""},
        {"a\"b\\c/", 6, "\"a\\\"b\\\\c/\""},
        {"\b\f\n\r\t", 5, "\"\\b\\f\\n\\r\\t\""},
        {"\0\x01\x1f\x7f", 4, "\"\\u0000\\u0001\\u001f\x7f\""},
        {"</script>&'", 11, "\"\\u003c/script\\u003e&'\""},
        {"\xe2\x80\xa8\xe2\x80\xa9\xe2\x80\xaa", 9,
         "\"\\u2028\\u2029\xe2\x80\xaa\""},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9,
         "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        ck_assert_str_eq(json_string(cases[i].data, cases[i].size),
                         cases[i].expected);
    }
}
END_TEST

#define BAD "\xef\xbf\xbd"

START_TEST(string_replaces_each_ill_formed_part_once)
{
    static const struct {
        const char *data;
        const char *expected;
    } cases[] = {
        {"\xff", BAD},
        {"a\x80z", "a" BAD "z"},
        {"\xc3", BAD},
        {"\xc3(", BAD "("},
        {"\xe2\x82", BAD},
        {"\xe2\x82z", BAD "z"},
        {"\xf0\x9f\x98", BAD},
        {"\xf0\x9f\x98\xf0\x9f\x98\x80", BAD "\xf0\x9f\x98\x80"},
        {"\xc0\xaf", BAD BAD},
        {"\xe0\x80\xaf", BAD BAD BAD},
        {"\xed\xa0\x80", BAD BAD BAD},
        {"\xf4\x90\x80\x80", BAD BAD BAD BAD},
        {"\xe2\x80", BAD},
        {"abcdefgh\xff\"ijklmnop", "abcdefgh" BAD "\\\"ijklmnop"},
        /* the example of the Unicode standard, table 3-11 */
        {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf"
         "A",
         BAD BAD BAD BAD "A"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        ck_assert_str_eq(
            json_string(cases[i].data, strlen(cases[i].data)),
            apr_pstrcat(pool, "\"", cases[i].expected, "\"", NULL));
    }
}
END_TEST

/* Byte by byte, as a reader of RFC 8259 would write it. */
static void append_plainly(cp_buffer_t *buf, const char *data, size_t size)
{
    cp_buffer_append(buf, "\"", 1);
    for (size_t i = 0; i < size;) {
        int length = cp_utf8_next(data + i, size - i);
        unsigned char c = (unsigned char)data[i];
        const char *piece = apr_pstrmemdup(pool, data + i,
                                           length > 0 ? (size_t)length : 0);
        if (length < 0) {
            piece = BAD;
        }
        else if (!strcmp(piece, "\xe2\x80\xa8")) {
            piece = "\\u2028";
        }
        else if (!strcmp(piece, "\xe2\x80\xa9")) {
            piece = "\\u2029";
        }
        else if (c == '"' || c == '\\') {
            piece = apr_psprintf(pool, "\\%c", c);
        }
        else if (c != 0 && strchr("\b\f\n\r\t", c)) {
            piece = apr_psprintf(pool, "\\%c", "btnvfr"[c - '\b']);
        }
        else if (c < 0x20 || c == '<' || c == '>') {
            piece = apr_psprintf(pool, "\\u%04x", c);
        }
        cp_buffer_append(buf, piece, strlen(piece));
        i += (size_t)abs(length);
    }
    cp_buffer_append(buf, "\"", 1);
}

START_TEST(string_agrees_with_a_plain_encoder_on_random_bytes)
{
    static const char *const pieces[] = {
        "a",
        "bcdefghijk",
        "\"",
        "\\",
        "<",
        ">",
        "\n",
        "\x01",
        "\xc3\xa4",
        "\xe2\x80\xa8",
        "\xe2\x82\xac",
        "\xf0\x9f\x98\x80",
        "\xff",
        "\xe2\x80",
        "\xf0\x9f",
        " !#;=?[]",
        "\x7f",
        "\x80",
    };
    unsigned seed = 3;
    for (int round = 0; round < 5000; round++) {
        apr_pool_t *parent = pool;
        apr_pool_create(&pool, parent);
        cp_buffer_t in = {0}, expected = {0};
        for (int n = rand_r(&seed) % 20; n > 0; n--) {
            char any = (char)rand_r(&seed);
            const char *piece = pieces[(size_t)rand_r(&seed) % COUNT(pieces)];
            if (rand_r(&seed) % 4 == 0) {
                cp_buffer_append(&in, &any, 1);
            }
            cp_buffer_append(&in, piece, strlen(piece));
        }
        append_plainly(&expected, in.data, in.size);
        const char *shown = json_string(in.size ? in.data : "", in.size);
        ck_assert_uint_eq(strlen(shown), expected.size);
        ck_assert_mem_eq(shown, expected.data, expected.size);
        cp_buffer_free(&in);
        cp_buffer_free(&expected);
        apr_pool_destroy(pool);
        pool = parent;
    }
}
END_TEST

START_TEST(string_of_any_length_fits_when_every_byte_grows)
{
    char data[300];
    memset(data, '\x01', sizeof(data));
    for (size_t size = 0; size <= sizeof(data); size++) {
        cp_buffer_free(&out);
        ck_assert_uint_eq(strlen(json_string(data, size)), 6 * size + 2);
    }
    /* A long clean run behind escapes that filled the buffer. */
    for (size_t escapes = 600; escapes < 690; escapes++) {
        char mixed[1000];
        memset(mixed, 'x', sizeof(mixed));
        memset(mixed, '\x01', escapes);
        cp_buffer_free(&out);
        ck_assert_uint_eq(strlen(json_string(mixed, sizeof(mixed))),
                          sizeof(mixed) + 5 * escapes + 2);
    }
    size_t large = 100000;
    char *much = apr_palloc(pool, large);
    memset(much, '<', large);
    ck_assert_uint_eq(strlen(json_string(much, large)), 6 * large + 2);
}
END_TEST

START_TEST(blob_is_marked_base64)
{
    ck_assert_str_eq(json(bytes(CP_BLOB, NULL, 0)), "{\"$base64\":\"\"}");
    ck_assert_str_eq(json(bytes(CP_BLOB, "\0\xff", 2)),
                     "{\"$base64\":\"AP8=\"}");
    /* larger than one chunk of the encoder */
    size_t size = (3 << 20) + 5;
    char *data = apr_palloc(pool, size);
    for (size_t i = 0; i < size; i++) {
        data[i] = (char)(i * 7);
    }
    const char *shown = json(bytes(CP_BLOB, data, size));
    char *expected = apr_palloc(pool, size * 2);
    apr_base64_encode_binary(expected, (unsigned char *)data, (int)size);
    ck_assert_str_eq(
        shown, apr_pstrcat(pool, "{\"$base64\":\"", expected, "\"}", NULL));
}
END_TEST

START_TEST(every_format_writes_its_shape)
{
    const cp_value_t values[] = {integer(1), text("x"), null(), real(2.5)};
    static const struct {
        cp_format_t format;
        const char *expected[3]; /* of 0, 1 and 2 rows */
    } cases[] = {
        {CP_FORMAT_OBJECTS,
         {"[]", "[{\"a\":1,\"b\":\"x\"}]",
          "[{\"a\":1,\"b\":\"x\"},{\"a\":null,\"b\":2.5}]"}},
        {CP_FORMAT_ARRAYS, {"[]", "[[1,\"x\"]]", "[[1,\"x\"],[null,2.5]]"}},
        {CP_FORMAT_OBJECT,
         {"null", "{\"a\":1,\"b\":\"x\"}", "{\"a\":1,\"b\":\"x\"}"}},
        {CP_FORMAT_VALUE, {"null", "1", "1"}},
        {CP_FORMAT_NDJSON,
         {"", "{\"a\":1,\"b\":\"x\"}\n",
          "{\"a\":1,\"b\":\"x\"}\n{\"a\":null,\"b\":2.5}\n"}},
        {CP_FORMAT_CSV,
         {"a,b\r\n", "a,b\r\n1,x\r\n", "a,b\r\n1,x\r\n,2.5\r\n"}},
        {CP_FORMAT_JSON, {"null", "1", "1"}},
        {CP_FORMAT_RAW, {"", "1", "1"}},
    };
    ck_assert_uint_eq(COUNT(cases), CP_FORMATS);
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (int rows = 0; rows <= 2; rows++) {
            ck_assert_str_eq(table(cases[i].format, 2, rows, NULL, values),
                             cases[i].expected[rows]);
        }
    }
}
END_TEST

START_TEST(encoder_starts_anew_at_begin)
{
    static const char *const names[] = {"a"};
    const cp_value_t one = integer(1);
    cp_encoder_t *enc = cp_encoder_create(pool, CP_FORMAT_ARRAYS, 1, names);
    for (int i = 0; i < 2; i++) {
        cp_encode_begin(enc, &out);
        cp_encode_row(enc, &out, &one);
        cp_encode_end(enc, &out);
        ck_assert_str_eq(written(), "[[1]]");
    }
}
END_TEST

START_TEST(column_names_are_escaped_and_distinct)
{
    static const struct {
        const char *names[4];
        const char *expected;
    } cases[] = {
        {{"a", "a", "a", "b"}, "{\"a\":1,\"a_2\":2,\"a_3\":3,\"b\":4}\n"},
        {{"a", "a_2", "a", "a"}, "{\"a\":1,\"a_2\":2,\"a_3\":3,\"a_4\":4}\n"},
        {{"a", "a", "a_2", "a_2"},
         "{\"a\":1,\"a_3\":2,\"a_2\":3,\"a_2_2\":4}\n"},
        {{"count(*)", "\"<x>\"", "\xc3\xa4\xff", ""},
         "{\"count(*)\":1,\"\\\"\\u003cx\\u003e\\\"\":2,"
         "\"\xc3\xa4" BAD "\":3,\"\":4}\n"},
    };
    const cp_value_t values[] = {integer(1), integer(2), integer(3),
                                 integer(4)};
    for (size_t i = 0; i < COUNT(cases); i++) {
        ck_assert_str_eq(table(CP_FORMAT_NDJSON, 4, 1, cases[i].names, values),
                         cases[i].expected);
    }
}
END_TEST

START_TEST(csv_quotes_only_what_needs_it)
{
    static const struct {
        const char *data;
        const char *expected;
    } cases[] = {
        {"plain", "plain"},
        {"", "\"\""},
        {"a,b", "\"a,b\""},
        {"say \"hi\"", "\"say \"\"hi\"\"\""},
        {"\"\"\"", "\"\"\"\"\"\"\"\""},
        {"a\nb", "\"a\nb\""},
        {"a\rb", "\"a\rb\""},
        {" a", "\" a\""},
        {"a ", "\"a \""},
        {"a b", "a b"},
        {"it's <b>", "it's <b>"},
        {"\xc3\xa4\xff", "\xc3\xa4" BAD},
        {"\xff,\"", "\"" BAD ",\"\"\""},
    };
    static const char *const names[] = {"n"};
    for (size_t i = 0; i < COUNT(cases); i++) {
        cp_value_t value = text(cases[i].data);
        ck_assert_str_eq(
            table(CP_FORMAT_CSV, 1, 1, names, &value),
            apr_pstrcat(pool, "n\r\n", cases[i].expected, "\r\n", NULL));
    }
}
END_TEST

START_TEST(csv_shows_every_storage_as_plain_text)
{
    const cp_value_t values[] = {bytes(CP_BLOB, "\0\xff", 2), real(NAN),
                                 real(1), integer(-7)};
    static const char *const names[] = {"a,b", "c", "d", "d"};
    ck_assert_str_eq(table(CP_FORMAT_CSV, 4, 1, names, values),
                     "\"a,b\",c,d,d_2\r\nAP8=,,1.0,-7\r\n");
}
END_TEST

START_TEST(buffer_grows_and_keeps_what_it_holds)
{
    char expected[20000];
    for (size_t i = 0; i < sizeof(expected); i++) {
        expected[i] = (char)(i * 31);
        cp_buffer_append(&out, &expected[i], 1);
        ck_assert_uint_ge(out.capacity, out.size);
    }
    ck_assert_uint_eq(out.size, sizeof(expected));
    ck_assert_mem_eq(out.data, expected, sizeof(expected));
    cp_buffer_reserve(&out, 1000000);
    ck_assert_uint_ge(out.capacity, out.size + 1000000);
    ck_assert_mem_eq(out.data, expected, sizeof(expected));
    cp_buffer_free(&out);
    ck_assert_ptr_null(out.data);
    ck_assert_uint_eq(out.size + out.capacity, 0);
}
END_TEST

/* Whatever is written after that, in whatever way, touches nothing. */
START_TEST(buffer_that_may_fail_takes_nothing_more)
{
    static const char *const names[] = {"a", "b"};
    cp_buffer_t buf = CP_BUFFER_MAY_FAIL;
    cp_value_t row[2] = {{CP_TEXT, {.bytes = {"\x01\xff", 2}}},
                         {CP_BLOB, {.bytes = {"blob", 4}}}};
    apr_size_t all = ~(apr_size_t)0;

    cp_buffer_append(&buf, "kept", 4);
    ck_assert(!cp_buffer_reserve(&buf, all / 8));
    ck_assert(buf.has_failed && !buf.data && !buf.size && !buf.capacity);
    ck_assert(!cp_buffer_reserve(&buf, 1));
    ck_assert(!cp_buffer_reserve(&buf, all));
    for (int format = 0; format < CP_FORMATS; format++) {
        cp_encoder_t *enc = cp_encoder_create(pool, (cp_format_t)format, 2,
                                              names);
        cp_encode_begin(enc, &buf);
        cp_encode_row(enc, &buf, row);
        cp_encode_end(enc, &buf);
    }
    ck_assert(buf.has_failed && !buf.data && !buf.size);

    cp_buffer_free(&buf);
    cp_buffer_append(&buf, "again", 5);
    ck_assert(!buf.has_failed && buf.may_fail && buf.size == 5);
    out = cp_buffer_take(&buf);
    ck_assert(!buf.data && buf.may_fail && out.size == 5);
}
END_TEST

START_TEST(formats_have_names_and_content_types)
{
    static const char *const types[CP_FORMATS] = {
        "application/json",     "application/json",
        "application/json",     "application/json",
        "application/x-ndjson", "text/csv; charset=utf-8",
        "application/json",     "application/octet-stream",
    };
    for (int i = 0; i < CP_FORMATS; i++) {
        ck_assert_ptr_nonnull(cp_format_names[i]);
        ck_assert_str_eq(cp_format_content_type((cp_format_t)i), types[i]);
    }
    ck_assert_ptr_null(cp_format_names[CP_FORMATS]);
}
END_TEST

Suite *encode_suite(void)
{
    Suite *suite = suite_create("encode");
    TCase *tc = tcase_create("encode");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, integer_is_written_exactly);
    tcase_add_test(tc, real_is_written_with_the_shortest_digits);
    tcase_add_test(tc, real_reads_back_equal);
    tcase_add_test(tc, real_has_a_point_in_every_locale);
    tcase_add_test(tc, string_escapes_what_json_and_html_need);
    tcase_add_test(tc, string_replaces_each_ill_formed_part_once);
    tcase_add_test(tc, string_agrees_with_a_plain_encoder_on_random_bytes);
    tcase_add_test(tc, string_of_any_length_fits_when_every_byte_grows);
    tcase_add_test(tc, blob_is_marked_base64);
    tcase_add_test(tc, every_format_writes_its_shape);
    tcase_add_test(tc, encoder_starts_anew_at_begin);
    tcase_add_test(tc, column_names_are_escaped_and_distinct);
    tcase_add_test(tc, csv_quotes_only_what_needs_it);
    tcase_add_test(tc, csv_shows_every_storage_as_plain_text);
    tcase_add_test(tc, buffer_grows_and_keeps_what_it_holds);
    tcase_add_test(tc, buffer_that_may_fail_takes_nothing_more);
    tcase_add_test(tc, formats_have_names_and_content_types);
    suite_add_tcase(suite, tc);
    return suite;
}
