/* SPDX-License-Identifier: Apache-2.0
 * One fetch from an upstream: admit, borrow, transfer, give back, count. */
#include "work/fetch.h"

#include "glue.h"
#include "base/clock.h"
#include "base/error.h"
#include "child/child.h"
#include "config/upstream.h"
#include "http/job/bell.h"
#include "http/job/fetch.h"
#include "http/transfer.h"
#include "http/upstream/breaker.h"
#include "request/account.h"
#include "request/hold.h"
#include "request/output.h"
#include "stats/cell.h"
#include "stats/histogram.h"
#include "stats/stats.h"

#include <apr_strings.h>

/* What a body is, and when a write is wanted: nobody else can judge that. */
static const char *const of_writes[] = {
    "Content-Type", "Content-Encoding", "Content-Language",
    "If-Match",     "If-None-Match",    "If-Unmodified-Since"};
#define OF_WRITES (int)(sizeof(of_writes) / sizeof(*of_writes))

static void hand_on(request_rec *r, const char *name,
                    cp_fetch_request_t *request)
{
    cp_http_header_t *headers = (cp_http_header_t *)request->headers;
    const char *value = apr_table_get(r->headers_in, name);

    if (value) {
        headers[request->header_count++] = (cp_http_header_t){name, value};
    }
}

static int is_of_part(const char *name)
{
    return strcasecmp(name, "Range") == 0 || strcasecmp(name, "If-Range") == 0;
}

static void hand_on_named(request_rec *r, const connpool_upstream_t *up,
                          cp_fetch_request_t *request, int is_whole)
{
    request->headers = apr_palloc(r->pool,
                                  (apr_size_t)(up->headers->nelts + OF_WRITES)
                                      * sizeof(*request->headers));
    for (int i = 0; i < up->headers->nelts; i++) {
        const char *name = APR_ARRAY_IDX(up->headers, i, const char *);

        if (is_whole || !is_of_part(name)) {
            hand_on(r, name, request);
        }
    }
}

void connpool_hand_on_headers(request_rec *r, const connpool_upstream_t *up,
                              cp_fetch_request_t *request)
{
    hand_on_named(r, up, request, 0);
}

void connpool_hand_on_all(request_rec *r, const connpool_upstream_t *up,
                          cp_fetch_request_t *request)
{
    hand_on_named(r, up, request, 1);
    for (int i = 0; i < OF_WRITES && r->method_number != M_GET; i++) {
        if (!connpool_hands_on(up, of_writes[i])) {
            hand_on(r, of_writes[i], request);
        }
    }
}

static void count_at(cp_upstream_stats_t *stats,
                     const cp_fetch_result_t *result, cp_error_class_t cls)
{
    int status_class = result->status / 100;
    /* Who goes away has not found the upstream broken. */
    int is_error = cls != CP_ERR_NONE && cls != CP_ERR_CANCELLED;

    cp_stats_add(&stats->count, 1);
    cp_stats_add(&stats->errors, is_error || result->status >= 500);
    cp_stats_add(&stats->reused, result->reused);
    cp_stats_add(&stats->retries, result->retries);
    if (result->status != 0) {
        cp_stats_raise(&stats->answered_at, (uint64_t)cp_clock_now());
    }
    else if (cls == CP_ERR_UPSTREAM || cls == CP_ERR_DEADLINE) {
        cp_stats_raise(&stats->failed_at, (uint64_t)cp_clock_now());
    }
    cp_stats_add(&stats->handshakes, result->handshakes);
    cp_stats_add(&stats->bytes, result->bytes);
    cp_stats_add(&stats->sent, result->sent);
    cp_stats_add(&stats->statuses[status_class < 6 ? status_class : 5], 1);
    for (int i = 0; i < CP_SPANS; i++) {
        if (result->span_us[i] >= 0) {
            cp_histogram_record(&stats->span_us[i], result->span_us[i]);
        }
    }
    cp_histogram_record(result->status != 0 && !is_error ? &stats->us
                                                         : &stats->failed_us,
                        result->us);
}

static void count_fetch(const connpool_upstream_t *up,
                        const cp_fetch_result_t *result, cp_error_class_t cls)
{
    count_at(connpool_upstream_stats(up), result, cls);
}

/* Where there are several, each URL's attempts are counted as well. */
static void count_attempt(const connpool_fetch_run_t *run,
                          const cp_fetch_result_t *result, cp_error_class_t cls)
{
    if (run->up->base_count > 1) {
        count_at(connpool_base_stats(&run->up->bases[run->base]), result, cls);
    }
}

static void count_refused(const connpool_upstream_t *up)
{
    cp_upstream_stats_t *stats = connpool_upstream_stats(up);

    cp_stats_add(&stats->count, 1);
    cp_stats_add(&stats->errors, 1);
    cp_stats_add(&stats->statuses[0], 1);
}

/* An answer is one, whatever its status. What else went wrong, or that nobody
 * waited for as long as the upstream may take, says nothing about it. */
static cp_outcome_t outcome_of(const connpool_fetch_run_t *run,
                               const cp_fetch_result_t *result,
                               cp_error_class_t cls)
{
    if (result->status != 0 || result->answered) {
        return CP_OUTCOME_ANSWERED;
    }
    return cls == CP_ERR_UPSTREAM
                   || (cls == CP_ERR_DEADLINE
                       && !(run->is_hurried && result->is_late))
               ? CP_OUTCOME_FAILED
               : CP_OUTCOME_UNKNOWN;
}

static apr_status_t hold_admitted(connpool_fetch_run_t *run, request_rec *r,
                                  int how, cp_error_t *err)
{
    apr_status_t rv = connpool_base_hold(run, r, how, err);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = connpool_take_rate(run->up, err);
    if (rv != APR_SUCCESS) {
        connpool_base_report(run, CP_OUTCOME_UNKNOWN, err);
        connpool_hold_release(run->hold);
    }
    return rv;
}

/* No connection for it: a failed fetch, too, but the upstream saw nothing. */
static apr_status_t count_unborn(connpool_fetch_run_t *run, apr_status_t rv,
                                 cp_error_class_t cls)
{
    cp_fetch_result_t result = {.us = run->waited};

    if (run->admission.is_refused) {
        count_refused(run->up);
        run->up = NULL;
        return rv;
    }
    for (int i = 0; i < CP_SPANS; i++) {
        result.span_us[i] = -1;
    }
    count_fetch(run->up, &result, cls);
    run->up = NULL;
    return rv;
}

/* Ask the URL whose connection is held. */
static apr_status_t start(connpool_fetch_run_t *run, cp_error_t *err)
{
    const connpool_base_t *base = &run->up->bases[run->base];
    cp_fetch_request_t mine = run->request;
    apr_status_t rv;

    mine.is_one_shot = connpool_hold_is_one_shot(run->hold);
    mine.is_lone = !run->bell;
    mine.is_replaceable = connpool_base_is_left(run);
    if (run->is_hurried) {
        mine.total = cp_clock_left(run->deadline);
    }
    rv = cp_transfer_start(&run->transfer, base->child->upstream,
                           connpool_hold_connection(run->hold),
                           connpool_child.loop, &mine, &run->sink, run->bell);
    if (rv != APR_SUCCESS) {
        run->transfer = NULL;
        connpool_hold_release(run->hold);
        connpool_base_report(run, CP_OUTCOME_UNKNOWN, err);
        cp_error_set(err, CP_ERR_MEMORY, rv, "out of memory",
                     "upstream '%s': no memory for a fetch", base->name);
    }
    return rv;
}

apr_status_t connpool_fetch_open(connpool_fetch_run_t *run, request_rec *r,
                                 connpool_upstream_t *up,
                                 const cp_fetch_request_t *request,
                                 const cp_fetch_sink_t *sink, cp_bell_t *bell,
                                 int how, cp_error_t *err)
{
    apr_status_t rv;

    *run = (connpool_fetch_run_t){.r = r,
                                  .up = up,
                                  .request = *request,
                                  .sink = *sink,
                                  .bell = bell,
                                  .began = cp_clock_now(),
                                  .is_hurried = request->total > 0};
    rv = hold_admitted(run, r, how, err);
    if (rv == APR_EAGAIN && err->cls == CP_ERR_NONE) {
        run->up = NULL;
        return rv;
    }
    run->waited = cp_clock_now() - run->began;
    if (rv != APR_SUCCESS) {
        return count_unborn(run, rv, err->cls);
    }
    run->deadline = cp_clock_after(
        request->total > 0 && request->total < up->http.total ? request->total
                                                              : up->http.total);
    rv = start(run, err);
    if (rv != APR_SUCCESS) {
        return count_unborn(run, rv, err->cls);
    }
    connpool_account_fetch(r, 1);
    return APR_SUCCESS;
}

/* What came of the attempt; the connection goes back. */
static apr_status_t end_attempt(connpool_fetch_run_t *run,
                                cp_fetch_result_t *result, cp_error_t *err)
{
    apr_status_t rv = cp_transfer_end(run->transfer, result, err);

    run->transfer = NULL;
    connpool_base_report(run, outcome_of(run, result, err->cls), err);
    count_attempt(run, result, err->cls);
    /* That the caller wanted no more says nothing against the handle. */
    if (rv == APR_SUCCESS || err->cls == CP_ERR_CANCELLED) {
        connpool_hold_release(run->hold);
    }
    else {
        connpool_hold_discard(run->hold, err->cause);
    }
    return rv;
}

/* Nothing came from this URL: ask the next one, if there is one. Who has other
 * fetches open waits for no connection.
 * @return whether it is asked */
static int fail_over(connpool_fetch_run_t *run)
{
    cp_fetch_result_t result;
    cp_error_t err;
    apr_status_t rv;

    if (!run->transfer || connpool_hold_is_inherited(run->hold)
        || !cp_transfer_may_repeat(run->transfer) || !connpool_base_is_left(run)
        || cp_clock_left(run->deadline) == 0) {
        return 0;
    }
    end_attempt(run, &result, &run->failure);
    run->is_hurried = 1;
    cp_error_clear(&err);
    rv = connpool_base_hold(run, run->r, run->bell ? CONNPOOL_HOLD_AT_ONCE : 0,
                            &err);
    if (rv == APR_SUCCESS) {
        rv = start(run, &err);
    }
    if (rv != APR_SUCCESS) {
        return 0; /* the failure of the one that was asked stands */
    }
    cp_stats_add(&connpool_upstream_stats(run->up)->failovers, 1);
    return 1;
}

apr_status_t connpool_fetch_advance(connpool_fetch_run_t *run,
                                    cp_clock_t *puntil)
{
    apr_status_t rv;

    do {
        rv = run->transfer ? cp_transfer_advance(run->transfer, puntil)
                           : APR_SUCCESS;
    } while (rv == APR_SUCCESS && fail_over(run));
    return rv;
}

/* Of several URLs the last one's failure is not all there is to say. */
static void sum_up(const connpool_fetch_run_t *run, cp_error_t *err)
{
    if (run->up->base_count > 1 && err->cls == CP_ERR_UPSTREAM
        && (run->tried & (run->tried - 1)) != 0) {
        err->cause = "none of the upstream's URLs answers";
    }
}

apr_status_t connpool_fetch_close(connpool_fetch_run_t *run, cp_error_t *err)
{
    cp_fetch_result_t result = {0};
    apr_status_t rv;

    if (!run->up) {
        return APR_SUCCESS;
    }
    /* The child's loop works for it, not this process. */
    if (connpool_hold_is_inherited(run->hold)) {
        run->up = NULL;
        return cp_error_set(err, CP_ERR_INTERNAL, APR_EGENERAL,
                            "the fetch belongs to another process",
                            "a process was forked while the fetch ran");
    }
    if (run->transfer) {
        rv = end_attempt(run, &result, err);
    }
    else {
        *err = run->failure;
        rv = err->rv == APR_SUCCESS ? APR_EGENERAL : err->rv;
        for (int i = 0; i < CP_SPANS; i++) {
            result.span_us[i] = -1;
        }
    }
    if (result.status == 0) {
        sum_up(run, err);
    }
    connpool_account_fetch(run->r, -1);
    result.span_us[CP_SPAN_QUEUE] = run->waited;
    result.us = cp_clock_now() - run->began;
    count_fetch(run->up, &result, err->cls);
    run->up = NULL;
    return rv;
}

apr_status_t connpool_run_fetch(request_rec *r, connpool_upstream_t *up,
                                const cp_fetch_request_t *request,
                                const cp_fetch_sink_t *sink, cp_error_t *err)
{
    connpool_fetch_run_t run = {0};
    apr_status_t rv = connpool_fetch_open(&run, r, up, request, sink, NULL, 0,
                                          err);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    do {
        cp_transfer_finish(run.transfer);
    } while (fail_over(&run));
    return connpool_fetch_close(&run, err);
}
