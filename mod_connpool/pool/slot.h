/* SPDX-License-Identifier: Apache-2.0
 * The inside of a pool and its slots, for the files of this folder.
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
 * Lock order: reslist's own lock or holders_lock, then registry_lock, then
 * slot->lock, then the gate's. */
#ifndef CP_SLOT_H
#define CP_SLOT_H

#include <pthread.h>

#include <apr_ring.h>

#include "base/clock.h"
#include "base/log.h"
#include "pool/driver.h"
#include "pool/wait/gate.h"
#include "pool/pool.h"
#include "stats/stats.h"

typedef struct cp_connection_t {
    void *handle;   /* NULL: none */
    int has_place;  /* counted in pool->open; one-shot ones are not */
    int has_permit; /* of the share, where there is one */
    cp_clock_t expires_at;
    cp_clock_t last_used;
    unsigned generation;
} cp_connection_t;

struct cp_slot_t {
    APR_RING_ENTRY(cp_slot_t) link; /* registry_lock */
    pthread_mutex_t lock;
    cp_connection_t conn; /* lock while idle; the borrower's alone while busy */
    int is_busy;          /* lock */
    int is_overflow;      /* constant */
    int in_transaction;   /* the borrower's */
    int leak_reported;    /* lock */
    int is_shown;         /* lock: among stats->holders */
    cp_clock_t busy_since;        /* lock */
    char holder[CP_HOLDER_SIZE];  /* lock */
    char request[CP_HOLDER_SIZE]; /* lock */
};

struct cp_pool_t {
    cp_pool_config_t config; /* constant */
    const char *label;       /* constant: 'NAME', 'NAME' (readers) */
    const cp_driver_t *driver;
    void *driver_ctx;
    cp_pool_stats_t *stats; /* relaxed atomics */
    apr_pool_t *p;
    struct apr_reslist_t *slots; /* slot.c's */
    cp_gate_t *gate;

    pthread_mutex_t registry_lock;
    APR_RING_HEAD(registry_t, cp_slot_t) registry; /* registry_lock */
    pthread_mutex_t holders_lock; /* who writes stats->holders of this part */

    unsigned generation; /* atomic: older connections are not reused */
    int open;            /* atomic: places taken, <= max; stats may be shared */
    int idle;            /* atomic: open ones that lie in slots */
    int overflows;       /* atomic: one-shot connections out */
    int grouped;         /* atomic: who waits for the leader of a group */
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

static inline int cp_pool_is_stopped(cp_pool_t *pool)
{
    return __atomic_load_n(&pool->is_stopped, __ATOMIC_ACQUIRE);
}

/** One slot of its own; NULL without memory. Those of the list are made by it.
 */
cp_slot_t *cp_slot_create(int is_overflow);
void cp_slot_free(cp_slot_t *slot);

/** While a slot is registered, cp_slot_find shows it. */
void cp_slot_register(cp_pool_t *pool, cp_slot_t *slot);
void cp_slot_unregister(cp_pool_t *pool, cp_slot_t *slot);

/** The list of the pool's slots, as many as its limit. Whoever has a permit
 * takes one without waiting, and gives it back. */
apr_status_t cp_slots_create(cp_pool_t *pool);
void cp_slots_destroy(cp_pool_t *pool);
apr_status_t cp_slots_take(cp_pool_t *pool, cp_slot_t **pslot);
void cp_slots_give(cp_pool_t *pool, cp_slot_t *slot);

typedef int (*cp_slot_visitor_t)(cp_pool_t *pool, cp_slot_t *slot, void *baton);

/** Show the slots, each locked, to `visit` until it returns true. */
int cp_slot_find(cp_pool_t *pool, cp_slot_visitor_t visit, void *baton);

void cp_slot_occupy(cp_slot_t *slot, const char *holder, cp_clock_t now);

/** For which request; after cp_slot_occupy. */
void cp_slot_tell(cp_slot_t *slot, const char *method, const char *path);

/** True when the holder is among those that are shown. */
int cp_slot_vacate(cp_slot_t *slot, const cp_connection_t *conn);

#endif
