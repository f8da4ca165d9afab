/* SPDX-License-Identifier: Apache-2.0
 * Connections: opened, closed, and moved from slot to slot. */
#include "pool/connection.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "pool/pool.h"
#include "pool/slot.h"
#include "pool/wait/share.h"
#include "stats/cell.h"
#include "stats/histogram.h"
#include "stats/stats.h"

#include <apr_strings.h>

#define COMPLAINT_EVERY apr_time_from_sec(10)
#define LIFETIME_JITTER 10 /* percent, drawn once at birth */

/* What a driver gets at least, however late the permit came: the 50 ms that an
 * acquire may overrun its deadline, less some for the scheduler. */
#define DRIVER_GRACE apr_time_from_msec(40)

/* --- places --- */

int cp_connection_reserve(cp_pool_t *pool)
{
    int open = __atomic_load_n(&pool->open, __ATOMIC_RELAXED);

    do {
        if (open >= pool->config.max) {
            return 0;
        }
    } while (!__atomic_compare_exchange_n(&pool->open, &open, open + 1, 1,
                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return 1;
}

void cp_connection_leave_place(cp_pool_t *pool, cp_connection_t *conn)
{
    if (conn->has_place) {
        conn->has_place = 0;
        __atomic_sub_fetch(&pool->open, 1, __ATOMIC_RELAXED);
    }
}

void cp_connection_let_go(cp_pool_t *pool, cp_connection_t *conn)
{
    cp_connection_leave_place(pool, conn);
    if (conn->has_permit) {
        conn->has_permit = 0;
        cp_share_give(pool->config.share);
    }
}

int cp_connection_try_permit(cp_pool_t *pool, cp_connection_t *conn)
{
    if (!pool->config.share) {
        return 1;
    }
    conn->has_permit = cp_share_try(pool->config.share);
    return conn->has_permit;
}

void cp_pool_count_idle(cp_pool_t *pool, int delta)
{
    __atomic_add_fetch(&pool->idle, delta, __ATOMIC_RELAXED);
    cp_stats_add(&pool->stats->idle, delta);
}

/* --- opening and closing --- */

static void remember_error(cp_pool_t *pool, const cp_error_t *err)
{
    char more[sizeof(err->detail) + 2];

    cp_error_more(err, "", more, sizeof(more));
    pthread_mutex_lock(&pool->error_lock);
    apr_snprintf(pool->last_error, sizeof(pool->last_error), "%s%s", err->cause,
                 more);
    pthread_mutex_unlock(&pool->error_lock);
}

void cp_pool_last_error(cp_pool_t *pool, char *buffer, size_t size)
{
    pthread_mutex_lock(&pool->error_lock);
    apr_cpystrn(buffer, pool->last_error, size);
    pthread_mutex_unlock(&pool->error_lock);
}

static void show_down(cp_pool_t *pool, int is_down)
{
    __atomic_store_n(&pool->stats->down[cp_pool_part(&pool->config)],
                     (uint64_t)is_down, __ATOMIC_RELAXED);
}

/* Another one has to be opened instead. */
static void count_reconnect(cp_pool_t *pool, const char *state)
{
    if (state) {
        cp_stats_add(&pool->stats->reconnects[cp_sqlstate_class(state)], 1);
    }
}

static void note_open_failure(cp_pool_t *pool, const cp_error_t *err)
{
    uint64_t suppressed;
    char tail[64], more[sizeof(err->detail) + 2];

    if (pool->driver->fault) {
        count_reconnect(pool, err->state);
    }
    cp_stats_add(&pool->stats->create_failures, 1);
    cp_stats_add(&pool->stats->failures[err->cls], 1);
    remember_error(pool, err);
    __atomic_store_n(&pool->is_down, 1, __ATOMIC_RELAXED);
    show_down(pool, 1);
    if (cp_log_allowed(&pool->open_log, COMPLAINT_EVERY, &suppressed)) {
        __atomic_store_n(&pool->is_down_logged, 1, __ATOMIC_RELAXED);
        cp_log(CP_LOG_MARK, CP_LOG_ERROR, err->rv,
               "pool '%s': cannot open a connection: %s%s%s", pool->config.name,
               err->cause, cp_error_more(err, "", more, sizeof(more)),
               cp_log_repeats(tail, sizeof(tail), suppressed));
    }
}

/* Takes back what the log said, and only that: under a fault that comes and
 * goes this must not write more lines than the failures do. */
static void note_open_success(cp_pool_t *pool)
{
    if (!__atomic_load_n(&pool->is_down, __ATOMIC_RELAXED)) {
        return;
    }
    __atomic_store_n(&pool->is_down, 0, __ATOMIC_RELAXED);
    show_down(pool, 0);
    /* What kept readers out kept writers out: whether more does is not known
     * until one is opened. */
    if (!pool->config.is_writer) {
        __atomic_store_n(&pool->stats->down[cp_pool_part(&pool->config) + 1], 0,
                         __ATOMIC_RELAXED);
    }
    if (__atomic_exchange_n(&pool->is_down_logged, 0, __ATOMIC_RELAXED)) {
        cp_log(CP_LOG_MARK, CP_LOG_NOTICE, 0, "pool '%s': usable again",
               pool->config.name);
    }
}

cp_clock_t cp_pool_driver_deadline(cp_clock_t deadline, cp_clock_t now)
{
    cp_clock_t grace = cp_clock_add(now, DRIVER_GRACE);

    return deadline > grace ? deadline : grace;
}

apr_status_t cp_connection_open(cp_pool_t *pool, cp_connection_t *conn,
                                cp_clock_t deadline, cp_error_t *err)
{
    unsigned generation = __atomic_load_n(&pool->generation, __ATOMIC_ACQUIRE);
    apr_interval_time_t lifetime = pool->config.lifetime;
    cp_clock_t began;
    apr_status_t rv;

    conn->handle = NULL;
    began = cp_clock_now();
    cp_stats_add(&pool->stats->opening, 1);
    rv = pool->driver->open(pool->driver_ctx, deadline, &conn->handle, err);
    cp_stats_add(&pool->stats->opening, -1);
    cp_histogram_record(&pool->stats->create_us, cp_clock_now() - began);
    if (rv != APR_SUCCESS) {
        cp_connection_let_go(pool, conn);
        note_open_failure(pool, err);
        err->is_told = 1;
        return rv;
    }
    conn->generation = generation;
    conn->last_used = cp_clock_now();
    conn->expires_at = CP_CLOCK_NEVER;
    if (lifetime > 0) {
        conn->expires_at = cp_clock_after(
            lifetime
            - cp_clock_jitter(lifetime * LIFETIME_JITTER / 100, conn->handle));
    }
    cp_stats_add(&pool->stats->created, 1);
    cp_stats_add(&pool->stats->open, 1);
    cp_stats_raise(&pool->stats->open_max, cp_stats_get(&pool->stats->open));
    note_open_success(pool);
    return APR_SUCCESS;
}

void cp_connection_close(cp_pool_t *pool, cp_connection_t *conn,
                         cp_close_reason_t reason)
{
    if (pool->driver->fault
        && (reason == CP_CLOSE_DEAD || reason == CP_CLOSE_DISCARDED)) {
        count_reconnect(pool,
                        pool->driver->fault(pool->driver_ctx, conn->handle));
    }
    pool->driver->close(pool->driver_ctx, conn->handle);
    conn->handle = NULL;
    cp_stats_add(&pool->stats->closed[reason], 1);
    cp_stats_add(&pool->stats->open, -1);
    cp_connection_let_go(pool, conn);
    cp_log(CP_LOG_MARK, CP_LOG_DEBUG, 0, "pool '%s': closed a connection (%s)",
           pool->config.name, cp_close_reason_name(reason));
}

/* --- use again --- */

static unsigned current_generation(cp_pool_t *pool)
{
    return __atomic_load_n(&pool->generation, __ATOMIC_ACQUIRE);
}

cp_close_reason_t cp_connection_why_not_reusable(cp_pool_t *pool,
                                                 const cp_connection_t *conn,
                                                 cp_clock_t now)
{
    if (cp_pool_is_stopped(pool)) {
        return CP_CLOSE_SHUTDOWN;
    }
    if (!pool->config.is_pooled) {
        return CP_CLOSE_UNPOOLED;
    }
    if (conn->generation != current_generation(pool)) {
        return CP_CLOSE_FLUSHED;
    }
    if (now >= conn->expires_at) {
        return CP_CLOSE_LIFETIME;
    }
    return CP_CLOSE_REASONS;
}

cp_connection_t cp_connection_take(cp_pool_t *pool, cp_slot_t *slot)
{
    cp_connection_t conn = slot->conn;

    slot->conn.handle = NULL;
    cp_pool_count_idle(pool, -1);
    return conn;
}

typedef struct adoption_t {
    cp_connection_t *conn;
    int reusable_only;
    cp_clock_t now;
} adoption_t;

static int visit_adopt(cp_pool_t *pool, cp_slot_t *slot, void *baton)
{
    adoption_t *adoption = baton;

    if (slot->is_busy || !slot->conn.handle
        || (adoption->reusable_only
            && cp_connection_why_not_reusable(pool, &slot->conn, adoption->now)
                   != CP_CLOSE_REASONS)) {
        return 0;
    }
    *adoption->conn = cp_connection_take(pool, slot);
    return 1;
}

int cp_connection_adopt(cp_pool_t *pool, cp_connection_t *conn,
                        int reusable_only)
{
    adoption_t adoption = {conn, reusable_only, 0};

    if (__atomic_load_n(&pool->idle, __ATOMIC_RELAXED) <= 0) {
        return 0;
    }
    adoption.now = cp_clock_now();
    return cp_slot_find(pool, visit_adopt, &adoption);
}

static int is_alive(cp_pool_t *pool, const cp_connection_t *conn,
                    cp_clock_t *now, cp_clock_t deadline)
{
    const cp_driver_t *driver = pool->driver;

    if (*now - conn->last_used >= pool->config.check) {
        apr_status_t rv = driver->check(pool->driver_ctx, conn->handle,
                                        deadline);

        *now = cp_clock_now();
        return rv == APR_SUCCESS;
    }
    return !driver->glance
           || driver->glance(pool->driver_ctx, conn->handle) == APR_SUCCESS;
}

void cp_connection_weed_out(cp_pool_t *pool, cp_connection_t *conn,
                            cp_clock_t *now, cp_clock_t deadline)
{
    cp_close_reason_t reason = cp_connection_why_not_reusable(pool, conn, *now);
    unsigned generation = conn->generation;

    if (reason != CP_CLOSE_REASONS) {
        cp_connection_close(pool, conn, reason);
        return;
    }
    if (is_alive(pool, conn, now, deadline)) {
        return;
    }
    /* The others that lie idle are as old: do not test them one by one. */
    if (__atomic_compare_exchange_n(&pool->generation, &generation,
                                    generation + 1, 0, __ATOMIC_ACQ_REL,
                                    __ATOMIC_RELAXED)) {
        cp_log(CP_LOG_MARK, CP_LOG_INFO, 0,
               "pool '%s': an idle connection was dead; flushing the others",
               pool->config.name);
    }
    cp_connection_close(pool, conn, CP_CLOSE_DEAD);
}
