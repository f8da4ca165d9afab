/* SPDX-License-Identifier: Apache-2.0
 * From what the server, or libpq, says to classes, causes, and lines for the
 * log. */
#ifndef CP_PG_ERROR_H
#define CP_PG_ERROR_H

#include "database/pgsql/session/pgsql.h"

/** A result that is a failure. Marks the connection broken when it is; says in
 * *pflags (may be NULL) which CP_PG_ bits the outcome has.
 * @return what cp_error_set returns */
apr_status_t cp_pg_fail(cp_connection_t *conn, const PGresult *result,
                        unsigned *pflags, cp_error_t *err);

/** The connection is lost, or libpq has no memory. */
apr_status_t cp_pg_fail_lost(cp_connection_t *conn, const char *doing,
                             cp_error_t *err);

/** A wait ended with rv: the deadline, the child's end, or nobody waits for the
 * answer. What runs goes on at the server until the connection is closed. */
apr_status_t cp_pg_fail_wait(cp_connection_t *conn, apr_status_t rv,
                             cp_error_t *err);

#endif
