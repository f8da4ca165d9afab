/* SPDX-License-Identifier: Apache-2.0
 * The last minute and the last ten of a distribution.
 *
 * Nothing of it costs those who count. Every sixth of a minute who takes the
 * second's sample writes down what all children have counted so far: a mark.
 * What has been counted since the mark of a minute ago is the last minute. So
 * it needs no room per child, and passes though nobody counts. */
#ifndef CP_RECENT_H
#define CP_RECENT_H

#include <stdint.h>

#include "base/clock.h"
#include "stats/histogram.h"

typedef enum cp_window_t {
    CP_WINDOW_MINUTE, /**< the last 60 to 71 seconds */
    CP_WINDOW_TEN,    /**< the last 10 to 11 minutes */
    CP_WINDOWS
} cp_window_t;

/** "last_1m", "last_10m". */
const char *cp_window_name(cp_window_t window);

/** As many as reach back for the window, and one that is being written. */
#define CP_RECENT_STEPS   8  /* every sixth of a minute */
#define CP_RECENT_MINUTES 12 /* every minute */

/** Written by who takes the second's sample, read by anybody. All cells are
 * relaxed atomics, but `at`, which is cleared first and set last. */
typedef struct cp_recent_mark_t {
    uint64_t at; /**< CLOCK_MONOTONIC, us; 0: none */
    /** The lower halves of the counts: differences of them are right up to 2^32
     * in a window. */
    uint32_t bucket[CP_HISTOGRAM_BUCKETS];
} cp_recent_mark_t;

/** Of one distribution of all children; zeroed at first. 37 KiB, of which none
 * is touched before something was counted. */
typedef struct cp_recent_t {
    cp_recent_mark_t steps[CP_RECENT_STEPS];
    cp_recent_mark_t minutes[CP_RECENT_MINUTES];
} cp_recent_t;

/** Take what the histogram of a child holds into the sum of all. */
void cp_recent_add(uint32_t *sum, const cp_histogram_t *h);

/** Has the histogram counted anything ever? Touches its first page alone. */
int cp_recent_is_used(const cp_histogram_t *h);

/** Is a mark due? By who takes the second's sample. */
int cp_recent_is_due(const cp_recent_t *recent, cp_clock_t now);

/** Write down the sum; by the same one. */
void cp_recent_mark(cp_recent_t *recent, const uint32_t *sum, cp_clock_t now);

/** What came to `total`, the sum of all children, within the window. The
 * largest value is the bucket's upper end, or the largest ever when that lies
 * in the same one. `recent` may be NULL: all came just now. */
void cp_recent_spread(const cp_recent_t *recent, cp_window_t window,
                      cp_clock_t now, const cp_histogram_t *total,
                      cp_spread_t *spread);

#endif
