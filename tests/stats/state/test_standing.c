/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <string.h>

#include "stats/state/standing.h"
#include "suites.h"

/* Seconds of the day on which all this happens. */
#define AT(second) (apr_time_from_sec(1790000000) + apr_time_from_sec(second))

static cp_standing_t standing;

static void setup(void)
{
    memset(&standing, 0, sizeof(standing));
}

/* --- since when --- */

START_TEST(it_is_so_since_it_was_seen_first)
{
    ck_assert_int_eq(cp_standing_level(&standing), CP_LEVEL_OK);
    ck_assert_int_eq(cp_standing_look(&standing, CP_LEVEL_OK, AT(0)), AT(0));
    ck_assert_int_eq(cp_standing_look(&standing, CP_LEVEL_OK, AT(9)), AT(0));
    ck_assert_int_eq(cp_standing_look(&standing, CP_LEVEL_DOWN, AT(10)),
                     AT(10));
    ck_assert_int_eq(cp_standing_look(&standing, CP_LEVEL_DOWN, AT(99)),
                     AT(10));
    ck_assert_int_eq(cp_standing_look(&standing, CP_LEVEL_DEGRADED, AT(100)),
                     AT(100));
    ck_assert_int_eq(cp_standing_look(&standing, CP_LEVEL_OK, AT(101)),
                     AT(101));
    setup();
    ck_assert_int_eq(cp_standing_look(&standing, CP_LEVEL_DOWN, AT(3)), AT(3));
    ck_assert_int_eq(cp_standing_level(&standing), CP_LEVEL_DOWN);
}
END_TEST

static void *look_down(void *data)
{
    apr_time_t *since = data;

    *since = cp_standing_look(&standing, CP_LEVEL_DOWN, *since);
    return NULL;
}

START_TEST(all_who_see_a_change_at_once_agree)
{
    for (int round = 1; round < 200; round++) {
        pthread_t threads[4];
        apr_time_t since[4];

        cp_standing_look(&standing, CP_LEVEL_OK, AT(10 * round));
        for (int i = 0; i < 4; i++) {
            since[i] = AT(10 * round + 1 + i);
            ck_assert_int_eq(
                pthread_create(&threads[i], NULL, look_down, &since[i]), 0);
        }
        for (int i = 0; i < 4; i++) {
            pthread_join(threads[i], NULL);
        }
        for (int i = 1; i < 4; i++) {
            ck_assert_int_eq(since[i], since[0]);
        }
    }
}
END_TEST

/* --- what the log is told --- */

static apr_interval_time_t lasted;

static cp_news_t news(cp_level_t level, int second)
{
    apr_time_t since = cp_standing_look(&standing, level, AT(second));

    lasted = -1;
    return cp_standing_news(&standing, level, since, AT(second), &lasted);
}

START_TEST(a_fault_is_told_once_and_its_end_once)
{
    for (int second = 0; second < 10; second++) {
        ck_assert_int_eq(news(CP_LEVEL_OK, second), CP_NEWS_NONE);
    }
    ck_assert_int_eq(news(CP_LEVEL_DOWN, 10), CP_NEWS_NONE);
    ck_assert_int_eq(news(CP_LEVEL_DOWN, 11), CP_NEWS_NONE);
    ck_assert_int_eq(news(CP_LEVEL_DOWN, 12), CP_NEWS_BAD);
    for (int second = 13; second < 52; second++) {
        ck_assert_int_eq(news(CP_LEVEL_DOWN, second), CP_NEWS_NONE);
    }
    ck_assert_int_eq(news(CP_LEVEL_OK, 52), CP_NEWS_NONE);
    ck_assert_int_eq(news(CP_LEVEL_OK, 53), CP_NEWS_NONE);
    ck_assert_int_eq(news(CP_LEVEL_OK, 54), CP_NEWS_BACK);
    ck_assert_int_eq(lasted, apr_time_from_sec(42));
    for (int second = 55; second < 70; second++) {
        ck_assert_int_eq(news(CP_LEVEL_OK, second), CP_NEWS_NONE);
    }
}
END_TEST

START_TEST(a_moment_is_not_worth_a_line)
{
    for (int second = 0; second < 100; second += 2) {
        ck_assert_int_eq(news(CP_LEVEL_OK, second), CP_NEWS_NONE);
        ck_assert_int_eq(news(CP_LEVEL_DEGRADED, second + 1), CP_NEWS_NONE);
    }
}
END_TEST

START_TEST(who_comes_and_goes_gets_a_line_in_ten_seconds)
{
    int lines = 0;

    for (int second = 0; second < 300; second++) {
        cp_level_t level = second / 4 % 2 ? CP_LEVEL_DOWN : CP_LEVEL_OK;

        lines += news(level, second) != CP_NEWS_NONE;
    }
    ck_assert_int_ge(lines, 10);
    ck_assert_int_le(lines, 30);
}
END_TEST

START_TEST(what_becomes_worse_is_told_and_lasts_from_the_beginning)
{
    ck_assert_int_eq(news(CP_LEVEL_DEGRADED, 100), CP_NEWS_NONE);
    ck_assert_int_eq(news(CP_LEVEL_DEGRADED, 102), CP_NEWS_BAD);
    ck_assert_int_eq(news(CP_LEVEL_DOWN, 103), CP_NEWS_NONE);
    ck_assert_int_eq(news(CP_LEVEL_DOWN, 111), CP_NEWS_NONE);
    ck_assert_int_eq(news(CP_LEVEL_DOWN, 112), CP_NEWS_BAD);
    ck_assert_int_eq(news(CP_LEVEL_OK, 130), CP_NEWS_NONE);
    ck_assert_int_eq(news(CP_LEVEL_OK, 132), CP_NEWS_BACK);
    ck_assert_int_eq(lasted, apr_time_from_sec(30));
    /* The next time begins anew. */
    ck_assert_int_eq(news(CP_LEVEL_DOWN, 200), CP_NEWS_NONE);
    ck_assert_int_eq(news(CP_LEVEL_DOWN, 202), CP_NEWS_BAD);
    ck_assert_int_eq(news(CP_LEVEL_OK, 215), CP_NEWS_NONE);
    ck_assert_int_eq(news(CP_LEVEL_OK, 217), CP_NEWS_BACK);
    ck_assert_int_eq(lasted, apr_time_from_sec(15));
}
END_TEST

/* --- the last error --- */

START_TEST(the_last_error_has_its_class_and_time)
{
    uint64_t failures[CP_ERR_CLASSES] = {0};
    apr_time_t at;

    ck_assert_int_eq(cp_standing_last_error(&standing, &at), CP_ERR_NONE);
    ck_assert_int_eq(at, 0);
    cp_standing_note_failures(&standing, failures, AT(1));
    ck_assert_int_eq(cp_standing_last_error(&standing, &at), CP_ERR_NONE);
    failures[CP_ERR_STORAGE] = 3;
    cp_standing_note_failures(&standing, failures, AT(2));
    cp_standing_note_failures(&standing, failures, AT(3));
    ck_assert_int_eq(cp_standing_last_error(&standing, &at), CP_ERR_STORAGE);
    ck_assert_int_eq(at, AT(2));
    failures[CP_ERR_INTERNAL]++;
    cp_standing_note_failures(&standing, failures, AT(4));
    ck_assert_int_eq(cp_standing_last_error(&standing, &at), CP_ERR_INTERNAL);
    ck_assert_int_eq(at, AT(4));
}
END_TEST

START_TEST(what_no_look_has_noted_is_known)
{
    uint64_t failures[CP_ERR_CLASSES] = {0};
    apr_time_t at;

    ck_assert_int_eq(cp_standing_unnoted(&standing, failures), CP_ERR_NONE);
    failures[CP_ERR_STORAGE] = 1;
    ck_assert_int_eq(cp_standing_unnoted(&standing, failures), CP_ERR_STORAGE);
    cp_standing_note_failures(&standing, failures, AT(1));
    ck_assert_int_eq(cp_standing_unnoted(&standing, failures), CP_ERR_NONE);
    /* Of what is not counted. */
    cp_standing_note_error(&standing, CP_ERR_DEADLINE, AT(5));
    ck_assert_int_eq(cp_standing_last_error(&standing, &at), CP_ERR_DEADLINE);
    ck_assert_int_eq(at, AT(5));
    cp_standing_note_failures(&standing, failures, AT(6));
    ck_assert_int_eq(cp_standing_last_error(&standing, &at), CP_ERR_DEADLINE);
}
END_TEST

Suite *standing_suite(void)
{
    Suite *suite = suite_create("standing");
    TCase *tc = tcase_create("standing");

    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, it_is_so_since_it_was_seen_first);
    tcase_add_test(tc, all_who_see_a_change_at_once_agree);
    tcase_add_test(tc, a_fault_is_told_once_and_its_end_once);
    tcase_add_test(tc, a_moment_is_not_worth_a_line);
    tcase_add_test(tc, who_comes_and_goes_gets_a_line_in_ten_seconds);
    tcase_add_test(tc, what_becomes_worse_is_told_and_lasts_from_the_beginning);
    tcase_add_test(tc, the_last_error_has_its_class_and_time);
    tcase_add_test(tc, what_no_look_has_noted_is_known);
    suite_add_tcase(suite, tc);
    return suite;
}
