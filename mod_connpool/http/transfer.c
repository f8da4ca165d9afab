/* SPDX-License-Identifier: Apache-2.0
 * One fetch, seen from the thread that asks for it: attempts, redirects, the
 * time it has, and what went wrong. */
#include "http/transfer.h"

#include "base/bytes/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "http/attempt.h"
#include "http/job/bell.h"
#include "http/job/error.h"
#include "http/job/fetch.h"
#include "http/job/job.h"
#include "http/job/request.h"
#include "http/loop.h"
#include "http/upstream/upstream.h"
#include "stats/stats.h"

#include <stdlib.h>

static void finish(cp_transfer_t *t)
{
    t->is_over = 1;
    t->result.us = cp_clock_now() - t->began;
}

/* One hop, one try. */
static void begin_attempt(cp_transfer_t *t)
{
    t->rv = cp_attempt_begin(t);
    if (t->rv != APR_SUCCESS) {
        cp_attempt_drop(t);
        finish(t);
    }
}

/* ---- What an attempt came to ---- */

typedef enum cp_next_t {
    NEXT_RETURN,
    NEXT_REDIRECT,
    NEXT_RETRY,
    NEXT_INLINE,
} cp_next_t;

static apr_status_t error(cp_transfer_t *t, cp_error_class_t cls,
                          apr_status_t rv, const char *cause)
{
    return cp_http_error(&t->err, t->upstream, cls, rv, cause);
}

/* The runner has ended the transfer, and not well. */
static apr_status_t explain(cp_transfer_t *t)
{
    return t->job->code == CURLE_OPERATION_TIMEDOUT
               ? cp_attempt_late(t)
               : cp_http_explain(t->job, t->upstream, &t->err);
}

/* curl's times all begin with the transfer; 0: the phase did not happen. */
static apr_interval_time_t between(CURL *easy, CURLINFO from, CURLINFO to)
{
    curl_off_t began = 0, ended = 0;

    curl_easy_getinfo(easy, from, &began);
    curl_easy_getinfo(easy, to, &ended);
    return ended == 0 ? -1 : ended > began ? ended - began : 0;
}

static void note_spans(cp_transfer_t *t)
{
    CURL *easy = t->job->easy;
    apr_interval_time_t *us = t->result.span_us;
    curl_off_t lookup = 0;

    if (!t->result.reused) {
        curl_easy_getinfo(easy, CURLINFO_NAMELOOKUP_TIME_T, &lookup);
        us[CP_SPAN_LOOKUP] = lookup;
        us[CP_SPAN_TCP] = between(easy, CURLINFO_NAMELOOKUP_TIME_T,
                                  CURLINFO_CONNECT_TIME_T);
        us[CP_SPAN_TLS] = between(easy, CURLINFO_CONNECT_TIME_T,
                                  CURLINFO_APPCONNECT_TIME_T);
        t->result.handshakes += us[CP_SPAN_TLS] >= 0;
    }
    us[CP_SPAN_FIRST_BYTE] = between(easy, CURLINFO_PRETRANSFER_TIME_T,
                                     CURLINFO_STARTTRANSFER_TIME_T);
}

static void note_reuse(cp_transfer_t *t)
{
    long connects = 1;

    if (t->was_kept) {
        t->result.reused = 1;
        t->result.span_us[CP_SPAN_FIRST_BYTE] = t->first_byte;
        return;
    }
    curl_easy_getinfo(t->job->easy, CURLINFO_NUM_CONNECTS, &connects);
    t->result.reused = connects == 0;
    note_spans(t);
}

static cp_next_t judge_curl(cp_transfer_t *t, apr_status_t *prv)
{
    const cp_job_t *job = t->job;

    note_reuse(t);
    t->result.answered |= job->status != 0
                          || (job->fault != CP_FAULT_NONE
                              && job->fault != CP_FAULT_AGAIN);
    if (job->code != CURLE_OK) {
        *prv = explain(t);
        return cp_http_is_retryable(t->job) && !t->request.is_replaceable
                       && t->result.retries < t->upstream->config.retries
                       && cp_clock_left(t->deadline) > 0
                   ? NEXT_RETRY
                   : NEXT_RETURN;
    }
    if (job->location) {
        return NEXT_REDIRECT;
    }
    return NEXT_RETURN;
}

/* May it run once more? A thread that is stuck may still send what it has. */
static int may_run_again(const cp_transfer_t *t, cp_job_end_t end)
{
    return (end != CP_END_NONE && t->job->sendings == 0)
           || cp_job_may_repeat(t->job);
}

/* Nothing came, and what was sent may be sent to another one. */
static int may_ask_another(const cp_transfer_t *t, cp_job_end_t end)
{
    return (t->is_inline || end != CP_END_NONE) && t->job->header_bytes == 0
           && !t->result.is_late
           && (t->err.cls == CP_ERR_UPSTREAM || t->err.cls == CP_ERR_DEADLINE)
           && (t->job->sendings == 0 || cp_job_may_repeat(t->job));
}

static cp_next_t judge(cp_transfer_t *t, cp_job_end_t end, apr_status_t *prv)
{
    int is_lost = t->is_lost || end == CP_END_LOST;

    if (is_lost && !t->is_head_out && may_run_again(t, end)) {
        return NEXT_INLINE;
    }
    if (is_lost) {
        *prv = error(t, CP_ERR_UPSTREAM, APR_SUCCESS,
                     "the event loop was lost");
        return NEXT_RETURN;
    }
    if (*prv != APR_SUCCESS) {
        return NEXT_RETURN;
    }
    if (end == CP_END_STOPPED) {
        *prv = error(t, CP_ERR_CANCELLED, APR_EOF,
                     "the event loop was stopped");
        return NEXT_RETURN;
    }
    return judge_curl(t, prv);
}

static cp_next_t judge_attempt(cp_transfer_t *t, cp_job_end_t end,
                               apr_status_t *prv)
{
    cp_next_t next = judge(t, end, prv);

    t->result.may_repeat = next == NEXT_RETURN && *prv != APR_SUCCESS
                           && may_ask_another(t, end);
    return next;
}

/* ---- The next one ---- */

/* What the attempt has asked, to ask it again. Whoever has the job still only
 * reads it. */
static apr_status_t keep_url(cp_transfer_t *t)
{
    if (t->job->url && !(t->url = curl_url_dup(t->job->url))) {
        return cp_http_error(&t->err, t->upstream, CP_ERR_MEMORY, APR_ENOMEM,
                             "out of memory");
    }
    return APR_SUCCESS;
}

static apr_status_t redirect(cp_transfer_t *t)
{
    if (!t->url && !(t->url = curl_url_dup(t->upstream->url))) {
        return cp_http_error(&t->err, t->upstream, CP_ERR_MEMORY, APR_ENOMEM,
                             "out of memory");
    }
    if (t->redirects++ >= t->upstream->config.redirects) {
        return cp_http_error(&t->err, t->upstream, CP_ERR_UPSTREAM, APR_SUCCESS,
                             "the upstream redirects too often");
    }
    return cp_http_redirect(t->url, t->upstream, t->job->location, &t->err);
}

static void end_attempt(cp_transfer_t *t, cp_job_end_t end)
{
    cp_next_t next = judge_attempt(t, end, &t->rv);

    if (next != NEXT_RETURN) {
        t->rv = keep_url(t);
        next = t->rv == APR_SUCCESS ? next : NEXT_RETURN;
    }
    if (next == NEXT_REDIRECT) {
        t->rv = redirect(t);
        next = t->rv == APR_SUCCESS ? NEXT_REDIRECT : NEXT_RETURN;
    }
    cp_attempt_drop(t);
    switch (next) {
    case NEXT_RETURN:
        finish(t);
        return;
    case NEXT_REDIRECT:
        break;
    case NEXT_RETRY:
        t->result.retries++;
        t->is_fresh = 1;
        break;
    case NEXT_INLINE:
        cp_loop_count_inline(t->loop);
        t->loop = NULL;
        break;
    }
    begin_attempt(t);
}

static cp_transfer_t *create(cp_bell_t *bell)
{
    cp_transfer_t *t = calloc(1, sizeof(*t));

    if (!t) {
        return NULL;
    }
    if (bell) {
        cp_bell_ref(bell);
    }
    else if (!(bell = cp_bell_create())) {
        free(t);
        return NULL;
    }
    t->bell = bell;
    return t;
}

apr_status_t cp_transfer_start(cp_transfer_t **ptransfer,
                               cp_upstream_t *upstream, void *conn,
                               cp_loop_t *loop,
                               const cp_fetch_request_t *request,
                               const cp_fetch_sink_t *sink, cp_bell_t *bell)
{
    apr_interval_time_t total = upstream->config.total;
    cp_transfer_t *t = create(bell);

    *ptransfer = t;
    if (!t) {
        return APR_ENOMEM;
    }
    t->upstream = upstream;
    t->conn = conn;
    t->loop = loop;
    t->request = *request;
    t->sink = *sink;
    for (int i = 0; i < CP_SPANS; i++) {
        t->result.span_us[i] = -1;
    }
    if (request->total > 0 && (total <= 0 || request->total < total)) {
        total = request->total;
    }
    t->began = cp_clock_now();
    t->deadline = total > 0 ? cp_clock_after(total) : CP_CLOCK_NEVER;
    t->ask_at = t->began + CP_ATTEMPT_SLICE;
    t->rv = cp_http_build_url(&t->url, upstream, request, &t->err);
    if (t->rv == APR_SUCCESS) {
        begin_attempt(t);
    }
    else {
        finish(t);
    }
    return APR_SUCCESS;
}

apr_status_t cp_transfer_advance(cp_transfer_t *t, cp_clock_t *puntil)
{
    int has_worked = 0; /* once a call is enough */
    cp_clock_t until = 0;
    cp_job_end_t end;

    while (!t->is_over) {
        apr_status_t rv = t->is_leaving ? t->rv : cp_attempt_follow(t, &until);

        if (rv == APR_INCOMPLETE && t->is_inline && !has_worked) {
            has_worked = 1;
            cp_attempt_work(t, until);
        }
        else if (rv == APR_INCOMPLETE) {
            *puntil = t->is_inline ? 0 : until;
            return APR_EAGAIN;
        }
        else if (cp_attempt_leave(t, rv, &end)) {
            end_attempt(t, end);
        }
        else {
            *puntil = t->patience;
            return APR_EAGAIN;
        }
    }
    return APR_SUCCESS;
}

void cp_transfer_finish(cp_transfer_t *t)
{
    cp_clock_t until;

    t->is_alone = 1;
    while (cp_transfer_advance(t, &until) == APR_EAGAIN) {
        if (until > 0) {
            cp_attempt_wait(t, until);
        }
    }
}

int cp_transfer_may_repeat(const cp_transfer_t *t)
{
    return t->is_over && t->result.may_repeat;
}

/* Nobody wants the rest. Others of the bell may have rung meanwhile. */
static void give_up(cp_transfer_t *t)
{
    apr_status_t rv = cp_http_error(&t->err, t->upstream, CP_ERR_CANCELLED,
                                    APR_EOF, "the fetch was given up");
    cp_job_end_t end;

    while (!cp_attempt_leave(t, rv, &end)) {
        cp_bell_wait(t->bell, t->patience);
    }
    cp_bell_ring(t->bell);
    cp_attempt_drop(t);
    finish(t);
}

apr_status_t cp_transfer_end(cp_transfer_t *t, cp_fetch_result_t *result,
                             cp_error_t *err)
{
    apr_status_t rv;

    if (!t->is_over) {
        give_up(t);
    }
    rv = t->rv;
    *result = t->result;
    *err = t->err;
    if (rv == APR_SUCCESS) {
        cp_error_clear(err);
    }
    curl_url_cleanup(t->url);
    cp_bell_unref(t->bell);
    cp_buffer_free(&t->body);
    free(t);
    return rv;
}
