/* SPDX-License-Identifier: Apache-2.0 */
#include "stats/recent/trend.h"

#include "base/clock.h"

#define ROOM (CP_TREND_POINTS + 1)

static uint64_t step_of(cp_clock_t at)
{
    return (uint64_t)(at / CP_TREND_STEP);
}

static void raise_to(uint32_t *cell, uint64_t value)
{
    uint32_t seen = __atomic_load_n(cell, __ATOMIC_RELAXED);
    uint32_t most = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;

    if (most > seen) {
        __atomic_store_n(cell, most, __ATOMIC_RELAXED);
    }
}

void cp_trend_note(cp_trend_t *trend, uint64_t busy, uint64_t waiting,
                   cp_clock_t now)
{
    uint64_t step = step_of(now);
    cp_trend_point_t *point = &trend->points[step % ROOM];

    if (__atomic_load_n(&point->step, __ATOMIC_RELAXED) != step) {
        __atomic_store_n(&point->busy, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&point->waiting, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&point->step, step, __ATOMIC_RELEASE);
    }
    raise_to(&point->busy, busy);
    raise_to(&point->waiting, waiting);
}

int cp_trend_read(const cp_trend_t *trend, int ago, cp_clock_t now,
                  cp_trend_point_t *point)
{
    uint64_t step = step_of(now) - (uint64_t)ago;
    const cp_trend_point_t *from = &trend->points[step % ROOM];

    point->step = __atomic_load_n(&from->step, __ATOMIC_ACQUIRE);
    point->busy = __atomic_load_n(&from->busy, __ATOMIC_RELAXED);
    point->waiting = __atomic_load_n(&from->waiting, __ATOMIC_RELAXED);
    return point->step == step && step != 0;
}
