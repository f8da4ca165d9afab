/* SPDX-License-Identifier: Apache-2.0
 * The handler connpool-query. An answer is collected up to CONNPOOL_HELD_BYTES
 * with the connection given back before the first byte is sent. A longer one
 * streams; over HTTP/2, where a write may block for as long as mod_http2 likes,
 * it is collected in a file instead. */
#include "mod_connpool_private.h"

#include <apr_hash.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <apr_uri.h>

#define STREAM_BYTES (32 * 1024)

/* One answer in the making. */
typedef struct answer_t {
    request_rec *r;
    connpool_query_t *query;
    connpool_run_t run;
    cp_encoder_t *encoder; /* NULL before the first row is asked for */
    cp_value_t *row;
    cp_buffer_t buf;
    apr_size_t counted; /* bytes of buf that the child's figures know of */
    apr_int64_t sent;   /* bytes already streamed, or in the file */
    int is_streaming;
    apr_file_t *file;      /* NULL: none is needed */
    const char *truncated; /* "rows", "bytes", NULL */
    cp_error_t err;
} answer_t;

/* --- checks before any work --- */

static connpool_query_t *served_query(request_rec *r)
{
    const char *name = connpool_served_name(r);

    return name ? apr_hash_get(connpool_server(r->server)->all_queries, name,
                               APR_HASH_KEY_STRING)
                : NULL;
}

static int method_not_allowed(request_rec *r, const connpool_query_t *query)
{
    static const char *const names[] = {"GET", "POST", "PUT", "DELETE"};
    const char *allow = "";

    for (int i = 0; i < 4; i++) {
        if (query->methods & (AP_METHOD_BIT << ap_method_number_of(names[i]))) {
            allow = apr_pstrcat(r->pool, allow, *allow ? ", " : "", names[i],
                                i == 0 ? ", HEAD" : "", NULL);
        }
    }
    apr_table_setn(r->headers_out, "Allow", allow);
    return connpool_problem(r, HTTP_METHOD_NOT_ALLOWED,
                            apr_psprintf(r->pool, "Use %s.", allow), NULL);
}

/* A page of another site must not make its reader's browser write here. Only
 * browsers send these headers, and no script can forge them. */
static int is_cross_site(request_rec *r)
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

/* --- rows --- */

static void begin_rows(answer_t *a)
{
    cp_statement_t *st = a->run.statement;
    int columns = cp_statement_columns(st);
    const char **names = apr_palloc(a->r->pool,
                                    (apr_size_t)columns * sizeof(*names));

    for (int i = 0; i < columns; i++) {
        names[i] = cp_statement_column_name(st, i);
    }
    a->encoder = cp_encoder_create(a->r->pool, a->query->format, columns,
                                   names);
    a->row = apr_palloc(a->r->pool, (apr_size_t)columns * sizeof(*a->row));
    cp_encode_begin(a->encoder, &a->buf);
}

static int is_single_row(cp_format_t format)
{
    return format == CP_FORMAT_OBJECT || format == CP_FORMAT_VALUE;
}

static void start_streaming(answer_t *a)
{
    request_rec *r = a->r;

    a->is_streaming = 1;
    connpool_stream_begin(r, cp_format_content_type(a->query->format));
    /* Whether it gets cut is not known yet: said behind the body. */
    connpool_trailer_announce(r, "ConnPool-Truncated");
}

/* Send what is collected. The client may keep the reader waiting until the
 * query's deadline, not longer. */
static apr_status_t flush_rows(answer_t *a)
{
    apr_interval_time_t left = cp_clock_left(a->run.deadline);
    apr_status_t rv;

    if (left == 0) {
        return cp_error_set(&a->err, CP_ERR_DEADLINE, APR_TIMEUP,
                            "the client reads too slowly",
                            "the answer was not read within the query's time");
    }
    a->sent += (apr_int64_t)a->buf.size;
    connpool_limit_client_wait(a->r, left);
    rv = connpool_stream_write(a->r, &a->buf);
    connpool_limit_client_wait(a->r, -1);
    if (rv != APR_SUCCESS) {
        cp_error_set(&a->err, CP_ERR_CANCELLED, rv, "the client is gone",
                     "writing the answer failed");
    }
    return rv;
}

/* Move what is collected into the file. */
static apr_status_t spill(answer_t *a)
{
    apr_size_t size = a->buf.size;
    apr_status_t rv = connpool_spill(a->r, &a->file, &a->buf, &a->err);

    if (rv == APR_SUCCESS) {
        a->sent += (apr_int64_t)size;
    }
    return rv;
}

static apr_status_t make_room(answer_t *a)
{
    int is_held = !a->is_streaming && !a->file;

    connpool_count_buffer(&a->buf, &a->counted);
    if (a->query->is_write
        || a->buf.size < (is_held ? CONNPOOL_HELD_BYTES : STREAM_BYTES)) {
        return APR_SUCCESS;
    }
    if (a->r->connection->master) {
        return spill(a);
    }
    if (is_held) {
        start_streaming(a);
    }
    return flush_rows(a);
}

/* Append the current row, or undo it and say that the answer is cut. */
static apr_status_t add_row(answer_t *a)
{
    apr_size_t before = a->buf.size;

    cp_statement_row(a->run.statement, a->row);
    cp_encode_row(a->encoder, &a->buf, a->row);
    if (a->sent + (apr_int64_t)a->buf.size <= a->query->max_bytes) {
        return make_room(a);
    }
    a->buf.size = before;
    if (is_single_row(a->query->format)) {
        return cp_error_set(&a->err, CP_ERR_SIZE, APR_SUCCESS,
                            "the answer is too large",
                            "the row is larger than max-bytes");
    }
    if (a->query->is_write) {
        return cp_error_set(&a->err, CP_ERR_SIZE, APR_SUCCESS,
                            "the answer is too large",
                            "RETURNING gives more than max-bytes; the write "
                            "is rolled back");
    }
    a->truncated = "bytes";
    return APR_EOF;
}

/* Read all rows, or the first `max-rows` of them: one more is asked for to
 * know whether something is left. A write's statement must run to its end. */
static apr_status_t read_rows(answer_t *a)
{
    apr_int64_t limit = is_single_row(a->query->format) ? 1
                                                        : a->query->max_rows;
    apr_status_t rv;

    while ((rv = connpool_run_next(&a->run, &a->err)) == APR_SUCCESS) {
        if (!a->encoder) {
            begin_rows(a);
        }
        if (a->run.rows > limit) {
            a->run.rows--;
            if (!is_single_row(a->query->format)) {
                a->truncated = "rows";
            }
            if (!a->query->is_write) {
                return APR_EOF;
            }
            continue;
        }
        rv = add_row(a);
        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    return rv;
}

/* --- the end --- */

static int answer_of_write(answer_t *a)
{
    const char *text = apr_psprintf(a->r->pool,
                                    "{\"changes\":%" APR_INT64_T_FMT
                                    ",\"last_insert_rowid\":%" APR_INT64_T_FMT
                                    "}",
                                    a->run.changes, a->run.last_rowid);

    cp_buffer_append(&a->buf, text, strlen(text));
    return connpool_send_whole(a->r, "application/json", &a->buf);
}

static int finish_stream(answer_t *a, apr_status_t rv)
{
    if (rv != APR_EOF) {
        ap_log_rerror(APLOG_MARK,
                      a->err.cls == CP_ERR_CANCELLED ? APLOG_INFO : APLOG_ERR,
                      0, a->r, "query '%s': the answer is cut: %s: %s",
                      a->query->name, a->err.cause, a->err.detail);
        cp_buffer_free(&a->buf);
        connpool_stream_cut(a->r);
        return OK;
    }
    if (a->truncated) {
        apr_table_setn(a->r->trailers_out, "ConnPool-Truncated", a->truncated);
    }
    cp_encode_end(a->encoder, &a->buf);
    connpool_stream_write(a->r, &a->buf);
    cp_buffer_free(&a->buf);
    connpool_stream_end(a->r);
    return OK;
}

static int finish_with_problem(answer_t *a)
{
    cp_buffer_free(&a->buf);
    return connpool_problem_of(
        a->r, apr_psprintf(a->r->pool, "query '%s'", a->query->name), &a->err,
        a->query->complaints);
}

static int finish_whole(answer_t *a, apr_status_t rv)
{
    const char *type = cp_format_content_type(a->query->format);

    if (rv != APR_EOF) {
        return finish_with_problem(a);
    }
    if (!a->encoder) {
        return answer_of_write(a);
    }
    if (is_single_row(a->query->format) && a->run.rows == 0) {
        cp_buffer_free(&a->buf);
        return connpool_problem(a->r, HTTP_NOT_FOUND, "There is no such row.",
                                NULL);
    }
    cp_encode_end(a->encoder, &a->buf);
    if (a->truncated) {
        apr_table_setn(a->r->headers_out, "ConnPool-Truncated", a->truncated);
    }
    if (!a->file) {
        return connpool_send_whole(a->r, type, &a->buf);
    }
    return connpool_send_file(a->r, type, a->file, a->sent, &a->buf);
}

static int run_query(answer_t *a, const cp_value_t *values)
{
    int status;
    apr_status_t rv = connpool_run_open(&a->run, a->r, a->query, values,
                                        &a->err);

    if (rv == APR_SUCCESS) {
        rv = read_rows(a);
        if (rv == APR_EOF && !a->encoder
            && cp_statement_columns(a->run.statement) > 0) {
            begin_rows(a);
        }
        rv = connpool_run_close(&a->run, rv, &a->err);
    }
    status = a->is_streaming ? finish_stream(a, rv) : finish_whole(a, rv);
    connpool_count_buffer(&a->buf, &a->counted);
    return status;
}

int connpool_query_handler(request_rec *r)
{
    connpool_query_t *query = served_query(r);
    answer_t a = {.r = r, .query = query};
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
    if (!(query->methods & (AP_METHOD_BIT << r->method_number))) {
        return method_not_allowed(r, query);
    }
    if (query->is_write && is_cross_site(r)) {
        return connpool_problem(
            r, HTTP_FORBIDDEN, "Another site's page may not write here.", NULL);
    }
    status = connpool_params_read(r, query, &values, &errors, &detail);
    if (status != OK) {
        return connpool_problem(r, status, detail, errors);
    }
    cp_error_clear(&a.err);
    return run_query(&a, values);
}
