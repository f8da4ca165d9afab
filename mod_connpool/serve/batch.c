/* SPDX-License-Identifier: Apache-2.0
 * The handler connpool-batch. */
#include "glue.h"
#include "base/bytes/buffer.h"
#include "base/clock.h"
#include "child/memory.h"
#include "config/database.h"
#include "config/query.h"
#include "config/setting.h"
#include "config/upstream.h"
#include "request/output.h"
#include "serve/serve.h"
#include "work/batch/batch.h"
#include "work/batch/queries.h"
#include "work/batch/transaction.h"

#include <apr_hash.h>
#include <apr_strings.h>

/* A GET runs all that is served, so all must answer it. */
static apr_int64_t methods_of(request_rec *r)
{
    const connpool_server_t *sc = connpool_server(r->server);
    const apr_array_header_t *served = connpool_dir(r)->serve;
    apr_int64_t get = AP_METHOD_BIT << M_GET;

    for (int i = 0; i < served->nelts; i++) {
        const connpool_query_t *query = apr_hash_get(
            sc->all_queries, APR_ARRAY_IDX(served, i, const char *),
            APR_HASH_KEY_STRING);

        if (query) {
            get &= query->methods;
        }
    }
    return get | (AP_METHOD_BIT << M_POST);
}

/* Who configured this is told at configtest, where it can be known. */
static int check_place(request_rec *r)
{
    const connpool_dir_t *dir = connpool_dir(r);
    int max = connpool_batch_limits(r).max;

    if (!dir->serve) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      "connpool-batch: ConnPoolServe names nothing here");
        return HTTP_NOT_FOUND;
    }
    if (dir->serve->nelts > max) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      "connpool-batch: ConnPoolServe names %d here, more than "
                      "ConnPoolBatchMax %d",
                      dir->serve->nelts, max);
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    return OK;
}

static int answer_nobody(request_rec *r)
{
    r->connection->aborted = 1;
    return connpool_problem(r, HTTP_INTERNAL_SERVER_ERROR,
                            "Nobody waits for it any more.", NULL);
}

static int send_batch(request_rec *r, connpool_batch_t *batch)
{
    cp_buffer_t buf = CP_BUFFER_MAY_FAIL;
    apr_size_t counted = 0;
    int failed, status;
    const char *etag = connpool_batch_write(batch, r, &buf, &failed);

    if (buf.has_failed) {
        cp_buffer_free(&buf);
        connpool_memory_lacks(r, "the batch's answer");
        return connpool_problem(r, HTTP_SERVICE_UNAVAILABLE,
                                "There is no memory for the answer.", NULL);
    }
    connpool_count_buffer(&buf, &counted);
    if (failed > 0 && connpool_batch_is_strict(r)) {
        r->status = HTTP_BAD_GATEWAY;
        r->status_line = NULL;
        etag = NULL;
    }
    status = connpool_send_tagged(r, "application/json", etag, &buf);
    connpool_count_buffer(&buf, &counted);
    return status;
}

static apr_interval_time_t time_of(const connpool_item_t *item)
{
    if (item->query) {
        return item->query->database->pool.acquire + item->query->timeout;
    }
    return item->upstream
               ? item->upstream->pool.acquire + item->upstream->http.total
               : 0;
}

/* As much time as its slowest item may take. */
static cp_clock_t deadline_of(const connpool_batch_t *batch)
{
    apr_interval_time_t longest = 0;

    for (int i = 0; i < connpool_batch_size(batch); i++) {
        apr_interval_time_t time = time_of(connpool_batch_item(batch, i));

        longest = time > longest ? time : longest;
    }
    return cp_clock_after(longest);
}

static int run_batch(request_rec *r, connpool_batch_t *batch)
{
    connpool_batch_limit(batch, deadline_of(batch));
    return connpool_batch_run(batch, CP_CLOCK_NEVER, 0) == APR_EOF
               ? answer_nobody(r)
               : send_batch(r, batch);
}

int connpool_batch_handler(request_rec *r)
{
    connpool_batch_t *batch;
    apr_array_header_t *errors;
    const char *detail;
    int status;

    status = check_place(r);
    if (status != OK) {
        return connpool_problem(r, status, "No batch is served here.", NULL);
    }
    /* Who refuses a GET names the query that does not answer it. */
    if (r->method_number != M_GET && connpool_answer_method(r, methods_of(r))) {
        return OK;
    }
    batch = connpool_batch_make(r, connpool_batch_limits(r).parallel,
                                connpool_queries_run);
    if (connpool_batch_limits(r).is_atomic) {
        connpool_batch_begin_with(batch, connpool_transactions_run);
    }
    status = connpool_batch_read(batch, r, &detail, &errors);
    status = status == OK ? run_batch(r, batch)
                          : connpool_problem(r, status, detail, errors);
    connpool_batch_drop(batch);
    return status;
}
