/* SPDX-License-Identifier: Apache-2.0
 * Fetching for other modules. */
#include "glue.h"
#include "answers/answer.h"
#include "api/api.h"
#include "base/error.h"
#include "config/setting.h"
#include "config/upstream.h"
#include "http/job/fetch.h"
#include "mod_connpool.h"
#include "request/output.h"
#include "work/fetch.h"

#include <apr_hash.h>
#include <apr_optional.h>
#include <apr_strings.h>

struct connpool_response_t {
    request_rec *r;
    int status;
    apr_table_t *headers;
    char *body;
    apr_size_t size;
    apr_size_t capacity;
};

static apr_status_t on_head(void *baton, int status,
                            const cp_http_header_t *headers, int count)
{
    connpool_response_t *response = baton;

    response->status = status;
    for (int i = 0; i < count; i++) {
        apr_table_merge(response->headers, headers[i].name, headers[i].value);
    }
    return APR_SUCCESS;
}

/* The size is bounded by the upstream's max-body. Growing in the request's
 * pool by doubling wastes at most as much again. */
static apr_status_t on_body(void *baton, const char *data, apr_size_t size)
{
    connpool_response_t *response = baton;

    if (response->size + size + 1 > response->capacity) {
        apr_size_t capacity = 2 * (response->size + size + 1);
        char *body = apr_palloc(response->r->pool, capacity);

        if (response->size > 0) {
            memcpy(body, response->body, response->size);
        }
        response->body = body;
        response->capacity = capacity;
    }
    memcpy(response->body + response->size, data, size);
    response->size += size;
    response->body[response->size] = '\0';
    return APR_SUCCESS;
}

static int is_cancelled(void *baton)
{
    return connpool_client_is_gone(((connpool_response_t *)baton)->r);
}

/* Of the last fetch of the request, until there is another. */
static cp_error_t *failure_of(request_rec *r)
{
    static const char key[] = "connpool-fetch-failure";
    void *err = NULL;

    apr_pool_userdata_get(&err, key, r->pool);
    if (!err) {
        err = apr_pcalloc(r->pool, sizeof(cp_error_t));
        apr_pool_userdata_setn(err, key, NULL, r->pool);
    }
    return err;
}

static const char *connpool_fetch_failure(request_rec *r, int *pstatus,
                                          int *pretry_after,
                                          const char **pcause)
{
    const cp_error_t *err = failure_of(r);

    if (pcause) {
        *pcause = err->cls != CP_ERR_NONE ? err->cause : NULL;
    }
    return connpool_tell_failure(err, pstatus, pretry_after);
}

static apr_status_t connpool_fetch(connpool_response_t **presponse,
                                   request_rec *r, const char *name,
                                   const char *path, const char *query,
                                   const char **perror)
{
    connpool_upstream_t *up = apr_hash_get(
        connpool_server(r->server)->all_upstreams, name, APR_HASH_KEY_STRING);
    connpool_response_t *response = apr_pcalloc(r->pool, sizeof(*response));
    cp_fetch_request_t request = {
        .method = "GET", .path_info = path, .query = query};
    cp_fetch_sink_t sink = {on_head, on_body, is_cancelled, response, NULL};
    cp_error_t *err = failure_of(r);
    apr_status_t rv;

    *presponse = NULL;
    cp_error_clear(err);
    if (perror) {
        *perror = up ? "" : "there is no such upstream";
    }
    if (!up) {
        return APR_NOTFOUND;
    }
    response->r = r;
    response->headers = apr_table_make(r->pool, 8);
    rv = connpool_coalesce_fetch(r, up, &request, &sink, err);
    if (rv == APR_SUCCESS) {
        cp_error_clear(err);
        *presponse = response;
    }
    else if (perror) {
        *perror = apr_pstrcat(r->pool, err->cause, ": ", err->detail, NULL);
    }
    return rv;
}

static void add_header(const char *name, const char *value, void *baton)
{
    apr_table_merge(baton, name, value);
}

connpool_response_t *connpool_response_of(request_rec *r,
                                          const cp_answer_t *answer)
{
    connpool_response_t *response = apr_pcalloc(r->pool, sizeof(*response));

    response->r = r;
    response->status = answer->status;
    response->headers = apr_table_make(r->pool, 8);
    cp_answer_each(answer, add_header, response->headers);
    response->body = answer->body.data;
    response->size = answer->body.size;
    if (!answer->is_terminated && response->size > 0) {
        response->body = apr_pstrmemdup(r->pool, response->body,
                                        response->size);
    }
    return response;
}

void connpool_response_add(connpool_response_t *response, const char *name,
                           const char *value)
{
    apr_table_set(response->headers, name, value);
}

static int connpool_response_status(const connpool_response_t *response)
{
    return response->status;
}

static const char *connpool_response_header(const connpool_response_t *response,
                                            const char *name)
{
    return apr_table_get(response->headers, name);
}

static const char *connpool_response_body(const connpool_response_t *response,
                                          apr_size_t *psize)
{
    *psize = response->size;
    return response->body ? response->body : "";
}

void connpool_fetch_api_register(void)
{
    APR_REGISTER_OPTIONAL_FN(connpool_fetch);
    APR_REGISTER_OPTIONAL_FN(connpool_fetch_failure);
    APR_REGISTER_OPTIONAL_FN(connpool_response_status);
    APR_REGISTER_OPTIONAL_FN(connpool_response_header);
    APR_REGISTER_OPTIONAL_FN(connpool_response_body);
}
