/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/origin/origin.h"
#include "suites.h"

START_TEST(spellings_of_an_origin_are_equal)
{
    static const struct {
        const char *a, *b;
    } cases[] = {
        {"https://app.example", "https://app.example"},
        {"https://app.example", "HTTPS://App.Example"},
        {"https://app.example", "https://app.example:443"},
        {"http://app.example:80", "http://app.example"},
        {"https://app.example", "https://app.example."},
        {"https://app.example:8443", "https://app.example.:8443"},
        {"http://[::1]:3000", "http://[0:0:0:0:0:0:0:1]:3000"},
        {"https://[2001:DB8::a]", "https://[2001:db8:0::A]:443"},
        {"https://xn--bcher-kva.example", "https://XN--BCHER-KVA.example"},
        {"http://127.0.0.1:8080", "http://127.0.0.1:8080"},
        {"http://my_host", "http://MY_host"},
    };
    const char *a = cases[_i].a, *b = cases[_i].b;
    cp_origin_t one, other;

    ck_assert_msg(!cp_origin_parse(&one, a), "%s", a);
    ck_assert_msg(!cp_origin_parse(&other, b), "%s", b);
    ck_assert_msg(cp_origin_equals(&one, &other), "%s and %s", a, b);
}
END_TEST

START_TEST(other_origins_are_not)
{
    static const struct {
        const char *a, *b;
    } cases[] = {
        {"https://app.example", "http://app.example"},
        {"https://app.example", "http://app.example:443"},
        {"https://app.example", "https://app.example:8443"},
        {"https://app.example", "https://www.app.example"},
        {"https://app.example", "https://app.example.evil"},
        {"https://app.example", "https://xapp.example"},
        {"http://127.0.0.1", "http://[::1]"},
        {"http://[::1]", "http://[::2]"},
    };
    cp_origin_t one, other;

    ck_assert_ptr_null(cp_origin_parse(&one, cases[_i].a));
    ck_assert_ptr_null(cp_origin_parse(&other, cases[_i].b));
    ck_assert(!cp_origin_equals(&one, &other));
}
END_TEST

START_TEST(what_is_no_origin_says_why)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"", "neither"},
        {"app.example", "neither"},
        {"//app.example", "neither"},
        {"ftp://app.example", "neither"},
        {"file://", "neither"},
        {"https:/app.example", "neither"},
        {"null", "without an origin"},
        {"NULL", "without an origin"},
        {"https://", "no host"},
        {"https://.", "no host"},
        {"https://:443", "no host"},
        {"https://app.example/", "path"},
        {"https://app.example:443/x", "path"},
        {"https://[::1]/", "path"},
        {"https://app.example?a", "query"},
        {"https://app.example#a", "query"},
        {"https://*.example", "wildcard"},
        {"https://app.example:*", "wildcard"},
        {"https://*", "wildcard"},
        {"https://me@app.example", "user"},
        {"https://b\xc3\xbc"
         "cher.example",
         "xn--"},
        {"https://a..example", "host"},
        {"https://.example", "host"},
        {"https://a.example..", "host"},
        {"https://a b", "host"},
        {"https://a,b", "host"},
        {"https://a%41", "host"},
        {"https://[::1", "host"},
        {"https://[::g]", "host"},
        {"https://[fe80::1%25eth0]", "host"},
        {"https://[::1]x", "host"},
        {"https://::1", "host"},
        {"https://app.example:", "port"},
        {"https://app.example:0", "port"},
        {"https://app.example:65536", "port"},
        {"https://app.example:99999999999999999999", "port"},
        {"https://app.example:-1", "port"},
        {"https://app.example:80x", "port"},
        {"https://app.example:443:443", "port"},
    };
    cp_origin_t origin;
    const char *why = cp_origin_parse(&origin, cases[_i].text);

    ck_assert_msg(why && strstr(why, cases[_i].why), "%s: %s", cases[_i].text,
                  why ? why : "is one");
}
END_TEST

START_TEST(a_host_is_spoken_to_by_a_scheme)
{
    static const struct {
        const char *host;
        int is_secure;
        const char *origin;
    } cases[] = {
        {"app.example", 1, "https://app.example"},
        {"app.example", 0, "http://app.example:80"},
        {"App.Example:443", 1, "https://app.example"},
        {"app.example:443", 0, "http://app.example:443"},
        {"[::1]:80", 0, "http://[::1]"},
        {"app.example.", 1, "https://app.example"},
    };
    cp_origin_t one, other;

    ck_assert_ptr_null(cp_origin_parse_host(
        &one, cases[_i].is_secure, cases[_i].host, strlen(cases[_i].host)));
    ck_assert_ptr_null(cp_origin_parse(&other, cases[_i].origin));
    ck_assert(cp_origin_equals(&one, &other));
}
END_TEST

START_TEST(a_host_may_be_part_of_a_text)
{
    cp_origin_t one, other;
    char longest[300];

    ck_assert_ptr_null(
        cp_origin_parse_host(&one, 1, "a.example, b.example", 9));
    ck_assert_ptr_null(cp_origin_parse(&other, "https://a.example"));
    ck_assert(cp_origin_equals(&one, &other));
    ck_assert_ptr_nonnull(cp_origin_parse_host(&one, 1, "", 0));
    memset(longest, 'a', sizeof(longest));
    ck_assert_ptr_null(cp_origin_parse_host(&one, 1, longest, 253));
    ck_assert_ptr_nonnull(cp_origin_parse_host(&one, 1, longest, 254));
}
END_TEST

Suite *origin_suite(void)
{
    Suite *suite = suite_create("origin");
    TCase *tc = tcase_create("origins");

    tcase_add_loop_test(tc, spellings_of_an_origin_are_equal, 0, 11);
    tcase_add_loop_test(tc, other_origins_are_not, 0, 8);
    tcase_add_loop_test(tc, what_is_no_origin_says_why, 0, 39);
    tcase_add_loop_test(tc, a_host_is_spoken_to_by_a_scheme, 0, 6);
    tcase_add_test(tc, a_host_may_be_part_of_a_text);
    suite_add_tcase(suite, tc);
    return suite;
}
