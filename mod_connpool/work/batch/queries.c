/* SPDX-License-Identifier: Apache-2.0
 * The queries of a batch, one after another on the calling thread. Those that
 * read from one database are sent to it in one go, over one connection, where
 * its driver can: the server has the next one when it has answered the last,
 * and nobody waits for ten ways there and back.
 *
 * Their answers are read in their order, each by its own timeout=, which begins
 * when the one before it is done, as it does for queries that are run one by
 * one. Nobody waits longer for a slow one than he would otherwise, and the
 * batch takes no second connection from others.
 *
 * This is a try, each time. What the connection's end, or anything else that is
 * not the query's own, keeps from being answered is left as it was, and run
 * alone: it only reads. */
#include "work/batch/queries.h"

#include "glue.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/meanwhile.h"
#include "child/child.h"
#include "config/database.h"
#include "config/query.h"
#include "database/ahead.h"
#include "database/database.h"
#include "request/account.h"
#include "request/hold.h"
#include "stats/cell.h"
#include "stats/segment.h"
#include "stats/stats.h"
#include "work/batch/batch.h"
#include "work/cache.h"
#include "work/query.h"
#include "work/rows.h"

#include <apr_strings.h>

/* Several items on their way over one connection. */
typedef struct ahead_t {
    request_rec *r;
    connpool_batch_t *batch;
    const connpool_database_t *database;
    connpool_item_t *items[CP_AHEAD_MOST];
    cp_asked_t asked[CP_AHEAD_MOST];
    int count;
} ahead_t;

/* --- one by one --- */

void connpool_item_run(connpool_item_t *item, cp_clock_t deadline)
{
    request_rec *r = connpool_batch_request(item->batch);
    connpool_account_t *account = connpool_account(r);
    cp_clock_t latest = item->latest;
    cp_error_t err;
    apr_status_t rv;

    if (!item->began) {
        item->began = cp_clock_now();
    }
    cp_error_clear(&err);
    account->query_deadline = latest && latest < deadline ? latest : deadline;
    rv = connpool_answer_query(r, item->query, item->values, &item->answer,
                               &err);
    account->query_deadline = 0;
    connpool_item_end(item, rv, &err);
}

/* --- in one go --- */

/* Nothing but its rows is wanted: no answer that is kept, or shared. */
static int is_plain(const connpool_item_t *item)
{
    return item->query && !item->is_done && !item->is_alone
           && !item->query->is_write
           && !connpool_query_is_collected(item->query);
}

static const cp_bound_t *bind_values(apr_pool_t *p, const connpool_item_t *item)
{
    int count = connpool_query_bound(item->query);
    cp_bound_t *bound = apr_palloc(p, (apr_size_t)(count + 1) * sizeof(*bound));

    for (int i = 0; i < count; i++) {
        const connpool_param_t *param = APR_ARRAY_IDX(item->query->params, i,
                                                      connpool_param_t *);

        bound[i] = (cp_bound_t){param->spec.name, param->spec.type,
                                &item->values[i]};
    }
    return bound;
}

/* Up to the next write: what was asked for behind it may be to see it. */
static void gather(ahead_t *a)
{
    for (int i = 0;
         i < connpool_batch_size(a->batch) && a->count < CP_AHEAD_MOST; i++) {
        connpool_item_t *item = connpool_batch_item(a->batch, i);

        if (item->query && item->query->is_write && !item->is_done) {
            return;
        }
        if (is_plain(item) && item->query->database == a->database) {
            a->items[a->count] = item;
            a->asked[a->count++] = (cp_asked_t){
                item->query->sql, bind_values(a->r->pool, item),
                connpool_query_bound(item->query)};
        }
    }
}

/* As any query that gets no connection. */
static void fail_first(const ahead_t *a, connpool_run_t *run, apr_status_t rv,
                       cp_error_t *err)
{
    run->started = cp_clock_now();
    connpool_run_close(run, rv, err);
    connpool_item_end(a->items[0], rv, err);
}

/* @return how many are under way */
static int send_all(const ahead_t *a, connpool_hold_t *hold,
                    cp_clock_t deadline)
{
    const cp_database_driver_t *driver = a->database->driver;
    cp_meanwhile_t meanwhile = cp_meanwhile_get();
    cp_connection_t *conn = connpool_hold_connection(hold);
    cp_clock_t latest = cp_clock_after(a->items[0]->query->timeout);
    cp_limit_t limit = {.deadline = latest < deadline ? latest : deadline,
                        .meanwhile = meanwhile.fn,
                        .baton = meanwhile.baton};
    int sent;

    driver->limit(conn, &limit);
    sent = driver->ahead->send(conn, a->asked, a->count);
    if (sent == 0) {
        a->items[0]->is_alone = 1;
        a->items[0]->latest = limit.deadline;
    }
    return sent;
}

/* What has not happened may happen still. */
static void leave_to_itself(connpool_item_t *item)
{
    item->is_alone = 1;
    cp_stats_add(&connpool_query_stats(item->query)->retries, 1);
}

static void receive(const ahead_t *a, connpool_item_t *item, cp_statement_t *st)
{
    cp_error_t err;
    apr_status_t rv;

    item->began = cp_clock_now();
    cp_error_clear(&err);
    rv = connpool_collect_sent(a->r, item->query, item->values, st,
                               &item->answer, &err);
    if (rv != APR_SUCCESS && err.is_transient) {
        leave_to_itself(item);
        return;
    }
    connpool_item_end(item, rv, &err);
    cp_stats_add(&cp_segment_batch(connpool_child.segment, connpool_child.slot)
                      ->pipelined,
                 1);
}

static void receive_all(const ahead_t *a, const connpool_hold_t *hold, int sent,
                        cp_clock_t until)
{
    const cp_database_driver_t *driver = a->database->driver;

    for (int i = 0; i < sent && !connpool_hold_is_inherited(hold); i++) {
        cp_clock_t now = cp_clock_now();
        cp_statement_t *st;

        if (i > 0
            && (now >= until || connpool_batch_is_abandoned(a->batch, now))) {
            return;
        }
        st = driver->ahead->receive(connpool_hold_connection(hold));
        if (!st) {
            return;
        }
        receive(a, a->items[i], st);
    }
}

static void run_ahead(ahead_t *a, cp_clock_t deadline, cp_clock_t until)
{
    connpool_account_t *account = connpool_account(a->r);
    connpool_item_t *first = a->items[0];
    connpool_run_t run = {.r = a->r,
                          .query = first->query,
                          .driver = a->database->driver,
                          .values = first->values,
                          .asked = cp_clock_now()};
    connpool_hold_t *hold;
    cp_error_t err;
    apr_status_t rv;

    first->began = run.asked;
    cp_error_clear(&err);
    rv = connpool_hold_database(
        a->r, first->query->database, 0,
        apr_pstrcat(a->r->pool, "query '", first->query->name, "'", NULL),
        &hold, &err);
    if (rv != APR_SUCCESS) {
        fail_first(a, &run, rv, &err);
        return;
    }
    account->query_deadline = deadline;
    receive_all(a, hold, send_all(a, hold, deadline),
                until < deadline ? until : deadline);
    account->query_deadline = 0;
    connpool_hold_release(hold);
}

void connpool_queries_run(connpool_item_t *first, cp_clock_t deadline,
                          cp_clock_t until)
{
    ahead_t a = {.r = connpool_batch_request(first->batch),
                 .batch = first->batch,
                 .database = first->query->database};

    if (a.database->driver->ahead && !a.database->facts.one_by_one
        && until > cp_clock_now() && is_plain(first)
        && !connpool_holds_database(a.r, a.database)) {
        gather(&a);
    }
    if (a.count > 1) {
        run_ahead(&a, deadline, until);
    }
    else {
        connpool_item_run(first, deadline);
    }
}
