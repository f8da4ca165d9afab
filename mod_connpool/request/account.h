/* SPDX-License-Identifier: Apache-2.0
 * What a request carries: its connections, what it has spent, and until when it
 * may go on. */
#ifndef CONNPOOL_ACCOUNT_H
#define CONNPOOL_ACCOUNT_H

#include "glue.h"
#include "base/clock.h"
#include "database/limit.h"

/** What a request has spent so far, its subrequests included; microseconds. */
typedef struct connpool_account_t {
    apr_interval_time_t wait;  /**< for connections */
    apr_interval_time_t db;    /**< with connections of databases */
    apr_interval_time_t http;  /**< with upstreams, one or several at once */
    cp_clock_t fetching;       /**< since when one is under way; 0: none is */
    int fetches;               /**< under way */
    int fallbacks;             /**< one-shot connections */
    cp_clock_t query_deadline; /**< of what the request works on; 0: none */
    cp_clock_t acquire_by; /**< who borrows has waited elsewhere: until then at
                                the latest; 0: he has not */
    cp_clock_t asked;      /**< when it last asked for a connection */
    cp_clock_t answered;   /**< and when it got it, or heard it does not */
} connpool_account_t;

/** What the outermost request carries. One thread at a time runs it. */
typedef struct connpool_state_t {
    struct connpool_hold_t *holds; /**< hold.c's */
    connpool_account_t account;
    /** Whose writes are one transaction until it is NULL again. */
    const struct connpool_hold_t *transaction;
    int is_rated;   /**< ConnPoolRateLimit has counted it */
    int is_private; /**< who asks has decided over what is answered */
} connpool_state_t;

/** Whose subrequest, or internal redirect, it is at last; or itself. */
request_rec *connpool_outermost(request_rec *r);

/** Of the outermost request, made when it is first asked for; never NULL. */
connpool_state_t *connpool_state(request_rec *r);
connpool_account_t *connpool_account(request_rec *r);

/** Before the log is written: the account as notes, for LogFormat. */
int connpool_log_account(request_rec *r);

/** Count a fetch that begins (1) or ends (-1) in the request's account: several
 * at once take it no more time than one. */
void connpool_account_fetch(request_rec *r, int delta);

/** The account so far as the header Server-Timing, if that is wanted. */
void connpool_add_server_timing(request_rec *r);

#endif
