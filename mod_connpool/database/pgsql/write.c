/* SPDX-License-Identifier: Apache-2.0 */
#include "database/pgsql/write.h"

#include "base/clock.h"
#include "base/error.h"
#include "database/pgsql/session/error.h"
#include "database/pgsql/session/pgsql.h"
#include "database/pgsql/session/wait.h"
#include "database/pgsql/statement/aside.h"

#include <string.h>

/* What the end of a transaction may take, behind the deadline. */
#define END_PATIENCE apr_time_from_msec(200)

apr_status_t cp_pg_begin(cp_connection_t *conn, cp_clock_t deadline,
                         cp_error_t *err)
{
    if (!conn->is_writer || conn->transaction != CP_PG_NONE) {
        return cp_error_set(err, CP_ERR_INTERNAL, APR_EINVAL,
                            "the connection cannot begin to write",
                            "database '%s': a reader, or in a transaction",
                            conn->db->config.name);
    }
    conn->transaction = CP_PG_BEGINS;
    conn->depth = 0;
    return APR_SUCCESS;
}

/* A write that came to its end in time must not fail for want of a moment to
 * say so. */
static cp_limit_t limit_end(cp_connection_t *conn)
{
    cp_limit_t limit = conn->limit;
    cp_clock_t patience = cp_clock_after(END_PATIENCE);

    if (conn->limit.deadline < patience) {
        conn->limit.deadline = patience;
    }
    conn->limit.is_gone = NULL;
    return limit;
}

/* COMMIT went out, and no answer came. */
static apr_status_t fail_unknown(cp_connection_t *conn, cp_error_t *err)
{
    conn->is_broken = 1;
    err->is_transient = 0;
    err->cause = "it is not known whether the write was kept";
    return err->rv == APR_SUCCESS ? APR_EGENERAL : err->rv;
}

static apr_status_t send_commit(cp_connection_t *conn, cp_error_t *err)
{
    char tag[32] = "";
    apr_status_t rv = PQsendQuery(conn->pg, "COMMIT")
                          ? cp_pg_read_to_end(conn, tag, sizeof(tag), err)
                          : cp_pg_fail_lost(conn, "commit", err);

    if (rv != APR_SUCCESS) {
        return conn->is_broken ? fail_unknown(conn, err) : rv;
    }
    if (strcmp(tag, "COMMIT") != 0) {
        return cp_error_set(err, CP_ERR_STORAGE, APR_EGENERAL,
                            "the write was rolled back",
                            "database '%s': COMMIT was answered %s",
                            conn->db->config.name, tag);
    }
    return APR_SUCCESS;
}

apr_status_t cp_pg_commit(cp_connection_t *conn, cp_error_t *err)
{
    apr_status_t rv = APR_SUCCESS;
    cp_limit_t limit;

    if (conn->transaction == CP_PG_NONE || conn->is_broken) {
        conn->transaction = CP_PG_NONE;
        return cp_error_set(
            err, CP_ERR_STORAGE, APR_EGENERAL, "the write was rolled back",
            "database '%s': nothing to commit", conn->db->config.name);
    }
    if (conn->transaction == CP_PG_OPEN) {
        limit = limit_end(conn);
        rv = send_commit(conn, err);
        conn->limit = limit;
    }
    conn->transaction = CP_PG_NONE;
    return rv;
}

void cp_pg_rollback(cp_connection_t *conn)
{
    cp_limit_t limit;
    cp_error_t ignored;

    if (conn->transaction == CP_PG_OPEN && !conn->is_broken) {
        limit = limit_end(conn);
        if (conn->running
            || cp_pg_command(conn, "ROLLBACK", &ignored) != APR_SUCCESS) {
            conn->is_broken = 1;
        }
        conn->limit = limit;
    }
    conn->transaction = CP_PG_NONE;
    conn->depth = 0;
}

apr_status_t cp_pg_nest(cp_connection_t *conn, cp_clock_t deadline,
                        cp_error_t *err)
{
    apr_status_t rv = cp_pg_clear_way(conn, NULL, err);

    if (rv == APR_SUCCESS && conn->transaction == CP_PG_BEGINS) {
        rv = cp_pg_command(conn, "BEGIN READ WRITE", err);
        if (rv == APR_SUCCESS) {
            conn->transaction = CP_PG_OPEN;
        }
    }
    if (rv == APR_SUCCESS) {
        rv = cp_pg_command(conn, "SAVEPOINT connpool", err);
    }
    if (rv == APR_SUCCESS) {
        conn->depth++;
    }
    return rv;
}

apr_status_t cp_pg_unnest(cp_connection_t *conn, int is_kept, cp_error_t *err)
{
    cp_limit_t limit = limit_end(conn);
    apr_status_t rv = APR_SUCCESS;

    conn->depth--;
    if (!is_kept) {
        rv = cp_pg_command(conn, "ROLLBACK TO SAVEPOINT connpool", err);
    }
    if (rv == APR_SUCCESS) {
        rv = cp_pg_command(conn, "RELEASE SAVEPOINT connpool", err);
    }
    conn->limit = limit;
    return rv;
}
