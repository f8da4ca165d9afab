/* SPDX-License-Identifier: Apache-2.0
 * connpool-health?live=1: a row of each database, a HEAD to each upstream, all
 * at once, so that those who do not answer take no longer together than one of
 * them. What is found shows in the counters and gauges that the answer reads.
 */
#include "glue.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/thread.h"
#include "child/child.h"
#include "config/database.h"
#include "config/setting.h"
#include "config/upstream.h"
#include "database/database.h"
#include "database/limit.h"
#include "http/job/bell.h"
#include "http/job/fetch.h"
#include "pool/pool.h"
#include "report/report.h"
#include "request/hold.h"
#include "work/fetch.h"

#include <apr_hash.h>

#define PROBE_TIME  apr_time_from_sec(2)
#define LOOK_EVERY  apr_time_from_msec(50) /* for a connection */
#define THREADS_MAX 32

/* --- databases: a driver waits in the thread that calls it --- */

typedef struct database_probe_t {
    const cp_database_driver_t *driver;
    cp_pool_t *pool;
} database_probe_t;

typedef struct database_probes_t {
    database_probe_t *list;
    int count;
    int next; /* atomic: nobody probes it yet */
    cp_clock_t deadline;
} database_probes_t;

/* A pool that has no connection free now is at work: no need to ask it. */
static void probe_database(const database_probe_t *probe, cp_clock_t deadline)
{
    const cp_database_driver_t *driver = probe->driver;
    cp_limit_t limit = {.deadline = deadline};
    cp_lease_t lease = {0};
    cp_statement_t *statement;
    cp_error_t err;
    void *conn;

    if (cp_pool_try_acquire_until(probe->pool, &lease, "the health probe",
                                  deadline, &err)
        != APR_SUCCESS) {
        return;
    }
    conn = cp_lease_connection(&lease);
    driver->limit(conn, &limit);
    if (driver->prepare(conn, driver->probe, &statement, &err) == APR_SUCCESS) {
        driver->step(statement, &err);
        driver->finish(statement);
    }
    cp_pool_release(&lease);
}

static void *probe_databases(void *data)
{
    database_probes_t *probes = data;
    int i;

    while ((i = __atomic_fetch_add(&probes->next, 1, __ATOMIC_RELAXED))
           < probes->count) {
        probe_database(&probes->list[i], probes->deadline);
    }
    return NULL;
}

static cp_pool_t *readers_of(const connpool_server_t *sc,
                             const connpool_database_t *db)
{
    int is_pooled = sc->engine && sc->db_pool;
    cp_pool_t *pooled, *direct;

    if (!db->child) {
        return NULL;
    }
    pooled = db->child->pooled.readers;
    direct = db->child->direct.readers;
    return (is_pooled && pooled) || !direct ? pooled : direct;
}

static void list_databases(request_rec *r, const connpool_server_t *sc,
                           database_probes_t *probes)
{
    probes->list = apr_palloc(r->pool, apr_hash_count(sc->all_databases)
                                           * sizeof(*probes->list));
    for (apr_hash_index_t *i = apr_hash_first(r->pool, sc->all_databases); i;
         i = apr_hash_next(i)) {
        const connpool_database_t *db = apr_hash_this_val(i);
        cp_pool_t *pool = readers_of(sc, db);

        if (pool) {
            probes->list[probes->count++] = (database_probe_t){db->driver,
                                                               pool};
        }
    }
}

/* How many threads there are to join. */
static int start_threads(database_probes_t *probes, pthread_t *threads)
{
    int count = 0;

    while (count < probes->count && count < THREADS_MAX
           && cp_thread_start(&threads[count], probe_databases, probes) == 0) {
        count++;
    }
    return count;
}

/* --- upstreams: one thread looks after all --- */

typedef struct upstream_probe_t {
    connpool_upstream_t *up;
    connpool_fetch_run_t run;
    int is_open;
    int is_over;
} upstream_probe_t;

static apr_status_t ignore_head(void *baton, int status,
                                const cp_http_header_t *headers, int count)
{
    return APR_SUCCESS;
}

static apr_status_t ignore_body(void *baton, const char *data, apr_size_t size)
{
    return APR_SUCCESS;
}

/* Again and again, as long as all connections of the upstream are out. */
static void open_probe(upstream_probe_t *probe, request_rec *r, cp_bell_t *bell)
{
    static const cp_fetch_sink_t sink = {.head = ignore_head,
                                         .body = ignore_body};
    static const cp_fetch_request_t request = {.method = "HEAD",
                                               .total = PROBE_TIME};
    cp_error_t err;
    apr_status_t rv;

    cp_error_clear(&err);
    rv = connpool_fetch_open(&probe->run, r, probe->up, &request, &sink, bell,
                             CONNPOOL_HOLD_AT_ONCE, &err);
    probe->is_open = rv == APR_SUCCESS;
    probe->is_over = rv != APR_SUCCESS
                     && !(rv == APR_EAGAIN && err.cls == CP_ERR_NONE);
}

/* *puntil: when to look again, at the latest. */
static void advance_probe(upstream_probe_t *probe, cp_clock_t *puntil)
{
    cp_clock_t until = CP_CLOCK_NEVER;
    cp_error_t err;

    if (connpool_fetch_advance(&probe->run, &until) == APR_SUCCESS) {
        cp_error_clear(&err);
        connpool_fetch_close(&probe->run, &err);
        probe->is_over = 1;
        *puntil = 0; /* its connection may be what another waits for */
    }
    else if (until < *puntil) {
        *puntil = until;
    }
}

/* True when none is left to be looked after. One that got no connection in
 * time is given up. */
static int advance_all(upstream_probe_t *probes, int count, request_rec *r,
                       cp_bell_t *bell, cp_clock_t deadline, cp_clock_t *puntil)
{
    int is_late = cp_clock_left(deadline) == 0;
    int left = 0;

    for (int i = 0; i < count; i++) {
        upstream_probe_t *probe = &probes[i];

        if (!probe->is_open && !probe->is_over) {
            open_probe(probe, r, bell);
            probe->is_over |= is_late && !probe->is_open;
        }
        if (probe->is_open && !probe->is_over) {
            advance_probe(probe, puntil);
        }
        left += !probe->is_over;
    }
    return left == 0;
}

static void probe_upstreams(request_rec *r, const connpool_server_t *sc,
                            cp_clock_t deadline)
{
    int count = 0;
    upstream_probe_t *probes = apr_pcalloc(
        r->pool, apr_hash_count(sc->all_upstreams) * sizeof(*probes));
    cp_bell_t *bell = cp_bell_create();
    cp_clock_t until = cp_clock_after(LOOK_EVERY);

    for (apr_hash_index_t *i = apr_hash_first(r->pool, sc->all_upstreams); i;
         i = apr_hash_next(i)) {
        probes[count++].up = apr_hash_this_val(i);
    }
    while (bell && !advance_all(probes, count, r, bell, deadline, &until)) {
        if (until > 0) {
            cp_bell_wait(bell, until);
        }
        until = cp_clock_after(LOOK_EVERY);
    }
    cp_bell_unref(bell);
}

void connpool_probe_all(request_rec *r)
{
    const connpool_server_t *sc = connpool_server(r->server);
    database_probes_t probes = {.deadline = cp_clock_after(PROBE_TIME)};
    pthread_t threads[THREADS_MAX];
    int count;

    list_databases(r, sc, &probes);
    count = start_threads(&probes, threads);
    probe_upstreams(r, sc, probes.deadline);
    probe_databases(&probes); /* what no thread has taken */
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
}
