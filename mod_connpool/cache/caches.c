/* SPDX-License-Identifier: Apache-2.0
 * The caches of this child, from its first request to its last. */
#include "cache/caches.h"

#include "glue.h"
#include "answers/shared/flight.h"
#include "answers/shared/key.h"
#include "answers/shared/store.h"
#include "cache/provider.h"
#include "child/child.h"
#include "child/memory.h"
#include "config/database.h"
#include "config/query.h"
#include "config/setting.h"
#include "stats/cell.h"
#include "stats/stats.h"

connpool_caches_t connpool_caches;

typedef struct start_t {
    apr_pool_t *p;
    int has_collected;
    int has_data;
} start_t;

static void add_reply(cp_key_t *key, const connpool_reply_t *reply)
{
    cp_key_add_number(key, reply->has_declared_types);
    cp_key_add_number(key, reply->is_gzip);
    cp_key_add_text(key, reply->type);
    for (int i = 0; reply->json && i < reply->json->nelts; i++) {
        cp_key_add_text(key, APR_ARRAY_IDX(reply->json, i, const char *));
    }
}

/* Where the query was defined, not who serves it: a virtual host that inherits
 * it gives the same answers. */
static void begin_key(connpool_query_t *query, apr_pool_t *p)
{
    const connpool_database_t *db = query->database;
    cp_key_t key = {0};

    cp_key_add_text(&key, connpool_server_key(p, query->server));
    cp_key_add_text(&key, query->name);
    cp_key_add_text(&key, query->sql);
    cp_key_add_text(&key, db->name);
    cp_key_add_text(&key, db->facts.address);
    cp_key_add_number(&key, (apr_int64_t)query->format);
    cp_key_add_number(&key, query->max_rows);
    cp_key_add_number(&key, query->max_bytes);
    add_reply(&key, &query->reply);
    cp_key_add_text(&key, query->paged_by);
    query->caching.key = key.bytes;
}

/* Pages are run, counted and kept as the query that they are of. */
static void begin_page(const connpool_query_t *query, connpool_query_t *page)
{
    page->caching.key = query->caching.key;
    page->entry = query->entry;
}

static void begin_pages(const connpool_query_t *query)
{
    begin_page(query, query->page->first);
    for (int i = 0; i < 1 << query->page->sort.count; i++) {
        begin_page(query, query->page->next[i]);
    }
}

static void start_query(connpool_query_t *query, void *baton)
{
    start_t *start = baton;

    if (!connpool_query_is_collected(query)) {
        return;
    }
    start->has_collected = 1;
    begin_key(query, start->p);
    if (query->page) {
        begin_pages(query);
    }
    start->has_data |= query->caching.is_by_data;
}

/* Of answers kept in this child: with ttl=data. */
static uint64_t kept_bytes(void)
{
    return cp_store_state(connpool_caches.store).bytes;
}

static void drop_kept(void)
{
    cp_store_shrink(connpool_caches.store, 0);
}

static const connpool_memory_user_t kept = {kept_bytes, drop_kept};

void connpool_cache_start(apr_pool_t *pchild, server_rec *main_server)
{
    start_t start = {0};
    apr_status_t rv = APR_SUCCESS;

    memset(&connpool_caches, 0, sizeof(connpool_caches));
    apr_pool_create(&start.p, pchild); /* ends before the databases do */
    connpool_each_query(start_query, &start);
    if (!start.has_collected) {
        return;
    }
    if (start.has_data) {
        rv = cp_store_create(
            &connpool_caches.store,
            (apr_size_t)connpool_server(main_server)->cache_local, start.p);
    }
    if (connpool_caches.store) {
        connpool_memory_join(&kept);
    }
    if (rv == APR_SUCCESS) {
        rv = cp_flight_table_create(&connpool_caches.flights, start.p);
    }
    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, main_server,
                     "no answers are kept or shared in this child");
        connpool_caches.flights = NULL;
    }
    connpool_provider_child_init(pchild);
}

void connpool_cache_cancel(void)
{
    if (connpool_caches.flights) {
        cp_flight_stop(connpool_caches.flights);
    }
}

void connpool_cache_stop(void)
{
    connpool_cache_cancel();
    connpool_remote_stop();
}

void connpool_cache_maintain(void)
{
    cp_cache_stats_t *stats = connpool_cache_stats();
    cp_store_state_t state;

    if (connpool_caches.store) {
        state = cp_store_state(connpool_caches.store);
        __atomic_store_n(&stats->bytes, state.bytes, __ATOMIC_RELAXED);
        __atomic_store_n(&stats->entries, state.entries, __ATOMIC_RELAXED);
        cp_stats_add(&stats->evictions,
                     (int64_t)(state.evictions - connpool_caches.evictions));
        connpool_caches.evictions = state.evictions;
    }
}
