/* SPDX-License-Identifier: Apache-2.0
 * One attempt of a fetch: one hop, one try, with its time limits. */
#include "http/attempt.h"

#include "base/bytes/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "http/inline.h"
#include "http/job/bell.h"
#include "http/job/error.h"
#include "http/job/fetch.h"
#include "http/job/handle.h"
#include "http/job/job.h"
#include "http/job/request.h"
#include "http/loop.h"
#include "stats/stats.h"

#include <stdlib.h>
#include <string.h>

/* So long without news an upstream has paused, and is not just slow to send
 * what it has. */
#define QUIET apr_time_from_msec(10)

/* For one round of all transfers that a thread drives itself. */
#define INLINE_ROUND apr_time_from_msec(10)
#define INLINE_LEAST apr_time_from_msec(1)

/* How long a leaving waiter gives the loop to hand the handle back. */
#define HAND_BACK apr_time_from_msec(20)

static apr_status_t error(cp_transfer_t *t, cp_error_class_t cls,
                          apr_status_t rv, const char *cause)
{
    return cp_http_error(&t->err, t->upstream, cls, rv, cause);
}

static apr_status_t error_deadline(cp_transfer_t *t, const char *cause)
{
    return error(t, CP_ERR_DEADLINE, APR_TIMEUP, cause);
}

static apr_status_t error_cancelled(cp_transfer_t *t, const char *cause)
{
    return error(t, CP_ERR_CANCELLED, APR_EOF, cause);
}

static apr_status_t error_memory(cp_transfer_t *t)
{
    return error(t, CP_ERR_MEMORY, APR_ENOMEM, "out of memory");
}

/* ---- The attempt's beginning ---- */

/* The waiter keeps the limits itself, to the millisecond. curl's come a little
 * later: a second fence, for handles that were left behind as well. */
static long curl_limit(cp_clock_t deadline)
{
    apr_interval_time_t left = cp_clock_left(deadline);

    return cp_http_milliseconds(left == CP_CLOCK_NEVER ? left
                                                       : left + HAND_BACK);
}

static void configure(cp_transfer_t *t, cp_job_t *job)
{
    CURL *easy = job->easy;

    cp_http_prepare(t->conn, t->upstream);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, curl_limit(t->deadline));
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                     curl_limit(t->connect_deadline));
    if (t->request.is_one_shot) {
        curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    }
    if (t->is_fresh || t->request.is_one_shot) {
        curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    }
    job->method = cp_http_method(t->request.method);
    job->is_head = strcmp(job->method, "HEAD") == 0;
    job->accepts_gzip = !cp_http_wants_part(&t->request);
    job->follows_redirects = t->upstream->config.redirects > 0
                             && (job->is_head || !strcmp(job->method, "GET"));
    cp_job_attach(job);
}

static apr_status_t prepare(cp_transfer_t *t)
{
    cp_conn_t *conn = t->conn;
    apr_status_t rv;

    t->is_head_out = 0;
    t->pause_at = 0;
    t->is_leaving = 0;
    t->is_lost = 0;
    t->patience = 0;
    t->connect_deadline = t->upstream->config.connect > 0
                              ? cp_clock_after(t->upstream->config.connect)
                              : CP_CLOCK_NEVER;
    if (t->connect_deadline > t->deadline) {
        t->connect_deadline = t->deadline;
    }
    if (!conn->easy) {
        conn->is_ready = 0;
        conn->easy = curl_easy_init();
    }
    t->job = conn->easy ? cp_job_create(conn->easy, t->upstream, t->bell)
                        : NULL;
    if (!t->job) {
        return error_memory(t);
    }
    t->job->url = t->url;
    t->url = NULL;
    rv = cp_http_build_headers(&t->job->headers, t->upstream, &t->request,
                               &t->err);
    if (rv == APR_SUCCESS) {
        rv = cp_attempt_feed_begin(t);
    }
    if (rv == APR_SUCCESS) {
        configure(t, t->job);
    }
    return rv;
}

/* In the loop it would be handed over and back, which takes two threads to be
 * woken: here it is its own thread that hears of the answer. What is used once
 * is not worth what a runner of its own takes to be set up. */
static int runs_itself(const cp_transfer_t *t)
{
    return t->request.is_lone && !t->request.is_one_shot
           && !cp_upstream_gains_from_loop(t->upstream);
}

static apr_status_t start_inline(cp_transfer_t *t)
{
    t->result.ran_inline = 1;
    if (!cp_inline_start(t->conn, t->job)) {
        return error_memory(t);
    }
    t->is_inline = 1;
    if (t->is_beside) {
        cp_loop_count_beside(t->loop, 1);
    }
    cp_bell_count_inline(t->bell, 1);
    return APR_SUCCESS;
}

static apr_status_t start(cp_transfer_t *t)
{
    apr_status_t rv = APR_ENOTIMPL;

    t->is_inline = 0;
    t->is_beside = t->loop && runs_itself(t);
    if (t->loop && !t->is_beside) {
        rv = cp_loop_submit(t->loop, t->job);
    }
    if (rv == APR_EOF) {
        return error_cancelled(t, "the event loop was stopped");
    }
    if (rv == APR_EAGAIN) {
        cp_loop_count_inline(t->loop);
    }
    return rv == APR_SUCCESS ? rv : start_inline(t);
}

apr_status_t cp_attempt_begin(cp_transfer_t *t)
{
    apr_status_t rv = prepare(t);

    return rv == APR_SUCCESS ? start(t) : rv;
}

/* ---- Waiting ---- */

/* How long the upstream may be silent. Who can ask another one the same is not
 * patient. */
static apr_interval_time_t patience_of(const cp_transfer_t *t)
{
    const cp_upstream_config_t *config = &t->upstream->config;
    int is_short = t->request.is_replaceable && config->connect > 0
                   && (config->read <= 0 || config->connect < config->read)
                   && __atomic_load_n(&t->job->phase, __ATOMIC_RELAXED)
                          == CP_PHASE_ANSWER
                   && !t->job->upload && cp_job_is_idempotent(t->job);

    return is_short ? config->connect : config->read;
}

/* The earliest of all limits that run now, with what to say when it passes. */
static cp_clock_t next_limit(cp_transfer_t *t, const char **pcause)
{
    cp_job_t *job = t->job;
    cp_clock_t limit = t->deadline;
    cp_clock_t other = CP_CLOCK_NEVER;
    const char *cause = "the upstream took too long to connect to";

    *pcause = "the upstream took too long to answer";
    if (__atomic_load_n(&job->phase, __ATOMIC_RELAXED) == CP_PHASE_CONNECT) {
        other = t->connect_deadline;
    }
    else if (patience_of(t) > 0) {
        cause = "the upstream fell silent";
        other = __atomic_load_n(&job->active_at, __ATOMIC_RELAXED)
                + patience_of(t);
    }
    if (other <= limit) {
        *pcause = cause;
        limit = other;
    }
    return limit;
}

/* Tell the sink of a pause when it is time. */
static apr_status_t check_pause(cp_transfer_t *t, cp_clock_t *puntil)
{
    if (t->pause_at == 0 || !t->sink.pause) {
        return APR_SUCCESS;
    }
    if (cp_clock_now() >= t->pause_at) {
        t->pause_at = 0;
        return t->sink.pause(t->sink.baton) == APR_SUCCESS
                   ? APR_SUCCESS
                   : error_cancelled(t, "answer not wanted");
    }
    if (t->pause_at < *puntil) {
        *puntil = t->pause_at;
    }
    return APR_SUCCESS;
}

static apr_status_t check_limits(cp_transfer_t *t, cp_clock_t *puntil)
{
    const cp_fetch_sink_t *sink = &t->sink;
    cp_clock_t now = cp_clock_now();
    const char *cause;
    cp_clock_t limit = next_limit(t, &cause);

    if (now >= limit && cp_attempt_is_starved(t)) {
        return error(t, CP_ERR_CANCELLED, APR_TIMEUP,
                     "the request's body came too slowly");
    }
    if (now >= limit) {
        t->result.is_late = limit == t->deadline;
        return error_deadline(t, cause);
    }
    if (now >= t->ask_at) {
        t->ask_at = now + CP_ATTEMPT_SLICE;
        if (sink->is_cancelled && sink->is_cancelled(sink->baton)) {
            return error_cancelled(t, "nobody waits for it any more");
        }
    }
    *puntil = t->ask_at < limit ? t->ask_at : limit;
    return check_pause(t, puntil);
}

/* What the runner has for us. */
typedef struct news_t {
    int has_head;
    int was_paused;
    cp_job_end_t end;
} news_t;

/* Swap what is there out of the job, so that the sink can take its time. */
static news_t take_news(cp_transfer_t *t, cp_buffer_t *body)
{
    cp_job_t *job = t->job;
    news_t news;
    cp_buffer_t empty;

    pthread_mutex_lock(&job->lock);
    news.has_head = job->has_head;
    news.was_paused = job->is_paused;
    news.end = job->end;
    empty = *body;
    empty.size = 0;
    *body = job->body;
    job->body = empty;
    job->is_paused = 0;
    job->has_news = 0;
    pthread_mutex_unlock(&job->lock);
    return news;
}

/* ---- Delivery ---- */

static apr_status_t deliver_head(cp_transfer_t *t)
{
    const cp_job_t *job = t->job;
    int count;
    cp_http_header_t *headers = cp_job_headers(job, &count);
    apr_status_t rv;

    if (!headers) {
        return error_memory(t);
    }
    t->is_head_out = 1;
    t->pause_at = cp_clock_after(QUIET);
    t->result.status = job->status;
    rv = t->sink.head(t->sink.baton, job->status, headers, count);
    free(headers);
    return rv == APR_SUCCESS ? rv : error_cancelled(t, "head not wanted");
}

static apr_status_t deliver_body(cp_transfer_t *t, const cp_buffer_t *body)
{
    apr_status_t rv;

    if (body->size == 0) {
        return APR_SUCCESS;
    }
    t->result.bytes += (apr_int64_t)body->size;
    rv = t->sink.body(t->sink.baton, body->data, body->size);
    t->pause_at = cp_clock_after(QUIET);
    return rv == APR_SUCCESS ? rv : error_cancelled(t, "body not wanted");
}

/* Let a transfer that waited for us run again. */
static void go_on(cp_transfer_t *t, const news_t *news, int was_working)
{
    cp_job_t *job = t->job;

    if (news->was_paused || was_working) {
        /* Our own slowness is not the upstream's silence. */
        __atomic_store_n(&job->active_at, cp_clock_now(), __ATOMIC_RELAXED);
    }
    if (news->was_paused && t->is_inline) {
        cp_inline_unpause(t->conn, job);
    }
    else if (news->was_paused) {
        cp_loop_order(job, CP_ORDER_UNPAUSE);
    }
}

static int is_broken(const news_t *news, const cp_job_t *job)
{
    return news->end != CP_END_NONE
           && (news->end != CP_END_CURL || job->code != CURLE_OK);
}

apr_status_t cp_attempt_follow(cp_transfer_t *t, cp_clock_t *puntil)
{
    news_t news = take_news(t, &t->body);
    apr_status_t rv = APR_SUCCESS;

    if (is_broken(&news, t->job)) {
        return APR_SUCCESS;
    }
    if (news.has_head && !t->is_head_out) {
        rv = deliver_head(t);
    }
    if (rv == APR_SUCCESS) {
        rv = deliver_body(t, &t->body);
    }
    if (rv != APR_SUCCESS || news.end != CP_END_NONE) {
        return rv;
    }
    go_on(t, &news, t->body.size > 0);
    rv = cp_attempt_feed(t);
    if (rv == APR_SUCCESS) {
        rv = check_limits(t, puntil);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    t->is_lost = !t->is_inline && cp_loop_is_lost(t->job);
    return t->is_lost ? APR_SUCCESS : APR_INCOMPLETE;
}

void cp_attempt_work(cp_transfer_t *t, cp_clock_t until)
{
    apr_interval_time_t share = INLINE_ROUND / cp_bell_count_inline(t->bell, 0);
    apr_interval_time_t left = cp_clock_left(until);

    if (share < INLINE_LEAST) {
        share = INLINE_LEAST;
    }
    if (!t->job->has_news) {
        int fd = cp_attempt_source_fd(t, &until);

        left = cp_clock_left(until);
        cp_inline_work(t->conn, t->job, fd,
                       t->is_alone || left < share ? left : share);
    }
}

/* ---- The attempt's end ---- */

/* Is the handle back? A loop that does not hand it back in time, or is lost,
 * keeps it: then no more may be read of the job than the waiter's own, and
 * *pend is CP_END_NONE. */
static int is_handed_back(cp_transfer_t *t, cp_job_end_t *pend)
{
    cp_job_t *job = t->job;
    int is_left_behind;

    pthread_mutex_lock(&job->lock);
    if (job->end == CP_END_NONE && t->patience == 0) {
        pthread_mutex_unlock(&job->lock);
        t->patience = cp_clock_after(HAND_BACK);
        cp_loop_order(job, CP_ORDER_CANCEL);
        pthread_mutex_lock(&job->lock);
    }
    *pend = job->end;
    is_left_behind = *pend == CP_END_NONE
                     && (cp_loop_is_lost(job)
                         || cp_clock_left(t->patience) == 0);
    if (is_left_behind) {
        job->is_abandoned = 1;
        if (job->upload) {
            cp_upload_abort(job->upload);
        }
        t->conn->easy = NULL;
    }
    pthread_mutex_unlock(&job->lock);
    return *pend != CP_END_NONE || is_left_behind;
}

int cp_attempt_leave(cp_transfer_t *t, apr_status_t rv, cp_job_end_t *pend)
{
    t->is_leaving = 1;
    t->rv = rv;
    if (t->is_inline) {
        cp_inline_stop(t->conn, t->job);
        cp_bell_count_inline(t->bell, -1);
        if (t->is_beside) {
            cp_loop_count_beside(t->loop, -1);
        }
        *pend = t->job->end;
        return 1;
    }
    if (!is_handed_back(t, pend)) {
        return 0;
    }
    cp_loop_left(t->job);
    return 1;
}

/* The runner has ended the transfer, and not well. */
static apr_status_t explain(cp_transfer_t *t)
{
    const char *cause;

    if (t->job->code != CURLE_OPERATION_TIMEDOUT) {
        return cp_http_explain(t->job, t->upstream, &t->err);
    }
    t->result.is_late = next_limit(t, &cause) == t->deadline;
    return error_deadline(t, cause);
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
        *prv = error_cancelled(t, "the event loop was stopped");
        return NEXT_RETURN;
    }
    return judge_curl(t, prv);
}

cp_next_t cp_attempt_judge(cp_transfer_t *t, cp_job_end_t end,
                           apr_status_t *prv)
{
    cp_next_t next = judge(t, end, prv);

    t->result.may_repeat = next == NEXT_RETURN && *prv != APR_SUCCESS
                           && may_ask_another(t, end);
    return next;
}

/* Has its transfer gone well, with nothing special about it? Asked when the
 * runner has given it back. */
static int is_clean(const cp_transfer_t *t)
{
    const cp_job_t *job = t->job;

    return job && job->end == CP_END_CURL && job->code == CURLE_OK
           && cp_job_is_plain(job) && !t->is_fresh && !t->request.is_one_shot;
}

void cp_attempt_drop(cp_transfer_t *t)
{
    /* The handle must not keep pointers into a job that goes. */
    if (t->conn->easy) {
        cp_http_settle(t->conn, is_clean(t));
    }
    if (t->job) {
        if (t->job->upload) {
            t->result.sent += cp_upload_taken(t->job->upload);
        }
        cp_job_unref(t->job);
        t->job = NULL;
    }
}
