/* SPDX-License-Identifier: Apache-2.0 */
#include "http/upstream/breaker.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "stats/cell.h"
#include "stats/stats.h"

#include <pthread.h>
#include <stdio.h>

struct cp_breaker_t {
    const char *name;
    int limit;
    cp_upstream_stats_t *stats;

    pthread_mutex_t lock; /* guards everything below, and the gauges in stats */
    int failures;         /* in a row */
    uint64_t era;
    int is_open;
    int is_probing;
    cp_clock_t opened_at;
    cp_clock_t until; /* the pause's end */
    apr_interval_time_t pause;
    uint64_t refused; /* since it opened */
};

static apr_status_t breaker_cleanup(void *data)
{
    cp_breaker_t *breaker = data;

    pthread_mutex_destroy(&breaker->lock);
    return APR_SUCCESS;
}

apr_status_t cp_breaker_create(cp_breaker_t **pbreaker, const char *name,
                               int failures, cp_upstream_stats_t *stats,
                               apr_pool_t *p)
{
    cp_breaker_t *breaker = apr_pcalloc(p, sizeof(*breaker));
    int rc = pthread_mutex_init(&breaker->lock, NULL);

    if (rc != 0) {
        return rc;
    }
    breaker->name = name;
    breaker->limit = failures;
    breaker->stats = stats;
    apr_pool_cleanup_register(p, breaker, breaker_cleanup,
                              apr_pool_cleanup_null);
    *pbreaker = breaker;
    return APR_SUCCESS;
}

static void set_gauge(uint64_t *gauge, uint64_t value)
{
    __atomic_store_n(gauge, value, __ATOMIC_RELAXED);
}

static void set_probing(cp_breaker_t *breaker, int is_probing)
{
    breaker->is_probing = is_probing;
    set_gauge(&breaker->stats->breaker_probes, (uint64_t)is_probing);
}

static apr_status_t refuse(const cp_breaker_t *breaker,
                           apr_interval_time_t left, cp_error_t *err)
{
    apr_status_t rv = cp_error_set(
        err, CP_ERR_UPSTREAM, APR_SUCCESS, "the upstream does not answer",
        "it is not asked: %s", left > 0 ? "its breaker is open" : "one probes");

    err->retry_after = (int)(left / APR_USEC_PER_SEC) + 1;
    return rv;
}

apr_status_t cp_breaker_admit(cp_breaker_t *breaker, cp_admission_t *admission,
                              cp_error_t *err)
{
    apr_interval_time_t left = 0;

    if (breaker->limit == 0) {
        return APR_SUCCESS;
    }
    pthread_mutex_lock(&breaker->lock);
    if (breaker->is_open && !admission->is_probe) {
        left = cp_clock_left(breaker->until);
        admission->is_refused = left > 0 || breaker->is_probing;
        if (!admission->is_refused) {
            admission->is_probe = 1;
            set_probing(breaker, 1);
        }
    }
    admission->era = breaker->era;
    breaker->refused += (uint64_t)admission->is_refused;
    pthread_mutex_unlock(&breaker->lock);
    if (!admission->is_refused) {
        return APR_SUCCESS;
    }
    cp_stats_add(&breaker->stats->breaker_refused, 1);
    return refuse(breaker, left, err);
}

int cp_breaker_is_open(cp_breaker_t *breaker)
{
    int is_open;

    pthread_mutex_lock(&breaker->lock);
    is_open = breaker->is_open
              && (breaker->is_probing || cp_clock_left(breaker->until) > 0);
    pthread_mutex_unlock(&breaker->lock);
    return is_open;
}

/* --- reports --- */

/* For another pause; is locked. */
static void stay_open(cp_breaker_t *breaker)
{
    apr_interval_time_t pause = breaker->pause * 2;

    if (pause < CP_BREAKER_FIRST_PAUSE) {
        pause = CP_BREAKER_FIRST_PAUSE;
    }
    if (pause > CP_BREAKER_LONGEST_PAUSE) {
        pause = CP_BREAKER_LONGEST_PAUSE;
    }
    breaker->pause = pause;
    breaker->until = cp_clock_after(pause
                                    - cp_clock_jitter(pause / 4, breaker));
    set_gauge(&breaker->stats->breaker_until, (uint64_t)breaker->until);
}

/* Is locked; true when it opens. */
static int note_failure(cp_breaker_t *breaker, const cp_admission_t *admission)
{
    if (admission->era != breaker->era) {
        return 0;
    }
    if (breaker->is_open) {
        if (admission->is_probe) {
            stay_open(breaker);
        }
        return 0;
    }
    if (++breaker->failures < breaker->limit) {
        return 0;
    }
    breaker->is_open = 1;
    breaker->opened_at = cp_clock_now();
    breaker->refused = 0;
    stay_open(breaker);
    return 1;
}

/* Is locked; true when it closes. Any answer will do, also to somebody who was
 * admitted before it opened. */
static int note_answer(cp_breaker_t *breaker)
{
    int was_open = breaker->is_open;

    breaker->failures = 0;
    if (was_open) {
        breaker->is_open = 0;
        breaker->pause = 0;
        breaker->era++;
        set_gauge(&breaker->stats->breaker_until, 0);
    }
    return was_open;
}

static void log_opened(const cp_breaker_t *breaker, const cp_error_t *err)
{
    char name[160], more[sizeof(err->detail) + 2];

    snprintf(name, sizeof(name), "upstream '%s'", breaker->name);
    cp_log(CP_LOG_MARK, CP_LOG_WARNING, 0,
           "upstream '%s' did not answer %d times in a row and is left alone "
           "for a while (breaker=%d); the last error: %s%s",
           breaker->name, breaker->limit, breaker->limit, err->cause,
           cp_error_more(err, name, more, sizeof(more)));
}

static void log_closed(const cp_breaker_t *breaker, apr_interval_time_t lasted,
                       uint64_t refused)
{
    cp_log(CP_LOG_MARK, CP_LOG_NOTICE, 0,
           "upstream '%s' answers again after %.1f s; %llu fetches were "
           "refused meanwhile",
           breaker->name, (double)lasted / APR_USEC_PER_SEC,
           (unsigned long long)refused);
}

void cp_breaker_report(cp_breaker_t *breaker, const cp_admission_t *admission,
                       cp_outcome_t outcome, const cp_error_t *err)
{
    apr_interval_time_t lasted = 0;
    uint64_t refused = 0;
    int has_opened = 0, has_closed = 0;

    if (breaker->limit == 0) {
        return;
    }
    pthread_mutex_lock(&breaker->lock);
    if (admission->is_probe) {
        set_probing(breaker, 0);
    }
    if (outcome == CP_OUTCOME_FAILED) {
        has_opened = note_failure(breaker, admission);
    }
    else if (outcome == CP_OUTCOME_ANSWERED && note_answer(breaker)) {
        has_closed = 1;
        lasted = cp_clock_now() - breaker->opened_at;
        refused = breaker->refused;
    }
    pthread_mutex_unlock(&breaker->lock);
    if (has_opened) {
        cp_stats_add(&breaker->stats->breaker_opened, 1);
        log_opened(breaker, err);
    }
    if (has_closed) {
        log_closed(breaker, lasted, refused);
    }
}

/* --- from outside --- */

cp_breaker_state_t cp_breaker_state(const cp_upstream_stats_t *sum,
                                    cp_clock_t now)
{
    if (sum->breaker_until == 0) {
        return CP_BREAKER_CLOSED;
    }
    return sum->breaker_until > (uint64_t)now ? CP_BREAKER_OPEN
                                              : CP_BREAKER_HALF_OPEN;
}

const char *cp_breaker_state_name(cp_breaker_state_t state)
{
    static const char *const names[] = {"closed", "half-open", "open"};

    return names[state];
}
