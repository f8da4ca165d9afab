/* SPDX-License-Identifier: Apache-2.0 */
#include "database/pgsql/inspect.h"

#include "base/bytes/buffer.h"
#include "base/error.h"
#include "database/finding.h"
#include "database/pgsql/connection.h"
#include "database/pgsql/session/pgsql.h"
#include "database/pgsql/session/wait.h"
#include "database/pgsql/statement/statement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LARGE 10000 /* rows that are many to be read each time */

/* Of the server as a whole, a row each. */
static const struct {
    const char *name, *sql;
} questions[] = {
    {"server", "SELECT pg_catalog.split_part(pg_catalog.version(), ' on ', 1)"},
    {"role", "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN "
             "'a standby, which is only read' ELSE 'a primary' END"},
    {"user", "SELECT current_user || CASE WHEN (SELECT rolsuper FROM "
             "pg_catalog.pg_roles WHERE rolname = current_user) "
             "THEN ', a superuser' ELSE '' END"},
    {"connections", "SELECT pg_catalog.current_setting('max_connections') "
                    "|| ' at the most, of all its clients'"},
};

static void tell_server(cp_connection_t *conn, const cp_findings_t *to)
{
    for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++) {
        PGresult *result;
        cp_error_t err;

        if (cp_pg_ask(conn, questions[i].sql, NULL, 0, &result, &err)
            != APR_SUCCESS) {
            cp_finding_add(to, CP_SEVERITY_WARNING, questions[i].name, "%s",
                           err.detail);
            return;
        }
        if (PQntuples(result) > 0) {
            cp_finding_add(to, CP_SEVERITY_INFO, questions[i].name, "%s",
                           PQgetvalue(result, 0, 0));
        }
        PQclear(result);
    }
}

void cp_pg_inspect(cp_database_t *db, cp_clock_t deadline,
                   const cp_findings_t *to, cp_connection_t **pconn)
{
    const cp_driver_t *driver = db->config.is_readonly ? &cp_pg_reader
                                                       : &cp_pg_writer;
    cp_error_t err;
    void *conn = NULL;

    *pconn = NULL;
    cp_finding_add(to, CP_SEVERITY_INFO, "address", "%s", db->config.shown);
    if (driver->open(db, deadline, &conn, &err) != APR_SUCCESS) {
        cp_finding_add(to, CP_SEVERITY_ERROR, "open", "%s: %s", err.cause,
                       err.detail);
        return;
    }
    *pconn = conn;
    (*pconn)->limit = (cp_limit_t){.deadline = deadline};
    tell_server(conn, to);
}

/* --- plans --- */

/* "Seq Scan on item", and of what size item is. */
static void warn_of_scan(cp_connection_t *conn, const char *line,
                         const cp_findings_t *to)
{
    const char *at = strstr(line, "Seq Scan on ");
    char table[64];
    const char *values[] = {table};
    PGresult *result;
    cp_error_t ignored;

    if (!at || sscanf(at, "Seq Scan on %63[^ ]", table) != 1
        || cp_pg_ask(conn,
                     "SELECT coalesce(max(reltuples), 0)::bigint "
                     "FROM pg_catalog.pg_class WHERE relname = $1",
                     values, 1, &result, &ignored)
               != APR_SUCCESS) {
        return;
    }
    if (atoll(PQgetvalue(result, 0, 0)) >= LARGE) {
        cp_finding_add(to, CP_SEVERITY_WARNING, "scan",
                       "all %s rows of %s are read each time: is there an "
                       "index for it?",
                       PQgetvalue(result, 0, 0), table);
    }
    PQclear(result);
}

/* For whatever values come, as the server would run it in the long run. */
static void tell_plan(cp_connection_t *conn, const cp_statement_t *st,
                      const cp_findings_t *to)
{
    cp_buffer_t command = {0};
    PGresult *result = NULL;
    cp_error_t err;

    cp_buffer_append(&command, "EXPLAIN (COSTS OFF) EXECUTE ", 28);
    cp_buffer_append(&command, st->name, strlen(st->name));
    for (int i = 0; i < st->param_count; i++) {
        cp_buffer_append(&command, i ? ", NULL" : "(NULL", i ? 6 : 5);
    }
    cp_buffer_append(&command, ")", st->param_count > 0 ? 1 : 0);
    cp_buffer_append(&command, "", 1);
    if (cp_pg_command(conn, "SET plan_cache_mode = force_generic_plan", &err)
            != APR_SUCCESS
        || cp_pg_ask(conn, command.data, NULL, 0, &result, &err)
               != APR_SUCCESS) {
        cp_finding_add(to, CP_SEVERITY_WARNING, "plan", "%s", err.detail);
    }
    for (int i = 0; i < PQntuples(result); i++) {
        cp_finding_add(to, CP_SEVERITY_INFO, "plan", "%s",
                       PQgetvalue(result, i, 0));
        warn_of_scan(conn, PQgetvalue(result, i, 0), to);
    }
    PQclear(result);
    cp_buffer_free(&command);
}

void cp_pg_explain(cp_connection_t *conn, const char *sql,
                   const cp_findings_t *to)
{
    cp_statement_t *st;
    cp_error_t err;

    if (cp_pg_prepare(conn, sql, &st, &err) != APR_SUCCESS) {
        cp_finding_add(to, CP_SEVERITY_ERROR, "prepare", "%s: %s", err.cause,
                       err.detail);
        return;
    }
    cp_pg_finish(st);
    if (!st->is_prepared) {
        cp_finding_add(to, CP_SEVERITY_INFO, "plan",
                       "not told: the types of its parameters are known when "
                       "it runs");
    }
    else if (conn->db->config.pooler == CP_PG_POOLER_NONE) {
        tell_plan(conn, st, to);
    }
}
