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

void connpool_hand_on_headers(request_rec *r, const connpool_upstream_t *up,
                              cp_fetch_request_t *request)
{
    cp_http_header_t *headers = apr_palloc(
        r->pool, (apr_size_t)(up->headers->nelts + 1) * sizeof(*headers));

    request->headers = headers;
    for (int i = 0; i < up->headers->nelts; i++) {
        const char *name = APR_ARRAY_IDX(up->headers, i, const char *);
        const char *value = apr_table_get(r->headers_in, name);

        if (value) {
            headers[request->header_count++] = (cp_http_header_t){name, value};
        }
    }
}

static void count_fetch(const connpool_upstream_t *up,
                        const cp_fetch_result_t *result, cp_error_class_t cls)
{
    cp_upstream_stats_t *stats = connpool_upstream_stats(up);
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

static void count_refused(const connpool_upstream_t *up)
{
    cp_upstream_stats_t *stats = connpool_upstream_stats(up);

    cp_stats_add(&stats->count, 1);
    cp_stats_add(&stats->errors, 1);
    cp_stats_add(&stats->statuses[0], 1);
}

static apr_status_t admit(const connpool_upstream_t *up,
                          cp_admission_t *admission, cp_error_t *err)
{
    if (!up->child || !up->child->breaker) {
        return APR_SUCCESS;
    }
    return cp_breaker_admit(up->child->breaker, admission, err);
}

static void report(const connpool_upstream_t *up,
                   const cp_admission_t *admission, cp_outcome_t outcome,
                   const cp_error_t *err)
{
    if (up->child && up->child->breaker) {
        cp_breaker_report(up->child->breaker, admission, outcome, err);
    }
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
                   || (cls == CP_ERR_DEADLINE && !run->is_hurried)
               ? CP_OUTCOME_FAILED
               : CP_OUTCOME_UNKNOWN;
}

/* Who has waited for a connection asks the breaker again: it may have opened
 * meanwhile. */
static apr_status_t hold_admitted(connpool_fetch_run_t *run, request_rec *r,
                                  connpool_upstream_t *up, int how,
                                  cp_error_t *err)
{
    apr_status_t rv = admit(up, &run->admission, err);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = connpool_hold_upstream(r, up, how | CONNPOOL_HOLD_EXCLUSIVE,
                                &run->hold, err);
    if (rv != APR_SUCCESS) {
        report(up, &run->admission, CP_OUTCOME_UNKNOWN, err);
        return rv;
    }
    rv = admit(up, &run->admission, err);
    if (rv == APR_SUCCESS) {
        rv = connpool_take_rate(up, err);
        if (rv != APR_SUCCESS) {
            report(up, &run->admission, CP_OUTCOME_UNKNOWN, err);
        }
    }
    if (rv != APR_SUCCESS) {
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

apr_status_t connpool_fetch_open(connpool_fetch_run_t *run, request_rec *r,
                                 connpool_upstream_t *up,
                                 const cp_fetch_request_t *request,
                                 const cp_fetch_sink_t *sink, cp_bell_t *bell,
                                 int how, cp_error_t *err)
{
    cp_fetch_request_t mine = *request;
    cp_clock_t asked = cp_clock_now();
    apr_status_t rv;

    run->admission = (cp_admission_t){0};
    run->is_hurried = request->total > 0;
    rv = hold_admitted(run, r, up, how, err);
    if (rv == APR_EAGAIN && err->cls == CP_ERR_NONE) {
        return rv;
    }
    run->r = r;
    run->up = up;
    run->waited = cp_clock_now() - asked;
    if (rv != APR_SUCCESS) {
        return count_unborn(run, rv, err->cls);
    }
    mine.is_one_shot = connpool_hold_is_one_shot(run->hold);
    rv = cp_transfer_start(&run->transfer, up->child->upstream,
                           connpool_hold_connection(run->hold),
                           connpool_child.loop, &mine, sink, bell);
    if (rv != APR_SUCCESS) {
        connpool_hold_release(run->hold);
        report(up, &run->admission, CP_OUTCOME_UNKNOWN, err);
        cp_error_set(err, CP_ERR_MEMORY, rv, "out of memory",
                     "upstream '%s': no memory for a fetch", up->name);
        return count_unborn(run, rv, err->cls);
    }
    connpool_account_fetch(r, 1);
    return APR_SUCCESS;
}

apr_status_t connpool_fetch_advance(connpool_fetch_run_t *run,
                                    cp_clock_t *puntil)
{
    return cp_transfer_advance(run->transfer, puntil);
}

apr_status_t connpool_fetch_close(connpool_fetch_run_t *run, cp_error_t *err)
{
    cp_fetch_result_t result;
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
    rv = cp_transfer_end(run->transfer, &result, err);
    report(run->up, &run->admission, outcome_of(run, &result, err->cls), err);
    /* That the caller wanted no more says nothing against the handle. */
    if (rv == APR_SUCCESS || err->cls == CP_ERR_CANCELLED) {
        connpool_hold_release(run->hold);
    }
    else {
        connpool_hold_discard(run->hold, err->cause);
    }
    connpool_account_fetch(run->r, -1);
    result.span_us[CP_SPAN_QUEUE] = run->waited;
    result.us += run->waited;
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
    cp_transfer_finish(run.transfer);
    return connpool_fetch_close(&run, err);
}
