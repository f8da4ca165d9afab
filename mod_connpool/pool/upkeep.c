/* SPDX-License-Identifier: Apache-2.0
 * What is done to a pool from beside, whether or not somebody borrows. */
#include "pool/upkeep.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "pool/connection.h"
#include "pool/wait/gate.h"
#include "pool/leak.h"
#include "pool/pool.h"
#include "pool/slot.h"
#include "stats/stats.h"

static cp_close_reason_t why_close_idle(cp_pool_t *pool,
                                        const cp_connection_t *conn,
                                        cp_clock_t now)
{
    cp_close_reason_t reason = cp_connection_why_not_reusable(pool, conn, now);

    if (reason == CP_CLOSE_REASONS && pool->config.idle > 0
        && now - conn->last_used >= pool->config.idle
        && __atomic_load_n(&pool->open, __ATOMIC_RELAXED) > pool->config.min) {
        return CP_CLOSE_IDLE;
    }
    return reason;
}

typedef struct expiry_t {
    cp_connection_t conn;
    cp_close_reason_t reason;
    int has_permit;
    cp_clock_t now;
} expiry_t;

/* Take a connection that is to be closed out of its idle slot. It keeps its
 * place until it is closed, so that takes a permit; when there is none, those
 * who have them will weed out what they find. After the stop nothing is opened
 * any more, and the gate lets nobody in. */
static int visit_expired(cp_pool_t *pool, cp_slot_t *slot, void *baton)
{
    expiry_t *expiry = baton;

    if (slot->is_busy || !slot->conn.handle) {
        return 0;
    }
    expiry->reason = why_close_idle(pool, &slot->conn, expiry->now);
    if (expiry->reason == CP_CLOSE_REASONS) {
        return 0;
    }
    expiry->has_permit = cp_gate_try_enter(pool->gate);
    if (!expiry->has_permit && !cp_pool_is_stopped(pool)) {
        return 0;
    }
    expiry->conn = cp_connection_take(pool, slot);
    return 1;
}

void cp_pool_sweep(cp_pool_t *pool)
{
    expiry_t expiry;

    expiry.now = cp_clock_now();
    while (cp_slot_find(pool, visit_expired, &expiry)) {
        cp_connection_close(pool, &expiry.conn, expiry.reason);
        if (expiry.has_permit) {
            cp_gate_leave(pool->gate);
        }
    }
}

static int visit_spare(cp_pool_t *pool, cp_slot_t *slot, void *baton)
{
    cp_connection_t *conn = baton;

    if (slot->is_busy || !slot->conn.handle) {
        return 0;
    }
    *conn = cp_connection_take(pool, slot);
    return 1;
}

/* All who have permits of the pool's gate may wait for one of the server, so
 * none is asked of it: the place is free before the connection is closed, lest
 * anybody spin for it. */
int cp_pool_yield(cp_pool_t *pool)
{
    cp_connection_t conn;

    if (__atomic_load_n(&pool->idle, __ATOMIC_RELAXED) <= 0
        || !cp_slot_find(pool, visit_spare, &conn)) {
        return 0;
    }
    cp_connection_leave_place(pool, &conn);
    cp_connection_close(pool, &conn, CP_CLOSE_YIELDED);
    return 1;
}

static int visit_place(cp_pool_t *pool, cp_slot_t *slot, void *baton)
{
    const cp_connection_t *conn = baton;

    if (slot->is_busy || slot->conn.handle) {
        return 0;
    }
    slot->conn = *conn;
    cp_pool_count_idle(pool, 1);
    return 1;
}

/* Open one connection and put it into an idle slot. */
static int warm_one(cp_pool_t *pool)
{
    cp_connection_t conn = {0};
    cp_clock_t deadline = cp_clock_after(pool->config.acquire);
    cp_error_t err;

    conn.has_place = cp_connection_reserve(pool);
    cp_error_clear(&err);
    if (!conn.has_place || !cp_connection_try_permit(pool, &conn)) {
        cp_connection_let_go(pool, &conn);
        return 0;
    }
    if (cp_connection_open(pool, &conn,
                           cp_pool_driver_deadline(deadline, cp_clock_now()),
                           &err)
        != APR_SUCCESS) {
        return 0;
    }
    if (!cp_slot_find(pool, visit_place, &conn)) {
        /* A borrower is about to move the last connection to its own slot. */
        cp_connection_close(pool, &conn, CP_CLOSE_IDLE);
        return 0;
    }
    return 1;
}

static void warm_up(cp_pool_t *pool)
{
    int warmed = pool->config.is_pooled;

    while (warmed && !cp_pool_is_stopped(pool)
           && __atomic_load_n(&pool->open, __ATOMIC_RELAXED) < pool->config.min
           && cp_gate_try_enter(pool->gate)) {
        warmed = warm_one(pool);
        cp_gate_leave(pool->gate);
    }
}

static int visit_tended(cp_pool_t *pool, cp_slot_t *slot, void *baton)
{
    if (!slot->is_busy && slot->conn.handle) {
        pool->driver->tend(pool->driver_ctx, slot->conn.handle);
    }
    return 0;
}

void cp_pool_maintain(cp_pool_t *pool)
{
    cp_pool_sweep(pool);
    if (pool->driver->tend) {
        cp_slot_find(pool, visit_tended, NULL);
    }
    cp_pool_report_leaks(pool);
    cp_pool_choose_holders(pool);
    warm_up(pool);
}

void cp_pool_flush(cp_pool_t *pool, const char *why)
{
    __atomic_add_fetch(&pool->generation, 1, __ATOMIC_ACQ_REL);
    /* The writer's goes with the readers'. */
    if (why && !pool->config.is_writer) {
        cp_log(CP_LOG_MARK, CP_LOG_NOTICE, 0, "pool '%s': flushed: %s",
               pool->config.name, why);
    }
    cp_pool_sweep(pool);
}

typedef struct idle_call_t {
    void (*fn)(void *conn, void *baton);
    void *baton;
} idle_call_t;

static int visit_idle(cp_pool_t *pool, cp_slot_t *slot, void *baton)
{
    const idle_call_t *call = baton;

    if (!slot->is_busy && slot->conn.handle) {
        call->fn(slot->conn.handle, call->baton);
    }
    return 0;
}

void cp_pool_each_idle(cp_pool_t *pool, void (*fn)(void *conn, void *baton),
                       void *baton)
{
    idle_call_t call = {fn, baton};

    cp_slot_find(pool, visit_idle, &call);
}
