/* SPDX-License-Identifier: Apache-2.0
 * A circuit breaker: who does not answer several times in a row is left alone
 * for a while. Closed, all are admitted. Open, all are refused at once until
 * the pause is over. Then it is half-open: one is admitted to probe, whose
 * answer closes the breaker, and whose failure begins the next, longer pause.
 * Any thread. */
#ifndef CP_BREAKER_H
#define CP_BREAKER_H

#include <stdint.h>

#include <apr_pools.h>

#include "base/clock.h"
#include "base/error.h"

struct cp_upstream_stats_t;

/** The first pause, and the longest: each doubles the one before, less up to a
 * quarter by chance, so that children do not probe in step. */
#define CP_BREAKER_FIRST_PAUSE   apr_time_from_msec(250)
#define CP_BREAKER_LONGEST_PAUSE apr_time_from_sec(15)

typedef struct cp_breaker_t cp_breaker_t;

/** What an admitted one has found. */
typedef enum cp_outcome_t {
    CP_OUTCOME_ANSWERED, /**< whatever the answer was */
    CP_OUTCOME_FAILED,   /**< nothing was answered */
    CP_OUTCOME_UNKNOWN,  /**< it was never asked, or nobody waited */
} cp_outcome_t;

/** One admission. Caller's storage, zeroed; used by one thread at a time. */
typedef struct cp_admission_t {
    uint64_t era;   /**< the breaker was closed so often before */
    int is_probe;   /**< the one that is admitted half-open */
    int is_refused; /**< by the breaker */
} cp_admission_t;

/** Opens after so many failures in a row; 0: never. name, for the log, and
 * stats, whose breaker_* cells are this breaker's alone, must outlive it.
 * Created in p and destroyed with it. */
apr_status_t cp_breaker_create(cp_breaker_t **pbreaker, const char *name,
                               int failures, struct cp_upstream_stats_t *stats,
                               apr_pool_t *p);

/** May the upstream be asked? May be asked again with the same admission, after
 * a wait for something else: then it says whether that still holds.
 * @return APR_SUCCESS: report() must follow. Else CP_ERR_UPSTREAM with
 * retry_after, and nothing must be reported */
apr_status_t cp_breaker_admit(cp_breaker_t *breaker, cp_admission_t *admission,
                              cp_error_t *err);

/** Would it refuse now? A probe's chance is not used up by asking. */
int cp_breaker_is_open(cp_breaker_t *breaker);

/** What came of it. err says why, when it failed. Failures of those who were
 * admitted before the breaker closed last say nothing new and do not count. */
void cp_breaker_report(cp_breaker_t *breaker, const cp_admission_t *admission,
                       cp_outcome_t outcome, const cp_error_t *err);

/** How the breakers of all children stand, from the sum of their cells: open
 * when any is, half-open when one is about to probe or does so. One whose child
 * is not asked any more is half-open once its pause is over. */
typedef enum cp_breaker_state_t {
    CP_BREAKER_CLOSED,
    CP_BREAKER_HALF_OPEN,
    CP_BREAKER_OPEN,
} cp_breaker_state_t;

cp_breaker_state_t cp_breaker_state(const struct cp_upstream_stats_t *sum,
                                    cp_clock_t now);

/** "closed", "half-open", "open". */
const char *cp_breaker_state_name(cp_breaker_state_t state);

#endif
