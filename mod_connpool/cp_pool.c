/* SPDX-License-Identifier: Apache-2.0
 *
 * Who holds what, and under which lock:
 *  - a *permit* of the gate(s) bounds how many borrow at once, in FIFO order;
 *  - the reslist hands a *slot* to whoever has a permit, so it never waits;
 *  - a slot's mutex guards its connection while it is idle, so that maintenance
 *    can take the connection out of a slot that lies in the reslist.
 * Opening, checking and closing happen under none of these locks.
 * Lock order: reslist's own lock, then registry_lock, then slot->lock. */
#include "cp_pool.h"

#include <pthread.h>
#include <stdlib.h>

#include <apr_reslist.h>
#include <apr_ring.h>
#include <apr_strings.h>

#include "cp_log.h"

#define HOLDER_SIZE     128
#define OPEN_GRACE      apr_time_from_msec(50)
#define COMPLAINT_EVERY apr_time_from_sec(10)
#define OVERFLOW_EVERY  apr_time_from_sec(60)
#define SWEEP_BATCH     32
#define LIFETIME_JITTER 10 /* percent, drawn once at birth */

typedef struct connection_t {
    void *handle; /* NULL: none */
    cp_clock_t expires_at;
    cp_clock_t last_used;
    unsigned generation;
} connection_t;

struct cp_slot_t {
    APR_RING_ENTRY(cp_slot_t) link; /* registry_lock */
    pthread_mutex_t lock;
    connection_t conn; /* lock while idle; the borrower's alone while busy */
    int is_busy;       /* lock */
    int is_overflow;   /* constant */
    int leak_reported; /* lock */
    cp_clock_t busy_since;    /* lock */
    char holder[HOLDER_SIZE]; /* lock */
};

struct cp_pool_t {
    cp_pool_config_t config; /* constant */
    const cp_driver_t *driver;
    void *driver_ctx;
    cp_pool_stats_t *stats; /* relaxed atomics */
    apr_pool_t *p;
    apr_reslist_t *slots;
    cp_gate_t *gate;

    pthread_mutex_t registry_lock;
    APR_RING_HEAD(registry_t, cp_slot_t) registry; /* registry_lock */

    unsigned generation; /* atomic: older connections are not reused */
    int open;            /* atomic: of this pool; stats may be shared */
    int idle;            /* atomic: open ones that lie in slots */
    int overflows;       /* atomic: one-shot connections out */
    int is_stopped;      /* atomic */
    int is_down;         /* atomic: the last attempt to open failed */

    pthread_mutex_t error_lock;
    char last_error[256]; /* error_lock */

    cp_log_limit_t refusal_log;
    cp_log_limit_t overflow_log;
    cp_log_limit_t open_log;
};

/* --- slots ------------------------------------------------------------- */

static cp_slot_t *slot_create(int is_overflow)
{
    cp_slot_t *slot = calloc(1, sizeof(*slot));

    if (slot) {
        pthread_mutex_init(&slot->lock, NULL);
        slot->is_overflow = is_overflow;
    }
    return slot;
}

static void slot_free(cp_slot_t *slot)
{
    pthread_mutex_destroy(&slot->lock);
    free(slot);
}

/* Reslist constructor: runs under the reslist's lock, so it only allocates. */
static apr_status_t slot_construct(void **presource, void *params,
                                   apr_pool_t *p)
{
    cp_pool_t *pool = params;
    cp_slot_t *slot = slot_create(0);

    if (!slot) {
        return APR_ENOMEM;
    }
    pthread_mutex_lock(&pool->registry_lock);
    APR_RING_INSERT_TAIL(&pool->registry, slot, cp_slot_t, link);
    pthread_mutex_unlock(&pool->registry_lock);
    *presource = slot;
    return APR_SUCCESS;
}

/* Reslist destructor, under the same lock: the connection is gone already. */
static apr_status_t slot_destruct(void *resource, void *params, apr_pool_t *p)
{
    cp_pool_t *pool = params;
    cp_slot_t *slot = resource;

    pthread_mutex_lock(&pool->registry_lock);
    APR_RING_REMOVE(slot, link);
    pthread_mutex_unlock(&pool->registry_lock);
    slot_free(slot);
    return APR_SUCCESS;
}

static void slot_occupy(cp_slot_t *slot, const char *holder, cp_clock_t now)
{
    pthread_mutex_lock(&slot->lock);
    slot->is_busy = 1;
    slot->leak_reported = 0;
    slot->busy_since = now;
    apr_cpystrn(slot->holder, holder, sizeof(slot->holder));
    pthread_mutex_unlock(&slot->lock);
}

static void slot_vacate(cp_slot_t *slot, const connection_t *conn)
{
    pthread_mutex_lock(&slot->lock);
    slot->is_busy = 0;
    slot->conn = *conn;
    pthread_mutex_unlock(&slot->lock);
}

/* --- connections --------------------------------------------------------- */

static void count_open(cp_pool_t *pool, int delta)
{
    __atomic_add_fetch(&pool->open, delta, __ATOMIC_RELAXED);
    cp_stats_add(&pool->stats->open, delta);
}

static void count_idle(cp_pool_t *pool, int delta)
{
    __atomic_add_fetch(&pool->idle, delta, __ATOMIC_RELAXED);
    cp_stats_add(&pool->stats->idle, delta);
}

static apr_interval_time_t jitter(apr_interval_time_t span, const void *seed)
{
    /* splitmix64's finaliser over time and address: spread, not secret. */
    uint64_t x = (uint64_t)cp_clock_now() ^ ((uint64_t)(uintptr_t)seed << 20);

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    x ^= x >> 31;
    return span > 0 ? (apr_interval_time_t)(x % (uint64_t)span) : 0;
}

static void remember_error(cp_pool_t *pool, const cp_error_t *err)
{
    pthread_mutex_lock(&pool->error_lock);
    apr_snprintf(pool->last_error, sizeof(pool->last_error), "%s: %s",
                 err->cause, err->detail);
    pthread_mutex_unlock(&pool->error_lock);
}

static void note_open_failure(cp_pool_t *pool, const cp_error_t *err)
{
    uint64_t suppressed;

    cp_stats_add(&pool->stats->create_failures, 1);
    remember_error(pool, err);
    __atomic_store_n(&pool->is_down, 1, __ATOMIC_RELAXED);
    if (cp_log_allowed(&pool->open_log, COMPLAINT_EVERY, &suppressed)) {
        cp_log(CP_LOG_MARK, CP_LOG_ERROR, err->rv,
               "pool '%s': cannot open a connection: %s: %s (%" APR_UINT64_T_FMT
               " like this since the last line)",
               pool->config.name, err->cause, err->detail, suppressed);
    }
}

static apr_status_t connection_open(cp_pool_t *pool, connection_t *conn,
                                    cp_clock_t deadline, cp_error_t *err)
{
    cp_clock_t grace = cp_clock_after(OPEN_GRACE);
    unsigned generation = __atomic_load_n(&pool->generation, __ATOMIC_ACQUIRE);
    apr_interval_time_t lifetime = pool->config.lifetime;
    apr_status_t rv;

    conn->handle = NULL;
    rv = pool->driver->open(pool->driver_ctx,
                            deadline > grace ? deadline : grace, &conn->handle,
                            err);
    if (rv != APR_SUCCESS) {
        note_open_failure(pool, err);
        return rv;
    }
    conn->generation = generation;
    conn->last_used = cp_clock_now();
    conn->expires_at = CP_CLOCK_NEVER;
    if (lifetime > 0) {
        conn->expires_at = cp_clock_after(
            lifetime - jitter(lifetime * LIFETIME_JITTER / 100, conn));
    }
    cp_stats_add(&pool->stats->created, 1);
    count_open(pool, 1);
    if (__atomic_exchange_n(&pool->is_down, 0, __ATOMIC_RELAXED)) {
        cp_log(CP_LOG_MARK, CP_LOG_NOTICE, 0, "pool '%s': usable again",
               pool->config.name);
    }
    return APR_SUCCESS;
}

static void connection_close(cp_pool_t *pool, connection_t *conn,
                             cp_close_reason_t reason)
{
    if (!conn->handle) {
        return;
    }
    pool->driver->close(pool->driver_ctx, conn->handle);
    conn->handle = NULL;
    cp_stats_add(&pool->stats->closed[reason], 1);
    count_open(pool, -1);
    cp_log(CP_LOG_MARK, CP_LOG_DEBUG, 0, "pool '%s': closed a connection (%s)",
           pool->config.name, cp_close_reason_name(reason));
}

static unsigned current_generation(cp_pool_t *pool)
{
    return __atomic_load_n(&pool->generation, __ATOMIC_ACQUIRE);
}

static int is_stopped(cp_pool_t *pool)
{
    return __atomic_load_n(&pool->is_stopped, __ATOMIC_ACQUIRE);
}

/* May this connection be used (again)? CP_CLOSE_REASONS when it may. */
static cp_close_reason_t why_not_reusable(cp_pool_t *pool,
                                          const connection_t *conn,
                                          cp_clock_t now)
{
    if (is_stopped(pool)) {
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

/* Take the connection out of an idle slot. The slot is locked. */
static connection_t take_connection(cp_pool_t *pool, cp_slot_t *slot)
{
    connection_t conn = slot->conn;

    slot->conn.handle = NULL;
    count_idle(pool, -1);
    return conn;
}

/* An empty slot came up while warm ones lie deeper in the reslist: move a
 * connection over instead of opening one more. */
static void adopt_idle_connection(cp_pool_t *pool, connection_t *conn)
{
    cp_slot_t *slot;
    cp_clock_t now = cp_clock_now();

    if (__atomic_load_n(&pool->idle, __ATOMIC_RELAXED) == 0) {
        return;
    }
    pthread_mutex_lock(&pool->registry_lock);
    APR_RING_FOREACH(slot, &pool->registry, cp_slot_t, link)
    {
        pthread_mutex_lock(&slot->lock);
        if (!slot->is_busy && slot->conn.handle
            && why_not_reusable(pool, &slot->conn, now) == CP_CLOSE_REASONS) {
            *conn = take_connection(pool, slot);
        }
        pthread_mutex_unlock(&slot->lock);
        if (conn->handle) {
            break;
        }
    }
    pthread_mutex_unlock(&pool->registry_lock);
}

/* --- acquire -------------------------------------------------------------- */

/* Close the connection unless it may be reused and is alive. */
static void weed_out(cp_pool_t *pool, connection_t *conn, cp_clock_t deadline)
{
    cp_clock_t now = cp_clock_now();
    cp_close_reason_t reason = why_not_reusable(pool, conn, now);
    unsigned generation = conn->generation;

    if (reason != CP_CLOSE_REASONS) {
        connection_close(pool, conn, reason);
        return;
    }
    if (now - conn->last_used < pool->config.check
        || pool->driver->check(pool->driver_ctx, conn->handle, deadline)
               == APR_SUCCESS) {
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
    connection_close(pool, conn, CP_CLOSE_DEAD);
}

/* Fill conn with a live connection: the slot's own, an idle one, a new one. */
static apr_status_t connection_obtain(cp_pool_t *pool, connection_t *conn,
                                      cp_clock_t deadline, cp_error_t *err)
{
    do {
        if (!conn->handle) {
            adopt_idle_connection(pool, conn);
        }
        if (!conn->handle) {
            return connection_open(pool, conn, deadline, err);
        }
        weed_out(pool, conn, deadline);
    } while (!conn->handle);
    return APR_SUCCESS;
}

static apr_status_t enter_shared_gate(cp_pool_t *pool, cp_gate_t *gate,
                                      cp_clock_t deadline)
{
    apr_status_t rv;

    if (cp_gate_try_enter(gate)) {
        return APR_SUCCESS;
    }
    cp_stats_add(&pool->stats->waiting, 1);
    rv = cp_gate_enter(gate, deadline);
    cp_stats_add(&pool->stats->waiting, -1);
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

static apr_status_t enter_gates(cp_pool_t *pool, cp_clock_t deadline)
{
    apr_status_t rv = cp_gate_enter(pool->gate, deadline);

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
            return rv;
        }
    }
    return APR_SUCCESS;
}

static apr_status_t borrow_pooled(cp_pool_t *pool, cp_lease_t *lease,
                                  const char *holder, cp_clock_t deadline,
                                  cp_error_t *err)
{
    void *resource;
    cp_slot_t *slot;
    connection_t conn = {0};
    apr_status_t rv = apr_reslist_acquire(pool->slots, &resource);

    if (rv != APR_SUCCESS) {
        return cp_error_set(err, CP_ERR_INTERNAL, rv, "out of memory",
                            "pool '%s': apr_reslist_acquire failed",
                            pool->config.name);
    }
    slot = resource;
    slot_occupy(slot, holder, cp_clock_now());
    if (slot->conn.handle) {
        conn = take_connection(pool, slot);
    }
    rv = connection_obtain(pool, &conn, deadline, err);
    if (rv != APR_SUCCESS) {
        slot_vacate(slot, &conn);
        apr_reslist_invalidate(pool->slots, slot);
        return rv;
    }
    slot->conn = conn;
    lease->pool = pool;
    lease->slot = slot;
    cp_stats_add(&pool->stats->acquired, 1);
    cp_stats_add(&pool->stats->busy, 1);
    return APR_SUCCESS;
}

/* One connection beside the exhausted pool, closed after its one use. */
static apr_status_t borrow_overflow(cp_pool_t *pool, cp_lease_t *lease,
                                    const char *holder, cp_clock_t deadline,
                                    cp_error_t *err)
{
    cp_slot_t *slot = slot_create(1);
    apr_status_t rv;

    if (!slot) {
        return cp_error_set(err, CP_ERR_INTERNAL, APR_ENOMEM, "out of memory",
                            "pool '%s'", pool->config.name);
    }
    rv = connection_open(pool, &slot->conn, deadline, err);
    if (rv != APR_SUCCESS) {
        slot_free(slot);
        return rv;
    }
    slot_occupy(slot, holder, cp_clock_now());
    lease->pool = pool;
    lease->slot = slot;
    cp_stats_add(&pool->stats->fallbacks, 1);
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

/* "no connection within 2000 ms (open 10/10, busy 10, waiting 4); last error:
 * ...": everything that the next question would ask for. */
static apr_status_t refuse(cp_pool_t *pool, apr_status_t rv, cp_error_t *err)
{
    cp_gate_state_t gate = cp_gate_state(pool->gate);
    char last_error[sizeof(pool->last_error)];
    char what[64];
    uint64_t suppressed;

    cp_pool_last_error(pool, last_error, sizeof(last_error));
    if (rv == APR_TIMEUP) {
        cp_stats_add(&pool->stats->timeouts, 1);
        apr_snprintf(what, sizeof(what),
                     "no connection within %" APR_TIME_T_FMT " ms",
                     apr_time_as_msec(pool->config.acquire));
    }
    else {
        cp_stats_add(&pool->stats->rejected, 1);
        apr_cpystrn(what, rv == APR_EOF ? "shutting down" : "queue is full",
                    sizeof(what));
    }
    cp_error_set(err, CP_ERR_CAPACITY, rv, "no connection is free",
                 "pool '%s': %s (open %d/%d, busy %d, waiting %d)%s%s",
                 pool->config.name, what,
                 __atomic_load_n(&pool->open, __ATOMIC_RELAXED),
                 pool->config.max, gate.inside, gate.waiting,
                 last_error[0] ? "; last error: " : "", last_error);
    if (cp_log_allowed(&pool->refusal_log, COMPLAINT_EVERY, &suppressed)) {
        cp_log(CP_LOG_MARK, CP_LOG_WARNING, 0,
               "%s (%" APR_UINT64_T_FMT " like this since the last line)",
               err->detail, suppressed);
    }
    return rv;
}

/* The pool is exhausted (rv says how): fall back or refuse. */
static apr_status_t fall_back(cp_pool_t *pool, cp_lease_t *lease,
                              const char *holder, cp_clock_t deadline,
                              apr_status_t rv, cp_error_t *err)
{
    uint64_t suppressed;

    if (rv == APR_EOF || !overflow_reserve(pool)) {
        return refuse(pool, rv, err);
    }
    rv = borrow_overflow(pool, lease, holder, deadline, err);
    if (rv != APR_SUCCESS) {
        __atomic_sub_fetch(&pool->overflows, 1, __ATOMIC_RELAXED);
        return rv;
    }
    if (cp_log_allowed(&pool->overflow_log, OVERFLOW_EVERY, &suppressed)) {
        cp_log(CP_LOG_MARK, CP_LOG_WARNING, 0,
               "pool '%s' is exhausted (max %d): falling back to one-shot "
               "connections, at most %d at once (%" APR_UINT64_T_FMT
               " more since the last line)",
               pool->config.name, pool->config.max, pool->config.overflow_max,
               suppressed);
    }
    return APR_SUCCESS;
}

apr_status_t cp_pool_acquire(cp_pool_t *pool, cp_lease_t *lease,
                             const char *holder, cp_error_t *err)
{
    cp_clock_t start = cp_clock_now();
    cp_clock_t deadline = cp_clock_after(pool->config.acquire);
    apr_status_t rv;

    lease->slot = NULL;
    rv = enter_gates(pool, deadline);
    if (rv != APR_SUCCESS) {
        rv = fall_back(pool, lease, holder, deadline, rv, err);
    }
    else {
        rv = borrow_pooled(pool, lease, holder, deadline, err);
        if (rv != APR_SUCCESS) {
            leave_gates(pool, CP_POOL_SHARED_GATES);
        }
    }
    cp_histogram_record(&pool->stats->acquire_us, cp_clock_now() - start);
    return rv;
}

void *cp_lease_connection(const cp_lease_t *lease)
{
    return lease->slot ? lease->slot->conn.handle : NULL;
}

int cp_lease_is_overflow(const cp_lease_t *lease)
{
    return lease->slot && lease->slot->is_overflow;
}

/* --- release ----------------------------------------------------------------
 */

static void return_overflow(cp_pool_t *pool, cp_slot_t *slot,
                            connection_t *conn)
{
    connection_close(pool, conn, CP_CLOSE_OVERFLOW);
    slot_free(slot);
    __atomic_sub_fetch(&pool->overflows, 1, __ATOMIC_RELAXED);
}

static void return_pooled(cp_pool_t *pool, cp_slot_t *slot, connection_t *conn)
{
    if (conn->handle) {
        count_idle(pool, 1);
        slot_vacate(slot, conn);
        apr_reslist_release(pool->slots, slot);
    }
    else {
        /* An empty slot would lie on top of the warm ones. */
        slot_vacate(slot, conn);
        apr_reslist_invalidate(pool->slots, slot);
    }
    cp_stats_add(&pool->stats->busy, -1);
    cp_stats_add(&pool->stats->released, 1);
    leave_gates(pool, CP_POOL_SHARED_GATES);
}

static void give_back(cp_lease_t *lease, const char *why_broken)
{
    cp_pool_t *pool = lease->pool;
    cp_slot_t *slot = lease->slot;
    connection_t conn = slot->conn;
    cp_clock_t now = cp_clock_now();
    cp_close_reason_t reason;

    lease->slot = NULL;
    cp_histogram_record(&pool->stats->hold_us, now - slot->busy_since);
    slot->conn.handle = NULL;
    conn.last_used = now;
    if (!why_broken && pool->driver->reset
        && pool->driver->reset(pool->driver_ctx, conn.handle) != APR_SUCCESS) {
        why_broken = "it could not be reset";
    }
    if (why_broken) {
        cp_log(CP_LOG_MARK, CP_LOG_INFO, 0,
               "pool '%s': a connection is discarded: %s", pool->config.name,
               why_broken);
        connection_close(pool, &conn, CP_CLOSE_DISCARDED);
    }
    if (slot->is_overflow) {
        return_overflow(pool, slot, &conn);
        return;
    }
    if (conn.handle) {
        reason = why_not_reusable(pool, &conn, now);
        if (reason != CP_CLOSE_REASONS) {
            connection_close(pool, &conn, reason);
        }
    }
    return_pooled(pool, slot, &conn);
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

/* --- maintenance
 * -------------------------------------------------------------- */

static void report_leak(cp_pool_t *pool, cp_slot_t *slot, cp_clock_t now)
{
    slot->leak_reported = 1;
    cp_stats_add(&pool->stats->leaks_suspected, 1);
    cp_log(CP_LOG_MARK, CP_LOG_WARNING, 0,
           "pool '%s': a connection has been held for %" APR_TIME_T_FMT
           " ms by %s; is it leaked?",
           pool->config.name, apr_time_as_msec(now - slot->busy_since),
           slot->holder);
}

static cp_close_reason_t why_close_idle(cp_pool_t *pool,
                                        const connection_t *conn,
                                        cp_clock_t now)
{
    cp_close_reason_t reason = why_not_reusable(pool, conn, now);

    if (reason == CP_CLOSE_REASONS && pool->config.idle > 0
        && now - conn->last_used >= pool->config.idle
        && __atomic_load_n(&pool->open, __ATOMIC_RELAXED) > pool->config.min) {
        return CP_CLOSE_IDLE;
    }
    return reason;
}

/* Take up to SWEEP_BATCH connections out of idle slots that are to be closed;
 * closing them is the caller's, outside the locks. */
static int collect_expired(cp_pool_t *pool, connection_t *expired,
                           cp_close_reason_t *reasons)
{
    cp_clock_t now = cp_clock_now();
    cp_slot_t *slot;
    int n = 0;

    pthread_mutex_lock(&pool->registry_lock);
    APR_RING_FOREACH(slot, &pool->registry, cp_slot_t, link)
    {
        if (n == SWEEP_BATCH) {
            break;
        }
        pthread_mutex_lock(&slot->lock);
        if (!slot->is_busy && slot->conn.handle) {
            reasons[n] = why_close_idle(pool, &slot->conn, now);
            if (reasons[n] != CP_CLOSE_REASONS) {
                expired[n++] = take_connection(pool, slot);
            }
        }
        else if (slot->is_busy && !slot->leak_reported && pool->config.leak > 0
                 && now - slot->busy_since >= pool->config.leak) {
            report_leak(pool, slot, now);
        }
        pthread_mutex_unlock(&slot->lock);
    }
    pthread_mutex_unlock(&pool->registry_lock);
    return n;
}

static void sweep(cp_pool_t *pool)
{
    connection_t expired[SWEEP_BATCH];
    cp_close_reason_t reasons[SWEEP_BATCH];
    int n;

    do {
        n = collect_expired(pool, expired, reasons);
        for (int i = 0; i < n; i++) {
            connection_close(pool, &expired[i], reasons[i]);
        }
    } while (n == SWEEP_BATCH);
}

/* Put a new connection into some idle, empty slot; 0 when there is none. */
static int place_connection(cp_pool_t *pool, connection_t *conn)
{
    cp_slot_t *slot;
    int placed = 0;

    pthread_mutex_lock(&pool->registry_lock);
    APR_RING_FOREACH(slot, &pool->registry, cp_slot_t, link)
    {
        pthread_mutex_lock(&slot->lock);
        if (!slot->is_busy && !slot->conn.handle) {
            slot->conn = *conn;
            count_idle(pool, 1);
            placed = 1;
        }
        pthread_mutex_unlock(&slot->lock);
        if (placed) {
            break;
        }
    }
    pthread_mutex_unlock(&pool->registry_lock);
    return placed;
}

/* Make sure that the reslist has idle slots for `count` connections, without
 * keeping anybody waiting: only while permits are free. */
static void make_slots(cp_pool_t *pool, int count)
{
    void *made[SWEEP_BATCH];
    int n = 0;

    while (n < count && n < SWEEP_BATCH && cp_gate_try_enter(pool->gate)) {
        if (apr_reslist_acquire(pool->slots, &made[n]) != APR_SUCCESS) {
            cp_gate_leave(pool->gate);
            break;
        }
        n++;
    }
    while (n-- > 0) {
        apr_reslist_release(pool->slots, made[n]);
        cp_gate_leave(pool->gate);
    }
}

static void warm_up(cp_pool_t *pool)
{
    int missing = pool->config.min
                  - __atomic_load_n(&pool->open, __ATOMIC_RELAXED);
    cp_error_t err;

    if (!pool->config.is_pooled || missing <= 0 || is_stopped(pool)) {
        return;
    }
    make_slots(pool, pool->config.min);
    while (missing-- > 0) {
        connection_t conn = {0};

        cp_error_clear(&err);
        if (connection_open(pool, &conn, cp_clock_after(pool->config.acquire),
                            &err)
            != APR_SUCCESS) {
            return;
        }
        if (!place_connection(pool, &conn)) {
            connection_close(pool, &conn, CP_CLOSE_IDLE);
            return;
        }
    }
}

void cp_pool_maintain(cp_pool_t *pool)
{
    sweep(pool);
    warm_up(pool);
}

void cp_pool_flush(cp_pool_t *pool, const char *why)
{
    __atomic_add_fetch(&pool->generation, 1, __ATOMIC_ACQ_REL);
    cp_log(CP_LOG_MARK, CP_LOG_NOTICE, 0, "pool '%s': flushed: %s",
           pool->config.name, why);
    sweep(pool);
}

void cp_pool_each_idle(cp_pool_t *pool, void (*fn)(void *conn, void *baton),
                       void *baton)
{
    cp_slot_t *slot;

    pthread_mutex_lock(&pool->registry_lock);
    APR_RING_FOREACH(slot, &pool->registry, cp_slot_t, link)
    {
        pthread_mutex_lock(&slot->lock);
        if (!slot->is_busy && slot->conn.handle) {
            fn(slot->conn.handle, baton);
        }
        pthread_mutex_unlock(&slot->lock);
    }
    pthread_mutex_unlock(&pool->registry_lock);
}

void cp_pool_last_error(cp_pool_t *pool, char *buffer, size_t size)
{
    pthread_mutex_lock(&pool->error_lock);
    apr_cpystrn(buffer, pool->last_error, size);
    pthread_mutex_unlock(&pool->error_lock);
}

const cp_pool_config_t *cp_pool_settings(const cp_pool_t *pool)
{
    return &pool->config;
}

/* --- life
 * ------------------------------------------------------------------------ */

apr_status_t cp_pool_create(cp_pool_t **ppool, const cp_pool_config_t *config,
                            const cp_driver_t *driver, void *driver_ctx,
                            cp_pool_stats_t *stats)
{
    apr_pool_t *p;
    cp_pool_t *pool;
    apr_status_t rv;

    /* A root of its own: apr_reslist's cleanup asserts that nothing is out,
     * so only cp_pool_destroy may decide to run it. */
    rv = apr_pool_create_unmanaged_ex(&p, NULL, NULL);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    apr_pool_tag(p, "connpool_pool");
    pool = apr_pcalloc(p, sizeof(*pool));
    pool->p = p;
    pool->config = *config;
    pool->driver = driver;
    pool->driver_ctx = driver_ctx;
    pool->stats = stats;
    pthread_mutex_init(&pool->registry_lock, NULL);
    pthread_mutex_init(&pool->error_lock, NULL);
    APR_RING_INIT(&pool->registry, cp_slot_t, link);
    rv = cp_gate_create(&pool->gate, config->max, config->queue,
                        &stats->waiting, p);
    if (rv == APR_SUCCESS) {
        rv = apr_reslist_create(&pool->slots, 0, config->max, config->max, 0,
                                slot_construct, slot_destruct, pool, p);
    }
    if (rv != APR_SUCCESS) {
        apr_pool_destroy(p);
        return rv;
    }
    apr_reslist_cleanup_order_set(pool->slots, APR_RESLIST_CLEANUP_FIRST);
    *ppool = pool;
    return APR_SUCCESS;
}

void cp_pool_stop(cp_pool_t *pool)
{
    __atomic_store_n(&pool->is_stopped, 1, __ATOMIC_RELEASE);
    cp_gate_close(pool->gate);
    sweep(pool);
}

apr_status_t cp_pool_destroy(cp_pool_t *pool)
{
    if (cp_gate_state(pool->gate).inside > 0
        || __atomic_load_n(&pool->overflows, __ATOMIC_RELAXED) > 0) {
        return APR_EBUSY;
    }
    sweep(pool);
    apr_reslist_destroy(pool->slots);
    pthread_mutex_destroy(&pool->registry_lock);
    pthread_mutex_destroy(&pool->error_lock);
    apr_pool_destroy(pool->p);
    return APR_SUCCESS;
}
