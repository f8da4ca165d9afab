/* SPDX-License-Identifier: Apache-2.0
 * How busy a pool has been in each ten seconds of the last ten minutes. */
#ifndef CP_TREND_H
#define CP_TREND_H

#include <stdint.h>

#include "base/clock.h"

#define CP_TREND_POINTS 60
#define CP_TREND_STEP   apr_time_from_sec(10)

/** The most that was seen; written by who takes the second's sample, read by
 * anybody. All cells are relaxed atomics, but `step`, which is set first. */
typedef struct cp_trend_point_t {
    uint64_t step; /**< since the clock's zero; 0: nothing was seen */
    uint32_t busy;
    uint32_t waiting;
} cp_trend_point_t;

/** Room for those that are shown, and one that is being written. */
typedef struct cp_trend_t {
    cp_trend_point_t points[CP_TREND_POINTS + 1];
} cp_trend_t;

void cp_trend_note(cp_trend_t *trend, uint64_t busy, uint64_t waiting,
                   cp_clock_t now);

/** Copy the point `ago` steps before now; false when nothing was seen then. */
int cp_trend_read(const cp_trend_t *trend, int ago, cp_clock_t now,
                  cp_trend_point_t *point);

#endif
