/* SPDX-License-Identifier: Apache-2.0 */
#include "stats/condition.h"

#include "base/clock.h"
#include "stats/cell.h"

#include <stdlib.h>

#define HIGH_PERCENT 90
#define MEMORY       apr_time_from_sec(30)

static void set(uint64_t *cell, uint64_t value)
{
    __atomic_store_n(cell, value, __ATOMIC_RELAXED);
}

void cp_condition_observe(cp_condition_t *condition,
                          const cp_observation_t *seen, cp_clock_t now)
{
    if (seen->busy * 100 <= seen->limit * HIGH_PERCENT) {
        set(&condition->high_since, 0);
    }
    else if (cp_stats_get(&condition->high_since) == 0) {
        set(&condition->high_since, (uint64_t)now);
    }
    if (seen->fallbacks != cp_stats_get(&condition->fallbacks)) {
        set(&condition->fallbacks, seen->fallbacks);
        set(&condition->fallback_at, (uint64_t)now);
    }
}

/* Another process may have read the clock a little later than we did. */
static uint64_t age_of(uint64_t at, cp_clock_t now)
{
    return (uint64_t)now > at ? (uint64_t)now - at : 0;
}

/* Nobody wants to wait for a test that takes so long. */
static uint64_t strain(void)
{
#ifdef CONNPOOL_TESTING
    const char *ms = getenv("CONNPOOL_TEST_STRAIN_MS");

    if (ms) {
        return (uint64_t)apr_time_from_msec(atoi(ms));
    }
#endif
    return (uint64_t)MEMORY;
}

int cp_condition_is_strained(const cp_condition_t *condition, cp_clock_t now)
{
    uint64_t since = cp_stats_get(&condition->high_since);

    return since != 0 && age_of(since, now) >= strain();
}

int cp_condition_is_recent(uint64_t at, cp_clock_t now)
{
    return at != 0 && age_of(at, now) < (uint64_t)MEMORY;
}

int cp_condition_fell_back(const cp_condition_t *condition, cp_clock_t now)
{
    return cp_condition_is_recent(cp_stats_get(&condition->fallback_at), now);
}
