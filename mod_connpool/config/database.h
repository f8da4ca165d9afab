/* SPDX-License-Identifier: Apache-2.0
 * A database, as ConnPoolDatabase defines it. */
#ifndef CONNPOOL_DATABASE_H
#define CONNPOOL_DATABASE_H

#include "glue.h"
#include "database/database.h"
#include "pool/pool.h"

typedef struct connpool_database_t {
    const char *name;
    server_rec *server; /* where it was defined */
    const char *where;  /* "FILE:LINE" */
    const cp_database_driver_t *driver;
    void *config;                /* the driver's, of driver->config_size */
    cp_database_facts_t facts;   /* what it says of it */
    cp_pool_config_t pool;       /* max: readers and writer together */
    apr_interval_time_t timeout; /* of a query */
    int coalesces;               /* equal fetches at one time share one */
    int overflow_direct;
    int entry;                         /* in the segment */
    struct connpool_lock_t *lock;      /* shared by all that are the same one */
    struct cp_permits_t *permits;      /* of server-max=; NULL: none */
    struct connpool_db_child_t *child; /* NULL: it could not be set up */
} connpool_database_t;

/** All drivers that are loaded: const cp_database_driver_t *, by scheme. */
apr_array_header_t *connpool_drivers(apr_pool_t *p);

/** The table of its keys; those of its driver are the driver's. */
const struct cp_option_t *connpool_database_keys(void);

/** The one of this name that a directive may refer to, or NULL: own ones, or
 * the main server's, as far as the configuration is read. */
connpool_database_t *connpool_find_database(cmd_parms *cmd, const char *name);

#endif
