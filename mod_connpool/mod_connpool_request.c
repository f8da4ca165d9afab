/* SPDX-License-Identifier: Apache-2.0
 * Connections held for a request. They are kept in a list of the outermost
 * request, so that subrequests and internal redirects find and share them: a
 * nested request that waited for its own outer one would wait for ever. */
#include "mod_connpool_private.h"

struct connpool_hold_t {
    cp_lease_t lease;
    cp_pool_t *pool;
    server_rec *server;
    int shares; /* how often it is held; one thread at a time runs a request */
    connpool_hold_t *next;
};

static request_rec *outermost(request_rec *r)
{
    while (r->main || r->prev) {
        r = r->main ? r->main : r->prev;
    }
    return r;
}

/* The safety net: this pool lives until the client has read the last byte, so
 * whoever can gives back earlier. */
static apr_status_t hold_cleanup(void *data)
{
    connpool_hold_t *hold = data;

    if (hold->lease.slot) {
        hold->shares = 0;
        cp_pool_release(&hold->lease);
    }
    return APR_SUCCESS;
}

static apr_status_t hold_pool(request_rec *r, cp_pool_t *pool,
                              const char *holder, connpool_hold_t **phold,
                              cp_error_t *err)
{
    request_rec *top = outermost(r);
    connpool_hold_t *first = ap_get_module_config(top->request_config,
                                                  &connpool_module);
    connpool_hold_t *hold;
    connpool_hold_t *spent = NULL;
    apr_status_t rv;

    *phold = NULL;
    if (!pool) {
        return cp_error_set(err, CP_ERR_CAPACITY, APR_EOF,
                            "no connection is free",
                            "the pool could not be made at this child's start");
    }
    for (hold = first; hold; hold = hold->next) {
        if (hold->pool == pool && hold->lease.slot) {
            hold->shares++;
            *phold = hold;
            return APR_SUCCESS;
        }
        if (hold->pool == pool) {
            spent = hold;
        }
    }
    hold = spent ? spent : apr_pcalloc(top->pool, sizeof(*hold));
    hold->pool = pool;
    hold->server = r->server;
    rv = cp_pool_acquire(pool, &hold->lease, holder ? holder : r->uri, err);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    hold->shares = 1;
    if (!spent) {
        hold->next = first;
        ap_set_module_config(top->request_config, &connpool_module, hold);
        apr_pool_cleanup_register(top->pool, hold, hold_cleanup,
                                  apr_pool_cleanup_null);
    }
    *phold = hold;
    return APR_SUCCESS;
}

apr_status_t connpool_hold_database(request_rec *r, connpool_database_t *db,
                                    int is_writer, const char *holder,
                                    connpool_hold_t **phold, cp_error_t *err)
{
    const connpool_server_t *sc = connpool_server(r->server);
    int is_pooled = sc->engine && sc->db_pool;
    cp_pool_t **pools;

    if (!db->child) {
        return hold_pool(r, NULL, holder, phold, err);
    }
    pools = is_writer ? db->child->writer : db->child->readers;
    /* A definition seen through a foreign server may exist in one form only. */
    return hold_pool(r, pools[is_pooled] ? pools[is_pooled] : pools[!is_pooled],
                     holder, phold, err);
}

apr_status_t connpool_hold_upstream(request_rec *r, connpool_upstream_t *up,
                                    connpool_hold_t **phold, cp_error_t *err)
{
    const connpool_server_t *sc = connpool_server(r->server);
    int is_pooled = sc->engine && sc->http_pool;
    cp_pool_t **pools;

    if (!up->child) {
        return hold_pool(r, NULL, NULL, phold, err);
    }
    pools = up->child->pool;
    return hold_pool(r, pools[is_pooled] ? pools[is_pooled] : pools[!is_pooled],
                     NULL, phold, err);
}

void *connpool_hold_connection(const connpool_hold_t *hold)
{
    return cp_lease_connection(&hold->lease);
}

int connpool_hold_is_overflow(const connpool_hold_t *hold)
{
    return cp_lease_is_overflow(&hold->lease);
}

int connpool_hold_is_shared(const connpool_hold_t *hold)
{
    return hold->shares > 1;
}

void connpool_hold_release(connpool_hold_t *hold)
{
    if (!hold->lease.slot) {
        cp_pool_release(&hold->lease); /* logs the second release */
        return;
    }
    if (--hold->shares == 0) {
        cp_pool_release(&hold->lease);
    }
}

void connpool_hold_discard(connpool_hold_t *hold, const char *why)
{
    hold->shares = 0;
    cp_pool_discard(&hold->lease, why);
}
