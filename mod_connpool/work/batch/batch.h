/* SPDX-License-Identifier: Apache-2.0
 * Batches: queries and fetches that one request runs together. */
#ifndef MOD_CONNPOOL_BATCH_H
#define MOD_CONNPOOL_BATCH_H

#include "glue.h"
#include "request/output.h"
#include "answers/answer.h"
#include "base/clock.h"
#include "config/query.h"
#include "config/upstream.h"
#include "database/value.h"
#include "http/job/fetch.h"
#include "work/fetch.h"

/** Bytes of all answers of a batch: an item that would exceed them fails. */
#define CONNPOOL_BATCH_BYTES (16 * 1024 * 1024)

/** What is asked, and what became of it. All of it belongs to the thread of the
 * request. */
typedef struct connpool_item_t {
    struct connpool_batch_t *batch;
    const char *name;
    connpool_query_t *query;       /**< one of these two, */
    connpool_upstream_t *upstream; /**< or neither: it has failed already */
    const cp_value_t *values;      /**< of the query's parameters */
    const char *path, *args; /**< behind the upstream's URL; NULL: nothing */

    int is_done;
    int is_told;         /**< by connpool_batch_next */
    int status;          /**< of the answer, or of the error */
    cp_answer_t *answer; /**< NULL: it failed, */
    apr_status_t rv;     /**< so, */
    const char *detail;  /**< because of this; for the client */
    const char *reason;  /**< and this; for the log. NULL: nothing more */
    const char *failure; /**< of this class. NULL: the status tells it */
    int retry_after;     /**< seconds until it may be otherwise, 0: not known */
    apr_array_header_t *errors; /**< connpool_input_error_t; NULL: none */
    connpool_violation_t violation;
    cp_clock_t began;       /**< 0: not yet */
    cp_clock_t latest;      /**< of a query that has had a try; 0: none */
    int is_alone;           /**< the query is not to be sent with others */
    apr_interval_time_t us; /**< until it was done */

    apr_size_t counted; /**< of the answer's body, in the child's figures */
    apr_size_t size;    /**< ... in the batch's */
    cp_fetch_request_t request; /**< method NULL: not made yet */
    connpool_fetch_run_t run;
    int is_too_large; /**< for the batch */
    int is_redirect;  /**< which is not followed, and means nothing here */
} connpool_item_t;

typedef struct connpool_batch_t connpool_batch_t;

/** Runs a query that is next, and others if it is better so (queries.h). */
typedef void (*connpool_queries_fn)(connpool_item_t *first, cp_clock_t deadline,
                                    cp_clock_t until);

/** Made in the request's pool, and dropped with it at the latest. */
connpool_batch_t *connpool_batch_make(request_rec *r, int parallel,
                                      connpool_queries_fn run_query);

/** Append an item, to be filled in by the caller before the next run. */
connpool_item_t *connpool_batch_push(connpool_batch_t *batch);

request_rec *connpool_batch_request(const connpool_batch_t *batch);
int connpool_batch_size(const connpool_batch_t *batch);
connpool_item_t *connpool_batch_item(const connpool_batch_t *batch, int i);

/** Runs all items that write; done by the deadline. */
typedef void (*connpool_writes_fn)(struct connpool_batch_t *batch,
                                   cp_clock_t deadline);

/** Writes are run so, before any other query: what was read must not be undone
 * later. */
void connpool_batch_begin_with(struct connpool_batch_t *batch,
                               connpool_writes_fn run);

/** What is not done then fails. */
void connpool_batch_limit(connpool_batch_t *batch, cp_clock_t deadline);

/** The item ends without having run. */
void connpool_item_refuse(connpool_item_t *item, int status, apr_status_t rv,
                          const char *detail, apr_array_header_t *errors);

/** The item's query has been run: its answer, or what it failed with. */
void connpool_item_end(connpool_item_t *item, apr_status_t rv, cp_error_t *err);

/** Does nobody wait for the answer any more? Asks now and then. */
int connpool_batch_is_abandoned(connpool_batch_t *batch, cp_clock_t now);

/** Work on the batch until all is done, or, with is_first, until one more item
 * is. When `until` has come, take what is there, but begin no query.
 * @return APR_SUCCESS; APR_TIMEUP: fetches go on meanwhile; APR_EOF: nobody
 * waits for the answer any more, what was not done has failed */
apr_status_t connpool_batch_run(connpool_batch_t *batch, cp_clock_t until,
                                int is_first);

/** Free an item's answer early. */
void connpool_item_forget(connpool_item_t *item);

/** Give up what is not done, free all answers, forget all items: nothing runs
 * any more. Idempotent. */
void connpool_batch_drop(connpool_batch_t *batch);

#endif
