/* SPDX-License-Identifier: Apache-2.0
 * The handler connpool-fetch: ask an upstream, stream its answer on. Over
 * HTTP/2 it is collected first, see spool.c, unless it is a stream of events,
 * which makes no sense otherwise; so is what comes before the request's body
 * has been sent, for its client may not read while it writes. */
#include "glue.h"
#include "base/bytes/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "config/setting.h"
#include "config/upstream.h"
#include "http/job/fetch.h"
#include "request/account.h"
#include "request/output.h"
#include "request/upload/upload.h"
#include "serve/location.h"
#include "serve/serve.h"
#include "work/fetch.h"

#include <apr_date.h>
#include <apr_hash.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <http_protocol.h>
#include <http_request.h>

typedef struct fetch_t {
    request_rec *r;
    connpool_upstream_t *upstream;
    const char *method;
    connpool_upload_t upload; /* the request's body */
    cp_clock_t deadline;      /* for the client to have read it all */
    int has_begun;   /* some of the answer is on its way to the client */
    int is_events;   /* what comes is wanted at once */
    int is_redirect; /* which we do not follow, and cannot hand on */
    int is_done;     /* answered without the body: 304 */
    /* What is collected: in the file, and behind that in the buffer. */
    apr_file_t *file; /* NULL: none is needed */
    apr_off_t filed;
    cp_buffer_t buf;
    apr_size_t counted; /* bytes of buf that the child's figures know of */
    cp_error_t failure; /* to collect */
} fetch_t;

/* Headers of the upstream that mean the same when they come from us. */
static const char *const passed_on[] = {"content-type",
                                        "content-language",
                                        "content-disposition",
                                        "cache-control",
                                        "expires",
                                        "last-modified",
                                        "etag",
                                        "age",
                                        "link",
                                        "vary",
                                        "retry-after",
                                        NULL};

/* Only what httpd has recognized, whatever the request line says. */
static const char *method_of(const request_rec *r)
{
    switch (r->method_number) {
    case M_POST:
        return "POST";
    case M_PUT:
        return "PUT";
    case M_PATCH:
        return "PATCH";
    case M_DELETE:
        return "DELETE";
    default:
        return r->header_only ? "HEAD" : "GET";
    }
}

/* Those among them that are lists: they may come in parts, and add to what
 * other modules say. */
static const char *const lists[] = {"content-language", "cache-control", "link",
                                    "vary", NULL};

/* What a status says nothing without. */
static const struct {
    int status;
    const char *name;
} belonging[] = {
    {HTTP_UNAUTHORIZED, "www-authenticate"},
    {HTTP_PROXY_AUTHENTICATION_REQUIRED, "proxy-authenticate"},
    {HTTP_METHOD_NOT_ALLOWED, "allow"},
    {HTTP_PARTIAL_CONTENT, "content-range"},
    {HTTP_RANGE_NOT_SATISFIABLE, "content-range"},
    {0, NULL},
};

static int is_among(const char *const *names, const char *name)
{
    while (*names && strcasecmp(*names, name) != 0) {
        names++;
    }
    return *names != NULL;
}

static int belongs(int status, const char *name)
{
    for (int i = 0; belonging[i].name; i++) {
        if (belonging[i].status == status
            && strcasecmp(belonging[i].name, name) == 0) {
            return 1;
        }
    }
    return 0;
}

static void pass_on(const fetch_t *fetch, int status,
                    const cp_http_header_t *header)
{
    request_rec *r = fetch->r;
    const char *name = header->name;

    if (connpool_origin_owns(r, name)) {
        return;
    }
    if (!is_among(passed_on, name)) {
        /* As many lines as there are: no challenge or cookie can be told from
         * another in a list. */
        if (belongs(status, name)
            || is_among(fetch->upstream->http.answer_headers, name)) {
            apr_table_add(r->headers_out, name, header->value);
        }
        return;
    }
    if (strcasecmp(name, "content-type") == 0) {
        ap_set_content_type(r, apr_pstrdup(r->pool, header->value));
    }
    else if (is_among(lists, name)) {
        apr_table_merge(r->headers_out, name, header->value);
    }
    else {
        apr_table_set(r->headers_out, name, header->value);
    }
    if (strcasecmp(name, "last-modified") == 0) {
        ap_update_mtime(r, apr_date_parse_http(header->value));
    }
}

/* A write may lead to another place, as long as that is the upstream's: of
 * other URLs nobody knows what they are here. */
static int pass_place_on(const fetch_t *fetch, const cp_http_header_t *headers,
                         int count)
{
    request_rec *r = fetch->r;
    const char *place = NULL;

    for (int i = 0; i < count && r->method_number != M_GET; i++) {
        if (strcasecmp(headers[i].name, "location") == 0) {
            place = connpool_place_here(r, fetch->upstream,
                                        connpool_path_behind_place(r),
                                        headers[i].value);
        }
    }
    if (is_among(fetch->upstream->http.answer_headers, "location")) {
        return r->method_number != M_GET; /* as it is */
    }
    if (place) {
        apr_table_setn(r->headers_out, "Location", place);
    }
    return place != NULL;
}

/* A body that then ends early is cut: the client misses the rest. */
static void pass_length_on(request_rec *r, const cp_http_header_t *header)
{
    if (strcasecmp(header->name, "content-length") == 0) {
        ap_set_content_length(r, apr_atoi64(header->value));
    }
}

/* The answer will be another one. */
static void forget_head(const fetch_t *fetch)
{
    apr_table_t *headers = fetch->r->headers_out;
    const char *const *more = fetch->upstream->http.answer_headers;

    for (const char *const *p = passed_on; *p; p++) {
        apr_table_unset(headers, *p);
    }
    for (int i = 0; belonging[i].name; i++) {
        apr_table_unset(headers, belonging[i].name);
    }
    for (; *more; more++) {
        apr_table_unset(headers, *more);
    }
    apr_table_unset(headers, "Location");
}

static int is_event_stream(const char *type)
{
    static const char *const names[] = {
        "text/event-stream",    "application/x-ndjson",
        "application/ndjson",   "application/stream+json",
        "application/json-seq", "multipart/x-mixed-replace"};

    for (size_t i = 0; type && i < sizeof(names) / sizeof(*names); i++) {
        apr_size_t size = strlen(names[i]);

        if (strncasecmp(type, names[i], size) == 0
            && (type[size] == '\0' || strchr("; \t", type[size]))) {
            return 1;
        }
    }
    return 0;
}

static apr_status_t on_head(void *baton, int status,
                            const cp_http_header_t *headers, int count)
{
    fetch_t *fetch = baton;
    request_rec *r = fetch->r;

    if (ap_is_HTTP_REDIRECT(status) && status != HTTP_NOT_MODIFIED
        && !pass_place_on(fetch, headers, count)) {
        fetch->is_redirect = 1;
        return APR_EOF;
    }
    if (status == HTTP_CREATED) {
        pass_place_on(fetch, headers, count);
    }
    for (int i = 0; i < count; i++) {
        pass_on(fetch, status, &headers[i]);
        pass_length_on(r, &headers[i]);
    }
    if (status >= 300) { /* the rest of the body is wanted no more */
        connpool_upload_leave(&fetch->upload);
    }
    fetch->is_events = is_event_stream(r->content_type);
    apr_table_setn(r->headers_out, "X-Content-Type-Options", "nosniff");
    connpool_add_server_timing(r);
    r->status = status;
    r->status_line = NULL;
    /* Of what has changed something its own upstream has judged them, before.
     * Conditions speak of the outer answer, not of a part of it. */
    if ((status == HTTP_OK || status == HTTP_PARTIAL_CONTENT)
        && r->method_number == M_GET && !r->main) {
        int verdict = connpool_meets_conditions(r);

        if (verdict != OK) {
            r->status = verdict;
            fetch->is_done = 1;
            return APR_EOF;
        }
    }
    return APR_SUCCESS;
}

static apr_status_t collect(fetch_t *fetch, const char *data, apr_size_t size)
{
    apr_status_t rv = APR_SUCCESS;

    cp_buffer_append(&fetch->buf, data, size);
    if (fetch->buf.has_failed) {
        return cp_error_memory(&fetch->failure, "the upstream's answer");
    }
    connpool_count_buffer(&fetch->buf, &fetch->counted);
    if (fetch->file || fetch->buf.size >= CONNPOOL_HELD_BYTES) {
        apr_size_t filed = fetch->buf.size;

        rv = connpool_spill(fetch->r, &fetch->file, &fetch->buf,
                            &fetch->failure);
        fetch->filed += (apr_off_t)filed;
    }
    return rv;
}

/* Send a chunk, or with NULL what was sent before and still waits for more. A
 * client that does not read must not hold the connection for longer. */
static apr_status_t send_chunk(fetch_t *fetch, cp_buffer_t *chunk)
{
    apr_interval_time_t left = cp_clock_left(fetch->deadline);
    apr_status_t rv;

    if (left == 0) {
        return APR_TIMEUP;
    }
    fetch->has_begun = 1;
    connpool_limit_client_wait(fetch->r, left);
    rv = chunk ? connpool_stream_write(fetch->r, chunk)
               : connpool_stream_flush(fetch->r);
    connpool_limit_client_wait(fetch->r, -1);
    return rv;
}

/* The client may be writing, and not reading. */
static int is_client_writing(const fetch_t *fetch)
{
    return !fetch->upload.is_complete && fetch->r->status < 300;
}

static int must_collect(const fetch_t *fetch)
{
    return is_client_writing(fetch)
           || (fetch->r->connection->master && !fetch->is_events);
}

/* What came while the client was writing. */
static apr_status_t send_collected(fetch_t *fetch)
{
    apr_status_t rv = APR_SUCCESS;

    if (fetch->file) {
        rv = connpool_stream_file(fetch->r, fetch->file, 0, fetch->filed);
        fetch->file = NULL;
        fetch->has_begun = 1;
    }
    if (rv == APR_SUCCESS && fetch->buf.size > 0) {
        rv = send_chunk(fetch, &fetch->buf);
        connpool_count_buffer(&fetch->buf, &fetch->counted);
    }
    return rv;
}

static apr_status_t on_body(void *baton, const char *data, apr_size_t size)
{
    fetch_t *fetch = baton;
    cp_buffer_t chunk = CP_BUFFER_MAY_FAIL;
    apr_status_t rv;

    if (must_collect(fetch)) {
        return collect(fetch, data, size);
    }
    rv = send_collected(fetch);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    cp_buffer_append(&chunk, data, size);
    if (chunk.has_failed) {
        return cp_error_memory(&fetch->failure, "the upstream's answer");
    }
    rv = send_chunk(fetch, &chunk);
    cp_buffer_free(&chunk);
    return rv;
}

/* The head alone can wait, lest a failure that follows has no status: but not
 * that of a stream whose first event may be hours away. */
static apr_status_t on_pause(void *baton)
{
    fetch_t *fetch = baton;
    apr_status_t rv = must_collect(fetch) ? APR_SUCCESS : send_collected(fetch);

    if (rv != APR_SUCCESS || is_client_writing(fetch)) {
        return rv;
    }
    return fetch->has_begun || fetch->is_events ? send_chunk(fetch, NULL) : rv;
}

static int is_cancelled(void *baton)
{
    return connpool_client_is_gone(((fetch_t *)baton)->r);
}

static apr_status_t run_fetch(fetch_t *fetch, cp_error_t *err)
{
    request_rec *r = fetch->r;
    connpool_upstream_t *up = fetch->upstream;
    cp_fetch_request_t request = {
        .method = fetch->method,
        .path_info = connpool_path_behind_place(r),
        .query = r->args,
        .source = fetch->upload.is_there ? &fetch->upload.source : NULL,
    };
    cp_fetch_sink_t sink = {on_head, on_body, is_cancelled, fetch, on_pause};
    apr_status_t rv;

    connpool_hand_on_all(r, up, &request);
    fetch->deadline = cp_clock_after(up->pool.acquire + up->http.total);
    rv = connpool_coalesce_fetch(r, up, &request, &sink, err);
    if (fetch->failure.cls != CP_ERR_NONE) {
        *err = fetch->failure;
    }
    return fetch->is_done ? APR_SUCCESS : rv;
}

static void end_body(fetch_t *fetch)
{
    if (fetch->file || fetch->buf.size > 0) {
        connpool_pass_collected(fetch->r, fetch->file, fetch->filed,
                                &fetch->buf);
    }
    else {
        connpool_stream_end(fetch->r);
    }
}

static int refuse_body(fetch_t *fetch, int status)
{
    connpool_upload_leave(&fetch->upload);
    if (fetch->r->connection->keepalive != AP_CONN_CLOSE
        && !fetch->r->connection->master
        && status == HTTP_REQUEST_ENTITY_TOO_LARGE) {
        fetch->r->connection->keepalive = AP_CONN_CLOSE;
    }
    return connpool_problem(
        fetch->r, status, connpool_upload_detail(&fetch->upload, status), NULL);
}

/* Begin to look at the body, or answer: OK: go on. */
static int open_body(fetch_t *fetch)
{
    request_rec *r = fetch->r;
    int status;

    if (r->method_number == M_GET) {
        fetch->upload.is_complete = 1;
        return ap_discard_request_body(r);
    }
    status = connpool_upload_open(
        &fetch->upload, r, fetch->upstream->max_request,
        fetch->upstream->pool.acquire + fetch->upstream->http.total);
    return status == OK ? OK : refuse_body(fetch, status) == OK ? DONE : status;
}

static int finish_fetch(fetch_t *fetch, apr_status_t rv, const cp_error_t *err)
{
    request_rec *r = fetch->r;
    const char *what = apr_psprintf(r->pool, "upstream '%s'",
                                    fetch->upstream->name);
    char more[sizeof(err->detail) + 2];

    if (rv == APR_SUCCESS && fetch->is_done) {
        return connpool_condition_answer(r, r->status);
    }
    if (rv == APR_SUCCESS) {
        connpool_upload_leave(&fetch->upload);
        end_body(fetch);
        return OK;
    }
    connpool_upload_leave(&fetch->upload);
    if (err->cls == CP_ERR_CANCELLED && err->rv == APR_TIMEUP
        && is_client_writing(fetch)) {
        fetch->upload.status = HTTP_REQUEST_TIME_OUT;
    }
    if (fetch->upload.status != 0 && !fetch->has_begun) {
        forget_head(fetch);
        return refuse_body(fetch, fetch->upload.status);
    }
    if (fetch->is_redirect) {
        /* Its Location means something in the upstream's URL space only. */
        return connpool_problem(
            r, HTTP_BAD_GATEWAY,
            apr_psprintf(r->pool, "%s: the upstream redirects elsewhere.",
                         what),
            NULL);
    }
    if (!fetch->has_begun) {
        /* What is too large here is the upstream's answer, not the request. */
        cp_error_t mapped = *err;

        forget_head(fetch);
        if (mapped.cls == CP_ERR_SIZE) {
            mapped.cls = CP_ERR_UPSTREAM;
        }
        return connpool_problem_of(r, what, &mapped,
                                   fetch->upstream->complaints);
    }
    ap_log_rerror(APLOG_MARK,
                  err->cls == CP_ERR_CANCELLED ? APLOG_INFO : APLOG_ERR, 0, r,
                  "%s: the answer is cut: %s%s", what, err->cause,
                  cp_error_more(err, what, more, sizeof(more)));
    connpool_stream_cut(r);
    return OK;
}

int connpool_fetch_handler(request_rec *r)
{
    const char *name = connpool_served_name(r);
    fetch_t fetch = {.r = r, .buf = CP_BUFFER_MAY_FAIL};
    cp_error_t err;
    apr_status_t rv;
    int status;

    if (name) {
        fetch.upstream = apr_hash_get(connpool_server(r->server)->all_upstreams,
                                      name, APR_HASH_KEY_STRING);
    }
    if (!fetch.upstream) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      "connpool-fetch: ConnPoolServe names no upstream here");
        return connpool_problem(r, HTTP_NOT_FOUND,
                                "No upstream is served here.", NULL);
    }
    if (connpool_answer_method(r, fetch.upstream->methods)) {
        return OK;
    }
    if (r->method_number != M_GET && connpool_is_cross_site(r)) {
        return connpool_problem(
            r, HTTP_FORBIDDEN, "Another site's page may not write here.", NULL);
    }
    fetch.method = method_of(r);
    status = open_body(&fetch);
    if (status != OK) {
        return status == DONE ? OK : status;
    }
    cp_error_clear(&err);
    rv = run_fetch(&fetch, &err);
    status = finish_fetch(&fetch, rv, &err);
    cp_buffer_free(&fetch.buf);
    connpool_count_buffer(&fetch.buf, &fetch.counted);
    return status;
}
