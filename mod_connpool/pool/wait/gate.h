/* SPDX-License-Identifier: Apache-2.0
 * A counting gate: at most `capacity` are inside, the others queue first come,
 * first served, each with an absolute deadline. A newcomer may overtake who has
 * queued for less than 5 ms (why: gate.c), and nobody else. */
#ifndef CP_GATE_H
#define CP_GATE_H

#include <stdint.h>

#include <apr_errno.h>
#include <apr_pools.h>

#include "base/clock.h"

typedef struct cp_gate_t cp_gate_t;

/** Created in p and destroyed with it. waiting_gauge (may be NULL) is counted
 * up and down with the queue's length, relaxed. */
apr_status_t cp_gate_create(cp_gate_t **pgate, int capacity, int max_waiting,
                            uint64_t *waiting_gauge, apr_pool_t *p);

/** Also tell the most that the gauge, which must not be NULL, ever was, and
 * since when (CLOCK_MONOTONIC, us; 0: nobody) the first of the queue waits.
 * Both relaxed; before the first use. Gates may share the gauge and its
 * maximum. */
void cp_gate_tell(cp_gate_t *gate, uint64_t *waiting_max,
                  uint64_t *waiting_since);

/** Enter, waiting until deadline at the longest. A permit that is given, or
 * offered, while the deadline passes is taken, never lost.
 * @return APR_SUCCESS; APR_TIMEUP at the deadline, or at once when it has
 * passed already; APR_ENOSPC when the queue is full; APR_EOF when closed */
apr_status_t cp_gate_enter(cp_gate_t *gate, cp_clock_t deadline);

/** Enter only if nobody waits and a permit is free; never waits. */
int cp_gate_try_enter(cp_gate_t *gate);

/** Leave: who waits longest is given the permit, or called to take it. */
void cp_gate_leave(cp_gate_t *gate);

/** Let nobody in any more and wake all who wait (they get APR_EOF). */
void cp_gate_close(cp_gate_t *gate);

typedef struct cp_gate_state_t {
    int capacity;
    int inside;
    int waiting;
} cp_gate_state_t;

cp_gate_state_t cp_gate_state(cp_gate_t *gate);

/** Is anybody inside, or just entering or leaving? Never waits: a signal
 * handler may ask that has interrupted who holds the gate's lock. */
int cp_gate_is_used(cp_gate_t *gate);

#endif
