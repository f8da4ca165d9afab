/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "pool/wait/gate.h"
#include "suites.h"

enum {
    WAITERS = 6
};

/* Long enough for the slowest machine; reached only by a failing test. */
#define PATIENCE (20 * APR_USEC_PER_SEC)

static apr_pool_t *pool;
static uint64_t gauge;

static void setup(void)
{
    apr_pool_create(&pool, NULL);
    gauge = 0;
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

static cp_gate_t *make_gate(int capacity, int max_waiting)
{
    cp_gate_t *gate;

    ck_assert_int_eq(cp_gate_create(&gate, capacity, max_waiting, &gauge, pool),
                     APR_SUCCESS);
    return gate;
}

static uint64_t cell_now(const uint64_t *cell)
{
    return __atomic_load_n(cell, __ATOMIC_RELAXED);
}

static uint64_t gauge_now(void)
{
    return __atomic_load_n(&gauge, __ATOMIC_RELAXED);
}

static void await_waiting(cp_gate_t *gate, int waiting)
{
    cp_clock_t deadline = cp_clock_after(PATIENCE);

    while (cp_gate_state(gate).waiting != waiting) {
        ck_assert_msg(cp_clock_left(deadline) > 0, "%d waiting, not %d",
                      cp_gate_state(gate).waiting, waiting);
        sched_yield();
    }
}

static void check_at_rest(cp_gate_t *gate)
{
    cp_gate_state_t state = cp_gate_state(gate);

    ck_assert_int_eq(state.inside, 0);
    ck_assert_int_eq(state.waiting, 0);
    ck_assert_uint_eq(gauge_now(), 0);
    for (int i = 0; i < state.capacity; i++) {
        ck_assert(cp_gate_try_enter(gate));
    }
    ck_assert(!cp_gate_try_enter(gate));
}

typedef struct visitor_t {
    pthread_t thread;
    cp_gate_t *gate;
    cp_clock_t deadline;
    int *turn; /* atomic: counts who came in */
    int came_as;
    apr_status_t rv;
} visitor_t;

static void *visit(void *data)
{
    visitor_t *visitor = data;

    visitor->rv = cp_gate_enter(visitor->gate, visitor->deadline);
    if (visitor->rv == APR_SUCCESS) {
        visitor->came_as = __atomic_fetch_add(visitor->turn, 1,
                                              __ATOMIC_RELAXED);
        cp_gate_leave(visitor->gate);
    }
    return NULL;
}

/* Start one more waiter and come back when it stands in the queue. */
static void queue_up(visitor_t *visitor, cp_gate_t *gate, cp_clock_t deadline,
                     int *turn)
{
    int waiting = cp_gate_state(gate).waiting;

    *visitor = (visitor_t){
        .gate = gate, .deadline = deadline, .turn = turn, .came_as = -1};
    ck_assert_int_eq(pthread_create(&visitor->thread, NULL, visit, visitor), 0);
    await_waiting(gate, waiting + 1);
}

START_TEST(capacity_are_let_in_and_no_more)
{
    cp_gate_t *gate = make_gate(3, 10);

    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(cp_gate_enter(gate, CP_CLOCK_NEVER), APR_SUCCESS);
        ck_assert_int_eq(cp_gate_state(gate).inside, i + 1);
    }
    ck_assert_int_eq(cp_gate_state(gate).capacity, 3);
    ck_assert_int_eq(cp_gate_enter(gate, cp_clock_after(1000)), APR_TIMEUP);
    cp_gate_leave(gate);
    ck_assert_int_eq(cp_gate_enter(gate, CP_CLOCK_NEVER), APR_SUCCESS);
    ck_assert_int_eq(cp_gate_state(gate).inside, 3);
}
END_TEST

START_TEST(waiters_come_in_the_order_of_their_arrival)
{
    cp_gate_t *gate = make_gate(1, WAITERS);
    visitor_t visitor[WAITERS];
    int turn = 0;

    ck_assert(cp_gate_try_enter(gate));
    for (int i = 0; i < WAITERS; i++) {
        queue_up(&visitor[i], gate, CP_CLOCK_NEVER, &turn);
        ck_assert_uint_eq(gauge_now(), (unsigned)i + 1);
    }
    cp_gate_leave(gate);
    for (int i = 0; i < WAITERS; i++) {
        pthread_join(visitor[i].thread, NULL);
        ck_assert_int_eq(visitor[i].rv, APR_SUCCESS);
        ck_assert_int_eq(visitor[i].came_as, i);
    }
    check_at_rest(gate);
}
END_TEST

START_TEST(a_passed_deadline_fails_at_once_when_full)
{
    cp_gate_t *gate = make_gate(1, 10);
    cp_clock_t began = cp_clock_now();

    ck_assert_int_eq(cp_gate_enter(gate, began - 1), APR_SUCCESS);
    began = cp_clock_now();
    ck_assert_int_eq(cp_gate_enter(gate, began - 1), APR_TIMEUP);
    ck_assert_int_eq(cp_gate_enter(gate, 0), APR_TIMEUP);
    ck_assert_int_eq(cp_gate_state(gate).waiting, 0);
    ck_assert_int_lt(cp_clock_now() - began, APR_USEC_PER_SEC);
}
END_TEST

START_TEST(a_waiter_gives_up_at_its_deadline)
{
    cp_gate_t *gate = make_gate(1, 10);
    cp_clock_t began = cp_clock_now();
    cp_clock_t deadline = began + 20000;

    ck_assert(cp_gate_try_enter(gate));
    ck_assert_int_eq(cp_gate_enter(gate, deadline), APR_TIMEUP);
    ck_assert_int_ge(cp_clock_now(), deadline);
    ck_assert_int_lt(cp_clock_now() - deadline, APR_USEC_PER_SEC);
    cp_gate_leave(gate);
    check_at_rest(gate);
}
END_TEST

START_TEST(who_gives_up_leaves_the_queue_in_order)
{
    cp_gate_t *gate = make_gate(1, WAITERS);
    visitor_t visitor[3];
    int turn = 0;

    ck_assert(cp_gate_try_enter(gate));
    queue_up(&visitor[0], gate, CP_CLOCK_NEVER, &turn);
    queue_up(&visitor[1], gate, cp_clock_after(300000), &turn);
    queue_up(&visitor[2], gate, CP_CLOCK_NEVER, &turn);
    pthread_join(visitor[1].thread, NULL);
    ck_assert_int_eq(visitor[1].rv, APR_TIMEUP);
    ck_assert_int_eq(cp_gate_state(gate).waiting, 2);
    cp_gate_leave(gate);
    pthread_join(visitor[0].thread, NULL);
    pthread_join(visitor[2].thread, NULL);
    ck_assert_int_eq(visitor[0].came_as, 0);
    ck_assert_int_eq(visitor[2].came_as, 1);
    check_at_rest(gate);
}
END_TEST

START_TEST(a_full_queue_refuses_at_once)
{
    cp_gate_t *gate = make_gate(1, 2);
    visitor_t visitor[2];
    int turn = 0;

    ck_assert(cp_gate_try_enter(gate));
    queue_up(&visitor[0], gate, CP_CLOCK_NEVER, &turn);
    queue_up(&visitor[1], gate, CP_CLOCK_NEVER, &turn);
    ck_assert_int_eq(cp_gate_enter(gate, cp_clock_after(APR_USEC_PER_SEC)),
                     APR_ENOSPC);
    ck_assert_int_eq(cp_gate_state(gate).waiting, 2);
    cp_gate_leave(gate);
    pthread_join(visitor[0].thread, NULL);
    pthread_join(visitor[1].thread, NULL);
    ck_assert_int_eq(turn, 2);
    check_at_rest(gate);
}
END_TEST

START_TEST(without_a_queue_nobody_waits)
{
    cp_gate_t *gate = make_gate(1, 0);

    ck_assert_int_eq(cp_gate_enter(gate, CP_CLOCK_NEVER), APR_SUCCESS);
    ck_assert_int_eq(cp_gate_enter(gate, cp_clock_after(APR_USEC_PER_SEC)),
                     APR_ENOSPC);
}
END_TEST

START_TEST(closing_wakes_all_and_admits_nobody)
{
    cp_gate_t *gate = make_gate(2, WAITERS);
    visitor_t visitor[WAITERS];
    int turn = 0;

    ck_assert(cp_gate_try_enter(gate));
    ck_assert(cp_gate_try_enter(gate));
    for (int i = 0; i < WAITERS; i++) {
        queue_up(&visitor[i], gate, CP_CLOCK_NEVER, &turn);
    }
    cp_gate_close(gate);
    for (int i = 0; i < WAITERS; i++) {
        pthread_join(visitor[i].thread, NULL);
        ck_assert_int_eq(visitor[i].rv, APR_EOF);
    }
    ck_assert_uint_eq(gauge_now(), 0);
    cp_gate_leave(gate);
    ck_assert(!cp_gate_try_enter(gate));
    ck_assert_int_eq(cp_gate_enter(gate, CP_CLOCK_NEVER), APR_EOF);
    cp_gate_close(gate);
    cp_gate_leave(gate);
    ck_assert_int_eq(cp_gate_state(gate).inside, 0);
}
END_TEST

START_TEST(who_has_waited_for_long_is_not_overtaken)
{
    cp_gate_t *gate = make_gate(1, 10);
    visitor_t visitor;
    cp_clock_t long_ago;
    int turn = 0;

    ck_assert(cp_gate_try_enter(gate));
    queue_up(&visitor, gate, CP_CLOCK_NEVER, &turn);
    long_ago = cp_clock_after(6000); /* what gate.h tells, and some more */
    ck_assert(!cp_gate_try_enter(gate));
    while (cp_clock_left(long_ago) > 0) {
        sched_yield();
    }
    cp_gate_leave(gate);
    /* Whether or not the waiter has woken up, it counts as inside, or it is
     * through already. */
    ck_assert_int_eq(cp_gate_state(gate).waiting, 0);
    pthread_join(visitor.thread, NULL);
    ck_assert_int_eq(visitor.rv, APR_SUCCESS);
    check_at_rest(gate);
}
END_TEST

enum {
    WALKERS = 32,
    WALKS = 1000,
    DOORS = 9
};

static void keep_busy(cp_clock_t us)
{
    cp_clock_t end = cp_clock_after(us);

    while (cp_clock_left(end) > 0) {
    }
}

static void *walk_through(void *data)
{
    cp_gate_t *gate = data;

    for (int i = 0; i < WALKS; i++) {
        if (cp_gate_enter(gate, CP_CLOCK_NEVER) != APR_SUCCESS) {
            return gate;
        }
        keep_busy(40);
        cp_gate_leave(gate);
        keep_busy(30);
    }
    return NULL;
}

/* More threads than permits, and more permits than processors: where permits
 * are handed to sleepers, each walk sleeps twice or more. */
START_TEST(threads_that_run_form_no_convoy)
{
    cp_gate_t *gate = make_gate(DOORS, WALKERS);
    pthread_t thread[WALKERS];
    struct rusage before, after;
    void *failed;

    getrusage(RUSAGE_SELF, &before);
    for (int i = 0; i < WALKERS; i++) {
        ck_assert_int_eq(pthread_create(&thread[i], NULL, walk_through, gate),
                         0);
    }
    for (int i = 0; i < WALKERS; i++) {
        pthread_join(thread[i], &failed);
        ck_assert_ptr_null(failed);
    }
    getrusage(RUSAGE_SELF, &after);
    ck_assert_int_lt(after.ru_nvcsw - before.ru_nvcsw, WALKERS * WALKS);
    check_at_rest(gate);
}
END_TEST

START_TEST(the_gauge_is_optional)
{
    cp_gate_t *gate;

    ck_assert_int_eq(cp_gate_create(&gate, 1, 1, NULL, pool), APR_SUCCESS);
    ck_assert(cp_gate_try_enter(gate));
    ck_assert_int_eq(cp_gate_enter(gate, cp_clock_after(1000)), APR_TIMEUP);
}
END_TEST

START_TEST(the_most_waiters_and_the_oldest_one_are_told)
{
    static uint64_t most, since;
    cp_gate_t *gate = make_gate(1, WAITERS);
    visitor_t visitors[3];
    cp_clock_t before, between;
    int turn = 0;

    most = since = 0;
    cp_gate_tell(gate, &most, &since);
    ck_assert(cp_gate_try_enter(gate));
    ck_assert_uint_eq(cell_now(&most), 0);
    ck_assert_uint_eq(cell_now(&since), 0);

    before = cp_clock_now();
    queue_up(&visitors[0], gate, cp_clock_after(PATIENCE), &turn);
    between = cp_clock_now();
    ck_assert_uint_ge(cell_now(&since), (uint64_t)before);
    ck_assert_uint_le(cell_now(&since), (uint64_t)between);
    ck_assert_uint_eq(cell_now(&most), 1);

    /* Who comes later changes nothing; when the first one gives up, the next
     * has waited for longest. */
    queue_up(&visitors[1], gate, cp_clock_after(apr_time_from_msec(30)), &turn);
    queue_up(&visitors[2], gate, cp_clock_after(PATIENCE), &turn);
    ck_assert_uint_le(cell_now(&since), (uint64_t)between);
    ck_assert_uint_eq(cell_now(&most), 3);
    pthread_join(visitors[1].thread, NULL);
    ck_assert_int_eq(visitors[1].rv, APR_TIMEUP);
    ck_assert_uint_le(cell_now(&since), (uint64_t)between);

    cp_gate_leave(gate);
    pthread_join(visitors[0].thread, NULL);
    pthread_join(visitors[2].thread, NULL);
    ck_assert_uint_eq(cell_now(&since), 0);
    ck_assert_uint_eq(cell_now(&most), 3);
    check_at_rest(gate);
}
END_TEST

START_TEST(the_next_one_is_the_oldest_when_the_first_gives_up)
{
    static uint64_t most, since;
    cp_gate_t *gate = make_gate(1, WAITERS);
    visitor_t first, second;
    cp_clock_t between;
    int turn = 0;

    most = since = 0;
    cp_gate_tell(gate, &most, &since);
    ck_assert(cp_gate_try_enter(gate));
    queue_up(&first, gate, cp_clock_after(apr_time_from_msec(50)), &turn);
    between = cp_clock_now();
    ck_assert_uint_le(cell_now(&since), (uint64_t)between);
    queue_up(&second, gate, cp_clock_after(PATIENCE), &turn);
    pthread_join(first.thread, NULL);
    ck_assert_int_eq(first.rv, APR_TIMEUP);
    ck_assert_uint_ge(cell_now(&since), (uint64_t)between);
    cp_gate_close(gate);
    pthread_join(second.thread, NULL);
    ck_assert_uint_eq(cell_now(&since), 0);
    ck_assert_uint_eq(cell_now(&most), 2);
    cp_gate_leave(gate);
}
END_TEST

START_TEST(gates_that_share_their_cells_tell_the_most_of_all)
{
    static uint64_t most, since[2];
    cp_gate_t *gates[2];
    visitor_t visitors[3];
    int turn = 0;

    most = 0;
    for (int i = 0; i < 2; i++) {
        gates[i] = make_gate(1, WAITERS);
        cp_gate_tell(gates[i], &most, &since[i]);
        ck_assert(cp_gate_try_enter(gates[i]));
    }
    queue_up(&visitors[0], gates[0], cp_clock_after(PATIENCE), &turn);
    queue_up(&visitors[1], gates[0], cp_clock_after(PATIENCE), &turn);
    queue_up(&visitors[2], gates[1], cp_clock_after(PATIENCE), &turn);
    ck_assert_uint_eq(gauge_now(), 3);
    ck_assert_uint_eq(cell_now(&most), 3);
    for (int i = 0; i < 2; i++) {
        cp_gate_leave(gates[i]);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(visitors[i].thread, NULL);
    }
    ck_assert_uint_eq(cell_now(&most), 3);
    check_at_rest(gates[0]);
    check_at_rest(gates[1]);
}
END_TEST

enum {
    RACERS = 8,
    LAPS = 3000,
    PERMITS = 3
};

typedef struct race_t {
    cp_gate_t *gate;
    int inside; /* atomic, as is all below */
    int overfull;
    int entered;
    int timed_out;
    int refused;
    int unexpected;
} race_t;

static void add(int *cell, int delta)
{
    __atomic_fetch_add(cell, delta, __ATOMIC_RELAXED);
}

static void run_lap(race_t *race, unsigned *seed)
{
    cp_clock_t deadline = cp_clock_after(rand_r(seed) % 60);
    apr_status_t rv = cp_gate_enter(race->gate, deadline);

    if (rv != APR_SUCCESS) {
        add(rv == APR_TIMEUP   ? &race->timed_out
            : rv == APR_ENOSPC ? &race->refused
                               : &race->unexpected,
            1);
        return;
    }
    if (__atomic_add_fetch(&race->inside, 1, __ATOMIC_RELAXED) > PERMITS) {
        add(&race->overfull, 1);
    }
    add(&race->entered, 1);
    if (rand_r(seed) % 4 == 0) {
        sched_yield();
    }
    add(&race->inside, -1);
    cp_gate_leave(race->gate);
}

static void *race_along(void *data)
{
    race_t *race = data;
    unsigned seed = (unsigned)(uintptr_t)&seed; /* differs in each thread */

    for (int i = 0; i < LAPS; i++) {
        run_lap(race, &seed);
    }
    return NULL;
}

START_TEST(no_permit_is_lost_or_doubled_in_a_race_with_deadlines)
{
    race_t race = {.gate = make_gate(PERMITS, RACERS)};
    pthread_t thread[RACERS];

    for (int i = 0; i < RACERS; i++) {
        ck_assert_int_eq(pthread_create(&thread[i], NULL, race_along, &race),
                         0);
    }
    for (int i = 0; i < RACERS; i++) {
        pthread_join(thread[i], NULL);
    }
    ck_assert_int_eq(race.overfull, 0);
    ck_assert_int_eq(race.refused, 0); /* the queue has room for all */
    ck_assert_int_eq(race.unexpected, 0);
    ck_assert_int_eq(race.entered + race.timed_out, RACERS * LAPS);
    ck_assert_int_gt(race.entered, 0);
    ck_assert_int_gt(race.timed_out, 0); /* else there was no race */
    check_at_rest(race.gate);
}
END_TEST

Suite *gate_suite(void)
{
    Suite *suite = suite_create("gate");
    TCase *tc = tcase_create("gate");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, capacity_are_let_in_and_no_more);
    tcase_add_test(tc, waiters_come_in_the_order_of_their_arrival);
    tcase_add_test(tc, a_passed_deadline_fails_at_once_when_full);
    tcase_add_test(tc, a_waiter_gives_up_at_its_deadline);
    tcase_add_test(tc, who_gives_up_leaves_the_queue_in_order);
    tcase_add_test(tc, a_full_queue_refuses_at_once);
    tcase_add_test(tc, without_a_queue_nobody_waits);
    tcase_add_test(tc, closing_wakes_all_and_admits_nobody);
    tcase_add_test(tc, who_has_waited_for_long_is_not_overtaken);
    tcase_add_test(tc, threads_that_run_form_no_convoy);
    tcase_add_test(tc, the_gauge_is_optional);
    tcase_add_test(tc, the_most_waiters_and_the_oldest_one_are_told);
    tcase_add_test(tc, the_next_one_is_the_oldest_when_the_first_gives_up);
    tcase_add_test(tc, gates_that_share_their_cells_tell_the_most_of_all);
    tcase_add_test(tc, no_permit_is_lost_or_doubled_in_a_race_with_deadlines);
    suite_add_tcase(suite, tc);
    return suite;
}
