/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include <apr_pools.h>
#include <apr_strings.h>

#include "answers/column.h"
#include "answers/encode.h"
#include "suites.h"

#define COUNT(array) (sizeof(array) / sizeof(array[0]))

static apr_pool_t *pool;

static void set_up(void)
{
    apr_pool_create(&pool, NULL);
}

static void tear_down(void)
{
    apr_pool_destroy(pool);
}

static cp_value_t bytes(cp_storage_t storage, const char *data)
{
    return (cp_value_t){.storage = storage, .as.bytes = {data, strlen(data)}};
}

static cp_value_t text(const char *data)
{
    return bytes(CP_TEXT, data);
}

START_TEST(declared_types_are_known_by_their_name)
{
    static const struct {
        const char *declared;
        cp_column_t column;
    } cases[] = {
        {"BOOLEAN", CP_COLUMN_BOOLEAN}, {"bool", CP_COLUMN_BOOLEAN},
        {"Json", CP_COLUMN_JSON},       {"", CP_COLUMN_PLAIN},
        {"INTEGER", CP_COLUMN_PLAIN},   {"BOOLEANS", CP_COLUMN_PLAIN},
        {"JSONB", CP_COLUMN_PLAIN},     {NULL, CP_COLUMN_PLAIN},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        ck_assert_int_eq(cp_column_of(cases[i].declared), cases[i].column);
    }
}
END_TEST

/* What is written for the value; "as is", "misfit". */
static const char *encoded(cp_column_t column, int is_line, cp_value_t value)
{
    cp_buffer_t buf = {0};
    cp_column_fit_t fit = cp_column_encode(&buf, column, is_line, &value);
    const char *written = fit == CP_COLUMN_AS_IS    ? "as is"
                          : fit == CP_COLUMN_MISFIT ? "misfit"
                                                    : "";

    if (fit == CP_COLUMN_WRITTEN) {
        written = apr_pstrmemdup(pool, buf.data, buf.size);
    }
    else {
        ck_assert_uint_eq(buf.size, 0);
    }
    cp_buffer_free(&buf);
    return written;
}

START_TEST(json_is_kept_if_it_is_json)
{
    static const char *const kept[] = {
        "{}", "[1.50, 2]", " true ", "null", "\"\\u00e9\"", "1e400",
    };
    static const char *const wrong[] = {
        "", " ", "{", "{a:1}", "[1,]", "nan", "1 2", "\"\t\"", "\xff",
    };

    for (size_t i = 0; i < COUNT(kept); i++) {
        ck_assert_str_eq(encoded(CP_COLUMN_JSON, 0, text(kept[i])), kept[i]);
        ck_assert_str_eq(encoded(CP_COLUMN_JSON, 0, bytes(CP_BLOB, kept[i])),
                         kept[i]);
    }
    for (size_t i = 0; i < COUNT(wrong); i++) {
        ck_assert_str_eq(encoded(CP_COLUMN_JSON, 0, text(wrong[i])), "misfit");
    }
    ck_assert_str_eq(
        encoded(CP_COLUMN_JSON, 0, (cp_value_t){.storage = CP_INTEGER}),
        "as is");
    ck_assert_str_eq(
        encoded(CP_COLUMN_JSON, 0, (cp_value_t){.storage = CP_NULL}), "as is");
}
END_TEST

START_TEST(json_of_a_line_is_one_line)
{
    ck_assert_str_eq(encoded(CP_COLUMN_JSON, 0, text("[1,\r\n 2]\n")),
                     "[1,\r\n 2]\n");
    ck_assert_str_eq(encoded(CP_COLUMN_JSON, 1, text("[1,\r\n 2]\n")),
                     "[1,   2] ");
    ck_assert_str_eq(encoded(CP_COLUMN_JSON, 1, text("[\"a\\n\"]")),
                     "[\"a\\n\"]");
}
END_TEST

START_TEST(booleans_are_zero_and_one_or_their_names)
{
    static const struct {
        cp_value_t value;
        const char *written;
    } cases[] = {
        {{.storage = CP_INTEGER, .as.integer = 0}, "false"},
        {{.storage = CP_INTEGER, .as.integer = 1}, "true"},
        {{.storage = CP_INTEGER, .as.integer = 2}, "misfit"},
        {{.storage = CP_INTEGER, .as.integer = -1}, "misfit"},
        {{.storage = CP_REAL, .as.real = 0.0}, "false"},
        {{.storage = CP_REAL, .as.real = 1.0}, "true"},
        {{.storage = CP_REAL, .as.real = 0.5}, "misfit"},
        {{.storage = CP_TEXT, .as.bytes = {"TRUE", 4}}, "true"},
        {{.storage = CP_TEXT, .as.bytes = {"false", 5}}, "false"},
        {{.storage = CP_TEXT, .as.bytes = {"falsefalse", 6}}, "misfit"},
        {{.storage = CP_TEXT, .as.bytes = {"", 0}}, "misfit"},
        {{.storage = CP_BLOB, .as.bytes = {"true", 4}}, "misfit"},
        {{.storage = CP_NULL}, "as is"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        ck_assert_str_eq(encoded(CP_COLUMN_BOOLEAN, 0, cases[i].value),
                         cases[i].written);
    }
}
END_TEST

START_TEST(encoder_counts_what_does_not_fit)
{
    static const char *const names[] = {"a", "b", "c"};
    static const cp_column_t kinds[] = {CP_COLUMN_PLAIN, CP_COLUMN_JSON,
                                        CP_COLUMN_BOOLEAN};
    cp_value_t rows[2][3] = {
        {text("[1]"), text("[1]"), {.storage = CP_INTEGER, .as.integer = 1}},
        {text("x"), text("x"), {.storage = CP_INTEGER, .as.integer = 7}},
    };
    cp_encoder_t *enc = cp_encoder_create(pool, CP_FORMAT_ARRAYS, 3, names);
    cp_buffer_t buf = {0};
    int column = -1;

    cp_encoder_set_kinds(enc, kinds);
    cp_encode_begin(enc, &buf);
    cp_encode_row(enc, &buf, rows[0]);
    ck_assert_uint_eq(cp_encoder_misfits(enc, &column), 0);
    cp_encode_row(enc, &buf, rows[1]);
    cp_encode_end(enc, &buf);
    ck_assert_uint_eq(cp_encoder_misfits(enc, &column), 2);
    ck_assert_int_eq(column, 2);
    ck_assert_str_eq(apr_pstrmemdup(pool, buf.data, buf.size),
                     "[[\"[1]\",[1],true],[\"x\",\"x\",7]]");
    cp_buffer_free(&buf);
}
END_TEST

Suite *column_suite(void)
{
    Suite *s = suite_create("column");
    TCase *tc = tcase_create("column");

    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, declared_types_are_known_by_their_name);
    tcase_add_test(tc, json_is_kept_if_it_is_json);
    tcase_add_test(tc, json_of_a_line_is_one_line);
    tcase_add_test(tc, booleans_are_zero_and_one_or_their_names);
    tcase_add_test(tc, encoder_counts_what_does_not_fit);
    suite_add_tcase(s, tc);
    return s;
}
