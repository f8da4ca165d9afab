/* SPDX-License-Identifier: Apache-2.0
 * What goes back to the client: whole bodies, streams, problems. */
#include "glue.h"
#include "answers/answer.h"
#include "answers/encode.h"
#include "answers/put.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "child/child.h"
#include "config/definitions.h"
#include "request/account.h"
#include "request/input.h"
#include "request/output.h"

#include <stdlib.h>
#include <sys/socket.h>

#include <apr_strings.h>
#include <apr_uri.h>
#include <http_connection.h>
#include <http_core.h>
#include <http_protocol.h>
#include <http_vhost.h>
#include <util_filter.h>

#define RETRY_AFTER    "1" /* seconds: pools free up, files come back */
#define COMPLAIN_EVERY apr_time_from_sec(10)

/* --- problems --- */

void connpool_add_server_timing(request_rec *r)
{
    const connpool_account_t *account;
    apr_interval_time_t http;

    if (!connpool_server(r->server)->server_timing) {
        return;
    }
    account = connpool_account(r);
    http = account->http;
    /* The header leaves before the body has come. */
    if (account->fetching) {
        http += cp_clock_now() - account->fetching;
    }
    apr_table_setn(
        r->headers_out, "Server-Timing",
        apr_psprintf(r->pool, "wait;dur=%.3f, db;dur=%.3f, http;dur=%.3f",
                     (double)account->wait / 1000, (double)account->db / 1000,
                     (double)http / 1000));
}

int connpool_status_of(cp_error_class_t cls)
{
    switch (cls) {
    case CP_ERR_INPUT:
        return HTTP_BAD_REQUEST;
    case CP_ERR_REFUSED:
        return HTTP_FORBIDDEN;
    case CP_ERR_SIZE:
        return HTTP_REQUEST_ENTITY_TOO_LARGE;
    case CP_ERR_UPSTREAM:
        return HTTP_BAD_GATEWAY;
    case CP_ERR_CAPACITY:
    case CP_ERR_STORAGE:
        return HTTP_SERVICE_UNAVAILABLE;
    case CP_ERR_DEADLINE:
        return HTTP_GATEWAY_TIME_OUT;
    default:
        return HTTP_INTERNAL_SERVER_ERROR;
    }
}

/* "404 Not Found" -> "Not Found" */
static const char *title_of(int status)
{
    const char *line = ap_get_status_line(status);

    return strlen(line) > 4 ? line + 4 : line;
}

static void append_errors(cp_buffer_t *buf, const apr_array_header_t *errors)
{
    connpool_json_put(buf, ",\"errors\":[");
    for (int i = 0; i < errors->nelts; i++) {
        const connpool_input_error_t *error = &APR_ARRAY_IDX(
            errors, i, connpool_input_error_t);

        connpool_json_put(buf, i ? ",{" : "{");
        connpool_json_text(buf, "", "param", error->param);
        connpool_json_text(buf, ",", "reason", error->reason);
        connpool_json_put(buf, "}");
    }
    connpool_json_put(buf, "]");
}

/* The buffer's storage goes along. */
static void add_buffer(apr_bucket_brigade *bb, cp_buffer_t *buf)
{
    if (buf->size > 0) {
        APR_BRIGADE_INSERT_TAIL(bb,
                                apr_bucket_heap_create(buf->data, buf->size,
                                                       free, bb->bucket_alloc));
        *buf = (cp_buffer_t){0};
    }
}

/* Hand the buffer's bytes to the output. */
static apr_status_t pass_buffer(request_rec *r, cp_buffer_t *buf, int is_last)
{
    apr_bucket_alloc_t *ba = r->connection->bucket_alloc;
    apr_bucket_brigade *bb = apr_brigade_create(r->pool, ba);
    apr_status_t rv;

    add_buffer(bb, buf);
    if (is_last) {
        APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(ba));
    }
    rv = ap_pass_brigade(r->output_filters, bb);
    apr_brigade_destroy(bb);
    return rv;
}

void connpool_problem_write(cp_buffer_t *buf, int status, const char *detail,
                            int retry_after, const apr_array_header_t *errors)
{
    const char *title = title_of(status);

    connpool_json_put(buf, "{");
    connpool_json_text(buf, "", "type", "about:blank");
    connpool_json_text(buf, ",", "title", title);
    connpool_json_number(buf, ",", "status", (uint64_t)status);
    connpool_json_text(buf, ",", "detail", detail ? detail : title);
    if (retry_after > 0) {
        connpool_json_number(buf, ",", "retry_after", (uint64_t)retry_after);
    }
    if (errors && errors->nelts > 0) {
        append_errors(buf, errors);
    }
    connpool_json_put(buf, "}");
}

int connpool_problem(request_rec *r, int status, const char *detail,
                     const apr_array_header_t *errors)
{
    cp_buffer_t buf = {0};

    if (r->eos_sent) {
        return OK; /* httpd has answered: the request's body was broken */
    }
    connpool_problem_write(&buf, status, detail, 0, errors);
    connpool_json_put(&buf, "\n");
    r->status = status;
    r->status_line = NULL;
    connpool_add_server_timing(r);
    if (status == HTTP_SERVICE_UNAVAILABLE) {
        apr_table_setn(r->headers_out, "Retry-After", RETRY_AFTER);
    }
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    apr_table_setn(r->headers_out, "X-Content-Type-Options", "nosniff");
    ap_set_content_type(r, "application/problem+json");
    ap_set_content_length(r, (apr_off_t)buf.size);
    pass_buffer(r, &buf, 1);
    return OK;
}

const char *connpool_suppressed(apr_pool_t *p, uint64_t count)
{
    return count == 0 ? ""
                      : apr_psprintf(p,
                                     " (%" APR_UINT64_T_FMT
                                     " more like this since the last line)",
                                     count);
}

/* One line per class and COMPLAIN_EVERY for what goes wrong with every request
 * once it goes wrong, also where the configuration is what refuses; the others
 * can be had with LogLevel debug. */
void connpool_complain(request_rec *r, const char *what, const cp_error_t *err,
                       cp_log_limit_t *complaints)
{
    uint64_t suppressed = 0;
    int is_ours = err->cls == CP_ERR_REFUSED
                  || (connpool_status_of(err->cls) >= 500
                      && err->cls != CP_ERR_CAPACITY /* the pool has told */
                      && err->cls != CP_ERR_CANCELLED);
    int level = !is_ours ? APLOG_DEBUG
                : cp_log_allowed(&complaints[err->cls], COMPLAIN_EVERY,
                                 &suppressed)
                    ? APLOG_ERR
                    : APLOG_DEBUG;

    ap_log_rerror(APLOG_MARK, level, err->rv == APR_EGENERAL ? 0 : err->rv, r,
                  "%s: %s (%s): %s%s", what, err->cause,
                  cp_error_class_name(err->cls), err->detail,
                  connpool_suppressed(r->pool, suppressed));
}

const char *connpool_explain(apr_pool_t *p, const char *what,
                             const cp_error_t *err)
{
    const char *again = "";

    if (err->retry_after > 0) {
        again = apr_psprintf(p, ", it is asked again in %d s",
                             err->retry_after);
    }
    return apr_pstrcat(p, what, ": ", err->cause, again, ".", NULL);
}

int connpool_problem_of(request_rec *r, const char *what, const cp_error_t *err,
                        cp_log_limit_t *complaints)
{
    if (err->cls == CP_ERR_CANCELLED) {
        r->connection->aborted = 1;
    }
    connpool_complain(r, what, err, complaints);
    if (err->retry_after > 0) {
        apr_table_setn(r->headers_out, "Retry-After",
                       apr_itoa(r->pool, err->retry_after));
    }
    return connpool_problem(r, connpool_status_of(err->cls),
                            connpool_explain(r->pool, what, err), NULL);
}

/* --- methods --- */

/* "GET, HEAD, POST" */
static const char *list_methods(apr_pool_t *p, apr_int64_t methods)
{
    static const char *const names[] = {"GET", "POST", "PUT", "DELETE"};
    const char *list = "";

    for (int i = 0; i < 4; i++) {
        if (methods & (AP_METHOD_BIT << ap_method_number_of(names[i]))) {
            list = apr_pstrcat(p, list, *list ? ", " : "", names[i],
                               i == 0 ? ", HEAD" : "", NULL);
        }
    }
    return list;
}

int connpool_answer_method(request_rec *r, apr_int64_t methods)
{
    const char *list;

    if (methods & (AP_METHOD_BIT << r->method_number)) {
        return 0;
    }
    list = list_methods(r->pool, methods);
    apr_table_setn(r->headers_out, "Allow",
                   apr_pstrcat(r->pool, list, ", OPTIONS", NULL));
    if (r->method_number != M_OPTIONS) {
        connpool_problem(r, HTTP_METHOD_NOT_ALLOWED,
                         apr_psprintf(r->pool, "Use %s.", list), NULL);
    }
    return 1;
}

/* --- whole bodies --- */

/* The word is spread first, lest like changes in two places cancel out. All
 * steps can be undone: bodies that differ in one word only never meet. */
static apr_uint64_t mix(apr_uint64_t hash, apr_uint64_t word)
{
    word *= APR_UINT64_C(0x9e3779b97f4a7c15);
    word ^= word >> 32;
    word *= APR_UINT64_C(0xbf58476d1ce4e5b9);
    hash ^= word;
    return (hash << 27 | hash >> 37) * APR_UINT64_C(0x94d049bb133111eb);
}

apr_uint64_t connpool_hash(apr_uint64_t hash, const char *data, apr_size_t size)
{
    apr_uint64_t word = 0;
    apr_size_t i = 0;

    hash = mix(hash, size);
    for (; size - i >= sizeof(word); i += sizeof(word)) {
        memcpy(&word, data + i, sizeof(word));
        hash = mix(hash, word);
    }
    if (i < size) {
        word = 0;
        memcpy(&word, data + i, size - i);
        hash = mix(hash, word);
    }
    return hash;
}

const char *connpool_etag(apr_pool_t *p, const char *prefix, apr_uint64_t hash)
{
    char hex[2 * sizeof(hash) + 1];

    hash ^= hash >> 32;
    ap_bin2hex(&hash, sizeof(hash), hex);
    return apr_pstrcat(p, prefix, "\"", hex, "\"", NULL);
}

/* Strong: equal bytes, equal tag. A plain hash is enough, nobody gains by
 * forging his own cache's key. */
const char *connpool_body_etag(apr_pool_t *p, const cp_buffer_t *body)
{
    return connpool_etag(p, "", connpool_hash(0, body->data, body->size));
}

static void set_body_headers(request_rec *r, const char *content_type,
                             const char *cache_control)
{
    ap_set_content_type(r, content_type);
    apr_table_setn(r->headers_out, "X-Content-Type-Options", "nosniff");
    apr_table_setn(r->headers_out, "Cache-Control", cache_control);
    connpool_add_server_timing(r);
}

int connpool_condition_answer(request_rec *r, int status)
{
    return status == HTTP_PRECONDITION_FAILED
               ? connpool_problem(r, status,
                                  "The answer is not the one that was asked "
                                  "for.",
                                  NULL)
               : status;
}

/* OK, or what to answer instead of the body. Conditions speak of the outer
 * answer, not of a part of it. */
static int meets_conditions(request_rec *r, const char *etag)
{
    if (r->method_number != M_GET || r->main || !etag) {
        return OK;
    }
    apr_table_setn(r->headers_out, "ETag", etag);
    return ap_meets_conditions(r);
}

int connpool_send_whole(request_rec *r, const char *content_type,
                        cp_buffer_t *body)
{
    const char *etag = r->method_number == M_GET
                           ? connpool_body_etag(r->pool, body)
                           : NULL;

    return connpool_send_tagged(r, content_type, etag, body);
}

int connpool_send_tagged(request_rec *r, const char *content_type,
                         const char *etag, cp_buffer_t *body)
{
    int status;

    set_body_headers(r, content_type, "no-cache");
    status = meets_conditions(r, etag);
    if (status != OK) {
        cp_buffer_free(body);
        return connpool_condition_answer(r, status);
    }
    ap_set_content_length(r, (apr_off_t)body->size);
    pass_buffer(r, body, 1);
    cp_buffer_free(body);
    return OK;
}

static apr_status_t unref_answer(void *answer)
{
    cp_answer_unref(answer);
    return APR_SUCCESS;
}

int connpool_send_shared(request_rec *r, cp_answer_t *answer,
                         const char *cache_control)
{
    apr_bucket_alloc_t *ba = r->connection->bucket_alloc;
    apr_bucket_brigade *bb;
    int status;

    cp_answer_ref(answer); /* its headers and body are not copied */
    apr_pool_cleanup_register(r->pool, answer, unref_answer,
                              apr_pool_cleanup_null);
    set_body_headers(r, cp_answer_header(answer, "Content-Type"),
                     cache_control);
    status = meets_conditions(r, cp_answer_header(answer, "ETag"));
    if (status != OK) {
        return connpool_condition_answer(r, status);
    }
    ap_set_content_length(r, (apr_off_t)answer->body.size);
    bb = apr_brigade_create(r->pool, ba);
    if (answer->body.size > 0) {
        /* Copies what is not sent when the pool ends. */
        APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_pool_create(answer->body.data,
                                                           answer->body.size,
                                                           r->pool, ba));
    }
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(ba));
    ap_pass_brigade(r->output_filters, bb);
    apr_brigade_destroy(bb);
    return OK;
}

int connpool_send_file(request_rec *r, const char *content_type,
                       apr_file_t *file, apr_off_t size, cp_buffer_t *rest)
{
    set_body_headers(r, content_type, "no-cache");
    connpool_pass_collected(r, file, size, rest);
    return OK;
}

void connpool_pass_collected(request_rec *r, apr_file_t *file, apr_off_t size,
                             cp_buffer_t *rest)
{
    apr_bucket_alloc_t *ba = r->connection->bucket_alloc;
    apr_bucket_brigade *bb = apr_brigade_create(r->pool, ba);

    ap_set_content_length(r, size + (apr_off_t)rest->size);
    if (file) {
        apr_brigade_insert_file(bb, file, 0, size, r->pool);
    }
    add_buffer(bb, rest);
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(ba));
    ap_pass_brigade(r->output_filters, bb);
    apr_brigade_destroy(bb);
}

/* --- streams --- */

void connpool_stream_begin(request_rec *r, const char *content_type)
{
    set_body_headers(r, content_type, "no-cache");
}

apr_status_t connpool_stream_write(request_rec *r, cp_buffer_t *chunk)
{
    if (r->connection->aborted) {
        return APR_ECONNABORTED;
    }
    return pass_buffer(r, chunk, 0);
}

void connpool_stream_end(request_rec *r)
{
    cp_buffer_t nothing = {0};

    pass_buffer(r, &nothing, 1);
}

void connpool_stream_cut(request_rec *r)
{
    apr_bucket_alloc_t *ba = r->connection->bucket_alloc;
    apr_bucket_brigade *bb = apr_brigade_create(r->pool, ba);

    /* httpd's chunk filter leaves the last chunk out when it sees this. */
    r->connection->keepalive = AP_CONN_CLOSE;
    APR_BRIGADE_INSERT_TAIL(
        bb, ap_bucket_error_create(HTTP_BAD_GATEWAY, NULL, r->pool, ba));
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(ba));
    ap_pass_brigade(r->output_filters, bb);
}

/* --- the client --- */

/* A page of another site must not make its reader's browser write here. Only
 * browsers send these headers, and no script can forge them. */
int connpool_is_cross_site(request_rec *r)
{
    const char *site = apr_table_get(r->headers_in, "Sec-Fetch-Site");
    const char *origin = apr_table_get(r->headers_in, "Origin");
    const char *host = apr_table_get(r->headers_in, "Host");
    apr_uri_t uri;

    if (site) {
        return strcasecmp(site, "cross-site") == 0;
    }
    if (!origin || !host) {
        return 0;
    }
    return apr_uri_parse(r->pool, origin, &uri) != APR_SUCCESS || !uri.hostinfo
           || strcasecmp(uri.hostinfo, host) != 0;
}

static apr_socket_t *client_socket(request_rec *r)
{
    conn_rec *c = r->connection;

    return ap_get_conn_socket(c->master ? c->master : c);
}

void connpool_limit_client_wait(request_rec *r, apr_interval_time_t left)
{
    apr_socket_t *socket = r->connection->master
                               ? NULL
                               : ap_get_conn_socket(r->connection);

    if (socket) {
        apr_socket_timeout_set(socket, left < 0 || left > r->server->timeout
                                           ? r->server->timeout
                                           : left);
    }
}

int connpool_client_is_gone(request_rec *r)
{
    apr_socket_t *socket = client_socket(r);
    apr_os_sock_t fd;
    char byte;
    ssize_t n;

    if (r->connection->aborted
        || __atomic_load_n(&connpool_child.is_stopping, __ATOMIC_RELAXED)) {
        return 1;
    }
    if (!socket || apr_os_sock_get(&fd, socket) != APR_SUCCESS) {
        return 0;
    }
    n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno == ECONNRESET);
}
