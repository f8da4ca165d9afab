/* SPDX-License-Identifier: Apache-2.0
 * A segment that follows another one, because that has no room for what was
 * added to the configuration.
 *
 * Children of the generation before go on counting where they are, so nothing
 * is copied from under them: the sums go over both segments, entry by entry, by
 * name. Once all of its children have ended, a segment can be absorbed by the
 * next but one, so that restarts do not make them more and more. */
#include "stats/parent/succession.h"

#include "stats/inside.h"
#include "stats/segment.h"
#include "stats/metric.h"
#include "stats/stats.h"
#include "stats/tables.h"

#include <string.h>

/* What the last minutes were like; of one layout are all of a server. */
static void copy_room(cp_segment_t *seg, int kind, int entry,
                      cp_segment_t *before, int same)
{
    void *own = cp_segment_room(seg, kind, entry);
    const void *from = cp_segment_room(before, kind, same);

    if (own && from && seg->layout.rooms[kind] == before->layout.rooms[kind]) {
        memcpy(own, from, seg->layout.rooms[kind]);
    }
}

void cp_segment_follow(cp_segment_t *seg, cp_segment_t *before)
{
    seg->before = before;
    seg->earlier = before->earlier + 1;
    seg->next_sample_at = before->next_sample_at;
    seg->next_probe_at = before->next_probe_at;
    seg->has_told_fork = before->has_told_fork;
    seg->head = before->head;
    memcpy(seg->history, before->history, sizeof(seg->history));
    memcpy(seg->server_conditions, before->server_conditions,
           sizeof(seg->server_conditions));
    memcpy(seg->server_standings, before->server_standings,
           sizeof(seg->server_standings));
    copy_room(seg, CP_ROOM_SERVER, 0, before, 0);
}

/* --- entries --- */

static void *standing_at(cp_segment_t *seg, int kind, int entry)
{
    static const cp_subject_t subjects[CP_ENTRY_KINDS] = {
        [CP_ENTRY_POOL] = CP_SUBJECT_POOL,
        [CP_ENTRY_QUERY] = CP_SUBJECT_QUERY,
        [CP_ENTRY_UPSTREAM] = CP_SUBJECT_UPSTREAM,
    };

    return cp_segment_standing(seg, subjects[kind], entry);
}

/* A child of the generation before may write while this reads: at the worst one
 * look of one second is lost. */
static void inherit(cp_segment_t *seg, int kind, int entry)
{
    const entry_t *own = cp_entry_at(seg, kind, entry);
    cp_segment_t *before = seg->before;

    if (own->before < 0) {
        return;
    }
    memcpy(standing_at(seg, kind, entry),
           standing_at(before, kind, own->before), sizeof(cp_standing_t));
    copy_room(seg, kind, entry, before, own->before);
    if (kind == CP_ENTRY_POOL) {
        memcpy(cp_segment_condition(seg, entry),
               cp_segment_condition(before, own->before),
               sizeof(cp_condition_t));
    }
}

static void inherit_all(cp_segment_t *seg)
{
    for (int kind = 0; kind < CP_ENTRY_KINDS; kind++) {
        for (int i = 0; i < cp_used_entries(seg, kind); i++) {
            inherit(seg, kind, i);
        }
    }
}

/* --- absorbing --- */

static int has_owner(cp_segment_t *seg)
{
    for (int i = 0; i < cp_used_slots(seg); i++) {
        if (cp_slot_owner(cp_slot_at(seg, i)) != 0) {
            return 1;
        }
    }
    return 0;
}

static void absorb_entry(cp_segment_t *seg, int kind, int entry,
                         cp_segment_t *old)
{
    const entry_t *own = cp_entry_at(seg, kind, entry);
    int same = cp_segment_find(old, kind, own->server, own->name);

    for (int i = 0; same >= 0 && i < cp_used_slots(old); i++) {
        cp_metrics_merge(cp_segment_metrics[kind],
                         cp_segment_cells(seg, kind, 0, entry),
                         cp_segment_cells(old, kind, i, same));
    }
}

/* Into the first slot, whose owner will count on from there. */
static void absorb(cp_segment_t *seg, cp_segment_t *old)
{
    slot_t *own = cp_slot_at(seg, 0);

    for (int kind = 0; kind < CP_ENTRY_KINDS; kind++) {
        for (int i = 0; i < cp_used_entries(seg, kind); i++) {
            absorb_entry(seg, kind, i, old);
        }
    }
    for (int i = 0; i < cp_used_slots(old); i++) {
        const slot_t *slot = cp_slot_at(old, i);

        cp_metrics_merge(&cp_loop_metrics, &own->loop, &slot->loop);
        cp_metrics_merge(&cp_process_metrics, &own->process, &slot->process);
        cp_metrics_merge(&cp_batch_metrics, &own->batch, &slot->batch);
    }
}

static int may_absorb(const cp_segment_t *seg)
{
    cp_segment_t *old = seg->before;

    for (int i = seg->earlier; i > 1; i--) {
        old = old->before;
        if (has_owner(old)) {
            return 0;
        }
    }
    return 1;
}

int cp_segment_succeed(cp_segment_t *seg)
{
    cp_segment_t *old = seg->before;
    int absorbed = 0;

    inherit_all(seg);
    if (!may_absorb(seg)) {
        return 0;
    }
    cp_segment_use_slots(seg, 1);
    for (; seg->earlier > 1; seg->earlier--) {
        old = old->before;
        absorb(seg, old);
        absorbed++;
    }
    return absorbed;
}
