/* SPDX-License-Identifier: Apache-2.0 */
#include "database/pgsql/statement/run.h"

#include "base/clock.h"
#include "base/error.h"
#include "database/pgsql/statement/bind.h"
#include "database/pgsql/statement/cache.h"
#include "database/pgsql/session/error.h"
#include "database/pgsql/session/pgsql.h"
#include "database/pgsql/session/wait.h"

#include <string.h>
#include <stdlib.h>

#define DROP_PATIENCE apr_time_from_msec(50)
#define DROP_BYTES    (1024 * 1024)
#define LOOK_ROWS     16 /* between two looks at the clock */

#define BEGIN_WRITE "BEGIN READ WRITE"
/* Within the transaction that lasts until the mark: it needs no end, and leaves
 * nothing behind when the statement fails. */
#define READ_ONLY   "SELECT set_config('transaction_read_only', 'on', true)"

static int is_pooled(const cp_connection_t *conn)
{
    return conn->db->config.pooler == CP_PG_POOLER_TRANSACTION;
}

/* --- at the server --- */

static int send_parse(cp_statement_t *st)
{
    PGconn *pg = st->conn->pg;
    const char *name = is_pooled(st->conn) ? "" : st->name;

    return PQenterPipelineMode(pg)
           && PQsendPrepare(pg, name, st->text.data, st->param_count, st->types)
           && PQsendDescribePrepared(pg, name) && PQpipelineSync(pg);
}

static void note_inferred(cp_statement_t *st, const PGresult *result)
{
    int count = PQnparams(result);

    for (int i = 0; i < count && i < st->param_count; i++) {
        st->inferred[i] = PQparamtype(result, i);
    }
}

/* A name means one text: somebody else has prepared the same, then. */
static int is_there_already(const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    return state && strcmp(state, "42P05") == 0;
}

/* Read what came of parsing, up to the mark behind it. */
static apr_status_t read_parse(cp_statement_t *st, int *pis_there,
                               unsigned *pflags, cp_error_t *err)
{
    cp_connection_t *conn = st->conn;
    apr_status_t outcome = APR_SUCCESS;
    PGresult *result;
    int is_last = 0;

    while (!is_last) {
        cp_error_t late;
        apr_status_t rv = cp_pg_next_result(
            conn, &result, outcome == APR_SUCCESS ? err : &late);

        if (rv != APR_SUCCESS) {
            return outcome == APR_SUCCESS ? rv : outcome;
        }
        if (!result) {
            continue; /* a command has no more */
        }
        switch (PQresultStatus(result)) {
        case PGRES_PIPELINE_SYNC:
            is_last = 1;
            break;
        case PGRES_COMMAND_OK:
            note_inferred(st, result);
            break;
        case PGRES_PIPELINE_ABORTED:
            break;
        case PGRES_FATAL_ERROR:
            if (outcome == APR_SUCCESS) {
                *pis_there = is_there_already(result);
                outcome = cp_pg_fail(conn, result, pflags, err);
            }
            break;
        default: /* COPY, which would go on for ever */
            outcome = cp_pg_fail_lost(conn, "prepare", err);
            break;
        }
        PQclear(result);
        if (conn->is_broken) {
            return outcome;
        }
    }
    if (!PQexitPipelineMode(conn->pg) && outcome == APR_SUCCESS) {
        outcome = cp_pg_fail_lost(conn, "prepare", err);
    }
    return outcome;
}

apr_status_t cp_pg_parse(cp_statement_t *st, unsigned *pflags, cp_error_t *err)
{
    int is_there = 0;
    apr_status_t rv;

    *pflags = 0;
    cp_pg_name_statement(st);
    memset(st->inferred, 0, (size_t)st->param_count * sizeof(*st->inferred));
    if (!send_parse(st)) {
        return cp_pg_fail_lost(st->conn, "prepare", err);
    }
    rv = read_parse(st, &is_there, pflags, err);
    if (rv != APR_SUCCESS && is_there && st->conn->transaction != CP_PG_OPEN) {
        cp_pg_deallocate(st->conn, st->name);
        rv = send_parse(st) ? read_parse(st, &is_there, pflags, err)
                            : cp_pg_fail_lost(st->conn, "prepare", err);
    }
    st->is_prepared = rv == APR_SUCCESS;
    return rv;
}

/* --- sending --- */

static int send_statement(cp_statement_t *st)
{
    PGconn *pg = st->conn->pg;

    cp_pg_settle_values(st);
    if (is_pooled(st->conn)) {
        return PQsendQueryParams(pg, st->text.data, st->param_count, st->types,
                                 st->values, st->lengths, st->formats, 0);
    }
    return PQsendQueryPrepared(pg, st->name, st->param_count, st->values,
                               st->lengths, st->formats, 0);
}

static int send_simple(PGconn *pg, const char *sql)
{
    return PQsendQueryParams(pg, sql, 0, NULL, NULL, NULL, NULL, 0);
}

/* With what begins the transaction in front of it, in one go. A pooler's
 * sessions have no setting of ours: who reads says so each time. */
static int send_begun(cp_statement_t *st, int is_write)
{
    PGconn *pg = st->conn->pg;

    return send_simple(pg, is_write ? BEGIN_WRITE : READ_ONLY)
           && send_statement(st) && PQpipelineSync(pg);
}

int cp_pg_send_ahead(cp_statement_t *st)
{
    return send_statement(st) && PQpipelineSync(st->conn->pg);
}

static void begin_results(cp_statement_t *st, int stage)
{
    st->rows = 0;
    st->changes = 0;
    st->stage = stage;
    st->run = CP_PG_SENT;
}

void cp_pg_expect(cp_statement_t *st)
{
    begin_results(st, CP_PG_STAGE_STATEMENT);
    st->conn->is_in_pipeline = 1;
    PQsetSingleRowMode(st->conn->pg);
}

apr_status_t cp_pg_start(cp_statement_t *st, cp_error_t *err)
{
    cp_connection_t *conn = st->conn;
    int is_write = conn->transaction == CP_PG_BEGINS;
    int is_sent;

    begin_results(st, CP_PG_STAGE_BEGIN);
    if (is_write || (is_pooled(conn) && conn->transaction == CP_PG_NONE)) {
        is_sent = PQenterPipelineMode(conn->pg) && send_begun(st, is_write);
        conn->is_in_pipeline = 1;
        conn->transaction = is_write ? CP_PG_OPEN : CP_PG_NONE;
    }
    else {
        is_sent = send_statement(st);
        st->stage = CP_PG_STAGE_STATEMENT;
        is_sent = is_sent && PQsetSingleRowMode(conn->pg);
    }
    return is_sent ? APR_SUCCESS : cp_pg_fail_lost(conn, "send", err);
}

/* --- reading --- */

/* A command of the pipeline has no more results. */
static void end_stage(cp_statement_t *st)
{
    if (++st->stage == CP_PG_STAGE_STATEMENT) {
        PQsetSingleRowMode(st->conn->pg);
    }
}

/* The first result tells the columns, and is kept for that. */
static void drop(const cp_statement_t *st, PGresult *result)
{
    if (result != st->columns) {
        PQclear(result);
    }
}

static void keep_columns(cp_statement_t *st, PGresult *result)
{
    if (!st->columns) {
        st->columns = result;
    }
}

/* Without a pipeline the first NULL is the end; with one the mark behind all of
 * it. */
static int is_end(const cp_statement_t *st, const PGresult *result)
{
    return st->conn->is_in_pipeline
               ? PQresultStatus(result) == PGRES_PIPELINE_SYNC
               : result == NULL;
}

static apr_status_t end_reading(cp_statement_t *st, cp_error_t *err)
{
    cp_connection_t *conn = st->conn;

    st->run = CP_PG_FINISHED;
    if (conn->received < conn->queued) {
        return APR_EOF; /* others follow */
    }
    conn->queued = conn->received = 0;
    if (conn->is_in_pipeline) {
        conn->is_in_pipeline = 0;
        if (!PQexitPipelineMode(conn->pg)) {
            return cp_pg_fail_lost(conn, "read", err);
        }
    }
    return APR_EOF;
}

/* A result of the statement itself.
 * @return APR_SUCCESS: a row, APR_EAGAIN: go on, or a failure */
static apr_status_t take_result(cp_statement_t *st, PGresult *result,
                                unsigned *pflags, cp_error_t *err)
{
    apr_status_t rv = APR_EAGAIN;

    switch (PQresultStatus(result)) {
    case PGRES_SINGLE_TUPLE:
        keep_columns(st, result);
        st->row = result;
        st->rows++;
        return APR_SUCCESS;
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
        if (st->stage != CP_PG_STAGE_STATEMENT) {
            break;
        }
        if (PQresultStatus(result) == PGRES_TUPLES_OK) {
            keep_columns(st, result);
        }
        st->changes = strtoll(PQcmdTuples(result), NULL, 10);
        break;
    case PGRES_PIPELINE_ABORTED:
    case PGRES_EMPTY_QUERY:
        break;
    default:
        rv = cp_pg_fail(st->conn, result, pflags, err);
        if (!st->conn->is_broken
            && !PQresultErrorField(result, PG_DIAG_SQLSTATE)) {
            rv = cp_pg_fail_lost(st->conn, "run", err); /* COPY */
        }
        break;
    }
    drop(st, result);
    return rv;
}

/* The failure stands; what follows it is only read. */
static apr_status_t read_behind_failure(cp_statement_t *st, apr_status_t rv)
{
    cp_connection_t *conn = st->conn;
    cp_error_t ignored;
    PGresult *result;

    while (!conn->is_broken
           && cp_pg_next_result(conn, &result, &ignored) == APR_SUCCESS) {
        int is_last = is_end(st, result);

        PQclear(result);
        if (is_last) {
            end_reading(st, &ignored);
            break;
        }
    }
    st->run = CP_PG_FINISHED;
    return rv;
}

apr_status_t cp_pg_read(cp_statement_t *st, unsigned *pflags, cp_error_t *err)
{
    cp_connection_t *conn = st->conn;
    PGresult *result;
    apr_status_t rv;

    for (;;) {
        rv = cp_pg_next_result(conn, &result, err);
        if (rv != APR_SUCCESS) {
            st->run = CP_PG_FINISHED;
            return rv;
        }
        if (is_end(st, result)) {
            PQclear(result);
            return end_reading(st, err);
        }
        if (!result) {
            end_stage(st);
            continue;
        }
        rv = take_result(st, result, pflags, err);
        if (rv == APR_SUCCESS && st->rows % LOOK_ROWS == 0) {
            rv = cp_pg_is_over(conn);
            if (rv != APR_SUCCESS) {
                return cp_pg_fail_wait(conn, rv, err);
            }
        }
        if (rv == APR_SUCCESS) {
            return rv;
        }
        if (rv != APR_EAGAIN) {
            return read_behind_failure(st, rv);
        }
    }
}

void cp_pg_drop_rest(cp_statement_t *st)
{
    cp_connection_t *conn = st->conn;
    cp_limit_t limit = conn->limit;
    apr_size_t bytes = 0;
    unsigned flags;
    cp_error_t ignored;
    apr_status_t rv = APR_SUCCESS;

    conn->limit = (cp_limit_t){.deadline = cp_clock_after(DROP_PATIENCE)};
    while (rv == APR_SUCCESS && !conn->is_broken && bytes < DROP_BYTES) {
        rv = cp_pg_read(st, &flags, &ignored);
        if (rv == APR_SUCCESS) {
            bytes += PQresultMemorySize(st->row);
            drop(st, st->row);
            st->row = NULL;
        }
    }
    if (rv == APR_SUCCESS) {
        conn->is_broken = 1;
    }
    conn->limit = limit;
    st->run = CP_PG_FINISHED;
}
