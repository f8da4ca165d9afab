/* SPDX-License-Identifier: Apache-2.0
 * The life of a child: what it builds, and how it ends.
 *
 *  parent, post_config (real pass):  shared segment, write locks, NOTICE lines
 *                    (parent.c)
 *  child_init:       1 log sink  2 slot in the segment  3 locks  4 pools
 *                    5 loop  6 maintenance thread (maintain.c)
 *  child_stopping:   graceful: nothing yet, requests in flight need everything
 *                    at once:  refuse new work, wake all waiters, interrupt
 *                    queries, cancel fetches: the MPM waits for its threads
 *  pchild's pre-cleanup: stop the maintenance thread and the loop, close
 *  parent, child_status: fold the ended child's numbers into the totals
 */
#include "glue.h"
#include "base/clock.h"
#include "base/log.h"
#include "cache/caches.h"
#include "child/child.h"
#include "child/fork.h"
#include "child/memory.h"
#include "child/pools.h"
#include "config/database.h"
#include "config/setting.h"
#include "http/loop.h"
#include "lifecycle.h"
#include "pool/pool.h"
#include "stats/segment.h"
#include "work/fetch.h"

#include <unistd.h>

#include <ap_mpm.h>
#include <mpm_common.h>
#include <scoreboard.h>
#include <unixd.h>

/* The loop serves the upstreams of all servers: each may have as many. */
static int all_connections(void)
{
    int count = 0;

    for (server_rec *s = connpool_child.main_server; s; s = s->next) {
        const connpool_server_t *sc = connpool_server(s);

        count += sc->server == s && sc->upstreams->nelts > 0 ? sc->http_max : 0;
    }
    return count;
}

static void start_loop(server_rec *s)
{
    cp_loop_config_t config = {.max_connections = all_connections()};

    if (connpool_wants_loop()
        && cp_loop_create(
               &connpool_child.loop, &config,
               cp_segment_loop(connpool_child.segment, connpool_child.slot))
               != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "no event loop: fetches run in their requests' threads");
        connpool_child.loop = NULL;
    }
}

/* --- the child: begin and end --- */

static void interrupt_database(connpool_database_t *db, void *baton)
{
    if (db->child) {
        db->driver->stop(db->child->database);
    }
}

static void note_use(cp_pool_t *pool, void *baton)
{
    *(int *)baton |= cp_pool_is_used(pool);
}

/* What the scoreboard says of prefork's one thread. */
static int is_in_request(void)
{
    apr_proc_t self = {.pid = getpid()};
    int slot = ap_find_child_by_pid(&self);
    int status = slot < 0
                     ? SERVER_READY
                     : ap_get_scoreboard_worker_from_indexes(slot, 0)->status;

    return status == SERVER_BUSY_READ || status == SERVER_BUSY_WRITE
           || status == SERVER_BUSY_LOG;
}

/* Prefork ends a child in a signal handler. Below it in this thread a request
 * may be anywhere in SQLite, libcurl or malloc, and hold their locks or ours:
 * nothing that takes a lock may be called. The end of the process closes what
 * is open. A connection may be out while no request is: until the client has
 * all of the answer. */
static int is_interrupted(void)
{
    int is_threaded = 0;
    int is_used = 0;

    ap_mpm_query(AP_MPMQ_IS_THREADED, &is_threaded);
    if (is_threaded == AP_MPMQ_NOT_SUPPORTED) {
        is_used = is_in_request();
        connpool_each_pool(note_use, &is_used);
    }
    return is_used;
}

/* The child ends at once. */
static void stop_all(void)
{
    if (is_interrupted()) {
        connpool_child.is_cut = 1;
        return;
    }
    __atomic_store_n(&connpool_child.is_stopping, 1, __ATOMIC_RELAXED);
    connpool_stop_pools();
    connpool_cache_cancel();
    connpool_coalesce_cancel();
    connpool_each_database(interrupt_database, NULL);
}

/* A graceful stop gives requests GracefulShutdownTimeout, and then the MPM
 * would wait for a thread that hangs until it kills the child. After a graceful
 * restart they may take as long as they like. */
static void end_grace(void)
{
    cp_clock_t end = __atomic_load_n(&connpool_child.grace_end,
                                     __ATOMIC_RELAXED);
    int generation;

    if (end != 0 && cp_clock_left(end) == 0
        && ap_mpm_query(AP_MPMQ_GENERATION, &generation) == APR_SUCCESS
        && generation == ap_scoreboard_image->global->running_generation) {
        stop_all();
    }
}

static void log_sink(void *baton, const char *file, int line,
                     cp_log_level_t level, apr_status_t rv, const char *text)
{
    static const int levels[] = {
        [CP_LOG_ERROR] = APLOG_ERR,     [CP_LOG_WARNING] = APLOG_WARNING,
        [CP_LOG_NOTICE] = APLOG_NOTICE, [CP_LOG_INFO] = APLOG_INFO,
        [CP_LOG_DEBUG] = APLOG_DEBUG,
    };

    ap_log_error_(file, line, APLOG_MODULE_INDEX, levels[level],
                  rv == APR_EGENERAL ? 0 : rv, baton, "%s", text);
}

static void destroy_pool(cp_pool_t *pool, void *baton)
{
    if (cp_pool_destroy(pool) != APR_SUCCESS) {
        /* Not an error of ours: the child was told to end at once. */
        ap_log_error(APLOG_MARK, APLOG_INFO, 0, connpool_child.main_server,
                     "pool '%s': a connection was still out at the child's end",
                     cp_pool_settings(pool)->name);
    }
}

/* Before anything else of the child goes: threads first, then connections. */
static apr_status_t child_exit(void *data)
{
    if (!connpool_child.is_started || connpool_child.pid != getpid()) {
        return APR_SUCCESS;
    }
    /* Our threads make malloc take locks, and the interrupted request may hold
     * one: whatever frees memory from here on would wait for ever. */
    if (connpool_child.is_cut) {
        _exit(0);
    }
    connpool_child.is_started = 0;
    connpool_maintenance_stop();
    if (connpool_child.loop) {
        cp_loop_stop(connpool_child.loop);
    }
    connpool_stop_pools();
    connpool_cache_stop();
    connpool_coalesce_cancel();
    connpool_each_pool(destroy_pool, NULL);
    return APR_SUCCESS;
}

void connpool_child_init(apr_pool_t *pchild, server_rec *main_server)
{
    int databases, upstreams;

    if (!connpool_child.segment) {
        return;
    }
    connpool_child.main_server = main_server;
    cp_log_install(log_sink, main_server,
                   APLOG_IS_LEVEL(main_server, APLOG_DEBUG) ? CP_LOG_DEBUG
                                                            : CP_LOG_INFO);
    connpool_child.slot = cp_segment_claim(connpool_child.segment, getpid());
    if (connpool_child.slot < 0) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, main_server,
                     "no free slot for this child's counters: it is not "
                     "counted");
    }
    connpool_fork_watch();
    if (connpool_fork_expected()) {
        return; /* what is forked builds its own, and here nothing is open */
    }
    databases = connpool_build_databases(pchild);
    upstreams = connpool_build_upstreams(pchild);
    if (upstreams > 0) {
        start_loop(main_server);
    }
    if (upstreams + databases == 0) {
        return;
    }
    connpool_memory_start();
    connpool_cache_start(pchild, main_server);
    connpool_coalesce_start(pchild);
    connpool_child.is_started = 1;
    apr_pool_pre_cleanup_register(pchild, NULL, child_exit);
    connpool_maintenance_start(main_server, end_grace);
}

void connpool_child_stopping(apr_pool_t *pchild, int graceful)
{
    if (!connpool_child.is_started) {
        return;
    }
    if (!graceful) {
        stop_all();
    }
    else if (ap_graceful_shutdown_timeout > 0) {
        __atomic_store_n(
            &connpool_child.grace_end,
            cp_clock_after(apr_time_from_sec(ap_graceful_shutdown_timeout)),
            __ATOMIC_RELAXED);
    }
}
