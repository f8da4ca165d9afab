/* SPDX-License-Identifier: Apache-2.0
 * The body of a request, as bytes and as JSON. */
#include "glue.h"
#include "answers/json.h"
#include "base/bytes/buffer.h"
#include "child/memory.h"
#include "request/input.h"

#include <jansson.h>
#include <stdlib.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_protocol.h>

#define PIECE 8192

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

static int lack_memory(request_rec *r, const char *what, const char **pdetail)
{
    *pdetail = "There is no memory for the request.";
    connpool_memory_lacks(r, what);
    return HTTP_SERVICE_UNAVAILABLE;
}

static apr_status_t free_body(void *body)
{
    free(body);
    return APR_SUCCESS;
}

/* Not copied: a pool that lacks memory would end the child. */
static void keep_body(request_rec *r, cp_buffer_t *buf, char **pbody,
                      apr_size_t *psize)
{
    cp_buffer_t body = cp_buffer_take(buf);

    body.data[body.size] = '\0';
    apr_pool_cleanup_register(r->pool, body.data, free_body,
                              apr_pool_cleanup_null);
    *pbody = body.data;
    *psize = body.size;
}

int connpool_read_body(request_rec *r, apr_int64_t max, char **pbody,
                       apr_size_t *psize, const char **pdetail)
{
    cp_buffer_t buf = CP_BUFFER_MAY_FAIL;
    long n = 0;
    int status = ap_setup_client_block(r, REQUEST_CHUNKED_DECHUNK);

    *pbody = apr_pstrdup(r->pool, "");
    *psize = 0;
    if (status != OK || !ap_should_client_block(r)) {
        return status;
    }
    do {
        if (!cp_buffer_reserve(&buf, PIECE + 1)) { /* with a NUL */
            return lack_memory(r, "the request's body", pdetail);
        }
        n = ap_get_client_block(r, buf.data + buf.size, PIECE);
        buf.size += n > 0 ? (apr_size_t)n : 0;
    } while (n > 0 && (apr_int64_t)buf.size <= max);
    if (n >= 0 && (apr_int64_t)buf.size <= max) {
        keep_body(r, &buf, pbody, psize);
    }
    else {
        status = n < 0 ? HTTP_BAD_REQUEST : HTTP_REQUEST_ENTITY_TOO_LARGE;
    }
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

/* jansson takes a text that it has no memory for to be wrong. */
static int is_lack_of_memory(const json_error_t *why, const char *body,
                             apr_size_t size)
{
    switch (json_error_code(why)) {
    case json_error_duplicate_key:
    case json_error_numeric_overflow:
    case json_error_null_byte_in_key:
        return 0;
    default:
        return strchr("{[", body[strspn(body, " \t\r\n")])
               && cp_json_is_valid(body, size);
    }
}

int connpool_json_load(request_rec *r, const char *body, apr_size_t size,
                       json_t **proot, const char **pdetail)
{
    json_error_t why;
    /* A NUL is refused where the text's parameter can be named. */
    json_t *root = json_loadb(body, size,
                              JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);

    *proot = root;
    if (!root && is_lack_of_memory(&why, body, size)) {
        return lack_memory(r, "the JSON body", pdetail);
    }
    if (!root) {
        *pdetail = apr_psprintf(r->pool,
                                "The JSON body cannot be read: %s "
                                "(line %d, column %d).",
                                why.text, why.line, why.column);
        return HTTP_BAD_REQUEST;
    }
    apr_pool_cleanup_register(r->pool, root, free_json, apr_pool_cleanup_null);
    return OK;
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
