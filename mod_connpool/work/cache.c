/* SPDX-License-Identifier: Apache-2.0
 * Answers of queries that are kept or shared.
 *
 *  ttl=DURATION  kept by a socache provider for all children
 *                (provider.c) until the time is over
 *  ttl=data      kept in the memory of this child, with the version that the
 *                database had before the query began; given out as long as the
 *                database still has it
 *  coalesce=on   not kept: who asks while the query runs gets its answer
 *
 * With each of them a key is worked for by one request of a child at a time,
 * and the others wait for what it brings (answers/shared/flight.h). */
#include "work/cache.h"

#include "glue.h"
#include "answers/answer.h"
#include "answers/etag.h"
#include "answers/shared/entry.h"
#include "answers/shared/flight.h"
#include "answers/shared/key.h"
#include "answers/shared/store.h"
#include "base/bytes/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "cache/caches.h"
#include "cache/provider.h"
#include "child/child.h"
#include "config/database.h"
#include "config/query.h"
#include "database/database.h"
#include "database/value.h"
#include "database/version.h"
#include "request/account.h"
#include "request/hold.h"
#include "request/output.h"
#include "stats/cell.h"
#include "stats/stats.h"
#include "work/rows.h"

#include <apr_strings.h>

#define JITTER_PERCENT 10
#define COMPLAIN_EVERY apr_time_from_sec(10)

/* A request on its way through the connpool_caches. */
typedef struct visit_t {
    request_rec *r;
    connpool_query_t *query;
    const cp_value_t *values;
    connpool_served_t *served;
    cp_error_t *err;
    int is_kept;          /* it may look for answers, and keep its own */
    cp_version_t version; /* with ttl=data */
    cp_key_t key;         /* of the entry */
    cp_key_t flight_key;
    cp_answer_t *old; /* expired, and still good for something; or NULL */
    cp_entry_times_t old_times;
} visit_t;

/* May others' answers be given to this request, and the other way round? */
static int has_credentials(request_rec *r)
{
    return r->user || apr_table_get(r->headers_in, "Authorization")
           || apr_table_get(r->headers_in, "Cookie");
}

/* --- times --- */

/* The ttl less up to a tenth, so that what was made at once does not expire at
 * once. Whoever has the answer finds the same. */
static apr_interval_time_t lifetime(const connpool_query_t *query,
                                    apr_time_t made_at)
{
    apr_interval_time_t ttl = query->caching.ttl;

    return ttl
           - cp_clock_spread(ttl * JITTER_PERCENT / 100 + 1, (uint64_t)made_at);
}

static cp_entry_times_t times_of(const connpool_query_t *query,
                                 apr_time_t made_at)
{
    apr_time_t expires = made_at + lifetime(query, made_at);

    return (cp_entry_times_t){
        .expires = expires,
        .stale_until = expires + query->caching.stale,
        .stale_if_error_until = expires + query->caching.stale_if_error,
    };
}

/* --- looking --- */

static void serve(visit_t *v, cp_answer_t *answer, connpool_outcome_t outcome)
{
    v->served->answer = answer;
    v->served->outcome = outcome;
    v->served->expires = v->query->caching.ttl > 0
                             ? times_of(v->query, answer->made_at).expires
                             : 0;
}

static int find_by_data(visit_t *v)
{
    cp_store_tag_t tag;
    cp_answer_t *answer = cp_store_get(connpool_caches.store, &v->key, &tag);

    if (answer && cp_version_equals(tag.version, v->version)) {
        serve(v, answer, CONNPOOL_HIT);
        return 1;
    }
    cp_answer_unref(answer);
    return 0;
}

/* What the entry says of its times holds as far as this configuration agrees:
 * it may be of one before. */
static void limit_times(const connpool_query_t *query,
                        const cp_answer_t *answer, cp_entry_times_t *times)
{
    cp_entry_times_t most = times_of(query, answer->made_at);

    if (times->expires > most.expires) {
        times->expires = most.expires;
    }
    if (times->stale_until > most.stale_until) {
        times->stale_until = most.stale_until;
    }
    if (times->stale_if_error_until > most.stale_if_error_until) {
        times->stale_if_error_until = most.stale_if_error_until;
    }
}

static int find_by_time(visit_t *v)
{
    cp_entry_times_t times;
    cp_answer_t *answer = connpool_provider_get(v->r, &v->key, &times);
    apr_time_t now = apr_time_now();

    if (!answer) {
        return 0;
    }
    /* A clock may have been set back, or somebody writes what he likes. */
    if (answer->made_at > now) {
        cp_answer_unref(answer);
        return 0;
    }
    limit_times(v->query, answer, &times);
    if (now < times.expires) {
        serve(v, answer, CONNPOOL_HIT);
        return 1;
    }
    cp_answer_unref(v->old);
    v->old = answer;
    v->old_times = times;
    return 0;
}

static int find(visit_t *v)
{
    return v->query->caching.is_by_data ? find_by_data(v) : find_by_time(v);
}

/* --- keeping --- */

/* The store or the provider has it before the flight lands: who comes too late
 * for the one finds it in the other. */
static void keep(visit_t *v, cp_answer_t *answer)
{
    const connpool_query_t *query = v->query;
    cp_query_stats_t *stats = connpool_query_stats(query);
    cp_store_tag_t tag = {.version = v->version};
    cp_entry_times_t times;
    int is_stored = 0;

    if (query->caching.is_by_data) {
        is_stored = cp_store_put(connpool_caches.store, &v->key, answer, &tag);
        cp_stats_add(&connpool_cache_stats()->too_large, !is_stored);
    }
    else if (answer->status == HTTP_OK) {
        times = times_of(query, answer->made_at);
        is_stored = connpool_provider_put(v->r, &v->key, answer, &times);
    }
    cp_stats_add(&stats->stores, is_stored);
}

/* The last page stays the same while another comes behind it. */
static const char *etag_of(request_rec *r, const cp_answer_t *answer)
{
    const char *next = cp_answer_header(answer, CONNPOOL_NEXT);
    apr_uint64_t hash = connpool_hash(0, answer->body.data, answer->body.size);

    return connpool_etag(r->pool, "",
                         next ? connpool_hash(hash, next, strlen(next)) : hash);
}

static apr_status_t run(visit_t *v, cp_answer_t **panswer, int *pis_lasting)
{
    apr_status_t rv = connpool_collect_lasting(v->r, v->query, v->values,
                                               panswer, pis_lasting, v->err);

    if (rv == APR_SUCCESS) {
        cp_answer_add(*panswer, "ETag", etag_of(v->r, *panswer));
        if (cp_answer_has_failed(*panswer)) {
            cp_answer_unref(*panswer);
            *panswer = NULL;
            return cp_error_memory(v->err, "the answer");
        }
    }
    return rv;
}

static apr_status_t run_alone(visit_t *v)
{
    cp_answer_t *answer;
    int is_lasting;
    apr_status_t rv = run(v, &answer, &is_lasting);

    if (rv == APR_SUCCESS) {
        serve(v, answer, CONNPOOL_BYPASS);
    }
    return rv;
}

/* --- working together --- */

static void serve_old(visit_t *v)
{
    serve(v, v->old, CONNPOOL_STALE);
    v->served->expires = v->old_times.expires;
    v->old = NULL;
}

/* The query failed with v->err: what has expired is better than that, if it is
 * the database's fault and the administrator says so. */
static apr_status_t fall_back(visit_t *v, apr_status_t rv)
{
    cp_error_class_t cls = v->err->cls;
    int is_passing = cls == CP_ERR_STORAGE || cls == CP_ERR_CAPACITY
                     || cls == CP_ERR_MEMORY || cls == CP_ERR_DEADLINE;
    apr_time_t now = apr_time_now();

    if (!is_passing || !v->old
        || (now >= v->old_times.stale_if_error_until
            && now >= v->old_times.stale_until)) {
        return rv;
    }
    serve_old(v);
    return APR_SUCCESS;
}

/* Would another leader perhaps fare better? A batch may leave its queries less
 * time than they would have alone. */
static int is_own_failure(const visit_t *v)
{
    cp_clock_t limit = connpool_account(v->r)->query_deadline;

    return v->err->cls == CP_ERR_CANCELLED
           || (v->err->cls == CP_ERR_DEADLINE && limit
               && cp_clock_left(limit) == 0);
}

/* Run the query for all who wait. */
static apr_status_t lead(visit_t *v, cp_flight_t *flight)
{
    const connpool_query_t *query = v->query;
    cp_answer_t *answer = NULL;
    int is_lasting = 1;
    apr_status_t rv;

    /* The leader before may have landed since this request looked. */
    if (v->is_kept
        && (query->caching.is_by_data || connpool_provider_is_direct())
        && find(v)) {
        cp_flight_land(flight, v->served->answer, NULL);
        return APR_SUCCESS;
    }
    rv = run(v, &answer, &is_lasting);
    if (rv != APR_SUCCESS) {
        if (is_own_failure(v)) {
            cp_flight_hand_over(flight);
        }
        else {
            cp_flight_land(flight, NULL, v->err);
        }
        return fall_back(v, rv);
    }
    serve(v, answer, CONNPOOL_MISS);
    if (query->caching.is_by_data && !is_lasting) {
        cp_flight_disband(flight);
        return APR_SUCCESS;
    }
    if (v->is_kept) {
        keep(v, answer);
    }
    cp_flight_land(flight, answer, NULL);
    return APR_SUCCESS;
}

static int is_gone(void *baton)
{
    return connpool_client_is_gone(baton);
}

/* As long as a query may take, with the wait for its connection. */
static cp_clock_t patience(const visit_t *v)
{
    const connpool_query_t *query = v->query;
    cp_clock_t limit = connpool_account(v->r)->query_deadline;
    cp_clock_t deadline = cp_clock_after(query->database->pool.acquire
                                         + query->timeout);

    return limit && limit < deadline ? limit : deadline;
}

/* Lead, or take what the one brings who leads. While an expired answer will do,
 * nobody waits for a better one. */
static apr_status_t work_together(visit_t *v)
{
    int has_stale = v->old && apr_time_now() < v->old_times.stale_until;
    cp_answer_t *answer;
    cp_flight_t *flight;
    cp_flight_role_t role;
    apr_status_t rv;

    role = cp_flight_join(connpool_caches.flights, v->flight_key.bytes.data,
                          v->flight_key.bytes.size, &flight);
    if (role != CP_FLIGHT_WAITS) {
        return role == CP_FLIGHT_LEADS ? lead(v, flight) : run_alone(v);
    }
    rv = cp_flight_wait(flight, has_stale ? cp_clock_now() : patience(v),
                        is_gone, v->r, &answer, v->err);
    if (rv == APR_EAGAIN) {
        return lead(v, flight);
    }
    if (rv == APR_EOF) {
        return run_alone(v);
    }
    if (rv == APR_SUCCESS) {
        serve(v, answer, CONNPOOL_COALESCED);
        return rv;
    }
    if (has_stale) {
        serve_old(v);
        return APR_SUCCESS;
    }
    return fall_back(v, rv);
}

/* --- the way of a request --- */

static void make_keys(visit_t *v)
{
    const connpool_query_t *query = v->query;

    cp_buffer_append(&v->key.bytes, query->caching.key.data,
                     query->caching.key.size);
    for (int i = 0; i < query->params->nelts; i++) {
        const connpool_param_t *param = APR_ARRAY_IDX(query->params, i,
                                                      connpool_param_t *);

        cp_key_add_param(&v->key, param->spec.name, param->spec.type,
                         &v->values[i]);
    }
    cp_buffer_append(&v->flight_key.bytes, v->key.bytes.data,
                     v->key.bytes.size);
}

/* Who joins a flight has seen the same version as its leader before the query
 * began: what was committed before he asked is in the answer. */
static apr_status_t read_version(visit_t *v)
{
    static cp_log_limit_t limit;
    uint64_t suppressed;
    const connpool_database_t *db = v->query->database;
    cp_error_t err;
    apr_status_t rv = db->driver->version(db->child->database,
                                          cp_clock_after(v->query->timeout),
                                          &v->version, &err);

    if (rv == APR_SUCCESS) {
        cp_key_add_number(&v->flight_key, (apr_int64_t)v->version.epoch);
        cp_key_add_number(&v->flight_key, (apr_int64_t)v->version.number);
        return rv;
    }
    cp_stats_add(&connpool_cache_stats()->failures, 1);
    if (cp_log_allowed(&limit, COMPLAIN_EVERY, &suppressed)) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, v->r,
                      "query '%s': ttl=data: the database's version cannot be "
                      "read, the query is run: %s%s",
                      v->query->name, err.detail,
                      connpool_suppressed(v->r->pool, suppressed));
    }
    return rv;
}

static void count(const visit_t *v, apr_status_t rv)
{
    cp_query_stats_t *stats = connpool_query_stats(v->query);
    connpool_outcome_t outcome = rv == APR_SUCCESS ? v->served->outcome
                                                   : CONNPOOL_MISS;

    if (outcome == CONNPOOL_COALESCED) {
        cp_stats_add(&stats->coalesced, 1);
    }
    if (!v->is_kept) {
        return;
    }
    cp_stats_add(&stats->hits, outcome == CONNPOOL_HIT);
    cp_stats_add(&stats->stale, outcome == CONNPOOL_STALE);
    cp_stats_add(&stats->misses,
                 outcome == CONNPOOL_MISS || outcome == CONNPOOL_BYPASS);
}

/* A word for the present moment: whether it goes to a function that heeds it
 * nobody can tell. */
static int names_now(const visit_t *v)
{
    const cp_database_driver_t *driver = v->query->database->driver;

    for (int i = 0; i < v->query->params->nelts; i++) {
        if (driver->is_volatile_value(&v->values[i])) {
            return 1;
        }
    }
    return 0;
}

static apr_status_t go(visit_t *v)
{
    const connpool_caching_t *caching = &v->query->caching;

    make_keys(v);
    if (caching->is_by_data
        && (!v->query->database->child || names_now(v)
            || read_version(v) != APR_SUCCESS)) {
        return run_alone(v);
    }
    if (v->key.bytes.has_failed || v->flight_key.bytes.has_failed) {
        return run_alone(v); /* no memory for the key: nothing to look for */
    }
    if (v->is_kept && find(v)) {
        return APR_SUCCESS;
    }
    return work_together(v);
}

apr_status_t connpool_serve_query(request_rec *r, connpool_query_t *query,
                                  const cp_value_t *values,
                                  connpool_served_t *served, cp_error_t *err)
{
    visit_t v = {
        .r = r, .query = query, .values = values, .served = served, .err = err};
    cp_query_stats_t *stats = connpool_query_stats(query);
    int is_public = query->caching.is_shared || !has_credentials(r);
    apr_status_t rv;

    cp_error_clear(err);
    v.key.bytes = v.flight_key.bytes = CP_BUFFER_MAY_FAIL;
    v.is_kept = connpool_query_is_cached(query) && is_public;
    if (connpool_query_is_cached(query) && !is_public) {
        cp_stats_add(&stats->bypassed, 1);
    }
    /* With a connection in its hands a request must not wait for others, who
     * may wait for that one; and it may read what is not committed. */
    if (!connpool_caches.flights || connpool_child.forks > 0
        || (!v.is_kept && !query->caching.coalesces)
        || connpool_holds_database(r, query->database)) {
        return run_alone(&v);
    }
    cp_stats_add(&stats->lookups, v.is_kept);
    rv = go(&v);
    count(&v, rv);
    cp_answer_unref(v.old);
    cp_key_free(&v.key);
    cp_key_free(&v.flight_key);
    return rv;
}

apr_status_t connpool_answer_query(request_rec *r, connpool_query_t *query,
                                   const cp_value_t *values,
                                   cp_answer_t **panswer, cp_error_t *err)
{
    connpool_served_t served;
    apr_status_t rv;

    if (!connpool_query_is_collected(query)) {
        return connpool_collect_query(r, query, values, panswer, err);
    }
    rv = connpool_serve_query(r, query, values, &served, err);
    if (rv == APR_SUCCESS) {
        *panswer = served.answer;
    }
    return rv;
}
