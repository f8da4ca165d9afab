/* SPDX-License-Identifier: Apache-2.0
 * Whole answers of calls for other modules: as connpool-query would answer. */
#include "glue.h"
#include "answers/answer.h"
#include "answers/etag.h"
#include "answers/put.h"
#include "api/api.h"
#include "base/error.h"
#include "config/query.h"
#include "database/value.h"
#include "mod_connpool.h"
#include "request/input.h"
#include "request/output.h"
#include "request/page/turn.h"
#include "work/cache.h"

#include <apr_optional.h>
#include <apr_strings.h>

static int connpool_api_version(void)
{
    return CONNPOOL_API_VERSION;
}

static const char *connpool_call_failure(connpool_call_t *call, int *pstatus,
                                         int *pretry_after)
{
    return connpool_tell_failure(connpool_call_failed(call), pstatus,
                                 pretry_after);
}

/* --- answers --- */

static apr_status_t unref(void *answer)
{
    cp_answer_unref(answer);
    return APR_SUCCESS;
}

/* Takes over the reference. */
static connpool_response_t *respond(request_rec *r, cp_answer_t *answer)
{
    apr_pool_cleanup_register(r->pool, answer, unref, apr_pool_cleanup_null);
    return connpool_response_of(r, answer);
}

/* NULL without memory. */
static connpool_response_t *respond_problem(connpool_call_t *call, int status,
                                            const char *detail)
{
    request_rec *r = connpool_call_request(call);
    const cp_error_t *err = connpool_call_failed(call);
    connpool_violation_t violation = {err->constraint, err->subject};
    int retry = connpool_retry_after(status, err->retry_after);
    cp_answer_t *answer = cp_answer_create(status);

    if (!answer) {
        return NULL;
    }
    connpool_problem_write(&answer->body, status, detail, 0,
                           connpool_call_errors(call), &violation);
    connpool_json_put(&answer->body, "\n");
    cp_answer_add(answer, "Content-Type", "application/problem+json");
    if (retry > 0) {
        cp_answer_add(answer, "Retry-After", apr_itoa(r->pool, retry));
    }
    if (cp_answer_has_failed(answer)) {
        cp_answer_unref(answer);
        return NULL;
    }
    cp_answer_terminate(answer);
    return respond(r, answer);
}

static connpool_response_t *respond_failure(connpool_call_t *call,
                                            const connpool_query_t *query)
{
    apr_pool_t *p = connpool_call_request(call)->pool;
    const cp_error_t *err = connpool_call_failed(call);
    const apr_array_header_t *errors = connpool_call_errors(call);
    const char *detail;
    int status = connpool_status_of(err->cls);

    if (errors->nelts > 0) {
        status = connpool_input_status(errors, &detail);
    }
    else {
        detail = connpool_explain(p, apr_psprintf(p, "query '%s'", query->name),
                                  err);
    }
    return respond_problem(call, status, detail);
}

/* One that is kept has its tag already. */
static connpool_response_t *respond_rows(request_rec *r,
                                         const connpool_query_t *query,
                                         cp_answer_t *answer)
{
    connpool_response_t *response = respond(r, answer);

    if (!query->is_write && !cp_answer_header(answer, "ETag")) {
        connpool_response_add(response, "ETag",
                              connpool_body_etag(r->pool, &answer->body));
    }
    return response;
}

/* Of a query with page= the page that is asked for. */
static apr_status_t turn_page(connpool_call_t *call, connpool_query_t **pquery,
                              const cp_value_t **pvalues)
{
    connpool_query_t *page = connpool_page_turn(connpool_call_request(call),
                                                *pquery, pvalues);

    if (!page) {
        return connpool_call_refuse(call, connpool_cursor_error);
    }
    *pquery = page;
    return APR_SUCCESS;
}

static apr_status_t connpool_call_answer(connpool_call_t *call,
                                         connpool_response_t **presponse)
{
    request_rec *r = connpool_call_request(call);
    connpool_query_t *query;
    const cp_value_t *values;
    cp_answer_t *answer;
    apr_status_t rv;

    connpool_call_is_answer(call, 1);
    rv = connpool_call_values(call, &query, &values);
    connpool_call_is_answer(call, 0);
    *presponse = NULL;
    if (rv == APR_EBUSY) {
        return rv;
    }
    if (rv == APR_SUCCESS && query->page) {
        rv = turn_page(call, &query, &values);
    }
    if (rv == APR_SUCCESS) {
        rv = connpool_answer_query(r, query, values, &answer,
                                   connpool_call_failed(call));
    }
    if (rv != APR_SUCCESS) {
        *presponse = respond_failure(call, query);
        return rv;
    }
    if (answer->status == HTTP_NOT_FOUND) {
        cp_answer_unref(answer);
        *presponse = respond_problem(call, HTTP_NOT_FOUND,
                                     "There is no such row.");
    }
    else {
        *presponse = respond_rows(r, query, answer);
    }
    return *presponse ? APR_SUCCESS : APR_ENOMEM;
}

void connpool_answer_api_register(void)
{
    APR_REGISTER_OPTIONAL_FN(connpool_api_version);
    APR_REGISTER_OPTIONAL_FN(connpool_call_failure);
    APR_REGISTER_OPTIONAL_FN(connpool_call_answer);
}
