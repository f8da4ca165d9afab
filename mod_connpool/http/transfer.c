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
    cp_next_t next = cp_attempt_judge(t, end, &t->rv);

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
