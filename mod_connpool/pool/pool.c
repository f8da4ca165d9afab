/* SPDX-License-Identifier: Apache-2.0
 *
 * Who holds what, and under which lock:
 *  - a *permit* of the gate(s) bounds how many borrow at once, in FIFO order;
 *  - the reslist hands a *slot* to whoever has a permit, so it never waits; all
 *    its max slots exist from the start, and most of them may be empty;
 *  - a slot's mutex guards its connection while it is idle, so that maintenance
 *    can take the connection out of a slot that lies in the reslist.
 * Opening, checking and closing happen under none of these locks.
 *
 * Every open connection lies in an idle slot or is in the hands of exactly one
 * thread with a permit, maintenance included. So a thread that has a permit and
 * no connection finds either a free place (open < max) or an idle connection.
 *
 * Lock order: reslist's own lock or leaks_lock, then registry_lock, then
 * slot->lock, then the gate's. */
#include "pool/pool.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "pool/driver.h"
#include "pool/gate.h"
#include "stats/stats.h"

#include <pthread.h>
#include <stdlib.h>

#include <apr_reslist.h>
#include <apr_ring.h>
#include <apr_strings.h>

/* What a driver gets at least, however late the permit came: the 50 ms that an
 * acquire may overrun its deadline, less some for the scheduler. */
#define DRIVER_GRACE    apr_time_from_msec(40)
#define COMPLAINT_EVERY apr_time_from_sec(10)
#define OVERFLOW_EVERY  apr_time_from_sec(60)
#define LIFETIME_JITTER 10   /* percent, drawn once at birth */
#define OWN_LIMIT       (-1) /* beside the indices of the shared gates */

typedef struct connection_t {
    void *handle;  /* NULL: none */
    int has_place; /* counted in pool->open; one-shot ones are not */
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
    cp_clock_t busy_since;       /* lock */
    char holder[CP_HOLDER_SIZE]; /* lock */
};

struct cp_pool_t {
    cp_pool_config_t config; /* constant */
    const char *label;       /* constant: 'NAME', 'NAME' (readers) */
    const cp_driver_t *driver;
    void *driver_ctx;
    cp_pool_stats_t *stats; /* relaxed atomics */
    apr_pool_t *p;
    apr_reslist_t *slots;
    cp_gate_t *gate;

    pthread_mutex_t registry_lock;
    APR_RING_HEAD(registry_t, cp_slot_t) registry; /* registry_lock */
    pthread_mutex_t leaks_lock; /* who writes stats->leaks of this part */

    unsigned generation; /* atomic: older connections are not reused */
    int open;            /* atomic: places taken, <= max; stats may be shared */
    int idle;            /* atomic: open ones that lie in slots */
    int overflows;       /* atomic: one-shot connections out */
    int is_stopped;      /* atomic */
    int is_down;         /* atomic: the last attempt to open failed */
    int is_down_logged;  /* atomic: and the log says so */

    pthread_mutex_t error_lock;
    char last_error[256]; /* error_lock */

    cp_log_limit_t timeout_log;
    cp_log_limit_t rejection_log;
    cp_log_limit_t overflow_log;
    cp_log_limit_t open_log;
};

/* The tail of a rate-limited line. */
static const char *repeats(char *buffer, size_t size, uint64_t suppressed)
{
    if (suppressed == 0) {
        return "";
    }
    apr_snprintf(buffer, size,
                 " (%" APR_UINT64_T_FMT " more like this since the last line)",
                 suppressed);
    return buffer;
}

/* --- slots --- */

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

static void slot_register(cp_pool_t *pool, cp_slot_t *slot)
{
    pthread_mutex_lock(&pool->registry_lock);
    APR_RING_INSERT_TAIL(&pool->registry, slot, cp_slot_t, link);
    pthread_mutex_unlock(&pool->registry_lock);
}

static void slot_unregister(cp_pool_t *pool, cp_slot_t *slot)
{
    pthread_mutex_lock(&pool->registry_lock);
    APR_RING_REMOVE(slot, link);
    pthread_mutex_unlock(&pool->registry_lock);
}

/* Reslist constructor: runs under the reslist's lock, so it only allocates. */
static apr_status_t slot_construct(void **presource, void *params,
                                   apr_pool_t *p)
{
    cp_slot_t *slot = slot_create(0);

    if (!slot) {
        return APR_ENOMEM;
    }
    slot_register(params, slot);
    *presource = slot;
    return APR_SUCCESS;
}

/* Reslist destructor, under the same lock: the connection is gone already. */
static apr_status_t slot_destruct(void *resource, void *params, apr_pool_t *p)
{
    slot_unregister(params, resource);
    slot_free(resource);
    return APR_SUCCESS;
}

typedef int (*slot_visitor_t)(cp_pool_t *pool, cp_slot_t *slot, void *baton);

/* Show the slots, each locked, to `visit` until it returns true. */
static int find_slot(cp_pool_t *pool, slot_visitor_t visit, void *baton)
{
    cp_slot_t *slot;
    int found = 0;

    pthread_mutex_lock(&pool->registry_lock);
    APR_RING_FOREACH(slot, &pool->registry, cp_slot_t, link)
    {
        pthread_mutex_lock(&slot->lock);
        found = visit(pool, slot, baton);
        pthread_mutex_unlock(&slot->lock);
        if (found) {
            break;
        }
    }
    pthread_mutex_unlock(&pool->registry_lock);
    return found;
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

/* True when the holder was reported as a leak. */
static int slot_vacate(cp_slot_t *slot, const connection_t *conn)
{
    int was_reported;

    pthread_mutex_lock(&slot->lock);
    was_reported = slot->leak_reported;
    slot->is_busy = 0;
    slot->leak_reported = 0;
    slot->conn = *conn;
    pthread_mutex_unlock(&slot->lock);
    return was_reported;
}

/* --- leaks --- */

typedef struct leak_t {
    char holder[CP_HOLDER_SIZE];
    apr_interval_time_t held;
    cp_clock_t now;
} leak_t;

static int visit_leak(cp_pool_t *pool, cp_slot_t *slot, void *baton)
{
    leak_t *leak = baton;

    leak->held = leak->now - slot->busy_since;
    if (!slot->is_busy || slot->leak_reported
        || leak->held < pool->config.leak) {
        return 0;
    }
    slot->leak_reported = 1;
    apr_cpystrn(leak->holder, slot->holder, sizeof(leak->holder));
    return 1;
}

static void report_leaks(cp_pool_t *pool)
{
    leak_t leak;

    leak.now = cp_clock_now();
    while (pool->config.leak > 0 && find_slot(pool, visit_leak, &leak)) {
        cp_stats_add(&pool->stats->leaks_suspected, 1);
        cp_log(CP_LOG_MARK, CP_LOG_WARNING, 0,
               "pool '%s': a connection has been held for %" APR_TIME_T_FMT
               " ms by %s; is it leaked?",
               pool->config.name, apr_time_as_msec(leak.held), leak.holder);
    }
}

typedef struct leak_list_t {
    cp_leak_t leaks[CP_LEAKS_LISTED]; /* oldest first */
    int count;
} leak_list_t;

/* Insert what was reported and is still out; the youngest drops out. */
static int visit_held(cp_pool_t *pool, cp_slot_t *slot, void *baton)
{
    leak_list_t *list = baton;
    uint64_t since = (uint64_t)slot->busy_since;
    int place = list->count;

    if (!slot->is_busy || !slot->leak_reported) {
        return 0;
    }
    while (place > 0 && list->leaks[place - 1].since > since) {
        place--;
    }
    if (place == CP_LEAKS_LISTED) {
        return 0;
    }
    if (list->count < CP_LEAKS_LISTED) {
        list->count++;
    }
    for (int i = list->count - 1; i > place; i--) {
        list->leaks[i] = list->leaks[i - 1];
    }
    list->leaks[place].since = since;
    apr_cpystrn(list->leaks[place].holder, slot->holder, CP_HOLDER_SIZE);
    return 0;
}

/* The status shows the leaks that are out now. */
static void list_leaks(cp_pool_t *pool)
{
    cp_leak_t *shown = pool->stats->leaks[pool->config.part];
    leak_list_t list = {0};

    pthread_mutex_lock(&pool->leaks_lock);
    find_slot(pool, visit_held, &list);
    for (int i = 0; i < CP_LEAKS_LISTED; i++) {
        if (shown[i].since != list.leaks[i].since
            || strcmp(shown[i].holder, list.leaks[i].holder) != 0) {
            cp_leak_write(&shown[i], list.leaks[i].since, list.leaks[i].holder);
        }
    }
    pthread_mutex_unlock(&pool->leaks_lock);
}

/* --- connections --- */

/* Take a place among the pooled connections, if one is free. */
static int place_reserve(cp_pool_t *pool)
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

static void place_free(cp_pool_t *pool, connection_t *conn)
{
    if (conn->has_place) {
        conn->has_place = 0;
        __atomic_sub_fetch(&pool->open, 1, __ATOMIC_RELAXED);
    }
}

static void count_idle(cp_pool_t *pool, int delta)
{
    __atomic_add_fetch(&pool->idle, delta, __ATOMIC_RELAXED);
    cp_stats_add(&pool->stats->idle, delta);
}

static void remember_error(cp_pool_t *pool, const cp_error_t *err)
{
    pthread_mutex_lock(&pool->error_lock);
    apr_snprintf(pool->last_error, sizeof(pool->last_error), "%s: %s",
                 err->cause, err->detail);
    pthread_mutex_unlock(&pool->error_lock);
}

static void show_down(cp_pool_t *pool, int is_down)
{
    __atomic_store_n(&pool->stats->down[pool->config.part], (uint64_t)is_down,
                     __ATOMIC_RELAXED);
}

static void note_open_failure(cp_pool_t *pool, const cp_error_t *err)
{
    uint64_t suppressed;
    char tail[64];

    cp_stats_add(&pool->stats->create_failures, 1);
    cp_stats_add(&pool->stats->failures[err->cls], 1);
    remember_error(pool, err);
    __atomic_store_n(&pool->is_down, 1, __ATOMIC_RELAXED);
    show_down(pool, 1);
    if (cp_log_allowed(&pool->open_log, COMPLAINT_EVERY, &suppressed)) {
        __atomic_store_n(&pool->is_down_logged, 1, __ATOMIC_RELAXED);
        cp_log(CP_LOG_MARK, CP_LOG_ERROR, err->rv,
               "pool '%s': cannot open a connection: %s: %s%s",
               pool->config.name, err->cause, err->detail,
               repeats(tail, sizeof(tail), suppressed));
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
    if (__atomic_exchange_n(&pool->is_down_logged, 0, __ATOMIC_RELAXED)) {
        cp_log(CP_LOG_MARK, CP_LOG_NOTICE, 0, "pool '%s': usable again",
               pool->config.name);
    }
}

static cp_clock_t driver_deadline(cp_clock_t deadline)
{
    cp_clock_t grace = cp_clock_after(DRIVER_GRACE);

    return deadline > grace ? deadline : grace;
}

/* Open a connection; its place, if it needs one, is reserved already. */
static apr_status_t connection_open(cp_pool_t *pool, connection_t *conn,
                                    cp_clock_t deadline, cp_error_t *err)
{
    unsigned generation = __atomic_load_n(&pool->generation, __ATOMIC_ACQUIRE);
    apr_interval_time_t lifetime = pool->config.lifetime;
    cp_clock_t began;
    apr_status_t rv;

    conn->handle = NULL;
    began = cp_clock_now();
    rv = pool->driver->open(pool->driver_ctx, deadline, &conn->handle, err);
    cp_histogram_record(&pool->stats->create_us, cp_clock_now() - began);
    if (rv != APR_SUCCESS) {
        place_free(pool, conn);
        note_open_failure(pool, err);
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

static void connection_close(cp_pool_t *pool, connection_t *conn,
                             cp_close_reason_t reason)
{
    pool->driver->close(pool->driver_ctx, conn->handle);
    conn->handle = NULL;
    place_free(pool, conn);
    cp_stats_add(&pool->stats->closed[reason], 1);
    cp_stats_add(&pool->stats->open, -1);
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

typedef struct adoption_t {
    connection_t *conn;
    int reusable_only;
    cp_clock_t now;
} adoption_t;

static int visit_adopt(cp_pool_t *pool, cp_slot_t *slot, void *baton)
{
    adoption_t *adoption = baton;

    if (slot->is_busy || !slot->conn.handle
        || (adoption->reusable_only
            && why_not_reusable(pool, &slot->conn, adoption->now)
                   != CP_CLOSE_REASONS)) {
        return 0;
    }
    *adoption->conn = take_connection(pool, slot);
    return 1;
}

/* Move a connection over from an idle slot. An empty slot may come up while
 * warm ones lie deeper in the reslist. */
static int adopt_idle_connection(cp_pool_t *pool, connection_t *conn,
                                 int reusable_only)
{
    adoption_t adoption = {conn, reusable_only, 0};

    if (__atomic_load_n(&pool->idle, __ATOMIC_RELAXED) <= 0) {
        return 0;
    }
    adoption.now = cp_clock_now();
    return find_slot(pool, visit_adopt, &adoption);
}

/* --- acquire --- */

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

/* The load at the limit that refuses: the pool's own, or a shared gate. */
static const char *describe_load(cp_pool_t *pool, int limit, char *buffer,
                                 size_t size)
{
    int open = __atomic_load_n(&pool->open, __ATOMIC_RELAXED);
    cp_gate_state_t own = cp_gate_state(pool->gate);
    cp_gate_state_t shared;
    const char *name;

    if (limit == OWN_LIMIT) {
        apr_snprintf(buffer, size, "(open %d/%d, busy %d, waiting %d)", open,
                     pool->config.max, own.inside, own.waiting);
        return buffer;
    }
    shared = cp_gate_state(pool->config.shared_gates[limit]);
    name = pool->config.shared_names[limit];
    apr_snprintf(buffer, size,
                 "at %s (inside %d/%d, waiting %d; open %d/%d, busy %d)",
                 name ? name : "a shared limit", shared.inside, shared.capacity,
                 shared.waiting, open, pool->config.max, own.inside);
    return buffer;
}

/* "no connection within 2000 ms (open 10/10, busy 10, waiting 4); last error:
 * ...": everything that the next question would ask for. */
static apr_status_t refuse(cp_pool_t *pool, int limit, apr_status_t rv,
                           cp_error_t *err)
{
    int is_timeout = rv == APR_TIMEUP;
    int is_down = __atomic_load_n(&pool->is_down, __ATOMIC_RELAXED);
    char last_error[sizeof(pool->last_error)] = "";
    char what[64];
    char load[160];
    char tail[64];
    uint64_t suppressed;

    if (is_down) {
        cp_pool_last_error(pool, last_error, sizeof(last_error));
    }
    cp_stats_add(is_timeout ? &pool->stats->timeouts : &pool->stats->rejected,
                 1);
    if (is_timeout) {
        apr_snprintf(what, sizeof(what),
                     "no connection within %" APR_TIME_T_FMT " ms",
                     apr_time_as_msec(pool->config.acquire));
    }
    else {
        apr_cpystrn(what, rv == APR_EOF ? "shutting down" : "queue is full",
                    sizeof(what));
    }
    cp_error_set(err, CP_ERR_CAPACITY, rv, "no connection is free",
                 "pool %s: %s %s%s%s", pool->label, what,
                 describe_load(pool, limit, load, sizeof(load)),
                 last_error[0] ? "; last error: " : "", last_error);
    if (cp_log_allowed(is_timeout ? &pool->timeout_log : &pool->rejection_log,
                       COMPLAINT_EVERY, &suppressed)) {
        cp_log(CP_LOG_MARK, CP_LOG_WARNING, 0, "%s%s", err->detail,
               repeats(tail, sizeof(tail), suppressed));
    }
    return rv;
}

/* Fill conn with a live connection: the slot's own, an idle one, a new one. */
static apr_status_t connection_obtain(cp_pool_t *pool, connection_t *conn,
                                      cp_clock_t deadline, cp_error_t *err)
{
    for (;;) {
        if (conn->handle) {
            weed_out(pool, conn, deadline);
        }
        if (conn->handle) {
            return APR_SUCCESS;
        }
        if (is_stopped(pool)) {
            return refuse(pool, OWN_LIMIT, APR_EOF, err);
        }
        if (adopt_idle_connection(pool, conn, 1)) {
            continue;
        }
        conn->has_place = place_reserve(pool);
        if (conn->has_place) {
            return connection_open(pool, conn, deadline, err);
        }
        /* All places are taken, so one that is only good for closing lies
         * idle: it makes room. */
        adopt_idle_connection(pool, conn, 0);
    }
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
    cp_stats_add(&pool->stats->waiting, 1);
    cp_stats_raise(&pool->stats->waiting_max,
                   cp_stats_get(&pool->stats->waiting));
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

/* On failure *limit tells which gate did not let us in. */
static apr_status_t enter_gates(cp_pool_t *pool, cp_clock_t deadline,
                                int *limit)
{
    apr_status_t rv = cp_gate_enter(pool->gate, deadline);

    *limit = OWN_LIMIT;
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

/* A permit keeps the pool from being destroyed meanwhile. */
static void return_slot(cp_pool_t *pool, cp_slot_t *slot,
                        const connection_t *conn)
{
    if (slot_vacate(slot, conn)) {
        list_leaks(pool);
    }
    apr_reslist_release(pool->slots, slot);
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
        return_slot(pool, slot, &conn);
        return rv;
    }
    slot->conn = conn;
    lease->pool = pool;
    lease->slot = slot;
    cp_stats_add(&pool->stats->acquired, 1);
    cp_stats_add(&pool->stats->busy, 1);
    cp_stats_raise(&pool->stats->busy_max, cp_stats_get(&pool->stats->busy));
    return APR_SUCCESS;
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
    slot_register(pool, slot);
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
               repeats(tail, sizeof(tail), suppressed));
    }
    return APR_SUCCESS;
}

apr_status_t cp_pool_acquire(cp_pool_t *pool, cp_lease_t *lease,
                             const char *holder, cp_error_t *err)
{
    cp_clock_t start = cp_clock_now();
    cp_clock_t deadline = cp_clock_add(start, pool->config.acquire);
    apr_status_t rv;
    int limit;

    lease->slot = NULL;
    cp_error_clear(err);
    rv = enter_gates(pool, deadline, &limit);
    /* Once for all that the driver does now, lest graces add up. */
    deadline = driver_deadline(deadline);
    if (rv == APR_SUCCESS) {
        rv = borrow_inside(pool, lease, holder, deadline, err);
    }
    else if (rv == APR_EOF || is_stopped(pool)) {
        rv = refuse(pool, OWN_LIMIT, rv, err);
    }
    else if (overflow_reserve(pool)) {
        rv = fall_back(pool, lease, holder, deadline, err);
    }
    else {
        rv = refuse(pool, limit, rv, err);
    }
    cp_histogram_record(&pool->stats->acquire_us, cp_clock_now() - start);
    return rv;
}

apr_status_t cp_pool_try_acquire(cp_pool_t *pool, cp_lease_t *lease,
                                 const char *holder, cp_error_t *err)
{
    cp_clock_t start = cp_clock_now();
    apr_status_t rv;

    lease->slot = NULL;
    cp_error_clear(err);
    if (is_stopped(pool)) {
        return refuse(pool, OWN_LIMIT, APR_EOF, err);
    }
    if (!try_gates(pool)) {
        return APR_EAGAIN;
    }
    rv = borrow_inside(
        pool, lease, holder,
        driver_deadline(cp_clock_add(start, pool->config.acquire)), err);
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

/* --- release --- */

static void return_overflow(cp_pool_t *pool, cp_slot_t *slot)
{
    slot_unregister(pool, slot);
    /* Nobody else sees it any more. */
    if (slot->leak_reported) {
        list_leaks(pool);
    }
    slot_free(slot);
    __atomic_sub_fetch(&pool->overflows, 1, __ATOMIC_RELAXED);
}

static void return_pooled(cp_pool_t *pool, cp_slot_t *slot,
                          const connection_t *conn)
{
    if (conn->handle) {
        count_idle(pool, 1);
    }
    return_slot(pool, slot, conn);
    cp_stats_add(&pool->stats->busy, -1);
    cp_stats_add(&pool->stats->released, 1);
    leave_gates(pool, CP_POOL_SHARED_GATES);
}

/* May the connection that comes back be kept? CP_CLOSE_REASONS when it may. */
static cp_close_reason_t why_not_keep(cp_pool_t *pool, const cp_slot_t *slot,
                                      const connection_t *conn,
                                      const char *why_broken)
{
    cp_close_reason_t reason;

    if (!why_broken) {
        reason = slot->is_overflow
                     ? CP_CLOSE_OVERFLOW
                     : why_not_reusable(pool, conn, conn->last_used);
        if (reason != CP_CLOSE_REASONS) {
            return reason;
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

static void give_back(cp_lease_t *lease, const char *why_broken)
{
    cp_pool_t *pool = lease->pool;
    cp_slot_t *slot = lease->slot;
    connection_t conn = slot->conn;
    cp_close_reason_t reason;

    lease->slot = NULL;
    conn.last_used = cp_clock_now();
    cp_histogram_record(&pool->stats->hold_us,
                        conn.last_used - slot->busy_since);
    reason = why_not_keep(pool, slot, &conn, why_broken);
    if (reason != CP_CLOSE_REASONS) {
        connection_close(pool, &conn, reason);
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

/* --- maintenance --- */

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

typedef struct expiry_t {
    connection_t conn;
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
    if (!expiry->has_permit && !is_stopped(pool)) {
        return 0;
    }
    expiry->conn = take_connection(pool, slot);
    return 1;
}

/* Close what is expired, one by one: a slow close holds up one place only. */
static void sweep(cp_pool_t *pool)
{
    expiry_t expiry;

    expiry.now = cp_clock_now();
    while (find_slot(pool, visit_expired, &expiry)) {
        connection_close(pool, &expiry.conn, expiry.reason);
        if (expiry.has_permit) {
            cp_gate_leave(pool->gate);
        }
    }
}

static int visit_place(cp_pool_t *pool, cp_slot_t *slot, void *baton)
{
    const connection_t *conn = baton;

    if (slot->is_busy || slot->conn.handle) {
        return 0;
    }
    slot->conn = *conn;
    count_idle(pool, 1);
    return 1;
}

/* Open one connection and put it into an idle slot. */
static int warm_one(cp_pool_t *pool)
{
    connection_t conn = {0};
    cp_clock_t deadline = cp_clock_after(pool->config.acquire);
    cp_error_t err;

    conn.has_place = place_reserve(pool);
    cp_error_clear(&err);
    if (!conn.has_place
        || connection_open(pool, &conn, driver_deadline(deadline), &err)
               != APR_SUCCESS) {
        return 0;
    }
    if (!find_slot(pool, visit_place, &conn)) {
        /* A borrower is about to move the last connection to its own slot. */
        connection_close(pool, &conn, CP_CLOSE_IDLE);
        return 0;
    }
    return 1;
}

static void warm_up(cp_pool_t *pool)
{
    int warmed = pool->config.is_pooled;

    while (warmed && !is_stopped(pool)
           && __atomic_load_n(&pool->open, __ATOMIC_RELAXED) < pool->config.min
           && cp_gate_try_enter(pool->gate)) {
        warmed = warm_one(pool);
        cp_gate_leave(pool->gate);
    }
}

void cp_pool_maintain(cp_pool_t *pool)
{
    sweep(pool);
    report_leaks(pool);
    list_leaks(pool);
    warm_up(pool);
}

void cp_pool_flush(cp_pool_t *pool, const char *why)
{
    __atomic_add_fetch(&pool->generation, 1, __ATOMIC_ACQ_REL);
    if (why) {
        cp_log(CP_LOG_MARK, CP_LOG_NOTICE, 0, "pool '%s': flushed: %s",
               pool->config.name, why);
    }
    sweep(pool);
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

    find_slot(pool, visit_idle, &call);
}

void cp_pool_last_error(cp_pool_t *pool, char *buffer, size_t size)
{
    pthread_mutex_lock(&pool->error_lock);
    apr_cpystrn(buffer, pool->last_error, size);
    pthread_mutex_unlock(&pool->error_lock);
}

apr_status_t cp_pool_try_open(cp_pool_t *pool, cp_clock_t deadline,
                              cp_error_t *err)
{
    void *conn;
    apr_status_t rv = pool->driver->open(pool->driver_ctx, deadline, &conn,
                                         err);

    if (rv == APR_SUCCESS) {
        pool->driver->close(pool->driver_ctx, conn);
    }
    return rv;
}

const cp_pool_config_t *cp_pool_settings(const cp_pool_t *pool)
{
    return &pool->config;
}

/* --- life --- */

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
    pool->label = apr_psprintf(p, config->members ? "'%s' (%s)" : "'%s'",
                               config->name, config->members);
    pool->driver = driver;
    pool->driver_ctx = driver_ctx;
    pool->stats = stats;
    pthread_mutex_init(&pool->registry_lock, NULL);
    pthread_mutex_init(&pool->leaks_lock, NULL);
    pthread_mutex_init(&pool->error_lock, NULL);
    APR_RING_INIT(&pool->registry, cp_slot_t, link);
    rv = cp_gate_create(&pool->gate, config->max, config->queue,
                        &stats->waiting, p);
    if (rv == APR_SUCCESS) {
        cp_gate_tell(pool->gate, &stats->waiting_max,
                     &stats->waiting_since[config->part]);
    }
    if (rv == APR_SUCCESS) {
        rv = apr_reslist_create(&pool->slots, config->max, config->max,
                                config->max, 0, slot_construct, slot_destruct,
                                pool, p);
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

int cp_pool_is_used(cp_pool_t *pool)
{
    return cp_gate_is_used(pool->gate)
           || __atomic_load_n(&pool->overflows, __ATOMIC_RELAXED) > 0;
}

apr_status_t cp_pool_destroy(cp_pool_t *pool)
{
    if (cp_pool_is_used(pool)) {
        return APR_EBUSY;
    }
    cp_pool_stop(pool);
    apr_reslist_destroy(pool->slots);
    pthread_mutex_destroy(&pool->registry_lock);
    pthread_mutex_destroy(&pool->leaks_lock);
    pthread_mutex_destroy(&pool->error_lock);
    apr_pool_destroy(pool->p);
    return APR_SUCCESS;
}
