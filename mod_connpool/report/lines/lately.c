/* SPDX-License-Identifier: Apache-2.0
 * The last minute and the last ten of what a line's distributions say. */
#include "report/lines/lately.h"

#include "base/clock.h"
#include "child/child.h"
#include "stats/histogram.h"
#include "stats/recent/recent.h"
#include "stats/recent/room.h"

int connpool_status_lately(const connpool_whose_t *whose,
                           const cp_histogram_t *h, cp_window_t window,
                           cp_spread_t *spread)
{
    size_t offset = (size_t)((const char *)h - (const char *)whose->sum);

    if (!cp_room_has_recent(whose->kind, offset)) {
        return 0;
    }
    cp_recent_spread(cp_room_recent(connpool_child.segment, whose->kind,
                                    whose->entry, offset),
                     window, cp_clock_now(), h, spread);
    return 1;
}
