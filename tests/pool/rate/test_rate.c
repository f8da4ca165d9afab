/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool/rate/rate.h"
#include "suites.h"

enum {
    BUCKETS = 1500,
    THREADS = 8,
    TRIES = 20000
};

#define SECOND apr_time_from_sec(1)

static cp_rate_t *rate;
static size_t size;

static void setup(void)
{
    size = cp_rate_size(BUCKETS);
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    ck_assert_ptr_ne(memory, MAP_FAILED);
    rate = cp_rate_init(memory, BUCKETS);
    ck_assert_ptr_nonnull(rate);
}

static void teardown(void)
{
    munmap(rate, size);
}

static uint64_t key_of(int number)
{
    return cp_rate_key(rate, &number, sizeof(number));
}

static int take(uint64_t key, const cp_rate_limit_t *limit, cp_clock_t now)
{
    return cp_rate_take(rate, key, limit, now).is_allowed;
}

START_TEST(a_bucket_gives_its_burst_and_then_its_rate)
{
    const cp_rate_limit_t limit = {20, 40, SECOND};
    uint64_t key = key_of(1);
    cp_clock_t now = 1000 * SECOND;
    int allowed = 0;

    for (int i = 0; i < 100; i++) {
        allowed += take(key, &limit, now);
    }
    ck_assert_int_eq(allowed, 40);
    for (int i = 0; i < 100; i++) {
        now += SECOND / 100;
        allowed += take(key, &limit, now);
    }
    ck_assert_int_eq(allowed, 60);
    now += 100 * SECOND;
    for (int i = 0; i < 100; i++) {
        allowed += take(key, &limit, now);
    }
    ck_assert_int_eq(allowed, 100);
}
END_TEST

START_TEST(it_tells_what_remains_and_when_to_come_again)
{
    const cp_rate_limit_t limit = {2, 3, SECOND};
    cp_clock_t now = SECOND;
    uint64_t key = key_of(1);
    cp_rate_verdict_t v = cp_rate_take(rate, key, &limit, now);

    ck_assert_int_eq(v.remaining, 2);
    ck_assert_int_eq(v.retry, 0);
    ck_assert_int_eq(v.full, SECOND / 2);
    take(key, &limit, now);
    v = cp_rate_take(rate, key, &limit, now);
    ck_assert(v.is_allowed);
    ck_assert_int_eq(v.remaining, 0);
    ck_assert_int_eq(v.retry, SECOND / 2);
    v = cp_rate_take(rate, key, &limit, now + SECOND / 10);
    ck_assert(!v.is_allowed);
    ck_assert_int_eq(v.retry, SECOND / 2 - SECOND / 10);
    ck_assert(!take(key, &limit, now + SECOND / 2 - 1));
    ck_assert(take(key, &limit, now + SECOND / 2));
}
END_TEST

START_TEST(buckets_do_not_touch_each_other)
{
    const cp_rate_limit_t limit = {1, 1, SECOND};

    for (int i = 0; i < BUCKETS / 4; i++) {
        ck_assert(take(key_of(i), &limit, SECOND));
    }
    for (int i = 0; i < BUCKETS / 4; i++) {
        ck_assert(!take(key_of(i), &limit, SECOND));
    }
}
END_TEST

/* Uneven rates are kept over a long time, too. */
START_TEST(nothing_is_lost_by_rounding)
{
    const cp_rate_limit_t limit = {3000, 1, SECOND};
    uint64_t key = key_of(1);
    cp_clock_t now = SECOND;
    int allowed = 0;

    for (int i = 0; i < 1000000; i++) {
        now += 10;
        allowed += take(key, &limit, now);
    }
    /* Asked every 10 us, one is allowed at the first moment after 333.3 us. */
    ck_assert_int_ge(allowed, 29400);
    ck_assert_int_le(allowed, 30000);
}
END_TEST

START_TEST(who_asks_most_is_not_forgotten_among_a_million)
{
    const cp_rate_limit_t limit = {1, 5, SECOND};
    cp_clock_t now = SECOND;
    uint64_t busy = key_of(-1);
    int allowed = 0;

    for (int i = 0; i < 1000000; i++) {
        now += 10;
        take(key_of(i), &limit, now);
        if (i % 10 == 0) {
            allowed += take(busy, &limit, now);
        }
    }
    /* Ten seconds: the burst of five and ten more. */
    ck_assert_int_ge(allowed, 14);
    ck_assert_int_le(allowed, 15);
}
END_TEST

static const cp_rate_limit_t storm = {1, 1000, SECOND};

static void *hammer(void *data)
{
    uint64_t key = key_of(7);
    intptr_t allowed = 0;

    for (int i = 0; i < TRIES; i++) {
        allowed += take(key, &storm, SECOND);
    }
    return (void *)allowed;
}

START_TEST(threads_together_get_no_more_than_one)
{
    pthread_t threads[THREADS];
    intptr_t allowed = 0;

    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, hammer, NULL), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *each;

        pthread_join(threads[i], &each);
        allowed += (intptr_t)each;
    }
    ck_assert_int_eq(allowed, storm.burst);
}
END_TEST

/* Children are killed wherever they are; nobody waits for them, and none of
 * what they took is given out again. */
START_TEST(killed_children_leave_it_whole)
{
    const cp_rate_limit_t wide = {1000000, 1000000000, SECOND};
    uint64_t key = key_of(7);

    for (int round = 0; round < 40; round++) {
        pid_t pid = fork();

        if (pid == 0) {
            for (;;) {
                take(key, &wide, SECOND);
            }
        }
        usleep(2000 + 100 * (useconds_t)round);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        ck_assert(take(key, &wide, SECOND));
    }
    ck_assert_int_lt(cp_rate_take(rate, key, &wide, SECOND).remaining,
                     wide.burst - 41);
}
END_TEST

Suite *rate_suite(void)
{
    Suite *suite = suite_create("rate");
    TCase *tcase = tcase_create("rate");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, a_bucket_gives_its_burst_and_then_its_rate);
    tcase_add_test(tcase, it_tells_what_remains_and_when_to_come_again);
    tcase_add_test(tcase, buckets_do_not_touch_each_other);
    tcase_add_test(tcase, nothing_is_lost_by_rounding);
    tcase_add_test(tcase, who_asks_most_is_not_forgotten_among_a_million);
    tcase_add_test(tcase, threads_together_get_no_more_than_one);
    tcase_add_test(tcase, killed_children_leave_it_whole);
    suite_add_tcase(suite, tcase);
    return suite;
}
