/* SPDX-License-Identifier: Apache-2.0 */
#include "http/fetching.h"

#include <string.h>

#include <check.h>

#include <apr_strings.h>

cp_upstream_config_t fetching_config(const char *url)
{
    cp_upstream_config_t config = {.name = "stub",
                                   .url = url,
                                   .connect = apr_time_from_sec(20),
                                   .read = apr_time_from_sec(20),
                                   .total = apr_time_from_sec(60),
                                   .keepalive = apr_time_from_sec(30),
                                   .lifetime = apr_time_from_sec(3600),
                                   .max_body = 8 * 1024 * 1024};

    return config;
}

cp_upstream_t *fetching_upstream(apr_pool_t *p,
                                 const cp_upstream_config_t *config)
{
    cp_upstream_t *upstream;

    ck_assert_int_eq(cp_upstream_create(&upstream, config, p), APR_SUCCESS);
    return upstream;
}

void *fetching_open(cp_upstream_t *upstream)
{
    void *conn;
    cp_error_t err;

    ck_assert_int_eq(cp_http_driver.open(upstream, CP_CLOCK_NEVER, &conn, &err),
                     APR_SUCCESS);
    return conn;
}

static apr_status_t take_head(void *baton, int status,
                              const cp_http_header_t *headers, int count)
{
    answer_t *answer = baton;
    char *at = answer->headers;
    char *end = at + sizeof(answer->headers);

    answer->heads++;
    answer->status = status;
    for (int i = 0; i < count; i++) {
        at += apr_snprintf(at, (apr_size_t)(end - at), "%s: %s\n",
                           headers[i].name, headers[i].value);
    }
    return APR_SUCCESS;
}

static apr_status_t take_body(void *baton, const char *data, apr_size_t size)
{
    answer_t *answer = baton;
    size_t room = sizeof(answer->body) - 1;

    if (answer->bytes < (int64_t)room) {
        size_t at = (size_t)answer->bytes;

        memcpy(answer->body + at, data, size < room - at ? size : room - at);
    }
    answer->bytes += (int64_t)size;
    if (answer->seen) {
        __atomic_store_n(answer->seen, answer->bytes, __ATOMIC_RELEASE);
    }
    if (answer->body_takes) {
        apr_sleep(answer->body_takes);
    }
    return answer->stop_after && answer->bytes >= answer->stop_after
               ? APR_ECONNABORTED
               : APR_SUCCESS;
}

static int is_cancelled(void *baton)
{
    answer_t *answer = baton;

    return answer->cancel_after && answer->bytes + 1 >= answer->cancel_after;
}

cp_fetch_sink_t fetching_sink(answer_t *answer)
{
    cp_fetch_sink_t sink = {take_head, take_body, is_cancelled, answer, NULL};

    return sink;
}

static apr_status_t run(cp_upstream_t *upstream, void *conn, cp_loop_t *loop,
                        const cp_fetch_request_t *request,
                        const cp_fetch_sink_t *sink, cp_fetch_result_t *result,
                        cp_error_t *err)
{
    cp_transfer_t *transfer;

    ck_assert_int_eq(
        cp_transfer_start(&transfer, upstream, conn, loop, request, sink, NULL),
        APR_SUCCESS);
    cp_transfer_finish(transfer);
    return cp_transfer_end(transfer, result, err);
}

void fetching_run(cp_upstream_t *upstream, void *conn, cp_loop_t *loop,
                  const cp_fetch_request_t *request, answer_t *answer)
{
    cp_fetch_sink_t sink = fetching_sink(answer);
    answer_t fresh = {.body_takes = answer->body_takes,
                      .stop_after = answer->stop_after,
                      .seen = answer->seen,
                      .cancel_after = answer->cancel_after};
    cp_clock_t began = cp_clock_now();

    *answer = fresh;
    answer->rv = run(upstream, conn, loop, request, &sink, &answer->result,
                     &answer->err);
    answer->took = cp_clock_now() - began;
}

void fetching_get(cp_upstream_t *upstream, void *conn, cp_loop_t *loop,
                  const char *path, answer_t *answer)
{
    cp_fetch_request_t request = {.method = "GET", .path_info = path};

    fetching_run(upstream, conn, loop, &request, answer);
}

static void *run_metronome(void *data)
{
    metronome_t *metronome = data;
    apr_interval_time_t nap = apr_time_from_msec(2);

    while (!__atomic_load_n(&metronome->is_stopped, __ATOMIC_RELAXED)) {
        cp_clock_t expected = cp_clock_after(nap);
        apr_interval_time_t late;

        apr_sleep(nap);
        late = cp_clock_now() - expected;
        if (late > metronome->worst) {
            metronome->worst = late;
        }
    }
    return NULL;
}

void metronome_start(metronome_t *metronome)
{
    memset(metronome, 0, sizeof(*metronome));
    ck_assert_int_eq(
        pthread_create(&metronome->thread, NULL, run_metronome, metronome), 0);
}

apr_interval_time_t metronome_stop(metronome_t *metronome)
{
    __atomic_store_n(&metronome->is_stopped, 1, __ATOMIC_RELAXED);
    pthread_join(metronome->thread, NULL);
    return metronome->worst;
}
