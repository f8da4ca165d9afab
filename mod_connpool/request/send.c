/* SPDX-License-Identifier: Apache-2.0
 * Answers that are complete before they are sent. */
#include "glue.h"
#include "answers/answer.h"
#include "answers/etag.h"
#include "answers/web/range.h"
#include "base/bytes/buffer.h"
#include "base/error.h"
#include "request/output.h"

#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>

/* Put the decoded list in the header's place, for who compares; returns what
 * was there, or NULL when nothing is to be decoded. */
static const char *decode_list(request_rec *r, const char *header,
                               const char *etag, const char **pknown)
{
    const char *list = apr_table_get(r->headers_in, header);
    const char *decoded = connpool_etag_decode(r->pool, list, etag, pknown);

    if (!decoded) {
        return NULL;
    }
    apr_table_setn(r->headers_in, header, decoded);
    return list;
}

/* Most requests have none: they are told apart at once. */
static int has_conditions(request_rec *r)
{
    static const char *const headers[] = {"If-Match", "If-None-Match",
                                          "If-Modified-Since",
                                          "If-Unmodified-Since"};

    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        if (apr_table_get(r->headers_in, headers[i])) {
            return 1;
        }
    }
    return 0;
}

int connpool_meets_conditions(request_rec *r)
{
    const char *etag = apr_table_get(r->headers_out, "ETag");
    const char *match, *none, *known, *ignored;
    int status;

    if (!has_conditions(r)) {
        return OK;
    }
    if (!etag) {
        return ap_meets_conditions(r);
    }
    match = decode_list(r, "If-Match", etag, &ignored);
    none = decode_list(r, "If-None-Match", etag, &known);
    status = ap_meets_conditions(r);
    if (match) {
        apr_table_setn(r->headers_in, "If-Match", match);
    }
    if (none) {
        apr_table_setn(r->headers_in, "If-None-Match", none);
    }
    /* A cache looks for what it has under the very tag that it named. */
    if (none && status == HTTP_NOT_MODIFIED) {
        apr_table_setn(r->headers_out, "ETag", known);
    }
    return status;
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
 * answer, not of a part of it. The tag lives as long as the request. */
static int meets_conditions(request_rec *r, const char *etag)
{
    if (r->method_number != M_GET || r->main || !etag) {
        return OK;
    }
    apr_table_setn(r->headers_out, "ETag", etag);
    return connpool_meets_conditions(r);
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

    connpool_set_body_headers(r, content_type, "no-cache");
    status = meets_conditions(r, etag);
    if (status != OK) {
        cp_buffer_free(body);
        return connpool_condition_answer(r, status);
    }
    ap_set_content_length(r, (apr_off_t)body->size);
    connpool_pass_buffer(r, body, 1);
    cp_buffer_free(body);
    return OK;
}

static apr_status_t unref_answer(void *answer)
{
    cp_answer_unref(answer);
    return APR_SUCCESS;
}

/* @return whether the answer is that there is no such range of it */
static int answer_range(request_rec *r, const cp_answer_t *answer)
{
    apr_size_t size = answer->body.size;

    if (r->method_number != M_GET || r->main || answer->status != HTTP_OK
        || !cp_range_is_beyond(apr_table_get(r->headers_in, "Range"), size)
        || ap_condition_if_range(r, r->headers_out) == AP_CONDITION_NOMATCH) {
        return 0;
    }
    apr_table_setn(r->headers_out, "Content-Range",
                   apr_psprintf(r->pool, "bytes */%" APR_SIZE_T_FMT, size));
    connpool_problem(r, HTTP_RANGE_NOT_SATISFIABLE,
                     apr_psprintf(r->pool,
                                  "The answer has %" APR_SIZE_T_FMT " bytes.",
                                  size),
                     NULL);
    return 1;
}

/* What nobody else has, and is long, waits for its client in a file, if there
 * is room for one.
 * @return whether it was sent */
static int send_from_file(request_rec *r, cp_answer_t *answer)
{
    apr_off_t size = (apr_off_t)answer->body.size;
    int is_shared = __atomic_load_n(&answer->refs, __ATOMIC_ACQUIRE) > 1;
    apr_file_t *file = NULL;
    cp_error_t ignored;

    if (is_shared || size <= CONNPOOL_HELD_BYTES || r->header_only
        || connpool_spill(r, &file, &answer->body, &ignored) != APR_SUCCESS) {
        return 0;
    }
    cp_buffer_free(&answer->body);
    connpool_pass_collected(r, file, size, &answer->body);
    return 1;
}

int connpool_send_shared(request_rec *r, cp_answer_t *answer,
                         const char *cache_control)
{
    apr_bucket_alloc_t *ba = r->connection->bucket_alloc;
    apr_bucket_brigade *bb;
    int status;

    connpool_set_body_headers(
        r, apr_pstrdup(r->pool, cp_answer_header(answer, "Content-Type")),
        cache_control);
    status = meets_conditions(
        r, apr_pstrdup(r->pool, cp_answer_header(answer, "ETag")));
    if (status != OK) {
        return connpool_condition_answer(r, status);
    }
    if (answer_range(r, answer) || send_from_file(r, answer)) {
        return OK;
    }
    cp_answer_ref(answer); /* its body is not copied */
    apr_pool_cleanup_register(r->pool, answer, unref_answer,
                              apr_pool_cleanup_null);
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
    connpool_set_body_headers(r, content_type, "no-cache");
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
    connpool_add_buffer(bb, rest);
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(ba));
    ap_pass_brigade(r->output_filters, bb);
    apr_brigade_destroy(bb);
}
