/* SPDX-License-Identifier: Apache-2.0
 * Opening a connection to one of the servers of a database: each gets its share
 * of the time, whatever it does. */
#ifndef CP_PG_CONNECT_H
#define CP_PG_CONNECT_H

#include "database/pgsql/session/pgsql.h"

/** A connection that is ready for use. After a failure nothing is tried for a
 * while: who comes then fails at once. */
apr_status_t cp_pg_connect(cp_database_t *db, int is_writer,
                           cp_clock_t deadline, PGconn **ppg, cp_error_t *err);

/** For PQsetNoticeReceiver, with the database: into the log. */
void cp_pg_on_notice(void *db, const PGresult *result);

#endif
