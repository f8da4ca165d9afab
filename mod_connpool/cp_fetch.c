/* SPDX-License-Identifier: Apache-2.0
 * One fetch, seen from the thread that asks for it: attempts, redirects, the
 * time limits, and what went wrong. */
#include "cp_fetch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include "cp_clock.h"

/* Between two looks at cancellation and at the loop's health. */
#define SLICE apr_time_from_msec(100)

/* How long a leaving waiter gives the loop to hand the handle back. */
#define HAND_BACK apr_time_from_msec(20)

typedef struct run_t {
    cp_upstream_t *upstream;
    cp_conn_t *conn;
    cp_loop_t *loop; /* NULL: inline */
    const cp_fetch_request_t *request;
    const cp_fetch_sink_t *sink;
    cp_fetch_result_t *result;
    cp_error_t *err;
    cp_clock_t deadline;
    CURLU *url;
    int redirects;
    int is_fresh; /* a retry: not over a socket that is open already */
    /* Of the attempt. */
    cp_job_t *job;
    cp_clock_t connect_deadline;
    cp_clock_t ask_at; /* next question to is_cancelled */
    int is_head_out;   /* the sink has got the head */
    int is_inline;
} run_t;

static apr_status_t error(run_t *run, cp_error_class_t cls, apr_status_t rv,
                          const char *cause)
{
    return cp_http_error(run->err, run->upstream, cls, rv, cause);
}

static apr_status_t error_deadline(run_t *run, const char *cause)
{
    return error(run, CP_ERR_DEADLINE, APR_TIMEUP, cause);
}

static apr_status_t error_cancelled(run_t *run, const char *cause)
{
    return error(run, CP_ERR_CANCELLED, APR_EOF, cause);
}

static apr_status_t error_memory(run_t *run)
{
    return error(run, CP_ERR_INTERNAL, APR_ENOMEM, "out of memory");
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

static void configure(run_t *run, cp_job_t *job, const char *url)
{
    CURL *easy = job->easy;

    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, curl_limit(run->deadline));
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                     curl_limit(run->connect_deadline));
    if (run->request->is_one_shot) {
        curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    }
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT,
                     (long)(run->is_fresh || run->request->is_one_shot));
    job->is_head = strcmp(run->request->method, "HEAD") == 0;
    job->follows_redirects = run->upstream->config.redirects > 0;
    cp_job_attach(job);
}

static apr_status_t prepare(run_t *run)
{
    cp_conn_t *conn = run->conn;
    apr_status_t rv;
    char *url;

    run->is_head_out = 0;
    run->connect_deadline = run->upstream->config.connect > 0
                                ? cp_clock_after(run->upstream->config.connect)
                                : CP_CLOCK_NEVER;
    if (run->connect_deadline > run->deadline) {
        run->connect_deadline = run->deadline;
    }
    if (!conn->easy && !(conn->easy = curl_easy_init())) {
        return error_memory(run);
    }
    run->job = cp_job_create(conn->easy, run->upstream);
    if (!run->job
        || curl_url_get(run->url, CURLUPART_URL, &url, 0) != CURLUE_OK) {
        return error_memory(run);
    }
    rv = cp_http_build_headers(&run->job->headers, run->upstream, run->request,
                               run->err);
    if (rv == APR_SUCCESS) {
        configure(run, run->job, url);
    }
    curl_free(url);
    return rv;
}

static apr_status_t start(run_t *run)
{
    apr_status_t rv = run->loop ? cp_loop_submit(run->loop, run->job)
                                : APR_ENOTIMPL;

    run->is_inline = rv != APR_SUCCESS;
    if (!run->is_inline) {
        return rv;
    }
    if (rv == APR_EOF) {
        return error_cancelled(run, "the event loop was stopped");
    }
    if (run->loop) {
        cp_loop_count_inline(run->loop);
    }
    run->result->ran_inline = 1;
    return cp_inline_start(run->conn, run->job) ? APR_SUCCESS
                                                : error_memory(run);
}

/* ---- Waiting ---- */

/* The earliest of all limits that run now, with what to say when it passes. */
static cp_clock_t next_limit(run_t *run, const char **pcause)
{
    cp_job_t *job = run->job;
    cp_clock_t limit = run->deadline;
    cp_clock_t other = CP_CLOCK_NEVER;
    const char *cause = "the upstream took too long to connect to";

    *pcause = "the upstream took too long to answer";
    if (__atomic_load_n(&job->phase, __ATOMIC_RELAXED) == CP_PHASE_CONNECT) {
        other = run->connect_deadline;
    }
    else if (run->upstream->config.read > 0) {
        cause = "the upstream fell silent";
        other = __atomic_load_n(&job->active_at, __ATOMIC_RELAXED)
                + run->upstream->config.read;
    }
    if (other <= limit) {
        *pcause = cause;
        limit = other;
    }
    return limit;
}

static apr_status_t check_limits(run_t *run, cp_clock_t *puntil)
{
    const cp_fetch_sink_t *sink = run->sink;
    cp_clock_t now = cp_clock_now();
    const char *cause;
    cp_clock_t limit = next_limit(run, &cause);

    if (now >= limit) {
        return error_deadline(run, cause);
    }
    if (now >= run->ask_at) {
        run->ask_at = now + SLICE;
        if (sink->is_cancelled && sink->is_cancelled(sink->baton)) {
            return error_cancelled(run, "nobody waits for it any more");
        }
    }
    *puntil = run->ask_at < limit ? run->ask_at : limit;
    return APR_SUCCESS;
}

/* What the runner has for us. */
typedef struct news_t {
    int has_head;
    int was_paused;
    cp_job_end_t end;
} news_t;

/* Swap what is there out of the job, so that the sink can take its time. */
static news_t take_news(run_t *run, cp_bytes_t *body)
{
    cp_job_t *job = run->job;
    news_t news;
    cp_bytes_t empty;

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

static void wait_until(run_t *run, cp_clock_t until)
{
    cp_job_t *job = run->job;
    struct timespec when = cp_clock_timespec(until);

    if (run->is_inline) {
        if (!job->has_news) {
            cp_inline_work(run->conn, job, cp_clock_left(until));
        }
        return;
    }
    pthread_mutex_lock(&job->lock);
    if (!job->has_news) {
        pthread_cond_timedwait(&job->cond, &job->lock, &when);
    }
    pthread_mutex_unlock(&job->lock);
}

/* ---- Delivery ---- */

static apr_status_t deliver_head(run_t *run)
{
    const cp_job_t *job = run->job;
    int count;
    cp_http_header_t *headers = cp_job_headers(job, &count);
    apr_status_t rv;

    if (!headers) {
        return error_memory(run);
    }
    run->is_head_out = 1;
    run->result->status = job->status;
    rv = run->sink->head(run->sink->baton, job->status, headers, count);
    free(headers);
    return rv == APR_SUCCESS ? rv : error_cancelled(run, "head not wanted");
}

static apr_status_t deliver_body(run_t *run, const cp_bytes_t *body)
{
    apr_status_t rv;

    if (body->size == 0) {
        return APR_SUCCESS;
    }
    run->result->bytes += (apr_int64_t)body->size;
    rv = run->sink->body(run->sink->baton, body->data, body->size);
    return rv == APR_SUCCESS ? rv : error_cancelled(run, "body not wanted");
}

/* Let a transfer that waited for us run again. */
static void go_on(run_t *run, const news_t *news, int was_working)
{
    cp_job_t *job = run->job;

    if (news->was_paused || was_working) {
        /* Our own slowness is not the upstream's silence. */
        __atomic_store_n(&job->active_at, cp_clock_now(), __ATOMIC_RELAXED);
    }
    if (news->was_paused && run->is_inline) {
        cp_inline_unpause(run->conn, job);
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

/* Take and pass on what the job brings until it has ended (APR_SUCCESS, see
 * job->end), or until we do not want to, or may not, wait any longer. */
static apr_status_t follow(run_t *run, cp_bytes_t *body)
{
    cp_clock_t until = 0;

    for (;;) {
        news_t news = take_news(run, body);
        apr_status_t rv = APR_SUCCESS;

        if (is_broken(&news, run->job)) {
            return APR_SUCCESS;
        }
        if (news.has_head && !run->is_head_out) {
            rv = deliver_head(run);
        }
        if (rv == APR_SUCCESS) {
            rv = deliver_body(run, body);
        }
        if (rv != APR_SUCCESS || news.end != CP_END_NONE) {
            return rv;
        }
        go_on(run, &news, body->size > 0);
        rv = check_limits(run, &until);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        if (!run->is_inline && cp_loop_is_lost(run->job)) {
            return APR_EAGAIN;
        }
        wait_until(run, until);
    }
}

/* ---- The attempt's end ---- */

/* Get the handle back from the runner, or leave it behind (CP_END_NONE): then
 * no more may be read of the job than the waiter's own. */
static cp_job_end_t leave(run_t *run)
{
    cp_job_t *job = run->job;
    struct timespec patience = cp_clock_timespec(cp_clock_after(HAND_BACK));
    cp_job_end_t end;
    int is_over = 0;

    if (run->is_inline) {
        cp_inline_stop(run->conn, job);
        return job->end;
    }
    pthread_mutex_lock(&job->lock);
    if (job->end == CP_END_NONE) {
        pthread_mutex_unlock(&job->lock);
        cp_loop_order(job, CP_ORDER_CANCEL);
        pthread_mutex_lock(&job->lock);
    }
    while (job->end == CP_END_NONE && !is_over) {
        is_over = cp_loop_is_lost(job)
                  || pthread_cond_timedwait(&job->cond, &job->lock, &patience)
                         == ETIMEDOUT;
    }
    end = job->end;
    if (end == CP_END_NONE) {
        job->is_abandoned = 1;
        run->conn->easy = NULL;
    }
    pthread_mutex_unlock(&job->lock);
    cp_loop_left(job);
    return end;
}

/* The runner has ended the transfer, and not well. */
static apr_status_t explain(run_t *run)
{
    const char *cause;

    if (run->job->code != CURLE_OPERATION_TIMEDOUT) {
        return cp_http_explain(run->job, run->upstream, run->err);
    }
    next_limit(run, &cause);
    return error_deadline(run, cause);
}

/* curl's times all begin with the transfer; 0: the phase did not happen. */
static apr_interval_time_t between(CURL *easy, CURLINFO from, CURLINFO to)
{
    curl_off_t began = 0, ended = 0;

    curl_easy_getinfo(easy, from, &began);
    curl_easy_getinfo(easy, to, &ended);
    return ended == 0 ? -1 : ended > began ? ended - began : 0;
}

static void note_spans(run_t *run)
{
    CURL *easy = run->job->easy;
    apr_interval_time_t *us = run->result->span_us;
    curl_off_t lookup = 0;

    if (!run->result->reused) {
        curl_easy_getinfo(easy, CURLINFO_NAMELOOKUP_TIME_T, &lookup);
        us[CP_SPAN_LOOKUP] = lookup;
        us[CP_SPAN_TCP] = between(easy, CURLINFO_NAMELOOKUP_TIME_T,
                                  CURLINFO_CONNECT_TIME_T);
        us[CP_SPAN_TLS] = between(easy, CURLINFO_CONNECT_TIME_T,
                                  CURLINFO_APPCONNECT_TIME_T);
        run->result->handshakes += us[CP_SPAN_TLS] >= 0;
    }
    us[CP_SPAN_FIRST_BYTE] = between(easy, CURLINFO_PRETRANSFER_TIME_T,
                                     CURLINFO_STARTTRANSFER_TIME_T);
}

static void note_reuse(run_t *run)
{
    long connects = 1;

    curl_easy_getinfo(run->job->easy, CURLINFO_NUM_CONNECTS, &connects);
    run->result->reused = connects == 0;
    note_spans(run);
}

/* What the whole fetch does after an attempt. */
typedef enum next_t {
    NEXT_RETURN,
    NEXT_REDIRECT,
    NEXT_RETRY,
    NEXT_INLINE,
} next_t;

static next_t judge_curl(run_t *run, apr_status_t *prv)
{
    const cp_job_t *job = run->job;

    note_reuse(run);
    if (job->code != CURLE_OK) {
        *prv = explain(run);
        return cp_http_is_retryable(run->job)
                       && run->result->retries < run->upstream->config.retries
                       && cp_clock_left(run->deadline) > 0
                   ? NEXT_RETRY
                   : NEXT_RETURN;
    }
    if (job->location) {
        return NEXT_REDIRECT;
    }
    if (!run->is_head_out) {
        *prv = error(run, CP_ERR_UPSTREAM, APR_SUCCESS,
                     "the upstream closed the connection within its head");
    }
    return NEXT_RETURN;
}

/* The attempt is over with rv; the handle is ours again, or left behind. */
static next_t judge(run_t *run, cp_job_end_t end, apr_status_t *prv)
{
    int is_lost = *prv == APR_EAGAIN || end == CP_END_LOST;

    if (is_lost && !run->is_head_out) {
        return NEXT_INLINE;
    }
    if (is_lost) {
        *prv = error(run, CP_ERR_UPSTREAM, APR_SUCCESS,
                     "the event loop was lost");
        return NEXT_RETURN;
    }
    if (*prv != APR_SUCCESS) {
        return NEXT_RETURN;
    }
    if (end == CP_END_STOPPED) {
        *prv = error_cancelled(run, "the event loop was stopped");
        return NEXT_RETURN;
    }
    return judge_curl(run, prv);
}

static apr_status_t redirect(run_t *run)
{
    if (run->redirects++ >= run->upstream->config.redirects) {
        return error(run, CP_ERR_UPSTREAM, APR_SUCCESS,
                     "the upstream redirects too often");
    }
    return cp_http_redirect(run->url, run->upstream, run->job->location,
                            run->err);
}

static void drop_job(run_t *run)
{
    /* The handle must not keep pointers into a job that goes. */
    if (run->conn->easy) {
        curl_easy_reset(run->conn->easy);
    }
    if (run->job) {
        cp_job_unref(run->job);
        run->job = NULL;
    }
}

/* One hop, one try. */
static next_t attempt(run_t *run, apr_status_t *prv)
{
    cp_bytes_t body = {0};
    next_t next = NEXT_RETURN;

    *prv = prepare(run);
    if (*prv == APR_SUCCESS) {
        *prv = start(run);
    }
    if (*prv == APR_SUCCESS) {
        *prv = follow(run, &body);
        next = judge(run, leave(run), prv);
        if (next == NEXT_REDIRECT) {
            *prv = redirect(run);
            next = *prv == APR_SUCCESS ? NEXT_REDIRECT : NEXT_RETURN;
        }
    }
    free(body.data);
    drop_job(run);
    return next;
}

static apr_status_t run_all(run_t *run)
{
    apr_status_t rv = cp_http_build_url(&run->url, run->upstream, run->request,
                                        run->err);

    while (rv == APR_SUCCESS) {
        switch (attempt(run, &rv)) {
        case NEXT_RETURN:
            return rv;
        case NEXT_REDIRECT:
            break;
        case NEXT_RETRY:
            run->result->retries++;
            run->is_fresh = 1;
            break;
        case NEXT_INLINE:
            cp_loop_count_inline(run->loop);
            run->loop = NULL;
            break;
        }
        rv = APR_SUCCESS;
    }
    return rv;
}

apr_status_t cp_fetch_run(cp_upstream_t *upstream, void *conn, cp_loop_t *loop,
                          const cp_fetch_request_t *request,
                          const cp_fetch_sink_t *sink,
                          cp_fetch_result_t *result, cp_error_t *err)
{
    apr_interval_time_t total = upstream->config.total;
    cp_clock_t began = cp_clock_now();
    run_t run = {.upstream = upstream,
                 .conn = conn,
                 .loop = loop,
                 .request = request,
                 .sink = sink,
                 .result = result,
                 .err = err};
    apr_status_t rv;

    memset(result, 0, sizeof(*result));
    for (int i = 0; i < CP_SPANS; i++) {
        result->span_us[i] = -1;
    }
    cp_error_clear(err);
    if (request->total > 0 && (total <= 0 || request->total < total)) {
        total = request->total;
    }
    run.deadline = total > 0 ? cp_clock_after(total) : CP_CLOCK_NEVER;
    run.ask_at = began + SLICE;
    rv = run_all(&run);
    curl_url_cleanup(run.url);
    if (rv == APR_SUCCESS) {
        cp_error_clear(err);
    }
    result->us = cp_clock_now() - began;
    return rv;
}
