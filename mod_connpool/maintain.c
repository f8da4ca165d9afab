/* SPDX-License-Identifier: Apache-2.0
 * The child's maintenance thread: closes what is idle, notices files that were
 * replaced, keeps the memory bound, and measures. */
#include "glue.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/thread.h"
#include "child/child.h"
#include "child/memory.h"
#include "config/definitions.h"
#include "database/sqlite/sqlite.h"
#include "http/loop.h"
#include "lifecycle.h"
#include "pool/driver.h"
#include "pool/pool.h"
#include "report/report.h"
#include "stats/segment.h"
#include "stats/stats.h"
#include "work/cache.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <apr_strings.h>

#define MAINTAIN_EVERY   apr_time_from_sec(1)
#define VERIFY_TRIES     5
#define VERIFY_PAUSE     apr_time_from_msec(200)
#define SUPERVISE_EVERY  apr_time_from_msec(250)
#define SHRINK_LOG_EVERY apr_time_from_sec(10)

static struct {
    pthread_t thread;
    int is_running; /* the starting thread's alone */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int is_stopping; /* lock */
} maintenance;

static void maintain_pool(cp_pool_t *pool, void *baton)
{
    cp_pool_maintain(pool);
}

static cp_pool_stats_t *database_stats(const connpool_database_t *db)
{
    return cp_segment_pool(connpool_child.segment, connpool_child.slot,
                           db->entry);
}

static void set_gauge(uint64_t *gauge, uint64_t value)
{
    __atomic_store_n(gauge, value, __ATOMIC_RELAXED);
}

static void flush_pool(cp_pool_t *pool, void *baton)
{
    cp_pool_flush(pool, "the database file was replaced");
}

static void weigh_connection(void *conn, void *baton)
{
    cp_sqlite_weigh(conn, baton);
}

static void weigh_pool(cp_pool_t *pool, void *baton)
{
    cp_pool_each_idle(pool, weigh_connection, baton);
}

/* A part of the database's pools that is down: would it open now? */
static void look_at_part(cp_pool_t *pool, void *baton)
{
    uint64_t *down = &database_stats(baton)->down[cp_pool_settings(pool)->part];
    cp_error_t err;

    if (cp_stats_get(down)
        && cp_pool_try_open(pool, cp_clock_after(MAINTAIN_EVERY), &err)
               == APR_SUCCESS) {
        set_gauge(down, 0);
    }
}

static void show_down(cp_pool_t *pool, void *baton)
{
    set_gauge(&database_stats(baton)->down[cp_pool_settings(pool)->part], 1);
}

/* Without traffic nobody would find out that the file is gone, or back. That
 * it can be read again does not mean that it can be written. */
static void look_at_file(connpool_database_t *db)
{
    connpool_each_pool_of(
        db, access(db->sqlite.path, F_OK) == 0 ? look_at_part : show_down, db);
}

static void maintain_database(connpool_database_t *db, void *baton)
{
    cp_pool_stats_t *stats = database_stats(db);
    cp_sqlite_weight_t weight = {0};

    if (cp_sqlite_file_changed(db->child->sqlite)) {
        connpool_each_pool_of(db, flush_pool, NULL);
    }
    look_at_file(db);
    cp_sqlite_tidy(db->child->sqlite);
    connpool_each_pool_of(db, weigh_pool, &weight);
    if (db->child->sentinel) {
        cp_sentinel_weigh(db->child->sentinel, &weight);
    }
    set_gauge(&stats->cache_bytes, weight.cache);
    set_gauge(&stats->schema_bytes, weight.schema);
    set_gauge(&stats->statement_bytes, weight.statements);
    set_gauge(&stats->memory_bytes,
              weight.cache + weight.schema + weight.statements);
    set_gauge(&stats->wal_bytes, cp_sqlite_wal_bytes(db->child->sqlite));
}

/* --- the memory bound --- */

static cp_process_stats_t *process_stats(void)
{
    return cp_segment_process(connpool_child.segment, connpool_child.slot);
}

/* What is idle and what is in use. */
static uint64_t memory_used(void)
{
    return cp_sqlite_memory_used() + cp_stats_get(&connpool_child.buffer_bytes)
           + connpool_cache_bytes();
}

static int is_within_bound(server_rec *s)
{
    return memory_used() <= (uint64_t)connpool_server(s)->memory;
}

static void shrink_connection(void *conn, void *baton)
{
    cp_sqlite_shrink(conn);
}

static void shrink_pool(cp_pool_t *pool, void *baton)
{
    cp_pool_each_idle(pool, shrink_connection, NULL);
}

static void shrink_database(connpool_database_t *db, void *baton)
{
    connpool_each_pool_of(db, shrink_pool, NULL);
}

static void close_idle(cp_pool_t *pool, void *baton)
{
    cp_pool_flush(pool, NULL);
}

static void close_idle_of(connpool_database_t *db, void *baton)
{
    connpool_each_pool_of(db, close_idle, NULL);
}

/* Caches first, then answers that are kept, then the connections themselves.
 * What then still stands above the bound is in use. */
static int make_room(server_rec *s)
{
    static cp_log_limit_t limit;
    uint64_t suppressed;
    uint64_t before = memory_used();

    cp_stats_add(&process_stats()->shrunk, 1);
    connpool_each_database(shrink_database, NULL);
    if (!is_within_bound(s)) {
        connpool_cache_shrink();
    }
    if (!is_within_bound(s)) {
        connpool_each_database(close_idle_of, NULL);
    }
    if (cp_log_allowed(&limit, SHRINK_LOG_EVERY, &suppressed)) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "ConnPoolMemory is reached: idle connections gave back "
                     "memory, %" APR_UINT64_T_FMT " bytes became "
                     "%" APR_UINT64_T_FMT " (%" APR_UINT64_T_FMT
                     " more times since the last line)",
                     before, memory_used(), suppressed);
    }
    return is_within_bound(s);
}

int connpool_memory_allows(server_rec *s)
{
    if (is_within_bound(s) || make_room(s)) {
        return 1;
    }
    cp_stats_add(&process_stats()->refused_memory, 1);
    return 0;
}

static void keep_memory_bound(void)
{
    server_rec *s = connpool_child.main_server;

    if (!is_within_bound(s)) {
        make_room(s);
    }
    set_gauge(&process_stats()->memory_bytes, memory_used());
}

/* --- the queries' check --- */

typedef struct verify_t {
    const connpool_database_t *database;
    void *conn;
} verify_t;

static void verify_query(connpool_query_t *query, void *baton)
{
    const verify_t *verify = baton;
    cp_statement_t *statement;
    cp_error_t err;

    if (query->database != verify->database) {
        return;
    }
    if (cp_statement_prepare(verify->conn, query->sql, &statement, &err)
        != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, query->server,
                     "ConnPoolQuery %s at %s cannot be prepared: %s",
                     query->name, query->where, err.detail);
        return;
    }
    cp_statement_finish(statement);
}

/* --- the process --- */

#define BASE_AFTER apr_time_from_sec(60)

static uint64_t count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    uint64_t count = 0;

    if (!dir) {
        return 0;
    }
    while (readdir(dir)) {
        count++;
    }
    closedir(dir);
    return count > 3 ? count - 3 : 0; /* ".", "..", and the directory's own */
}

/* "VmRSS:  1234 kB" and "VmHWM:" of /proc/self/status, in bytes. */
static void read_memory(uint64_t *rss, uint64_t *peak)
{
    FILE *file = fopen("/proc/self/status", "re");
    char line[128];

    *rss = *peak = 0;
    while (file && fgets(line, sizeof(line), file)) {
        if (strncmp(line, "VmRSS:", 6) == 0) {
            *rss = strtoull(line + 6, NULL, 10) * 1024;
        }
        else if (strncmp(line, "VmHWM:", 6) == 0) {
            *peak = strtoull(line + 6, NULL, 10) * 1024;
        }
    }
    if (file) {
        fclose(file);
    }
}

static void measure_process(cp_clock_t started)
{
    cp_process_stats_t *stats = process_stats();
    uint64_t rss, peak;

    read_memory(&rss, &peak);
    set_gauge(&stats->rss_bytes, rss);
    set_gauge(&stats->rss_max_bytes, peak);
    set_gauge(&stats->descriptors, count_descriptors());
    if (cp_clock_now() - started >= BASE_AFTER
        && cp_stats_get(&stats->rss_base_bytes) == 0) {
        set_gauge(&stats->rss_base_bytes, rss);
    }
}

/* --- the thread --- */

/* Sleep until `until` or until asked to stop; true goes on. */
static int maintenance_pause(cp_clock_t until)
{
    struct timespec ts = cp_clock_timespec(until);
    int goes_on;

    pthread_mutex_lock(&maintenance.lock);
    while (!maintenance.is_stopping && cp_clock_left(until) > 0) {
        pthread_cond_timedwait(&maintenance.wake, &maintenance.lock, &ts);
    }
    goes_on = !maintenance.is_stopping;
    pthread_mutex_unlock(&maintenance.lock);
    return goes_on;
}

/* SQL is checked lexically at configtest; here it meets its database, through
 * a connection of its own that no counter knows. */
static void verify_database(connpool_database_t *db, void *baton)
{
    const cp_driver_t *driver = db->sqlite.is_readonly ? &cp_sqlite_reader
                                                       : &cp_sqlite_writer;
    verify_t verify = {db, NULL};
    cp_error_t err;
    apr_status_t rv = APR_EGENERAL;

    /* Children that start at once may find each other in the way. */
    for (int i = 0; rv != APR_SUCCESS && i < VERIFY_TRIES; i++) {
        if (i > 0 && !maintenance_pause(cp_clock_after(VERIFY_PAUSE))) {
            return;
        }
        rv = driver->open(db->child->sqlite, cp_clock_after(db->timeout),
                          &verify.conn, &err);
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, db->server, "%s: %s", err.cause,
                     err.detail);
        return;
    }
    connpool_each_query(verify_query, &verify);
    driver->close(db->child->sqlite, verify.conn);
}

#ifdef CONNPOOL_TESTING
/* Faults on demand: a test leaves a file of this name, with a number or
 * nothing in it, and one child finds and removes it. */
static int take_fault(const char *name, int *pnumber)
{
    const char *dir = getenv("CONNPOOL_TEST_FAULTS");
    char path[APR_PATH_MAX];
    FILE *file;

    if (!dir) {
        return 0;
    }
    apr_snprintf(path, sizeof(path), "%s/%s", dir, name);
    file = fopen(path, "r");
    if (!file) {
        return 0;
    }
    if (fscanf(file, "%d", pnumber) != 1) {
        *pnumber = 0;
    }
    fclose(file);
    return unlink(path) == 0;
}

static void cause_faults(cp_loop_t *loop)
{
    int number;

    if (take_fault("loop-die", &number)) {
        cp_loop_test_die(loop);
    }
    if (take_fault("loop-stall", &number)) {
        cp_loop_test_stall(loop, apr_time_from_msec(number));
    }
}
#endif

static void *maintenance_main(void *data)
{
    cp_clock_t next_round = 0;
    cp_clock_t started = cp_clock_now();

    connpool_each_database(verify_database, NULL);
    do {
        if (cp_clock_left(next_round) == 0) {
            connpool_each_database(maintain_database, NULL);
            connpool_each_pool(maintain_pool, NULL);
            connpool_cache_maintain();
            keep_memory_bound();
            measure_process(started);
            connpool_health_sample();
            next_round = cp_clock_after(MAINTAIN_EVERY);
        }
        if (connpool_child.loop) {
#ifdef CONNPOOL_TESTING
            cause_faults(connpool_child.loop);
#endif
            cp_loop_supervise(connpool_child.loop);
        }
        connpool_child_end_grace();
    } while (maintenance_pause(cp_clock_after(
        connpool_child.loop ? SUPERVISE_EVERY : MAINTAIN_EVERY)));
    return NULL;
}

void connpool_maintenance_start(server_rec *s)
{
    int rc;

    pthread_mutex_init(&maintenance.lock, NULL);
    cp_clock_init_condition(&maintenance.wake);
    maintenance.is_stopping = 0;
    rc = cp_thread_start(&maintenance.thread, maintenance_main, NULL);
    maintenance.is_running = rc == 0;
    if (rc != 0) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rc, s,
                     "no maintenance thread: idle connections stay open");
    }
}

void connpool_maintenance_stop(void)
{
    if (!maintenance.is_running) {
        return;
    }
    pthread_mutex_lock(&maintenance.lock);
    maintenance.is_stopping = 1;
    pthread_cond_signal(&maintenance.wake);
    pthread_mutex_unlock(&maintenance.lock);
    pthread_join(maintenance.thread, NULL);
    maintenance.is_running = 0;
}
