/* SPDX-License-Identifier: Apache-2.0
 * What the tests of fetches share: an upstream at the stub, one fetch, and what
 * came of it. */
#ifndef FETCHING_H
#define FETCHING_H

#include <pthread.h>

#include "base/clock.h"
#include "base/error.h"
#include "http/job/fetch.h"
#include "http/job/client.h"
#include "http/loop.h"
#include "http/transfer.h"
#include "http/upstream/upstream.h"
#include "http/stub_upstream.h"

/** The outcome of one fetch. */
typedef struct answer_t {
    apr_status_t rv;
    cp_error_t err;
    cp_fetch_result_t result;
    int heads;
    int status;
    char headers[2048]; /* "Name: value\n" each */
    char body[2048];    /* its beginning */
    int64_t bytes;
    apr_interval_time_t took;

    /* Settings, before the fetch. */
    apr_interval_time_t body_takes; /* the sink sleeps so long in body() */
    int64_t stop_after;             /* the sink refuses more; 0: never */
    int64_t *seen;                  /* atomic: as bytes, for other threads */
    int64_t cancel_after;           /* is_cancelled after so many bytes; 0 */
} answer_t;

/** A sink that fills in the answer, by its settings. */
cp_fetch_sink_t fetching_sink(answer_t *answer);

/** The defaults of the tests: generous times, everything strict otherwise. */
cp_upstream_config_t fetching_config(const char *url);

cp_upstream_t *fetching_upstream(apr_pool_t *p,
                                 const cp_upstream_config_t *config);

void *fetching_open(cp_upstream_t *upstream);

/** GET path; fields of answer other than the settings are overwritten. */
void fetching_get(cp_upstream_t *upstream, void *conn, cp_loop_t *loop,
                  const char *path, answer_t *answer);

void fetching_run(cp_upstream_t *upstream, void *conn, cp_loop_t *loop,
                  const cp_fetch_request_t *request, answer_t *answer);

/** A thread that naps all the time and notes how late it is woken: what a
 * limit may be exceeded by for reasons that are the machine's. */
typedef struct metronome_t {
    pthread_t thread;
    int is_stopped;            /* atomic */
    apr_interval_time_t worst; /* its thread's, until it is joined */
} metronome_t;

void metronome_start(metronome_t *metronome);
apr_interval_time_t metronome_stop(metronome_t *metronome);

/** Wait until the condition holds, up to 20 s. */
#define AWAIT(condition)                                                       \
    do {                                                                       \
        cp_clock_t await_end = cp_clock_after(apr_time_from_sec(20));          \
        while (!(condition) && cp_clock_left(await_end) > 0) {                 \
            apr_sleep(apr_time_from_msec(2));                                  \
        }                                                                      \
        ck_assert_msg(condition, "never came true: " #condition);              \
    } while (0)

#endif
