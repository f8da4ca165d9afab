/* SPDX-License-Identifier: Apache-2.0
 * What the segment's rooms hold: of which distributions there is a last minute,
 * and where. */
#ifndef CP_ROOM_H
#define CP_ROOM_H

#include <stddef.h>

#include "base/clock.h"
#include "stats/recent/recent.h"
#include "stats/recent/trend.h"

struct cp_condition_t;
struct cp_segment_layout_t;
struct cp_segment_t;

/** Say how large the rooms are, before the segment is made. */
void cp_room_lay_out(struct cp_segment_layout_t *layout);

/** That of the distribution at this offset of the entry's struct of counters,
 * for CP_ROOM_SERVER of cp_process_stats_t; NULL: it has none. */
cp_recent_t *cp_room_recent(struct cp_segment_t *seg, int kind, int entry,
                            size_t offset);

/** Is there one, wherever that is? */
int cp_room_has_recent(int kind, size_t offset);

/** A pool's, or NULL. */
cp_trend_t *cp_room_trend(struct cp_segment_t *seg, int pool);

/** How the runs of a query have been, or NULL. */
struct cp_condition_t *cp_room_condition(struct cp_segment_t *seg, int query);

/** Mark all that are due of an entry; by who takes the second's sample. */
void cp_room_mark(struct cp_segment_t *seg, int kind, int entry,
                  cp_clock_t now);

#endif
