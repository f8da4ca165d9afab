/* SPDX-License-Identifier: Apache-2.0
 * A named pool of connections of one kind in this child, on apr_reslist. */
#ifndef CP_POOL_H
#define CP_POOL_H

#include <apr_errno.h>
#include <apr_pools.h>

#include "base/clock.h"
#include "base/error.h"
#include "pool/driver.h"
#include "stats/stats.h"

struct cp_gate_t;
struct cp_pool_stats_t;
struct cp_share_t;

#define CP_POOL_SHARED_GATES 2

/** What the administrator wrote. Copied; strings must outlive the pool. */
typedef struct cp_pool_config_t {
    const char *name;
    const char *members; /**< whose limits these are: "readers"; NULL: all */
    int max;             /**< connections at the most, >= 1 */
    int min;             /**< kept open without traffic */
    int queue;           /**< waiters at the most */
    int is_writer;       /**< it is apart from the readers' pool */
    int is_pooled;       /**< 0: open and close per acquire */
    int overflow_max;    /**< one-shot connections at once, 0: none */
    int server_max;      /**< open ones over all children, 0: no limit */
    apr_interval_time_t acquire; /**< longest wait; 0: fail at once */
    apr_interval_time_t idle;    /**< close when unused for so long; 0: never */
    apr_interval_time_t lifetime; /**< close when so old; 0: never */
    apr_interval_time_t check;    /**< test when unused for so long */
    apr_interval_time_t leak;     /**< report when held for so long; 0: never */

    /** Limits shared with other pools, entered after the pool's own gate in
     * this order (the same order everywhere, so nobody deadlocks). NULL: none.
     * Owned by the caller, must outlive the pool. */
    struct cp_gate_t *shared_gates[CP_POOL_SHARED_GATES];
    /** What a refusal calls them: "the limit per host"; NULL: "a shared limit".
     */
    const char *shared_names[CP_POOL_SHARED_GATES];

    /** With server_max: whose permits all its connections need. Owned as the
     * gates are. NULL: none are needed. */
    struct cp_share_t *share;
} cp_pool_config_t;

/** Its part of what the stats keep apart. */
static inline cp_pool_part_t cp_pool_part(const cp_pool_config_t *config)
{
    if (config->is_pooled) {
        return config->is_writer ? CP_PART_WRITER : CP_PART_READERS;
    }
    return config->is_writer ? CP_PART_DIRECT_WRITER : CP_PART_DIRECT_READERS;
}

typedef struct cp_pool_t cp_pool_t;
typedef struct cp_slot_t cp_slot_t;

/** A borrowed connection. Caller's storage; zero it before acquire. Use it in
 * one thread at a time. Copying it is not allowed. */
typedef struct cp_lease_t {
    cp_pool_t *pool;
    cp_slot_t *slot; /**< NULL when nothing is borrowed (any more) */
    /** Readings of the clock, for those who would read it for themselves: when
     * it was asked for; since when it is borrowed, or when it was given back.
     */
    cp_clock_t asked, since;
} cp_lease_t;

/** Make a pool; opens nothing. stats may be shared by several pools that are
 * shown as one. The pool lives until cp_pool_destroy, whatever happens to p. */
apr_status_t cp_pool_create(cp_pool_t **ppool, const cp_pool_config_t *config,
                            const cp_driver_t *driver, void *driver_ctx,
                            struct cp_pool_stats_t *stats);

/** Borrow a connection that is open and alive.
 * @param holder who borrows, for leak reports: a URI, a query's name; copied
 * @return APR_SUCCESS, or err->rv: APR_TIMEUP (deadline), APR_ENOSPC (queue
 * full), APR_EOF (shutting down), or the driver's failure to open. Never later
 * than the deadline plus what the driver's open overruns it. */
apr_status_t cp_pool_acquire(cp_pool_t *pool, cp_lease_t *lease,
                             const char *holder, cp_error_t *err);

/** The same of who has waited elsewhere already: not beyond `by`. */
apr_status_t cp_pool_acquire_by(cp_pool_t *pool, cp_lease_t *lease,
                                const char *holder, cp_clock_t by,
                                cp_error_t *err);

/** Borrow one only if that takes no waiting and passes nobody by who waits:
 * never beside the pool, and a pool that has none is no failure that counts.
 * @return APR_EAGAIN (err is clear) when none is free; else as cp_pool_acquire
 */
apr_status_t cp_pool_try_acquire(cp_pool_t *pool, cp_lease_t *lease,
                                 const char *holder, cp_error_t *err);

/** The same; a connection that must be opened is opened by the deadline. */
apr_status_t cp_pool_try_acquire_until(cp_pool_t *pool, cp_lease_t *lease,
                                       const char *holder, cp_clock_t deadline,
                                       cp_error_t *err);

/** For reports: a transaction has begun, or (0) ended. Its release ends it. */
void cp_lease_transact(cp_lease_t *lease, int is_open);

/** For which request it is held, for who asks who holds what; both copied. */
void cp_lease_tell(cp_lease_t *lease, const char *method, const char *path);

/** The driver's connection of a held lease. */
void *cp_lease_connection(const cp_lease_t *lease);

/** True when the lease is a one-shot connection beside an exhausted pool. */
int cp_lease_is_overflow(const cp_lease_t *lease);

/** Give it back healthy. A lease that holds nothing is logged and ignored. */
void cp_pool_release(cp_lease_t *lease);

/** Give it back broken: it is closed. `why` goes to the log. */
void cp_pool_discard(cp_lease_t *lease, const char *why);

/** Close what is idle now, and what is busy when it comes back. `why` goes to
 * the log; NULL: nothing does. */
void cp_pool_flush(cp_pool_t *pool, const char *why);

/** One round of maintenance: close what is idle or old, open up to min, report
 * leaks. From one thread at a time, about once a second. */
void cp_pool_maintain(cp_pool_t *pool);

/** Refuse new work, wake all waiters, close what is idle. What is out may
 * still come back. Idempotent. Who waits at a shared gate is woken by that
 * gate's owner: close it as well. */
void cp_pool_stop(cp_pool_t *pool);

/** After cp_pool_stop, when no thread uses the pool any more: free it. With
 * connections still out it does nothing (the process ends anyway; apr_reslist
 * would abort it) and returns APR_EBUSY. */
apr_status_t cp_pool_destroy(cp_pool_t *pool);

/** Is something of it out, or just being taken or given back? Never waits. */
int cp_pool_is_used(cp_pool_t *pool);

const cp_pool_config_t *cp_pool_settings(const cp_pool_t *pool);

/** Close one connection that lies idle, so that another child has its permit.
 * @return whether there was one */
int cp_pool_yield(cp_pool_t *pool);

/** Would a connection open now? One is opened beside the pool, counted nowhere,
 * and closed again. */
apr_status_t cp_pool_try_open(cp_pool_t *pool, cp_clock_t deadline,
                              cp_error_t *err);

/** Call fn for each open idle connection, with the connection protected from
 * borrowers meanwhile: for memory figures. fn must be quick. */
void cp_pool_each_idle(cp_pool_t *pool, void (*fn)(void *conn, void *baton),
                       void *baton);

/** Last failure to open as "cause: detail", copied into buffer; "" if none. */
void cp_pool_last_error(cp_pool_t *pool, char *buffer, size_t size);

#endif
