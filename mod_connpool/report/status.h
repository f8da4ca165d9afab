/* SPDX-License-Identifier: Apache-2.0
 * The lines of the report, gathered once per request and shown as a page, as
 * JSON and in server-status. */
#ifndef MOD_CONNPOOL_STATUS_H
#define MOD_CONNPOOL_STATUS_H

#include "glue.h"
#include "answers/encode.h"
#include "config/definitions.h"
#include "http/breaker.h"
#include "stats/stats.h"

/* The plain numbers of a pool, in the order in which they are shown. */
typedef enum connpool_pool_number_t {
    CONNPOOL_OPEN,
    CONNPOOL_BUSY,
    CONNPOOL_IDLE,
    CONNPOOL_WAITING,
    CONNPOOL_ACQUIRED,
    CONNPOOL_RELEASED,
    CONNPOOL_ABANDONED,
    CONNPOOL_TIMEOUTS,
    CONNPOOL_REJECTED,
    CONNPOOL_FALLBACKS,
    CONNPOOL_CREATED,
    CONNPOOL_CREATE_FAILURES,
    CONNPOOL_LEAKS,
    CONNPOOL_MEMORY,
    CONNPOOL_NUMBERS
} connpool_pool_number_t;

/* What is shown of a distribution, in microseconds. */
typedef struct connpool_spread_t {
    uint64_t count;
    uint64_t sum;
    uint64_t p50;
    uint64_t p90;
    uint64_t p99;
    uint64_t max;
} connpool_spread_t;

/* A connection that is held longer than leak=. */
typedef struct connpool_leak_line_t {
    const char *holder; /* what a client sent: escape it */
    uint64_t held_us;
    pid_t child;
} connpool_leak_line_t;

typedef struct connpool_pool_line_t {
    const char *name;
    const char *server; /* "host:port" of a virtual host, NULL: the main one */
    const char *kind;
    const char *state;
    int max;                        /* per child */
    const connpool_server_t *owner; /* where it is defined */
    int max_together; /* per child, of all of its kind and owner */
    int entry;        /* in the segment */
    uint64_t number[CONNPOOL_NUMBERS];
    uint64_t closed[CP_CLOSE_REASONS];
    connpool_spread_t acquire;
    connpool_spread_t hold;
    connpool_spread_t create;
    uint64_t oldest_wait_us;    /* 0: nobody waits */
    apr_array_header_t *leaks;  /* connpool_leak_line_t, of all children */
    const cp_pool_stats_t *sum; /* all of it */
} connpool_pool_line_t;

typedef struct connpool_query_line_t {
    const char *name;
    const char *server;
    uint64_t count;
    uint64_t errors;
    uint64_t rows;
    connpool_spread_t us;
    const cp_query_stats_t *sum;
} connpool_query_line_t;

typedef struct connpool_upstream_line_t {
    const char *name;
    const char *server;
    uint64_t count;
    uint64_t errors;
    uint64_t reused;
    uint64_t retries;
    connpool_spread_t us;
    cp_breaker_state_t breaker;
    const cp_upstream_stats_t *sum;
} connpool_upstream_line_t;

/* One living child. */
typedef struct connpool_child_line_t {
    pid_t pid;
    uint64_t rss_bytes;
    uint64_t rss_max_bytes;
    uint64_t memory_bytes; /* what ConnPoolMemory bounds */
    int64_t growth_bytes;  /* since a minute after its start; 0: too young */
    uint64_t descriptors;
} connpool_child_line_t;

typedef struct connpool_status_t {
    apr_pool_t *p;
    const connpool_server_t *viewer; /* the server that answers */
    int is_main;
    int children;
    apr_array_header_t *pools;     /* connpool_pool_line_t */
    apr_array_header_t *queries;   /* connpool_query_line_t */
    apr_array_header_t *upstreams; /* connpool_upstream_line_t */
    apr_array_header_t *processes; /* connpool_child_line_t */
    uint64_t memory_bound;         /* of each child */
    cp_loop_stats_t loop;
    cp_process_stats_t process;
    cp_batch_stats_t batch;
    connpool_spread_t request;
} connpool_status_t;

/** The numbers of all children. The main server sees everything, a virtual
 * host what it may use. Lives as long as the request. */
connpool_status_t *connpool_status_gather(request_rec *r);

connpool_spread_t connpool_spread_of(const cp_histogram_t *h);

/** How many of a database's connections in a child one kind of work can get:
 * all, less what is set aside for the writer. */
int connpool_status_usable(const connpool_database_t *db);

/** Whether a pool has no connection, and could not open one when it last tried.
 */
int connpool_status_is_down(const cp_pool_stats_t *sum);

/** The name of a pool's number in JSON. */
const char *connpool_pool_number_name(connpool_pool_number_t number);

/** The loop belongs to the process, whichever server asks. */
int connpool_status_loop_is_on(void);

/** What status and health ask first: method, access. *pargs is set when the
 * request may be answered; else the result is the handler's. */
int connpool_report_guard(request_rec *r, apr_table_t **pargs);

/** Send a report with the headers of a page that needs nothing from outside;
 * frees buf. r->status may be set before. */
int connpool_send_report(request_rec *r, const char *content_type,
                         cp_buffer_t *buf);

/* --- the page --- */

/** Seconds until the page is loaded again, unless ?refresh= says otherwise. */
#define CONNPOOL_STATUS_REFRESH 5

/** Its style sheet (style.c), a resource of its own:
 * ?asset=style.css. */
extern const char connpool_status_style[];

/** Its charts (chart.c). */
void connpool_status_write_charts(cp_buffer_t *buf, apr_pool_t *p);

/** Its last tables (process.c). */
void connpool_status_write_processes(cp_buffer_t *buf,
                                     const connpool_status_t *report);

/** How the caches of all children fare. */
void connpool_status_write_cache(cp_buffer_t *buf,
                                 const connpool_status_t *report);

/** refresh: seconds until the browser loads it again, 0: never. */
void connpool_status_write_page(cp_buffer_t *buf,
                                const connpool_status_t *report, int refresh);

/* --- JSON --- */

void connpool_status_write_json(cp_buffer_t *buf,
                                const connpool_status_t *report);

/* --- metrics --- */

/** The text format of Prometheus, or its successor OpenMetrics 1.0. */
void connpool_status_write_metrics(cp_buffer_t *buf,
                                   const connpool_status_t *report,
                                   int is_openmetrics);

#endif
