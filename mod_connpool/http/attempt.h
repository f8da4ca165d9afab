/* SPDX-License-Identifier: Apache-2.0
 * A fetch and its attempt, as the two files of transfers share them. */
#ifndef CP_ATTEMPT_H
#define CP_ATTEMPT_H

#include <curl/curl.h>

#include "base/bytes/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "http/job/bell.h"
#include "http/job/fetch.h"
#include "http/job/handle.h"
#include "http/job/job.h"
#include "http/loop.h"
#include "http/transfer.h"
#include "http/upload/upload.h"
#include "http/upstream/upstream.h"

/** Between two looks at cancellation and at the loop's health. */
#define CP_ATTEMPT_SLICE apr_time_from_msec(100)

struct cp_transfer_t {
    cp_upstream_t *upstream;
    cp_conn_t *conn;
    cp_loop_t *loop; /* NULL: inline */
    cp_bell_t *bell; /* holds a reference */
    cp_fetch_request_t request;
    cp_fetch_sink_t sink;
    cp_fetch_result_t result;
    cp_error_t err;
    apr_status_t rv; /* of the fetch, or of the attempt when it is left */
    cp_clock_t began;
    cp_clock_t deadline;
    CURLU *url;       /* for the next attempt; NULL: the upstream's own */
    cp_buffer_t body; /* taken out of the job, to be delivered */
    int redirects;
    int is_fresh; /* a retry: not over a socket that is open already */
    int is_alone; /* its thread waits for nothing else */
    int is_over;
    /* Of the attempt. */
    cp_job_t *job;
    cp_clock_t connect_deadline;
    cp_clock_t ask_at;   /* next question to is_cancelled */
    cp_clock_t patience; /* the loop is to hand back by then; 0: not asked */
    cp_clock_t pause_at; /* without more news; 0: the sink was told */
    int is_head_out;     /* the sink has got the head */
    int is_inline;
    struct cp_kept_t *kept;         /* run inline, but not by curl */
    int was_kept;                   /* so it was */
    apr_interval_time_t first_byte; /* then: after the request; -1: none */
    int is_beside;  /* it could run in the loop, and is counted there */
    int is_lost;    /* together with its loop */
    int is_leaving; /* rv is final, the runner is to let go of the handle */
    apr_interval_time_t look_pause; /* until the next look at the source */
    int is_deceived; /* the source's descriptor had nothing when it said so */
};

/** Start one. On failure it is to be dropped. */
apr_status_t cp_attempt_begin(cp_transfer_t *t);

/** Take and pass on what the job has brought.
 * @return APR_INCOMPLETE while it goes on, with the next limit; APR_SUCCESS
 * when it has ended, see job->end, or is lost; or why we do not want to, or may
 * not, wait any longer */
apr_status_t cp_attempt_follow(cp_transfer_t *t, cp_clock_t *puntil);

/* What the request's body asks of the waiter (feeding.c). */

/** Prepare the job for it. */
apr_status_t cp_attempt_feed_begin(cp_transfer_t *t);

/** Pass on what the source has; not APR_SUCCESS: it cannot be had. */
apr_status_t cp_attempt_feed(cp_transfer_t *t);

/** The upstream waits for the client. */
int cp_attempt_is_starved(const cp_transfer_t *t);

/** The descriptor to look at beside the bell, or -1; *puntil gets earlier when
 * there is none to look at. */
int cp_attempt_source_fd(cp_transfer_t *t, cp_clock_t *puntil);

/** Sleep until there is news, or until then. */
void cp_attempt_wait(cp_transfer_t *t, cp_clock_t until);

/** A share of the thread's time for a transfer that it drives itself. */
void cp_attempt_work(cp_transfer_t *t, cp_clock_t until);

/** Get the handle back from the runner, to end the attempt with rv; 0: not yet.
 */
int cp_attempt_leave(cp_transfer_t *t, apr_status_t rv, cp_job_end_t *pend);

/** The earliest of all limits that run now, with what to say when it passes. */
cp_clock_t cp_attempt_limit(const cp_transfer_t *t, const char **pcause);

/** One of them has passed. */
apr_status_t cp_attempt_late(cp_transfer_t *t);

/** Let go of its job. */
void cp_attempt_drop(cp_transfer_t *t);

#endif
