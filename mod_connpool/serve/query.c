/* SPDX-License-Identifier: Apache-2.0
 * The handler connpool-query. An answer is collected up to CONNPOOL_HELD_BYTES
 * with the connection given back before the first byte is sent. A longer one
 * streams as long as its client keeps up: from then on it is collected in a
 * file, and sent at the client's pace once the connection is given back. Over
 * HTTP/2, where a write may block for as long as mod_http2 likes, it is
 * collected from the beginning. */
#include "glue.h"
#include "answers/answer.h"
#include "answers/encode.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/meanwhile.h"
#include "config/query.h"
#include "config/setting.h"
#include "database/value.h"
#include "request/input.h"
#include "request/output.h"
#include "request/page/turn.h"
#include "serve/reply.h"
#include "serve/serve.h"
#include "work/cache.h"
#include "work/reply.h"
#include "work/rows.h"

#include <string.h>

#include <apr_hash.h>
#include <apr_lib.h>
#include <apr_strings.h>

#define STREAM_BYTES (32 * 1024)
#define PATIENCE     apr_time_from_msec(100) /* with a client, in all */
#define SLOW_WRITE   apr_time_from_msec(20)
#define SPOOLED_MOST                                                           \
    (64 * 1024 * 1024) /* bytes that wait for a slow client                    \
                        */
#define DRAINED (256 * 1024)

/* So long a row waits for the next ones: then it is sent, although the answer
 * loses its ETag. */
#define STREAM_AFTER apr_time_from_msec(250)

/* One answer on its way to the client. */
typedef struct answer_t {
    connpool_rows_t rows;
    int is_streaming;
    int is_behind; /* the client: nothing more is sent before the query's end */
    apr_interval_time_t patience; /* with the client, that is left */
    apr_file_t *file;             /* NULL: none is needed */
    apr_off_t spilled;            /* bytes in it */
    cp_clock_t row_at;    /* when the oldest row that waits came, 0: none */
    unsigned rows_seen;   /* the clock is looked at with every 16th */
    apr_status_t send_rv; /* of what was sent while a row was awaited */
} answer_t;

/* --- checks before any work --- */

static connpool_query_t *served_query(request_rec *r)
{
    const char *name = connpool_served_name(r);

    return name ? apr_hash_get(connpool_server(r->server)->all_queries, name,
                               APR_HASH_KEY_STRING)
                : NULL;
}

/* --- rows on their way --- */

static void start_streaming(answer_t *a)
{
    request_rec *r = a->rows.r;

    a->is_streaming = 1;
    a->patience = PATIENCE;
    connpool_stream_begin(r, cp_format_content_type(a->rows.query->format));
    /* Whether it gets cut is not known yet: said behind the body. */
    connpool_trailer_announce(r, "ConnPool-Truncated");
}

/* Move what is collected into the file. */
static apr_status_t spill(answer_t *a)
{
    apr_size_t size = a->rows.buf.size;
    apr_status_t rv = connpool_spill(a->rows.r, &a->file, &a->rows.buf,
                                     &a->rows.err);

    if (rv == APR_SUCCESS) {
        a->rows.passed += (apr_int64_t)size;
        a->spilled += (apr_off_t)size;
    }
    return rv;
}

/* May the next piece be sent? No client keeps the reader waiting for long: it
 * is others' who read in time, and the query's time runs. */
static int is_keeping_up(answer_t *a)
{
    cp_clock_t began = cp_clock_now();
    int is_ready = !a->is_behind
                   && connpool_client_is_ready(a->rows.r, a->patience);

    a->patience -= cp_clock_now() - began;
    if (!is_ready || a->patience < 0) {
        a->is_behind = 1;
    }
    return !a->is_behind;
}

/* What the client, or a filter, makes of a write: it is behind when that takes
 * long, as mod_ratelimit does, which sleeps. */
static apr_status_t judge_write(answer_t *a, cp_clock_t began, apr_status_t rv)
{
    connpool_limit_client_wait(a->rows.r, -1);
    a->is_behind |= cp_clock_now() - began > SLOW_WRITE;
    if (rv != APR_SUCCESS) {
        cp_error_set(&a->rows.err, CP_ERR_CANCELLED, rv, "the client is gone",
                     "writing the answer failed");
    }
    return rv;
}

/* A write waits only if httpd has much to send from before. */
static cp_clock_t begin_write(answer_t *a)
{
    apr_interval_time_t left = cp_clock_left(a->rows.run.limit.deadline);

    connpool_limit_client_wait(a->rows.r,
                               left > SLOW_WRITE ? left : SLOW_WRITE);
    return cp_clock_now();
}

static apr_status_t send_piece(answer_t *a, const char *data, apr_size_t size)
{
    cp_clock_t began = begin_write(a);

    a->rows.passed += (apr_int64_t)size;
    return judge_write(a, began, connpool_stream_bytes(a->rows.r, data, size));
}

static apr_status_t push_out(answer_t *a)
{
    cp_clock_t began = begin_write(a);

    return judge_write(a, began, connpool_stream_flush(a->rows.r));
}

static apr_status_t drain_piece(answer_t *a, apr_off_t from)
{
    apr_off_t left = a->spilled - from;
    cp_clock_t began = begin_write(a);
    apr_status_t rv = connpool_stream_file(a->rows.r, a->file, from,
                                           left < DRAINED ? left : DRAINED);

    if (rv == APR_SUCCESS) {
        rv = connpool_stream_flush(a->rows.r);
    }
    return judge_write(a, began, rv);
}

/* More is not kept for a client: now the reader waits for it, but not for
 * longer than the query may take. */
static apr_status_t drain(answer_t *a)
{
    for (apr_off_t sent = 0; sent < a->spilled; sent += DRAINED) {
        apr_status_t rv = drain_piece(a, sent);

        if (rv != APR_SUCCESS) {
            return rv;
        }
        if (cp_clock_left(a->rows.run.limit.deadline) == 0) {
            return cp_error_set(&a->rows.err, CP_ERR_DEADLINE, APR_TIMEUP,
                                "the client reads too slowly",
                                "too much of the answer waited for it");
        }
    }
    apr_file_close(a->file);
    a->file = NULL;
    a->spilled = 0;
    a->is_behind = 0;
    a->patience = PATIENCE;
    return APR_SUCCESS;
}

/* The client does not take it at once. Nothing is sent meanwhile, so nothing
 * else would tell that it has gone. */
static apr_status_t keep(answer_t *a)
{
    if (connpool_client_is_gone(a->rows.r)) {
        return cp_error_set(&a->rows.err, CP_ERR_CANCELLED, APR_ECONNABORTED,
                            "the client is gone",
                            "it closed its connection before the answer's end");
    }
    return a->spilled < SPOOLED_MOST ? spill(a) : drain(a);
}

/* Send what the client takes without keeping us waiting; the rest of the answer
 * goes to the file. */
static apr_status_t flush_rows(answer_t *a, int is_urgent)
{
    cp_buffer_t *buf = &a->rows.buf;
    apr_status_t rv = APR_SUCCESS;
    apr_size_t sent = 0;

    while (rv == APR_SUCCESS && sent < buf->size && is_keeping_up(a)) {
        apr_size_t left = buf->size - sent;
        apr_size_t size = left < STREAM_BYTES ? left : STREAM_BYTES;

        rv = send_piece(a, buf->data + sent, size);
        sent += size;
    }
    buf->size -= sent;
    if (rv == APR_SUCCESS && buf->size == 0 && is_urgent && is_keeping_up(a)) {
        return push_out(a);
    }
    if (rv != APR_SUCCESS || buf->size == 0) {
        return rv;
    }
    memmove(buf->data, buf->data + sent, buf->size);
    return keep(a);
}

static int is_slow(const answer_t *a)
{
    cp_format_t format = a->rows.query->format;

    return a->row_at != 0 && cp_clock_recent() - a->row_at >= STREAM_AFTER
           && !a->file && !a->rows.r->connection->master
           && !cp_format_is_single(format);
}

static apr_status_t send_slow(answer_t *a)
{
    if (!a->is_streaming) {
        start_streaming(a);
    }
    a->row_at = 0;
    return flush_rows(a, 1);
}

/* Called while the next row is awaited. */
static void tend_rows(void *baton)
{
    answer_t *a = baton;

    if (a->send_rv == APR_SUCCESS && is_slow(a)) {
        a->send_rv = send_slow(a);
    }
}

/* Called with every row. */
static apr_status_t make_room(connpool_rows_t *rows)
{
    answer_t *a = (answer_t *)rows; /* its first member */
    int is_held = !a->is_streaming && !a->file;

    if (a->send_rv != APR_SUCCESS) {
        return a->send_rv;
    }
    if (a->row_at == 0) {
        a->row_at = cp_clock_recent();
    }
    else if (++a->rows_seen % 16 == 0 && is_slow(a)) {
        return send_slow(a);
    }

    if (rows->buf.size < (is_held ? CONNPOOL_HELD_BYTES : STREAM_BYTES)) {
        return APR_SUCCESS;
    }
    if (rows->r->connection->master) {
        return spill(a);
    }
    a->row_at = 0;
    if (is_held) {
        start_streaming(a);
    }
    return flush_rows(a, 0);
}

/* --- the end --- */

static int finish_stream(answer_t *a, apr_status_t rv)
{
    request_rec *r = a->rows.r;
    const cp_error_t *err = &a->rows.err;

    if (rv != APR_SUCCESS) {
        ap_log_rerror(APLOG_MARK,
                      err->cls == CP_ERR_CANCELLED ? APLOG_INFO : APLOG_ERR, 0,
                      r, "query '%s': the answer is cut: %s: %s",
                      a->rows.query->name, err->cause, err->detail);
        connpool_stream_cut(r);
        return OK;
    }
    if (a->rows.truncated) {
        apr_table_setn(r->trailers_out, "ConnPool-Truncated",
                       a->rows.truncated);
    }
    connpool_stream_file(r, a->file, 0, a->spilled);
    connpool_stream_write(r, &a->rows.buf);
    connpool_stream_end(r);
    return OK;
}

static int set_header(void *r, const char *name, const char *value)
{
    connpool_set_reply_header(r, name, value);
    return 1;
}

static void set_reply(const connpool_rows_t *rows)
{
    connpool_set_status(rows->r, rows->status);
    if (rows->headers) {
        apr_table_do(set_header, rows->r, rows->headers, NULL);
    }
}

static int finish_whole(answer_t *a, apr_status_t rv)
{
    connpool_rows_t *rows = &a->rows;
    request_rec *r = rows->r;

    if (rv != APR_SUCCESS) {
        return connpool_problem_of(
            r, apr_psprintf(r->pool, "query '%s'", rows->query->name),
            &rows->err, rows->query->complaints);
    }
    if (rows->status >= 400) {
        return connpool_problem(r, rows->status,
                                connpool_reply_absence(rows->query), NULL);
    }
    set_reply(rows);
    if (rows->truncated) {
        apr_table_setn(r->headers_out, "ConnPool-Truncated", rows->truncated);
    }
    if (!a->file) {
        return connpool_send_whole(r, rows->content_type, &rows->buf);
    }
    return connpool_send_file(r, rows->content_type, a->file, rows->passed,
                              &rows->buf);
}

static int run_query(request_rec *r, connpool_query_t *query,
                     const cp_value_t *values)
{
    answer_t a = {.rows.make_room = make_room};
    cp_meanwhile_t before = cp_meanwhile_get();
    apr_status_t rv;
    int status;

    if (!query->is_write) {
        cp_meanwhile_set((cp_meanwhile_t){tend_rows, &a});
    }
    rv = connpool_rows_read(&a.rows, r, query, values);
    cp_meanwhile_set(before);
    status = a.is_streaming ? finish_stream(&a, rv) : finish_whole(&a, rv);

    connpool_rows_free(&a.rows);
    return status;
}

static int serve_query(request_rec *r, connpool_query_t *query,
                       const cp_value_t *values)
{
    connpool_served_t served;
    cp_error_t err;

    if (connpool_serve_query(r, query, values, &served, &err) != APR_SUCCESS) {
        return connpool_problem_of(
            r, apr_psprintf(r->pool, "query '%s'", query->name), &err,
            query->complaints);
    }
    return query->format == CP_FORMAT_RAW
               ? connpool_send_raw(r, query, &served)
               : connpool_send_served(r, query, &served);
}

/* A raw body is known whole before its first byte goes out: its length, its
 * tag, and that it is not cut. */
static int is_whole(const connpool_query_t *query)
{
    return connpool_query_is_collected(query) || query->format == CP_FORMAT_RAW;
}

/* OK, or the status to answer with *pdetail. */
static int check_write(request_rec *r, const connpool_query_t *query,
                       const char **pdetail)
{
    if (query->is_write && connpool_is_cross_site(r)) {
        *pdetail = "Another site's page may not write here.";
        return HTTP_FORBIDDEN;
    }
    *pdetail = connpool_unread_condition(r, query);
    return *pdetail ? HTTP_PRECONDITION_FAILED : OK;
}

static int refuse_cursor(request_rec *r)
{
    apr_array_header_t *errors = apr_array_make(r->pool, 1,
                                                sizeof(connpool_input_error_t));

    APR_ARRAY_PUSH(errors, connpool_input_error_t) = connpool_cursor_error;
    return connpool_problem(r, HTTP_BAD_REQUEST,
                            "The request's parameters are not valid.", errors);
}

static int serve_page(request_rec *r, connpool_query_t *query,
                      const cp_value_t *values)
{
    const cp_value_t *turned = values;
    connpool_query_t *page = connpool_page_turn(r, query, &turned);
    connpool_served_t served;
    cp_error_t err;
    const char *next;

    if (!page) {
        return refuse_cursor(r);
    }
    if (connpool_serve_query(r, page, turned, &served, &err) != APR_SUCCESS) {
        return connpool_problem_of(
            r, apr_psprintf(r->pool, "query '%s'", query->name), &err,
            query->complaints);
    }
    next = cp_answer_header(served.answer, CONNPOOL_NEXT);
    if (next) {
        connpool_page_link(r, query, values, next);
    }
    return connpool_send_served(r, page, &served);
}

int connpool_query_handler(request_rec *r)
{
    connpool_query_t *query = served_query(r);
    apr_array_header_t *errors;
    cp_value_t *values;
    const char *detail;
    int status;

    if (!query) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      "connpool-query: ConnPoolServe names no query here");
        return connpool_problem(r, HTTP_NOT_FOUND, "No query is served here.",
                                NULL);
    }
    if (connpool_answer_method(r, query->methods)) {
        return OK;
    }
    status = check_write(r, query, &detail);
    if (status != OK) {
        return connpool_problem(r, status, detail, NULL);
    }
    status = connpool_params_read(r, query, &values, &errors, &detail);
    if (status != OK) {
        return connpool_problem(r, status, detail, errors);
    }
    if (query->page) {
        return serve_page(r, query, values);
    }
    return is_whole(query) ? serve_query(r, query, values)
                           : run_query(r, query, values);
}
