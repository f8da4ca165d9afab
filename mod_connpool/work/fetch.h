/* SPDX-License-Identifier: Apache-2.0
 * Fetches from upstreams, alone or shared by equal requests. */
#ifndef CONNPOOL_WORK_FETCH_H
#define CONNPOOL_WORK_FETCH_H

#include "glue.h"
#include "base/clock.h"
#include "base/error.h"
#include "http/job/fetch.h"
#include "http/upstream/breaker.h"
#include "request/hold.h"

struct connpool_upstream_t;
struct cp_bell_t;
struct cp_fetch_request_t;
struct cp_fetch_sink_t;
struct cp_transfer_t;

/** Add those of the request's headers that the upstream is to see, who is
 * asked for a part of the answer. */
void connpool_hand_on_headers(request_rec *r,
                              const struct connpool_upstream_t *up,
                              struct cp_fetch_request_t *request);

/** The same when the request as a whole goes to the upstream: a range, too, and
 * what belongs to a write. */
void connpool_hand_on_all(request_rec *r, const struct connpool_upstream_t *up,
                          struct cp_fetch_request_t *request);

/** One fetch under way, of many that a thread may have. Caller's storage,
 * zeroed. */
typedef struct connpool_fetch_run_t {
    request_rec *r;
    struct connpool_upstream_t *up; /* NULL: not opened, or closed */
    connpool_hold_t *hold;
    struct cp_transfer_t *transfer; /* NULL: no other URL could be asked */
    apr_interval_time_t waited;
    cp_admission_t admission; /* by the breaker of the URL that is asked */
    int is_hurried;           /* it has less time than the upstream may take */
    int base;                 /* the URL that is asked */
    unsigned tried;           /* bits of those that were, or refused */
    cp_clock_t began;
    cp_clock_t deadline;
    cp_fetch_request_t request;
    cp_fetch_sink_t sink;
    struct cp_bell_t *bell;
    cp_error_t failure; /* of the URL asked last, without a transfer */
} connpool_fetch_run_t;

/* For the two files of fetches: which URL is asked (base.c). */

/** Borrow a connection to the first URL, among those that were not tried, whose
 * breaker admits.
 * @return as connpool_fetch_open */
apr_status_t connpool_base_hold(connpool_fetch_run_t *run, request_rec *r,
                                int how, cp_error_t *err);

/** Is there another one to ask? */
int connpool_base_is_left(const connpool_fetch_run_t *run);

/** The first one whose breaker admits, for who asks once only. */
const struct connpool_base_t *connpool_base_first(
    const struct connpool_upstream_t *up);

/** What came of asking it. */
void connpool_base_report(const connpool_fetch_run_t *run, cp_outcome_t outcome,
                          const cp_error_t *err);

/** Borrow from the upstream's pool, and begin. Who has fetches of the same
 * request open already passes CONNPOOL_HOLD_AT_ONCE in `how`, else 0: who
 * waited for a connection while it holds others could wait for ever. What
 * request and sink point to must last until connpool_fetch_close. For bell see
 * cp_transfer_start.
 * @return APR_SUCCESS: advance and close it; APR_EAGAIN with
 * CONNPOOL_HOLD_AT_ONCE: none is free, nothing happened, the run is as new;
 * else err, and nothing is to be closed */
apr_status_t connpool_fetch_open(connpool_fetch_run_t *run, request_rec *r,
                                 struct connpool_upstream_t *up,
                                 const struct cp_fetch_request_t *request,
                                 const struct cp_fetch_sink_t *sink,
                                 struct cp_bell_t *bell, int how,
                                 cp_error_t *err);

/** As cp_transfer_advance: APR_SUCCESS: over, close it, or APR_EAGAIN. */
apr_status_t connpool_fetch_advance(connpool_fetch_run_t *run,
                                    cp_clock_t *puntil);

/** Give the connection back, count. A fetch under way is given up first.
 * Idempotent: APR_SUCCESS, the second time.
 * @return what became of the fetch, with err */
apr_status_t connpool_fetch_close(connpool_fetch_run_t *run, cp_error_t *err);

/** One fetch from open to close. */
apr_status_t connpool_run_fetch(request_rec *r, struct connpool_upstream_t *up,
                                const struct cp_fetch_request_t *request,
                                const struct cp_fetch_sink_t *sink,
                                cp_error_t *err);

/** As connpool_run_fetch; with coalesce=on the sink may get what an equal fetch
 * brings that is under way in this child, once that is whole. Requests that
 * hand on credentials run alone. */
apr_status_t connpool_coalesce_fetch(request_rec *r,
                                     struct connpool_upstream_t *up,
                                     const struct cp_fetch_request_t *request,
                                     const struct cp_fetch_sink_t *sink,
                                     cp_error_t *err);

void connpool_coalesce_start(apr_pool_t *pchild);

/** The child ends: nobody waits for others any more. */
void connpool_coalesce_cancel(void);

#endif
