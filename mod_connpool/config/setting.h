/* SPDX-License-Identifier: Apache-2.0
 * What servers and places are set to, and what is defined in a server. */
#ifndef CONNPOOL_SETTING_H
#define CONNPOOL_SETTING_H

#include "glue.h"
#include "pool/rate/rate.h"

#include <apr_hash.h>

typedef enum connpool_report_t {
    CONNPOOL_REPORT_OFF,
    CONNPOOL_REPORT_ON,
    CONNPOOL_REPORT_FULL,
} connpool_report_t;

typedef struct connpool_server_t {
    server_rec *server;

    /* Numbers and flags, CP_UNSET until completed. */
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

    /* Defined in this very server, in order. Definitions are made while the
     * configuration is read, completed and checked in check_config, and
     * inherited by virtual hosts by pointer. In the child they get their
     * run-time half (`child`), set once in child_init, before any request and
     * any thread. */
    apr_array_header_t *databases;    /* connpool_database_t * */
    apr_array_header_t *upstreams;    /* connpool_upstream_t * */
    apr_array_header_t *queries;      /* connpool_query_t * */
    apr_array_header_t *descriptions; /* openapi/; NULL: none */

    /* Visible here: own ones and those of the main server. By name. */
    apr_hash_t *all_databases;
    apr_hash_t *all_upstreams;
    apr_hash_t *all_queries;

    /* In the child: the total limit of this server's upstreams. */
    struct cp_gate_t *http_gate;
} connpool_server_t;

connpool_server_t *connpool_server(server_rec *s);

/** The tables of what a server (connpool_server_t) and a place (connpool_dir_t)
 * are set to. */
const struct cp_option_t *connpool_server_settings(void);
const struct cp_option_t *connpool_place_settings(void);

typedef enum connpool_kind_t {
    CONNPOOL_DATABASE,
    CONNPOOL_UPSTREAM,
    CONNPOOL_QUERY,
} connpool_kind_t;

/** Enter a definition under its name, which must be new in this server.
 * @return NULL, or the complaint */
const char *connpool_define(cmd_parms *cmd, connpool_kind_t kind,
                            const char *name, void *definition);

/** How much one request may ask of connpool-batch. */
typedef struct connpool_batch_limits_t {
    int max;          /* items */
    int parallel;     /* fetches at once */
    int is_atomic;    /* the writes of a database are one transaction */
    apr_int64_t body; /* bytes of the request's */
} connpool_batch_limits_t;

/** How often a client may come to a place; places that inherit it share it. */
typedef struct connpool_rate_t {
    cp_rate_limit_t limit; /* count 0: as often as it likes */
    const char *text;      /* as it was written */
    const char *where;     /* "FILE:LINE" */
} connpool_rate_t;

/** Kinds of sections, in the order in which httpd applies them. */
typedef enum connpool_place_kind_t {
    CONNPOOL_PLACE_SERVER,    /* none */
    CONNPOOL_PLACE_DIRECTORY, /* <Directory>, also by a pattern */
    CONNPOOL_PLACE_FILES,     /* <Files>, likewise */
    CONNPOOL_PLACE_LOCATION,
    CONNPOOL_PLACE_PATTERN, /* <LocationMatch>, or <Location> with * or ~ */
} connpool_place_kind_t;

typedef struct connpool_place_t {
    connpool_place_kind_t kind;
    const char *path; /* of a location or a directory without a pattern */
    const ap_regex_t *regex; /* of a location that has one; else NULL */
} connpool_place_t;

typedef struct connpool_dir_t {
    apr_array_header_t *serve; /* const char *, NULL: not set */
    connpool_place_t served;   /* where that was said */
    int is_ours;   /* CP_UNSET, or whether SetHandler names a handler of ours */
    int is_walked; /* walk=: CP_UNSET, or whether files are looked for */
    connpool_place_t handled; /* where SetHandler was said */
    int has_require;          /* merged by "or"; see connpool_cmd_require */
    connpool_batch_limits_t batch; /* CP_UNSET: see connpool_batch_limits */
    const connpool_rate_t *rate;   /* NULL: not set */
    struct connpool_origins_t *origins; /* NULL: not set */
    apr_array_header_t *proxies; /* apr_ipsubnet_t *, trusted; NULL: not set */
} connpool_dir_t;

connpool_dir_t *connpool_dir(request_rec *r);

/** The section that a directive stands in; <If> and the like belong to the one
 * around them. */
connpool_place_t connpool_place_of(cmd_parms *cmd);

/** A name that a place serves: checked when all definitions are known. */
typedef struct connpool_serving_t {
    server_rec *server;
    const connpool_dir_t *dir;
    const char *where;
    const char *name;
    const char *handler; /**< set in the same section; NULL: elsewhere */
    const ap_directive_t *section;
    connpool_place_t place;
} connpool_serving_t;

/** All of them (connpool_serving_t). */
const apr_array_header_t *connpool_servings(void);

/** Is there a ConnPoolRateLimit or a rate= anywhere? */
int connpool_wants_rates(void);

/** ConnPoolBatch... as they hold for this request. */
connpool_batch_limits_t connpool_batch_limits(request_rec *r);

/** The one name that ConnPoolServe gives here, or NULL. */
const char *connpool_served_name(request_rec *r);

#endif
