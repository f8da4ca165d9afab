/* SPDX-License-Identifier: Apache-2.0
 * Equal fetches at one time. With coalesce=on one request of a child fetches,
 * the leader, and the others wait for what that brings (cp_flight.h). */
#include "glue.h"
#include "answers/answer.h"
#include "answers/shared/flight.h"
#include "answers/shared/key.h"
#include "base/bytes/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "child/child.h"
#include "config/upstream.h"
#include "http/job/fetch.h"
#include "request/account.h"
#include "request/hold.h"
#include "request/output.h"
#include "stats/cell.h"
#include "stats/stats.h"
#include "work/fetch.h"

#include <ap_mpm.h>
#include <stdlib.h>

/* A share of a collected answer that is handed on at once. */
#define PIECE (64 * 1024)

/* Of this child; NULL: nobody shares. */
static cp_flight_table_t *flights;

/* The leader's fetch. */
typedef struct leader_t {
    const cp_fetch_sink_t *sink; /* of the leader's own request */
    cp_flight_t *flight;
    cp_answer_t *answer; /* NULL before the head */
    apr_size_t counted;  /* bytes of it that the child's figures know of */
    int lacks_memory;    /* to collect */
} leader_t;

/* --- who may share --- */

/* What the upstream gives to one who shows this is not for others, even if they
 * show the same. */
static int has_credentials(const cp_fetch_request_t *request)
{
    for (int i = 0; i < request->header_count; i++) {
        const char *name = request->headers[i].name;

        if (strcasecmp(name, "Cookie") == 0
            || strcasecmp(name, "Authorization") == 0
            || strcasecmp(name, "Proxy-Authorization") == 0) {
            return 1;
        }
    }
    return 0;
}

/* With a connection in its hands a request must not wait for others, who may
 * wait for that one. */
static int may_share(request_rec *r, const connpool_upstream_t *up,
                     const cp_fetch_request_t *request)
{
    return flights && connpool_child.forks == 0 && up->coalesces
           && strcmp(request->method, "GET") == 0 && !has_credentials(request)
           && !connpool_holds_any(r);
}

/* All that the upstream will see. The definition is the same object in all
 * virtual hosts that inherit it, and another in those that do not. */
static void make_key(cp_key_t *key, const connpool_upstream_t *up,
                     const cp_fetch_request_t *request)
{
    cp_key_add_number(key, (apr_int64_t)(intptr_t)up);
    cp_key_add_text(key, request->path_info ? request->path_info : "");
    cp_key_add_text(key, request->query ? request->query : "");
    for (int i = 0; i < request->header_count; i++) {
        cp_key_add_text(key, request->headers[i].name);
        cp_key_add_text(key, request->headers[i].value);
    }
}

/* --- collecting --- */

static void uncount(cp_answer_t *answer)
{
    cp_stats_add(&connpool_child.buffer_bytes, -(int64_t)answer->body.capacity);
}

static apr_status_t fail(leader_t *leader)
{
    leader->lacks_memory = 1;
    return APR_ENOMEM;
}

static apr_status_t on_head(void *baton, int status,
                            const cp_http_header_t *headers, int count)
{
    leader_t *leader = baton;

    leader->answer = cp_answer_create(status);
    if (!leader->answer) {
        return fail(leader);
    }
    leader->answer->on_free = uncount;
    for (int i = 0; i < count; i++) {
        cp_answer_add(leader->answer, headers[i].name, headers[i].value);
    }
    return cp_answer_has_failed(leader->answer) ? fail(leader) : APR_SUCCESS;
}

static apr_status_t on_body(void *baton, const char *data, apr_size_t size)
{
    leader_t *leader = baton;

    cp_buffer_append(&leader->answer->body, data, size);
    connpool_count_buffer(&leader->answer->body, &leader->counted);
    return cp_answer_has_failed(leader->answer) ? fail(leader) : APR_SUCCESS;
}

static int is_unwanted(void *baton)
{
    const leader_t *leader = baton;
    const cp_fetch_sink_t *sink = leader->sink;

    return sink->is_cancelled && sink->is_cancelled(sink->baton)
           && cp_flight_waiters(leader->flight) == 0;
}

/* --- handing on --- */

typedef struct header_list_t {
    cp_http_header_t *headers; /* NULL: only count */
    int count;
} header_list_t;

static void list_header(const char *name, const char *value, void *baton)
{
    header_list_t *list = baton;

    if (list->headers) {
        list->headers[list->count] = (cp_http_header_t){name, value};
    }
    list->count++;
}

static apr_status_t send_head(const cp_answer_t *answer,
                              const cp_fetch_sink_t *sink)
{
    header_list_t list = {0};
    apr_status_t rv;

    cp_answer_each(answer, list_header, &list);
    list.headers = malloc(((size_t)list.count + 1) * sizeof(*list.headers));
    if (!list.headers) {
        return APR_ENOMEM;
    }
    list.count = 0;
    cp_answer_each(answer, list_header, &list);
    rv = sink->head(sink->baton, answer->status, list.headers, list.count);
    free(list.headers);
    return rv;
}

/* As if the answer came from the upstream just now. */
static apr_status_t hand_on(const cp_answer_t *answer,
                            const cp_fetch_sink_t *sink, cp_error_t *err)
{
    apr_size_t left = answer->body.size;
    const char *at = answer->body.data;
    apr_status_t rv = send_head(answer, sink);

    while (rv == APR_SUCCESS && left > 0) {
        apr_size_t size = left < PIECE ? left : PIECE;

        rv = sink->body(sink->baton, at, size);
        at += size;
        left -= size;
    }
    if (rv == APR_SUCCESS) {
        return rv;
    }
    return cp_error_set(err, CP_ERR_CANCELLED, APR_EOF, "answer not wanted",
                        "the client went away, or wants no more of it");
}

/* --- working together --- */

/* Would another leader perhaps fare better? */
static int is_own_failure(const cp_fetch_request_t *request,
                          const cp_error_t *err)
{
    return err->cls == CP_ERR_CANCELLED
           || (err->cls == CP_ERR_DEADLINE && request->total > 0);
}

static apr_status_t lead(request_rec *r, connpool_upstream_t *up,
                         const cp_fetch_request_t *request,
                         const cp_fetch_sink_t *sink, cp_flight_t *flight,
                         cp_error_t *err)
{
    leader_t leader = {.sink = sink, .flight = flight};
    cp_fetch_sink_t mine = {on_head, on_body, is_unwanted, &leader, NULL};
    apr_status_t rv = connpool_run_fetch(r, up, request, &mine, err);

    if (rv == APR_SUCCESS) {
        cp_flight_land(flight, leader.answer, NULL);
        rv = hand_on(leader.answer, sink, err);
    }
    else if (leader.lacks_memory) {
        rv = cp_error_memory(err, "the upstream's answer");
        cp_flight_land(flight, NULL, err);
    }
    else if (is_own_failure(request, err)) {
        cp_flight_hand_over(flight);
    }
    else {
        cp_flight_land(flight, NULL, err);
    }
    cp_answer_unref(leader.answer);
    return rv;
}

/* As long as a fetch may take, with the wait for its connection. */
static cp_clock_t patience(const connpool_upstream_t *up,
                           const cp_fetch_request_t *request)
{
    apr_interval_time_t total = up->http.total;

    if (request->total > 0 && request->total < total) {
        total = request->total;
    }
    return cp_clock_after(up->pool.acquire + total);
}

/* Wait for the leader's answer. APR_EAGAIN: lead. */
static apr_status_t follow(request_rec *r, connpool_upstream_t *up,
                           const cp_fetch_request_t *request,
                           const cp_fetch_sink_t *sink, cp_flight_t *flight,
                           cp_error_t *err)
{
    cp_clock_t deadline = patience(up, request);
    cp_answer_t *answer = NULL;
    apr_status_t rv;

    connpool_account_fetch(r, 1);
    rv = cp_flight_wait(flight, deadline, sink->is_cancelled, sink->baton,
                        &answer, err);
    connpool_account_fetch(r, -1);
    if (rv == APR_EAGAIN) {
        return rv;
    }
    /* The leader's failure is an answer, too, and saved a fetch. */
    cp_stats_add(
        &connpool_upstream_stats(up)->coalesced,
        rv == APR_SUCCESS
            || (err->cls != CP_ERR_CANCELLED && cp_clock_left(deadline) > 0));
    if (rv == APR_SUCCESS) {
        rv = hand_on(answer, sink, err);
        cp_answer_unref(answer);
    }
    return rv;
}

apr_status_t connpool_coalesce_fetch(request_rec *r, connpool_upstream_t *up,
                                     const cp_fetch_request_t *request,
                                     const cp_fetch_sink_t *sink,
                                     cp_error_t *err)
{
    cp_key_t key = {CP_BUFFER_MAY_FAIL};
    cp_flight_role_t role = CP_FLIGHT_ALONE;
    cp_flight_t *flight;
    apr_status_t rv = APR_EAGAIN;

    if (!may_share(r, up, request)) {
        return connpool_run_fetch(r, up, request, sink, err);
    }
    make_key(&key, up, request);
    if (!key.bytes.has_failed) {
        role = cp_flight_join(flights, key.bytes.data, key.bytes.size, &flight);
    }
    cp_key_free(&key);
    if (role == CP_FLIGHT_ALONE) {
        return connpool_run_fetch(r, up, request, sink, err);
    }
    if (role == CP_FLIGHT_WAITS) {
        rv = follow(r, up, request, sink, flight, err);
    }
    return rv == APR_EAGAIN ? lead(r, up, request, sink, flight, err) : rv;
}

/* --- the child --- */

static void note_coalescing(connpool_upstream_t *up, void *baton)
{
    *(int *)baton |= up->coalesces;
}

void connpool_coalesce_start(apr_pool_t *pchild)
{
    int is_threaded = AP_MPMQ_NOT_SUPPORTED, is_wanted = 0;
    apr_status_t rv;

    flights = NULL;
    connpool_each_upstream(note_coalescing, &is_wanted);
    ap_mpm_query(AP_MPMQ_IS_THREADED, &is_threaded);
    if (!is_wanted || is_threaded == AP_MPMQ_NOT_SUPPORTED) {
        return; /* with one request at a time there is nobody to share with */
    }
    rv = cp_flight_table_create(&flights, pchild);
    if (rv != APR_SUCCESS) {
        flights = NULL;
        ap_log_error(APLOG_MARK, APLOG_ERR, rv, connpool_child.main_server,
                     "no fetches are coalesced in this child");
    }
}

void connpool_coalesce_cancel(void)
{
    if (flights) {
        cp_flight_stop(flights);
    }
}
