/* SPDX-License-Identifier: Apache-2.0
 * The items of a batch at work: fetches overlap in the loop while the calling
 * thread runs the queries, one after another. */
#include "work/batch/batch.h"

#include "glue.h"
#include "answers/answer.h"
#include "base/bytes/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/meanwhile.h"
#include "child/child.h"
#include "config/database.h"
#include "config/upstream.h"
#include "http/job/bell.h"
#include "http/job/fetch.h"
#include "request/hold.h"
#include "request/output.h"
#include "stats/cell.h"
#include "stats/segment.h"
#include "stats/stats.h"
#include "work/fetch.h"
#include "work/reply.h"

#include <apr_strings.h>

/* Between two looks at the client. */
#define SLICE apr_time_from_msec(100)

struct connpool_batch_t {
    request_rec *r;
    apr_array_header_t *items; /* connpool_item_t * */
    int parallel;              /* fetches at once */
    cp_clock_t deadline;
    cp_clock_t until;  /* no query begins later; 0: one is enough */
    cp_clock_t ask_at; /* next look at the client */
    cp_bell_t *bell;   /* rings for all fetches; NULL: none has begun */
    apr_size_t bytes;  /* of the answers so far */
    int done;          /* items */
    int under_way;     /* fetches */
    int most_under_way;
    int has_run;
    int is_dropped;
    connpool_queries_fn run_query;
    connpool_writes_fn run_writes; /* NULL: they were, or each is by itself */
    int forks;                     /* connpool_child.forks of whose it is */
};

static apr_status_t drop_cleanup(void *data)
{
    const connpool_batch_t *batch = data;

    /* In prefork's signal handler nothing is given back, nor in a process that
     * was forked while the batch ran. */
    if (!connpool_child.is_cut && batch->forks == connpool_child.forks) {
        connpool_batch_drop(data);
    }
    return APR_SUCCESS;
}

connpool_batch_t *connpool_batch_make(request_rec *r, int parallel,
                                      connpool_queries_fn run_query)
{
    connpool_batch_t *batch = apr_pcalloc(r->pool, sizeof(*batch));

    batch->r = r;
    batch->forks = connpool_child.forks;
    batch->items = apr_array_make(r->pool, 16, sizeof(connpool_item_t *));
    batch->parallel = connpool_child.loop ? parallel : 1;
    batch->deadline = CP_CLOCK_NEVER;
    batch->run_query = run_query;
    /* Before the cleanups of the connections in use, whoever came first. */
    apr_pool_pre_cleanup_register(r->pool, batch, drop_cleanup);
    return batch;
}

connpool_item_t *connpool_batch_push(connpool_batch_t *batch)
{
    connpool_item_t *item = apr_pcalloc(batch->r->pool, sizeof(*item));

    item->batch = batch;
    APR_ARRAY_PUSH(batch->items, connpool_item_t *) = item;
    return item;
}

request_rec *connpool_batch_request(const connpool_batch_t *batch)
{
    return batch->r;
}

int connpool_batch_size(const connpool_batch_t *batch)
{
    return batch->items->nelts;
}

connpool_item_t *connpool_batch_item(const connpool_batch_t *batch, int i)
{
    return APR_ARRAY_IDX(batch->items, i, connpool_item_t *);
}

void connpool_batch_begin_with(connpool_batch_t *batch, connpool_writes_fn run)
{
    batch->run_writes = run;
}

void connpool_batch_limit(connpool_batch_t *batch, cp_clock_t deadline)
{
    batch->deadline = deadline;
}

/* --- the end of an item --- */

static void finish(connpool_item_t *item)
{
    item->us = item->began ? cp_clock_now() - item->began : 0;
    item->is_done = 1;
    item->batch->done++;
}

void connpool_item_refuse(connpool_item_t *item, int status, apr_status_t rv,
                          const char *detail, apr_array_header_t *errors)
{
    item->status = status;
    item->rv = rv;
    item->detail = detail;
    item->errors = errors;
    finish(item);
}

static const char *what_of(const connpool_item_t *item)
{
    return apr_psprintf(item->batch->r->pool,
                        item->query ? "query '%s'" : "upstream '%s'",
                        item->name);
}

void connpool_item_forget(connpool_item_t *item)
{
    cp_buffer_t nothing = {0};

    cp_answer_unref(item->answer);
    item->answer = NULL;
    connpool_count_buffer(&nothing, &item->counted);
    item->batch->bytes -= item->size;
    item->size = 0;
}

/* What is too large is the upstream's answer, not the request. */
static void fail(connpool_item_t *item, const cp_error_t *err)
{
    apr_pool_t *p = item->batch->r->pool;
    const char *what = what_of(item);
    int status = err->cls == CP_ERR_SIZE && item->upstream
                     ? HTTP_BAD_GATEWAY
                     : connpool_status_of(err->cls);

    connpool_item_forget(item);
    connpool_complain(item->batch->r, what, err,
                      item->query ? item->query->complaints
                                  : item->upstream->complaints);
    item->reason = apr_pstrdup(p, err->detail);
    item->failure = cp_error_class_name(err->cls);
    item->retry_after = err->retry_after;
    item->violation.constraint = err->constraint;
    item->violation.subject = apr_pstrdup(p, err->subject);
    connpool_item_refuse(item, status,
                         err->rv == APR_SUCCESS ? APR_EGENERAL : err->rv,
                         connpool_explain(p, what, err), NULL);
}

static void fail_late(connpool_item_t *item)
{
    cp_error_t err;

    cp_error_set(&err, CP_ERR_DEADLINE, APR_TIMEUP, "the batch took too long",
                 "not done at the end of the batch's time");
    fail(item, &err);
}

/* Count the answer's body; false when there is no room for it. */
static int has_room(connpool_item_t *item)
{
    connpool_batch_t *batch = item->batch;

    connpool_count_buffer(&item->answer->body, &item->counted);
    batch->bytes += item->answer->body.size - item->size;
    item->size = item->answer->body.size;
    return batch->bytes <= CONNPOOL_BATCH_BYTES;
}

static void fail_large(connpool_item_t *item)
{
    connpool_item_forget(item);
    connpool_item_refuse(item, HTTP_REQUEST_ENTITY_TOO_LARGE, APR_ENOSPC,
                         "The answers of this batch are too large together.",
                         NULL);
}

/* --- fetches --- */

static apr_status_t on_head(void *baton, int status,
                            const cp_http_header_t *headers, int count)
{
    connpool_item_t *item = baton;

    if (ap_is_HTTP_REDIRECT(status) && status != HTTP_NOT_MODIFIED) {
        item->is_redirect = 1;
        return APR_EOF;
    }
    item->answer->status = status;
    for (int i = 0; i < count; i++) {
        cp_answer_add(item->answer, headers[i].name, headers[i].value);
    }
    return cp_answer_has_failed(item->answer) ? APR_ENOMEM : APR_SUCCESS;
}

static apr_status_t on_body(void *baton, const char *data, apr_size_t size)
{
    connpool_item_t *item = baton;

    cp_buffer_append(&item->answer->body, data, size);
    if (item->answer->body.has_failed) {
        return APR_ENOMEM;
    }
    if (has_room(item)) {
        return APR_SUCCESS;
    }
    /* At once, or the others would find no room either. */
    connpool_item_forget(item);
    item->is_too_large = 1;
    return APR_ENOSPC;
}

static void end_fetch(connpool_item_t *item, apr_status_t rv, cp_error_t *err)
{
    if (item->is_redirect) {
        connpool_item_forget(item);
        connpool_item_refuse(item, HTTP_BAD_GATEWAY, APR_EGENERAL,
                             apr_psprintf(item->batch->r->pool,
                                          "%s: the upstream redirects "
                                          "elsewhere.",
                                          what_of(item)),
                             NULL);
    }
    else if (item->is_too_large) {
        fail_large(item);
    }
    else if (rv != APR_SUCCESS) {
        if (cp_answer_has_failed(item->answer)) {
            cp_error_memory(err, "the upstream's answer");
        }
        fail(item, err);
    }
    else {
        cp_answer_terminate(item->answer);
        item->status = item->answer->status;
        finish(item);
    }
}

/* Made once, for it may take several tries to begin. */
static const cp_fetch_request_t *request_of(connpool_item_t *item)
{
    cp_fetch_request_t *request = &item->request;

    if (!request->method) {
        request->method = "GET";
        request->path_info = item->path;
        request->query = item->args;
        connpool_hand_on_headers(item->batch->r, item->upstream, request);
    }
    return request;
}

/* Begin a fetch. `how`: see connpool_fetch_open.
 * @return 0: no connection is free just now */
static int start_fetch(connpool_item_t *item, int how)
{
    connpool_batch_t *batch = item->batch;
    cp_fetch_sink_t sink = {on_head, on_body, NULL, item, NULL};
    cp_clock_t began = cp_clock_now();
    cp_error_t err;
    apr_status_t rv;

    cp_error_clear(&err);
    item->answer = cp_answer_create(0);
    if (!item->answer) {
        item->began = began;
        cp_error_memory(&err, "the upstream's answer");
        fail(item, &err);
        return 1;
    }
    item->answer->made_at = apr_time_now();
    rv = connpool_fetch_open(&item->run, batch->r, item->upstream,
                             request_of(item), &sink, batch->bell, how, &err);
    if (rv == APR_EAGAIN && err.cls == CP_ERR_NONE) {
        connpool_item_forget(item);
        return 0;
    }
    item->began = began;
    if (rv != APR_SUCCESS) {
        fail(item, &err);
        return 1;
    }
    batch->under_way++;
    if (batch->under_way > batch->most_under_way) {
        batch->most_under_way = batch->under_way;
    }
    return 1;
}

static int is_pending(const connpool_item_t *item)
{
    return item->upstream && !item->began && !item->is_done;
}

/* Begin as many fetches as can begin at once. */
static void start_free(connpool_batch_t *batch)
{
    const connpool_upstream_t *exhausted = NULL;

    for (int i = 0; i < batch->items->nelts; i++) {
        connpool_item_t *item = connpool_batch_item(batch, i);

        if (batch->under_way >= batch->parallel) {
            return;
        }
        if (is_pending(item) && item->upstream != exhausted
            && !start_fetch(item, CONNPOOL_HOLD_AT_ONCE)) {
            exhausted = item->upstream;
        }
    }
}

static connpool_item_t *next_pending(const connpool_batch_t *batch)
{
    for (int i = 0; i < batch->items->nelts; i++) {
        connpool_item_t *item = connpool_batch_item(batch, i);

        if (is_pending(item)) {
            return item;
        }
    }
    return NULL;
}

static connpool_item_t *next_query(const connpool_batch_t *batch)
{
    for (int i = 0; i < batch->items->nelts; i++) {
        connpool_item_t *item = connpool_batch_item(batch, i);

        if (item->query && !item->is_done) {
            return item;
        }
    }
    return NULL;
}

/* This waits for a connection only when there is nothing else to do: who waited
 * while he holds some could wait for one who does the same. */
static void start_fetches(connpool_batch_t *batch)
{
    connpool_item_t *item;

    start_free(batch);
    item = next_pending(batch);
    if (item && batch->under_way == 0 && !next_query(batch)) {
        start_fetch(item, 0);
        start_free(batch);
    }
}

static int is_under_way(const connpool_item_t *item)
{
    return item->upstream && item->began && !item->is_done;
}

static apr_status_t close_fetch(connpool_item_t *item, cp_error_t *err)
{
    item->batch->under_way--;
    cp_error_clear(err);
    return connpool_fetch_close(&item->run, err);
}

/* Take what the fetches have brought. *puntil: the next look, at the latest. */
static void advance_fetches(connpool_batch_t *batch, cp_clock_t *puntil)
{
    for (int i = 0; i < batch->items->nelts; i++) {
        connpool_item_t *item = connpool_batch_item(batch, i);
        cp_clock_t until = CP_CLOCK_NEVER;
        cp_error_t err;

        if (!is_under_way(item)) {
            continue;
        }
        if (connpool_fetch_advance(&item->run, &until) == APR_SUCCESS) {
            apr_status_t rv = close_fetch(item, &err);

            end_fetch(item, rv, &err);
        }
        else if (until < *puntil) {
            *puntil = until;
        }
    }
}

/* --- queries --- */

/* While a query runs the fetches go on: none keeps a connection that it needs
 * no more, or is late because nobody looked. */
static void tend_fetches(void *baton)
{
    connpool_batch_t *batch = baton;
    cp_clock_t ignored = CP_CLOCK_NEVER;

    advance_fetches(batch, &ignored);
    start_free(batch);
}

void connpool_item_end(connpool_item_t *item, apr_status_t rv, cp_error_t *err)
{
    if (rv == APR_SUCCESS) {
        rv = connpool_reply_decode(item->query, &item->answer, err);
    }
    if (rv != APR_SUCCESS) {
        fail(item, err);
    }
    else if (!has_room(item)) {
        fail_large(item);
    }
    else {
        item->status = item->answer->status;
        finish(item);
    }
}

static void run_query(connpool_item_t *item, cp_clock_t until)
{
    connpool_batch_t *batch = item->batch;
    connpool_writes_fn run_writes = batch->run_writes;
    cp_meanwhile_t before = cp_meanwhile_set(
        (cp_meanwhile_t){tend_fetches, batch});

    batch->run_writes = NULL;
    if (run_writes) {
        run_writes(batch, batch->deadline);
    }
    else {
        batch->run_query(item, batch->deadline, until);
    }
    cp_meanwhile_set(before);
}

/* --- the batch --- */

/* End all that is not done. */
static void end_rest(connpool_batch_t *batch,
                     void (*end)(connpool_item_t *item))
{
    for (int i = 0; i < batch->items->nelts; i++) {
        connpool_item_t *item = connpool_batch_item(batch, i);
        cp_error_t ignored;

        if (is_under_way(item)) {
            close_fetch(item, &ignored);
        }
        if (!item->is_done) {
            connpool_item_forget(item);
            end(item);
        }
    }
}

static void cancel(connpool_item_t *item)
{
    connpool_item_refuse(item, HTTP_INTERNAL_SERVER_ERROR, APR_EOF,
                         "Nobody waits for it any more.", NULL);
}

int connpool_batch_is_abandoned(connpool_batch_t *batch, cp_clock_t now)
{
    int is_gone;

    if (now < batch->ask_at) {
        return 0;
    }
    is_gone = connpool_client_is_gone(batch->r);
    batch->ask_at = is_gone ? 0 : now + SLICE; /* who is gone stays so */
    return is_gone;
}

/* One round: begin what can begin, take what has come, run a query, or wait for
 * news. */
static void work(connpool_batch_t *batch, cp_clock_t until)
{
    int done = batch->done;
    connpool_item_t *query = next_query(batch);

    /* Without the loop a fetch works only while this thread looks at it: what
     * is quick comes first. */
    if (query && !connpool_child.loop) {
        run_query(query, batch->until);
        return;
    }
    start_fetches(batch);
    advance_fetches(batch, &until);
    if (batch->done > done) {
        return; /* there is room for the next fetch */
    }
    if (query) {
        run_query(query, batch->until);
    }
    else if (batch->under_way > 0 && cp_clock_left(until) > 0) {
        cp_bell_wait(batch->bell, until);
    }
}

apr_status_t connpool_batch_run(connpool_batch_t *batch, cp_clock_t until,
                                int is_first)
{
    int enough = is_first ? batch->done + 1 : batch->items->nelts;

    if (batch->is_dropped) {
        return APR_EOF;
    }
    if (!batch->bell && !(batch->bell = cp_bell_create())) {
        return APR_ENOMEM;
    }
    batch->has_run = 1;
    batch->until = is_first ? 0 : until;
    while (batch->done < enough && batch->done < batch->items->nelts) {
        cp_clock_t now = cp_clock_now();
        cp_clock_t next = until;

        if (connpool_batch_is_abandoned(batch, now)) {
            end_rest(batch, cancel);
            return APR_EOF;
        }
        if (now >= batch->deadline) {
            end_rest(batch, fail_late);
            break;
        }
        if (now >= until) {
            start_free(batch);
            advance_fetches(batch, &next);
            return batch->done < enough ? APR_TIMEUP : APR_SUCCESS;
        }
        next = batch->ask_at < until ? batch->ask_at : until;
        work(batch, next < batch->deadline ? next : batch->deadline);
    }
    return APR_SUCCESS;
}

static void count_batch(const connpool_batch_t *batch)
{
    cp_batch_stats_t *stats = cp_segment_batch(connpool_child.segment,
                                               connpool_child.slot);
    int fetches = 0, errors = 0;

    for (int i = 0; i < batch->items->nelts; i++) {
        const connpool_item_t *item = connpool_batch_item(batch, i);

        fetches += item->upstream && item->began;
        errors += item->status >= 400;
    }
    cp_stats_add(&stats->requests, 1);
    cp_stats_add(&stats->items, batch->items->nelts);
    cp_stats_add(&stats->errors, errors);
    cp_stats_add(&stats->overlapped, batch->most_under_way > 1);
    cp_stats_add(&stats->sequential, fetches > 1 && !connpool_child.loop);
}

void connpool_batch_drop(connpool_batch_t *batch)
{
    if (batch->is_dropped) {
        return;
    }
    batch->is_dropped = 1;
    end_rest(batch, cancel);
    cp_bell_unref(batch->bell);
    if (batch->has_run) {
        count_batch(batch);
    }
    for (int i = 0; i < batch->items->nelts; i++) {
        connpool_item_forget(connpool_batch_item(batch, i));
    }
    apr_array_clear(batch->items);
}
