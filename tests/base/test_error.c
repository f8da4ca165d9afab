/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/error.h"
#include "suites.h"

static char buffer[700];

static const char *more(const char *cause, const char *detail)
{
    cp_error_t err;

    cp_error_set(&err, CP_ERR_STORAGE, APR_EGENERAL, cause, "%s", detail);
    return cp_error_more(&err, "query 'q'", buffer, sizeof(buffer));
}

START_TEST(what_was_said_is_not_said_again)
{
    ck_assert_str_eq(more("it is slow", "query 'q': it is slow"), "");
    ck_assert_str_eq(more("it is slow", "query 'q': it is slow: 5 s"), ": 5 s");
    ck_assert_str_eq(more("it is slow", "query 'q': 5 s: it is slow"), ": 5 s");
    ck_assert_str_eq(more("it is slow", "query 'p': it is slow"),
                     ": query 'p'");
    ck_assert_str_eq(more("it is slow", "query 'p': it is slow: 5 s"),
                     ": query 'p': 5 s");
    ck_assert_str_eq(more("it is slow", ""), "");
}
END_TEST

START_TEST(what_says_more_is_kept)
{
    ck_assert_str_eq(more("it is slow", "database 'd': busy"),
                     ": database 'd': busy");
    ck_assert_str_eq(more("slow", "it is slow: slower: slow down"),
                     ": it is slow: slower: slow down");
    ck_assert_str_eq(more("", "a"), ": a");
}
END_TEST

START_TEST(a_small_buffer_cuts_it)
{
    cp_error_t err;

    cp_error_set(&err, CP_ERR_STORAGE, APR_EGENERAL, "slow", "%s", "a detail");
    ck_assert_str_eq(cp_error_more(&err, "what", buffer, 5), ": a ");
    ck_assert_str_eq(cp_error_more(&err, "what", buffer, 2), "");
}
END_TEST

Suite *error_suite(void)
{
    Suite *suite = suite_create("error");
    TCase *tc = tcase_create("more");

    tcase_add_test(tc, what_was_said_is_not_said_again);
    tcase_add_test(tc, what_says_more_is_kept);
    tcase_add_test(tc, a_small_buffer_cuts_it);
    suite_add_tcase(suite, tc);
    return suite;
}
