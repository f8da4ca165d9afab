/* SPDX-License-Identifier: Apache-2.0
 * The body of a request, as bytes and as JSON. */
#include "glue.h"
#include "base/bytes/buffer.h"
#include "request/input.h"

#include <jansson.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_protocol.h>

static const char *show_size(apr_pool_t *p, apr_int64_t size)
{
    return size % (1024 * 1024) == 0
               ? apr_psprintf(p, "%" APR_INT64_T_FMT "M", size / (1024 * 1024))
               : apr_psprintf(p, "%" APR_INT64_T_FMT " bytes", size);
}

/* Asked behind the body: a filter that decodes it takes the header away when
 * it is first read. */
static int check_coding(request_rec *r, const char **pdetail)
{
    const char *coding = apr_table_get(r->headers_in, "Content-Encoding");

    if (!coding || strcasecmp(coding, "identity") == 0) {
        return OK;
    }
    apr_table_setn(r->headers_out, "Accept-Encoding", "identity");
    *pdetail = "Send the body without Content-Encoding.";
    return HTTP_UNSUPPORTED_MEDIA_TYPE;
}

int connpool_read_body(request_rec *r, apr_int64_t max, char **pbody,
                       apr_size_t *psize, const char **pdetail)
{
    cp_buffer_t buf = {0};
    long n;
    int status = ap_setup_client_block(r, REQUEST_CHUNKED_DECHUNK);

    *pbody = apr_pstrdup(r->pool, "");
    *psize = 0;
    if (status != OK || !ap_should_client_block(r)) {
        return status;
    }
    do {
        cp_buffer_reserve(&buf, 8192);
        n = ap_get_client_block(r, buf.data + buf.size, 8192);
        buf.size += n > 0 ? (apr_size_t)n : 0;
    } while (n > 0 && (apr_int64_t)buf.size <= max);
    if (n >= 0 && (apr_int64_t)buf.size <= max) {
        *pbody = apr_pstrmemdup(r->pool, buf.data ? buf.data : "", buf.size);
        *psize = buf.size;
    }
    status = n < 0                         ? HTTP_BAD_REQUEST
             : (apr_int64_t)buf.size > max ? HTTP_REQUEST_ENTITY_TOO_LARGE
                                           : OK;
    cp_buffer_free(&buf);
    if (status != OK) {
        *pdetail = status == HTTP_BAD_REQUEST
                       ? "The request's body could not be read."
                       : apr_pstrcat(r->pool,
                                     "The request's body is larger than ",
                                     show_size(r->pool, max), ".", NULL);
        return status;
    }
    return check_coding(r, pdetail);
}

static apr_status_t free_json(void *data)
{
    json_decref(data);
    return APR_SUCCESS;
}

json_t *connpool_json_load(apr_pool_t *p, const char *body, apr_size_t size,
                           const char **pdetail)
{
    json_error_t why;
    /* A NUL is refused where the text's parameter can be named. */
    json_t *root = json_loadb(body, size,
                              JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);

    if (!root) {
        *pdetail = apr_psprintf(p,
                                "The JSON body cannot be read: %s "
                                "(line %d, column %d).",
                                why.text, why.line, why.column);
        return NULL;
    }
    apr_pool_cleanup_register(p, root, free_json, apr_pool_cleanup_null);
    return root;
}

int connpool_has_body(request_rec *r)
{
    const char *length = apr_table_get(r->headers_in, "Content-Length");

    return apr_table_get(r->headers_in, "Transfer-Encoding")
           || (length && strcmp(length, "0") != 0);
}

int connpool_is_media_type(const char *header, const char *type)
{
    apr_size_t n = strlen(type);

    return strncasecmp(header, type, n) == 0
           && (!header[n] || header[n] == ';' || apr_isspace(header[n]));
}
