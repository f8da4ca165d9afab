/* SPDX-License-Identifier: Apache-2.0
 * Connections held for a request. They are kept in a list of the outermost
 * request, so that subrequests and internal redirects find and share them: a
 * nested request that waited for its own outer one would wait for ever. */
#include "request/hold.h"

#include "glue.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "child/child.h"
#include "child/fork.h"
#include "child/memory.h"
#include "config/database.h"
#include "config/setting.h"
#include "config/upstream.h"
#include "http/job/client.h"
#include "pool/pool.h"
#include "request/account.h"
#include "request/output.h"

#include <apr_strings.h>

struct connpool_hold_t {
    cp_lease_t lease;
    cp_pool_t *pool;
    apr_pool_t *p; /* of the outermost request */
    int forks;     /* connpool_child.forks of the process that borrowed it */
    int shares; /* how often it is held; one thread at a time runs a request */
    int is_exclusive;
    int is_awaited; /* its connection: what goes on meanwhile takes another */
    const char *why_broken; /* NULL: healthy, as far as those know who shared */
    void *easy;             /* see connpool_hold_easy */
    connpool_hold_t *next;
};

static void give_back(connpool_hold_t *hold)
{
    hold->shares = 0;
    if (hold->why_broken) {
        cp_pool_discard(&hold->lease, hold->why_broken);
    }
    else {
        cp_pool_release(&hold->lease);
    }
}

/* A fork has inherited the record of it, and must leave the connection alone.
 */
static int is_inherited(const connpool_hold_t *hold)
{
    return hold->forks != connpool_child.forks;
}

/* The safety net: this pool lives until the client has read the last byte, so
 * whoever can gives back earlier. */
static apr_status_t hold_cleanup(void *data)
{
    connpool_hold_t *hold = data;

    if (hold->lease.slot && !connpool_child.is_cut && !is_inherited(hold)) {
        give_back(hold);
    }
    return APR_SUCCESS;
}

/* One that this request has borrowed from the pool already, or NULL. */
static connpool_hold_t *find_shareable(connpool_hold_t *hold,
                                       const cp_pool_t *pool)
{
    while (hold
           && (hold->pool != pool || hold->is_exclusive || !hold->lease.slot
               || is_inherited(hold))) {
        hold = hold->next;
    }
    return hold;
}

/* One whose connection was given back, or a new one. The cleanup is registered
 * before anything that uses the connection registers its own, so it runs after
 * those. */
static connpool_hold_t *vacant_hold(request_rec *top, connpool_state_t *state)
{
    connpool_hold_t *hold = state->holds;

    while (hold
           && (hold->lease.slot || hold->is_awaited || is_inherited(hold))) {
        hold = hold->next;
    }
    if (!hold) {
        hold = apr_pcalloc(top->pool, sizeof(*hold));
        hold->p = top->pool;
        hold->forks = connpool_child.forks;
        hold->next = state->holds;
        state->holds = hold;
        apr_pool_cleanup_register(top->pool, hold, hold_cleanup,
                                  apr_pool_cleanup_null);
    }
    return hold;
}

static apr_status_t hold_pool(request_rec *r, cp_pool_t *pool, int is_database,
                              const char *holder, int how,
                              connpool_hold_t **phold, cp_error_t *err)
{
    int is_exclusive = (how & CONNPOOL_HOLD_EXCLUSIVE) != 0;
    request_rec *top = connpool_outermost(r);
    connpool_state_t *state = connpool_state(r);
    connpool_hold_t *hold = is_exclusive ? NULL
                                         : find_shareable(state->holds, pool);
    connpool_account_t *account = &state->account;
    apr_status_t rv;

    *phold = NULL;
    if (!pool) {
        return cp_error_set(err, CP_ERR_CAPACITY, APR_EOF,
                            "no connection is free",
                            "the pool could not be made at this child's start");
    }
    if (hold) {
        hold->shares++;
        *phold = hold;
        return APR_SUCCESS;
    }
    if (!connpool_memory_allows(r->server, is_database)) {
        static cp_log_limit_t limit;
        uint64_t suppressed;

        if (cp_log_allowed(&limit, apr_time_from_sec(10), &suppressed)) {
            ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, r,
                          "ConnPoolMemory is reached: requests are refused, "
                          "for what this child uses is in use. Raise it, or "
                          "lower max= or cache=%s",
                          connpool_suppressed(r->pool, suppressed));
        }
        return cp_error_set(err, CP_ERR_CAPACITY, APR_ENOMEM,
                            "the memory bound is reached",
                            "ConnPoolMemory: this child uses more");
    }
    hold = vacant_hold(top, state);
    if (!holder) {
        holder = r->uri;
    }
    hold->is_awaited = 1;
    rv = how & CONNPOOL_HOLD_AT_ONCE
             ? cp_pool_try_acquire(pool, &hold->lease, holder, err)
         : state->account.acquire_by
             ? cp_pool_acquire_by(pool, &hold->lease, holder,
                                  state->account.acquire_by, err)
             : cp_pool_acquire(pool, &hold->lease, holder, err);
    hold->is_awaited = 0;
    account->asked = hold->lease.asked;
    account->answered = hold->lease.since;
    account->wait += account->answered - account->asked;
    if (rv == APR_SUCCESS) {
        cp_lease_tell(&hold->lease, top->method, top->uri);
        account->fallbacks += cp_lease_is_overflow(&hold->lease);
        hold->pool = pool;
        hold->shares = 1;
        hold->is_exclusive = is_exclusive;
        hold->why_broken = NULL;
        hold->easy = NULL;
        *phold = hold;
    }
    return rv;
}

apr_status_t connpool_hold_database(request_rec *r, connpool_database_t *db,
                                    int is_writer, const char *holder,
                                    connpool_hold_t **phold, cp_error_t *err)
{
    const connpool_server_t *sc = connpool_server(r->server);
    int is_pooled = sc->engine && sc->db_pool;
    const connpool_db_pools_t *pools;

    connpool_fork_settle();
    if (is_writer && db->facts.is_readonly) {
        *phold = NULL;
        return cp_error_set(
            err, CP_ERR_REFUSED, APR_EACCES, "the database is read-only",
            "database '%s': readonly=on has no writer", db->name);
    }
    if (!db->child) {
        return hold_pool(r, NULL, 1, holder, 0, phold, err);
    }
    pools = is_pooled ? &db->child->pooled : &db->child->direct;
    /* A definition seen through a foreign server may exist in one form only. */
    if (!pools->readers) {
        pools = is_pooled ? &db->child->direct : &db->child->pooled;
    }
    return hold_pool(r, is_writer ? pools->writer : pools->readers, 1, holder,
                     0, phold, err);
}

apr_status_t connpool_hold_base(request_rec *r, const connpool_base_t *base,
                                int how, connpool_hold_t **phold,
                                cp_error_t *err)
{
    const connpool_server_t *sc = connpool_server(r->server);
    int is_pooled = sc->engine && sc->http_pool;
    cp_pool_t **pools;

    connpool_fork_settle();
    if (!base->child) {
        return hold_pool(r, NULL, 0, NULL, 0, phold, err);
    }
    pools = base->child->pool;
    return hold_pool(r, pools[is_pooled] ? pools[is_pooled] : pools[!is_pooled],
                     0, NULL, how, phold, err);
}

void *connpool_hold_connection(const connpool_hold_t *hold)
{
    return cp_lease_connection(&hold->lease);
}

void *connpool_hold_easy(connpool_hold_t *hold, const connpool_base_t *base)
{
    if (!hold->easy && hold->lease.slot) {
        hold->easy = cp_http_easy(base->child->upstream,
                                  cp_lease_connection(&hold->lease));
    }
    return hold->easy;
}

int connpool_hold_is_one_shot(const connpool_hold_t *hold)
{
    return cp_lease_is_overflow(&hold->lease)
           || !cp_pool_settings(hold->pool)->is_pooled;
}

int connpool_hold_is_shared(const connpool_hold_t *hold)
{
    return hold->shares > 1;
}

int connpool_holds_any(request_rec *r)
{
    const connpool_hold_t *hold = connpool_state(r)->holds;

    while (hold && (!hold->lease.slot || is_inherited(hold))) {
        hold = hold->next;
    }
    return hold != NULL;
}

static int is_one_of(const cp_pool_t *pool, const connpool_db_pools_t *pools)
{
    return pool == pools->readers || pool == pools->writer;
}

int connpool_holds_database(request_rec *r, const connpool_database_t *db)
{
    const connpool_db_child_t *child = db->child;
    const connpool_hold_t *hold = connpool_state(r)->holds;

    for (; child && hold; hold = hold->next) {
        if (hold->lease.slot && !is_inherited(hold)
            && (is_one_of(hold->pool, &child->pooled)
                || is_one_of(hold->pool, &child->direct))) {
            return 1;
        }
    }
    return 0;
}

void connpool_transaction_set(request_rec *r, const connpool_hold_t *hold)
{
    connpool_state(r)->transaction = hold;
}

int connpool_transaction_has(request_rec *r, const connpool_hold_t *hold)
{
    return connpool_state(r)->transaction == hold;
}

int connpool_hold_is_inherited(const connpool_hold_t *hold)
{
    return is_inherited(hold);
}

void connpool_hold_transacts(connpool_hold_t *hold, int is_open)
{
    cp_lease_transact(&hold->lease, is_open);
}

cp_clock_t connpool_hold_release(connpool_hold_t *hold)
{
    if (is_inherited(hold)) {
        return 0;
    }
    if (!hold->lease.slot) {
        cp_pool_release(&hold->lease); /* logs the second release */
        return 0;
    }
    if (--hold->shares > 0) {
        return 0;
    }
    give_back(hold);
    return hold->lease.since;
}

void connpool_hold_discard(connpool_hold_t *hold, const char *why)
{
    /* Who shares it still has the handle in his hands. */
    hold->why_broken = apr_pstrdup(hold->p, why ? why : "no reason was given");
    connpool_hold_release(hold);
}
