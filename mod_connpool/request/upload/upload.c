/* SPDX-License-Identifier: Apache-2.0 */
#include "request/upload/upload.h"

#include "glue.h"
#include "base/clock.h"
#include "base/number.h"
#include "http/upload/upload.h"
#include "request/output.h"

#include <apr_portable.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>
#include <util_filter.h>

/* What httpd may read for nothing, to keep the connection. */
#define WORTH_READING (64 * 1024)

static apr_status_t fail(connpool_upload_t *upload, int status, apr_status_t rv)
{
    upload->status = status;
    return rv;
}

/* httpd does so only for who would wait. */
static void tell_to_continue(request_rec *r)
{
    int status = r->status;
    const char *line = r->status_line;

    r->status = HTTP_CONTINUE;
    r->status_line = NULL;
    ap_send_interim_response(r, 0);
    r->status = status;
    r->status_line = line;
}

/* Even so httpd waits for what follows the last chunk: no longer than we do. */
static apr_status_t get_brigade(const connpool_upload_t *upload,
                                apr_read_type_e block, apr_size_t size)
{
    request_rec *r = upload->r;
    apr_status_t rv;

    if (!r->read_chunked) {
        return ap_get_brigade(r->input_filters, upload->bb, AP_MODE_READBYTES,
                              block, (apr_off_t)size);
    }
    connpool_limit_client_wait(r, cp_clock_left(upload->deadline));
    rv = ap_get_brigade(r->input_filters, upload->bb, AP_MODE_READBYTES, block,
                        (apr_off_t)size);
    connpool_limit_client_wait(r, -1);
    return rv;
}

static apr_status_t read_brigade(connpool_upload_t *upload,
                                 apr_read_type_e block, apr_size_t size)
{
    apr_status_t rv = get_brigade(upload, block, size);

    if (APR_STATUS_IS_EAGAIN(rv) && upload->r->expecting_100) {
        tell_to_continue(upload->r);
    }
    if (APR_STATUS_IS_EAGAIN(rv)
        || (rv == APR_SUCCESS && APR_BRIGADE_EMPTY(upload->bb))) {
        /* httpd's own limit of silence. */
        return cp_clock_now() - upload->came_at < upload->r->server->timeout
                   ? APR_EAGAIN
                   : fail(upload, HTTP_REQUEST_TIME_OUT, APR_TIMEUP);
    }
    if (rv != APR_SUCCESS) {
        int status = ap_map_http_request_error(rv, HTTP_BAD_REQUEST);

        return fail(upload, status >= 400 ? status : HTTP_BAD_REQUEST, rv);
    }
    return rv;
}

/* Exactly as long as it was said to be: the upstream was told the same. */
static apr_status_t end_body(connpool_upload_t *upload)
{
    if (upload->source.size >= 0 && upload->seen != upload->source.size) {
        return fail(upload, HTTP_BAD_REQUEST, APR_EGENERAL);
    }
    upload->is_complete = 1;
    return APR_EOF;
}

static apr_status_t count(connpool_upload_t *upload, apr_size_t size)
{
    upload->seen += (apr_int64_t)size;
    upload->came_at = cp_clock_now();
    if (upload->source.size >= 0 && upload->seen > upload->source.size) {
        return fail(upload, HTTP_BAD_REQUEST, APR_EGENERAL);
    }
    return upload->seen > upload->max
               ? fail(upload, HTTP_REQUEST_ENTITY_TOO_LARGE, APR_ENOSPC)
               : APR_SUCCESS;
}

/* Take what the brigade has, as far as it fits: *pgot is 0 when it had no
 * bytes.
 */
static apr_status_t drain(connpool_upload_t *upload, char *room,
                          apr_size_t size, apr_size_t *pgot)
{
    apr_bucket_brigade *bb = upload->bb;
    apr_status_t rv;

    *pgot = 0;
    while (*pgot < size && !APR_BRIGADE_EMPTY(bb)) {
        apr_bucket *bucket = APR_BRIGADE_FIRST(bb);
        const char *data;
        apr_size_t length;

        if (APR_BUCKET_IS_EOS(bucket) && *pgot == 0) {
            return end_body(upload);
        }
        if (APR_BUCKET_IS_EOS(bucket)) {
            break;
        }
        if (APR_BUCKET_IS_METADATA(bucket)) {
            apr_bucket_delete(bucket);
            continue;
        }
        rv = apr_bucket_read(bucket, &data, &length, APR_BLOCK_READ);
        if (rv != APR_SUCCESS) {
            return fail(upload, HTTP_BAD_REQUEST, rv);
        }
        if (length > size - *pgot) {
            length = size - *pgot;
            apr_bucket_split(bucket, length);
        }
        memcpy(room + *pgot, data, length);
        *pgot += length;
        apr_bucket_delete(bucket);
    }
    return *pgot > 0 ? count(upload, *pgot) : APR_SUCCESS;
}

static apr_status_t read_source(void *baton, char *room, apr_size_t size,
                                apr_size_t *pgot)
{
    connpool_upload_t *upload = baton;
    apr_status_t rv;

    *pgot = 0;
    if (upload->status != 0) {
        return APR_EGENERAL;
    }
    do {
        if (APR_BRIGADE_EMPTY(upload->bb)) {
            rv = read_brigade(upload, APR_NONBLOCK_READ, size);
            if (rv != APR_SUCCESS) {
                return rv;
            }
        }
        rv = drain(upload, room, size, pgot);
    } while (rv == APR_SUCCESS && *pgot == 0);
    return rv;
}

/* Over HTTP/2 nobody but mod_http2 knows when there is more. */
static int client_descriptor(request_rec *r)
{
    apr_socket_t *socket = r->connection->master
                               ? NULL
                               : ap_get_conn_socket(r->connection);
    apr_os_sock_t fd;

    return socket && apr_os_sock_get(&fd, socket) == APR_SUCCESS ? fd : -1;
}

/* The declared length is that of what we read, unless somebody changes it. */
static int is_changed(request_rec *r)
{
    return r->input_filters != r->proto_input_filters;
}

int connpool_upload_open(connpool_upload_t *upload, request_rec *r,
                         apr_int64_t max, apr_interval_time_t time)
{
    int status = ap_setup_client_block(r, REQUEST_CHUNKED_DECHUNK);

    if (status != OK) {
        return status;
    }
    upload->r = r;
    upload->max = max;
    upload->deadline = cp_clock_after(time);
    upload->came_at = cp_clock_now();
    upload->source = (cp_source_t){read_source, upload, -1,
                                   client_descriptor(r)};
    upload->is_there = ap_should_client_block(r);
    upload->is_complete = !upload->is_there;
    if (!upload->is_there) {
        return OK;
    }
    upload->bb = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    if (!r->read_chunked && r->remaining > max) {
        return HTTP_REQUEST_ENTITY_TOO_LARGE;
    }
    if (is_changed(r)) {
        read_brigade(upload, APR_BLOCK_READ, WORTH_READING);
        return upload->status;
    }
    upload->source.size = r->read_chunked ? -1 : r->remaining;
    return OK;
}

const char *connpool_upload_detail(const connpool_upload_t *upload, int status)
{
    switch (status) {
    case HTTP_REQUEST_ENTITY_TOO_LARGE:
        return apr_pstrcat(
            upload->r->pool, "The request's body is larger than ",
            cp_params_show_size(upload->r->pool, upload->max), ".", NULL);
    case HTTP_REQUEST_TIME_OUT:
        return "The request's body came too slowly.";
    default:
        return "The request's body could not be read.";
    }
}

void connpool_upload_leave(connpool_upload_t *upload)
{
    request_rec *r = upload->r;

    if (upload->is_there && !upload->is_complete && !r->connection->master
        && (upload->source.size < 0
            || upload->source.size - upload->seen > WORTH_READING)) {
        r->connection->keepalive = AP_CONN_CLOSE;
    }
}
