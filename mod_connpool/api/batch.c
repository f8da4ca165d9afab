/* SPDX-License-Identifier: Apache-2.0
 * The optional functions of mod_connpool.h for batches. */
#include "glue.h"
#include "api/api.h"
#include "base/clock.h"
#include "base/error.h"
#include "config/query.h"
#include "config/setting.h"
#include "config/upstream.h"
#include "database/value.h"
#include "mod_connpool.h"
#include "work/batch/batch.h"
#include "work/batch/queries.h"

#include <apr_hash.h>
#include <apr_optional.h>
#include <apr_strings.h>

static apr_status_t connpool_batch_create(connpool_batch_t **pbatch,
                                          request_rec *r, int parallel)
{
    *pbatch = connpool_batch_make(
        r, parallel > 0 ? parallel : connpool_batch_limits(r).parallel,
        connpool_queries_run);
    return APR_SUCCESS;
}

static apr_status_t connpool_batch_add_call(connpool_batch_t *batch,
                                            connpool_call_t *call)
{
    connpool_query_t *query;
    const cp_value_t *values;
    apr_status_t rv = connpool_call_values(call, &query, &values);
    connpool_item_t *item;

    if (rv == APR_SUCCESS) {
        item = connpool_batch_push(batch);
        item->name = query->name;
        item->query = query;
        item->values = values;
    }
    return rv;
}

static apr_status_t connpool_batch_add_fetch(connpool_batch_t *batch,
                                             const char *name, const char *path,
                                             const char *query)
{
    request_rec *r = connpool_batch_request(batch);
    connpool_upstream_t *up = apr_hash_get(
        connpool_server(r->server)->all_upstreams, name, APR_HASH_KEY_STRING);
    connpool_item_t *item;

    if (!up) {
        return APR_NOTFOUND;
    }
    item = connpool_batch_push(batch);
    item->name = up->name;
    item->upstream = up;
    item->path = path ? apr_pstrdup(r->pool, path) : NULL;
    item->args = query ? apr_pstrdup(r->pool, query) : NULL;
    return APR_SUCCESS;
}

static cp_clock_t end_of(apr_interval_time_t timeout)
{
    return timeout < 0 ? CP_CLOCK_NEVER : cp_clock_after(timeout);
}

static apr_status_t connpool_batch_wait(connpool_batch_t *batch,
                                        apr_interval_time_t timeout)
{
    return connpool_batch_run(batch, end_of(timeout), 0);
}

/* The first item that is done and was not told of; -1: there is none. */
static int find_news(const connpool_batch_t *batch)
{
    for (int i = 0; i < connpool_batch_size(batch); i++) {
        const connpool_item_t *item = connpool_batch_item(batch, i);

        if (item->is_done && !item->is_told) {
            return i;
        }
    }
    return -1;
}

static apr_status_t connpool_batch_next(connpool_batch_t *batch,
                                        apr_interval_time_t timeout,
                                        int *pindex)
{
    apr_status_t rv = APR_SUCCESS;

    *pindex = find_news(batch);
    if (*pindex < 0) {
        rv = connpool_batch_run(batch, end_of(timeout), 1);
        *pindex = find_news(batch);
    }
    if (*pindex < 0) {
        return rv == APR_SUCCESS ? APR_EOF : rv;
    }
    connpool_batch_item(batch, *pindex)->is_told = 1;
    return APR_SUCCESS;
}

static apr_status_t connpool_batch_result(connpool_batch_t *batch, int i,
                                          connpool_response_t **presponse,
                                          const char **perror)
{
    request_rec *r = connpool_batch_request(batch);
    const connpool_item_t *item;

    *presponse = NULL;
    if (perror) {
        *perror = "";
    }
    if (i < 0 || i >= connpool_batch_size(batch)) {
        return APR_NOTFOUND;
    }
    item = connpool_batch_item(batch, i);
    if (!item->is_done) {
        return APR_EAGAIN;
    }
    if (item->answer) {
        *presponse = connpool_response_of(r, item->answer);
        return APR_SUCCESS;
    }
    if (perror) {
        *perror = item->reason ? apr_pstrcat(r->pool, item->detail, " ",
                                             item->reason, NULL)
                               : item->detail;
    }
    return item->rv;
}

/* What failed without an error of its own. */
static const char *failure_of(const connpool_item_t *item)
{
    if (item->failure) {
        return item->failure;
    }
    switch (item->status) {
    case HTTP_REQUEST_ENTITY_TOO_LARGE:
        return cp_error_class_name(CP_ERR_SIZE);
    case HTTP_BAD_GATEWAY:
        return cp_error_class_name(CP_ERR_UPSTREAM);
    default:
        return cp_error_class_name(CP_ERR_CANCELLED);
    }
}

static const char *connpool_batch_failure(connpool_batch_t *batch, int i,
                                          int *pstatus, int *pretry_after)
{
    const connpool_item_t *item = i >= 0 && i < connpool_batch_size(batch)
                                      ? connpool_batch_item(batch, i)
                                      : NULL;
    int has_failed = item && item->is_done && !item->answer;

    if (pstatus) {
        *pstatus = has_failed ? item->status : 0;
    }
    if (pretry_after) {
        *pretry_after = has_failed ? connpool_retry_after(item->status,
                                                          item->retry_after)
                                   : 0;
    }
    return has_failed ? failure_of(item) : NULL;
}

static void connpool_batch_end(connpool_batch_t *batch)
{
    connpool_batch_drop(batch);
}

void connpool_batch_api_register(void)
{
    APR_REGISTER_OPTIONAL_FN(connpool_batch_create);
    APR_REGISTER_OPTIONAL_FN(connpool_batch_add_call);
    APR_REGISTER_OPTIONAL_FN(connpool_batch_add_fetch);
    APR_REGISTER_OPTIONAL_FN(connpool_batch_wait);
    APR_REGISTER_OPTIONAL_FN(connpool_batch_next);
    APR_REGISTER_OPTIONAL_FN(connpool_batch_result);
    APR_REGISTER_OPTIONAL_FN(connpool_batch_failure);
    APR_REGISTER_OPTIONAL_FN(connpool_batch_end);
}
