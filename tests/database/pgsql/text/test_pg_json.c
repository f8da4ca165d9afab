/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/bytes/buffer.h"
#include "database/pgsql/text/json.h"
#include "suites.h"

#define COUNT(array) (sizeof(array) / sizeof(array[0]))

START_TEST(pg_json_has_a_form_for_each_type)
{
    static const struct {
        unsigned oid;
        const char *text;
        cp_storage_t storage;
        const char *value;
    } cases[] = {
        {1700, "123456789012345678901234567890.10", CP_JSON,
         "123456789012345678901234567890.10"},
        {1700, "NaN", CP_NULL, NULL},
        {1700, "-0.5", CP_JSON, "-0.5"},
        {701, "1e+20", CP_JSON, "1e+20"},
        {701, "-Infinity", CP_NULL, NULL},
        {700, "100", CP_JSON, "100"},
        {16, "t", CP_JSON, "true"},
        {16, "f", CP_JSON, "false"},
        {17, "\\x00ff41", CP_BLOB, "\0\377A"},
        {17, "a\\\\b\\000", CP_BLOB, "a\\b"},
        {1082, "2026-01-31", CP_TEXT, "2026-01-31"},
        {1082, "0044-03-15 BC", CP_TEXT, "0044-03-15 BC"},
        {1114, "2026-01-31 10:00:00.25", CP_TEXT, "2026-01-31T10:00:00.25"},
        {1184, "2026-01-31 10:00:00+02", CP_TEXT, "2026-01-31T10:00:00+02:00"},
        {1184, "2026-01-31 10:00:00-05:30", CP_TEXT,
         "2026-01-31T10:00:00-05:30"},
        {1184, "infinity", CP_TEXT, "infinity"},
        {1184, "0044-03-15 10:00:00+00 BC", CP_TEXT,
         "0044-03-15 10:00:00+00 BC"},
        {114, "{\"a\":\n 1}", CP_JSON, "{\"a\":  1}"},
        {3802, "{\"a\": [1, null]}", CP_JSON, "{\"a\": [1, null]}"},
        {3802, "\"\xff\"", CP_TEXT, "\"\xff\""},
        {25, "{not an array", CP_TEXT, "{not an array"},
        {2950, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", CP_TEXT,
         "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
        {1007, "{1,NULL,-3}", CP_JSON, "[1,null,-3]"},
        {1007, "{}", CP_JSON, "[]"},
        {1007, "[0:1]={1,2}", CP_JSON, "[1,2]"},
        {1007, "{{1,2},{3,4}}", CP_JSON, "[[1,2],[3,4]]"},
        {1022, "{1.5,NaN}", CP_JSON, "[1.5,null]"},
        {1000, "{t,f,NULL}", CP_JSON, "[true,false,null]"},
        {1009, "{a,\"b, c\",\"say \\\"hi\\\"\",\"\",\"NULL\",NULL}", CP_JSON,
         "[\"a\",\"b, c\",\"say \\\"hi\\\"\",\"\",\"NULL\",null]"},
        {1009, "{\"a\\\\b\",\"<x>\"}", CP_JSON,
         "[\"a\\\\b\",\"\\u003cx\\u003e\"]"},
        {1185, "{\"2026-01-31 10:00:00+00\"}", CP_JSON,
         "[\"2026-01-31T10:00:00+00:00\"]"},
        {3807, "{\"{\\\"a\\\": 1}\"}", CP_JSON, "[{\"a\": 1}]"},
        {1001, "{\"\\\\x414243\",\"\\\\x41\"}", CP_JSON,
         "[{\"$base64\":\"QUJD\"},{\"$base64\":\"QQ==\"}]"},
        {1009, "not an array", CP_TEXT, "not an array"},
        {1009, "{unclosed", CP_TEXT, "{unclosed"},
        {1009, "{a}b", CP_TEXT, "{a}b"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        cp_buffer_t scratch = {0};
        cp_value_t value;
        const char *data;

        cp_buffer_append(&scratch, "before", 6);
        data = cp_pg_decode(cases[i].oid, cases[i].text, strlen(cases[i].text),
                            &scratch, &value)
                   ? scratch.data + 6
                   : value.as.bytes.data;
        ck_assert_msg(value.storage == cases[i].storage, "%s: storage %d",
                      cases[i].text, value.storage);
        if (cases[i].value) {
            ck_assert_msg(
                memcmp(data, cases[i].value, value.as.bytes.size) == 0
                    && (value.storage == CP_BLOB
                        || strlen(cases[i].value) == value.as.bytes.size),
                "%s: %.*s", cases[i].text, (int)value.as.bytes.size, data);
        }
        cp_buffer_free(&scratch);
    }
}
END_TEST

START_TEST(pg_json_has_exact_integers)
{
    static const struct {
        const char *text;
        apr_int64_t value;
    } cases[] = {{"0", 0},
                 {"-1", -1},
                 {"9223372036854775807", APR_INT64_MAX},
                 {"-9223372036854775808", APR_INT64_MIN}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        cp_buffer_t scratch = {0};
        cp_value_t value;

        cp_pg_decode(20, cases[i].text, strlen(cases[i].text), &scratch,
                     &value);
        ck_assert_int_eq(value.storage, CP_INTEGER);
        ck_assert(value.as.integer == cases[i].value);
    }
}
END_TEST

Suite *pg_json_suite(void)
{
    Suite *suite = suite_create("pg_json");
    TCase *tcase = tcase_create("json");

    tcase_add_test(tcase, pg_json_has_a_form_for_each_type);
    tcase_add_test(tcase, pg_json_has_exact_integers);
    suite_add_tcase(suite, tcase);
    return suite;
}
