/* SPDX-License-Identifier: Apache-2.0
 * This process: its pools and gates, and walks over what is defined. */
#ifndef CONNPOOL_CHILD_H
#define CONNPOOL_CHILD_H

#include "glue.h"
#include "base/clock.h"

#include <apr_global_mutex.h>

struct connpool_base_t;
struct connpool_database_t;
struct connpool_query_t;
struct connpool_upstream_t;
struct cp_breaker_t;
struct cp_cache_stats_t;
struct cp_database_driver_t;
struct cp_database_t;
struct cp_loop_t;
struct cp_pool_t;
struct cp_query_stats_t;
struct cp_segment_t;
struct cp_upstream_stats_t;
struct cp_upstream_t;

/** A write lock of a database, kept over restarts in the process's pool. */
typedef struct connpool_lock_t {
    const char *identity;
    apr_global_mutex_t *mutex;
} connpool_lock_t;

/** How many of max= make a pool of their own, for writes; 0: there is none. */
int connpool_has_writer_apart(const struct connpool_database_t *db);

/** One form of a database's pools; NULL where no server needs it. */
typedef struct connpool_db_pools_t {
    struct cp_pool_t *readers;
    struct cp_pool_t
        *writer; /* equal to readers when not split; NULL if readonly */
} connpool_db_pools_t;

/** A virtual host may have its pooling switched off. */
typedef struct connpool_db_child_t {
    struct cp_database_t *database;
    connpool_db_pools_t pooled;
    connpool_db_pools_t direct;
    struct cp_share_t *share; /* of db->permits; NULL: no limit */
    struct cp_group_t *group; /* of the pooled writer; NULL: each write is a
                                 transaction of its own */
    int is_verified; /* maintenance only: its queries have been prepared */
} connpool_db_child_t;

/** Index [is_pooled], likewise. */
typedef struct connpool_up_child_t {
    struct cp_upstream_t *upstream;
    struct cp_breaker_t *breaker;
    struct cp_pool_t *pool[2];
} connpool_up_child_t;

/** The state of this process. All fields are set in child_init (segment and
 * main_server in post_config) and constant afterwards, but the atomic ones and
 * is_cut; what somebody forks from it begins anew (fork.h). */
typedef struct connpool_child_t {
    server_rec *main_server;
    struct cp_segment_t *segment; /* NULL before post_config */
    struct cp_rate_t *rates;      /* of all children; NULL: nobody is limited */
    int slot;                     /* ours in the segment */
    struct cp_loop_t *loop; /* NULL: fetches run in the request's thread */
    int is_started;
    int is_stopping;       /* atomic: the child ends at once */
    cp_clock_t grace_end;  /* atomic: of a graceful stop, 0: none */
    uint64_t buffer_bytes; /* atomic: of answers that are being collected */
    pid_t pid; /* of whom the pools are; another process has none yet */
    int forks; /* above 0: this is no child of httpd's, but forked from one */
    int is_unpooled; /* whatever the flags say: requests run in such processes
                      */
    int is_cut; /* prefork's one thread is in a signal handler above a request:
                   release and close nothing */
} connpool_child_t;

extern connpool_child_t connpool_child;

/** What tells a server from all others in the counters: "" for the main one,
 * "host:port" for a virtual host, "host:port#2" for the second one so called.
 */
const char *connpool_server_key(apr_pool_t *p, const server_rec *s);

/** Does this configuration want children to have an event loop? */
int connpool_wants_loop(void);

/** Walk over all definitions of all servers. */
typedef void (*connpool_each_database_fn)(struct connpool_database_t *db,
                                          void *baton);
typedef void (*connpool_each_upstream_fn)(struct connpool_upstream_t *up,
                                          void *baton);
typedef void (*connpool_each_query_fn)(struct connpool_query_t *query,
                                       void *baton);
void connpool_each_database(connpool_each_database_fn fn, void *baton);
void connpool_each_upstream(connpool_each_upstream_fn fn, void *baton);
void connpool_each_query(connpool_each_query_fn fn, void *baton);

/** How many kinds of databases a configuration may have. */
#define CONNPOOL_DRIVERS 8

/** Walk over the kinds of databases that are defined. */
typedef void (*connpool_each_driver_fn)(
    const struct cp_database_driver_t *driver, void *baton);
void connpool_each_driver(connpool_each_driver_fn fn, void *baton);

/** Walk over the pools of a database, or over all of this child. */
typedef void (*connpool_each_pool_fn)(struct cp_pool_t *pool, void *baton);
void connpool_each_pool_of(struct connpool_database_t *db,
                           connpool_each_pool_fn fn, void *baton);
void connpool_each_pool(connpool_each_pool_fn fn, void *baton);

/** This child's cells of a query or an upstream. */
struct cp_query_stats_t *connpool_query_stats(
    const struct connpool_query_t *query);
struct cp_upstream_stats_t *connpool_upstream_stats(
    const struct connpool_upstream_t *up);
/** Those of one of its URLs: the same, when there is no other. */
struct cp_upstream_stats_t *connpool_base_stats(
    const struct connpool_base_t *base);

/** Those of its caches. */
struct cp_cache_stats_t *connpool_cache_stats(void);

#endif
