/* SPDX-License-Identifier: Apache-2.0
 * Each statement has its own mark (Sync) behind it: the server runs it as if it
 * had come alone, skips no other when it fails, and takes its time anew.
 *
 * What is not known at the server is prepared before anything goes out, for
 * that takes an answer. The same text may be there several times: its values go
 * out, and are forgotten, one after another. */
#include "database/pgsql/statement/pipeline.h"

#include "base/error.h"
#include "database/pgsql/session/error.h"
#include "database/pgsql/session/pgsql.h"
#include "database/pgsql/statement/bind.h"
#include "database/pgsql/statement/run.h"
#include "database/pgsql/statement/statement.h"
#include "database/pgsql/statement/types.h"

#include <string.h>

static int bind_all(cp_statement_t *st, const cp_asked_t *asked)
{
    cp_error_t ignored;

    st->terminated.size = 0;
    for (int i = 0; i < asked->bound_count; i++) {
        const cp_bound_t *bound = &asked->bound[i];

        if (cp_pg_bind(st, bound->name, bound->type, bound->value, &ignored)
            != APR_SUCCESS) {
            return 0;
        }
    }
    return 1;
}

/* One of this text that is in the queue already, or NULL. */
static cp_statement_t *find_queued(const cp_connection_t *conn, const char *sql)
{
    for (int i = 0; i < conn->queued; i++) {
        if (strcmp(conn->queue[i]->sql, sql) == 0) {
            return conn->queue[i];
        }
    }
    return NULL;
}

/* Into the queue, once the server knows it. Whatever is wrong with it is told
 * to who runs it alone. */
static int enqueue(cp_connection_t *conn, const cp_asked_t *asked)
{
    cp_statement_t *st = find_queued(conn, asked->sql);
    cp_error_t ignored;
    int is_ready;

    if (st) {
        conn->queue[conn->queued++] = st;
        return 1;
    }
    if (cp_pg_prepare(conn, asked->sql, &st, &ignored) != APR_SUCCESS) {
        return 0;
    }
    is_ready = !st->writes && bind_all(st, asked)
               && cp_pg_settle_types(st, &ignored) == APR_SUCCESS;
    conn->running = NULL;
    if (!is_ready) {
        cp_pg_finish(st);
        return 0;
    }
    conn->queue[conn->queued++] = st;
    return 1;
}

/* @return 0: nothing of it went out */
static int send_next(cp_statement_t *st, const cp_asked_t *asked)
{
    cp_error_t ignored;

    if (!bind_all(st, asked) || !cp_pg_fits_declared(st)) {
        return 0;
    }
    if (!cp_pg_send_ahead(st)) {
        cp_pg_fail_lost(st->conn, "send", &ignored);
        return 0;
    }
    return 1;
}

static int is_free(const cp_connection_t *conn)
{
    return conn->transaction == CP_PG_NONE && !conn->running && !conn->is_broken
           && conn->queued == 0
           && PQtransactionStatus(conn->pg) == PQTRANS_IDLE;
}

/* The first `sent` are under way, the others leave the queue. */
static int keep(cp_connection_t *conn, int sent)
{
    int queued = conn->queued;

    conn->queued = conn->is_broken ? 0 : sent;
    for (int i = conn->queued; i < queued; i++) {
        cp_pg_finish(conn->queue[i]);
    }
    for (int i = 0; i < conn->queued; i++) {
        conn->queue[i]->is_out = 1;
    }
    if (conn->queued == 0 && !conn->is_broken
        && PQpipelineStatus(conn->pg) != PQ_PIPELINE_OFF) {
        conn->is_broken = !PQexitPipelineMode(conn->pg);
    }
    return conn->queued;
}

static int send_all(cp_connection_t *conn, const cp_asked_t *asked, int count)
{
    int sent = 0;

    if (!is_free(conn)) {
        return 0;
    }
    conn->received = 0;
    while (conn->queued < count && conn->queued < CP_AHEAD_MOST
           && enqueue(conn, &asked[conn->queued])) {
    }
    if (conn->is_broken || conn->queued == 0
        || !PQenterPipelineMode(conn->pg)) {
        return keep(conn, 0);
    }
    while (sent < conn->queued && send_next(conn->queue[sent], &asked[sent])) {
        sent++;
    }
    return keep(conn, sent);
}

static cp_statement_t *receive(cp_connection_t *conn)
{
    cp_statement_t *st;

    if (conn->received == conn->queued || conn->running || conn->is_broken) {
        return NULL;
    }
    st = conn->queue[conn->received++];
    st->is_out = 1;
    st->was_ahead = 1;
    cp_pg_expect(st);
    conn->running = st;
    return st;
}

const cp_ahead_t cp_pg_ahead = {.send = send_all, .receive = receive};
