/* SPDX-License-Identifier: Apache-2.0
 * Waiting for the server, never for longer than the connection's limit, and
 * with a look at what goes on meanwhile. */
#ifndef CP_PG_WAIT_H
#define CP_PG_WAIT_H

#include "database/pgsql/session/pgsql.h"

/** Until the socket is ready for what is asked (of poll), or for a moment.
 * @return APR_SUCCESS, APR_TIMEUP, or APR_EINTR: nobody waits for it */
apr_status_t cp_pg_wait(cp_connection_t *conn, short events);

/** Has the deadline passed?
 * @return as cp_pg_wait */
apr_status_t cp_pg_is_over(cp_connection_t *conn);

/** The next result of what was sent; NULL in *presult: there are no more. */
apr_status_t cp_pg_next_result(cp_connection_t *conn, PGresult **presult,
                               cp_error_t *err);

/** Send a command without parameters, and read its results to their end.
 * @return its failure, if it has one */
apr_status_t cp_pg_command(cp_connection_t *conn, const char *sql,
                           cp_error_t *err);

/** Ask for rows, with parameters as text.
 * *presult is the caller's to PQclear, when it returns APR_SUCCESS. */
apr_status_t cp_pg_ask(cp_connection_t *conn, const char *sql,
                       const char *const *values, int count, PGresult **presult,
                       cp_error_t *err);

/** Read to the end what was sent, up to the first failure, which goes into err.
 * What the server says to a write is the tag: "INSERT 0 1". */
apr_status_t cp_pg_read_to_end(cp_connection_t *conn, char *tag, size_t size,
                               cp_error_t *err);

#endif
