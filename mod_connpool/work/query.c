/* SPDX-License-Identifier: Apache-2.0
 * One execution of a named query: acquire, prepare, bind, step, commit, give
 * back, count. */
#include "work/query.h"

#include "glue.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/meanwhile.h"
#include "child/child.h"
#include "config/database.h"
#include "config/query.h"
#include "config/setting.h"
#include "database/database.h"
#include "database/limit.h"
#include "database/value.h"
#include "request/account.h"
#include "request/hold.h"
#include "request/output.h"
#include "stats/cell.h"
#include "stats/histogram.h"
#include "stats/stats.h"

#include <apr_strings.h>

#define SLOW_EVERY apr_time_from_sec(10)

static apr_status_t bind_all(connpool_run_t *run, const cp_value_t *values,
                             cp_error_t *err)
{
    const connpool_query_t *query = run->query;
    apr_status_t rv = APR_SUCCESS;

    for (int i = 0; i < connpool_query_bound(query) && rv == APR_SUCCESS; i++) {
        const connpool_param_t *param = APR_ARRAY_IDX(query->params, i,
                                                      connpool_param_t *);

        rv = run->driver->bind(run->statement, param->spec.name,
                               param->spec.type, &values[i], err);
    }
    return rv;
}

/* A write of its own, or one within the transaction that somebody of the same
 * request has begun on the connection that they share. */
apr_status_t connpool_run_begin_write(connpool_run_t *run, void *conn,
                                      cp_error_t *err)
{
    const cp_database_driver_t *driver = run->driver;
    apr_status_t rv;

    run->is_nested = driver->in_transaction(conn);
    if (run->is_nested && !(driver->can & CP_CAN_NEST)) {
        return cp_error_set(err, CP_ERR_REFUSED, APR_ENOTIMPL,
                            "a write within a transaction is not possible",
                            "database '%s': the request has begun one",
                            run->query->database->name);
    }
    rv = run->is_nested ? driver->nest(conn, run->limit.deadline, err)
                        : driver->begin(conn, run->limit.deadline, err);
    run->in_transaction = rv == APR_SUCCESS;
    if (run->in_transaction && !run->is_nested) {
        connpool_hold_transacts(run->hold, 1);
    }
    return rv;
}

static apr_status_t begin_run(connpool_run_t *run, const cp_value_t *values,
                              cp_error_t *err)
{
    void *conn = connpool_hold_connection(run->hold);
    apr_status_t rv = APR_SUCCESS;

    run->driver->limit(conn, &run->limit);
    if (run->sent) {
        run->statement = run->sent;
        run->is_run = 1;
        return APR_SUCCESS;
    }
    if (run->query->is_write) {
        run->is_run = 1;
        rv = connpool_transaction_has(run->r, run->hold)
                 ? APR_SUCCESS
                 : connpool_run_begin_write(run, conn, err);
    }
    if (rv == APR_SUCCESS) {
        rv = run->driver->prepare(conn, run->query->sql, &run->statement, err);
        run->is_run = rv == APR_SUCCESS;
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    /* Readers may have the writer's connection. */
    if (!run->query->is_write && run->driver->writes(run->statement)) {
        return cp_error_set(
            err, CP_ERR_REFUSED, APR_EACCES, "the query would write",
            "a statement that writes was run to read: %.200s", run->query->sql);
    }
    return bind_all(run, values, err);
}

static int has_client_gone(void *baton)
{
    return connpool_client_is_gone(baton);
}

static cp_limit_t limit_of(request_rec *r, const connpool_query_t *query,
                           const connpool_run_t *run)
{
    cp_meanwhile_t meanwhile = cp_meanwhile_get();
    cp_clock_t deadline = run->latest
                              ? run->latest
                              : cp_clock_add(run->started, query->timeout);
    cp_clock_t latest = connpool_account(r)->query_deadline;

    return (cp_limit_t){
        .deadline = latest && latest < deadline ? latest : deadline,
        .meanwhile = meanwhile.fn,
        .baton = meanwhile.baton,
        /* For a collected answer others may wait, too. */
        .is_gone = connpool_query_is_collected(query) ? NULL : has_client_gone,
        .gone_baton = r,
    };
}

/* An answer that is kept until the data change must come from the database that
 * versions are told of: connections to another one are closed until there is a
 * better one. */
static apr_status_t hold_connection(connpool_run_t *run, cp_error_t *err)
{
    connpool_query_t *query = run->query;
    apr_status_t rv;

    for (int tries = 0;; tries++) {
        rv = connpool_hold_database(run->r, query->database, query->is_write,
                                    query->holder, &run->hold, err);
        if (rv != APR_SUCCESS || !query->caching.is_by_data) {
            return rv;
        }
        run->is_lasting = run->driver->is_current(
            connpool_hold_connection(run->hold));
        if (run->is_lasting || connpool_hold_is_shared(run->hold)
            || tries >= query->database->pool.max) {
            return rv;
        }
        connpool_hold_discard(run->hold, run->driver->outdated);
    }
}

apr_status_t connpool_run_open(connpool_run_t *run, request_rec *r,
                               connpool_query_t *query,
                               const cp_value_t *values, cp_error_t *err)
{
    connpool_account_t *account = connpool_account(r);
    apr_status_t rv;

    run->r = r;
    run->query = query;
    run->driver = query->database->driver;
    run->values = values;
    account->asked = 0;
    rv = hold_connection(run, err);
    if (!account->asked) { /* it has one already, or there is none to ask for */
        account->asked = account->answered = cp_clock_now();
    }
    run->asked = run->asked ? run->asked : account->asked;
    run->started = account->answered;
    run->limit = limit_of(r, query, run);
    run->due = run->limit.deadline;
    if (rv == APR_SUCCESS) {
        rv = begin_run(run, values, err);
    }
    if (rv != APR_SUCCESS) {
        connpool_run_close(run, rv, err);
    }
    return rv;
}

/* The run goes on in the process that this one was forked from, if anywhere. */
static apr_status_t leave_behind(connpool_run_t *run, cp_error_t *err)
{
    run->statement = NULL;
    run->hold = NULL;
    run->query = NULL;
    return cp_error_set(err, CP_ERR_INTERNAL, APR_EGENERAL,
                        "the query belongs to another process",
                        "a process was forked while the query ran");
}

apr_status_t connpool_run_next(connpool_run_t *run, cp_error_t *err)
{
    apr_status_t rv;

    if (connpool_hold_is_inherited(run->hold)) {
        return cp_error_set(err, CP_ERR_INTERNAL, APR_EGENERAL,
                            "the query belongs to another process",
                            "a process was forked while the query ran");
    }
    /* Who shares the connection may have set another. */
    run->driver->limit(connpool_hold_connection(run->hold), &run->limit);
    rv = run->driver->step(run->statement, err);

    if (rv == APR_SUCCESS) {
        run->rows++;
    }
    return rv;
}

static int is_success(apr_status_t rv)
{
    return rv == APR_SUCCESS || rv == APR_EOF;
}

/* Its answer will say that nothing was done: then nothing is, by triggers
 * neither. */
int connpool_run_is_given_up(const connpool_run_t *run)
{
    return run->is_idle && run->query->reply.none >= 400;
}

apr_status_t connpool_run_end_write(connpool_run_t *run, apr_status_t rv,
                                    cp_error_t *err)
{
    void *conn = connpool_hold_connection(run->hold);
    const cp_database_driver_t *driver = run->driver;
    apr_status_t committed;
    cp_error_t ignored;

    driver->limit(conn, &run->limit);
    if (!is_success(rv) || connpool_run_is_given_up(run)) {
        if (run->is_nested) {
            driver->unnest(conn, 0, &ignored);
        }
        else {
            driver->rollback(conn);
            connpool_hold_transacts(run->hold, 0);
        }
        return rv;
    }
    committed = run->is_nested ? driver->unnest(conn, 1, err)
                               : driver->commit(conn, err);
    if (!run->is_nested) {
        connpool_hold_transacts(run->hold, 0);
    }
    return committed == APR_SUCCESS ? rv : committed;
}

/* "id integer, name text(12)": what came, without the values themselves. */
static const char *describe_values(const connpool_run_t *run)
{
    static const char *const kinds[] = {"null", "integer", "real"};
    apr_pool_t *p = run->r->pool;
    const char *text = "";

    for (int i = 0; i < run->query->params->nelts; i++) {
        const connpool_param_t *param = APR_ARRAY_IDX(run->query->params, i,
                                                      connpool_param_t *);
        const cp_value_t *value = &run->values[i];
        const char *kind = value->storage < CP_TEXT
                               ? kinds[value->storage]
                               : apr_psprintf(
                                   p, "%s(%" APR_SIZE_T_FMT ")",
                                   value->storage == CP_TEXT ? "text" : "blob",
                                   value->as.bytes.size);

        text = apr_pstrcat(p, text, i > 0 ? ", " : "", param->spec.name, " ",
                           kind, NULL);
    }
    return *text ? text : "none";
}

static void log_slow(connpool_run_t *run, apr_interval_time_t waited,
                     apr_interval_time_t us)
{
    uint64_t suppressed;

    cp_stats_add(&connpool_query_stats(run->query)->slow, 1);
    if (cp_log_allowed(&run->query->slow_log, SLOW_EVERY, &suppressed)) {
        ap_log_rerror(APLOG_MARK, APLOG_NOTICE, 0, run->r,
                      "query '%s' was slow: %" APR_TIME_T_FMT
                      " ms (waited %" APR_TIME_T_FMT
                      " ms before) for %" APR_INT64_T_FMT
                      " rows; parameters: %s%s",
                      run->query->name, apr_time_as_msec(us),
                      apr_time_as_msec(waited), run->rows, describe_values(run),
                      connpool_suppressed(run->r->pool, suppressed));
    }
}

/* A statement that was prepared once may not fit its database any more: after
 * such an error maintenance looks. */
static void note_fitness(cp_query_stats_t *stats, apr_status_t rv,
                         const cp_error_t *err)
{
    if (is_success(rv)) {
        if (cp_stats_get(&stats->unprepared)) {
            __atomic_store_n(&stats->unprepared, 0, __ATOMIC_RELAXED);
        }
    }
    else if (err->cls == CP_ERR_STORAGE || err->cls == CP_ERR_REFUSED) {
        __atomic_store_n(&stats->is_known, 0, __ATOMIC_RELAXED);
    }
}

static void count_failure(const connpool_run_t *run, cp_query_stats_t *stats,
                          const cp_error_t *err)
{
    cp_stats_add(&stats->errors, 1);
    cp_stats_add(&stats->failures[err->cls], 1);
    cp_stats_add(&stats->broken, run->is_run && err->cls == CP_ERR_STORAGE);
}

void connpool_run_count_failed(const connpool_run_t *run,
                               const connpool_query_t *query, int is_counted,
                               const cp_error_t *err)
{
    cp_query_stats_t *stats = connpool_query_stats(query);

    if (!is_counted) {
        cp_stats_add(&stats->count, 1);
        cp_histogram_record(&stats->failed_us, cp_clock_now() - run->asked);
    }
    count_failure(run, stats, err);
}

static void count_run(connpool_run_t *run, apr_status_t rv, cp_clock_t ended,
                      const cp_error_t *err)
{
    cp_query_stats_t *stats = connpool_query_stats(run->query);
    apr_interval_time_t us = ended - run->started;
    apr_interval_time_t slow = connpool_server(run->r->server)->slow;

    cp_stats_add(&stats->count, 1);
    cp_stats_add(&stats->rows, run->rows);
    if (!is_success(rv)) {
        count_failure(run, stats, err);
    }
    note_fitness(stats, rv, err);
    if (is_success(rv)) {
        cp_histogram_record(&stats->us, us);
    }
    else {
        /* Most of the time of one that was refused it has waited. */
        cp_histogram_record(&stats->failed_us, ended - run->asked);
    }
    connpool_account(run->r)->db += us;
    if (slow > 0 && us >= slow) {
        log_slow(run, run->started - run->asked, us);
    }
}

void connpool_run_finish(connpool_run_t *run, apr_status_t rv)
{
    if (!run->statement) {
        return;
    }
    /* Configtest cannot see into views. */
    run->is_lasting = run->is_lasting && !run->driver->depends(run->statement);
    if (run->query->is_write && rv == APR_EOF) {
        run->driver->result(run->statement, &run->result);
        run->is_idle = run->rows == 0 && run->result.changes == 0;
    }
    run->driver->finish(run->statement);
    run->statement = NULL;
}

/* It is not asked whether its client waits: to end it would cost the others. */
apr_status_t connpool_run_join(connpool_run_t *run, const connpool_run_t *by,
                               cp_clock_t until, cp_error_t *err)
{
    run->hold = by->hold;
    run->started = cp_clock_now();
    run->limit = limit_of(run->r, run->query, run);
    run->limit.is_gone = NULL;
    run->due = run->limit.deadline;
    run->limit.deadline = run->due < until ? run->due : until;
    connpool_account(run->r)->wait += run->started - run->asked;
    return begin_run(run, run->values, err);
}

apr_status_t connpool_run_leave(connpool_run_t *run, apr_status_t rv,
                                cp_error_t *err)
{
    connpool_run_finish(run, rv);
    if (run->in_transaction) {
        rv = connpool_run_end_write(run, rv, err);
    }
    run->in_transaction = 0;
    run->hold = NULL;
    return rv;
}

static cp_clock_t give_back(connpool_run_t *run)
{
    cp_clock_t ended;

    run->driver->limit(connpool_hold_connection(run->hold), CP_NO_LIMIT);
    ended = connpool_hold_release(run->hold);
    run->hold = NULL;
    return ended;
}

void connpool_run_undo(connpool_run_t *run)
{
    cp_error_t ignored;

    connpool_run_finish(run, APR_EGENERAL);
    if (run->in_transaction) {
        connpool_run_end_write(run, APR_EGENERAL, &ignored);
    }
    if (run->hold) {
        give_back(run);
    }
    *run = (connpool_run_t){.asked = run->asked, .due = run->due};
}

apr_status_t connpool_run_close(connpool_run_t *run, apr_status_t rv,
                                cp_error_t *err)
{
    cp_clock_t ended = 0;

    if (!run->query) {
        return rv;
    }
    if (run->hold && connpool_hold_is_inherited(run->hold)) {
        return leave_behind(run, err);
    }
    connpool_run_finish(run, rv);
    if (run->hold) {
        if (run->in_transaction) {
            rv = connpool_run_end_write(run, rv, err);
        }
        ended = give_back(run);
    }
    count_run(run, rv, ended ? ended : cp_clock_now(), err);
    run->query = NULL;
    return rv;
}
