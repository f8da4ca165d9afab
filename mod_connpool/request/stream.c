/* SPDX-License-Identifier: Apache-2.0
 * Bytes on their way out, and answers whose length nobody knows. */
#include "glue.h"
#include "base/bytes/buffer.h"
#include "request/account.h"
#include "request/output.h"

#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>

void connpool_add_buffer(apr_bucket_brigade *bb, cp_buffer_t *buf)
{
    if (buf->size > 0) {
        cp_buffer_t taken = cp_buffer_take(buf);

        APR_BRIGADE_INSERT_TAIL(bb,
                                apr_bucket_heap_create(taken.data, taken.size,
                                                       free, bb->bucket_alloc));
    }
}

apr_status_t connpool_pass_buffer(request_rec *r, cp_buffer_t *buf, int is_last)
{
    apr_bucket_alloc_t *ba = r->connection->bucket_alloc;
    apr_bucket_brigade *bb = apr_brigade_create(r->pool, ba);
    apr_status_t rv;

    connpool_add_buffer(bb, buf);
    if (is_last) {
        APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(ba));
    }
    rv = ap_pass_brigade(r->output_filters, bb);
    apr_brigade_destroy(bb);
    return rv;
}

void connpool_set_body_headers(request_rec *r, const char *content_type,
                               const char *cache_control)
{
    ap_set_content_type(r, content_type);
    apr_table_setn(r->headers_out, "X-Content-Type-Options", "nosniff");
    if (connpool_state(r)->is_private
        && strncmp(cache_control, "private", 7) != 0) {
        cache_control = apr_pstrcat(r->pool, "private, ", cache_control, NULL);
    }
    apr_table_setn(r->headers_out, "Cache-Control", cache_control);
    connpool_add_server_timing(r);
}

void connpool_stream_begin(request_rec *r, const char *content_type)
{
    connpool_set_body_headers(r, content_type, "no-cache");
}

apr_status_t connpool_stream_write(request_rec *r, cp_buffer_t *chunk)
{
    if (r->connection->aborted) {
        return APR_ECONNABORTED;
    }
    return connpool_pass_buffer(r, chunk, 0);
}

apr_status_t connpool_stream_flush(request_rec *r)
{
    apr_bucket_alloc_t *ba = r->connection->bucket_alloc;
    apr_bucket_brigade *bb = apr_brigade_create(r->pool, ba);
    apr_status_t rv;

    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_flush_create(ba));
    rv = ap_pass_brigade(r->output_filters, bb);
    apr_brigade_destroy(bb);
    return rv;
}

apr_status_t connpool_stream_bytes(request_rec *r, const char *data,
                                   apr_size_t size)
{
    apr_bucket_alloc_t *ba = r->connection->bucket_alloc;
    apr_bucket_brigade *bb;
    apr_status_t rv;

    if (r->connection->aborted) {
        return APR_ECONNABORTED;
    }
    bb = apr_brigade_create(r->pool, ba);
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_transient_create(data, size, ba));
    rv = ap_pass_brigade(r->output_filters, bb);
    apr_brigade_destroy(bb);
    return rv;
}

apr_status_t connpool_stream_file(request_rec *r, apr_file_t *file,
                                  apr_off_t from, apr_off_t size)
{
    apr_bucket_brigade *bb;
    apr_status_t rv;

    if (!file || size == 0) {
        return APR_SUCCESS;
    }
    bb = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    /* Mapped it would be memory of the child, 4 MB at a time. */
    apr_bucket_file_enable_mmap(
        apr_brigade_insert_file(bb, file, from, size, r->pool), 0);
    rv = ap_pass_brigade(r->output_filters, bb);
    apr_brigade_destroy(bb);
    return rv;
}

void connpool_stream_end(request_rec *r)
{
    cp_buffer_t nothing = {0};

    connpool_pass_buffer(r, &nothing, 1);
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
