/* SPDX-License-Identifier: Apache-2.0
 * What ConnPoolDatabase says of a PostgreSQL database: what stands in its
 * address, and the keys that are this driver's, beside the struct that they
 * fill. */
#ifndef CP_PG_KEYS_H
#define CP_PG_KEYS_H

#include "base/option.h"

#include <apr_general.h>
#include <apr_time.h>

/** One of the servers of an address. */
typedef struct cp_pg_host_t {
    const char *host;     /**< a name, an address, a socket's directory */
    const char *hostaddr; /**< NULL: host is looked up */
    const char *port;
} cp_pg_host_t;

enum {
    CP_PG_READ_PRIMARY,
    CP_PG_READ_STANDBY,
};

enum {
    CP_PG_POOLER_NONE,
    CP_PG_POOLER_TRANSACTION,
};

/** What a server must be, in libpq's words. */
typedef enum cp_pg_role_t {
    CP_PG_ANY,
    CP_PG_PRIMARY,
    CP_PG_STANDBY,
    CP_PG_PREFER_STANDBY,
} cp_pg_role_t;

typedef struct cp_pg_config_t {
    const char *name;
    cp_pg_host_t *hosts;
    int host_count;
    /** For PQconnectStartParams, but for what differs from host to host; room
     * is left at the end. */
    const char **keywords, **values;
    int keyword_count;
    const char *shown;    /**< "host:port,host:port/dbname as user" */
    const char *user;     /**< NULL: who the process is */
    const char *dbname;   /**< NULL: as the user */
    const char *options;  /**< of the address, for the server */
    const char *sslmode;  /**< NULL: not written */
    const char *rootcert; /**< likewise */
    int role;             /**< cp_pg_role_t, or CP_UNSET */

    apr_interval_time_t connect; /**< all servers together */
    int is_readonly;
    int read;
    int pooler;
    int writers;    /**< with read=standby */
    const char *ca; /**< a file */
} cp_pg_config_t;

/* The driver's; nobody else looks at it. */
static const char *const cp_pg_read_names[] = {"primary", "standby", NULL};
static const char *const cp_pg_pooler_names[] = {"none", "transaction", NULL};

#define CP_PG_FIELD(name) APR_OFFSETOF(cp_pg_config_t, name)

static const cp_option_t cp_pg_keys[] = {
    {CP_DURATION("connect", CP_PG_FIELD(connect), 2 * CP_SECOND,
                 10 * CP_MILLISECOND, CP_HOUR)},
    {CP_FLAG("readonly", CP_PG_FIELD(is_readonly), 0)},
    {CP_CHOICE("read", CP_PG_FIELD(read), 0, cp_pg_read_names)},
    {CP_CHOICE("pooler", CP_PG_FIELD(pooler), 0, cp_pg_pooler_names)},
    {CP_INT("writers", CP_PG_FIELD(writers), 0, 0, 1000)},
    {CP_FILE("ca", CP_PG_FIELD(ca))},
    {.key = NULL},
};

#undef CP_PG_FIELD

#endif
