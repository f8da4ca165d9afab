/* SPDX-License-Identifier: Apache-2.0
 * The writes of each database in a batch as one transaction.
 *
 * They run before the batch's reads and end before those begin: no answer tells
 * of rows that are undone later, and no lock is held for longer than the writes
 * need. Several databases follow each other, each with a transaction of its
 * own, so that nobody waits for one while he holds another. */
#include "work/batch/transaction.h"

#include "glue.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/meanwhile.h"
#include "child/child.h"
#include "config/database.h"
#include "config/query.h"
#include "database/database.h"
#include "request/hold.h"
#include "request/output.h"
#include "stats/cell.h"
#include "stats/segment.h"
#include "stats/stats.h"
#include "work/batch/batch.h"
#include "work/batch/queries.h"
#include "work/query.h"

#include <apr_strings.h>

typedef struct transaction_t {
    connpool_batch_t *batch;
    const connpool_database_t *database;
    connpool_run_t run; /* of all of them: the hold, and the transaction */
    int culprit;        /* the first item that failed; -1: none */
} transaction_t;

static int is_ours(const transaction_t *t, const connpool_item_t *item)
{
    return item->query && item->query->is_write
           && item->query->database == t->database;
}

/* What nobody serves may have been meant for any database. */
static int has_failed(const transaction_t *t, const connpool_item_t *item)
{
    int is_nothing = !item->query && !item->upstream;

    return item->is_done && item->status >= HTTP_BAD_REQUEST
           && (is_nothing || is_ours(t, item));
}

static void look_for_refused(transaction_t *t)
{
    t->culprit = -1;
    for (int i = 0; i < connpool_batch_size(t->batch); i++) {
        if (has_failed(t, connpool_batch_item(t->batch, i))) {
            t->culprit = i;
            return;
        }
    }
}

/* --- what becomes of the items --- */

/* Also one that has had an answer. */
static void end_item(connpool_item_t *item, int status, const char *detail)
{
    apr_interval_time_t us = item->us;
    int was_done = item->is_done;

    connpool_item_forget(item);
    if (!was_done) {
        connpool_item_refuse(item, status, APR_EGENERAL, detail, NULL);
        return;
    }
    item->us = us;
    item->status = status;
    item->rv = APR_EGENERAL;
    item->detail = detail;
}

static void blame_culprit(transaction_t *t)
{
    apr_pool_t *p = t->run.r->pool;
    const char *because = apr_psprintf(
        p, "because item %d (%s) failed.", t->culprit,
        connpool_batch_item(t->batch, t->culprit)->name);
    const char *undone = apr_pstrcat(p, "Undone, ", because, NULL);
    const char *not_run = apr_pstrcat(p, "Not run, ", because, NULL);

    for (int i = 0; i < connpool_batch_size(t->batch); i++) {
        connpool_item_t *item = connpool_batch_item(t->batch, i);

        if (is_ours(t, item) && !has_failed(t, item)) {
            end_item(item, HTTP_FAILED_DEPENDENCY,
                     item->is_done ? undone : not_run);
        }
    }
}

/* They could not be begun, or not be committed. */
static void fail_all(transaction_t *t, const char *what, const cp_error_t *err)
{
    static cp_log_limit_t complaints[CP_ERR_CLASSES];
    apr_pool_t *p = t->run.r->pool;
    const char *detail = connpool_explain(p, what, err);

    connpool_complain(
        t->run.r, apr_psprintf(p, "database '%s': %s", t->database->name, what),
        err, complaints);
    for (int i = 0; i < connpool_batch_size(t->batch); i++) {
        connpool_item_t *item = connpool_batch_item(t->batch, i);

        if (is_ours(t, item)) {
            /* What nobody waits for any more has not failed, nor run. */
            if (err->cls != CP_ERR_CANCELLED) {
                connpool_run_count_failed(&t->run, item->query, item->is_done,
                                          err);
            }
            end_item(item, connpool_status_of(err->cls), detail);
            item->retry_after = err->retry_after;
            item->violation.constraint = err->constraint;
            item->violation.subject = apr_pstrdup(p, err->subject);
        }
    }
}

/* Nobody will read it, but who counts sees that nothing was done. */
static void fail_abandoned(transaction_t *t)
{
    cp_error_t err;

    cp_error_set(&err, CP_ERR_CANCELLED, APR_EOF,
                 "nobody waits for it any more", "the writes are undone");
    fail_all(t, "the writes of this batch", &err);
}

/* --- the transaction --- */

/* As much time as the slowest of the writes may have, lest others' writes wait
 * for a batch that has much else to do. */
static cp_clock_t end_of(const transaction_t *t, cp_clock_t deadline)
{
    apr_interval_time_t longest = 0;
    cp_clock_t end;

    for (int i = 0; i < connpool_batch_size(t->batch); i++) {
        const connpool_item_t *item = connpool_batch_item(t->batch, i);

        if (is_ours(t, item) && item->query->timeout > longest) {
            longest = item->query->timeout;
        }
    }
    end = cp_clock_after(longest);
    return end < deadline ? end : deadline;
}

static apr_status_t begin(transaction_t *t, cp_clock_t deadline,
                          cp_error_t *err)
{
    cp_meanwhile_t meanwhile = cp_meanwhile_get();
    connpool_run_t *run = &t->run;
    apr_status_t rv;
    void *conn;

    rv = connpool_hold_database(run->r, run->query->database, 1, NULL,
                                &run->hold, err);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    run->limit = (cp_limit_t){.deadline = end_of(t, deadline),
                              .meanwhile = meanwhile.fn,
                              .baton = meanwhile.baton};
    conn = connpool_hold_connection(run->hold);
    run->is_run = 1;
    run->driver->limit(conn, &run->limit);
    rv = connpool_run_begin_write(run, conn, err);
    if (rv == APR_SUCCESS) {
        connpool_transaction_set(run->r, run->hold);
    }
    else {
        run->driver->limit(conn, CP_NO_LIMIT);
        connpool_hold_release(run->hold);
    }
    return rv;
}

/* Commit (with rv APR_SUCCESS) or undo. */
static apr_status_t end(transaction_t *t, apr_status_t rv, cp_error_t *err)
{
    connpool_run_t *run = &t->run;

    connpool_transaction_set(run->r, NULL);
    if (connpool_hold_is_inherited(run->hold)) {
        return cp_error_set(err, CP_ERR_INTERNAL, APR_EGENERAL,
                            "the writes belong to another process",
                            "a process was forked while they ran");
    }
    rv = connpool_run_end_write(run, rv, err);
    run->driver->limit(connpool_hold_connection(run->hold), CP_NO_LIMIT);
    connpool_hold_release(run->hold);
    return rv;
}

/* @return APR_SUCCESS: all have done what they should; APR_EOF: nobody waits
 * any more; APR_EGENERAL: one has failed */
static apr_status_t run_items(transaction_t *t)
{
    for (int i = 0; i < connpool_batch_size(t->batch); i++) {
        connpool_item_t *item = connpool_batch_item(t->batch, i);

        if (!is_ours(t, item)) {
            continue;
        }
        if (connpool_batch_is_abandoned(t->batch, cp_clock_now())) {
            return APR_EOF;
        }
        connpool_item_run(item, t->run.limit.deadline);
        if (has_failed(t, item)) {
            t->culprit = i;
            return APR_EGENERAL;
        }
    }
    return APR_SUCCESS;
}

static void run_all(transaction_t *t, cp_clock_t deadline)
{
    cp_error_t err;
    apr_status_t rv, ended;

    cp_error_clear(&err);
    rv = begin(t, deadline, &err);
    if (rv != APR_SUCCESS) {
        fail_all(t, "the writes of this batch", &err);
        return;
    }
    rv = run_items(t);
    ended = end(t, rv == APR_EOF ? APR_EGENERAL : rv, &err);
    if (rv == APR_EOF) {
        fail_abandoned(t);
    }
    else if (rv != APR_SUCCESS) {
        blame_culprit(t);
    }
    else if (ended != APR_SUCCESS) {
        fail_all(t, "the writes of this batch are undone", &err);
    }
}

static void count(const connpool_item_t *item)
{
    cp_batch_stats_t *stats = cp_segment_batch(connpool_child.segment,
                                               connpool_child.slot);
    int is_undone = item->status >= HTTP_BAD_REQUEST;

    cp_stats_add(is_undone ? &stats->undone : &stats->transactions, 1);
}

static void run_with(connpool_item_t *first, cp_clock_t deadline)
{
    transaction_t t = {
        .batch = first->batch,
        .database = first->query->database,
        .run = {.r = connpool_batch_request(first->batch),
                .query = first->query,
                .asked = cp_clock_now(),
                .driver = first->query->database->driver},
    };

    look_for_refused(&t);
    if (t.culprit >= 0) {
        blame_culprit(&t);
    }
    else {
        run_all(&t, deadline);
    }
    count(first);
}

void connpool_transactions_run(connpool_batch_t *batch, cp_clock_t deadline)
{
    for (int i = 0; i < connpool_batch_size(batch); i++) {
        connpool_item_t *item = connpool_batch_item(batch, i);

        if (item->query && item->query->is_write && !item->is_done) {
            run_with(item, deadline);
        }
    }
}
