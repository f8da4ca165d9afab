/* SPDX-License-Identifier: Apache-2.0
 * Bodies of any type: format=raw. */
#include "glue.h"
#include "answers/answer.h"
#include "answers/web/coding.h"
#include "base/error.h"
#include "config/query.h"
#include "request/output.h"
#include "serve/serve.h"
#include "work/cache.h"
#include "work/reply.h"

#include <apr_strings.h>
#include <http_protocol.h>

/* Decoded for who cannot decode it. */
static apr_status_t choose_coding(request_rec *r, const connpool_query_t *query,
                                  connpool_served_t *served, cp_error_t *err)
{
    if (!query->reply.is_gzip) {
        return APR_SUCCESS;
    }
    apr_table_mergen(r->headers_out, "Vary", "Accept-Encoding");
    if (cp_coding_accepts_gzip(
            apr_table_get(r->headers_in, "Accept-Encoding"))) {
        return APR_SUCCESS;
    }
    return connpool_reply_decode(query, &served->answer, err);
}

int connpool_send_raw(request_rec *r, connpool_query_t *query,
                      connpool_served_t *served)
{
    cp_error_t err;

    cp_error_clear(&err);
    if (choose_coding(r, query, served, &err) != APR_SUCCESS) {
        cp_answer_unref(served->answer);
        return connpool_problem_of(
            r, apr_psprintf(r->pool, "query '%s'", query->name), &err,
            query->complaints);
    }
    if (r->method_number == M_GET && served->answer->status == HTTP_OK) {
        ap_set_accept_ranges(r);
    }
    else {
        /* A part of what a write has to say is nothing that could be asked for.
         */
        apr_table_unset(r->headers_in, "Range");
    }
    return connpool_send_served(r, query, served);
}
