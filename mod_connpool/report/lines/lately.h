/* SPDX-License-Identifier: Apache-2.0
 * The last minute and the last ten of what a line's distributions say. */
#ifndef CONNPOOL_LATELY_H
#define CONNPOOL_LATELY_H

#include "stats/histogram.h"
#include "stats/recent/recent.h"

/* Whose distributions: an entry of the segment, or CP_ROOM_SERVER and 0. */
typedef struct connpool_whose_t {
    int kind;
    int entry;
    const void *sum; /* the struct of counters that they are members of */
} connpool_whose_t;

/** False when there is no such window of this one. */
int connpool_status_lately(const connpool_whose_t *whose,
                           const cp_histogram_t *h, cp_window_t window,
                           cp_spread_t *spread);

#endif
