/* SPDX-License-Identifier: Apache-2.0
 * Lives of processes: what the parent prepares, what each child builds, and
 * how it ends.
 *
 *  parent, post_config (real pass):  shared segment, write locks, NOTICE lines
 *  child_init:       1 log sink  2 slot in the segment  3 locks  4 pools
 *                    5 loop  6 maintenance thread (mod_connpool_maintain.c)
 *  child_stopping:   graceful: nothing yet, requests in flight need everything
 *                    at once:  refuse new work, wake all waiters, interrupt
 *                    queries, cancel fetches: the MPM waits for its threads
 *  pchild's pre-cleanup: stop the maintenance thread and the loop, close
 *  parent, child_status: fold the ended child's numbers into the totals
 *
 * The segment and the locks outlive restarts: children of two generations use
 * them side by side. They are kept in the process's pool, found again through
 * retained data, and hold no pointer into this module. */
#include "glue.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/number.h"
#include "child/child.h"
#include "config/definitions.h"
#include "database/sqlite/sqlite.h"
#include "http/breaker.h"
#include "http/http.h"
#include "http/loop.h"
#include "lifecycle.h"
#include "pool/driver.h"
#include "pool/gate.h"
#include "pool/pool.h"
#include "stats/segment.h"
#include "stats/stats.h"
#include "work/cache.h"
#include "work/fetch.h"
#include "work/provider.h"

#include <stdlib.h>
#include <unistd.h>

#include <ap_mpm.h>
#include <apr_hash.h>
#include <apr_shm.h>
#include <apr_strings.h>
#include <http_core.h>
#include <mpm_common.h>
#include <scoreboard.h>
#include <unixd.h>
#include <util_mutex.h>

#define RETAINED_KEY   "mod_connpool"
#define LOCK_TYPE      "connpool"
#define SPARE_ENTRIES  4
#define SPARE_CHILDREN 8

/* A module that was replaced by another build must not go on in a segment that
 * the old one laid out. */
typedef struct fingerprint_t {
    char version[16];
    size_t pool, query, upstream, loop, process, batch, sample;
} fingerprint_t;

typedef struct retained_t {
    cp_segment_t *segment;
    fingerprint_t fingerprint; /* of who laid the segment out */
    apr_hash_t *locks;         /* path -> connpool_lock_t */
} retained_t;

connpool_child_t connpool_child;

/* --- walking over all definitions --- */

/* A virtual host without a directive of ours shares its main server's config.
 */
static connpool_server_t *own_config(server_rec *s)
{
    connpool_server_t *sc = connpool_server(s);

    return sc->server == s ? sc : NULL;
}

#define DEFINE_EACH(noun, list)                                                \
    void connpool_each_##noun(connpool_each_##noun##_fn fn, void *baton)       \
    {                                                                          \
        for (server_rec *s = connpool_child.main_server; s; s = s->next) {     \
            connpool_server_t *sc = own_config(s);                             \
                                                                               \
            for (int i = 0; sc && i < sc->list->nelts; i++) {                  \
                fn(APR_ARRAY_IDX(sc->list, i, connpool_##noun##_t *), baton);  \
            }                                                                  \
        }                                                                      \
    }

DEFINE_EACH(database, databases)
DEFINE_EACH(upstream, upstreams)
DEFINE_EACH(query, queries)

/* --- the parent: shared segment --- */

static const char *host_and_port(apr_pool_t *p, const server_rec *s)
{
    return apr_psprintf(p, "%s:%u",
                        s->server_hostname ? s->server_hostname : "?",
                        (unsigned)(s->addrs ? s->addrs->host_port : s->port));
}

const char *connpool_server_key(apr_pool_t *p, const server_rec *s)
{
    const char *key;
    int same = 1;

    if (!s->is_virtual) {
        return "";
    }
    key = host_and_port(p, s);
    for (const server_rec *other = connpool_child.main_server->next;
         other && other != s; other = other->next) {
        same += strcmp(host_and_port(p, other), key) == 0;
    }
    return same > 1 ? apr_psprintf(p, "%s#%d", key, same) : key;
}

static const char *server_key(const server_rec *s)
{
    return connpool_server_key(s->process->pconf, s);
}

static void count_database(connpool_database_t *db, void *baton)
{
    ((cp_segment_layout_t *)baton)->entries[CP_ENTRY_POOL]++;
}

static void count_upstream(connpool_upstream_t *up, void *baton)
{
    ((cp_segment_layout_t *)baton)->entries[CP_ENTRY_POOL]++;
    ((cp_segment_layout_t *)baton)->entries[CP_ENTRY_UPSTREAM]++;
}

static void count_query(connpool_query_t *query, void *baton)
{
    ((cp_segment_layout_t *)baton)->entries[CP_ENTRY_QUERY]++;
}

static cp_segment_layout_t wanted_layout(void)
{
    cp_segment_layout_t layout = {{0}, 0};
    int limit = 1;

    connpool_each_database(count_database, &layout);
    connpool_each_upstream(count_upstream, &layout);
    connpool_each_query(count_query, &layout);
    for (int i = 0; i < CP_ENTRY_KINDS; i++) {
        layout.entries[i] += SPARE_ENTRIES;
    }
    ap_mpm_query(AP_MPMQ_HARD_LIMIT_DAEMONS, &limit);
    layout.children = limit + SPARE_CHILDREN;
    return layout;
}

static fingerprint_t own_fingerprint(void)
{
    fingerprint_t own;

    memset(&own, 0, sizeof(own)); /* padding too: it is compared whole */
    apr_cpystrn(own.version, CONNPOOL_VERSION, sizeof(own.version));
    own.pool = sizeof(cp_pool_stats_t);
    own.query = sizeof(cp_query_stats_t);
    own.upstream = sizeof(cp_upstream_stats_t);
    own.loop = sizeof(cp_loop_stats_t);
    own.process = sizeof(cp_process_stats_t);
    own.batch = sizeof(cp_batch_stats_t);
    own.sample = sizeof(cp_sample_t);
    return own;
}

static apr_status_t make_segment(retained_t *retained, server_rec *s)
{
    apr_pool_t *p = s->process->pool;
    cp_segment_layout_t layout = wanted_layout();
    apr_size_t size = cp_segment_size(&layout);
    apr_shm_t *shm;
    apr_status_t rv = apr_shm_create(&shm, size, NULL, p);

    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_CRIT, rv, s,
                     "cannot make a shared segment of %" APR_SIZE_T_FMT
                     " bytes for the counters of %d children",
                     size, layout.children);
        return rv;
    }
    retained->segment = cp_segment_init(apr_shm_baseaddr_get(shm), &layout);
    retained->fingerprint = own_fingerprint();
    return APR_SUCCESS;
}

static void enter_database(connpool_database_t *db, void *baton)
{
    int *pfull = baton;

    db->entry = cp_segment_entry(connpool_child.segment, CP_ENTRY_POOL,
                                 server_key(db->server), db->name);
    *pfull |= db->entry < 0;
}

static void enter_upstream(connpool_upstream_t *up, void *baton)
{
    int *pfull = baton;

    up->pool_entry = cp_segment_entry(connpool_child.segment, CP_ENTRY_POOL,
                                      server_key(up->server), up->name);
    up->entry = cp_segment_entry(connpool_child.segment, CP_ENTRY_UPSTREAM,
                                 server_key(up->server), up->name);
    *pfull |= up->pool_entry < 0 || up->entry < 0;
}

static void enter_query(connpool_query_t *query, void *baton)
{
    int *pfull = baton;

    query->entry = cp_segment_entry(connpool_child.segment, CP_ENTRY_QUERY,
                                    server_key(query->server), query->name);
    *pfull |= query->entry < 0;
}

static int enter_all(retained_t *retained)
{
    int is_full = 0;

    connpool_child.segment = retained->segment;
    connpool_each_database(enter_database, &is_full);
    connpool_each_upstream(enter_upstream, &is_full);
    connpool_each_query(enter_query, &is_full);
    return !is_full;
}

/* Keep the segment while it has room; else begin a larger one. */
static apr_status_t set_up_segment(retained_t *retained, server_rec *s)
{
    fingerprint_t own = own_fingerprint();
    apr_status_t rv = APR_SUCCESS;

    if (retained->segment
        && memcmp(&retained->fingerprint, &own, sizeof(own)) == 0
        && enter_all(retained)) {
        return APR_SUCCESS;
    }
    if (retained->segment) {
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s,
                     "the counters' segment has no room for more pools and "
                     "queries, or is of another version of the module: "
                     "counting starts anew");
    }
    rv = make_segment(retained, s);
    if (rv == APR_SUCCESS) {
        enter_all(retained);
    }
    return rv;
}

/* --- the parent: write locks --- */

typedef struct lock_set_up_t {
    retained_t *retained;
    server_rec *main_server;
    apr_status_t rv;
} lock_set_up_t;

/* One lock per file, however it is spelt in the configuration. The file may
 * not be there yet: its directory is what links lead to. */
static const char *canonical_path(const char *path, apr_pool_t *p)
{
    const char *name = strrchr(path, '/');
    char *file = realpath(path, NULL);
    char *dir = NULL;
    const char *copy = file ? apr_pstrdup(p, file) : path;

    if (!file && name) {
        dir = realpath(apr_pstrmemdup(p, path, (apr_size_t)(name - path) + 1),
                       NULL);
        copy = dir ? apr_pstrcat(p, dir, name, NULL) : path;
    }
    free(file);
    free(dir);
    return copy;
}

static void set_up_lock(connpool_database_t *db, void *baton)
{
    lock_set_up_t *setup = baton;
    server_rec *s = setup->main_server;
    apr_pool_t *p = s->process->pool;
    const char *path = canonical_path(db->sqlite.path, s->process->pconf);
    connpool_lock_t *lock;

    if (db->sqlite.is_readonly || setup->rv != APR_SUCCESS) {
        return;
    }
    lock = apr_hash_get(setup->retained->locks, path, APR_HASH_KEY_STRING);
    if (!lock) {
        const char *id = apr_psprintf(p, "%u",
                                      apr_hash_count(setup->retained->locks));

        lock = apr_pcalloc(p, sizeof(*lock));
        lock->path = apr_pstrdup(p, path); /* outlives this configuration */
        setup->rv = ap_global_mutex_create(&lock->mutex, NULL, LOCK_TYPE, id, s,
                                           p, 0);
        if (setup->rv != APR_SUCCESS) {
            return;
        }
        apr_hash_set(setup->retained->locks, lock->path, APR_HASH_KEY_STRING,
                     lock);
    }
    db->lock = lock;
}

static apr_status_t set_up_locks(retained_t *retained, server_rec *s)
{
    lock_set_up_t setup = {retained, s, APR_SUCCESS};

    if (!retained->locks) {
        retained->locks = apr_hash_make(s->process->pool);
    }
    connpool_each_database(set_up_lock, &setup);
    return setup.rv;
}

/* --- the parent: what the log should say at start --- */

static int is_below(const char *path, const char *root)
{
    apr_size_t n = root ? strlen(root) : 0;

    while (n > 1 && root[n - 1] == '/') {
        n--;
    }
    return n > 0 && strncmp(path, root, n) == 0 && path[n] == '/';
}

static void warn_of_document_root(connpool_database_t *db)
{
    for (server_rec *s = connpool_child.main_server; s; s = s->next) {
        core_server_config *core = ap_get_core_module_config(s->module_config);

        if (core && is_below(db->sqlite.path, core->ap_document_root)) {
            ap_log_error(
                APLOG_MARK, APLOG_WARNING, 0, s,
                "ConnPoolDatabase %s: the file lies below the "
                "DocumentRoot %s, so it can be downloaded, and serving "
                "it breaks SQLite's locks: move it",
                db->name, core->ap_document_root);
            return;
        }
    }
}

/* "at most 10 connections (10 one-shot ones more) in each of 4 children, worst
 * case 80 connections" */
static const char *describe_limit(apr_pool_t *p, const cp_pool_config_t *pool,
                                  int children)
{
    const char *more = pool->overflow_max > 0 ? apr_psprintf(
                           p, " (and %d one-shot ones)", pool->overflow_max)
                                              : "";

    return apr_psprintf(
        p,
        "at most %d connections%s in each of %d children, worst case %d "
        "connections",
        pool->max, more, children, children * (pool->max + pool->overflow_max));
}

typedef struct announcement_t {
    int children;
    apr_pool_t *p;
} announcement_t;

static void announce_database(connpool_database_t *db, void *baton)
{
    const announcement_t *a = baton;
    apr_int64_t each = db->pool.max * db->sqlite.cache;

    ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, connpool_child.main_server,
                 "pool '%s' (sqlite): %s; page cache of %s in each child, %s "
                 "in all",
                 db->name, describe_limit(a->p, &db->pool, a->children),
                 cp_params_show_size(a->p, each),
                 cp_params_show_size(a->p, a->children * each));
    warn_of_document_root(db);
}

static void announce_upstream(connpool_upstream_t *up, void *baton)
{
    const announcement_t *a = baton;

    ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, connpool_child.main_server,
                 "pool '%s' (http): %s; all upstreams of its server together "
                 "%d in each child",
                 up->name, describe_limit(a->p, &up->pool, a->children),
                 connpool_server(up->server)->http_max);
}

static void add_caches(connpool_database_t *db, void *baton)
{
    *(apr_int64_t *)baton += (apr_int64_t)db->pool.max * db->sqlite.cache;
}

/* A bound that the page caches alone can reach is no mistake, but it makes
 * connections close and requests fail under load. */
static void warn_of_memory(server_rec *s, apr_pool_t *ptemp)
{
    apr_int64_t bound = connpool_server(s)->memory;
    apr_int64_t worst = 0;

    connpool_each_database(add_caches, &worst);
    if (worst > bound) {
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s,
                     "ConnPoolMemory %s: the page caches of all databases can "
                     "take %s in each child: lower max= or cache=, or raise "
                     "the bound",
                     cp_params_show_size(ptemp, bound),
                     cp_params_show_size(ptemp, worst));
    }
}

static void note_writable(connpool_database_t *db, void *baton)
{
    *(int *)baton |= !db->sqlite.is_readonly;
}

static void announce(server_rec *s, apr_pool_t *ptemp)
{
    const char *risk = cp_sqlite_version_risk(ptemp);
    announcement_t a = {1, ptemp};
    int has_writable = 0;

    ap_mpm_query(AP_MPMQ_MAX_DAEMONS, &a.children);
    ap_log_error(APLOG_MARK, APLOG_INFO, 0, s,
                 "mod_connpool " CONNPOOL_VERSION " with SQLite %s and %s",
                 cp_sqlite_version(), cp_http_version(ptemp));
    connpool_each_database(announce_database, &a);
    connpool_each_upstream(announce_upstream, &a);
    connpool_each_database(note_writable, &has_writable);
    warn_of_memory(s, ptemp);
    if (risk && has_writable) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s, "%s", risk);
    }
}

int connpool_post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp,
                         server_rec *main_server)
{
    retained_t *retained;

    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG) {
        return OK;
    }
    retained = ap_retained_data_get(RETAINED_KEY);
    if (!retained) {
        retained = ap_retained_data_create(RETAINED_KEY, sizeof(*retained));
    }
    connpool_child.main_server = main_server;
    ap_add_version_component(pconf, "mod_connpool/" CONNPOOL_VERSION);
    if (set_up_segment(retained, main_server) != APR_SUCCESS
        || set_up_locks(retained, main_server) != APR_SUCCESS
        || connpool_provider_init(pconf, ptemp, main_server) != APR_SUCCESS) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    announce(main_server, ptemp);
    return OK;
}

void connpool_child_status(server_rec *s, pid_t pid, ap_generation_t gen,
                           int slot, mpm_child_status status)
{
    if (status == MPM_CHILD_EXITED && connpool_child.segment) {
        cp_segment_fold(connpool_child.segment, pid);
    }
}

/* --- the child: pools --- */

/* Which forms of a definition do the servers that see it need? Index:
 * is_pooled. */
static void needed_forms(const void *definition, int is_http, int needed[2])
{
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

/* max=10 is nine readers and one writer; max=1 is one connection for both; a
 * database that is only read has ten readers. */
static void make_database_pools(connpool_database_t *db, int is_pooled)
{
    connpool_db_child_t *child = db->child;
    cp_pool_stats_t *stats = cp_segment_pool(connpool_child.segment,
                                             connpool_child.slot, db->entry);
    cp_pool_config_t config = db->pool;
    int has_writer = !db->sqlite.is_readonly;

    config.is_pooled = is_pooled;
    config.part = is_pooled ? 0 : 2;
    if (has_writer && db->pool.max > 1) {
        cp_pool_config_t writer = config;

        writer.members = "writer";
        writer.max = 1;
        writer.part = config.part + 1;
        writer.min = 0;
        /* A write beside the queue would wait for the same lock. */
        writer.overflow_max = 0;
        make_pool(&child->writer[is_pooled], &writer, &cp_sqlite_writer,
                  child->sqlite, stats);
        config.members = "readers";
        config.max--;
    }
    make_pool(&child->readers[is_pooled], &config,
              has_writer && db->pool.max == 1 ? &cp_sqlite_writer
                                              : &cp_sqlite_reader,
              child->sqlite, stats);
    if (has_writer && db->pool.max == 1) {
        child->writer[is_pooled] = child->readers[is_pooled];
    }
}

static void build_database(connpool_database_t *db, void *baton)
{
    apr_pool_t *p = baton;
    int needed[2] = {0, 0};

    if (db->lock) {
        apr_status_t rv = apr_global_mutex_child_init(
            &db->lock->mutex, apr_global_mutex_lockfile(db->lock->mutex), p);

        if (rv != APR_SUCCESS) {
            ap_log_error(APLOG_MARK, APLOG_CRIT, rv, connpool_child.main_server,
                         "database '%s': no access to the write lock",
                         db->name);
        }
        db->sqlite.write_lock = db->lock->mutex;
    }
    db->child = apr_pcalloc(p, sizeof(*db->child));
    cp_sqlite_create(&db->child->sqlite, &db->sqlite, p);
    needed_forms(db, 0, needed);
    for (int is_pooled = 0; is_pooled < 2; is_pooled++) {
        if (needed[is_pooled]) {
            make_database_pools(db, is_pooled);
        }
    }
}

/* --- the child: upstreams --- */

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

/* Upstreams of one origin share the limit per host; that of the one that was
 * defined first counts. */
static cp_gate_t *host_gate(upstream_build_t *build,
                            const connpool_upstream_t *up)
{
    cp_gate_t *gate = apr_hash_get(build->host_gates, up->origin,
                                   APR_HASH_KEY_STRING);

    if (!gate) {
        gate = make_shared_gate(up->perhost, up->pool.queue, build->p);
        apr_hash_set(build->host_gates, up->origin, APR_HASH_KEY_STRING, gate);
    }
    return gate;
}

static cp_gate_t *total_gate(upstream_build_t *build,
                             const connpool_upstream_t *up)
{
    connpool_server_t *sc = connpool_server(up->server);

    if (!sc->http_gate) {
        sc->http_gate = make_shared_gate(sc->http_max, up->pool.queue,
                                         build->p);
    }
    return sc->http_gate;
}

static void build_upstream(connpool_upstream_t *up, void *baton)
{
    upstream_build_t *build = baton;
    cp_pool_config_t config = up->pool;
    int needed[2] = {0, 0};
    apr_status_t rv;

    build->count++;
    up->child = apr_pcalloc(build->p, sizeof(*up->child));
    rv = cp_upstream_create(&up->child->upstream, &up->http, build->p);
    if (rv == APR_SUCCESS) {
        rv = cp_breaker_create(&up->child->breaker, up->name, up->breaker,
                               connpool_upstream_stats(up), build->p);
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, connpool_child.main_server,
                     "upstream '%s' cannot be set up", up->name);
        return;
    }
    config.shared_gates[0] = host_gate(build, up);
    config.shared_names[0] = "the limit per host";
    config.shared_gates[1] = total_gate(build, up);
    config.shared_names[1] = "the limit of all upstreams";
    needed_forms(up, 1, needed);
    for (int is_pooled = 0; is_pooled < 2; is_pooled++) {
        if (needed[is_pooled]) {
            config.is_pooled = is_pooled;
            config.part = is_pooled ? 0 : 2;
            make_pool(&up->child->pool[is_pooled], &config, &cp_http_driver,
                      up->child->upstream,
                      cp_segment_pool(connpool_child.segment,
                                      connpool_child.slot, up->pool_entry));
        }
    }
}

/* A virtual host may have its engine on while the main server's is off. */
int connpool_wants_loop(void)
{
    for (server_rec *s = connpool_child.main_server; s; s = s->next) {
        const connpool_server_t *sc = connpool_server(s);

        if (sc->engine && apr_hash_count(sc->all_upstreams) > 0) {
            return connpool_server(connpool_child.main_server)->event_loop;
        }
    }
    return 0;
}

static void start_loop(server_rec *s)
{
    connpool_server_t *sc = connpool_server(s);
    cp_loop_config_t config = {
        .max_connections = sc->http_max,
        .keepalive = sc->http_keepalive,
        .cleanup = sc->http_cleanup,
    };

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

typedef struct pool_walk_t {
    connpool_each_pool_fn fn;
    void *baton;
} pool_walk_t;

static void walk_database(connpool_database_t *db, void *baton)
{
    const pool_walk_t *walk = baton;

    for (int i = 0; db->child && i < 2; i++) {
        if (db->child->readers[i]) {
            walk->fn(db->child->readers[i], walk->baton);
        }
        if (db->child->writer[i]
            && db->child->writer[i] != db->child->readers[i]) {
            walk->fn(db->child->writer[i], walk->baton);
        }
    }
}

static void walk_upstream(connpool_upstream_t *up, void *baton)
{
    const pool_walk_t *walk = baton;

    for (int i = 0; up->child && i < 2; i++) {
        if (up->child->pool[i]) {
            walk->fn(up->child->pool[i], walk->baton);
        }
    }
}

void connpool_each_pool_of(connpool_database_t *db, connpool_each_pool_fn fn,
                           void *baton)
{
    pool_walk_t walk = {fn, baton};

    walk_database(db, &walk);
}

void connpool_each_pool(connpool_each_pool_fn fn, void *baton)
{
    pool_walk_t walk = {fn, baton};

    connpool_each_database(walk_database, &walk);
    connpool_each_upstream(walk_upstream, &walk);
}

static void stop_pool(cp_pool_t *pool, void *baton)
{
    cp_pool_stop(pool);
}

/* Refuse new work and wake all who wait. */
static void stop_pools(void)
{
    for (int i = 0; i < shared_gates->nelts; i++) {
        cp_gate_close(APR_ARRAY_IDX(shared_gates, i, cp_gate_t *));
    }
    connpool_each_pool(stop_pool, NULL);
}

static void interrupt_database(connpool_database_t *db, void *baton)
{
    if (db->child && db->child->sqlite) {
        cp_sqlite_stop(db->child->sqlite);
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
    stop_pools();
    connpool_cache_cancel();
    connpool_coalesce_cancel();
    connpool_each_database(interrupt_database, NULL);
}

/* A graceful stop gives requests GracefulShutdownTimeout, and then the MPM
 * would wait for a thread that hangs until it kills the child. After a graceful
 * restart they may take as long as they like. */
void connpool_child_end_grace(void)
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
    if (!connpool_child.is_started) {
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
    stop_pools();
    connpool_cache_stop();
    connpool_coalesce_cancel();
    connpool_each_pool(destroy_pool, NULL);
    return APR_SUCCESS;
}

static void count_definition(connpool_database_t *db, void *baton)
{
    ++*(int *)baton;
}

void connpool_child_init(apr_pool_t *pchild, server_rec *main_server)
{
    upstream_build_t build = {pchild, NULL, 0};
    int databases = 0;

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
    connpool_each_database(build_database, pchild);
    connpool_each_database(count_definition, &databases);
    cp_http_global_init();
    build.host_gates = apr_hash_make(pchild);
    shared_gates = apr_array_make(pchild, 4, sizeof(cp_gate_t *));
    connpool_each_upstream(build_upstream, &build);
    if (build.count > 0) {
        start_loop(main_server);
    }
    if (build.count + databases == 0) {
        return;
    }
    connpool_cache_start(pchild, main_server);
    connpool_coalesce_start(pchild);
    connpool_child.is_started = 1;
    apr_pool_pre_cleanup_register(pchild, NULL, child_exit);
    connpool_maintenance_start(main_server);
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

cp_query_stats_t *connpool_query_stats(const connpool_query_t *query)
{
    return cp_segment_query(connpool_child.segment, connpool_child.slot,
                            query->entry);
}

cp_upstream_stats_t *connpool_upstream_stats(const connpool_upstream_t *up)
{
    return cp_segment_upstream(connpool_child.segment, connpool_child.slot,
                               up->entry);
}
