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
#include "http/kept/kept.h"
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

static void describe(cp_transfer_t *t, cp_job_t *job)
{
    job->method = cp_http_method(t->request.method);
    job->is_head = strcmp(job->method, "HEAD") == 0;
    job->accepts_gzip = !cp_http_wants_part(&t->request);
    job->follows_redirects = t->upstream->config.redirects > 0
                             && (job->is_head || !strcmp(job->method, "GET"));
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
    cp_job_attach(job);
}

static void limit_connect(cp_transfer_t *t)
{
    t->connect_deadline = t->upstream->config.connect > 0
                              ? cp_clock_after(t->upstream->config.connect)
                              : CP_CLOCK_NEVER;
    if (t->connect_deadline > t->deadline) {
        t->connect_deadline = t->deadline;
    }
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
    t->was_kept = 0;
    t->first_byte = -1;
    limit_connect(t);
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
        describe(t, t->job);
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

/* Where there are other transfers beside it, the thread must not sleep on one
 * socket. */
static int may_use_kept(const cp_transfer_t *t)
{
    return t->request.is_lone && !t->request.is_one_shot && !t->is_fresh
           && !cp_upstream_gains_from_loop(t->upstream);
}

static int start_curl(cp_transfer_t *t)
{
    configure(t, t->job);
    return cp_inline_start(t->conn, t->job);
}

static void come_back(cp_transfer_t *t)
{
    if (t->is_beside) {
        t->is_beside = 0;
        cp_loop_come_back(t->loop);
    }
}

static apr_status_t start_inline(cp_transfer_t *t)
{
    t->result.ran_inline = 1;
    t->kept = may_use_kept(t) ? cp_kept_start(t->conn, t->job) : NULL;
    if (!t->kept && !start_curl(t)) {
        come_back(t);
        return error_memory(t);
    }
    t->is_inline = 1;
    cp_bell_count_inline(t->bell, 1);
    return APR_SUCCESS;
}

static apr_status_t start(cp_transfer_t *t)
{
    apr_status_t rv = APR_ENOTIMPL;

    t->is_inline = 0;
    t->is_beside = t->loop && runs_itself(t) && cp_loop_go_beside(t->loop);
    if (t->loop && !t->is_beside) {
        configure(t, t->job);
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

cp_clock_t cp_attempt_limit(const cp_transfer_t *t, const char **pcause)
{
    const cp_job_t *job = t->job;
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

apr_status_t cp_attempt_late(cp_transfer_t *t)
{
    const char *cause;
    cp_clock_t limit = cp_attempt_limit(t, &cause);

    if (cp_attempt_is_starved(t)) {
        return error(t, CP_ERR_CANCELLED, APR_TIMEUP,
                     "the request's body came too slowly");
    }
    t->result.is_late = limit == t->deadline;
    return error_deadline(t, cause);
}

static apr_status_t check_limits(cp_transfer_t *t, cp_clock_t *puntil)
{
    const cp_fetch_sink_t *sink = &t->sink;
    cp_clock_t now = cp_clock_now();
    const char *cause;
    cp_clock_t limit = cp_attempt_limit(t, &cause);

    if (now >= limit) {
        return cp_attempt_late(t);
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
    if (news->was_paused && t->kept) {
        return; /* it goes on when it is worked on */
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

/* The other side had closed the socket: as curl would, on a fresh one. */
static void leave_kept(cp_transfer_t *t)
{
    cp_kept_stop(t->kept);
    t->kept = NULL;
    __atomic_store_n(&t->job->phase, CP_PHASE_CONNECT, __ATOMIC_RELAXED);
    limit_connect(t);
    if (!start_curl(t)) {
        cp_job_finish(t->job, CP_END_CURL, CURLE_FAILED_INIT);
    }
}

static void work_on_kept(cp_transfer_t *t, cp_clock_t until)
{
    if (!cp_kept_work(t->kept, cp_clock_left(until))) {
        leave_kept(t);
    }
}

void cp_attempt_work(cp_transfer_t *t, cp_clock_t until)
{
    apr_interval_time_t share = INLINE_ROUND / cp_bell_count_inline(t->bell, 0);
    apr_interval_time_t left = cp_clock_left(until);

    if (share < INLINE_LEAST) {
        share = INLINE_LEAST;
    }
    if (t->kept) {
        work_on_kept(t, until);
        return;
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

static void stop_inline(cp_transfer_t *t)
{
    if (!t->kept) {
        cp_inline_stop(t->conn, t->job);
        return;
    }
    t->first_byte = cp_kept_first_byte(t->kept);
    cp_kept_stop(t->kept);
    t->kept = NULL;
    t->was_kept = 1;
}

int cp_attempt_leave(cp_transfer_t *t, apr_status_t rv, cp_job_end_t *pend)
{
    t->is_leaving = 1;
    t->rv = rv;
    if (t->is_inline) {
        stop_inline(t);
        cp_bell_count_inline(t->bell, -1);
        come_back(t);
        *pend = t->job->end;
        return 1;
    }
    if (!is_handed_back(t, pend)) {
        return 0;
    }
    cp_loop_left(t->job);
    return 1;
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
    if (t->conn->easy && !t->was_kept) {
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
