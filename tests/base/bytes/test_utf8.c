/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/bytes/utf8.h"
#include "suites.h"

/* Encodes every code point that exists, and the ranges that must not pass. */
START_TEST(utf8_is_valid_for_exactly_the_scalar_values)
{
    for (unsigned c = 0; c < 0x120000; c++) {
        char s[4];
        size_t size;
        if (c < 0x80) {
            s[0] = (char)c;
            size = 1;
        }
        else if (c < 0x800) {
            s[0] = (char)(0xc0 | c >> 6);
            size = 2;
        }
        else if (c < 0x10000) {
            s[0] = (char)(0xe0 | c >> 12);
            size = 3;
        }
        else {
            s[0] = (char)(0xf0 | c >> 18);
            size = 4;
        }
        for (size_t i = 1; i < size; i++) {
            s[i] = (char)(0x80 | (c >> (6 * (size - 1 - i)) & 0x3f));
        }
        int is_scalar = c < 0x110000 && (c < 0xd800 || c > 0xdfff);
        if (cp_utf8_is_valid(s, size) != is_scalar
            || (size > 1 && cp_utf8_is_valid(s, size - 1))) {
            ck_abort_msg("U+%04X", c);
        }
    }
}
END_TEST

START_TEST(utf8_that_is_overlong_cut_or_stray_is_invalid)
{
    static const char *const bad[] = {
        "\x80",
        "\xbf",
        "\xc0\xaf",
        "\xc1\xbf",
        "\xe0\x80\xaf",
        "\xe0\x9f\xbf",
        "\xf0\x80\x80\xaf",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xfe",
        "\xff",
        "\xc3",
        "\xe2\x82",
        "\xf0\x9f\x98",
        "\xc3(",
        "abcdefgh\xff",
        "abcdefg\xc3",
        "abcdefghijklmno\xe2\x82",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(!cp_utf8_is_valid(bad[i], strlen(bad[i])), "case %zu", i);
    }
    static const char good[] = "abcdefgh\xc3\xa4ijklmnop\xf0\x9f\x98\x80q";
    ck_assert(cp_utf8_is_valid(good, strlen(good)));
    ck_assert(cp_utf8_is_valid("", 0));
}
END_TEST

START_TEST(utf8_next_measures_ill_formed_parts)
{
    static const struct {
        const char *text;
        int length;
    } cases[] = {
        {"a", 1},
        {"\xc3\xa4", 2},
        {"\xe2\x82\xac", 3},
        {"\xf0\x9f\x98\x80", 4},
        {"\x80", -1},
        {"\xff", -1},
        {"\xc3", -1},
        {"\xc3(", -1},
        {"\xe2\x82", -2},
        {"\xe2(", -1},
        {"\xe2\x82(", -2},
        {"\xf0\x9f\x98", -3},
        {"\xf0\x9f\x98(", -3},
        {"\xed\xa0\x80", -1},
        {"\xe0\x80\x80", -1},
        {"\xf4\x90", -1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ck_assert_int_eq(cp_utf8_next(cases[i].text, strlen(cases[i].text)),
                         cases[i].length);
    }
}
END_TEST

Suite *utf8_suite(void)
{
    Suite *suite = suite_create("utf8");
    TCase *tc = tcase_create("utf8");

    tcase_add_test(tc, utf8_is_valid_for_exactly_the_scalar_values);
    tcase_add_test(tc, utf8_that_is_overlong_cut_or_stray_is_invalid);
    tcase_add_test(tc, utf8_next_measures_ill_formed_parts);
    suite_add_tcase(suite, tc);
    return suite;
}
