/* SPDX-License-Identifier: Apache-2.0
 * Types of parameters: what the server infers from the text, made to fit what
 * is declared. Neither alone does: of "SELECT :n" the server makes text, and
 * substr(name, :n) takes no bigint. */
#ifndef CP_PG_TYPES_H
#define CP_PG_TYPES_H

#include "database/pgsql/session/pgsql.h"

/** Have a new statement parsed, with the types that were found out before, or
 * else without any. That they cannot be inferred is no failure yet. */
apr_status_t cp_pg_parse_first(cp_statement_t *st, cp_error_t *err);

/** Before it runs, with all declared types known: prepare it with the best
 * ones, unless it is. */
apr_status_t cp_pg_settle_types(cp_statement_t *st, cp_error_t *err);

/** Is it ready to run with what is declared now? */
int cp_pg_fits_declared(const cp_statement_t *st);

/** With the database. */
void cp_pg_forget_types(cp_database_t *db);

#endif
