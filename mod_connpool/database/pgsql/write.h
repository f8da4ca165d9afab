/* SPDX-License-Identifier: Apache-2.0
 * Transactions. */
#ifndef CP_PG_WRITE_H
#define CP_PG_WRITE_H

#include "database/pgsql/session/pgsql.h"

/** As the members of cp_database_driver_t say. BEGIN goes out with the first
 * statement. */
apr_status_t cp_pg_begin(cp_connection_t *conn, cp_clock_t deadline,
                         cp_error_t *err);
apr_status_t cp_pg_commit(cp_connection_t *conn, cp_error_t *err);
void cp_pg_rollback(cp_connection_t *conn);
apr_status_t cp_pg_nest(cp_connection_t *conn, cp_clock_t deadline,
                        cp_error_t *err);
apr_status_t cp_pg_unnest(cp_connection_t *conn, int is_kept, cp_error_t *err);

#endif
