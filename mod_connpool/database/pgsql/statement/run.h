/* SPDX-License-Identifier: Apache-2.0
 * One execution of a statement: sent, with what must go before or behind it,
 * and its results, one by one. */
#ifndef CP_PG_RUN_H
#define CP_PG_RUN_H

#include "database/pgsql/session/pgsql.h"

/** Have the server parse it, with its types, under its name, and tell which
 * types it inferred for those that are 0. */
apr_status_t cp_pg_parse(cp_statement_t *st, unsigned *pflags, cp_error_t *err);

/** Send it. */
apr_status_t cp_pg_start(cp_statement_t *st, cp_error_t *err);

/** Send it behind others, in pipeline mode, with its mark: 0 when the
 * connection is lost. */
int cp_pg_send_ahead(cp_statement_t *st);

/** It was sent so, and those before it are read. */
void cp_pg_expect(cp_statement_t *st);

/** The next row, APR_EOF, or the failure: nothing is to be read any more
 * then. */
apr_status_t cp_pg_read(cp_statement_t *st, unsigned *pflags, cp_error_t *err);

/** Nobody wants the rest. What does not come at once costs the connection. */
void cp_pg_drop_rest(cp_statement_t *st);

#endif
