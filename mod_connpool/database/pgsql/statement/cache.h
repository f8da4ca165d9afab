/* SPDX-License-Identifier: Apache-2.0
 * The statements that a connection keeps. */
#ifndef CP_PG_CACHE_H
#define CP_PG_CACHE_H

#include "database/pgsql/session/pgsql.h"

/** The one of this text that nobody has, or NULL. */
cp_statement_t *cp_pg_cache_find(cp_connection_t *conn, const char *sql,
                                 size_t size);

/** A new one in a free place, or that of the least recently used, which is
 * freed; its text is rewritten. Not prepared yet. */
apr_status_t cp_pg_cache_add(cp_connection_t *conn, const char *sql,
                             size_t size, cp_statement_t **pst,
                             cp_error_t *err);

/** Free what the place holds; at the server it stays. */
void cp_pg_cache_free(cp_statement_t *st);

/** Its name, for its text and the types that it is prepared with. */
void cp_pg_name_statement(cp_statement_t *st);

/** Have the server forget it. Fails a transaction when it has not got it. */
void cp_pg_deallocate(cp_connection_t *conn, const char *name);

#endif
