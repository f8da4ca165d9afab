/* SPDX-License-Identifier: Apache-2.0 */
#include "database/pgsql/session/error.h"

#include "base/error.h"
#include "database/pgsql/session/pgsql.h"
#include "database/pgsql/text/state.h"

#include <string.h>

#include <apr_strings.h>

#define SHOWN 200 /* bytes of the server's message in the log */

static const char *field(const PGresult *result, int code)
{
    const char *value = PQresultErrorField(result, code);

    return value ? value : "";
}

/* Which constraint, of which columns. The server's detail holds values, too,
 * and goes nowhere. */
static void set_subject(cp_error_t *err, const PGresult *result)
{
    const char *table = field(result, PG_DIAG_TABLE_NAME);
    const char *column = field(result, PG_DIAG_COLUMN_NAME);
    const char *name = field(result, PG_DIAG_CONSTRAINT_NAME);

    if (*table && *column) {
        apr_snprintf(err->subject, sizeof(err->subject), "%s.%s", table,
                     column);
    }
    else if ((strcmp(err->constraint, "unique") != 0
              || !cp_pg_subject(table, field(result, PG_DIAG_MESSAGE_DETAIL),
                                err->subject, sizeof(err->subject)))
             && strlen(name) < sizeof(err->subject) && !strchr(name, '.')) {
        apr_cpystrn(err->subject, name, sizeof(err->subject));
    }
}

/* The server is not what it was: none of its connections are. */
static void flush(cp_connection_t *conn)
{
    unsigned seen = conn->generation;

    __atomic_compare_exchange_n(&conn->db->generation, &seen, seen + 1, 0,
                                __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

/* A write that the server refuses to make, or a transaction for it: it is a
 * standby. */
static int is_of_standby(const cp_connection_t *conn, const char *state)
{
    int is_begin = conn->is_in_pipeline && conn->running
                   && conn->running->stage == CP_PG_STAGE_BEGIN;

    return conn->transaction != CP_PG_NONE
           && (strcmp(state, "25006") == 0
               || (is_begin && strcmp(state, "0A000") == 0));
}

static void judge(cp_connection_t *conn, const char *state,
                  const cp_pg_outcome_t *outcome)
{
    int is_demoted = is_of_standby(conn, state);

    if (outcome->flags & CP_PG_BROKEN || is_demoted) {
        conn->is_broken = 1;
        apr_cpystrn(conn->state, state, sizeof(conn->state));
    }
    if (is_demoted || strncmp(state, "57P", 3) == 0
        || strncmp(state, "08", 2) == 0) {
        flush(conn);
    }
}

static void explain_demoted(cp_connection_t *conn, const char *state,
                            cp_error_t *err)
{
    if (is_of_standby(conn, state)) {
        err->cls = CP_ERR_STORAGE;
        err->cause = "the database cannot be written";
    }
}

apr_status_t cp_pg_fail(cp_connection_t *conn, const PGresult *result,
                        unsigned *pflags, cp_error_t *err)
{
    const char *state = field(result, PG_DIAG_SQLSTATE);
    const char *primary = field(result, PG_DIAG_MESSAGE_PRIMARY);
    const cp_pg_outcome_t *outcome = cp_pg_outcome(state);
    char message[SHOWN];
    apr_status_t rv;

    if (!*state) {
        return cp_pg_fail_lost(conn, "run", err);
    }
    if (pflags) {
        *pflags = outcome->flags;
    }
    cp_pg_show(message, sizeof(message), primary);
    rv = cp_error_set(
        err, outcome->cls, APR_EGENERAL, outcome->cause,
        "database '%s': %s (SQLSTATE %s%s%s)", conn->db->config.name, message,
        state, *field(result, PG_DIAG_CONSTRAINT_NAME) ? ", constraint " : "",
        field(result, PG_DIAG_CONSTRAINT_NAME));
    apr_cpystrn(err->state, state, sizeof(err->state));
    err->constraint = outcome->constraint;
    if (err->constraint) {
        set_subject(err, result);
    }
    if (outcome->flags & CP_PG_MESSAGE) {
        cp_pg_show(err->message, sizeof(err->message), primary);
    }
    if (outcome->flags & CP_PG_VALUES && conn->running
        && conn->running->param_count == 0) {
        err->cls = CP_ERR_INTERNAL;
        err->cause = "the query fails";
    }
    err->is_transient = (outcome->flags & CP_PG_AGAIN) != 0;
    explain_demoted(conn, state, err);
    judge(conn, state, outcome);
    return rv;
}

apr_status_t cp_pg_fail_lost(cp_connection_t *conn, const char *doing,
                             cp_error_t *err)
{
    char message[SHOWN];

    cp_pg_show(message, sizeof(message), PQerrorMessage(conn->pg));
    conn->is_broken = 1;
    flush(conn);
    cp_error_set(err, CP_ERR_STORAGE, APR_ECONNRESET,
                 "the connection to the database was lost",
                 "database '%s': %s: %s", conn->db->config.name, doing,
                 *message ? message : "the connection was closed");
    return APR_ECONNRESET;
}

apr_status_t cp_pg_fail_wait(cp_connection_t *conn, apr_status_t rv,
                             cp_error_t *err)
{
    conn->is_broken = 1;
    if (APR_STATUS_IS_TIMEUP(rv)) {
        return cp_error_set(err, CP_ERR_DEADLINE, APR_TIMEUP,
                            "the query took longer than its limit",
                            "database '%s': its time is over",
                            conn->db->config.name);
    }
    return cp_error_set(
        err, CP_ERR_CANCELLED, APR_EINTR, "nobody waits for the answer",
        "database '%s': %s", conn->db->config.name,
        cp_pg_is_stopping(conn->db) ? "the child ends" : "the client has gone");
}
