/* SPDX-License-Identifier: Apache-2.0 */
#include "database/pgsql/statement/statement.h"

#include "base/bytes/buffer.h"
#include "base/error.h"
#include "database/pgsql/statement/aside.h"
#include "database/pgsql/statement/cache.h"
#include "database/pgsql/session/error.h"
#include "database/pgsql/session/pgsql.h"
#include "database/pgsql/statement/run.h"
#include "database/pgsql/statement/types.h"
#include "database/pgsql/text/json.h"
#include "database/pgsql/text/state.h"
#include "database/pgsql/session/wait.h"

#include <stdlib.h>
#include <string.h>

#define HEALS        8           /* in one run */
#define SCRATCH_KEPT (64 * 1024) /* bytes of a buffer between two runs */

/* --- prepared --- */

apr_status_t cp_pg_prepare(cp_connection_t *conn, const char *sql,
                           cp_statement_t **pst, cp_error_t *err)
{
    size_t size = strlen(sql);
    cp_statement_t *st = cp_pg_cache_find(conn, sql, size);
    apr_status_t rv = APR_SUCCESS;

    *pst = NULL;
    if (conn->received < conn->queued && PQpipelineStatus(conn->pg)) {
        return cp_error_set(err, CP_ERR_REFUSED, APR_ENOTIMPL,
                            "a query within another one is not possible",
                            "database '%s': the request has sent others",
                            conn->db->config.name);
    }
    rv = cp_pg_clear_way(conn, NULL, err);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (!st) {
        rv = cp_pg_cache_add(conn, sql, size, &st, err);
        if (rv == APR_SUCCESS) {
            rv = cp_pg_parse_first(st, err);
            if (rv != APR_SUCCESS) {
                cp_pg_cache_free(st);
            }
        }
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    st->is_out = 1;
    st->heals = 0;
    st->was_ahead = 0;
    st->run = CP_PG_AT_REST;
    st->used_at = ++conn->uses;
    conn->running = st;
    *pst = st;
    return APR_SUCCESS;
}

/* --- healed --- */

/* What was prepared is there no more, or is not what it was: found out before
 * anything was done. */
static int is_stale(const cp_error_t *err)
{
    return strstr(err->detail, "(SQLSTATE 26000") != NULL
           || strstr(err->detail, "cached plan must not change") != NULL;
}

/* Whoever alters a table may do so again, while it is prepared anew. */
static int may_heal(const cp_statement_t *st, const cp_error_t *err)
{
    return st->rows == 0 && st->heals < HEALS && !st->conn->is_broken
           && !err->is_transient && is_stale(err);
}

/* Of several that were sent at once none is healed on the way: who gets it
 * alone can. */
static int leave_stale(cp_statement_t *st, cp_error_t *err)
{
    if (!st->was_ahead || st->rows > 0 || !is_stale(err)) {
        return 0;
    }
    st->is_prepared = 0;
    err->is_transient = 1;
    return 1;
}

static apr_status_t prepare_anew(cp_statement_t *st, int was_first,
                                 cp_error_t *err)
{
    cp_connection_t *conn = st->conn;
    unsigned flags;
    apr_status_t rv = APR_SUCCESS;

    if (was_first) {
        rv = cp_pg_command(conn, "ROLLBACK", err);
        conn->transaction = CP_PG_BEGINS;
    }
    if (rv == APR_SUCCESS) {
        /* It may be there: then under a plan that does not fit. */
        cp_pg_deallocate(conn, st->name);
        rv = cp_pg_parse(st, &flags, err);
    }
    return rv;
}

/* Before its first row, and where nothing is lost by it: not in the midst of a
 * transaction. */
static apr_status_t heal(cp_statement_t *st, int was_first, cp_error_t *err)
{
    cp_connection_t *conn = st->conn;

    st->is_prepared = 0;
    if (conn->transaction == CP_PG_OPEN && !was_first) {
        err->is_transient = 1;
        return APR_EGENERAL;
    }
    st->heals++;
    PQclear(st->columns);
    st->columns = NULL;
    if (prepare_anew(st, was_first, err) != APR_SUCCESS) {
        return APR_EGENERAL;
    }
    return cp_pg_start(st, err);
}

static apr_status_t start(cp_statement_t *st, cp_error_t *err)
{
    apr_status_t rv = cp_pg_clear_way(st->conn, st, err);

    if (rv == APR_SUCCESS) {
        st->conn->running = st;
        rv = cp_pg_settle_types(st, err);
    }
    return rv == APR_SUCCESS ? cp_pg_start(st, err) : rv;
}

static void drop_row(cp_statement_t *st)
{
    if (st->row != st->columns) {
        PQclear(st->row);
    }
    st->row = NULL;
}

/* A read that lost its connection before its first row can begin anew on
 * another one. A write never does. */
static void note_harmless(const cp_statement_t *st, cp_error_t *err)
{
    const cp_connection_t *conn = st->conn;

    if (conn->is_broken && st->rows == 0 && !st->writes
        && conn->transaction == CP_PG_NONE && err->cls == CP_ERR_STORAGE) {
        err->is_transient = 1;
    }
}

apr_status_t cp_pg_step(cp_statement_t *st, cp_error_t *err)
{
    int is_first = st->conn->transaction == CP_PG_BEGINS;
    unsigned flags = 0;
    apr_status_t rv = APR_SUCCESS;

    drop_row(st);
    rv = cp_pg_take_aside(st, err);
    if (rv != APR_EAGAIN) {
        return rv;
    }
    if (st->run == CP_PG_FINISHED) {
        return APR_EOF;
    }
    rv = st->run == CP_PG_AT_REST ? start(st, err) : APR_SUCCESS;
    if (rv == APR_SUCCESS) {
        rv = cp_pg_read(st, &flags, err);
    }
    while (rv != APR_SUCCESS && rv != APR_EOF && !leave_stale(st, err)
           && may_heal(st, err)) {
        rv = heal(st, is_first, err);
        if (rv == APR_SUCCESS) {
            rv = cp_pg_read(st, &flags, err);
        }
    }
    if (rv != APR_SUCCESS && rv != APR_EOF) {
        note_harmless(st, err);
    }
    return rv;
}

/* --- rows --- */

int cp_pg_columns(cp_statement_t *st)
{
    return st->columns ? PQnfields(st->columns) : 0;
}

const char *cp_pg_column_name(cp_statement_t *st, int i)
{
    const char *name = PQfname(st->columns, i);

    return name ? name : "";
}

/* What was written anew lies one behind the other. */
static void place(cp_value_t *values, int columns, const cp_buffer_t *scratch)
{
    const char *at = scratch->data;

    for (int i = 0; i < columns; i++) {
        if (values[i].storage >= CP_TEXT && !values[i].as.bytes.data) {
            values[i].as.bytes.data = at;
            at += values[i].as.bytes.size;
        }
    }
}

void cp_pg_row(cp_statement_t *st, cp_value_t *values)
{
    int columns = PQnfields(st->row);
    apr_size_t bytes = 0;

    st->scratch.size = 0;
    for (int i = 0; i < columns; i++) {
        apr_size_t size = (apr_size_t)PQgetlength(st->row, 0, i);

        bytes += size;
        if (PQgetisnull(st->row, 0, i)) {
            values[i].storage = CP_NULL;
        }
        else {
            cp_pg_decode(PQftype(st->row, i), PQgetvalue(st->row, 0, i), size,
                         &st->scratch, &values[i]);
        }
    }
    if (st->scratch.size > 0) {
        place(values, columns, &st->scratch);
    }
    if (bytes > CP_PG_LARGE) {
        st->conn->is_large = 1;
    }
}

int cp_pg_is_writing(cp_statement_t *st)
{
    return st->writes;
}

void cp_pg_result(cp_statement_t *st, cp_result_t *result)
{
    result->changes = st->changes;
    result->last_rowid = 0;
}

/* --- the end --- */

static void empty(cp_buffer_t *buf)
{
    buf->size = 0;
    if (buf->capacity > SCRATCH_KEPT || buf->has_failed) {
        cp_buffer_free(buf);
    }
}

void cp_pg_finish(cp_statement_t *st)
{
    cp_connection_t *conn = st->conn;

    /* The connection's release may have come before. */
    if (!st->is_out) {
        return;
    }
    drop_row(st);
    if (st->run == CP_PG_SENT && !conn->is_broken) {
        cp_pg_drop_rest(st);
    }
    cp_pg_free_aside(st);
    PQclear(st->columns);
    st->columns = NULL;
    empty(&st->terminated);
    empty(&st->scratch);
    for (int i = 0; i < st->param_count; i++) {
        st->values[i] = NULL;
        st->lengths[i] = 0;
    }
    st->run = CP_PG_AT_REST;
    st->is_out = 0;
    if (conn->running == st) {
        conn->running = NULL;
    }
}

void cp_pg_finish_all(cp_connection_t *conn)
{
    for (int i = 0; i < CP_PG_STATEMENTS; i++) {
        if (conn->cache[i].is_out) {
            cp_pg_finish(&conn->cache[i]);
        }
    }
}

void cp_pg_forget_all(cp_connection_t *conn)
{
    for (int i = 0; i < CP_PG_STATEMENTS; i++) {
        if (conn->cache[i].sql) {
            cp_pg_cache_free(&conn->cache[i]);
        }
    }
}

apr_size_t cp_pg_weigh_statements(const cp_connection_t *conn)
{
    apr_size_t bytes = 0;

    for (int i = 0; i < CP_PG_STATEMENTS; i++) {
        const cp_statement_t *st = &conn->cache[i];

        if (st->sql) {
            bytes += st->sql_size + st->text.capacity + st->terminated.capacity
                     + st->scratch.capacity + (apr_size_t)st->param_count * 80;
        }
    }
    return bytes;
}
