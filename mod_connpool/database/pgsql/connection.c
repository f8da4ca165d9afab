/* SPDX-License-Identifier: Apache-2.0 */
#include "database/pgsql/connection.h"

#include "base/clock.h"
#include "base/error.h"
#include "database/pgsql/session/bury.h"
#include "database/pgsql/session/connect.h"
#include "database/pgsql/session/pgsql.h"
#include "database/pgsql/statement/statement.h"
#include "database/pgsql/session/wait.h"
#include "database/pgsql/write.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#define CLEAN_PATIENCE apr_time_from_msec(500)

static int connections; /* atomic */

int cp_pg_connections(void)
{
    return __atomic_load_n(&connections, __ATOMIC_RELAXED);
}

/* A session that lies idle hears of its end so. */
static void on_notice(void *data, const PGresult *result)
{
    cp_connection_t *conn = data;
    const char *severity = PQresultErrorField(result,
                                              PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    if (severity && state
        && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0)) {
        apr_cpystrn(conn->state, state, sizeof(conn->state));
    }
    cp_pg_on_notice(conn->db, result);
}

static apr_status_t open_any(cp_database_t *db, int is_writer,
                             cp_clock_t deadline, void **pconn, cp_error_t *err)
{
    cp_connection_t *conn = calloc(1, sizeof(*conn));
    apr_status_t rv;

    *pconn = NULL;
    if (!conn) {
        return cp_error_memory(err, "a connection");
    }
    conn->db = db;
    conn->is_writer = is_writer;
    conn->limit = *CP_NO_LIMIT;
    conn->generation = cp_pg_generation(db);
    rv = cp_pg_connect(db, is_writer, deadline, &conn->pg, err);
    if (rv != APR_SUCCESS) {
        free(conn);
        return rv;
    }
    PQsetNoticeReceiver(conn->pg, on_notice, conn);
    __atomic_add_fetch(&connections, 1, __ATOMIC_RELAXED);
    *pconn = conn;
    return APR_SUCCESS;
}

static apr_status_t open_reader(void *ctx, cp_clock_t deadline, void **pconn,
                                cp_error_t *err)
{
    return open_any(ctx, 0, deadline, pconn, err);
}

static apr_status_t open_writer(void *ctx, cp_clock_t deadline, void **pconn,
                                cp_error_t *err)
{
    return open_any(ctx, 1, deadline, pconn, err);
}

/* Nothing comes unasked but bad news. The first time libpq only takes them
 * in. */
static apr_status_t glance(void *ctx, void *connection)
{
    cp_connection_t *conn = connection;
    struct pollfd fd = {.fd = PQsocket(conn->pg), .events = POLLIN};

    if (conn->generation != cp_pg_generation(conn->db)) {
        return APR_ECONNRESET;
    }
    if (poll(&fd, 1, 0) == 0) {
        return APR_SUCCESS;
    }
    if (PQconsumeInput(conn->pg) && PQconsumeInput(conn->pg)
        && PQstatus(conn->pg) == CONNECTION_OK) {
        return APR_SUCCESS;
    }
    PQisBusy(conn->pg); /* reads what was taken in: why it ended */
    return APR_ECONNRESET;
}

static apr_status_t check(void *ctx, void *connection, cp_clock_t deadline)
{
    cp_connection_t *conn = connection;
    cp_error_t ignored;
    apr_status_t rv = glance(ctx, conn);

    if (rv == APR_SUCCESS) {
        conn->limit = (cp_limit_t){.deadline = deadline};
        rv = cp_pg_command(conn, "", &ignored);
        conn->limit = *CP_NO_LIMIT;
    }
    return rv;
}

/* Whoever had its handle may have left anything behind. */
static void clean(cp_connection_t *conn)
{
    cp_error_t ignored;

    conn->limit = (cp_limit_t){.deadline = cp_clock_after(CLEAN_PATIENCE)};
    if (PQtransactionStatus(conn->pg) != PQTRANS_IDLE
        && cp_pg_command(conn, "ROLLBACK", &ignored) != APR_SUCCESS) {
        conn->is_broken = 1;
    }
    if (!conn->is_broken
        && cp_pg_command(conn, "DISCARD ALL", &ignored) != APR_SUCCESS) {
        conn->is_broken = 1;
    }
    cp_pg_forget_all(conn);
    conn->is_exposed = 0;
}

static apr_status_t reset(void *ctx, void *connection)
{
    cp_connection_t *conn = connection;

    if (conn->queued > 0) {
        conn->is_broken = 1; /* nobody waits for what is under way */
    }
    cp_pg_finish_all(conn);
    cp_pg_rollback(conn);
    conn->entered = 0;
    if (conn->is_exposed && !conn->is_broken) {
        clean(conn);
    }
    conn->limit = *CP_NO_LIMIT;
    conn->look_at = 0;
    return conn->is_broken || conn->is_large
                   || conn->generation != cp_pg_generation(conn->db)
                   || PQtransactionStatus(conn->pg) != PQTRANS_IDLE
               ? APR_EGENERAL
               : APR_SUCCESS;
}

static const char *fault(void *ctx, void *connection)
{
    const cp_connection_t *conn = connection;
    int is_lost = conn->is_broken || *conn->state
                  || PQstatus(conn->pg) != CONNECTION_OK;

    return is_lost ? conn->state : NULL;
}

static void close_any(void *ctx, void *connection)
{
    cp_connection_t *conn = connection;
    cp_database_t *db = conn->db;

    /* What was not read to its end goes with the connection. */
    if (conn->running && conn->running->run == CP_PG_SENT) {
        conn->is_broken = 1;
    }
    cp_pg_finish_all(conn);
    cp_pg_forget_all(conn);
    cp_pg_bury(db, conn->pg);
    free(conn);
    __atomic_sub_fetch(&connections, 1, __ATOMIC_RELAXED);
}

const cp_driver_t cp_pg_reader = {
    .kind = "postgresql",
    .open = open_reader,
    .check = check,
    .glance = glance,
    .reset = reset,
    .fault = fault,
    .close = close_any,
};

const cp_driver_t cp_pg_writer = {
    .kind = "postgresql",
    .open = open_writer,
    .check = check,
    .glance = glance,
    .reset = reset,
    .fault = fault,
    .close = close_any,
};
