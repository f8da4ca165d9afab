/* SPDX-License-Identifier: Apache-2.0
 * Versions of a database: a connection of its own, one per child, that only
 * asks which transactions are visible.
 *
 * Two equal snapshots of one connection say that nothing became visible in
 * between: what commits leaves the list of those that run, or raises its end.
 * A connection that is new is a new epoch, for after a crash the numbers may
 * begin lower than they ended. */
#ifndef CP_PG_SENTINEL_H
#define CP_PG_SENTINEL_H

#include "database/pgsql/session/pgsql.h"

typedef struct cp_pg_sentinel_t cp_pg_sentinel_t;

/** Closed with p. Opens nothing yet. */
apr_status_t cp_pg_sentinel_create(cp_pg_sentinel_t **psentinel,
                                   cp_database_t *db, apr_pool_t *p);

/** See `version` and `is_current` of the driver. */
apr_status_t cp_pg_version(cp_database_t *db, cp_clock_t deadline,
                           cp_version_t *version, cp_error_t *err);
int cp_pg_is_current(cp_connection_t *conn);

/** Close it when it was not asked for so long. Skipped while it is in use. */
void cp_pg_sentinel_rest(cp_pg_sentinel_t *sentinel, apr_interval_time_t idle);

#endif
