/* SPDX-License-Identifier: Apache-2.0
 * The pools of this child, and the limits that they share. */
#include "child/pools.h"

#include "glue.h"
#include "child/child.h"
#include "config/database.h"
#include "config/setting.h"
#include "config/upstream.h"
#include "database/database.h"
#include "http/job/client.h"
#include "http/upstream/breaker.h"
#include "http/upstream/upstream.h"
#include "pool/driver.h"
#include "pool/group/group.h"
#include "pool/wait/gate.h"
#include "pool/pool.h"
#include "pool/wait/share.h"
#include "stats/segment.h"
#include "stats/stats.h"

#include <ap_mpm.h>
#include <apr_hash.h>

/* Which forms of a definition do the servers that see it need? Index:
 * is_pooled. */
static void needed_forms(const void *definition, int is_http, int needed[2])
{
    if (connpool_child.is_unpooled) {
        needed[0] = 1;
        return;
    }
    for (server_rec *s = connpool_child.main_server; s; s = s->next) {
        connpool_server_t *sc = connpool_server(s);
        apr_hash_t *visible = is_http ? sc->all_upstreams : sc->all_databases;

        for (apr_hash_index_t *i = apr_hash_first(NULL, visible); i;
             i = apr_hash_next(i)) {
            if (apr_hash_this_val(i) == definition) {
                needed[sc->engine && (is_http ? sc->http_pool : sc->db_pool)] =
                    1;
            }
        }
    }
}

static int make_pool(cp_pool_t **ppool, const cp_pool_config_t *config,
                     const cp_driver_t *driver, void *ctx,
                     cp_pool_stats_t *stats)
{
    apr_status_t rv = cp_pool_create(ppool, config, driver, ctx, stats);

    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, connpool_child.main_server,
                     "pool '%s' cannot be made", config->name);
        *ppool = NULL;
    }
    return rv == APR_SUCCESS;
}

/* max=10 is nine readers and one writer; max=1, or a driver that has no reason
 * to split, is one pool for both; a database that is only read has ten readers.
 */
static void make_database_pools(connpool_database_t *db, int is_pooled)
{
    const cp_database_driver_t *driver = db->driver;
    cp_database_t *database = db->child->database;
    connpool_db_pools_t *pools = is_pooled ? &db->child->pooled
                                           : &db->child->direct;
    cp_pool_stats_t *stats = cp_segment_pool(connpool_child.segment,
                                             connpool_child.slot, db->entry);
    cp_pool_config_t config = db->pool;
    int writers = connpool_has_writer_apart(db);

    config.is_pooled = is_pooled;
    config.share = db->child->share;
    if (writers) {
        cp_pool_config_t writer = config;

        writer.members = writers > 1 ? "writers" : "writer";
        writer.is_writer = 1;
        writer.max = writers;
        writer.min = 0;
        if (driver->can & CP_CAN_SPLIT_WRITER) {
            /* A write beside the queue would wait for the same lock. */
            writer.overflow_max = 0;
        }
        make_pool(&pools->writer, &writer, driver->writer, database, stats);
        config.members = "readers";
        config.max -= writers;
        config.min = config.min < config.max ? config.min : config.max;
    }
    make_pool(&pools->readers, &config,
              writers || db->facts.is_readonly ? driver->reader
                                               : driver->writer,
              database, stats);
    if (!writers && !db->facts.is_readonly) {
        pools->writer = pools->readers;
    }
}

static void yield_one(cp_pool_t *pool, void *baton)
{
    int *phas_yielded = baton;

    *phas_yielded = *phas_yielded || cp_pool_yield(pool);
}

static int yield_of(void *baton)
{
    int has_yielded = 0;

    connpool_each_pool_of(baton, yield_one, &has_yielded);
    return has_yielded;
}

/* Without it the limit cannot be kept, so nothing is opened. */
static int join_permits(connpool_database_t *db, apr_pool_t *p)
{
    apr_status_t rv = APR_SUCCESS;

    if (db->permits) {
        rv = cp_share_create(&db->child->share, db->permits, yield_of, db, p);
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, connpool_child.main_server,
                     "database '%s': this process has no part in server-max=, "
                     "and opens nothing",
                     db->name);
    }
    return rv == APR_SUCCESS;
}

/* A thread that is alone has nobody to go with. */
static void make_group(connpool_database_t *db, apr_pool_t *p)
{
    cp_pool_t *writer = db->child->pooled.writer;
    int threads = 1;
    apr_status_t rv;

    if (!writer || !db->facts.is_grouped || cp_pool_settings(writer)->max > 1) {
        return;
    }
    ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads);
    rv = threads > 1 ? cp_group_create(&db->child->group, writer, p)
                     : APR_SUCCESS;
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, rv, connpool_child.main_server,
                     "database '%s': its writes are not grouped in this child",
                     db->name);
    }
}

static void build_database(connpool_database_t *db, void *baton)
{
    apr_pool_t *p = baton;
    apr_global_mutex_t *lock = NULL;
    cp_database_t *database;
    int needed[2] = {0, 0};
    apr_status_t rv;

    if (db->lock) {
        rv = apr_global_mutex_child_init(
            &db->lock->mutex, apr_global_mutex_lockfile(db->lock->mutex), p);

        if (rv != APR_SUCCESS) {
            ap_log_error(APLOG_MARK, APLOG_CRIT, rv, connpool_child.main_server,
                         "database '%s': no access to the write lock",
                         db->name);
        }
        lock = db->lock->mutex;
    }
    rv = db->driver->create(&database, db->config, lock, p);
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, connpool_child.main_server,
                     "database '%s' cannot be set up", db->name);
        return;
    }
    db->child = apr_pcalloc(p, sizeof(*db->child));
    db->child->database = database;
    if (!join_permits(db, p)) {
        return;
    }
    needed_forms(db, 0, needed);
    for (int is_pooled = 0; is_pooled < 2; is_pooled++) {
        if (needed[is_pooled]) {
            make_database_pools(db, is_pooled);
        }
    }
    make_group(db, p);
}

/* --- the child: upstreams --- */

static void count_database(connpool_database_t *db, void *baton)
{
    ++*(int *)baton;
}

int connpool_build_databases(apr_pool_t *pchild)
{
    int count = 0;

    connpool_each_database(build_database, pchild);
    connpool_each_database(count_database, &count);
    return count;
}

typedef struct upstream_build_t {
    apr_pool_t *p;
    apr_hash_t *host_gates; /* origin -> cp_gate_t */
    int count;
} upstream_build_t;

/* All gates that pools share (cp_gate_t *), to be closed at the end. */
static apr_array_header_t *shared_gates;

static cp_gate_t *make_shared_gate(int capacity, int queue, apr_pool_t *p)
{
    cp_gate_t *gate = NULL;
    apr_status_t rv = cp_gate_create(&gate, capacity, queue, NULL, p);

    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, connpool_child.main_server,
                     "a limit of outgoing connections cannot be set up: it "
                     "does not hold in this child");
        return NULL;
    }
    APR_ARRAY_PUSH(shared_gates, cp_gate_t *) = gate;
    return gate;
}

/* Who shares a gate with the upstream: of its origin, or of its server. */
typedef struct queue_search_t {
    const char *origin; /* NULL: of the server */
    const server_rec *server;
    int queue;
} queue_search_t;

static int has_origin(const connpool_upstream_t *up, const char *origin)
{
    for (int i = 0; i < up->base_count; i++) {
        if (strcmp(up->bases[i].origin, origin) == 0) {
            return 1;
        }
    }
    return 0;
}

static void find_queue(connpool_upstream_t *up, void *baton)
{
    queue_search_t *search = baton;
    int is_meant = search->origin ? has_origin(up, search->origin)
                                  : up->server == search->server;

    if (is_meant && up->pool.queue > search->queue) {
        search->queue = up->pool.queue;
    }
}

/* The longest queue that any of them may have: nobody's is cut by another's. */
static int longest_queue(const char *origin, const server_rec *server)
{
    queue_search_t search = {origin, server, 0};

    connpool_each_upstream(find_queue, &search);
    return search.queue;
}

/* Upstreams of one origin share the limit per host; that of the one that was
 * defined first counts. */
static cp_gate_t *host_gate(upstream_build_t *build,
                            const connpool_upstream_t *up, const char *origin)
{
    cp_gate_t *gate = apr_hash_get(build->host_gates, origin,
                                   APR_HASH_KEY_STRING);

    if (!gate) {
        gate = make_shared_gate(up->perhost, longest_queue(origin, NULL),
                                build->p);
        apr_hash_set(build->host_gates, origin, APR_HASH_KEY_STRING, gate);
    }
    return gate;
}

static cp_gate_t *total_gate(upstream_build_t *build,
                             const connpool_upstream_t *up)
{
    connpool_server_t *sc = connpool_server(up->server);

    if (!sc->http_gate) {
        sc->http_gate = make_shared_gate(
            sc->http_max, longest_queue(NULL, up->server), build->p);
    }
    return sc->http_gate;
}

static apr_status_t build_breaker(const connpool_upstream_t *up,
                                  connpool_base_t *base, apr_pool_t *p)
{
    return cp_breaker_create(&base->child->breaker, base->name, up->breaker,
                             connpool_base_stats(base), p);
}

static void build_base(upstream_build_t *build, connpool_upstream_t *up,
                       connpool_base_t *base)
{
    cp_pool_config_t config = up->pool;
    int needed[2] = {0, 0};
    apr_status_t rv;

    config.name = base->name;
    base->child = apr_pcalloc(build->p, sizeof(*base->child));
    rv = cp_upstream_create(&base->child->upstream, &base->http, build->p);
    if (rv == APR_SUCCESS) {
        rv = build_breaker(up, base, build->p);
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, connpool_child.main_server,
                     "upstream '%s' cannot be set up", base->name);
        return;
    }
    config.shared_gates[0] = host_gate(build, up, base->origin);
    config.shared_names[0] = "the limit per host";
    config.shared_gates[1] = total_gate(build, up);
    config.shared_names[1] = "the limit of all upstreams";
    needed_forms(up, 1, needed);
    for (int is_pooled = 0; is_pooled < 2; is_pooled++) {
        if (needed[is_pooled]) {
            config.is_pooled = is_pooled;
            make_pool(&base->child->pool[is_pooled], &config, &cp_http_driver,
                      base->child->upstream,
                      cp_segment_pool(connpool_child.segment,
                                      connpool_child.slot, base->pool_entry));
        }
    }
}

static void build_upstream(connpool_upstream_t *up, void *baton)
{
    upstream_build_t *build = baton;

    build->count++;
    for (int i = 0; i < up->base_count; i++) {
        build_base(build, up, &up->bases[i]);
    }
}

int connpool_build_upstreams(apr_pool_t *pchild)
{
    upstream_build_t build = {pchild, apr_hash_make(pchild), 0};

    cp_http_global_init();
    shared_gates = apr_array_make(pchild, 4, sizeof(cp_gate_t *));
    connpool_each_upstream(build_upstream, &build);
    return build.count;
}

static void stop_share(connpool_database_t *db, void *baton)
{
    if (db->child && db->child->share) {
        cp_share_stop(db->child->share);
    }
}

static void stop_pool(cp_pool_t *pool, void *baton)
{
    cp_pool_stop(pool);
}

void connpool_stop_pools(void)
{
    for (int i = 0; i < shared_gates->nelts; i++) {
        cp_gate_close(APR_ARRAY_IDX(shared_gates, i, cp_gate_t *));
    }
    connpool_each_database(stop_share, NULL);
    connpool_each_pool(stop_pool, NULL);
}
