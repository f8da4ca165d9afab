/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "answers/json.h"
#include "suites.h"

static int is_valid(const char *text)
{
    return cp_json_is_valid(text, strlen(text));
}

static const char *const valid[] = {
    "0",
    "-0",
    "1.5e+3",
    "-12E-7",
    "true",
    "false",
    " null\r\n\t",
    "\"\"",
    "\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"",
    "\"\\ud83d\\uDE00\"",
    "\"\xc3\xa9\"",
    "[]",
    "{}",
    "[ 1 , [ ] , { } ]",
    "{\"a\":1,\"b\":[{\"c\":null}]}",
    "{ \"a\" : { } }",
};

static const char *const invalid[] = {
    "",
    " ",
    "01",
    "1.",
    ".5",
    "+1",
    "-",
    "1e",
    "1e+",
    "0x1",
    "NaN",
    "tru",
    "truex",
    "nul",
    "'a'",
    "\"a",
    "\"\\x\"",
    "\"\\u12\"",
    "\"\\u12g4\"",
    "\"\\",
    "\"\\ud800\"",
    "\"\\ud800\\n\"",
    "\"\\ud800\\u0041\"",
    "\"\\udc00\"",
    "\"\n\"",
    "\"\xff\"",
    "\"\xed\xa0\x80\"",
    "\xef\xbb\xbf{}",
    "[",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[1 2]",
    "]",
    "[}",
    "{",
    "{\"a\"",
    "{\"a\":",
    "{\"a\":1",
    "{\"a\":1,}",
    "{\"a\" 1}",
    "{a:1}",
    "{1:1}",
    "{\"a\":1]",
    "1 2",
    "{}{}",
    "// no\n1",
};

START_TEST(json_is_told)
{
    ck_assert_msg(is_valid(valid[_i]), "%s", valid[_i]);
}
END_TEST

START_TEST(what_is_not_json_is_told)
{
    ck_assert_msg(!is_valid(invalid[_i]), "%s", invalid[_i]);
}
END_TEST

/* Each beginning of a text is read to its end and no further: memory checkers
 * see it, for the copy is as short as the text. */
START_TEST(beginnings_are_not_json)
{
    static const char text[] = "{\"a\":[1.5e3,\"\\ud83d\\ude00\",true,null]}";

    for (size_t size = 0; size < sizeof(text) - 1; size++) {
        char *copy = malloc(size + 1);

        memcpy(copy, text, size);
        copy = realloc(copy, size ? size : 1);
        ck_assert(!cp_json_is_valid(copy, size));
        free(copy);
    }
    ck_assert(is_valid(text));
}
END_TEST

START_TEST(a_nul_is_not_json)
{
    ck_assert(!cp_json_is_valid("1\0", 2));
    ck_assert(!cp_json_is_valid("\"a\0b\"", 5));
}
END_TEST

START_TEST(depth_is_bounded)
{
    char text[2 * CP_JSON_DEPTH_MAX + 3];

    memset(text, '[', CP_JSON_DEPTH_MAX);
    memset(text + CP_JSON_DEPTH_MAX, ']', CP_JSON_DEPTH_MAX);
    ck_assert(cp_json_is_valid(text, (size_t)2 * CP_JSON_DEPTH_MAX));
    memset(text, '[', CP_JSON_DEPTH_MAX + 1);
    memset(text + CP_JSON_DEPTH_MAX + 1, ']', CP_JSON_DEPTH_MAX + 1);
    ck_assert(!cp_json_is_valid(text, (size_t)2 * CP_JSON_DEPTH_MAX + 2));
    /* Side by side is no depth. */
    ck_assert(is_valid("[[],[],[[]],{\"a\":[]}]"));
}
END_TEST

Suite *json_suite(void)
{
    Suite *suite = suite_create("json");
    TCase *tc = tcase_create("json");

    tcase_add_loop_test(tc, json_is_told, 0, sizeof(valid) / sizeof(valid[0]));
    tcase_add_loop_test(tc, what_is_not_json_is_told, 0,
                        sizeof(invalid) / sizeof(invalid[0]));
    tcase_add_test(tc, beginnings_are_not_json);
    tcase_add_test(tc, a_nul_is_not_json);
    tcase_add_test(tc, depth_is_bounded);
    suite_add_tcase(suite, tc);
    return suite;
}
