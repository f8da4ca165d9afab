/* SPDX-License-Identifier: Apache-2.0 */
#include "database/pgsql/session/wait.h"

#include "base/clock.h"
#include "database/pgsql/session/error.h"
#include "database/pgsql/session/pgsql.h"
#include "database/pgsql/text/state.h"

#include <errno.h>
#include <poll.h>

#include <apr_strings.h>

#define TEND_EVERY apr_time_from_msec(5)   /* what goes on meanwhile */
#define LOOK_EVERY apr_time_from_msec(250) /* at the client */
#define SLICE      apr_time_from_msec(50)  /* the child may end */

static int is_abandoned(cp_connection_t *conn, cp_clock_t now)
{
    if (cp_pg_is_stopping(conn->db)) {
        return 1;
    }
    if (!conn->limit.is_gone || now < conn->look_at) {
        return 0;
    }
    conn->look_at = now + LOOK_EVERY;
    return conn->limit.is_gone(conn->limit.gone_baton);
}

static int poll_socket(cp_connection_t *conn, short events, cp_clock_t now)
{
    apr_interval_time_t slice = conn->limit.meanwhile ? TEND_EVERY : SLICE;
    apr_interval_time_t left = conn->limit.deadline - now;
    struct pollfd fd = {.fd = PQsocket(conn->pg), .events = events};
    struct timespec time;

    slice = left < slice ? left : slice;
    time.tv_sec = 0;
    time.tv_nsec = (long)slice * 1000;
    return ppoll(&fd, 1, &time, NULL);
}

apr_status_t cp_pg_wait(cp_connection_t *conn, short events)
{
    for (;;) {
        cp_clock_t now = cp_clock_now();

        if (now >= conn->limit.deadline) {
            return APR_TIMEUP;
        }
        if (is_abandoned(conn, now)) {
            return APR_EINTR;
        }
        if (poll_socket(conn, events, now) != 0) {
            return APR_SUCCESS; /* an error is libpq's to tell */
        }
        if (conn->limit.meanwhile) {
            conn->limit.meanwhile(conn->limit.baton);
        }
    }
}

apr_status_t cp_pg_is_over(cp_connection_t *conn)
{
    cp_clock_t now = cp_clock_now();

    if (now >= conn->limit.deadline) {
        return APR_TIMEUP;
    }
    return is_abandoned(conn, now) ? APR_EINTR : APR_SUCCESS;
}

/* Consumes only while it must: libpq takes all that has come, and keeps it. */
static apr_status_t await(cp_connection_t *conn, cp_error_t *err)
{
    int flushed = PQflush(conn->pg);

    while (flushed == 1 || (flushed == 0 && PQisBusy(conn->pg))) {
        apr_status_t rv = cp_pg_wait(
            conn, (short)(flushed ? POLLIN | POLLOUT : POLLIN));

        if (rv != APR_SUCCESS) {
            return cp_pg_fail_wait(conn, rv, err);
        }
        if (!PQconsumeInput(conn->pg)) {
            return APR_SUCCESS; /* what the server said last is a result */
        }
        flushed = flushed ? PQflush(conn->pg) : 0;
    }
    return APR_SUCCESS;
}

apr_status_t cp_pg_next_result(cp_connection_t *conn, PGresult **presult,
                               cp_error_t *err)
{
    apr_status_t rv = await(conn, err);

    *presult = NULL;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    *presult = PQgetResult(conn->pg);
    return !*presult && PQstatus(conn->pg) == CONNECTION_BAD
               ? cp_pg_fail_lost(conn, "read", err)
               : APR_SUCCESS;
}

static int is_failure(const PGresult *result)
{
    switch (PQresultStatus(result)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
    case PGRES_SINGLE_TUPLE:
    case PGRES_EMPTY_QUERY:
    case PGRES_PIPELINE_SYNC:
        return 0;
    default:
        return 1;
    }
}

apr_status_t cp_pg_read_to_end(cp_connection_t *conn, char *tag, size_t size,
                               cp_error_t *err)
{
    apr_status_t outcome = APR_SUCCESS;

    for (;;) {
        PGresult *result;
        cp_error_t late;
        apr_status_t rv = cp_pg_next_result(
            conn, &result, outcome == APR_SUCCESS ? err : &late);

        if (rv != APR_SUCCESS) {
            return outcome == APR_SUCCESS ? rv : outcome;
        }
        if (!result) {
            return outcome;
        }
        if (outcome == APR_SUCCESS && is_failure(result)) {
            outcome = cp_pg_fail(conn, result, NULL, err);
        }
        else if (tag && outcome == APR_SUCCESS) {
            apr_cpystrn(tag, PQcmdStatus(result), size);
        }
        PQclear(result);
        if (conn->is_broken) {
            return outcome; /* who copies would go on for ever */
        }
    }
}

apr_status_t cp_pg_command(cp_connection_t *conn, const char *sql,
                           cp_error_t *err)
{
    return PQsendQuery(conn->pg, sql) ? cp_pg_read_to_end(conn, NULL, 0, err)
                                      : cp_pg_fail_lost(conn, "send", err);
}

apr_status_t cp_pg_ask(cp_connection_t *conn, const char *sql,
                       const char *const *values, int count, PGresult **presult,
                       cp_error_t *err)
{
    cp_error_t late;
    apr_status_t rv;

    *presult = NULL;
    if (!PQsendQueryParams(conn->pg, sql, count, NULL, values, NULL, NULL, 0)) {
        return cp_pg_fail_lost(conn, "send", err);
    }
    rv = cp_pg_next_result(conn, presult, err);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (*presult && PQresultStatus(*presult) != PGRES_TUPLES_OK) {
        rv = cp_pg_fail(conn, *presult, NULL, err);
    }
    if (!conn->is_broken) {
        apr_status_t ended = cp_pg_read_to_end(conn, NULL, 0, &late);

        if (rv == APR_SUCCESS && ended != APR_SUCCESS) {
            *err = late;
            rv = ended;
        }
    }
    if (rv != APR_SUCCESS) {
        PQclear(*presult);
        *presult = NULL;
    }
    return rv;
}
