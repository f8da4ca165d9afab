/* SPDX-License-Identifier: Apache-2.0
 * One header behind a streamed body. httpd's HTTP/2 sends r->trailers_out by
 * itself; its chunk filter for HTTP/1.1 does not, so it is helped here. */
#include "glue.h"
#include "request/output.h"

#include <apr_strings.h>
#include <util_filter.h>

#define LAST_CHUNK "0" CRLF CRLF

static ap_filter_rec_t *trailer_filter;

/* The bucket that the chunk filter puts before the end of the stream. */
static apr_bucket *last_chunk(apr_bucket_brigade *bb)
{
    apr_bucket *e = APR_BRIGADE_LAST(bb);
    const char *data;
    apr_size_t size;

    if (APR_BRIGADE_EMPTY(bb) || !APR_BUCKET_IS_EOS(e)) {
        return NULL;
    }
    e = APR_BUCKET_PREV(e);
    if (e == APR_BRIGADE_SENTINEL(bb) || APR_BUCKET_IS_METADATA(e)
        || apr_bucket_read(e, &data, &size, APR_BLOCK_READ) != APR_SUCCESS
        || size != strlen(LAST_CHUNK) || memcmp(data, LAST_CHUNK, size) != 0) {
        return NULL;
    }
    return e;
}

static apr_status_t add_trailer(ap_filter_t *f, apr_bucket_brigade *bb)
{
    const char *name = f->ctx;
    const char *value = apr_table_get(f->r->trailers_out, name);
    apr_bucket *e = value ? last_chunk(bb) : NULL;

    if (e) {
        char *text = apr_pstrcat(f->r->pool, "0" CRLF, name, ": ", value,
                                 CRLF CRLF, NULL);

        APR_BUCKET_INSERT_BEFORE(e, apr_bucket_pool_create(text, strlen(text),
                                                           f->r->pool,
                                                           bb->bucket_alloc));
        apr_bucket_delete(e);
    }
    return ap_pass_brigade(f->next, bb);
}

void connpool_trailer_announce(request_rec *r, const char *name)
{
    if (r->proto_num < HTTP_VERSION(1, 1)) {
        return;
    }
    apr_table_setn(r->headers_out, "Trailer", name);
    if (!r->connection->master) {
        ap_add_output_filter_handle(trailer_filter, (void *)name, r,
                                    r->connection);
    }
}

/* Between the chunk filter and the connection's. */
void connpool_trailer_register(void)
{
    trailer_filter = ap_register_output_filter("CONNPOOL_TRAILER", add_trailer,
                                               NULL, AP_FTYPE_TRANSCODE + 1);
}
