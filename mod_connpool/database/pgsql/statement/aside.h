/* SPDX-License-Identifier: Apache-2.0
 * Rows that are read before anybody asks for them, for another statement wants
 * the connection. */
#ifndef CP_PG_ASIDE_H
#define CP_PG_ASIDE_H

#include "database/pgsql/session/pgsql.h"

/** Something is to be sent for `st` (NULL: not for a statement): what another
 * one has still to read is kept in memory, up to a bound. */
apr_status_t cp_pg_clear_way(cp_connection_t *conn, const cp_statement_t *st,
                             cp_error_t *err);

/** The next of the rows that were kept, or what came behind the last one, as
 * cp_pg_read says. APR_EAGAIN: the rest is on the connection. */
apr_status_t cp_pg_take_aside(cp_statement_t *st, cp_error_t *err);

void cp_pg_free_aside(cp_statement_t *st);

#endif
