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

static void remember(cp_condition_t *condition, const cp_observation_t *seen,
                     cp_clock_t now)
{
    uint64_t looks = cp_stats_get(&condition->looks);
    cp_look_t *look = &condition->look[looks % CP_LOOKS];

    set(&look->at, (uint64_t)now);
    set(&look->tried, seen->tried);
    set(&look->refused, seen->refused);
    __atomic_store_n(&condition->looks, looks + 1, __ATOMIC_RELEASE);
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
    set(&condition->is_unopened, (uint64_t)seen->is_unopened);
    remember(condition, seen, now);
}

/* Another process may have read the clock a little later than we did. */
static uint64_t age_of(uint64_t at, cp_clock_t now)
{
    return (uint64_t)now > at ? (uint64_t)now - at : 0;
}

/* Nobody wants to wait for a test that takes so long. */
static uint64_t span_of(const char *variable)
{
#ifdef CONNPOOL_TESTING
    const char *ms = getenv(variable);

    if (ms) {
        return (uint64_t)apr_time_from_msec(atoi(ms));
    }
#endif
    return (uint64_t)MEMORY;
}

int cp_condition_is_strained(const cp_condition_t *condition, cp_clock_t now)
{
    uint64_t since = cp_stats_get(&condition->high_since);

    return since != 0
           && age_of(since, now) >= span_of("CONNPOOL_TEST_STRAIN_MS");
}

int cp_condition_is_recent(uint64_t at, cp_clock_t now)
{
    return at != 0 && age_of(at, now) < span_of("CONNPOOL_TEST_MEMORY_MS");
}

int cp_condition_fell_back(const cp_condition_t *condition, cp_clock_t now)
{
    return cp_condition_is_recent(cp_stats_get(&condition->fallback_at), now);
}

/* The newest look that is old enough; the next one is too young. Before the
 * first look all was 0. */
static const cp_look_t *base_of(const cp_condition_t *condition, cp_clock_t now)
{
    static const cp_look_t beginning;
    uint64_t looks = __atomic_load_n(&condition->looks, __ATOMIC_ACQUIRE);
    /* The oldest one may be overwritten while we read. */
    uint64_t first = looks >= CP_LOOKS ? looks - CP_LOOKS + 1 : 0;
    const cp_look_t *base = first > 0 ? &condition->look[first % CP_LOOKS]
                                      : &beginning;

    for (uint64_t i = first; i < looks; i++) {
        const cp_look_t *look = &condition->look[i % CP_LOOKS];

        if (cp_condition_is_recent(cp_stats_get(&look->at), now)) {
            break;
        }
        base = look;
    }
    return base;
}

void cp_condition_lately(const cp_condition_t *condition, cp_clock_t now,
                         uint64_t *tried, uint64_t *refused)
{
    const cp_look_t *base = base_of(condition, now);
    uint64_t before = cp_stats_get(&base->tried);

    *tried -= *tried > before ? before : *tried;
    before = cp_stats_get(&base->refused);
    *refused -= *refused > before ? before : *refused;
}

/* The newest look that saw more than the one before it. */
uint64_t cp_condition_refused_at(const cp_condition_t *condition,
                                 uint64_t refused, cp_clock_t now)
{
    uint64_t looks = __atomic_load_n(&condition->looks, __ATOMIC_ACQUIRE);
    uint64_t first = looks >= CP_LOOKS ? looks - CP_LOOKS + 1 : 0;
    uint64_t seen = 0, at = 0;

    for (uint64_t i = first; i < looks; i++) {
        const cp_look_t *look = &condition->look[i % CP_LOOKS];
        uint64_t before = seen;

        seen = cp_stats_get(&look->refused);
        if (seen > before && (i > first || first == 0)) {
            at = cp_stats_get(&look->at);
        }
    }
    return refused > seen ? (uint64_t)now : at;
}
