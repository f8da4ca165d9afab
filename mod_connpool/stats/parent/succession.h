/* SPDX-License-Identifier: Apache-2.0
 * A segment that follows another one; for the parent alone. */
#ifndef CP_SUCCESSION_H
#define CP_SUCCESSION_H

#include "stats/segment.h"

/** Let a segment that was just made go on where the one before it, which has no
 * room for more entries, has come to: its sums cover both, by (server, name).
 * Children of before count there until they end. Before the first entry is
 * made; before stays mapped, for whoever has seg, while it is covered. */
void cp_segment_follow(cp_segment_t *seg, cp_segment_t *before);

/** When all entries are made: how they have been so far, and what the segments
 * before the one that seg follows have counted, if nobody counts there any
 * more. Returns how many need not stay mapped: the oldest ones. */
int cp_segment_succeed(cp_segment_t *seg);

/** A segment's own index of the entry, or -1. */
int cp_segment_find(cp_segment_t *seg, int kind, const char *server,
                    const char *name);

#endif
