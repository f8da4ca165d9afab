/* SPDX-License-Identifier: Apache-2.0
 * What a segment is made of; for stats/ alone.
 *
 * Memory, each part aligned to a cache line:
 *
 *     cp_segment_t                 offsets and high-water marks
 *     entry_t    [all entries]     the directory, kind after kind
 *     cp_condition_t [pools]       how each pool has been
 *     cp_standing_t [all entries]  since when each is as it is
 *     rooms [all entries]          how each has been lately, see stats/recent
 *     child slot [children]        slot_t, pools, queries, upstreams */
#ifndef CP_INSIDE_H
#define CP_INSIDE_H

#include "stats/condition.h"
#include "stats/metric.h"
#include "stats/segment.h"
#include "stats/state/standing.h"
#include "stats/state/state.h"
#include "stats/stats.h"

#define CACHE_LINE 64
#define NAME_SIZE  128

#define ALIGNED(size)                                                          \
    (((size_t)(size) + CACHE_LINE - 1) & ~(size_t)(CACHE_LINE - 1))

/* Written by the parent alone, before there is a child that reads it. */
typedef struct entry_t {
    char server[NAME_SIZE];
    char name[NAME_SIZE];
    int before; /* the same one in the segment before, or -1 */
} entry_t;

typedef struct slot_t {
    pid_t pid; /* atomic; 0: free */
    cp_loop_stats_t loop;
    cp_process_stats_t process;
    cp_batch_stats_t batch;
} slot_t;

struct cp_segment_t {
    cp_segment_layout_t layout;
    size_t directory[CP_ENTRY_KINDS]; /* offsets in the segment */
    size_t conditions;
    size_t standings[CP_ENTRY_KINDS];
    size_t rooms[CP_ROOM_KINDS];
    size_t slots;
    size_t stats[CP_ENTRY_KINDS]; /* offsets in a slot */
    size_t slot_size;
    size_t size;

    /* The segment that this one follows, and how many of those before it count
     * still. Whoever has this one has them mapped, at the same place: all are
     * made by one parent. Written by it before there is a child. */
    cp_segment_t *before;
    int earlier;

    /* Atomic, these only grow. Pages behind them are never touched. */
    int used_entries[CP_ENTRY_KINDS];
    int used_slots;

    /* The ring: samples [head - CP_HISTORY_SAMPLES, head) can be read. */
    uint64_t next_sample_at; /* atomic */
    uint64_t next_probe_at;  /* atomic */
    int has_told_fork;       /* atomic */
    uint64_t head;           /* atomic: samples ever taken */
    cp_sample_t history[CP_HISTORY_SAMPLES];

    /* What there is one of; those of pools, queries, upstreams are unused. */
    cp_condition_t server_conditions[CP_SUBJECTS];
    cp_standing_t server_standings[CP_SUBJECTS];
};

/** The table of each kind's struct. */
extern const cp_metrics_t *const cp_segment_metrics[CP_ENTRY_KINDS];

static inline int cp_used_entries(const cp_segment_t *seg, int kind)
{
    return __atomic_load_n(&seg->used_entries[kind], __ATOMIC_ACQUIRE);
}

static inline size_t cp_rooms_of(const cp_segment_layout_t *layout, int kind)
{
    return kind == CP_ROOM_SERVER ? 1 : (size_t)layout->entries[kind];
}

static inline int cp_used_slots(const cp_segment_t *seg)
{
    return __atomic_load_n(&seg->used_slots, __ATOMIC_ACQUIRE);
}

static inline slot_t *cp_slot_at(cp_segment_t *seg, int child)
{
    return (slot_t *)((char *)seg + seg->slots
                      + (size_t)child * seg->slot_size);
}

static inline pid_t cp_slot_owner(const slot_t *slot)
{
    return __atomic_load_n(&slot->pid, __ATOMIC_ACQUIRE);
}

/** The cells of one of this segment's own entries in one of its own slots,
 * NULL when there are none. */
void *cp_segment_cells(cp_segment_t *seg, int kind, int child, int entry);

/** The slot will be among those that are summed up. */
void cp_segment_use_slots(cp_segment_t *seg, int used);

static inline entry_t *cp_entry_at(cp_segment_t *seg, int kind, int entry)
{
    return (entry_t *)((char *)seg + seg->directory[kind]) + entry;
}

#endif
