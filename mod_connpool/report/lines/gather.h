/* SPDX-License-Identifier: Apache-2.0
 * The lines of the report, gathered once per request and shown as a page, as
 * JSON, to monitoring systems and in server-status. */
#ifndef CONNPOOL_GATHER_H
#define CONNPOOL_GATHER_H

#include "glue.h"
#include "base/gauge.h"
#include "config/database.h"
#include "config/setting.h"
#include "http/upstream/breaker.h"
#include "stats/state/standing.h"
#include "stats/state/state.h"
#include "stats/stats.h"

/* Who holds a connection. */
typedef struct connpool_holder_line_t {
    const char *holder;  /* what a client sent: escape it; so of the next */
    const char *request; /* "GET /path", or "" */
    int is_leak;         /* for longer than leak= */
    uint64_t held_us;
    pid_t child;
} connpool_holder_line_t;

/* How one subject is, since when (time of day), and its last error. */
typedef struct connpool_verdict_t {
    cp_state_t state;
    apr_time_t since;
    cp_error_class_t error; /* CP_ERR_NONE: there was none */
    apr_time_t error_at;    /* time of day */
} connpool_verdict_t;

typedef struct connpool_pool_line_t {
    const char *name;
    const char *server; /* "host:port" of a virtual host, NULL: the main one */
    const connpool_database_t *database;        /* NULL: an upstream's */
    const struct connpool_upstream_t *upstream; /* NULL: a database's */
    const char *kind;
    int is_pooled; /* pooling is not switched off */
    connpool_verdict_t verdict;
    int max;                        /* per child */
    const connpool_server_t *owner; /* where it is defined */
    int max_together;        /* per child, of all of its kind and owner */
    uint64_t reachable;      /* can be busy at once, in all children */
    uint64_t tight_busy;     /* of that part of it, or of the limit that it */
    uint64_t tight_limit;    /* shares, of which least is left */
    int entry;               /* in the segment */
    uint64_t oldest_wait_us; /* 0: nobody waits */
    /* connpool_holder_line_t, of all children, those who hold longest first;
     * not all of them, but all that are leaks, as far as they are listed. */
    apr_array_header_t *holders;
    const cp_pool_stats_t *sum;
} connpool_pool_line_t;

typedef struct connpool_query_line_t {
    const char *name;
    const char *server;
    const char *database;
    const struct connpool_query_t *query;
    int entry;
    int is_collected; /* its answers may be kept or shared */
    connpool_verdict_t verdict;
    const cp_query_stats_t *sum;
} connpool_query_line_t;

typedef struct connpool_upstream_line_t {
    const char *name;
    const char *server;
    cp_breaker_state_t breaker; /* of several URLs the best one's */
    int is_socket;              /* not over TCP */
    int entry;
    connpool_verdict_t verdict;
    const cp_upstream_stats_t *sum;
} connpool_upstream_line_t;

/* One line for all that has a state, in the order of the report. */
typedef struct connpool_state_line_t {
    cp_subject_t subject;
    int entry; /* in the segment; 0 for what there is one of */
    const char *name;
    const char *server;
    const connpool_verdict_t *verdict;
} connpool_state_line_t;

/* One living child. */
typedef struct connpool_child_line_t {
    pid_t pid;
    int64_t growth_bytes; /* since a minute after its start; 0: too young */
    const cp_process_stats_t *sum;
} connpool_child_line_t;

typedef struct connpool_status_t {
    apr_pool_t *p;
    const connpool_server_t *viewer; /* the server that answers */
    int is_main;
    int is_glance; /* lines have no distributions */
    int children;
    apr_array_header_t *gauges;    /* const cp_gauge_t, of all drivers */
    apr_array_header_t *pools;     /* connpool_pool_line_t */
    apr_array_header_t *queries;   /* connpool_query_line_t */
    apr_array_header_t *upstreams; /* connpool_upstream_line_t */
    apr_array_header_t *processes; /* connpool_child_line_t */
    uint64_t memory_bound;         /* of each child */
    cp_loop_stats_t loop;
    cp_process_stats_t process;
    cp_batch_stats_t batch;

    /* What connpool_status_judge has found. */
    cp_level_t level; /* the worst of all */
    connpool_verdict_t loop_verdict, memory_verdict, cache_verdict;
    apr_array_header_t *states; /* connpool_state_line_t, of all subjects */
    apr_array_header_t *causes; /* likewise: those that are not ok, worst first
                                 */
} connpool_status_t;

/* for (each line of one of these arrays, as a pointer) */
#define EACH_LINE(list, type, line)                                            \
    for (const type *line = (const type *)(const void *)(list)->elts,          \
                    *line##_end = line + (list)->nelts;                        \
         line < line##_end; line++)

/** The numbers of all children, before anything is judged. The main server sees
 * everything, a virtual host what it may use. Lives in p. is_glance: without
 * the distributions of each line, for who looks every second. */
connpool_status_t *connpool_status_collect(apr_pool_t *p, server_rec *viewer,
                                           int is_glance);

/** The word for a pool's state: the level's, or "off" when it is well and does
 * not pool. */
const char *connpool_status_word(const connpool_pool_line_t *line);

/** What a pool has of a gauge of report->gauges: 0 when its driver has none. */
uint64_t connpool_status_gauge(const connpool_pool_line_t *line,
                               const cp_gauge_t *gauge);

/** Requests that came to our handlers, whatever became of them. */
uint64_t connpool_status_requests(const connpool_status_t *report);

/** The loop belongs to the process, whichever server asks. */
int connpool_status_loop_is_on(void);

#endif
