/* SPDX-License-Identifier: Apache-2.0
 * Which URL of an upstream is asked: the first one, in the order in which they
 * were written, whose breaker admits. */
#include "glue.h"
#include "base/error.h"
#include "child/child.h"
#include "config/upstream.h"
#include "http/upstream/breaker.h"
#include "request/hold.h"
#include "request/output.h"
#include "work/fetch.h"

static cp_breaker_t *breaker_of(const connpool_base_t *base)
{
    return base->child ? base->child->breaker : NULL;
}

static apr_status_t admit(connpool_fetch_run_t *run,
                          const connpool_base_t *base, cp_error_t *err)
{
    cp_breaker_t *breaker = breaker_of(base);

    return breaker ? cp_breaker_admit(breaker, &run->admission, err)
                   : APR_SUCCESS;
}

void connpool_base_report(const connpool_fetch_run_t *run, cp_outcome_t outcome,
                          const cp_error_t *err)
{
    cp_breaker_t *breaker = breaker_of(&run->up->bases[run->base]);

    if (breaker) {
        cp_breaker_report(breaker, &run->admission, outcome, err);
    }
}

/* Who has waited for a connection asks the breaker again: it may have opened
 * meanwhile. APR_EOF: the breaker refuses. */
static apr_status_t hold(connpool_fetch_run_t *run, request_rec *r, int how,
                         cp_error_t *err)
{
    const connpool_base_t *base = &run->up->bases[run->base];
    apr_status_t rv;

    run->admission = (cp_admission_t){0};
    if (admit(run, base, err) != APR_SUCCESS) {
        return APR_EOF;
    }
    rv = connpool_hold_base(r, base, how | CONNPOOL_HOLD_EXCLUSIVE, &run->hold,
                            err);
    if (rv != APR_SUCCESS) {
        connpool_base_report(run, CP_OUTCOME_UNKNOWN, err);
        return rv;
    }
    if (admit(run, base, err) != APR_SUCCESS) {
        connpool_hold_release(run->hold);
        return APR_EOF;
    }
    return APR_SUCCESS;
}

static int is_tried(const connpool_fetch_run_t *run, int i)
{
    return (run->tried >> i & 1) != 0;
}

apr_status_t connpool_base_hold(connpool_fetch_run_t *run, request_rec *r,
                                int how, cp_error_t *err)
{
    int again = 0; /* seconds until the first one may be asked again */

    for (int i = 0; i < run->up->base_count; i++) {
        apr_status_t rv;

        if (is_tried(run, i)) {
            continue;
        }
        run->base = i;
        cp_error_clear(err);
        rv = hold(run, r, how, err);
        if (rv == APR_SUCCESS) {
            run->tried |= 1U << i;
        }
        if (!run->admission.is_refused) {
            return rv;
        }
        if (again == 0 || err->retry_after < again) {
            again = err->retry_after;
        }
    }
    err->retry_after = again;
    return APR_EGENERAL;
}

int connpool_base_is_left(const connpool_fetch_run_t *run)
{
    for (int i = 0; i < run->up->base_count; i++) {
        cp_breaker_t *breaker = breaker_of(&run->up->bases[i]);

        if (!is_tried(run, i) && breaker && !cp_breaker_is_open(breaker)) {
            return 1;
        }
    }
    return 0;
}

const connpool_base_t *connpool_base_first(const connpool_upstream_t *up)
{
    for (int i = 0; i < up->base_count; i++) {
        cp_breaker_t *breaker = breaker_of(&up->bases[i]);

        if (breaker && !cp_breaker_is_open(breaker)) {
            return &up->bases[i];
        }
    }
    return up->bases;
}
