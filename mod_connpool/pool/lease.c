/* SPDX-License-Identifier: Apache-2.0
 * Borrowing and giving back. */
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "pool/connection.h"
#include "pool/wait/gate.h"
#include "pool/leak.h"
#include "pool/pool.h"
#include "pool/refuse.h"
#include "pool/slot.h"
#include "pool/wait/share.h"
#include "stats/cell.h"
#include "stats/histogram.h"
#include "stats/stats.h"

#include <apr_strings.h>

#define OVERFLOW_EVERY apr_time_from_sec(60)

/* --- gates --- */

/* Who waits anywhere but at the pool's own gate, which counts by itself. */
static void begin_waiting(cp_pool_t *pool)
{
    cp_stats_add(&pool->stats->waiting, 1);
    cp_stats_raise(&pool->stats->waiting_max,
                   cp_stats_get(&pool->stats->waiting));
}

static void end_waiting(cp_pool_t *pool)
{
    cp_stats_add(&pool->stats->waiting, -1);
}

static apr_status_t enter_shared_gate(cp_pool_t *pool, cp_gate_t *gate,
                                      cp_clock_t deadline)
{
    apr_status_t rv;

    if (cp_gate_try_enter(gate)) {
        return APR_SUCCESS;
    }
    if (cp_clock_left(deadline) == 0) {
        return cp_gate_enter(gate, deadline); /* does not wait */
    }
    begin_waiting(pool);
    rv = cp_gate_enter(gate, deadline);
    end_waiting(pool);
    return rv;
}

static void leave_gates(cp_pool_t *pool, int shared_entered)
{
    while (shared_entered-- > 0) {
        if (pool->config.shared_gates[shared_entered]) {
            cp_gate_leave(pool->config.shared_gates[shared_entered]);
        }
    }
    cp_gate_leave(pool->gate);
}

/* On failure *limit tells which gate did not let us in. */
static apr_status_t enter_gates(cp_pool_t *pool, cp_clock_t deadline,
                                int *limit)
{
    apr_status_t rv = cp_gate_enter(pool->gate, deadline);

    *limit = CP_OWN_LIMIT;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    for (int i = 0; i < CP_POOL_SHARED_GATES; i++) {
        if (pool->config.shared_gates[i]) {
            rv = enter_shared_gate(pool, pool->config.shared_gates[i],
                                   deadline);
        }
        if (rv != APR_SUCCESS) {
            leave_gates(pool, i);
            *limit = i;
            return rv;
        }
    }
    return APR_SUCCESS;
}

/* The same without waiting. Nobody waits at a gate that has a permit free. */
static int try_gates(cp_pool_t *pool)
{
    if (!cp_gate_try_enter(pool->gate)) {
        return 0;
    }
    for (int i = 0; i < CP_POOL_SHARED_GATES; i++) {
        cp_gate_t *gate = pool->config.shared_gates[i];

        if (gate && !cp_gate_try_enter(gate)) {
            leave_gates(pool, i);
            return 0;
        }
    }
    return 1;
}

/* --- permits of the server --- */

/* Whoever waits for one is the first of this child's line. */
typedef struct asking_t {
    cp_pool_t *pool;
    cp_connection_t conn; /* what it has so far */
    cp_clock_t now;       /* when something last took time */
    int has_turn;
} asking_t;

/* A connection that has come back meanwhile needs none: also one that is only
 * good for closing, which frees its own. */
static int look_for_idle(void *baton)
{
    asking_t *asking = baton;
    cp_connection_t found = {0};

    if (!cp_connection_adopt(asking->pool, &found, 1)
        && !cp_connection_adopt(asking->pool, &found, 0)) {
        return 0;
    }
    cp_connection_let_go(asking->pool, &asking->conn);
    asking->conn = found;
    return 1;
}

static apr_status_t get_in_line(asking_t *asking, cp_clock_t deadline)
{
    apr_status_t rv;

    if (asking->has_turn) {
        return APR_SUCCESS;
    }
    rv = cp_share_line_up(asking->pool->config.share, deadline);
    asking->has_turn = rv == APR_SUCCESS;
    return rv;
}

static void step_out(asking_t *asking)
{
    if (asking->has_turn) {
        asking->has_turn = 0;
        cp_share_step_out(asking->pool->config.share);
    }
}

/* @return APR_SUCCESS; APR_EEXIST: there is a connection instead */
static apr_status_t wait_for_permit(asking_t *asking, cp_clock_t deadline)
{
    cp_pool_t *pool = asking->pool;
    apr_status_t rv;

    begin_waiting(pool);
    rv = get_in_line(asking, deadline);
    if (rv == APR_SUCCESS) {
        rv = cp_share_take(pool->config.share, look_for_idle, asking, deadline);
    }
    end_waiting(pool);
    asking->conn.has_permit |= rv == APR_SUCCESS;
    return rv;
}

/* --- acquire --- */

/* For a place that is reserved: with its permit.
 * @return APR_EEXIST: conn is one that is open already */
static apr_status_t open_new(asking_t *asking, cp_clock_t deadline,
                             cp_error_t *err)
{
    cp_pool_t *pool = asking->pool;
    cp_connection_t *conn = &asking->conn;
    apr_status_t rv = cp_connection_try_permit(pool, conn)
                          ? APR_SUCCESS
                          : wait_for_permit(asking, deadline);

    if (rv == APR_SUCCESS) {
        step_out(asking); /* the next one need not wait for the opening */
        return cp_connection_open(pool, conn, deadline, err);
    }
    if (rv != APR_EEXIST) {
        cp_connection_let_go(pool, conn);
        cp_pool_refuse(pool, CP_SERVER_LIMIT, rv, err);
    }
    return rv;
}

/* Fill conn with a live connection: the slot's own, an idle one, a new one. */
static apr_status_t obtain(asking_t *asking, cp_clock_t deadline,
                           cp_error_t *err)
{
    cp_pool_t *pool = asking->pool;
    cp_connection_t *conn = &asking->conn;
    apr_status_t rv;

    for (;;) {
        if (conn->handle) {
            cp_connection_weed_out(pool, conn, &asking->now, deadline);
        }
        if (conn->handle) {
            return APR_SUCCESS;
        }
        asking->now = cp_clock_now();
        if (cp_pool_is_stopped(pool)) {
            return cp_pool_refuse(pool, CP_OWN_LIMIT, APR_EOF, err);
        }
        if (cp_connection_adopt(pool, conn, 1)) {
            continue;
        }
        conn->has_place = cp_connection_reserve(pool);
        if (conn->has_place) {
            rv = open_new(asking, deadline, err);
            asking->now = cp_clock_now();
            if (rv != APR_EEXIST) {
                return rv;
            }
            continue;
        }
        /* All places are taken, so one that is only good for closing lies
         * idle: it makes room. */
        cp_connection_adopt(pool, conn, 0);
    }
}

/* A permit keeps the pool from being destroyed meanwhile. */
static void return_slot(cp_pool_t *pool, cp_slot_t *slot,
                        const cp_connection_t *conn)
{
    if (cp_slot_vacate(slot, conn)) {
        cp_pool_list_holders(pool);
    }
    cp_slots_give(pool, slot);
}

static apr_status_t borrow_slot(asking_t *asking, cp_lease_t *lease,
                                const char *holder, cp_clock_t deadline,
                                cp_error_t *err)
{
    cp_pool_t *pool = asking->pool;
    cp_connection_t *conn = &asking->conn;
    cp_slot_t *slot;
    apr_status_t rv = cp_slots_take(pool, &slot);

    if (rv != APR_SUCCESS) {
        return cp_error_set(err, CP_ERR_MEMORY, rv, "out of memory",
                            "pool '%s': apr_reslist_acquire failed",
                            pool->config.name);
    }
    cp_slot_occupy(slot, holder, asking->now);
    if (slot->conn.handle) {
        *conn = cp_connection_take(pool, slot);
    }
    rv = obtain(asking, deadline, err);
    if (rv != APR_SUCCESS) {
        return_slot(pool, slot, conn);
        return rv;
    }
    slot->conn = *conn;
    lease->pool = pool;
    lease->slot = slot;
    lease->since = asking->now;
    cp_stats_add(&pool->stats->acquired, 1);
    cp_stats_add(&pool->stats->busy, 1);
    if (pool->config.is_writer) {
        cp_stats_add(&pool->stats->busy_writers, 1);
    }
    cp_stats_raise(&pool->stats->busy_max, cp_stats_get(&pool->stats->busy));
    return APR_SUCCESS;
}

/* Where threads of this child wait for permits of the server, who comes later
 * does not take what comes back before they do. */
static apr_status_t borrow_pooled(cp_pool_t *pool, cp_lease_t *lease,
                                  const char *holder, cp_clock_t deadline,
                                  cp_error_t *err)
{
    cp_share_t *share = pool->config.share;
    asking_t asking = {.pool = pool, .now = lease->since};
    apr_status_t rv = APR_SUCCESS;

    if (share && cp_share_has_queue(share)) {
        rv = get_in_line(&asking, deadline);
        asking.now = cp_clock_now();
    }
    rv = rv == APR_SUCCESS ? borrow_slot(&asking, lease, holder, deadline, err)
                           : cp_pool_refuse(pool, CP_SERVER_LIMIT, rv, err);
    step_out(&asking);
    return rv;
}

/* Through the gates, which are left again on failure. */
static apr_status_t borrow_inside(cp_pool_t *pool, cp_lease_t *lease,
                                  const char *holder, cp_clock_t deadline,
                                  cp_error_t *err)
{
    apr_status_t rv = borrow_pooled(pool, lease, holder, deadline, err);

    if (rv != APR_SUCCESS) {
        leave_gates(pool, CP_POOL_SHARED_GATES);
    }
    return rv;
}

/* One connection beside the exhausted pool, closed after its one use. */
static apr_status_t borrow_overflow(cp_pool_t *pool, cp_lease_t *lease,
                                    const char *holder, cp_clock_t deadline,
                                    cp_error_t *err)
{
    cp_slot_t *slot = cp_slot_create(1);
    apr_status_t rv;

    if (!slot) {
        return cp_error_set(err, CP_ERR_MEMORY, APR_ENOMEM, "out of memory",
                            "pool '%s'", pool->config.name);
    }
    rv = cp_connection_try_permit(pool, &slot->conn)
             ? cp_connection_open(pool, &slot->conn, deadline, err)
             : cp_pool_refuse(pool, CP_SERVER_LIMIT, APR_TIMEUP, err);
    if (rv != APR_SUCCESS) {
        cp_slot_free(slot);
        return rv;
    }
    lease->since = cp_clock_now();
    cp_slot_occupy(slot, holder, lease->since);
    cp_slot_register(pool, slot);
    lease->pool = pool;
    lease->slot = slot;
    cp_stats_add(&pool->stats->fallbacks, 1);
    cp_stats_add(&pool->stats->one_shots, 1);
    return APR_SUCCESS;
}

static int overflow_reserve(cp_pool_t *pool)
{
    if (__atomic_add_fetch(&pool->overflows, 1, __ATOMIC_RELAXED)
        <= pool->config.overflow_max) {
        return 1;
    }
    __atomic_sub_fetch(&pool->overflows, 1, __ATOMIC_RELAXED);
    return 0;
}

/* The pool is exhausted: open a connection beside it. */
static apr_status_t fall_back(cp_pool_t *pool, cp_lease_t *lease,
                              const char *holder, cp_clock_t deadline,
                              cp_error_t *err)
{
    uint64_t suppressed;
    char tail[64];
    apr_status_t rv;

    rv = borrow_overflow(pool, lease, holder, deadline, err);
    if (rv != APR_SUCCESS) {
        __atomic_sub_fetch(&pool->overflows, 1, __ATOMIC_RELAXED);
        return rv;
    }
    if (cp_log_allowed(&pool->overflow_log, OVERFLOW_EVERY, &suppressed)) {
        cp_log(CP_LOG_MARK, CP_LOG_WARNING, 0,
               "pool %s is exhausted (max %d): falling back to one-shot "
               "connections, at most %d at once%s",
               pool->label, pool->config.max, pool->config.overflow_max,
               cp_log_repeats(tail, sizeof(tail), suppressed));
    }
    return APR_SUCCESS;
}

/* How long it took to get a connection is not mixed with how long it took to
 * hear that there is none: at an exhausted pool every refusal would count as a
 * slow acquire, and at a full queue as a quick one. */
static apr_status_t record(cp_pool_t *pool, apr_status_t rv, cp_lease_t *lease)
{
    if (rv == APR_SUCCESS) {
        cp_histogram_record(&pool->stats->acquire_us,
                            lease->since - lease->asked);
    }
    else {
        lease->since = cp_clock_now();
        cp_histogram_record(&pool->stats->refused_us,
                            lease->since - lease->asked);
    }
    return rv;
}

apr_status_t cp_pool_acquire(cp_pool_t *pool, cp_lease_t *lease,
                             const char *holder, cp_error_t *err)
{
    return cp_pool_acquire_by(pool, lease, holder, CP_CLOCK_NEVER, err);
}

apr_status_t cp_pool_acquire_by(cp_pool_t *pool, cp_lease_t *lease,
                                const char *holder, cp_clock_t by,
                                cp_error_t *err)
{
    cp_clock_t deadline;
    apr_status_t rv;
    int limit;

    lease->slot = NULL;
    lease->asked = cp_clock_now();
    cp_error_clear(err);
    deadline = cp_clock_add(lease->asked, pool->config.acquire);
    deadline = by < deadline ? by : deadline;
    rv = enter_gates(pool, deadline, &limit);
    lease->since = cp_clock_now();
    /* Once for all that the driver does now, lest graces add up. */
    deadline = cp_pool_driver_deadline(deadline, lease->since);
    if (rv == APR_SUCCESS) {
        rv = borrow_inside(pool, lease, holder, deadline, err);
    }
    else if (rv == APR_EOF || cp_pool_is_stopped(pool)) {
        rv = cp_pool_refuse(pool, CP_OWN_LIMIT, rv, err);
    }
    else if (overflow_reserve(pool)) {
        rv = fall_back(pool, lease, holder, deadline, err);
    }
    else {
        rv = cp_pool_refuse(pool, limit, rv, err);
    }
    return record(pool, rv, lease);
}

apr_status_t cp_pool_try_acquire(cp_pool_t *pool, cp_lease_t *lease,
                                 const char *holder, cp_error_t *err)
{
    return cp_pool_try_acquire_until(pool, lease, holder,
                                     cp_clock_after(pool->config.acquire), err);
}

apr_status_t cp_pool_try_acquire_until(cp_pool_t *pool, cp_lease_t *lease,
                                       const char *holder, cp_clock_t deadline,
                                       cp_error_t *err)
{
    apr_status_t rv;

    lease->slot = NULL;
    lease->asked = lease->since = cp_clock_now();
    cp_error_clear(err);
    if (cp_pool_is_stopped(pool)) {
        return record(pool, cp_pool_refuse(pool, CP_OWN_LIMIT, APR_EOF, err),
                      lease);
    }
    if (!try_gates(pool)) {
        return APR_EAGAIN;
    }
    rv = borrow_inside(pool, lease, holder,
                       cp_pool_driver_deadline(deadline, lease->since), err);
    return record(pool, rv, lease);
}

void cp_lease_tell(cp_lease_t *lease, const char *method, const char *path)
{
    if (lease->slot) {
        cp_slot_tell(lease->slot, method, path);
    }
}

void *cp_lease_connection(const cp_lease_t *lease)
{
    return lease->slot ? lease->slot->conn.handle : NULL;
}

int cp_lease_is_overflow(const cp_lease_t *lease)
{
    return lease->slot && lease->slot->is_overflow;
}

/* --- release --- */

static void return_overflow(cp_pool_t *pool, cp_slot_t *slot)
{
    cp_slot_unregister(pool, slot);
    /* Nobody else sees it any more. */
    if (slot->is_shown || slot->leak_reported) {
        cp_pool_list_holders(pool);
    }
    cp_slot_free(slot);
    cp_stats_add(&pool->stats->one_shots, -1);
    __atomic_sub_fetch(&pool->overflows, 1, __ATOMIC_RELAXED);
}

static void return_pooled(cp_pool_t *pool, cp_slot_t *slot,
                          const cp_connection_t *conn)
{
    if (conn->handle) {
        cp_pool_count_idle(pool, 1);
    }
    return_slot(pool, slot, conn);
    if (conn->handle && pool->config.share) {
        cp_share_tell(pool->config.share);
    }
    cp_stats_add(&pool->stats->busy, -1);
    if (pool->config.is_writer) {
        cp_stats_add(&pool->stats->busy_writers, -1);
    }
    cp_stats_add(&pool->stats->released, 1);
    leave_gates(pool, CP_POOL_SHARED_GATES);
}

static int is_wanted_elsewhere(cp_pool_t *pool)
{
    return pool->config.share
           && cp_share_should_yield(pool->config.share,
                                    cp_stats_get(&pool->stats->waiting) > 0);
}

/* May the connection that comes back be kept? CP_CLOSE_REASONS when it may. */
static cp_close_reason_t why_not_keep(cp_pool_t *pool, const cp_slot_t *slot,
                                      const cp_connection_t *conn,
                                      const char *why_broken)
{
    cp_close_reason_t reason;

    if (!why_broken) {
        reason = slot->is_overflow ? CP_CLOSE_OVERFLOW
                                   : cp_connection_why_not_reusable(
                                       pool, conn, conn->last_used);
        if (reason != CP_CLOSE_REASONS) {
            return reason;
        }
        if (is_wanted_elsewhere(pool)) {
            return CP_CLOSE_YIELDED;
        }
        if (!pool->driver->reset
            || pool->driver->reset(pool->driver_ctx, conn->handle)
                   == APR_SUCCESS) {
            return CP_CLOSE_REASONS;
        }
        why_broken = "it could not be reset";
    }
    cp_log(CP_LOG_MARK, CP_LOG_INFO, 0,
           "pool '%s': a connection is discarded: %s", pool->config.name,
           why_broken);
    return CP_CLOSE_DISCARDED;
}

void cp_lease_transact(cp_lease_t *lease, int is_open)
{
    cp_slot_t *slot = lease->slot;

    if (slot && slot->in_transaction != is_open) {
        slot->in_transaction = is_open;
        cp_stats_add(&lease->pool->stats->in_transaction, is_open ? 1 : -1);
    }
}

static void give_back(cp_lease_t *lease, const char *why_broken)
{
    cp_pool_t *pool = lease->pool;
    cp_slot_t *slot = lease->slot;
    cp_connection_t conn = slot->conn;
    cp_close_reason_t reason;

    cp_lease_transact(lease, 0);
    lease->slot = NULL;
    conn.last_used = lease->since = cp_clock_now();
    cp_histogram_record(&pool->stats->hold_us,
                        conn.last_used - slot->busy_since);
    reason = why_not_keep(pool, slot, &conn, why_broken);
    if (reason != CP_CLOSE_REASONS) {
        cp_connection_close(pool, &conn, reason);
    }
    if (slot->is_overflow) {
        return_overflow(pool, slot);
    }
    else {
        return_pooled(pool, slot, &conn);
    }
}

void cp_pool_release(cp_lease_t *lease)
{
    if (!lease->slot) {
        cp_log(CP_LOG_MARK, CP_LOG_WARNING, 0,
               "pool '%s': a connection was released twice",
               lease->pool ? lease->pool->config.name : "?");
        return;
    }
    give_back(lease, NULL);
}

void cp_pool_discard(cp_lease_t *lease, const char *why)
{
    if (lease->slot) {
        give_back(lease, why);
    }
}
