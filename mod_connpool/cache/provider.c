/* SPDX-License-Identifier: Apache-2.0
 * The shared cache of answers with ttl=DURATION: a socache provider of httpd.
 *
 * Those that need a mutex around them (shmcb, dbm) live on this machine and are
 * called directly. The others speak to a server that may never answer, and are
 * called by threads of their own (remote.c). Whatever goes
 * wrong is a miss. */
#include "cache/provider.h"

#include "glue.h"
#include "answers/answer.h"
#include "answers/shared/entry.h"
#include "answers/shared/key.h"
#include "base/bytes/buffer.h"
#include "base/log.h"
#include "child/child.h"
#include "config/line/option.h"
#include "config/query.h"
#include "config/setting.h"
#include "stats/cell.h"
#include "stats/stats.h"

#include <unistd.h>

#include <ap_provider.h>
#include <ap_socache.h>
#include <apr_strings.h>
#include <util_mutex.h>

#define DEFAULT_NAME   "shmcb"
#define CLIENT_NAME    "connpool" /* at most 16 bytes, part of file names */
#define LOCK_PATIENCE  apr_time_from_msec(250)
#define COMPLAIN_EVERY apr_time_from_sec(10)
#define TYPICAL_ENTRY  1024

static struct {
    const char *name;
    const ap_socache_provider_t *provider; /* NULL: no query needs one */
    ap_socache_instance_t *instance;
    int is_remote;
    apr_global_mutex_t *mutex; /* NULL: none is needed */
    pid_t parent;              /* who initialised it; 0: nobody yet */
    apr_size_t too_large;      /* atomic: the smallest that was refused */
} cache;

const char *connpool_provider_name(void)
{
    return cache.provider ? cache.name : NULL;
}

int connpool_provider_is_direct(void)
{
    return cache.provider && !cache.is_remote;
}

/* --- configuration --- */

static int is_remote(const ap_socache_provider_t *provider, const char *name)
{
    return !(provider->flags & AP_SOCACHE_FLAG_NOTMPSAFE)
           || strcmp(name, "redis") == 0 || strcmp(name, "memcache") == 0
           || strcmp(name, "dc") == 0;
}

/* NULL, or a sentence. */
static const char *create_provider(apr_pool_t *pconf, apr_pool_t *ptemp,
                                   const char *directive)
{
    const char *args = directive ? strchr(directive, ':') : NULL;
    const char *name = !directive ? DEFAULT_NAME
                       : args     ? apr_pstrmemdup(pconf, directive,
                                                   (apr_size_t)(args - directive))
                                  : directive;
    const ap_socache_provider_t *provider = ap_lookup_provider(
        AP_SOCACHE_PROVIDER_GROUP, name, AP_SOCACHE_PROVIDER_VERSION);
    const char *error;

    memset(&cache, 0, sizeof(cache));
    if (!provider) {
        return apr_psprintf(ptemp,
                            "ConnPoolCache %s: there is no such provider; load "
                            "its module: LoadModule socache_%s_module "
                            "modules/mod_socache_%s.so",
                            name, name, name);
    }
    error = provider->create(&cache.instance, args ? args + 1 : NULL, ptemp,
                             pconf);
    if (error) {
        return apr_psprintf(ptemp, "ConnPoolCache %s: %s",
                            directive ? directive : name, error);
    }
    cache.name = name;
    cache.provider = provider;
    cache.is_remote = is_remote(provider, name);
    cache.too_large = CONNPOOL_ENTRY_MAX;
    return NULL;
}

/* The first query with ttl=DURATION, or NULL. */
static const connpool_query_t *needs_provider(server_rec *s)
{
    for (; s; s = s->next) {
        const connpool_server_t *sc = connpool_server(s);

        for (int i = 0; i < sc->queries->nelts; i++) {
            const connpool_query_t *query = APR_ARRAY_IDX(sc->queries, i,
                                                          connpool_query_t *);

            if (query->caching.ttl > 0) {
                return query;
            }
        }
    }
    return NULL;
}

int connpool_provider_check_config(apr_pool_t *pconf, apr_pool_t *plog,
                                   apr_pool_t *ptemp, server_rec *main_server)
{
    const connpool_query_t *needing = needs_provider(main_server);
    const char *error = needing ? create_provider(
                            pconf, ptemp, connpool_server(main_server)->cache)
                                : NULL;

    return error ? connpool_refuse(main_server, needing->where,
                                   apr_psprintf(ptemp,
                                                "ConnPoolQuery %s: ttl=: %s",
                                                needing->name, error))
                 : OK;
}

/* Not in a child that ends: the cache goes on. */
static apr_status_t destroy(void *data)
{
    if (cache.provider && cache.parent == getpid()) {
        cache.provider->destroy(cache.instance, data);
    }
    memset(&cache, 0, sizeof(cache));
    return APR_SUCCESS;
}

apr_status_t connpool_provider_init(apr_pool_t *pconf, apr_pool_t *ptemp,
                                    server_rec *main_server)
{
    struct ap_socache_hints hints = {
        .avg_id_len = CP_KEY_ID_SIZE - 1,
        .avg_obj_size = TYPICAL_ENTRY,
        .expiry_interval = apr_time_from_sec(60),
    };
    apr_status_t rv = APR_SUCCESS;

    if (!cache.provider) {
        return APR_SUCCESS;
    }
    if (cache.provider->flags & AP_SOCACHE_FLAG_NOTMPSAFE) {
        rv = ap_global_mutex_create(&cache.mutex, NULL, CONNPOOL_CACHE_MUTEX,
                                    NULL, main_server, pconf, 0);
    }
    if (rv == APR_SUCCESS) {
        rv = cache.provider->init(cache.instance, CLIENT_NAME, &hints,
                                  main_server, pconf);
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_CRIT, rv, main_server,
                     "ConnPoolCache: the provider '%s' cannot be set up",
                     cache.name);
        return rv;
    }
    cache.parent = getpid();
    apr_pool_cleanup_register(pconf, main_server, destroy,
                              apr_pool_cleanup_null);
    return APR_SUCCESS;
}

/* --- what may go wrong --- */

static void complain(apr_status_t rv, const char *what, const char *detail)
{
    static cp_log_limit_t limit;
    uint64_t suppressed;
    char tail[64];

    cp_stats_add(&connpool_cache_stats()->failures, 1);
    if (cp_log_allowed(&limit, COMPLAIN_EVERY, &suppressed)) {
        ap_log_error(APLOG_MARK, APLOG_WARNING, rv, connpool_child.main_server,
                     "ConnPoolCache %s: %s%s; queries are run%s", cache.name,
                     what, detail,
                     cp_log_repeats(tail, sizeof(tail), suppressed));
    }
}

/* The provider logs each refusal: what is as large is not tried again. */
static void note_too_large(apr_size_t size)
{
    apr_size_t known = __atomic_load_n(&cache.too_large, __ATOMIC_RELAXED);

    cp_stats_add(&connpool_cache_stats()->too_large, 1);
    while (size < known
           && !__atomic_compare_exchange_n(&cache.too_large, &known, size, 0,
                                           __ATOMIC_RELAXED,
                                           __ATOMIC_RELAXED)) {
    }
}

/* --- calling it directly --- */

static apr_status_t enter(void)
{
    apr_status_t rv = cache.mutex ? apr_global_mutex_timedlock(cache.mutex,
                                                               LOCK_PATIENCE)
                                  : APR_SUCCESS;

    cp_stats_add(&connpool_cache_stats()->timeouts, APR_STATUS_IS_TIMEUP(rv));
    return rv;
}

static void leave(void)
{
    if (cache.mutex) {
        apr_global_mutex_unlock(cache.mutex);
    }
}

static apr_status_t call_get(const char *id, char *room, unsigned *psize,
                             apr_pool_t *p)
{
    return cache.provider->retrieve(
        cache.instance, connpool_child.main_server, (const unsigned char *)id,
        CP_KEY_ID_SIZE - 1, (unsigned char *)room, psize, p);
}

static apr_status_t call_put(const char *id, apr_time_t expires, char *data,
                             unsigned size, apr_pool_t *p)
{
    return cache.provider->store(cache.instance, connpool_child.main_server,
                                 (const unsigned char *)id, CP_KEY_ID_SIZE - 1,
                                 expires, (unsigned char *)data, size, p);
}

static apr_status_t direct_get(request_rec *r, const char *id, cp_buffer_t *buf)
{
    unsigned size = CONNPOOL_ENTRY_MAX;
    apr_status_t rv;

    if (!cp_buffer_reserve(buf, size)) {
        return APR_ENOMEM;
    }
    rv = enter();
    if (rv == APR_SUCCESS) {
        rv = call_get(id, buf->data, &size, r->pool);
        leave();
    }
    buf->size = rv == APR_SUCCESS ? size : 0;
    /* What mod_socache_dbm calls what is not there. */
    return rv == APR_EGENERAL ? APR_NOTFOUND : rv;
}

static apr_status_t direct_put(request_rec *r, const char *id,
                               apr_time_t expires, cp_buffer_t *buf)
{
    apr_status_t rv = enter();

    if (rv == APR_SUCCESS) {
        rv = call_put(id, expires, buf->data, (unsigned)buf->size, r->pool);
        leave();
        if (APR_STATUS_IS_ENOSPC(rv)) {
            note_too_large(buf->size);
        }
    }
    return rv;
}

/* --- entries --- */

static cp_answer_t *decode(const cp_buffer_t *buf, const cp_key_t *key,
                           cp_entry_times_t *times)
{
    cp_answer_t *answer = NULL;
    cp_entry_verdict_t verdict = cp_entry_decode(buf->data, buf->size, key,
                                                 &answer, times);

    if (verdict != CP_ENTRY_VALID) {
        complain(
            0, "what was found is no entry: ", cp_entry_verdict_names[verdict]);
    }
    return answer;
}

cp_answer_t *connpool_provider_get(request_rec *r, const cp_key_t *key,
                                   cp_entry_times_t *times)
{
    char id[CP_KEY_ID_SIZE];
    cp_buffer_t buf = CP_BUFFER_MAY_FAIL;
    cp_answer_t *answer = NULL;
    apr_status_t rv;

    if (!cache.provider) {
        return NULL;
    }
    cp_key_id(key, id);
    rv = cache.is_remote ? connpool_remote_get(id, &buf)
                         : direct_get(r, id, &buf);
    if (rv == APR_SUCCESS) {
        answer = decode(&buf, key, times);
    }
    else if (!APR_STATUS_IS_NOTFOUND(rv) && !APR_STATUS_IS_EBUSY(rv)) {
        complain(rv, "a lookup failed", "");
    }
    cp_buffer_free(&buf);
    return answer;
}

static apr_time_t last_use(const cp_entry_times_t *times)
{
    apr_time_t last = times->expires;

    if (last < times->stale_until) {
        last = times->stale_until;
    }
    if (last < times->stale_if_error_until) {
        last = times->stale_if_error_until;
    }
    /* Providers count whole seconds, and some take 0 for eternity. */
    return last + apr_time_from_sec(1);
}

int connpool_provider_put(request_rec *r, const cp_key_t *key,
                          const cp_answer_t *answer,
                          const cp_entry_times_t *times)
{
    char id[CP_KEY_ID_SIZE];
    cp_buffer_t buf = CP_BUFFER_MAY_FAIL;
    apr_status_t rv;

    if (!cache.provider) {
        return 0;
    }
    if (cp_entry_size(key, answer)
        >= __atomic_load_n(&cache.too_large, __ATOMIC_RELAXED)) {
        cp_stats_add(&connpool_cache_stats()->too_large, 1);
        return 0;
    }
    cp_key_id(key, id);
    cp_entry_encode(&buf, key, answer, times);
    rv = buf.has_failed    ? APR_ENOMEM
         : cache.is_remote ? connpool_remote_put(id, last_use(times), &buf)
                           : direct_put(r, id, last_use(times), &buf);
    if (rv != APR_SUCCESS && !APR_STATUS_IS_ENOSPC(rv)
        && !APR_STATUS_IS_EBUSY(rv)) {
        complain(rv, "a store failed", "");
    }
    cp_buffer_free(&buf);
    return rv == APR_SUCCESS;
}

/* --- the child --- */

void connpool_provider_child_init(apr_pool_t *pchild)
{
    static const connpool_remote_t calls = {call_get, call_put};
    apr_status_t rv = APR_SUCCESS;

    if (cache.mutex) {
        rv = apr_global_mutex_child_init(
            &cache.mutex, apr_global_mutex_lockfile(cache.mutex), pchild);
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_CRIT, rv, connpool_child.main_server,
                     "ConnPoolCache %s: no access to its mutex: this child "
                     "does without it",
                     cache.name);
        cache.provider = NULL;
    }
    else if (cache.is_remote) {
        connpool_remote_start(&calls);
    }
}
