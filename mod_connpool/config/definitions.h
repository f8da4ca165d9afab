/* SPDX-License-Identifier: Apache-2.0
 * What the administrator defined: databases, upstreams, queries, and the
 * settings of servers and directories. */
#ifndef CONNPOOL_DEFINITIONS_H
#define CONNPOOL_DEFINITIONS_H

#include "glue.h"
#include "answers/encode.h"
#include "base/error.h"
#include "base/log.h"
#include "database/sqlite/scan.h"
#include "database/sqlite/sqlite.h"
#include "database/value.h"
#include "http/http.h"
#include "pool/gate.h"
#include "pool/pool.h"

#include <apr_hash.h>

/* Definitions are made while the configuration is read, completed and checked
 * in check_config, and inherited by virtual hosts by pointer. In the child they
 * get their run-time half (`child`), set once in child_init, before any request
 * and any thread. CONNPOOL_UNSET in a number means that nobody wrote it. */

#define CONNPOOL_UNSET (-1)

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

typedef struct connpool_upstream_t {
    const char *name;
    server_rec *server;
    const char *where;
    const char *origin; /* scheme://host:port */
    cp_upstream_config_t http;
    cp_pool_config_t pool;
    int perhost;
    int coalesces; /* equal fetches at one time share one */
    int breaker;   /* failures in a row that open it, 0: never */
    int overflow_direct;
    cp_log_limit_t complaints[CP_ERR_CLASSES]; /* of this child */
    apr_array_header_t *headers; /* const char *: request headers to forward */
    int pool_entry;
    int entry;
    struct connpool_up_child_t *child;
} connpool_upstream_t;

typedef struct connpool_param_t {
    cp_param_spec_t spec;
    ap_regex_t *match; /* NULL: none */
} connpool_param_t;

/** Of a query that does not say max-rows= or max-bytes=. */
#define CONNPOOL_MAX_ROWS  1000
#define CONNPOOL_MAX_BYTES (8 * 1024 * 1024)

/** How answers of a query are kept and shared. */
typedef struct connpool_caching_t {
    apr_interval_time_t ttl; /* 0: none */
    int is_by_data;          /* ttl=data: until the database changes */
    apr_interval_time_t stale;
    apr_interval_time_t stale_if_error;
    int is_shared; /* requests that carry credentials get the same answers */
    int coalesces;
    cp_buffer_t key; /* what all its keys begin with; set in the child */
} connpool_caching_t;

typedef struct connpool_query_t {
    const char *name;
    server_rec *server;
    const char *where;
    const char *database_name;
    connpool_database_t *database; /* resolved in check_config */
    const char *sql;
    cp_sql_shape_t shape;
    int is_write;
    apr_int64_t methods; /* AP_METHOD_BIT << M_x, or'ed */
    int max_rows;
    apr_int64_t max_bytes;
    apr_interval_time_t timeout; /* UNSET: the database's */
    cp_format_t format;
    cp_log_limit_t complaints[CP_ERR_CLASSES]; /* of this child */
    cp_log_limit_t slow_log;                   /* likewise */
    apr_array_header_t *params;                /* connpool_param_t * */
    connpool_caching_t caching;
    int entry;
} connpool_query_t;

typedef enum connpool_report_t {
    CONNPOOL_REPORT_OFF,
    CONNPOOL_REPORT_ON,
    CONNPOOL_REPORT_FULL,
} connpool_report_t;

typedef struct connpool_server_t {
    server_rec *server;

    /* Numbers and flags, CONNPOOL_UNSET until completed. */
    int engine;
    int http_pool;
    int db_pool;
    int event_loop; /* main server only */
    int http_max;
    int http_per_host;
    apr_interval_time_t http_connect;
    apr_interval_time_t http_read;
    apr_interval_time_t http_keepalive;
    int http_cleanup;
    int db_max;
    int server_status;
    apr_int64_t memory;       /* of the whole child */
    apr_int64_t cache_local;  /* main server only */
    const char *cache;        /* main server only; NULL: the default */
    apr_interval_time_t slow; /* 0: nothing is slow */
    int server_timing;

    /* Defined in this very server, in order. */
    apr_array_header_t *databases; /* connpool_database_t * */
    apr_array_header_t *upstreams; /* connpool_upstream_t * */
    apr_array_header_t *queries;   /* connpool_query_t * */

    /* Visible here: own ones and those of the main server. By name. */
    apr_hash_t *all_databases;
    apr_hash_t *all_upstreams;
    apr_hash_t *all_queries;

    cp_gate_t
        *http_gate; /* child: the total limit of this server's upstreams */
} connpool_server_t;

/** How much one request may ask of connpool-batch. */
typedef struct connpool_batch_limits_t {
    int max;          /* items */
    int parallel;     /* fetches at once */
    apr_int64_t body; /* bytes of the request's */
} connpool_batch_limits_t;

typedef struct connpool_dir_t {
    apr_array_header_t *serve; /* const char *, NULL: not set */
    const char *location;      /* path of the <Location> that serves, or NULL */
    int has_require;           /* merged by "or"; see connpool_status_require */
    connpool_batch_limits_t batch; /* UNSET: see connpool_batch_limits */
} connpool_dir_t;

connpool_server_t *connpool_server(server_rec *s);
connpool_dir_t *connpool_dir(request_rec *r);

/** ConnPoolBatch... as they hold for this request. */
connpool_batch_limits_t connpool_batch_limits(request_rec *r);

/** The one name that ConnPoolServe gives here, or NULL. */
const char *connpool_served_name(request_rec *r);

/** With ttl=. */
int connpool_query_is_cached(const connpool_query_t *query);
/** With ttl= or coalesce=on: never streams. */
int connpool_query_is_collected(const connpool_query_t *query);

/** The place of a declared parameter, or -1. */
int connpool_find_param(const connpool_query_t *query, const char *name);

/** A declared parameter's value from text: NULL or the reason against it. */
const char *connpool_param_parse(apr_pool_t *p, const connpool_param_t *param,
                                 const char *data, apr_size_t size,
                                 cp_value_t *value);

#endif
