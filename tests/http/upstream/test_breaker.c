/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <string.h>

#include "stats/stats.h"
#include "http/upstream/breaker.h"
#include "base/log.h"
#include "stats/metric.h"
#include "stats/tables.h"
#include "suites.h"

enum {
    LIMIT = 3,
    THREADS = 8,
    ROUNDS = 200
};

#define MS 1000

static apr_pool_t *pool;
static cp_upstream_stats_t stats;
static cp_breaker_t *breaker;
static cp_error_t failure;
static cp_clock_t now;

static int warnings, notices;
static char last_line[1024];

static cp_clock_t fake_now(void)
{
    return __atomic_load_n(&now, __ATOMIC_RELAXED);
}

static void note_line(void *baton, const char *file, int line,
                      cp_log_level_t level, apr_status_t rv, const char *text)
{
    warnings += level == CP_LOG_WARNING;
    notices += level == CP_LOG_NOTICE;
    strcpy(last_line, text);
}

static void make(int limit)
{
    ck_assert_int_eq(cp_breaker_create(&breaker, "u", limit, &stats, pool),
                     APR_SUCCESS);
}

static void setup(void)
{
    apr_pool_create(&pool, NULL);
    memset(&stats, 0, sizeof(stats));
    warnings = notices = 0;
    now = apr_time_from_sec(1000);
    cp_clock_replace(fake_now);
    cp_log_install(note_line, NULL, CP_LOG_NOTICE);
    cp_error_set(&failure, CP_ERR_UPSTREAM, APR_SUCCESS, "no answer",
                 "port 81");
    make(LIMIT);
}

static void teardown(void)
{
    cp_log_install(NULL, NULL, CP_LOG_NOTICE);
    cp_clock_replace(NULL);
    apr_pool_destroy(pool);
}

static cp_admission_t admit(void)
{
    cp_admission_t admission = {0};
    cp_error_t err;
    apr_status_t rv = cp_breaker_admit(breaker, &admission, &err);

    ck_assert_int_eq(rv == APR_SUCCESS, !admission.is_refused);
    return admission;
}

static int is_refused(void)
{
    return admit().is_refused;
}

static void report(const cp_admission_t *admission, cp_outcome_t outcome)
{
    cp_breaker_report(breaker, admission, outcome, &failure);
}

static void ask(cp_outcome_t outcome)
{
    cp_admission_t admission = admit();

    ck_assert(!admission.is_refused);
    report(&admission, outcome);
}

static void fail_times(int count)
{
    for (int i = 0; i < count; i++) {
        ask(CP_OUTCOME_FAILED);
    }
}

static const char *state(void)
{
    return cp_breaker_state_name(cp_breaker_state(&stats, now));
}

/* Let the pause pass; returns its length. */
static apr_interval_time_t pass_pause(void)
{
    apr_interval_time_t pause = (cp_clock_t)stats.breaker_until - now;

    now += pause - 1;
    ck_assert(is_refused());
    ck_assert_str_eq(state(), "open");
    now++;
    ck_assert_str_eq(state(), "half-open");
    return pause;
}

START_TEST(a_new_one_is_closed)
{
    ck_assert_str_eq(state(), "closed");
    ck_assert(!is_refused());
    ck_assert_int_eq(stats.breaker_opened, 0);
}
END_TEST

START_TEST(failures_in_a_row_open_it)
{
    fail_times(LIMIT - 1);
    ck_assert_str_eq(state(), "closed");
    fail_times(1);
    ck_assert_str_eq(state(), "open");
    ck_assert(is_refused());
    ck_assert(is_refused());
    ck_assert_int_eq(stats.breaker_opened, 1);
    ck_assert_int_eq(stats.breaker_refused, 2);
    ck_assert_int_eq(warnings, 1);
    ck_assert_ptr_nonnull(strstr(last_line, "'u' did not answer 3 times"));
    ck_assert_ptr_nonnull(strstr(last_line, ": port 81"));
}
END_TEST

START_TEST(an_answer_between_them_begins_anew)
{
    for (int i = 0; i < 10; i++) {
        fail_times(LIMIT - 1);
        ask(CP_OUTCOME_ANSWERED);
    }
    ck_assert_str_eq(state(), "closed");
    ck_assert_int_eq(notices, 0);
}
END_TEST

START_TEST(who_has_found_nothing_out_changes_nothing)
{
    fail_times(LIMIT - 1);
    for (int i = 0; i < 10; i++) {
        ask(CP_OUTCOME_UNKNOWN);
    }
    ck_assert_str_eq(state(), "closed");
    fail_times(1);
    ck_assert_str_eq(state(), "open");
}
END_TEST

START_TEST(a_refusal_says_when_to_come_again)
{
    cp_admission_t admission = {0};
    cp_error_t err;

    fail_times(LIMIT);
    ck_assert_int_ne(cp_breaker_admit(breaker, &admission, &err), APR_SUCCESS);
    ck_assert_int_eq(err.cls, CP_ERR_UPSTREAM);
    ck_assert_int_eq(err.retry_after, 1);
    ck_assert_str_eq(err.cause, "the upstream does not answer");
    for (int i = 0; i < 10; i++) {
        pass_pause();
        fail_times(1);
    }
    memset(&admission, 0, sizeof(admission));
    cp_breaker_admit(breaker, &admission, &err);
    ck_assert_int_ge(err.retry_after, 11);
    ck_assert_int_le(err.retry_after, 16);
}
END_TEST

START_TEST(half_open_one_probes)
{
    cp_admission_t probe;

    fail_times(LIMIT);
    pass_pause();
    probe = admit();
    ck_assert(probe.is_probe);
    ck_assert_int_eq(stats.breaker_probes, 1);
    now += apr_time_from_sec(100);
    ck_assert(is_refused());
    ck_assert_str_eq(state(), "half-open");
    report(&probe, CP_OUTCOME_ANSWERED);
    ck_assert_int_eq(stats.breaker_probes, 0);
    ck_assert_str_eq(state(), "closed");
    ck_assert(!is_refused());
    ck_assert_int_eq(notices, 1);
    ck_assert_ptr_nonnull(strstr(last_line, "'u' answers again after 100."));
    ck_assert_ptr_nonnull(strstr(last_line, " 2 fetches were refused"));
}
END_TEST

START_TEST(pauses_double_up_to_the_longest)
{
    apr_interval_time_t longest = 250 * MS;

    fail_times(LIMIT);
    for (int i = 0; i < 12; i++) {
        apr_interval_time_t pause = pass_pause();

        ck_assert_int_le(pause, longest);
        ck_assert_int_gt(pause, longest * 3 / 4 - 1);
        fail_times(1);
        longest = longest * 2 < 15000 * MS ? longest * 2 : 15000 * MS;
    }
    ck_assert_int_eq(longest, 15000 * MS);
    ck_assert_int_eq(stats.breaker_opened, 1);
    ck_assert_int_eq(warnings, 1);
    /* Once it has closed, they are short again. */
    pass_pause();
    ask(CP_OUTCOME_ANSWERED);
    fail_times(LIMIT);
    ck_assert_int_le(pass_pause(), 250 * MS);
    ck_assert_int_eq(stats.breaker_opened, 2);
}
END_TEST

START_TEST(a_probe_without_a_result_makes_room_for_another)
{
    fail_times(LIMIT);
    pass_pause();
    ask(CP_OUTCOME_UNKNOWN);
    ck_assert_int_eq(stats.breaker_probes, 0);
    ck_assert(admit().is_probe);
}
END_TEST

START_TEST(late_failures_do_not_count)
{
    cp_admission_t early[LIMIT];

    for (int i = 0; i < LIMIT; i++) {
        early[i] = admit();
    }
    fail_times(LIMIT);
    /* Open: no longer pause. */
    report(&early[0], CP_OUTCOME_FAILED);
    ck_assert_int_le(pass_pause(), 250 * MS);
    ask(CP_OUTCOME_ANSWERED);
    for (int i = 0; i < LIMIT; i++) {
        report(&early[i], CP_OUTCOME_FAILED);
    }
    ck_assert_str_eq(state(), "closed");
}
END_TEST

START_TEST(a_late_answer_closes_it)
{
    cp_admission_t early = admit();

    fail_times(LIMIT);
    report(&early, CP_OUTCOME_ANSWERED);
    ck_assert_str_eq(state(), "closed");
    fail_times(LIMIT - 1);
    ck_assert_str_eq(state(), "closed");
}
END_TEST

START_TEST(asked_again_it_says_what_holds_by_then)
{
    cp_admission_t waiting = admit();
    cp_admission_t probe;
    cp_error_t err;

    ck_assert_int_eq(cp_breaker_admit(breaker, &waiting, &err), APR_SUCCESS);
    fail_times(LIMIT);
    ck_assert_int_ne(cp_breaker_admit(breaker, &waiting, &err), APR_SUCCESS);
    ck_assert(waiting.is_refused);
    pass_pause();
    probe = admit();
    ck_assert_int_eq(cp_breaker_admit(breaker, &probe, &err), APR_SUCCESS);
    ck_assert(probe.is_probe);
}
END_TEST

START_TEST(without_a_limit_it_never_opens)
{
    make(0);
    fail_times(1000);
    ck_assert_str_eq(state(), "closed");
    ck_assert_int_eq(warnings, 0);
}
END_TEST

START_TEST(of_many_children_the_worst_counts)
{
    cp_upstream_stats_t sum = {0};

    fail_times(LIMIT);
    cp_metrics_merge(&cp_upstream_metrics, &sum, &stats);
    make(LIMIT);
    cp_metrics_merge(&cp_upstream_metrics, &sum, &(cp_upstream_stats_t){0});
    ck_assert_int_eq(cp_breaker_state(&sum, now), CP_BREAKER_OPEN);
    ck_assert_int_eq(sum.breaker_opened, 1);
    ck_assert_int_eq(cp_breaker_state(&sum, now + 250 * MS),
                     CP_BREAKER_HALF_OPEN);
}
END_TEST

static int probing, probed;

/* All ask at once; of those that are admitted half-open only one is in. */
static void *ask_often(void *data)
{
    for (int i = 0; i < ROUNDS; i++) {
        cp_admission_t admission = admit();

        if (admission.is_probe) {
            ck_assert_int_eq(__atomic_fetch_add(&probing, 1, __ATOMIC_RELAXED),
                             0);
            __atomic_fetch_add(&probed, 1, __ATOMIC_RELAXED);
            __atomic_fetch_sub(&probing, 1, __ATOMIC_RELAXED);
        }
        if (!admission.is_refused) {
            report(&admission, CP_OUTCOME_FAILED);
        }
        __atomic_fetch_add(&now, 10 * MS, __ATOMIC_RELAXED);
    }
    return NULL;
}

START_TEST(threads_take_turns)
{
    pthread_t threads[THREADS];

    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_often, NULL), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    ck_assert_int_ge(probed, 3);
    ck_assert_int_eq(stats.breaker_opened, 1);
    ck_assert_int_eq(stats.breaker_probes, 0);
    ck_assert_int_ge(stats.breaker_refused, THREADS * ROUNDS / 2);
}
END_TEST

Suite *breaker_suite(void)
{
    Suite *suite = suite_create("breaker");
    TCase *tc = tcase_create("breaker");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_new_one_is_closed);
    tcase_add_test(tc, failures_in_a_row_open_it);
    tcase_add_test(tc, an_answer_between_them_begins_anew);
    tcase_add_test(tc, who_has_found_nothing_out_changes_nothing);
    tcase_add_test(tc, a_refusal_says_when_to_come_again);
    tcase_add_test(tc, half_open_one_probes);
    tcase_add_test(tc, pauses_double_up_to_the_longest);
    tcase_add_test(tc, a_probe_without_a_result_makes_room_for_another);
    tcase_add_test(tc, late_failures_do_not_count);
    tcase_add_test(tc, a_late_answer_closes_it);
    tcase_add_test(tc, asked_again_it_says_what_holds_by_then);
    tcase_add_test(tc, without_a_limit_it_never_opens);
    tcase_add_test(tc, of_many_children_the_worst_counts);
    tcase_add_test(tc, threads_take_turns);
    suite_add_tcase(suite, tc);
    return suite;
}
