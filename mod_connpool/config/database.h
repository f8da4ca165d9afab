/* SPDX-License-Identifier: Apache-2.0
 * A database, as ConnPoolDatabase defines it. */
#ifndef CONNPOOL_DATABASE_H
#define CONNPOOL_DATABASE_H

#include "glue.h"
#include "database/sqlite/sqlite.h"
#include "pool/pool.h"

typedef struct connpool_database_t {
    const char *name;
    server_rec *server; /* where it was defined */
    const char *where;  /* "FILE:LINE" */
    cp_sqlite_config_t sqlite;
    cp_pool_config_t pool;       /* max: readers and writer together */
    apr_interval_time_t timeout; /* of a query */
    int coalesces;               /* equal fetches at one time share one */
    int overflow_direct;
    int entry;                    /* in the segment */
    struct connpool_lock_t *lock; /* shared by all with this file */
    struct connpool_db_child_t *child;
} connpool_database_t;

#endif
