/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/wait/gate.h"

#include "base/clock.h"
#include "base/meanwhile.h"
#include "stats/cell.h"

#include <pthread.h>

#include <apr_ring.h>

/* A permit that is handed to a thread which sleeps is of no use to anybody
 * until that thread runs; when the processors are busy, soon all permits lie
 * with sleepers, and every request queues: a lock convoy. So who runs already
 * may overtake who waits, but nobody who has waited for this long (us). It is
 * more than the slice a scheduler gives (about 3 ms on Linux), or a thread
 * would be waited for that had just begun to run. */
#define PATIENCE 5000

/* Lives on the stack of the thread that waits. */
typedef struct waiter_t waiter_t;
struct waiter_t {
    APR_RING_ENTRY(waiter_t) link;
    pthread_cond_t cond;
    cp_clock_t since;
    apr_status_t verdict; /* APR_INCOMPLETE while undecided; gate->lock */
    int is_called;        /* it was told that a permit is free; gate->lock */
};

struct cp_gate_t {
    pthread_mutex_t lock; /* guards everything below */
    APR_RING_HEAD(waiters_t, waiter_t) queue;
    int capacity;
    int inside;
    int waiting;
    int max_waiting;
    int is_closed;
    uint64_t *waiting_gauge; /* NULL: nobody wants to know */
    uint64_t *waiting_max;   /* likewise; other gates may write both */
    uint64_t *waiting_since; /* likewise, but this gate's alone */
};

static apr_status_t gate_cleanup(void *data)
{
    cp_gate_t *gate = data;

    pthread_mutex_destroy(&gate->lock);
    return APR_SUCCESS;
}

apr_status_t cp_gate_create(cp_gate_t **pgate, int capacity, int max_waiting,
                            uint64_t *waiting_gauge, apr_pool_t *p)
{
    cp_gate_t *gate = apr_pcalloc(p, sizeof(*gate));
    int rc = pthread_mutex_init(&gate->lock, NULL);

    if (rc != 0) {
        return rc;
    }
    APR_RING_INIT(&gate->queue, waiter_t, link);
    gate->capacity = capacity;
    gate->max_waiting = max_waiting;
    gate->waiting_gauge = waiting_gauge;
    apr_pool_cleanup_register(p, gate, gate_cleanup, apr_pool_cleanup_null);
    *pgate = gate;
    return APR_SUCCESS;
}

void cp_gate_tell(cp_gate_t *gate, uint64_t *waiting_max,
                  uint64_t *waiting_since)
{
    gate->waiting_max = waiting_max;
    gate->waiting_since = waiting_since;
}

/* The queue has changed. Gate is locked, so nobody else writes the cell. */
static void tell_oldest(cp_gate_t *gate)
{
    uint64_t since = 0;

    if (!gate->waiting_since) {
        return;
    }
    if (!APR_RING_EMPTY(&gate->queue, waiter_t, link)) {
        since = (uint64_t)APR_RING_FIRST(&gate->queue)->since;
    }
    __atomic_store_n(gate->waiting_since, since, __ATOMIC_RELAXED);
}

static void count_waiting(cp_gate_t *gate, int delta)
{
    gate->waiting += delta;
    if (gate->waiting_gauge) {
        cp_stats_add(gate->waiting_gauge, delta);
    }
    if (gate->waiting_max) {
        cp_stats_raise(gate->waiting_max, cp_stats_get(gate->waiting_gauge));
    }
}

/* Take a waiter out of the queue with its answer. Gate is locked. */
static void dismiss(cp_gate_t *gate, waiter_t *waiter, apr_status_t verdict)
{
    APR_RING_REMOVE(waiter, link);
    count_waiting(gate, -1);
    tell_oldest(gate);
    waiter->verdict = verdict;
}

/* While a permit is free, the first of the queue has been called to take it, if
 * nobody is faster; who has waited for too long is given it. Gate is locked. */
static void call_first(cp_gate_t *gate)
{
    while (gate->inside < gate->capacity
           && !APR_RING_EMPTY(&gate->queue, waiter_t, link)) {
        waiter_t *first = APR_RING_FIRST(&gate->queue);

        if (cp_clock_now() - first->since < PATIENCE) {
            if (!first->is_called) {
                first->is_called = 1;
                pthread_cond_signal(&first->cond);
            }
            return;
        }
        gate->inside++;
        dismiss(gate, first, APR_SUCCESS);
        pthread_cond_signal(&first->cond);
    }
}

/* Was called, and runs now. Gate is locked. */
static void answer_call(cp_gate_t *gate, waiter_t *waiter)
{
    waiter->is_called = 0;
    if (gate->inside < gate->capacity) {
        gate->inside++;
        dismiss(gate, waiter, APR_SUCCESS);
        call_first(gate);
    }
}

/* Wait in the queue for a permit. Gate is locked, and again on return. */
static apr_status_t queue_up(cp_gate_t *gate, cp_clock_t deadline)
{
    waiter_t self;

    cp_clock_init_condition(&self.cond);
    self.verdict = APR_INCOMPLETE;
    self.is_called = 0;
    APR_RING_INSERT_TAIL(&gate->queue, &self, waiter_t, link);
    self.since = cp_clock_now();
    count_waiting(gate, 1);
    tell_oldest(gate);

    while (self.verdict == APR_INCOMPLETE) {
        cp_clock_t next = cp_meanwhile_until(deadline);
        struct timespec until = cp_clock_timespec(next);
        int rc = pthread_cond_timedwait(&self.cond, &gate->lock, &until);

        if (self.verdict != APR_INCOMPLETE) {
            break;
        }
        if (self.is_called) {
            answer_call(gate, &self);
        }
        else if (rc == 0) {
            continue;
        }
        else if (next < deadline) {
            pthread_mutex_unlock(&gate->lock);
            cp_meanwhile_tend(cp_clock_now());
            pthread_mutex_lock(&gate->lock);
        }
        else {
            /* A permit is given or taken under the lock, so whoever gives up
             * here has provably none, and was not called for one. */
            dismiss(gate, &self, APR_TIMEUP);
        }
    }
    pthread_cond_destroy(&self.cond);
    return self.verdict;
}

apr_status_t cp_gate_enter(cp_gate_t *gate, cp_clock_t deadline)
{
    apr_status_t rv;

    pthread_mutex_lock(&gate->lock);
    call_first(gate);
    if (gate->is_closed) {
        rv = APR_EOF;
    }
    else if (gate->inside < gate->capacity) {
        gate->inside++;
        rv = APR_SUCCESS;
    }
    else if (cp_clock_left(deadline) == 0) {
        rv = APR_TIMEUP;
    }
    else if (gate->waiting >= gate->max_waiting) {
        rv = APR_ENOSPC;
    }
    else {
        rv = queue_up(gate, deadline);
    }
    pthread_mutex_unlock(&gate->lock);
    return rv;
}

int cp_gate_try_enter(cp_gate_t *gate)
{
    int entered;

    pthread_mutex_lock(&gate->lock);
    entered = !gate->is_closed && gate->inside < gate->capacity
              && APR_RING_EMPTY(&gate->queue, waiter_t, link);
    gate->inside += entered;
    pthread_mutex_unlock(&gate->lock);
    return entered;
}

void cp_gate_leave(cp_gate_t *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->inside--;
    call_first(gate);
    pthread_mutex_unlock(&gate->lock);
}

void cp_gate_close(cp_gate_t *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->is_closed = 1;
    while (!APR_RING_EMPTY(&gate->queue, waiter_t, link)) {
        waiter_t *first = APR_RING_FIRST(&gate->queue);

        dismiss(gate, first, APR_EOF);
        pthread_cond_signal(&first->cond);
    }
    pthread_mutex_unlock(&gate->lock);
}

cp_gate_state_t cp_gate_state(cp_gate_t *gate)
{
    cp_gate_state_t state;

    pthread_mutex_lock(&gate->lock);
    state.capacity = gate->capacity;
    state.inside = gate->inside;
    state.waiting = gate->waiting;
    pthread_mutex_unlock(&gate->lock);
    return state;
}

int cp_gate_is_used(cp_gate_t *gate)
{
    int is_used;

    if (pthread_mutex_trylock(&gate->lock) != 0) {
        return 1;
    }
    is_used = gate->inside > 0;
    pthread_mutex_unlock(&gate->lock);
    return is_used;
}
