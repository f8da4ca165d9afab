/* SPDX-License-Identifier: Apache-2.0
 * Running a named query. */
#ifndef CONNPOOL_WORK_QUERY_H
#define CONNPOOL_WORK_QUERY_H

#include "glue.h"
#include "base/clock.h"
#include "base/error.h"
#include "database/database.h"
#include "database/limit.h"
#include "request/hold.h"

struct connpool_query_t;
struct cp_database_driver_t;
struct cp_statement_t;
struct cp_value_t;

/** One execution of a named query. Caller's storage, zeroed. */
typedef struct connpool_run_t {
    request_rec *r;
    struct connpool_query_t *query;
    connpool_hold_t *hold;
    const struct cp_database_driver_t *driver;
    struct cp_statement_t *statement;
    const struct cp_value_t *values; /* of the declared parameters */
    cp_clock_t asked;                /* for a connection */
    cp_clock_t started;              /* with the connection */
    cp_clock_t latest;               /* 0, or when it must be done at last */
    cp_clock_t due;                  /* its deadline, whatever limit says */
    struct cp_statement_t *sent; /* ahead, on the connection that the request
                                    holds; NULL: it is to be prepared */
    cp_limit_t limit;
    int is_run; /* the database could be opened, and the query be prepared */
    int in_transaction;
    int is_nested; /* its transaction lies within that of another */
    apr_int64_t rows;
    int is_lasting;     /* with ttl=data: good until the data change */
    int is_idle;        /* after close: a write that changed nothing */
    cp_result_t result; /* likewise, of a write */
} connpool_run_t;

/** Acquire, prepare, bind; begin a transaction for a write; or take what was
 * sent. values has one entry per declared parameter. On failure everything is
 * given back. */
apr_status_t connpool_run_open(connpool_run_t *run, request_rec *r,
                               struct connpool_query_t *query,
                               const struct cp_value_t *values,
                               cp_error_t *err);

/** The next row (driver->row reads it), APR_EOF, or err. */
apr_status_t connpool_run_next(connpool_run_t *run, cp_error_t *err);

/** Commit (with rv APR_SUCCESS or APR_EOF) or roll back, give the connection
 * back, count. Returns rv, or the failure to commit. Idempotent. */
apr_status_t connpool_run_close(connpool_run_t *run, apr_status_t rv,
                                cp_error_t *err);

/** The parts of it for who runs the writes of several requests in one
 * transaction (work/group.c). Each calls connpool_run_close at last. */

/** As connpool_run_open, within the transaction that `by` has begun; not beyond
 * `until`, whatever its deadline is. Its request, query, driver and values are
 * set. */
apr_status_t connpool_run_join(connpool_run_t *run, const connpool_run_t *by,
                               cp_clock_t until, cp_error_t *err);
/** Its end there: kept, if rv says so, as long as the transaction is. */
apr_status_t connpool_run_leave(connpool_run_t *run, apr_status_t rv,
                                cp_error_t *err);
/** After the last step: its statement is done with, the result is taken. */
void connpool_run_finish(connpool_run_t *run, apr_status_t rv);
/** Finished, would it be undone, for it has changed nothing? */
int connpool_run_is_given_up(const connpool_run_t *run);
/** Undo it and give back the connection, as if it had never run: it will be run
 * anew, until it is due. */
void connpool_run_undo(connpool_run_t *run);

/** The parts of it that concern a write's transaction, for a run whose request,
 * query, driver, hold and limit are set: of a single one, or of several that
 * share their connection (work/batch/transaction.c). The end says as
 * connpool_run_close, and keeps the connection. */
apr_status_t connpool_run_begin_write(connpool_run_t *run, void *conn,
                                      cp_error_t *err);
apr_status_t connpool_run_end_write(connpool_run_t *run, apr_status_t rv,
                                    cp_error_t *err);

/** Count the failure of such a run for one of the queries that it is of.
 * is_counted: that one has run, and was counted as one that has. */
void connpool_run_count_failed(const connpool_run_t *run,
                               const struct connpool_query_t *query,
                               int is_counted, const cp_error_t *err);

#endif
