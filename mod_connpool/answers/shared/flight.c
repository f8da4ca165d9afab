/* SPDX-License-Identifier: Apache-2.0 */
#include "answers/shared/flight.h"

#include "answers/answer.h"
#include "base/bytes/hash.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/meanwhile.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    BUCKETS = 256
};

#define CANCEL_INTERVAL apr_time_from_msec(100)

/* All fields: table->lock. A flight ends when nobody leads and nobody waits. */
struct cp_flight_t {
    cp_flight_table_t *table;
    cp_flight_t *next; /* of its bucket */
    pthread_cond_t changed;
    int waiting;
    int has_leader;
    int has_landed; /* and is no longer in the table */
    cp_answer_t *answer;
    cp_error_t error; /* with answer NULL; CP_ERR_NONE: disbanded */
    uint64_t hash;
    apr_size_t key_size;
    char key[];
};

struct cp_flight_table_t {
    pthread_mutex_t lock; /* guards everything below and all flights */
    cp_flight_t *buckets[BUCKETS];
    int is_stopped;
    cp_hash_key_t secret; /* constant */
};

/* --- the table --- */

static apr_status_t table_cleanup(void *data)
{
    cp_flight_table_t *table = data;

    pthread_mutex_destroy(&table->lock);
    return APR_SUCCESS;
}

apr_status_t cp_flight_table_create(cp_flight_table_t **ptable, apr_pool_t *p)
{
    cp_flight_table_t *table = apr_pcalloc(p, sizeof(*table));
    int rc = pthread_mutex_init(&table->lock, NULL);

    if (rc != 0) {
        return rc;
    }
    table->secret = cp_hash_secret();
    apr_pool_cleanup_register(p, table, table_cleanup, apr_pool_cleanup_null);
    *ptable = table;
    return APR_SUCCESS;
}

static cp_flight_t **place_of(cp_flight_table_t *table, uint64_t hash)
{
    return &table->buckets[hash % BUCKETS];
}

static cp_flight_t *find(cp_flight_table_t *table, const void *key,
                         apr_size_t size, uint64_t hash)
{
    cp_flight_t *flight = *place_of(table, hash);

    while (flight
           && (flight->hash != hash || flight->key_size != size
               || memcmp(flight->key, key, size) != 0)) {
        flight = flight->next;
    }
    return flight;
}

static cp_flight_t *add(cp_flight_table_t *table, const void *key,
                        apr_size_t size, uint64_t hash)
{
    cp_flight_t *flight = calloc(1, sizeof(*flight) + size);
    cp_flight_t **place = place_of(table, hash);

    if (!flight) {
        return NULL;
    }
    flight->table = table;
    cp_clock_init_condition(&flight->changed);
    flight->hash = hash;
    flight->key_size = size;
    memcpy(flight->key, key, size);
    flight->next = *place;
    *place = flight;
    return flight;
}

static void take_out(cp_flight_t *flight)
{
    cp_flight_t **place = place_of(flight->table, flight->hash);

    while (*place != flight) {
        place = &(*place)->next;
    }
    *place = flight->next;
}

/* Whoever leaves a flight does it through here, last of all. */
static void end_if_empty(cp_flight_t *flight)
{
    if (flight->has_leader || flight->waiting > 0) {
        return;
    }
    if (!flight->has_landed) {
        take_out(flight);
    }
    cp_answer_unref(flight->answer);
    pthread_cond_destroy(&flight->changed);
    free(flight);
}

cp_flight_role_t cp_flight_join(cp_flight_table_t *table, const void *key,
                                apr_size_t size, cp_flight_t **pflight)
{
    uint64_t hash = cp_hash(table->secret, key, size);
    cp_flight_role_t role = CP_FLIGHT_WAITS;
    cp_flight_t *flight;

    pthread_mutex_lock(&table->lock);
    flight = find(table, key, size, hash);
    if (!flight) {
        flight = add(table, key, size, hash);
    }
    if (!flight) {
        role = CP_FLIGHT_ALONE;
    }
    else if (flight->has_leader || table->is_stopped) {
        flight->waiting++;
    }
    else {
        flight->has_leader = 1;
        role = CP_FLIGHT_LEADS;
    }
    pthread_mutex_unlock(&table->lock);
    *pflight = flight;
    return role;
}

/* --- waiting --- */

static int is_decided(const cp_flight_t *flight)
{
    return flight->has_landed || flight->table->is_stopped
           || !flight->has_leader;
}

/* Until the flight has news, the deadline, or the next time to ask is_cancelled
 * (which is told with APR_INCOMPLETE). */
static apr_status_t sleep_until(cp_flight_t *flight, cp_clock_t deadline)
{
    cp_clock_t slice = cp_meanwhile_until(cp_clock_after(CANCEL_INTERVAL));
    struct timespec until = cp_clock_timespec(slice < deadline ? slice
                                                               : deadline);
    int rc = 0;

    while (!is_decided(flight) && rc == 0) {
        rc = pthread_cond_timedwait(&flight->changed, &flight->table->lock,
                                    &until);
    }
    if (flight->has_landed || flight->table->is_stopped) {
        return APR_SUCCESS;
    }
    if (cp_clock_left(deadline) == 0) {
        return APR_TIMEUP; /* too late to lead, too */
    }
    return is_decided(flight) ? APR_SUCCESS : APR_INCOMPLETE;
}

/* Without the lock, for it may look at a socket. */
static int ask_cancelled(cp_flight_t *flight, cp_flight_cancel_fn fn,
                         void *baton)
{
    int is_cancelled;

    pthread_mutex_unlock(&flight->table->lock);
    cp_meanwhile_tend(cp_clock_now());
    is_cancelled = fn && fn(baton);
    pthread_mutex_lock(&flight->table->lock);
    return is_cancelled;
}

/* What a leader's error is worth as the result of a wait: some codes mean
 * something else there. */
static apr_status_t code_of(const cp_error_t *err)
{
    return err->rv == APR_SUCCESS || err->rv == APR_EAGAIN || err->rv == APR_EOF
               ? APR_EGENERAL
               : err->rv;
}

static apr_status_t read_result(cp_flight_t *flight, cp_answer_t **panswer,
                                cp_error_t *err)
{
    if (!flight->has_landed) {
        return cp_error_set(err, CP_ERR_CANCELLED, APR_SUCCESS,
                            "the server is stopping",
                            "the child ends: nobody waits for others any more");
    }
    if (!flight->answer && flight->error.cls == CP_ERR_NONE) {
        return APR_EOF;
    }
    if (!flight->answer) {
        *err = flight->error;
        return code_of(err);
    }
    cp_answer_ref(flight->answer);
    *panswer = flight->answer;
    return APR_SUCCESS;
}

/* A leader who handed over woke one of those who wait: if that one goes, the
 * next must hear of it. */
static void give_up(cp_flight_t *flight)
{
    if (is_decided(flight)) {
        pthread_cond_signal(&flight->changed);
    }
}

apr_status_t cp_flight_wait(cp_flight_t *flight, cp_clock_t deadline,
                            cp_flight_cancel_fn is_cancelled, void *baton,
                            cp_answer_t **panswer, cp_error_t *err)
{
    cp_flight_table_t *table = flight->table;
    apr_status_t rv;

    pthread_mutex_lock(&table->lock);
    do {
        rv = sleep_until(flight, deadline);
        if (rv == APR_INCOMPLETE
            && ask_cancelled(flight, is_cancelled, baton)) {
            rv = cp_error_set(err, CP_ERR_CANCELLED, APR_SUCCESS,
                              "the client is gone",
                              "whoever waited for the answer went away");
        }
    } while (rv == APR_INCOMPLETE);

    flight->waiting--;
    if (rv == APR_TIMEUP) {
        cp_error_set(err, CP_ERR_DEADLINE, rv, "no answer in time",
                     "the same work, done for another request, did not end in "
                     "time");
        give_up(flight);
    }
    else if (rv != APR_SUCCESS) {
        give_up(flight);
    }
    else if (flight->has_landed || table->is_stopped) {
        rv = read_result(flight, panswer, err);
    }
    else {
        flight->has_leader = 1;
        rv = APR_EAGAIN;
    }
    end_if_empty(flight);
    pthread_mutex_unlock(&table->lock);
    return rv;
}

/* --- leading --- */

void cp_flight_land(cp_flight_t *flight, cp_answer_t *answer,
                    const cp_error_t *err)
{
    cp_flight_table_t *table = flight->table;

    pthread_mutex_lock(&table->lock);
    take_out(flight);
    flight->has_landed = 1;
    flight->has_leader = 0;
    if (flight->waiting > 0 && answer) {
        cp_answer_ref(answer);
        flight->answer = answer;
    }
    else if (!answer) {
        flight->error = *err;
    }
    pthread_cond_broadcast(&flight->changed);
    end_if_empty(flight);
    pthread_mutex_unlock(&table->lock);
}

void cp_flight_disband(cp_flight_t *flight)
{
    static const cp_error_t none = {.cls = CP_ERR_NONE};

    cp_flight_land(flight, NULL, &none);
}

void cp_flight_hand_over(cp_flight_t *flight)
{
    cp_flight_table_t *table = flight->table;

    pthread_mutex_lock(&table->lock);
    flight->has_leader = 0;
    pthread_cond_signal(&flight->changed);
    end_if_empty(flight);
    pthread_mutex_unlock(&table->lock);
}

int cp_flight_waiters(cp_flight_t *flight)
{
    int waiting;

    pthread_mutex_lock(&flight->table->lock);
    waiting = flight->waiting;
    pthread_mutex_unlock(&flight->table->lock);
    return waiting;
}

void cp_flight_stop(cp_flight_table_t *table)
{
    pthread_mutex_lock(&table->lock);
    table->is_stopped = 1;
    for (int i = 0; i < BUCKETS; i++) {
        for (cp_flight_t *flight = table->buckets[i]; flight;
             flight = flight->next) {
            pthread_cond_broadcast(&flight->changed);
        }
    }
    pthread_mutex_unlock(&table->lock);
}

#ifdef CONNPOOL_TESTING
cp_flight_test_state_t cp_flight_test_state(cp_flight_table_t *table)
{
    cp_flight_test_state_t state = {0};

    pthread_mutex_lock(&table->lock);
    for (int i = 0; i < BUCKETS; i++) {
        for (cp_flight_t *flight = table->buckets[i]; flight;
             flight = flight->next) {
            state.flights++;
            state.waiting += flight->waiting;
        }
    }
    pthread_mutex_unlock(&table->lock);
    return state;
}
#endif
