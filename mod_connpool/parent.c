/* SPDX-License-Identifier: Apache-2.0
 * What the parent prepares: the shared segment, the write locks, and the lines
 * that the log has at start.
 *
 * The segment and the locks outlive restarts: children of two generations use
 * them side by side. They are kept in the process's pool, found again through
 * retained data, and hold no pointer into this module. */
#include "glue.h"
#include "base/number.h"
#include "cache/provider.h"
#include "child/child.h"
#include "child/fork.h"
#include "config/database.h"
#include "config/query.h"
#include "config/setting.h"
#include "config/upstream.h"
#include "http/upstream/upstream.h"
#include "database/database.h"
#include "http/job/client.h"
#include "counters.h"
#include "lifecycle.h"
#include "pool/pool.h"
#include "pool/rate/rate.h"
#include "stats/segment.h"
#include "stats/stats.h"

#include <ap_mpm.h>
#include <apr_hash.h>
#include <apr_shm.h>
#include <apr_strings.h>
#include <http_core.h>
#include <mpm_common.h>
#include <scoreboard.h>
#include <util_mutex.h>

#define RETAINED_KEY "mod_connpool"
#define LOCK_TYPE    "connpool"
#define RATE_BUCKETS 65536 /* 1.2 MB */

typedef struct retained_t {
    connpool_counters_t *counters; /* NULL: not yet made */
    apr_hash_t *locks;             /* identity -> connpool_lock_t */
    cp_rate_t *rates;              /* NULL: not yet wanted */
    apr_size_t rates_size;         /* as whoever made them laid them out */
    apr_hash_t *permits;           /* permits_key -> cp_permits_t */
} retained_t;

/* --- the parent: write locks --- */

typedef struct lock_set_up_t {
    retained_t *retained;
    server_rec *main_server;
    apr_status_t rv;
} lock_set_up_t;

static void set_up_lock(connpool_database_t *db, void *baton)
{
    lock_set_up_t *setup = baton;
    server_rec *s = setup->main_server;
    apr_pool_t *p = s->process->pool;
    const char *identity;
    connpool_lock_t *lock;

    if (db->facts.is_readonly || !(db->driver->can & CP_CAN_LOCK_WRITES)
        || setup->rv != APR_SUCCESS) {
        return;
    }
    identity = db->driver->identity(s->process->pconf, db->config);
    lock = apr_hash_get(setup->retained->locks, identity, APR_HASH_KEY_STRING);
    if (!lock) {
        const char *id = apr_psprintf(p, "%u",
                                      apr_hash_count(setup->retained->locks));

        lock = apr_pcalloc(p, sizeof(*lock));
        /* It outlives this configuration. */
        lock->identity = apr_pstrdup(p, identity);
        setup->rv = ap_global_mutex_create(&lock->mutex, NULL, LOCK_TYPE, id, s,
                                           p, 0);
        if (setup->rv != APR_SUCCESS) {
            return;
        }
        apr_hash_set(setup->retained->locks, lock->identity,
                     APR_HASH_KEY_STRING, lock);
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

/* --- the parent: how often others may come --- */

/* Clients keep what they have used over restarts, too. */
static apr_status_t set_up_rates(retained_t *retained, server_rec *s)
{
    apr_size_t size = cp_rate_size(RATE_BUCKETS);
    apr_status_t rv = APR_SUCCESS;
    apr_shm_t *shm;

    connpool_child.rates = NULL;
    if (!connpool_wants_rates()) {
        return APR_SUCCESS;
    }
    if (!retained->rates || retained->rates_size != size) {
        rv = apr_shm_create(&shm, size, NULL, s->process->pool);
        retained->rates = rv == APR_SUCCESS ? cp_rate_init(
                              apr_shm_baseaddr_get(shm), RATE_BUCKETS)
                                            : NULL;
        retained->rates_size = size;
    }
    connpool_child.rates = retained->rates;
    if (!connpool_child.rates) {
        ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_CRIT, rv, s,
                     "cannot make a shared segment of %" APR_SIZE_T_FMT
                     " bytes for ConnPoolRateLimit",
                     size);
        return APR_ENOMEM;
    }
    return APR_SUCCESS;
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

        if (core && is_below(db->facts.file, core->ap_document_root)) {
            ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                         "ConnPoolDatabase %s: the file lies below the "
                         "DocumentRoot %s, so it can be downloaded%s: move it",
                         db->name, core->ap_document_root, db->facts.file_risk);
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

    int worst = children * (pool->max + pool->overflow_max);

    if (pool->server_max && pool->server_max < worst) {
        return apr_psprintf(p,
                            "at most %d connections%s in each of %d children, "
                            "and never more than %d in all (server-max)",
                            pool->max, more, children, pool->server_max);
    }
    return apr_psprintf(
        p,
        "at most %d connections%s in each of %d children, worst case %d "
        "connections",
        pool->max, more, children, worst);
}

typedef struct announcement_t {
    int children;
    apr_pool_t *p;
    const cp_database_driver_t *driver; /* that is looked at */
    int has_writable;                   /* a database of it */
} announcement_t;

/* "; page cache of 5M in each child, 20M in all" */
static const char *describe_cache(const announcement_t *a,
                                  const connpool_database_t *db)
{
    apr_int64_t each = db->pool.max * db->facts.cache;

    return each > 0
               ? apr_psprintf(a->p, "; %s of %s in each child, %s in all",
                              db->facts.cache_name,
                              cp_params_show_size(a->p, each),
                              cp_params_show_size(a->p, a->children * each))
               : "";
}

static void announce_database(connpool_database_t *db, void *baton)
{
    const announcement_t *a = baton;

    ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, connpool_child.main_server,
                 "pool '%s' (%s): %s%s", db->name, db->driver->scheme,
                 describe_limit(a->p, &db->pool, a->children),
                 describe_cache(a, db));
    if (db->pool.server_max
        && a->children * db->pool.min > db->pool.server_max) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, connpool_child.main_server,
                     "ConnPoolDatabase %s: min=%d in each of %d children are "
                     "more than server-max=%d: some children keep none open",
                     db->name, db->pool.min, a->children, db->pool.server_max);
    }
    if (db->facts.file) {
        warn_of_document_root(db);
    }
}

static void announce_upstream(connpool_upstream_t *up, void *baton)
{
    const announcement_t *a = baton;

    ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, connpool_child.main_server,
                 "pool '%s' (http): %s; all upstreams of its server together "
                 "%d in each child",
                 up->name, describe_limit(a->p, &up->pool, a->children),
                 connpool_server(up->server)->http_max);
    for (int i = 0; i < up->base_count && !up->http.socket; i++) {
        const connpool_base_t *base = &up->bases[i];
        const char *doubt = cp_upstream_warning(a->p, &base->http,
                                                base->origin);

        if (doubt) {
            ap_log_error(APLOG_MARK, APLOG_NOTICE, 0,
                         connpool_child.main_server, "upstream '%s': %s",
                         base->name, doubt);
        }
    }
}

static void add_caches(connpool_database_t *db, void *baton)
{
    *(apr_int64_t *)baton += (apr_int64_t)db->pool.max * db->facts.cache;
}

static void note_writable(connpool_database_t *db, void *baton)
{
    announcement_t *a = baton;

    a->has_writable |= db->driver == a->driver && !db->facts.is_readonly;
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

/* Once for each kind of database of which one is written. */
static void warn_of_risk(const cp_database_driver_t *driver, void *baton)
{
    announcement_t *a = baton;
    const char *risk = driver->risk ? driver->risk(a->p) : NULL;

    a->driver = driver;
    a->has_writable = 0;
    connpool_each_database(note_writable, a);
    if (risk && a->has_writable) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, connpool_child.main_server,
                     "%s", risk);
    }
}

/* "SQLite 3.40.1 and libcurl/8.0" */
static const char *list_libraries(apr_pool_t *p)
{
    const apr_array_header_t *drivers = connpool_drivers(p);
    const char *list = "";

    for (int i = 0; i < drivers->nelts; i++) {
        list = apr_pstrcat(
            p, list,
            APR_ARRAY_IDX(drivers, i, const cp_database_driver_t *)->library(p),
            " and ", NULL);
    }
    return apr_pstrcat(p, list, cp_http_version(p), NULL);
}

static void warn_of_forks(server_rec *s)
{
    const char *module = connpool_fork_expected();

    if (module) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, 0, s,
                     "%s runs requests in processes of their own: there "
                     "nothing is pooled, cached or counted",
                     module);
    }
}

static void announce(server_rec *s, apr_pool_t *ptemp)
{
    announcement_t a = {.children = 1, .p = ptemp};

    ap_mpm_query(AP_MPMQ_MAX_DAEMONS, &a.children);
    ap_log_error(APLOG_MARK, APLOG_INFO, 0, s,
                 "mod_connpool " CONNPOOL_VERSION " with %s",
                 list_libraries(ptemp));
    connpool_each_database(announce_database, &a);
    connpool_each_upstream(announce_upstream, &a);
    warn_of_memory(s, ptemp);
    warn_of_forks(s);
    connpool_each_driver(warn_of_risk, &a);
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
    if (connpool_set_up_counters(&retained->counters, main_server)
            != APR_SUCCESS
        || set_up_locks(retained, main_server) != APR_SUCCESS
        || set_up_rates(retained, main_server) != APR_SUCCESS
        || connpool_permits_set_up(&retained->permits, main_server,
                                   connpool_most_processes())
               != APR_SUCCESS
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
        connpool_permits_fold(pid);
    }
}
