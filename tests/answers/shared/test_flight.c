/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "answers/shared/flight.h"
#include "suites.h"

enum {
    WAITERS = 8,
    THREADS = 50,
    ROUNDS = 1000,
    KEYS = 7,
};

/* Long enough for the slowest machine; reached only by a failing test. */
#define PATIENCE (20 * APR_USEC_PER_SEC)

static apr_pool_t *pool;
static cp_flight_table_t *table;

static void setup(void)
{
    apr_pool_create(&pool, NULL);
    ck_assert_int_eq(cp_flight_table_create(&table, pool), APR_SUCCESS);
}

static void teardown(void)
{
    cp_flight_test_state_t state = cp_flight_test_state(table);

    ck_assert_int_eq(state.flights, 0);
    ck_assert_int_eq(state.waiting, 0);
    apr_pool_destroy(pool);
}

static cp_flight_role_t join(const char *key, cp_flight_t **pflight)
{
    return cp_flight_join(table, key, strlen(key), pflight);
}

static cp_flight_t *lead(const char *key)
{
    cp_flight_t *flight;

    ck_assert_int_eq(join(key, &flight), CP_FLIGHT_LEADS);
    return flight;
}

static void land_error(cp_flight_t *flight, cp_error_class_t cls)
{
    cp_error_t err;

    cp_error_set(&err, cls, APR_ENOENT, "cause", "detail");
    cp_flight_land(flight, NULL, &err);
}

/* Somebody who waits in a thread of his own. */
typedef struct waiter_t {
    pthread_t thread;
    cp_flight_t *flight;
    cp_clock_t deadline;
    int *is_cancelled; /* atomic */
    int has_ended;     /* atomic */
    cp_answer_t *answer;
    cp_error_t err;
    apr_status_t rv;
} waiter_t;

static int is_cancelled(void *baton)
{
    waiter_t *waiter = baton;

    return waiter->is_cancelled
           && __atomic_load_n(waiter->is_cancelled, __ATOMIC_RELAXED);
}

static void *wait_for_it(void *data)
{
    waiter_t *waiter = data;

    waiter->rv = cp_flight_wait(waiter->flight, waiter->deadline, is_cancelled,
                                waiter, &waiter->answer, &waiter->err);
    __atomic_store_n(&waiter->has_ended, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void start(waiter_t *waiter, const char *key, cp_clock_t deadline,
                  int *cancelled)
{
    *waiter = (waiter_t){.deadline = deadline, .is_cancelled = cancelled};
    ck_assert_int_eq(join(key, &waiter->flight), CP_FLIGHT_WAITS);
    ck_assert_int_eq(pthread_create(&waiter->thread, NULL, wait_for_it, waiter),
                     0);
}

static void end(waiter_t *waiter)
{
    pthread_join(waiter->thread, NULL);
}

/* The index of one that has ended, of those not yet seen. */
static int next_ended(waiter_t *waiters, int count, int *seen)
{
    cp_clock_t deadline = cp_clock_after(PATIENCE);

    for (;;) {
        for (int i = 0; i < count; i++) {
            if (!seen[i]
                && __atomic_load_n(&waiters[i].has_ended, __ATOMIC_ACQUIRE)) {
                seen[i] = 1;
                return i;
            }
        }
        ck_assert_msg(cp_clock_left(deadline) > 0, "nobody was woken");
        sched_yield();
    }
}

START_TEST(first_leads_and_all_others_get_the_same_answer)
{
    cp_flight_t *flight = lead("a");
    cp_answer_t *answer = cp_answer_create(200);
    waiter_t waiters[WAITERS];

    for (int i = 0; i < WAITERS; i++) {
        start(&waiters[i], "a", CP_CLOCK_NEVER, NULL);
        ck_assert_int_eq(cp_flight_waiters(flight), i + 1);
    }
    ck_assert_int_eq(cp_flight_test_state(table).waiting, WAITERS);
    cp_flight_land(flight, answer, NULL);
    for (int i = 0; i < WAITERS; i++) {
        end(&waiters[i]);
        ck_assert_int_eq(waiters[i].rv, APR_SUCCESS);
        ck_assert_ptr_eq(waiters[i].answer, answer);
        cp_answer_unref(waiters[i].answer);
    }
    ck_assert_int_eq(answer->refs, 1);
    cp_answer_unref(answer);
}
END_TEST

START_TEST(keys_are_compared_by_all_their_bytes)
{
    char longer[5000];
    cp_flight_t *flights[4];

    memset(longer, 'k', sizeof(longer));
    ck_assert_int_eq(cp_flight_join(table, longer, sizeof(longer), &flights[0]),
                     CP_FLIGHT_LEADS);
    ck_assert_int_eq(
        cp_flight_join(table, longer, sizeof(longer) - 1, &flights[1]),
        CP_FLIGHT_LEADS);
    longer[sizeof(longer) - 1] = '\0';
    ck_assert_int_eq(cp_flight_join(table, longer, sizeof(longer), &flights[2]),
                     CP_FLIGHT_LEADS);
    ck_assert_int_eq(cp_flight_join(table, "", 0, &flights[3]),
                     CP_FLIGHT_LEADS);
    ck_assert_int_eq(cp_flight_test_state(table).flights, 4);
    for (int i = 0; i < 4; i++) {
        land_error(flights[i], CP_ERR_STORAGE);
    }
}
END_TEST

START_TEST(key_is_copied)
{
    char key[] = "a";
    cp_flight_t *flight = lead(key);

    key[0] = 'b';
    land_error(lead(key), CP_ERR_STORAGE);
    land_error(flight, CP_ERR_STORAGE);
}
END_TEST

START_TEST(who_comes_after_the_landing_begins_anew)
{
    cp_flight_t *flight = lead("a");
    waiter_t waiter;

    start(&waiter, "a", CP_CLOCK_NEVER, NULL);
    land_error(flight, CP_ERR_STORAGE);
    flight = lead("a");
    end(&waiter);
    land_error(flight, CP_ERR_STORAGE);
}
END_TEST

START_TEST(who_joined_before_the_landing_gets_it_afterwards)
{
    cp_flight_t *flight = lead("a"), *same;
    cp_answer_t *answer = cp_answer_create(200), *got = NULL;
    cp_error_t err;

    ck_assert_int_eq(join("a", &same), CP_FLIGHT_WAITS);
    cp_flight_land(flight, answer, NULL);
    cp_answer_unref(answer);
    ck_assert_int_eq(cp_flight_wait(same, 0, NULL, NULL, &got, &err),
                     APR_SUCCESS);
    ck_assert_int_eq(got->status, 200);
    ck_assert_int_eq(got->refs, 1);
    cp_answer_unref(got);
}
END_TEST

START_TEST(error_reaches_all_once)
{
    cp_flight_t *flight = lead("a");
    waiter_t waiters[WAITERS];

    for (int i = 0; i < WAITERS; i++) {
        start(&waiters[i], "a", CP_CLOCK_NEVER, NULL);
    }
    land_error(flight, CP_ERR_UPSTREAM);
    for (int i = 0; i < WAITERS; i++) {
        end(&waiters[i]);
        ck_assert_int_eq(waiters[i].rv, APR_ENOENT);
        ck_assert_int_eq(waiters[i].err.cls, CP_ERR_UPSTREAM);
        ck_assert_str_eq(waiters[i].err.detail, "detail");
        ck_assert_ptr_null(waiters[i].answer);
    }
}
END_TEST

START_TEST(deadline_ends_one_wait_and_not_the_others)
{
    cp_flight_t *flight = lead("a");
    cp_answer_t *answer = cp_answer_create(200);
    waiter_t hasty, patient;

    start(&patient, "a", CP_CLOCK_NEVER, NULL);
    start(&hasty, "a", cp_clock_after(1000), NULL);
    end(&hasty);
    ck_assert_int_eq(hasty.rv, APR_TIMEUP);
    ck_assert_int_eq(hasty.err.cls, CP_ERR_DEADLINE);
    ck_assert_int_eq(cp_flight_waiters(flight), 1);
    cp_flight_land(flight, answer, NULL);
    end(&patient);
    ck_assert_ptr_eq(patient.answer, answer);
    cp_answer_unref(patient.answer);
    cp_answer_unref(answer);
}
END_TEST

START_TEST(who_is_cancelled_leaves_and_the_others_stay)
{
    cp_flight_t *flight = lead("a");
    waiter_t gone, patient;
    int cancelled = 0;

    start(&patient, "a", CP_CLOCK_NEVER, NULL);
    start(&gone, "a", cp_clock_after(PATIENCE), &cancelled);
    __atomic_store_n(&cancelled, 1, __ATOMIC_RELAXED);
    end(&gone);
    ck_assert_int_eq(gone.err.cls, CP_ERR_CANCELLED);
    ck_assert_int_eq(cp_flight_waiters(flight), 1);
    land_error(flight, CP_ERR_STORAGE);
    end(&patient);
    ck_assert_int_eq(patient.err.cls, CP_ERR_STORAGE);
}
END_TEST

START_TEST(leader_goes_on_when_all_who_waited_have_left)
{
    cp_flight_t *flight = lead("a"), *other;
    cp_answer_t *answer = cp_answer_create(200), *got = NULL;
    cp_error_t err;

    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(join("a", &other), CP_FLIGHT_WAITS);
        ck_assert_int_eq(cp_flight_wait(other, 0, NULL, NULL, &got, &err),
                         APR_TIMEUP);
    }
    ck_assert_int_eq(cp_flight_waiters(flight), 0);
    cp_flight_land(flight, answer, NULL);
    ck_assert_int_eq(answer->refs, 1);
    cp_answer_unref(answer);
}
END_TEST

START_TEST(hand_over_makes_one_of_those_who_wait_the_leader)
{
    cp_flight_t *flight = lead("a");
    waiter_t waiters[WAITERS];
    int seen[WAITERS] = {0};

    for (int i = 0; i < WAITERS; i++) {
        start(&waiters[i], "a", CP_CLOCK_NEVER, NULL);
    }
    cp_flight_hand_over(flight);
    for (int left = WAITERS - 1; left > 0; left--) {
        int i = next_ended(waiters, WAITERS, seen);

        ck_assert_int_eq(waiters[i].rv, APR_EAGAIN);
        ck_assert_int_eq(cp_flight_waiters(waiters[i].flight), left);
        cp_flight_hand_over(waiters[i].flight);
    }
    land_error(waiters[next_ended(waiters, WAITERS, seen)].flight,
               CP_ERR_STORAGE);
    for (int i = 0; i < WAITERS; i++) {
        end(&waiters[i]);
    }
}
END_TEST

START_TEST(hand_over_without_anybody_ends_the_flight)
{
    cp_flight_hand_over(lead("a"));
    ck_assert_int_eq(cp_flight_test_state(table).flights, 0);
    cp_flight_hand_over(lead("a"));
}
END_TEST

START_TEST(next_to_join_leads_while_nobody_does)
{
    cp_flight_t *flight = lead("a"), *waits, *leads;
    cp_answer_t *got = NULL;
    cp_error_t err;

    ck_assert_int_eq(join("a", &waits), CP_FLIGHT_WAITS);
    cp_flight_hand_over(flight);
    ck_assert_int_eq(join("a", &leads), CP_FLIGHT_LEADS);
    ck_assert_ptr_eq(leads, waits);
    land_error(leads, CP_ERR_STORAGE);
    ck_assert_int_eq(
        cp_flight_wait(waits, CP_CLOCK_NEVER, NULL, NULL, &got, &err),
        APR_ENOENT);
}
END_TEST

START_TEST(too_late_to_lead_passes_it_on)
{
    cp_flight_t *flight = lead("a"), *late, *last;
    cp_answer_t *got = NULL;
    cp_error_t err;

    ck_assert_int_eq(join("a", &late), CP_FLIGHT_WAITS);
    ck_assert_int_eq(join("a", &last), CP_FLIGHT_WAITS);
    cp_flight_hand_over(flight);
    ck_assert_int_eq(cp_flight_wait(late, 0, NULL, NULL, &got, &err),
                     APR_TIMEUP);
    ck_assert_int_eq(
        cp_flight_wait(last, CP_CLOCK_NEVER, NULL, NULL, &got, &err),
        APR_EAGAIN);
    land_error(last, CP_ERR_STORAGE);
}
END_TEST

START_TEST(last_to_leave_a_flight_without_leader_ends_it)
{
    cp_flight_t *flight = lead("a"), *late;
    cp_answer_t *got = NULL;
    cp_error_t err;

    ck_assert_int_eq(join("a", &late), CP_FLIGHT_WAITS);
    cp_flight_hand_over(flight);
    ck_assert_int_eq(cp_flight_wait(late, 0, NULL, NULL, &got, &err),
                     APR_TIMEUP);
    ck_assert_int_eq(cp_flight_test_state(table).flights, 0);
}
END_TEST

START_TEST(disband_sends_all_to_work_for_themselves)
{
    cp_flight_t *flight = lead("a");
    waiter_t waiters[WAITERS];

    for (int i = 0; i < WAITERS; i++) {
        start(&waiters[i], "a", CP_CLOCK_NEVER, NULL);
    }
    cp_flight_disband(flight);
    for (int i = 0; i < WAITERS; i++) {
        end(&waiters[i]);
        ck_assert_int_eq(waiters[i].rv, APR_EOF);
        ck_assert_ptr_null(waiters[i].answer);
    }
    cp_flight_disband(lead("a"));
}
END_TEST

/* Only the flight itself makes somebody its leader, or disbands. */
START_TEST(error_of_a_leader_is_no_word_of_the_flight)
{
    static const apr_status_t codes[] = {APR_EAGAIN, APR_EOF, APR_SUCCESS};

    for (int i = 0; i < 3; i++) {
        cp_flight_t *flight = lead("a"), *same;
        cp_answer_t *got = NULL;
        cp_error_t err;

        cp_error_set(&err, CP_ERR_CAPACITY, codes[i], "cause", "detail");
        ck_assert_int_eq(join("a", &same), CP_FLIGHT_WAITS);
        cp_flight_land(flight, NULL, &err);
        ck_assert_int_eq(cp_flight_wait(same, 0, NULL, NULL, &got, &err),
                         APR_EGENERAL);
        ck_assert_int_eq(err.cls, CP_ERR_CAPACITY);
        ck_assert_int_eq(err.rv, codes[i]);
    }
}
END_TEST

START_TEST(stop_wakes_all_and_leaders_still_land)
{
    cp_flight_t *flight = lead("a"), *late;
    cp_answer_t *answer = cp_answer_create(200), *got = NULL;
    waiter_t waiters[WAITERS];
    cp_error_t err;

    for (int i = 0; i < WAITERS; i++) {
        start(&waiters[i], "a", CP_CLOCK_NEVER, NULL);
    }
    cp_flight_stop(table);
    for (int i = 0; i < WAITERS; i++) {
        end(&waiters[i]);
        ck_assert_int_eq(waiters[i].err.cls, CP_ERR_CANCELLED);
        ck_assert_ptr_null(waiters[i].answer);
    }
    ck_assert_int_eq(join("a", &late), CP_FLIGHT_WAITS);
    ck_assert_int_ne(
        cp_flight_wait(late, CP_CLOCK_NEVER, NULL, NULL, &got, &err),
        APR_SUCCESS);
    ck_assert_int_eq(err.cls, CP_ERR_CANCELLED);
    ck_assert_int_eq(join("new", &late), CP_FLIGHT_WAITS);
    ck_assert_int_ne(
        cp_flight_wait(late, CP_CLOCK_NEVER, NULL, NULL, &got, &err),
        APR_SUCCESS);
    cp_flight_land(flight, answer, NULL);
    ck_assert_int_eq(answer->refs, 1);
    cp_answer_unref(answer);
}
END_TEST

/* --- all at once --- */

typedef struct totals_t {
    int leading[KEYS]; /* atomic: who works for that key just now */
    int executions, answered, failed, gave_up, promoted; /* atomic */
    int overlaps, foreign;                               /* atomic: errors */
} totals_t;

typedef struct crowd_t {
    pthread_t thread;
    unsigned seed;
    totals_t *totals;
} crowd_t;

static void count(int *counter)
{
    __atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
}

static int by_chance(void *baton)
{
    crowd_t *crowd = baton;

    return rand_r(&crowd->seed) % 4 == 0;
}

/* One execution: the answer's status tells the key it was made for. */
static void work(crowd_t *crowd, cp_flight_t *flight, int key)
{
    totals_t *totals = crowd->totals;
    int outcome = rand_r(&crowd->seed) % 10;

    if (__atomic_fetch_add(&totals->leading[key], 1, __ATOMIC_ACQ_REL) != 0) {
        count(&totals->overlaps);
    }
    for (int i = rand_r(&crowd->seed) % 4; i > 0; i--) {
        sched_yield();
    }
    __atomic_sub_fetch(&totals->leading[key], 1, __ATOMIC_ACQ_REL);
    if (outcome == 0) {
        cp_flight_hand_over(flight);
        count(&totals->gave_up);
        return;
    }
    count(&totals->executions);
    if (outcome == 1) {
        land_error(flight, CP_ERR_STORAGE);
        count(&totals->failed);
    }
    else {
        cp_answer_t *answer = cp_answer_create(key);

        cp_flight_land(flight, answer, NULL);
        cp_answer_unref(answer);
        count(&totals->answered);
    }
}

static void wait_or_lead(crowd_t *crowd, cp_flight_t *flight, int key)
{
    totals_t *totals = crowd->totals;
    int is_hasty = rand_r(&crowd->seed) % 8 == 0;
    cp_answer_t *answer = NULL;
    cp_error_t err;
    apr_status_t rv = cp_flight_wait(
        flight, cp_clock_after(is_hasty ? rand_r(&crowd->seed) % 50 : PATIENCE),
        by_chance, crowd, &answer, &err);

    if (rv == APR_EAGAIN) {
        count(&totals->promoted);
        work(crowd, flight, key);
    }
    else if (rv == APR_SUCCESS) {
        if (answer->status != key) {
            count(&totals->foreign);
        }
        cp_answer_unref(answer);
        count(&totals->answered);
    }
    else if (err.cls == CP_ERR_STORAGE) {
        count(&totals->failed);
    }
    else {
        count(&totals->gave_up);
    }
}

static void *join_often(void *data)
{
    crowd_t *crowd = data;

    for (int i = 0; i < ROUNDS; i++) {
        int key = rand_r(&crowd->seed) % KEYS;
        cp_flight_t *flight;

        if (cp_flight_join(table, &key, sizeof(key), &flight)
            == CP_FLIGHT_LEADS) {
            work(crowd, flight, key);
        }
        else {
            wait_or_lead(crowd, flight, key);
        }
    }
    return NULL;
}

START_TEST(fifty_threads_balance)
{
    crowd_t crowds[THREADS];
    totals_t totals = {0};

    for (int i = 0; i < THREADS; i++) {
        crowds[i] = (crowd_t){.seed = (unsigned)i, .totals = &totals};
        ck_assert_int_eq(
            pthread_create(&crowds[i].thread, NULL, join_often, &crowds[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(crowds[i].thread, NULL);
    }
    ck_assert_int_eq(totals.overlaps, 0);
    ck_assert_int_eq(totals.foreign, 0);
    ck_assert_int_eq(totals.answered + totals.failed + totals.gave_up,
                     THREADS * ROUNDS);
    /* The crowd must have met to prove anything. */
    ck_assert_int_gt(totals.promoted, 0);
    ck_assert_int_lt(totals.executions, totals.answered + totals.failed);
}
END_TEST

Suite *flight_suite(void)
{
    Suite *suite = suite_create("flight");
    TCase *tc = tcase_create("flight");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, first_leads_and_all_others_get_the_same_answer);
    tcase_add_test(tc, keys_are_compared_by_all_their_bytes);
    tcase_add_test(tc, key_is_copied);
    tcase_add_test(tc, who_comes_after_the_landing_begins_anew);
    tcase_add_test(tc, who_joined_before_the_landing_gets_it_afterwards);
    tcase_add_test(tc, error_reaches_all_once);
    tcase_add_test(tc, deadline_ends_one_wait_and_not_the_others);
    tcase_add_test(tc, who_is_cancelled_leaves_and_the_others_stay);
    tcase_add_test(tc, leader_goes_on_when_all_who_waited_have_left);
    tcase_add_test(tc, hand_over_makes_one_of_those_who_wait_the_leader);
    tcase_add_test(tc, hand_over_without_anybody_ends_the_flight);
    tcase_add_test(tc, next_to_join_leads_while_nobody_does);
    tcase_add_test(tc, too_late_to_lead_passes_it_on);
    tcase_add_test(tc, last_to_leave_a_flight_without_leader_ends_it);
    tcase_add_test(tc, disband_sends_all_to_work_for_themselves);
    tcase_add_test(tc, error_of_a_leader_is_no_word_of_the_flight);
    tcase_add_test(tc, stop_wakes_all_and_leaders_still_land);
    tcase_add_test(tc, fifty_threads_balance);
    suite_add_tcase(suite, tc);
    return suite;
}
