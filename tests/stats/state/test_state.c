/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "stats/state/state.h"
#include "suites.h"

static cp_state_t state;

static void judge(cp_subject_t subject, const cp_facts_t *facts)
{
    memset(&state, 0xff, sizeof(state));
    cp_state_judge(subject, facts, &state);
}

#define JUDGE(subject, ...)                                                    \
    judge(CP_SUBJECT_##subject, &(cp_facts_t){__VA_ARGS__})

static void expect(cp_level_t level, const char *word, const char *cause)
{
    ck_assert_str_eq(cp_level_name(state.level), cp_level_name(level));
    ck_assert_str_eq(state.cause, cause);
    if (word) {
        ck_assert_str_eq(state.word, word);
    }
    else {
        ck_assert_ptr_null(state.word);
    }
}

static void expect_ok(void)
{
    expect(CP_LEVEL_OK, NULL, "");
}

START_TEST(who_has_no_fault_is_ok)
{
    for (int i = 0; i < CP_SUBJECTS; i++) {
        judge((cp_subject_t)i, &(cp_facts_t){0});
        expect_ok();
        ck_assert(!state.is_inherited && !state.is_unlogged);
        judge((cp_subject_t)i, &(cp_facts_t){.tried = 100,
                                             .busy = 10,
                                             .limit = 10,
                                             .children = 4,
                                             .used_bytes = 5,
                                             .bound_bytes = 5});
        expect_ok();
    }
}
END_TEST

START_TEST(a_database_that_cannot_be_opened_is_down)
{
    JUDGE(POOL, .cannot_read = 1, .cannot_open = 1);
    expect(CP_LEVEL_DOWN, "storage", "no connection can be opened");
    ck_assert(state.is_unlogged);
    JUDGE(POOL, .cannot_read = 1, .cannot_open = 1, .error = "deadline");
    expect(CP_LEVEL_DOWN, "deadline", "no connection can be opened");
    /* Worse than what else there is to say. */
    JUDGE(POOL, .cannot_read = 1, .tried = 9, .refused = 9, .is_strained = 1);
    expect(CP_LEVEL_DOWN, "storage", "no connection can be opened");
}
END_TEST

START_TEST(one_that_cannot_be_written_is_degraded)
{
    JUDGE(POOL, .cannot_write = 1, .cannot_open = 1);
    expect(CP_LEVEL_DEGRADED, "not writable",
           "no connection can be opened for writing");
    JUDGE(POOL, .cannot_open = 1);
    expect(CP_LEVEL_DEGRADED, "storage", "a connection could not be opened");
}
END_TEST

START_TEST(refusals_degrade_and_more_than_half_are_down)
{
    static const struct {
        uint64_t tried, refused;
        cp_level_t level;
    } cases[] = {
        {0, 0, CP_LEVEL_OK},          {1, 0, CP_LEVEL_OK},
        {1, 1, CP_LEVEL_DOWN},        {2, 1, CP_LEVEL_DEGRADED},
        {3, 1, CP_LEVEL_DEGRADED},    {3, 2, CP_LEVEL_DOWN},
        {1000, 1, CP_LEVEL_DEGRADED}, {1000, 500, CP_LEVEL_DEGRADED},
        {1000, 501, CP_LEVEL_DOWN},   {0, 3, CP_LEVEL_DOWN},
    };
    static const cp_subject_t subjects[] = {CP_SUBJECT_POOL, CP_SUBJECT_MEMORY};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int k = 0; k < 2; k++) {
            judge(subjects[k], &(cp_facts_t){.tried = cases[i].tried,
                                             .refused = cases[i].refused});
            ck_assert_msg(state.level == cases[i].level, "case %zu: %s", i,
                          cp_level_name(state.level));
        }
    }
    JUDGE(POOL, .tried = 20, .refused = 17);
    expect(CP_LEVEL_DOWN, "refused",
           "17 of 20 requests of the last 30 seconds were refused");
    /* One request may be refused more than once. */
    JUDGE(MEMORY, .tried = 1, .refused = 3);
    expect(CP_LEVEL_DOWN, "refused",
           "3 of 3 requests of the last 30 seconds were refused");
}
END_TEST

START_TEST(a_queue_is_no_fault_until_it_stands)
{
    JUDGE(POOL, .busy = 4, .limit = 4, .waiting = 3, .oldest_wait_us = 999999);
    expect_ok();
    JUDGE(POOL, .busy = 3, .limit = 4, .waiting = 3, .oldest_wait_us = 2000000);
    expect_ok();
    JUDGE(POOL, .busy = 4, .limit = 4, .waiting = 3, .oldest_wait_us = 2250000);
    expect(CP_LEVEL_DEGRADED, "exhausted",
           "all 4 connections are busy; 3 waiting, the first for 2.2 s");
}
END_TEST

START_TEST(strain_and_fallbacks_degrade)
{
    JUDGE(POOL, .is_strained = 1, .fell_back = 1);
    expect(CP_LEVEL_DEGRADED, "busy", "over 90 % busy for 30 seconds");
    JUDGE(POOL, .fell_back = 1);
    expect(CP_LEVEL_DEGRADED, "fallbacks", "one-shot connections were used");
}
END_TEST

START_TEST(an_upstream_is_shown_on_its_pool)
{
    static const cp_subject_t subjects[] = {CP_SUBJECT_UPSTREAM,
                                            CP_SUBJECT_POOL};

    for (int i = 0; i < 2; i++) {
        judge(subjects[i], &(cp_facts_t){.is_left_alone = 1, .is_silent = 1});
        expect(CP_LEVEL_DEGRADED, "breaker open", "the breaker is open");
        ck_assert_int_eq(state.is_inherited, i);
        judge(subjects[i], &(cp_facts_t){.is_silent = 1});
        expect(CP_LEVEL_DEGRADED, "no answer", "the last fetch got no answer");
        ck_assert_int_eq(state.is_inherited, i);
    }
    JUDGE(POOL, .fell_back = 1, .is_silent = 1);
    ck_assert_str_eq(state.word, "fallbacks");
    ck_assert(!state.is_inherited);
}
END_TEST

START_TEST(what_runs_not_everywhere_is_degraded)
{
    JUDGE(QUERY, .lacking_children = 1, .children = 4);
    expect(CP_LEVEL_DEGRADED, "unprepared", "it cannot be prepared");
    JUDGE(EVENT_LOOP, .lacking_children = 1, .children = 4);
    expect(CP_LEVEL_DEGRADED, "lost", "no event loop runs in 1 of 4 children");
}
END_TEST

START_TEST(runs_that_fail_degrade_and_more_than_half_are_down)
{
    JUDGE(QUERY, .tried = 4, .refused = 2);
    expect(CP_LEVEL_DEGRADED, "storage",
           "2 of 4 runs of the last 30 seconds failed because of the database");
    JUDGE(QUERY, .tried = 4, .refused = 3);
    expect(CP_LEVEL_DOWN, "storage",
           "3 of 4 runs of the last 30 seconds failed because of the database");
    JUDGE(QUERY, .tried = 4, .refused = 1, .lacking_children = 1);
    expect(CP_LEVEL_DEGRADED, "unprepared", "it cannot be prepared");
}
END_TEST

START_TEST(memory_above_its_bound_is_degraded)
{
    JUDGE(MEMORY, .used_bytes = 3 << 20, .bound_bytes = 2 << 20);
    expect(CP_LEVEL_DEGRADED, "bound",
           "a child uses 3.0 MiB, more than its bound of 2.0 MiB");
}
END_TEST

START_TEST(a_cache_that_is_away_is_degraded)
{
    JUDGE(CACHE, .refused = 12);
    expect(CP_LEVEL_DEGRADED, "no answer",
           "12 calls of the last 30 seconds failed or were not tried");
}
END_TEST

START_TEST(sentences_fit)
{
    const uint64_t most = UINT64_MAX;

    JUDGE(POOL, .tried = most, .refused = most);
    ck_assert_uint_lt(strlen(state.cause), CP_CAUSE_SIZE - 1);
    JUDGE(POOL, .busy = most, .limit = most, .waiting = most,
          .oldest_wait_us = most);
    ck_assert_uint_lt(strlen(state.cause), CP_CAUSE_SIZE - 1);
    JUDGE(QUERY, .tried = most, .refused = most);
    ck_assert_uint_lt(strlen(state.cause), CP_CAUSE_SIZE - 1);
    JUDGE(EVENT_LOOP, .lacking_children = most, .children = most);
    ck_assert_uint_lt(strlen(state.cause), CP_CAUSE_SIZE - 1);
    JUDGE(MEMORY, .used_bytes = most, .bound_bytes = most - 1);
    ck_assert_uint_lt(strlen(state.cause), CP_CAUSE_SIZE - 1);
}
END_TEST

START_TEST(what_does_not_concern_it_changes_nothing)
{
    cp_facts_t all;

    memset(&all, 0x7f, sizeof(all));
    all.error = "storage";
    judge(CP_SUBJECT_QUERY, &all);
    ck_assert_str_eq(state.word, "unprepared");
    judge(CP_SUBJECT_UPSTREAM, &all);
    ck_assert_str_eq(state.word, "breaker open");
    judge(CP_SUBJECT_EVENT_LOOP, &all);
    ck_assert_str_eq(state.word, "lost");
    judge(CP_SUBJECT_CACHE, &all);
    ck_assert_int_eq(state.level, CP_LEVEL_DEGRADED);
}
END_TEST

Suite *state_suite(void)
{
    Suite *suite = suite_create("state");
    TCase *tc = tcase_create("rules");

    tcase_add_test(tc, who_has_no_fault_is_ok);
    tcase_add_test(tc, a_database_that_cannot_be_opened_is_down);
    tcase_add_test(tc, one_that_cannot_be_written_is_degraded);
    tcase_add_test(tc, refusals_degrade_and_more_than_half_are_down);
    tcase_add_test(tc, a_queue_is_no_fault_until_it_stands);
    tcase_add_test(tc, strain_and_fallbacks_degrade);
    tcase_add_test(tc, an_upstream_is_shown_on_its_pool);
    tcase_add_test(tc, what_runs_not_everywhere_is_degraded);
    tcase_add_test(tc, runs_that_fail_degrade_and_more_than_half_are_down);
    tcase_add_test(tc, memory_above_its_bound_is_degraded);
    tcase_add_test(tc, a_cache_that_is_away_is_degraded);
    tcase_add_test(tc, sentences_fit);
    tcase_add_test(tc, what_does_not_concern_it_changes_nothing);
    suite_add_tcase(suite, tc);
    return suite;
}
