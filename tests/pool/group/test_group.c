/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <apr_pools.h>

#include "base/log.h"
#include "base/meanwhile.h"
#include "pool/fake_driver.h"
#include "pool/group/group.h"
#include "pool/group/pace.h"
#include "pool/pool.h"
#include "stats/cell.h"
#include "suites.h"

#define SEC     APR_USEC_PER_SEC
#define MS      APR_TIME_C(1000)
#define QUEUE   64
#define MANY    16
#define LAPS    2000
#define FOREVER CP_CLOCK_NEVER

static apr_pool_t *p;
static fake_driver_t fake;
static cp_pool_stats_t stats;
static cp_pool_t *pool;
static cp_group_t *group;

/* Somebody who joins from a thread of his own. */
typedef struct guest_t {
    pthread_t thread;
    cp_group_item_t item;
    cp_group_patience_t patience;
    cp_group_turn_t turn; /* once it is joined */
    cp_meanwhile_t meanwhile;
    int value; /* written by who has the item, without a lock */
} guest_t;

static void quiet(void *baton, const char *file, int line, cp_log_level_t level,
                  apr_status_t rv, const char *text)
{
}

static void make_group_of(int queue)
{
    cp_pool_config_t config = {.name = "app",
                               .max = 1,
                               .queue = queue,
                               .is_pooled = 1,
                               .acquire = SEC};

    ck_assert_int_eq(
        cp_pool_create(&pool, &config, &fake_driver, &fake, &stats),
        APR_SUCCESS);
    ck_assert_int_eq(cp_group_create(&group, pool, p), APR_SUCCESS);
}

static void setup(void)
{
    apr_pool_create(&p, NULL);
    fake_init(&fake);
    memset(&stats, 0, sizeof(stats));
    cp_log_install(quiet, NULL, CP_LOG_INFO);
    make_group_of(QUEUE);
}

static void teardown(void)
{
    ck_assert_int_eq(cp_group_queued(group), 0);
    ck_assert_uint_eq(cp_stats_get(&stats.waiting), 0);
    ck_assert_uint_eq(cp_stats_get(&stats.waiting_since[CP_WAIT_GROUP]), 0);
    cp_pool_stop(pool);
    ck_assert_int_eq(cp_pool_destroy(pool), APR_SUCCESS);
    fake_free(&fake);
    apr_pool_destroy(p);
    cp_log_install(NULL, NULL, CP_LOG_NOTICE);
}

static void *join_in(void *data)
{
    guest_t *guest = data;

    cp_meanwhile_set(guest->meanwhile);
    guest->turn = cp_group_join(group, &guest->item, &guest->patience);
    return NULL;
}

static void await_queued(int count)
{
    apr_time_t give_up = apr_time_now() + 10 * SEC;

    while (cp_group_queued(group) != count) {
        ck_assert_msg(apr_time_now() < give_up, "never %d in the queue", count);
        apr_sleep(200);
    }
}

/* Queued, as the last one. */
static void invite(guest_t *guest, cp_clock_t deadline)
{
    int before = cp_group_queued(group);

    memset(guest, 0, sizeof(*guest));
    guest->item.baton = guest;
    guest->patience.deadline = deadline;
    ck_assert_int_eq(pthread_create(&guest->thread, NULL, join_in, guest), 0);
    await_queued(before + 1);
}

static cp_group_turn_t see_off(guest_t *guest)
{
    pthread_join(guest->thread, NULL);
    return guest->turn;
}

static void lead(void)
{
    cp_group_item_t item = {0};
    cp_group_patience_t patience = {.deadline = FOREVER};

    ck_assert_int_eq(cp_group_join(group, &item, &patience), CP_GROUP_LEADS);
    ck_assert_int_eq(item.has_waited, 0);
}

START_TEST(who_comes_alone_leads)
{
    for (int i = 0; i < 3; i++) {
        lead();
        ck_assert_ptr_null(cp_group_take(group));
        cp_group_hand_over(group);
    }
}
END_TEST

START_TEST(the_leader_has_them_in_the_order_of_their_arrival)
{
    guest_t guests[MANY];

    lead();
    for (int i = 0; i < MANY; i++) {
        invite(&guests[i], FOREVER);
    }
    ck_assert_uint_eq(cp_stats_get(&stats.waiting), MANY);
    ck_assert_uint_ne(cp_stats_get(&stats.waiting_since[CP_WAIT_GROUP]), 0);
    for (int i = 0; i < MANY; i++) {
        cp_group_item_t *item = cp_group_take(group);

        ck_assert_ptr_eq(item, &guests[i].item);
        guests[i].value = i;
        cp_group_end(item, i % 2 ? CP_GROUP_DONE : CP_GROUP_ALONE);
    }
    ck_assert_ptr_null(cp_group_take(group));
    for (int i = 0; i < MANY; i++) {
        ck_assert_int_eq(see_off(&guests[i]),
                         i % 2 ? CP_GROUP_DONE : CP_GROUP_ALONE);
        ck_assert_int_eq(guests[i].value, i);
        ck_assert_int_eq(guests[i].item.has_waited, 1);
    }
    cp_group_hand_over(group);
    ck_assert_uint_eq(cp_stats_get(&stats.waiting_max), MANY);
}
END_TEST

START_TEST(the_lead_goes_to_the_one_who_waits_longest)
{
    guest_t first, second;

    lead();
    invite(&first, FOREVER);
    invite(&second, FOREVER);
    cp_group_hand_over(group);
    ck_assert_int_eq(see_off(&first), CP_GROUP_LEADS);
    ck_assert_int_eq(cp_group_queued(group), 1);
    cp_group_hand_over(group); /* it is this thread's now */
    ck_assert_int_eq(see_off(&second), CP_GROUP_LEADS);
    cp_group_hand_over(group);
    lead(); /* nobody leads */
    cp_group_hand_over(group);
}
END_TEST

START_TEST(who_was_not_begun_gives_up_at_its_deadline)
{
    guest_t late, other;
    cp_error_t err;

    lead();
    invite(&late, cp_clock_after(30 * MS));
    ck_assert_int_eq(see_off(&late), CP_GROUP_LATE);
    ck_assert_int_eq(cp_group_queued(group), 0);
    ck_assert_ptr_null(cp_group_take(group));
    ck_assert_int_eq(cp_group_refuse(group, late.turn, cp_clock_now(), &err),
                     APR_TIMEUP);
    ck_assert_int_eq(err.cls, CP_ERR_CAPACITY);
    ck_assert_uint_eq(cp_stats_get(&stats.timeouts), 1);

    invite(&other, cp_clock_after(30 * MS));
    cp_group_take(group);
    apr_sleep(60 * MS); /* begun, it stays for as long as that takes */
    cp_group_end(&other.item, CP_GROUP_DONE);
    ck_assert_int_eq(see_off(&other), CP_GROUP_DONE);
    cp_group_hand_over(group);
}
END_TEST

START_TEST(as_many_wait_as_may)
{
    guest_t guests[2], more = {.patience.deadline = FOREVER};
    cp_error_t err;

    cp_pool_stop(pool);
    cp_pool_destroy(pool);
    make_group_of(2);
    lead();
    invite(&guests[0], FOREVER);
    invite(&guests[1], FOREVER);
    join_in(&more);
    ck_assert_int_eq(more.turn, CP_GROUP_FULL);
    ck_assert_int_eq(cp_group_refuse(group, more.turn, cp_clock_now(), &err),
                     APR_ENOSPC);
    ck_assert_ptr_nonnull(strstr(err.detail, "waiting 2"));
    ck_assert_uint_eq(cp_stats_get(&stats.rejected), 1);
    for (int i = 0; i < 2; i++) {
        cp_group_end(cp_group_take(group), CP_GROUP_DONE);
        see_off(&guests[i]);
    }
    cp_group_hand_over(group);
}
END_TEST

static int say(void *baton)
{
    return __atomic_load_n((int *)baton, __ATOMIC_ACQUIRE);
}

START_TEST(who_waits_for_nobody_is_taken_out)
{
    guest_t guest = {.item.baton = &guest};
    int is_gone = 0;

    lead();
    guest.patience = (cp_group_patience_t){FOREVER, say, &is_gone};
    pthread_create(&guest.thread, NULL, join_in, &guest);
    await_queued(1);
    __atomic_store_n(&is_gone, 1, __ATOMIC_RELEASE);
    ck_assert_int_eq(see_off(&guest), CP_GROUP_GONE);
    ck_assert_ptr_null(cp_group_take(group));
    cp_group_hand_over(group);
}
END_TEST

/* What the thread of a guest looks after uses what the leader uses, too. */
static void look_after(void *baton)
{
    guest_t *guest = baton;

    guest->value++;
    apr_sleep(2 * MS);
    guest->value++;
}

START_TEST(the_leader_and_its_thread_never_work_for_an_item_at_once)
{
    guest_t guest = {.item.baton = &guest};
    cp_group_item_t *item;

    lead();
    guest.patience.deadline = FOREVER;
    guest.meanwhile = (cp_meanwhile_t){look_after, &guest};
    pthread_create(&guest.thread, NULL, join_in, &guest);
    await_queued(1);
    apr_sleep(20 * MS); /* it has had something to look after */
    while (!(item = cp_group_take(group))) {
        apr_sleep(100);
    }
    ck_assert_int_gt(guest.value, 0);
    ck_assert_int_eq(guest.value % 2, 0);
    for (int i = 0; i < 20; i++) {
        int value = ++guest.value; /* TSan sees who else does */

        apr_sleep(MS);
        ck_assert_int_eq(guest.value, value);
    }
    cp_group_end(item, CP_GROUP_DONE);
    ck_assert_int_eq(see_off(&guest), CP_GROUP_DONE);
    cp_group_hand_over(group);
}
END_TEST

/* --- many --- */

typedef struct work_t {
    int leaders; /* atomic: who leads at this moment */
    int crowded; /* atomic: there were two */
    long done;   /* the leader's: without a lock */
    long alone;  /* atomic */
    long late;   /* atomic */
    long wrong;  /* atomic */
} work_t;

typedef struct job_t {
    work_t *work;
    int times; /* it was done; whoever has the item */
} job_t;

static void add(long *cell)
{
    __atomic_add_fetch(cell, 1, __ATOMIC_RELAXED);
}

static void lead_some(work_t *work, unsigned *seed)
{
    cp_group_item_t *taken[8], *item;
    int count = 0, most = rand_r(seed) % 8;

    if (__atomic_add_fetch(&work->leaders, 1, __ATOMIC_RELAXED) != 1) {
        __atomic_store_n(&work->crowded, 1, __ATOMIC_RELAXED);
    }
    work->done++;
    while (count < most && (item = cp_group_take(group)) != NULL) {
        job_t *job = item->baton;

        job->times++;
        taken[count++] = item;
        work->done++;
    }
    __atomic_sub_fetch(&work->leaders, 1, __ATOMIC_RELAXED);
    cp_group_hand_over(group);
    for (int i = 0; i < count; i++) {
        cp_group_end(taken[i], CP_GROUP_DONE);
    }
}

static void run_lap(work_t *work, unsigned *seed)
{
    job_t job = {.work = work};
    cp_group_item_t item = {.baton = &job};
    cp_group_patience_t patience = {
        .deadline = cp_clock_after(rand_r(seed) % 4 ? 20 * SEC
                                                    : rand_r(seed) % 200)};
    int expected = 0;

    switch (cp_group_join(group, &item, &patience)) {
    case CP_GROUP_LEADS:
        lead_some(work, seed);
        break;
    case CP_GROUP_DONE:
        expected = 1;
        break;
    case CP_GROUP_LATE:
        add(&work->late);
        break;
    default:
        add(&work->wrong);
    }
    if (job.times != expected) {
        add(&work->wrong);
    }
}

static void *work_along(void *data)
{
    unsigned seed = (unsigned)(uintptr_t)&seed;

    for (int i = 0; i < LAPS; i++) {
        run_lap(data, &seed);
    }
    return NULL;
}

START_TEST(all_is_done_once_by_one_at_a_time)
{
    work_t work = {0};
    pthread_t threads[MANY];

    for (int i = 0; i < MANY; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, work_along, &work),
                         0);
    }
    for (int i = 0; i < MANY; i++) {
        pthread_join(threads[i], NULL);
    }
    ck_assert_int_eq(work.crowded, 0);
    ck_assert_int_eq(work.wrong, 0);
    ck_assert_int_eq(work.done + work.late, MANY * LAPS);
    lead();
    cp_group_hand_over(group);
}
END_TEST

/* --- what is counted --- */

START_TEST(groups_are_counted_by_their_size)
{
    static const int sizes[] = {2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65};
    static const uint64_t expected[] = {1, 2, 2, 2, 2, 3};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        cp_group_count(group, sizes[i]);
    }
    for (int i = 0; i < CP_GROUP_SIZES; i++) {
        ck_assert_uint_eq(cp_stats_get(&stats.groups[i]), expected[i]);
    }
}
END_TEST

START_TEST(one_of_a_hundred_may_be_slow)
{
    cp_pace_t pace = {0};

    ck_assert(!cp_pace_is_slow(&pace));
    cp_pace_note(&pace, 1);
    cp_pace_note(&pace, 1);
    ck_assert(!cp_pace_is_slow(&pace)); /* by accident */
    cp_pace_note(&pace, 1);
    for (int i = 0; i < 296; i++) {
        cp_pace_note(&pace, 0);
        ck_assert(cp_pace_is_slow(&pace));
    }
    cp_pace_note(&pace, 0);
    ck_assert(!cp_pace_is_slow(&pace));
    cp_pace_note(&pace, CP_PACE_ENOUGH);
    ck_assert(cp_pace_is_slow(&pace));
    for (int i = 0; i < 3 * CP_PACE_MEMORY; i++) {
        cp_pace_note(&pace, 0);
    }
    ck_assert(!cp_pace_is_slow(&pace));
    ck_assert_uint_le(pace.count, CP_PACE_MEMORY);
}
END_TEST

Suite *group_suite(void)
{
    Suite *suite = suite_create("group");
    TCase *tc = tcase_create("group");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, who_comes_alone_leads);
    tcase_add_test(tc, the_leader_has_them_in_the_order_of_their_arrival);
    tcase_add_test(tc, the_lead_goes_to_the_one_who_waits_longest);
    tcase_add_test(tc, who_was_not_begun_gives_up_at_its_deadline);
    tcase_add_test(tc, as_many_wait_as_may);
    tcase_add_test(tc, who_waits_for_nobody_is_taken_out);
    tcase_add_test(tc,
                   the_leader_and_its_thread_never_work_for_an_item_at_once);
    tcase_add_test(tc, all_is_done_once_by_one_at_a_time);
    tcase_add_test(tc, groups_are_counted_by_their_size);
    tcase_add_test(tc, one_of_a_hundred_may_be_slow);
    suite_add_tcase(suite, tc);
    return suite;
}
