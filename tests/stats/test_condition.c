/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "stats/condition.h"
#include "suites.h"

#define BEGIN apr_time_from_sec(1000)

static cp_condition_t condition;

static void setup(void)
{
    memset(&condition, 0, sizeof(condition));
}

/* A look at `second` with so many of ten connections busy. */
static void look(int second, uint64_t busy, uint64_t fallbacks)
{
    cp_observation_t seen = {.busy = busy, .limit = 10, .fallbacks = fallbacks};

    cp_condition_observe(&condition, &seen, BEGIN + apr_time_from_sec(second));
}

static int is_strained(int second)
{
    return cp_condition_is_strained(&condition,
                                    BEGIN + apr_time_from_sec(second));
}

static int fell_back(int second)
{
    return cp_condition_fell_back(&condition,
                                  BEGIN + apr_time_from_sec(second));
}

START_TEST(a_new_one_is_well)
{
    ck_assert(!is_strained(0));
    ck_assert(!is_strained(100000));
    ck_assert(!fell_back(0));
}
END_TEST

START_TEST(thirty_seconds_above_ninety_percent_are_a_strain)
{
    for (int second = 0; second < 30; second++) {
        look(second, 10, 0);
        ck_assert_msg(!is_strained(second), "strained after %d s", second);
    }
    look(30, 10, 0);
    ck_assert(is_strained(30));
    look(31, 10, 0);
    ck_assert(is_strained(31));
}
END_TEST

START_TEST(ninety_percent_are_not_above_it)
{
    for (int second = 0; second <= 60; second++) {
        look(second, 9, 0);
        ck_assert(!is_strained(second));
    }
}
END_TEST

START_TEST(one_look_below_begins_anew)
{
    for (int second = 0; second < 30; second++) {
        look(second, 10, 0);
    }
    look(30, 9, 0);
    ck_assert(!is_strained(30));
    look(31, 10, 0);
    ck_assert(!is_strained(60));
    ck_assert(is_strained(61));
    look(62, 0, 0);
    ck_assert(!is_strained(62));
}
END_TEST

START_TEST(a_fallback_is_remembered_for_thirty_seconds)
{
    look(0, 0, 0);
    ck_assert(!fell_back(0));
    look(1, 0, 3);
    ck_assert(fell_back(1));
    look(2, 0, 3); /* no new one */
    ck_assert(fell_back(30));
    ck_assert(!fell_back(31));
    look(40, 0, 4);
    ck_assert(fell_back(69));
    ck_assert(!fell_back(70));
}
END_TEST

/* A look at `second`, when so many have asked and were refused so far. */
static void count(int second, uint64_t tried, uint64_t refused)
{
    cp_observation_t seen = {.limit = 10, .tried = tried, .refused = refused};

    cp_condition_observe(&condition, &seen, BEGIN + apr_time_from_sec(second));
}

static void lately(int second, uint64_t *tried, uint64_t *refused)
{
    cp_condition_lately(&condition, BEGIN + apr_time_from_sec(second), tried,
                        refused);
}

static void expect_lately(int second, uint64_t tried, uint64_t refused,
                          uint64_t recently_tried, uint64_t recently_refused)
{
    lately(second, &tried, &refused);
    ck_assert_uint_eq(tried, recently_tried);
    ck_assert_uint_eq(refused, recently_refused);
}

START_TEST(what_came_before_the_first_look_counts)
{
    expect_lately(0, 7, 3, 7, 3);
    count(1, 7, 3);
    expect_lately(1, 7, 3, 7, 3);
    expect_lately(30, 8, 4, 8, 4);
    expect_lately(31, 8, 4, 1, 1);
}
END_TEST

START_TEST(only_the_last_half_minute_counts)
{
    for (int second = 0; second <= 1000; second++) {
        uint64_t tried = 10 * (uint64_t)second;

        count(second, tried, (uint64_t)second);
        if (second >= 30) {
            expect_lately(second, tried, (uint64_t)second, 300, 30);
        }
    }
    /* What came after the last look counts at once. */
    expect_lately(1000, 10005, 1001, 305, 31);
    expect_lately(1029, 10005, 1001, 15, 2);
    expect_lately(1030, 10005, 1001, 5, 1);
}
END_TEST

START_TEST(looks_that_come_late_forget_nothing_too_early)
{
    count(0, 0, 0);
    count(100, 50, 5);
    expect_lately(100, 50, 5, 50, 5);
    expect_lately(129, 50, 5, 50, 5);
    expect_lately(130, 50, 5, 0, 0);
    /* Looks more often than once a second: no more than there is room for. */
    for (int i = 0; i < 2 * CP_LOOKS; i++) {
        count(200, 50 + (uint64_t)i, 5);
    }
    expect_lately(200, 50 + 2 * CP_LOOKS - 1, 5, CP_LOOKS - 2, 0);
}
END_TEST

START_TEST(a_sum_that_is_behind_counts_as_nothing)
{
    count(0, 100, 10);
    expect_lately(60, 99, 9, 0, 0);
}
END_TEST

START_TEST(a_clock_read_earlier_does_no_harm)
{
    look(10, 10, 1);
    ck_assert(!is_strained(9));
    ck_assert(fell_back(9));
    ck_assert(cp_condition_is_recent(UINT64_MAX, BEGIN));
    ck_assert(!cp_condition_is_recent(0, BEGIN));
}
END_TEST

static int refused_at(uint64_t total, int second)
{
    uint64_t at = cp_condition_refused_at(&condition, total,
                                          BEGIN + apr_time_from_sec(second));

    return at == 0 ? -1 : (int)apr_time_sec((cp_clock_t)at - BEGIN);
}

START_TEST(the_last_refusal_has_its_time)
{
    ck_assert_int_eq(refused_at(0, 0), -1);
    ck_assert_int_eq(refused_at(1, 0), 0);
    for (int second = 0; second < 100; second++) {
        uint64_t total = second < 10 ? 0 : second < 50 ? 3 : 4;
        cp_observation_t seen = {.limit = 10, .refused = total};

        cp_condition_observe(&condition, &seen,
                             BEGIN + apr_time_from_sec(second));
        ck_assert_int_eq(refused_at(total + 1, second), second);
        if (second < 10 || (second >= 41 && second < 50) || second >= 81) {
            ck_assert_int_eq(refused_at(total, second), -1);
        }
        else if (second < 40 || (second >= 50 && second < 80)) {
            ck_assert_int_eq(refused_at(total, second), second < 50 ? 10 : 50);
        }
    }
}
END_TEST

Suite *condition_suite(void)
{
    Suite *suite = suite_create("condition");
    TCase *tc = tcase_create("condition");

    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, a_new_one_is_well);
    tcase_add_test(tc, thirty_seconds_above_ninety_percent_are_a_strain);
    tcase_add_test(tc, ninety_percent_are_not_above_it);
    tcase_add_test(tc, one_look_below_begins_anew);
    tcase_add_test(tc, a_fallback_is_remembered_for_thirty_seconds);
    tcase_add_test(tc, what_came_before_the_first_look_counts);
    tcase_add_test(tc, only_the_last_half_minute_counts);
    tcase_add_test(tc, looks_that_come_late_forget_nothing_too_early);
    tcase_add_test(tc, a_sum_that_is_behind_counts_as_nothing);
    tcase_add_test(tc, a_clock_read_earlier_does_no_harm);
    tcase_add_test(tc, the_last_refusal_has_its_time);
    suite_add_tcase(suite, tc);
    return suite;
}
