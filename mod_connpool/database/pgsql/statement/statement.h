/* SPDX-License-Identifier: Apache-2.0
 * Statements: prepared once per connection under a name that can only mean
 * their own text, run with their values, read row by row. */
#ifndef CP_PG_STATEMENT_H
#define CP_PG_STATEMENT_H

#include "database/pgsql/session/pgsql.h"

/* As the members of cp_database_driver_t say. */
apr_status_t cp_pg_prepare(cp_connection_t *conn, const char *sql,
                           cp_statement_t **pst, cp_error_t *err);
apr_status_t cp_pg_step(cp_statement_t *st, cp_error_t *err);
int cp_pg_columns(cp_statement_t *st);
const char *cp_pg_column_name(cp_statement_t *st, int i);
void cp_pg_row(cp_statement_t *st, cp_value_t *values);
int cp_pg_is_writing(cp_statement_t *st);
void cp_pg_result(cp_statement_t *st, cp_result_t *result);
void cp_pg_finish(cp_statement_t *st);

/** Finish what is out. */
void cp_pg_finish_all(cp_connection_t *conn);

/** Forget all that is prepared; the server has forgotten it, or will. */
void cp_pg_forget_all(cp_connection_t *conn);

/** Bytes that its statements hold. */
apr_size_t cp_pg_weigh_statements(const cp_connection_t *conn);

#endif
