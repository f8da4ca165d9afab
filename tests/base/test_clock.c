/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "suites.h"

static cp_clock_t fake_time;

static cp_clock_t fake_now(void)
{
    return fake_time;
}

static void setup(void)
{
    fake_time = 1000000;
    cp_clock_replace(fake_now);
}

static void teardown(void)
{
    cp_clock_replace(NULL);
    cp_log_install(NULL, NULL, CP_LOG_NOTICE);
}

START_TEST(clock_can_be_replaced_and_restored)
{
    ck_assert_int_eq(cp_clock_now(), 1000000);
    cp_clock_replace(NULL);
    ck_assert_int_ne(cp_clock_now(), 1000000);
}
END_TEST

START_TEST(system_clock_is_monotonic_time)
{
    struct timespec before, after;
    cp_clock_t now;

    cp_clock_replace(NULL);
    clock_gettime(CLOCK_MONOTONIC, &before);
    now = cp_clock_now();
    clock_gettime(CLOCK_MONOTONIC, &after);
    ck_assert_int_ge(now,
                     before.tv_sec * APR_USEC_PER_SEC + before.tv_nsec / 1000);
    ck_assert_int_le(now,
                     after.tv_sec * APR_USEC_PER_SEC + after.tv_nsec / 1000);
}
END_TEST

START_TEST(after_adds_and_saturates)
{
    ck_assert_int_eq(cp_clock_after(0), 1000000);
    ck_assert_int_eq(cp_clock_after(250), 1000250);
    ck_assert_int_eq(cp_clock_after(-1), CP_CLOCK_NEVER);
    ck_assert_int_eq(cp_clock_after(APR_INT64_MAX), CP_CLOCK_NEVER);
    ck_assert_int_eq(cp_clock_after(APR_INT64_MAX - 1000000), APR_INT64_MAX);
    ck_assert_int_eq(cp_clock_after(APR_INT64_MAX - 1000001),
                     APR_INT64_MAX - 1);
}
END_TEST

START_TEST(add_saturates)
{
    ck_assert_int_eq(cp_clock_add(5, 7), 12);
    ck_assert_int_eq(cp_clock_add(5, -1), CP_CLOCK_NEVER);
    ck_assert_int_eq(cp_clock_add(5, APR_INT64_MAX), CP_CLOCK_NEVER);
    ck_assert_int_eq(cp_clock_add(CP_CLOCK_NEVER, 1), CP_CLOCK_NEVER);
}
END_TEST

START_TEST(jitter_stays_within_its_span)
{
    int seeds[50];

    for (int i = 0; i < 50; i++) {
        ck_assert_int_lt(cp_clock_jitter(10, &seeds[i]), 10);
        ck_assert_int_ge(cp_clock_jitter(10, &seeds[i]), 0);
    }
    ck_assert_int_eq(cp_clock_jitter(0, seeds), 0);
}
END_TEST

START_TEST(left_is_never_negative)
{
    ck_assert_int_eq(cp_clock_left(1000250), 250);
    ck_assert_int_eq(cp_clock_left(1000000), 0);
    ck_assert_int_eq(cp_clock_left(999999), 0);
    ck_assert_int_eq(cp_clock_left(0), 0);
    ck_assert_int_eq(cp_clock_left(CP_CLOCK_NEVER), CP_CLOCK_NEVER);
}
END_TEST

START_TEST(timespec_splits_seconds_and_nanoseconds)
{
    struct timespec ts = cp_clock_timespec(12345678);

    ck_assert_int_eq(ts.tv_sec, 12);
    ck_assert_int_eq(ts.tv_nsec, 345678000);
    ts = cp_clock_timespec(CP_CLOCK_NEVER);
    ck_assert_int_eq(ts.tv_sec, INT_MAX); /* fits any time_t */
    ck_assert_int_lt(ts.tv_nsec, 1000000000);
}
END_TEST

static struct {
    int lines;
    int line;
    cp_log_level_t level;
    apr_status_t rv;
    const char *file;
    char text[2048];
} logged;

static void keep_line(void *baton, const char *file, int line,
                      cp_log_level_t level, apr_status_t rv, const char *text)
{
    ck_assert_ptr_eq(baton, &logged);
    logged.lines++;
    logged.file = file;
    logged.line = line;
    logged.level = level;
    logged.rv = rv;
    strcpy(logged.text, text);
}

START_TEST(sink_gets_the_finished_line)
{
    memset(&logged, 0, sizeof(logged));
    cp_log_install(keep_line, &logged, CP_LOG_INFO);
    cp_log("here.c", 42, CP_LOG_WARNING, APR_TIMEUP, "pool '%s': %d", "a", 7);
    ck_assert_int_eq(logged.lines, 1);
    ck_assert_str_eq(logged.text, "pool 'a': 7");
    ck_assert_str_eq(logged.file, "here.c");
    ck_assert_int_eq(logged.line, 42);
    ck_assert_int_eq(logged.level, CP_LOG_WARNING);
    ck_assert_int_eq(logged.rv, APR_TIMEUP);
}
END_TEST

START_TEST(lines_above_the_verbosity_are_dropped)
{
    memset(&logged, 0, sizeof(logged));
    cp_log_install(keep_line, &logged, CP_LOG_NOTICE);
    cp_log(CP_LOG_MARK, CP_LOG_INFO, 0, "too much");
    cp_log(CP_LOG_MARK, CP_LOG_DEBUG, 0, "too much");
    ck_assert_int_eq(logged.lines, 0);
    cp_log(CP_LOG_MARK, CP_LOG_NOTICE, 0, "wanted");
    cp_log(CP_LOG_MARK, CP_LOG_ERROR, 0, "wanted");
    ck_assert_int_eq(logged.lines, 2);
}
END_TEST

START_TEST(without_a_sink_the_core_is_silent)
{
    memset(&logged, 0, sizeof(logged));
    cp_log_install(NULL, &logged, CP_LOG_DEBUG);
    cp_log(CP_LOG_MARK, CP_LOG_ERROR, 0, "nobody hears this");
    ck_assert_int_eq(logged.lines, 0);
}
END_TEST

START_TEST(long_lines_are_cut)
{
    memset(&logged, 0, sizeof(logged));
    cp_log_install(keep_line, &logged, CP_LOG_NOTICE);
    cp_log(CP_LOG_MARK, CP_LOG_ERROR, 0, "%1500s|", "x");
    ck_assert_uint_eq(strlen(logged.text), 1023);
}
END_TEST

START_TEST(limit_allows_one_line_in_each_interval)
{
    cp_log_limit_t limit = {0};
    uint64_t suppressed = 99;

    ck_assert(cp_log_allowed(&limit, 500, &suppressed));
    ck_assert_uint_eq(suppressed, 0);
    ck_assert(!cp_log_allowed(&limit, 500, &suppressed));
    fake_time += 499;
    ck_assert(!cp_log_allowed(&limit, 500, &suppressed));
    fake_time += 1;
    ck_assert(cp_log_allowed(&limit, 500, &suppressed));
    ck_assert_uint_eq(suppressed, 2);
    fake_time += 500;
    ck_assert(cp_log_allowed(&limit, 500, &suppressed));
    ck_assert_uint_eq(suppressed, 0);
}
END_TEST

enum {
    THREADS = 4,
    CALLS = 5000
};

static cp_log_limit_t shared_limit;
static int allowed_lines;
static uint64_t told; /* suppressed lines that an allowed one told of */

static void *log_much(void *unused)
{
    uint64_t suppressed;

    for (int i = 0; i < CALLS; i++) {
        if (cp_log_allowed(&shared_limit, APR_USEC_PER_SEC, &suppressed)) {
            __atomic_fetch_add(&allowed_lines, 1, __ATOMIC_RELAXED);
            __atomic_fetch_add(&told, suppressed, __ATOMIC_RELAXED);
        }
    }
    return NULL;
}

START_TEST(threads_share_one_line_and_none_goes_uncounted)
{
    pthread_t thread[THREADS];
    uint64_t suppressed = 0;

    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_create(&thread[i], NULL, log_much, NULL), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
    }
    ck_assert_int_eq(allowed_lines, 1);
    fake_time += APR_USEC_PER_SEC;
    ck_assert(cp_log_allowed(&shared_limit, APR_USEC_PER_SEC, &suppressed));
    ck_assert_uint_eq(told + suppressed, THREADS * CALLS - 1);
}
END_TEST

Suite *clock_suite(void)
{
    Suite *suite = suite_create("clock");
    TCase *tc = tcase_create("clock");
    TCase *log = tcase_create("log");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, clock_can_be_replaced_and_restored);
    tcase_add_test(tc, system_clock_is_monotonic_time);
    tcase_add_test(tc, after_adds_and_saturates);
    tcase_add_test(tc, add_saturates);
    tcase_add_test(tc, jitter_stays_within_its_span);
    tcase_add_test(tc, left_is_never_negative);
    tcase_add_test(tc, timespec_splits_seconds_and_nanoseconds);
    suite_add_tcase(suite, tc);

    tcase_add_checked_fixture(log, setup, teardown);
    tcase_add_test(log, sink_gets_the_finished_line);
    tcase_add_test(log, lines_above_the_verbosity_are_dropped);
    tcase_add_test(log, without_a_sink_the_core_is_silent);
    tcase_add_test(log, long_lines_are_cut);
    tcase_add_test(log, limit_allows_one_line_in_each_interval);
    tcase_add_test(log, threads_share_one_line_and_none_goes_uncounted);
    suite_add_tcase(suite, log);
    return suite;
}
