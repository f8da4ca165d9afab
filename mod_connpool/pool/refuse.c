/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/refuse.h"

#include "base/error.h"
#include "base/log.h"
#include "pool/slot.h"
#include "pool/wait/gate.h"
#include "pool/wait/share.h"
#include "stats/cell.h"
#include "stats/stats.h"

#include <apr_strings.h>

#define COMPLAINT_EVERY apr_time_from_sec(10)

/* The load at the limit that refuses: the pool's own, that of all children, or
 * a shared gate. */
static const char *describe_load(cp_pool_t *pool, int limit, char *buffer,
                                 size_t size)
{
    int open = __atomic_load_n(&pool->open, __ATOMIC_RELAXED);
    cp_gate_state_t own = cp_gate_state(pool->gate);
    cp_gate_state_t shared;
    const char *name;

    if (limit == CP_OWN_LIMIT) {
        apr_snprintf(buffer, size, "(open %d/%d, busy %d, waiting %d)", open,
                     pool->config.max, own.inside,
                     own.waiting
                         + __atomic_load_n(&pool->grouped, __ATOMIC_RELAXED));
        return buffer;
    }
    if (limit == CP_SERVER_LIMIT) {
        cp_permits_state_t all = cp_share_state(pool->config.share);

        apr_snprintf(buffer, size,
                     "at server-max (open %d/%d in all children, %d children "
                     "waiting; here open %d/%d, busy %d)",
                     all.held, all.max, all.waiting, open, pool->config.max,
                     own.inside);
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
apr_status_t cp_pool_refuse(cp_pool_t *pool, int limit, apr_status_t rv,
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
               cp_log_repeats(tail, sizeof(tail), suppressed));
    }
    return rv;
}
