/* SPDX-License-Identifier: Apache-2.0
 * Lending connections to other modules. */
#include "glue.h"
#include "api/api.h"
#include "base/clock.h"
#include "base/error.h"
#include "config/database.h"
#include "config/setting.h"
#include "config/upstream.h"
#include "work/fetch.h"
#include "database/database.h"
#include "database/limit.h"
#include "mod_connpool.h"
#include "request/hold.h"

#include <apr_hash.h>
#include <apr_optional.h>
#include <apr_strings.h>

struct connpool_conn_t {
    request_rec *r;
    const char *pool_name;
    connpool_hold_t *hold;         /* NULL when given back */
    connpool_database_t *database; /* of this, or... */
    connpool_upstream_t *upstream; /* ...of that */
    const connpool_base_t *base;   /* its URL */
    int is_writer;                 /* it has entered the write lock */
    int is_within;                 /* ... within somebody's transaction */
};

/* Who shares the connection goes on with it: what is left open here must not
 * become theirs. Otherwise the pool cleans up. */
static void settle(connpool_conn_t *conn)
{
    void *handle = connpool_hold_connection(conn->hold);

    if (!conn->is_writer || !connpool_hold_is_shared(conn->hold)) {
        return;
    }
    if (conn->is_within) {
        conn->database->driver->leave_write(handle);
    }
    else {
        conn->database->driver->rollback(handle);
    }
}

static apr_status_t conn_cleanup(void *data)
{
    connpool_conn_t *conn = data;

    settle(conn);
    connpool_hold_release(conn->hold);
    conn->hold = NULL;
    return APR_SUCCESS;
}

static apr_status_t lock_to_write(connpool_conn_t *conn, cp_error_t *err)
{
    const cp_database_driver_t *driver = conn->database->driver;
    void *handle = connpool_hold_connection(conn->hold);
    apr_status_t rv = driver->enter_write(handle, CP_CLOCK_NEVER, err);

    if (rv != APR_SUCCESS) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, conn->r, "%s: %s", err->cause,
                      err->detail);
        connpool_hold_release(conn->hold);
        return rv;
    }
    conn->is_writer = 1;
    conn->is_within = driver->in_transaction(handle);
    return APR_SUCCESS;
}

static apr_status_t acquire_database(connpool_conn_t *conn, int mode,
                                     cp_error_t *err)
{
    connpool_database_t *db = conn->database;
    int is_writer = mode == CONNPOOL_WRITE;
    apr_status_t rv = connpool_hold_database(conn->r, db, is_writer, NULL,
                                             &conn->hold, err);

    if (rv == APR_SUCCESS) {
        db->driver->limit(connpool_hold_connection(conn->hold), CP_NO_LIMIT);
    }
    return rv == APR_SUCCESS && is_writer ? lock_to_write(conn, err) : rv;
}

static apr_status_t connpool_acquire(connpool_conn_t **pconn, request_rec *r,
                                     const char *name, int mode)
{
    const connpool_server_t *sc = connpool_server(r->server);
    connpool_database_t *db = apr_hash_get(sc->all_databases, name,
                                           APR_HASH_KEY_STRING);
    connpool_conn_t *conn = apr_pcalloc(r->pool, sizeof(*conn));
    cp_error_t err;
    apr_status_t rv = APR_NOTFOUND;

    *pconn = NULL;
    conn->r = r;
    if (db) {
        conn->database = db;
        conn->pool_name = db->name;
        rv = acquire_database(conn, mode, &err);
    }
    else {
        conn->upstream = apr_hash_get(sc->all_upstreams, name,
                                      APR_HASH_KEY_STRING);
        if (conn->upstream) {
            conn->base = connpool_base_first(conn->upstream);
            conn->pool_name = conn->upstream->name;
            rv = connpool_hold_base(r, conn->base, 0, &conn->hold, &err);
        }
    }
    if (rv == APR_SUCCESS) {
        /* A subrequest that forgets its share must not outlive itself. */
        apr_pool_cleanup_register(r->pool, conn, conn_cleanup,
                                  apr_pool_cleanup_null);
        *pconn = conn;
    }
    return rv;
}

/* The hold, no longer conn's; NULL, and a line in the log, the second time. */
static connpool_hold_t *take_hold(connpool_conn_t *conn)
{
    connpool_hold_t *hold = conn->hold;

    if (!hold) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, conn->r,
                      "pool '%s': a connection was given back twice",
                      conn->pool_name);
        return NULL;
    }
    settle(conn);
    apr_pool_cleanup_kill(conn->r->pool, conn, conn_cleanup);
    conn->hold = NULL;
    return hold;
}

static void connpool_release(connpool_conn_t *conn)
{
    connpool_hold_t *hold = take_hold(conn);

    if (hold) {
        connpool_hold_release(hold);
    }
}

static void connpool_discard(connpool_conn_t *conn, const char *why)
{
    connpool_hold_t *hold = take_hold(conn);

    if (hold) {
        connpool_hold_discard(hold, why);
    }
}

/* NULL when it is of another kind. */
static void *native_handle(connpool_conn_t *conn, const char *scheme)
{
    return conn->hold && conn->database
                   && strcmp(conn->database->driver->scheme, scheme) == 0
               ? conn->database->driver->native(
                   connpool_hold_connection(conn->hold))
               : NULL;
}

static struct sqlite3 *connpool_sqlite(connpool_conn_t *conn)
{
    return native_handle(conn, "sqlite");
}

static void *connpool_curl(connpool_conn_t *conn)
{
    return conn->hold && conn->upstream
               ? connpool_hold_easy(conn->hold, conn->base)
               : NULL;
}

void connpool_connection_api_register(void)
{
    APR_REGISTER_OPTIONAL_FN(connpool_acquire);
    APR_REGISTER_OPTIONAL_FN(connpool_release);
    APR_REGISTER_OPTIONAL_FN(connpool_discard);
    APR_REGISTER_OPTIONAL_FN(connpool_sqlite);
    APR_REGISTER_OPTIONAL_FN(connpool_curl);
}
