/* SPDX-License-Identifier: Apache-2.0
 * The bound on what a child uses: who keeps something for later is asked to let
 * go of it before a request is refused. */
#include "child/memory.h"

#include "glue.h"
#include "base/log.h"
#include "child/child.h"
#include "config/database.h"
#include "config/setting.h"
#include "database/database.h"
#include "pool/pool.h"
#include "stats/cell.h"
#include "stats/segment.h"
#include "stats/stats.h"

#define USERS_MAX        4
#define SHRINK_LOG_EVERY apr_time_from_sec(10)
#define REFUSE_LOG_EVERY apr_time_from_sec(10)

static cp_process_stats_t *process_stats(void)
{
    return cp_segment_process(connpool_child.segment, connpool_child.slot);
}

/* Set in child_init, constant while there are threads. */
static const connpool_memory_user_t *users[USERS_MAX];
static int user_count;

void connpool_memory_join(const connpool_memory_user_t *user)
{
    ap_assert(user_count < USERS_MAX);
    users[user_count++] = user;
}

/* What is idle and what is in use. */
static uint64_t memory_used(void)
{
    uint64_t sum = cp_stats_get(&connpool_child.buffer_bytes);

    for (int i = 0; i < user_count; i++) {
        sum += users[i]->bytes();
    }
    return sum;
}

static int is_within_bound(server_rec *s)
{
    return memory_used() <= (uint64_t)connpool_server(s)->memory;
}

static void shrink_connection(void *conn, void *baton)
{
    ((const connpool_database_t *)baton)->driver->shrink(conn);
}

static void shrink_pool(cp_pool_t *pool, void *baton)
{
    cp_pool_each_idle(pool, shrink_connection, baton);
}

static void shrink_database(connpool_database_t *db, void *baton)
{
    connpool_each_pool_of(db, shrink_pool, db);
}

static void shrink_databases(void)
{
    connpool_each_database(shrink_database, NULL);
}

/* Those in use; set in child_init. */
static const cp_database_driver_t *drivers[CONNPOOL_DRIVERS];
static int driver_count;

static void add_driver(const cp_database_driver_t *driver, void *baton)
{
    drivers[driver_count++] = driver;
}

static uint64_t database_bytes(void)
{
    uint64_t sum = 0;

    for (int i = 0; i < driver_count; i++) {
        sum += drivers[i]->memory();
    }
    return sum;
}

/* What connections keep; each kind of database knows the sum of its own. */
static const connpool_memory_user_t databases = {
    .bytes = database_bytes,
    .shrink = shrink_databases,
};

void connpool_memory_start(void)
{
    user_count = 0;
    driver_count = 0;
    connpool_each_driver(add_driver, NULL);
    connpool_memory_join(&databases);
}

static void close_idle(cp_pool_t *pool, void *baton)
{
    cp_pool_flush(pool, NULL);
}

static void close_idle_of(connpool_database_t *db, void *baton)
{
    connpool_each_pool_of(db, close_idle, NULL);
}

static double in_mib(uint64_t bytes)
{
    return (double)bytes / 1048576;
}

/* Page caches first, then answers that are kept, then idle connections.
 * What then still stands above the bound is in use. */
static int make_room(server_rec *s)
{
    static cp_log_limit_t limit;
    uint64_t suppressed;
    uint64_t before = memory_used();
    char tail[64];

    cp_stats_add(&process_stats()->shrunk, 1);
    for (int i = 0; i < user_count && (i == 0 || !is_within_bound(s)); i++) {
        users[i]->shrink();
    }
    if (!is_within_bound(s)) {
        connpool_each_database(close_idle_of, NULL);
    }
    if (cp_log_allowed(&limit, SHRINK_LOG_EVERY, &suppressed)) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "ConnPoolMemory is reached: this child used %.1f MiB of "
                     "%.1f MiB; caches and idle connections gave back what "
                     "they could, %.1f MiB are left. Raise it, or lower max= "
                     "or cache=%s",
                     in_mib(before),
                     in_mib((uint64_t)connpool_server(s)->memory),
                     in_mib(memory_used()),
                     cp_log_repeats(tail, sizeof(tail), suppressed));
    }
    return is_within_bound(s);
}

int connpool_memory_allows(server_rec *s, int is_database)
{
    if (is_within_bound(s)
        || (!is_database
            && cp_stats_get(&connpool_child.buffer_bytes)
                   <= (uint64_t)connpool_server(s)->memory)
        || make_room(s)) {
        return 1;
    }
    cp_stats_add(&process_stats()->refused_memory, 1);
    return 0;
}

void connpool_memory_lacks(request_rec *r, const char *what)
{
    static cp_log_limit_t limit;
    uint64_t suppressed;
    char tail[64];

    cp_stats_add(&process_stats()->refused_memory, 1);
    if (cp_log_allowed(&limit, REFUSE_LOG_EVERY, &suppressed)) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, APR_ENOMEM, r,
                      "no memory for %s: the request is refused%s", what,
                      cp_log_repeats(tail, sizeof(tail), suppressed));
    }
}

void connpool_memory_maintain(void)
{
    server_rec *s = connpool_child.main_server;

    if (!is_within_bound(s)) {
        make_room(s);
    }
    __atomic_store_n(&process_stats()->memory_bytes, memory_used(),
                     __ATOMIC_RELAXED);
}
