/* SPDX-License-Identifier: Apache-2.0
 * What a request has spent, and until when it may go on. */
#ifndef CONNPOOL_ACCOUNT_H
#define CONNPOOL_ACCOUNT_H

#include "glue.h"
#include "base/clock.h"
#include "database/sqlite/sqlite.h"

/** What a request has spent so far, its subrequests included; microseconds. */
typedef struct connpool_account_t {
    apr_interval_time_t wait;  /**< for connections */
    apr_interval_time_t db;    /**< with connections of databases */
    apr_interval_time_t http;  /**< with upstreams, one or several at once */
    cp_clock_t fetching;       /**< since when one is under way; 0: none is */
    int fetches;               /**< under way */
    int fallbacks;             /**< one-shot connections */
    cp_clock_t query_deadline; /**< of what the request works on; 0: none */
    cp_meanwhile_fn meanwhile; /**< to be called while a query runs, or NULL */
    void *meanwhile_baton;
} connpool_account_t;

/** Of the outermost request; never NULL. */
connpool_account_t *connpool_account(request_rec *r);

/** Before the log is written: the account as notes, for LogFormat. */
int connpool_log_account(request_rec *r);

/** Count a fetch that begins (1) or ends (-1) in the request's account: several
 * at once take it no more time than one. */
void connpool_account_fetch(request_rec *r, int delta);

#endif
