/* SPDX-License-Identifier: Apache-2.0
 * Single flight: of all who want the same thing at the same time one works for
 * it, the leader, and the others wait for what it brings. */
#ifndef CP_FLIGHT_H
#define CP_FLIGHT_H

#include <apr_pools.h>

#include "answers/answer.h"
#include "base/clock.h"
#include "base/error.h"

/** All flights of a child. Any thread may use it at any time. */
typedef struct cp_flight_table_t cp_flight_table_t;

/** Work under way, known by a key. Its memory goes with the last of those who
 * joined it. */
typedef struct cp_flight_t cp_flight_t;

typedef enum cp_flight_role_t {
    CP_FLIGHT_LEADS, /**< must call land, hand_over or disband, once */
    CP_FLIGHT_WAITS, /**< must call wait, once */
    CP_FLIGHT_ALONE, /**< no memory for the key: there is no flight */
} cp_flight_role_t;

/** Asked about every 100 ms, without a lock: does the caller no longer want
 * the answer? */
typedef int (*cp_flight_cancel_fn)(void *baton);

/** In p, and destroyed with it; then nobody may be in a flight any more. */
apr_status_t cp_flight_table_create(cp_flight_table_t **ptable, apr_pool_t *p);

/** Join the flight of that key (size bytes, copied), or begin it as its
 * leader. Never waits. */
cp_flight_role_t cp_flight_join(cp_flight_table_t *table, const void *key,
                                apr_size_t size, cp_flight_t **pflight);

/** Wait until the leader lands, until the deadline, or until is_cancelled (may
 * be NULL) says so. Except after APR_EAGAIN the flight is no longer the
 * caller's.
 * @return APR_SUCCESS: *panswer is set, and the caller's to unref;
 * APR_EAGAIN: the leader handed over, the caller leads now;
 * APR_EOF: the flight was disbanded, the caller works for itself;
 * else err: the leader's, CP_ERR_DEADLINE (APR_TIMEUP), or CP_ERR_CANCELLED
 * because the caller gave up or the child ends */
apr_status_t cp_flight_wait(cp_flight_t *flight, cp_clock_t deadline,
                            cp_flight_cancel_fn is_cancelled, void *baton,
                            cp_answer_t **panswer, cp_error_t *err);

/** The leader has the answer (of which it keeps its own reference), or, with
 * NULL, the error: all who wait get it, and whoever joins from now on begins
 * anew. The flight is no longer the caller's. */
void cp_flight_land(cp_flight_t *flight, cp_answer_t *answer,
                    const cp_error_t *err);

/** The leader gives up without having done the work, for reasons of its own
 * (its deadline was shorter, its client went away): one of those who wait, or
 * the next to join, leads instead; with nobody there the flight ends. The
 * flight is no longer the caller's. */
void cp_flight_hand_over(cp_flight_t *flight);

/** What the leader has got is good for itself only, and anybody else's would
 * be, too: all who wait work for themselves, at the same time. The flight is no
 * longer the caller's. */
void cp_flight_disband(cp_flight_t *flight);

/** How many wait now: while there are any, a leader whose client went away
 * goes on. */
int cp_flight_waiters(cp_flight_t *flight);

/** The child ends: all who wait, and who will, get CP_ERR_CANCELLED. Leaders
 * still land. */
void cp_flight_stop(cp_flight_table_t *table);

#ifdef CONNPOOL_TESTING
typedef struct cp_flight_test_state_t {
    int flights; /**< that one may join */
    int waiting; /**< in all of them */
} cp_flight_test_state_t;

cp_flight_test_state_t cp_flight_test_state(cp_flight_table_t *table);
#endif

#endif
