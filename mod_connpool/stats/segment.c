/* SPDX-License-Identifier: Apache-2.0
 *
 * A slot keeps its counters when its child ends, and the next child that
 * claims it goes on counting in the same cells. So nothing is ever moved from
 * one place to another: totals cannot fall, nothing can be read twice or
 * halfway, and readers need neither a lock nor a retry. What a fold settles
 * is one store per fact. That works because the sums take `busy` and `open`
 * from the counters: storing `abandoned` alone makes `busy` 0 in the same
 * instant, and a child killed between two increments does no harm.
 *
 * A segment that follows another one (succession.c) begins at zero, and the
 * sums go over both, so that there, too, nothing is moved under a writer.
 */
#include "stats/segment.h"

#include "stats/cell.h"
#include "stats/condition.h"
#include "stats/inside.h"
#include "stats/metric.h"
#include "stats/state/standing.h"
#include "stats/stats.h"
#include "stats/tables.h"

#include <stdint.h>
#include <string.h>

const cp_metrics_t *const cp_segment_metrics[CP_ENTRY_KINDS] = {
    [CP_ENTRY_POOL] = &cp_pool_metrics,
    [CP_ENTRY_QUERY] = &cp_query_metrics,
    [CP_ENTRY_UPSTREAM] = &cp_upstream_metrics,
};

static size_t stats_size(int kind)
{
    return ALIGNED(cp_segment_metrics[kind]->size);
}

/* Where those count who have no slot or no entry. Never read. */
static cp_pool_stats_t nobodys_pool;
static cp_query_stats_t nobodys_query;
static cp_upstream_stats_t nobodys_upstream;
static cp_loop_stats_t nobodys_loop;
static cp_process_stats_t nobodys_process;
static cp_batch_stats_t nobodys_batch;
static cp_condition_t nobodys_condition;
static cp_standing_t nobodys_standing;

/* What those see who look at all slots of several segments, in one that no
 * child has had so far: the pages of that one stay untouched. 0 throughout. */
static union {
    cp_pool_stats_t pool;
    cp_query_stats_t query;
    cp_upstream_stats_t upstream;
    slot_t slot;
} nothing;

static void measure(cp_segment_t *seg, const cp_segment_layout_t *layout)
{
    size_t end = ALIGNED(sizeof(*seg));
    size_t slot_end = ALIGNED(sizeof(slot_t));

    seg->layout = *layout;
    for (int kind = 0; kind < CP_ENTRY_KINDS; kind++) {
        size_t entries = (size_t)layout->entries[kind];

        seg->directory[kind] = end;
        end += ALIGNED(entries * sizeof(entry_t));
        seg->standings[kind] = end;
        end += ALIGNED(entries * sizeof(cp_standing_t));
        seg->stats[kind] = slot_end;
        slot_end += entries * stats_size(kind);
    }
    seg->conditions = end;
    end += ALIGNED((size_t)layout->entries[CP_ENTRY_POOL]
                   * sizeof(cp_condition_t));
    for (int kind = 0; kind < CP_ROOM_KINDS; kind++) {
        seg->rooms[kind] = end;
        end += cp_rooms_of(layout, kind) * ALIGNED(layout->rooms[kind]);
    }
    seg->slots = end;
    seg->slot_size = slot_end;
    seg->size = end + (size_t)layout->children * slot_end;
}

size_t cp_segment_size(const cp_segment_layout_t *layout)
{
    cp_segment_t seg;

    measure(&seg, layout);
    return seg.size + CACHE_LINE - 1; /* the memory need not be aligned */
}

cp_segment_t *cp_segment_init(void *memory, const cp_segment_layout_t *layout)
{
    cp_segment_t *seg = (cp_segment_t *)ALIGNED((uintptr_t)memory);

    measure(seg, layout);
    return seg;
}

void *cp_segment_cells(cp_segment_t *seg, int kind, int child, int entry)
{
    if (child < 0 || child >= seg->layout.children || entry < 0
        || entry >= seg->layout.entries[kind]) {
        return NULL;
    }
    return (char *)cp_slot_at(seg, child) + seg->stats[kind]
           + (size_t)entry * stats_size(kind);
}

static void *cells(cp_segment_t *seg, cp_entry_kind_t kind, int child,
                   int entry)
{
    int earlier = seg->earlier;
    int is_own = earlier == 0;

    while (child >= seg->layout.children && earlier-- > 0 && entry >= 0
           && entry < cp_used_entries(seg, kind)) {
        child -= seg->layout.children;
        entry = cp_entry_at(seg, kind, entry)->before;
        seg = seg->before;
    }
    return is_own || child < cp_used_slots(seg)
               ? cp_segment_cells(seg, kind, child, entry)
               : &nothing;
}

cp_pool_stats_t *cp_segment_pool(cp_segment_t *seg, int child, int entry)
{
    cp_pool_stats_t *stats = cells(seg, CP_ENTRY_POOL, child, entry);

    return stats ? stats : &nobodys_pool;
}

cp_query_stats_t *cp_segment_query(cp_segment_t *seg, int child, int entry)
{
    cp_query_stats_t *stats = cells(seg, CP_ENTRY_QUERY, child, entry);

    return stats ? stats : &nobodys_query;
}

cp_upstream_stats_t *cp_segment_upstream(cp_segment_t *seg, int child,
                                         int entry)
{
    cp_upstream_stats_t *stats = cells(seg, CP_ENTRY_UPSTREAM, child, entry);

    return stats ? stats : &nobodys_upstream;
}

/* Beyond a segment's own slots are those of the segment before. NULL: there is
 * no such slot. */
static slot_t *find_slot(cp_segment_t *seg, int child)
{
    int earlier = seg->earlier;
    int is_own = earlier == 0;

    while (child >= seg->layout.children && earlier-- > 0) {
        child -= seg->layout.children;
        seg = seg->before;
    }
    if (child < 0 || child >= seg->layout.children) {
        return NULL;
    }
    return is_own || child < cp_used_slots(seg) ? cp_slot_at(seg, child)
                                                : &nothing.slot;
}

/* What each child has one of. */
#define DEFINE_OWN(noun)                                                       \
    cp_##noun##_stats_t *cp_segment_##noun(cp_segment_t *seg, int child)       \
    {                                                                          \
        slot_t *slot = find_slot(seg, child);                                  \
                                                                               \
        return slot ? &slot->noun : &nobodys_##noun;                           \
    }

DEFINE_OWN(loop)
DEFINE_OWN(process)
DEFINE_OWN(batch)

static uint64_t sum_closed(const cp_pool_stats_t *stats)
{
    uint64_t closed = 0;

    for (int i = 0; i < CP_CLOSE_REASONS; i++) {
        closed += cp_stats_get(&stats->closed[i]);
    }
    return closed;
}

/* What the dead child held is taken from its counters; its gauges may be one
 * step behind them, when it was killed between the two. */
static void settle_pool(cp_pool_stats_t *stats)
{
    uint64_t ended = cp_stats_get(&stats->released)
                     + cp_stats_get(&stats->abandoned);
    uint64_t acquired = cp_stats_get(&stats->acquired);
    uint64_t closed = sum_closed(stats);
    uint64_t created = cp_stats_get(&stats->created);

    if (acquired > ended) {
        cp_stats_add(&stats->abandoned, (int64_t)(acquired - ended));
    }
    if (created > closed) {
        cp_stats_add(&stats->closed[CP_CLOSE_KILLED],
                     (int64_t)(created - closed));
    }
    for (int i = 0; i < CP_POOL_PARTS; i++) {
        for (int k = 0; k < CP_HOLDERS_LISTED; k++) {
            cp_holder_write(&stats->holders[i][k], NULL);
        }
    }
}

static void settle(cp_segment_t *seg, int child)
{
    slot_t *slot = cp_slot_at(seg, child);
    int pools = cp_used_entries(seg, CP_ENTRY_POOL);

    for (int i = 0; i < pools; i++) {
        settle_pool(cp_segment_pool(seg, child, i));
    }
    for (int kind = 0; kind < CP_ENTRY_KINDS; kind++) {
        int used = cp_used_entries(seg, kind);

        for (int i = 0; i < used; i++) {
            cp_metrics_settle(cp_segment_metrics[kind],
                              cells(seg, kind, child, i));
        }
    }
    cp_metrics_settle(&cp_loop_metrics, &slot->loop);
    cp_metrics_settle(&cp_process_metrics, &slot->process);
    cp_metrics_settle(&cp_batch_metrics, &slot->batch);
}

static int slot_of(cp_segment_t *seg, pid_t pid)
{
    int used = cp_used_slots(seg);

    for (int i = 0; i < used; i++) {
        if (cp_slot_owner(cp_slot_at(seg, i)) == pid) {
            return i;
        }
    }
    return -1;
}

void cp_segment_use_slots(cp_segment_t *seg, int used)
{
    int seen = cp_used_slots(seg);

    while (seen < used
           && !__atomic_compare_exchange_n(&seg->used_slots, &seen, used, 1,
                                           __ATOMIC_RELEASE,
                                           __ATOMIC_ACQUIRE)) {
    }
}

int cp_segment_claim(cp_segment_t *seg, pid_t pid)
{
    int mine;

    if (pid <= 0) {
        return -1;
    }
    mine = slot_of(seg, pid);
    if (mine >= 0) {
        settle(seg, mine);
        return mine;
    }
    for (int i = 0; i < seg->layout.children; i++) {
        pid_t nobody = 0;

        /* Before anything is counted in the slot it is among those summed. */
        cp_segment_use_slots(seg, i + 1);
        if (__atomic_compare_exchange_n(&cp_slot_at(seg, i)->pid, &nobody, pid,
                                        0, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE)) {
            return i;
        }
    }
    return -1;
}

void cp_segment_fold(cp_segment_t *seg, pid_t pid)
{
    int earlier = seg->earlier;
    int child = pid > 0 ? slot_of(seg, pid) : -1;

    while (child < 0 && earlier-- > 0 && pid > 0) {
        seg = seg->before;
        child = slot_of(seg, pid);
    }
    if (child >= 0) {
        settle(seg, child);
        __atomic_store_n(&cp_slot_at(seg, child)->pid, 0, __ATOMIC_RELEASE);
    }
}

/* Children go on counting between two of our reads, so a gauge would disagree
 * with its counters. The difference of the counters is the gauge. */
static void derive_gauges(cp_pool_stats_t *sum)
{
    uint64_t ended = sum->released + sum->abandoned;
    uint64_t closed = sum_closed(sum);

    if (sum->acquired < ended) {
        sum->acquired = ended;
    }
    if (sum->created < closed) {
        sum->created = closed;
    }
    sum->busy = sum->acquired - ended;
    sum->open = sum->created - closed;
    if (sum->idle > sum->open) {
        sum->idle = sum->open;
    }
}

typedef void merge_t(const cp_metrics_t *metrics, void *into, const void *from);

/* Cells of the struct at an offset of the slot. */
static void add_slots(cp_segment_t *seg, const cp_metrics_t *metrics,
                      size_t offset, merge_t *merge, void *sum)
{
    int used = cp_used_slots(seg);

    for (int i = 0; i < used; i++) {
        merge(metrics, sum, (char *)cp_slot_at(seg, i) + offset);
    }
}

static void sum_slots(cp_segment_t *seg, const cp_metrics_t *metrics,
                      size_t offset, void *sum)
{
    memset(sum, 0, metrics->size);
    for (int earlier = seg->earlier; earlier >= 0; earlier--) {
        add_slots(seg, metrics, offset, cp_metrics_merge, sum);
        seg = seg->before;
    }
    cp_metrics_floor(metrics, sum);
}

static void sum_entry(cp_segment_t *seg, cp_entry_kind_t kind, int entry,
                      merge_t *merge, void *sum)
{
    const cp_metrics_t *metrics = cp_segment_metrics[kind];

    memset(sum, 0, metrics->size);
    for (int earlier = seg->earlier; earlier >= 0; earlier--) {
        if (!cp_segment_cells(seg, kind, 0, entry)) {
            break;
        }
        add_slots(seg, metrics,
                  seg->stats[kind] + (size_t)entry * stats_size(kind), merge,
                  sum);
        entry = cp_entry_at(seg, kind, entry)->before;
        seg = seg->before;
    }
    cp_metrics_floor(metrics, sum);
    if (kind == CP_ENTRY_POOL) {
        derive_gauges(sum);
    }
}

void cp_segment_glance(cp_segment_t *seg, cp_entry_kind_t kind, int entry,
                       void *sum)
{
    sum_entry(seg, kind, entry, cp_metrics_merge_numbers, sum);
}

void cp_segment_sum_pool(cp_segment_t *seg, int entry, cp_pool_stats_t *sum)
{
    sum_entry(seg, CP_ENTRY_POOL, entry, cp_metrics_merge, sum);
}

void cp_segment_sum_query(cp_segment_t *seg, int entry, cp_query_stats_t *sum)
{
    sum_entry(seg, CP_ENTRY_QUERY, entry, cp_metrics_merge, sum);
}

void cp_segment_sum_upstream(cp_segment_t *seg, int entry,
                             cp_upstream_stats_t *sum)
{
    sum_entry(seg, CP_ENTRY_UPSTREAM, entry, cp_metrics_merge, sum);
}

void cp_segment_sum_loop(cp_segment_t *seg, cp_loop_stats_t *sum)
{
    sum_slots(seg, &cp_loop_metrics, offsetof(slot_t, loop), sum);
}

void cp_segment_sum_process(cp_segment_t *seg, cp_process_stats_t *sum)
{
    sum_slots(seg, &cp_process_metrics, offsetof(slot_t, process), sum);
}

void cp_segment_sum_batch(cp_segment_t *seg, cp_batch_stats_t *sum)
{
    sum_slots(seg, &cp_batch_metrics, offsetof(slot_t, batch), sum);
}

/* True once a second, for whoever comes first. */
static int is_due(uint64_t *next_at, uint64_t now)
{
    uint64_t due = __atomic_load_n(next_at, __ATOMIC_ACQUIRE);

    return now >= due
           && __atomic_compare_exchange_n(next_at, &due, now + APR_USEC_PER_SEC,
                                          0, __ATOMIC_ACQ_REL,
                                          __ATOMIC_RELAXED);
}

int cp_segment_sample_due(cp_segment_t *seg, uint64_t now)
{
    return is_due(&seg->next_sample_at, now);
}

int cp_segment_probe_due(cp_segment_t *seg, uint64_t now)
{
    return is_due(&seg->next_probe_at, now);
}

void cp_segment_record(cp_segment_t *seg, const cp_sample_t *sample)
{
    uint64_t head = cp_stats_get(&seg->head);
    cp_sample_t *place = &seg->history[head % CP_HISTORY_SAMPLES];

    __atomic_store_n(&place->at, sample->at, __ATOMIC_RELAXED);
    __atomic_store_n(&place->busy, sample->busy, __ATOMIC_RELAXED);
    __atomic_store_n(&place->waiting, sample->waiting, __ATOMIC_RELAXED);
    __atomic_store_n(&place->requests, sample->requests, __ATOMIC_RELAXED);
    __atomic_store_n(&place->errors, sample->errors, __ATOMIC_RELAXED);
    __atomic_store_n(&seg->head, head + 1, __ATOMIC_RELEASE);
}

int cp_segment_history(cp_segment_t *seg, cp_sample_t *samples)
{
    uint64_t head = __atomic_load_n(&seg->head, __ATOMIC_ACQUIRE);
    /* The oldest one may be overwritten while we read. */
    uint64_t first = head >= CP_HISTORY_SAMPLES ? head - CP_HISTORY_SAMPLES + 1
                                                : 0;
    int n = 0;

    for (uint64_t i = first; i < head; i++, n++) {
        const cp_sample_t *from = &seg->history[i % CP_HISTORY_SAMPLES];

        samples[n].at = cp_stats_get(&from->at);
        samples[n].busy = cp_stats_get(&from->busy);
        samples[n].waiting = cp_stats_get(&from->waiting);
        samples[n].requests = cp_stats_get(&from->requests);
        samples[n].errors = cp_stats_get(&from->errors);
    }
    return n;
}

cp_condition_t *cp_segment_condition(cp_segment_t *seg, int entry)
{
    cp_condition_t *conditions = (cp_condition_t *)(void *)((char *)seg
                                                            + seg->conditions);

    return entry >= 0 && entry < seg->layout.entries[CP_ENTRY_POOL]
               ? &conditions[entry]
               : &nobodys_condition;
}

cp_condition_t *cp_segment_server_condition(cp_segment_t *seg,
                                            cp_subject_t subject)
{
    return &seg->server_conditions[subject];
}

cp_standing_t *cp_segment_standing(cp_segment_t *seg, cp_subject_t subject,
                                   int entry)
{
    static const int kinds[CP_SUBJECTS] = {
        [CP_SUBJECT_POOL] = CP_ENTRY_POOL,
        [CP_SUBJECT_QUERY] = CP_ENTRY_QUERY,
        [CP_SUBJECT_UPSTREAM] = CP_ENTRY_UPSTREAM,
    };
    int kind = subject < CP_SUBJECT_EVENT_LOOP ? kinds[subject] : 0;

    if (subject >= CP_SUBJECT_EVENT_LOOP) {
        return &seg->server_standings[subject % CP_SUBJECTS];
    }
    return entry >= 0 && entry < seg->layout.entries[kind]
               ? (cp_standing_t *)(void *)((char *)seg + seg->standings[kind])
                     + entry
               : &nobodys_standing;
}

void *cp_segment_room(cp_segment_t *seg, int kind, int entry)
{
    size_t size = seg->layout.rooms[kind];

    return size > 0 && entry >= 0
                   && (size_t)entry < cp_rooms_of(&seg->layout, kind)
               ? (char *)seg + seg->rooms[kind] + (size_t)entry * ALIGNED(size)
               : NULL;
}

int cp_segment_slots(cp_segment_t *seg)
{
    int slots = 0;

    for (int earlier = seg->earlier; earlier > 0; earlier--) {
        slots += seg->layout.children;
        seg = seg->before;
    }
    return slots + cp_used_slots(seg);
}

pid_t cp_segment_owner(cp_segment_t *seg, int child)
{
    const slot_t *slot = find_slot(seg, child);

    return slot ? cp_slot_owner(slot) : 0;
}

int cp_segment_children(cp_segment_t *seg)
{
    int slots = cp_segment_slots(seg);
    int living = 0;

    for (int i = 0; i < slots; i++) {
        living += cp_segment_owner(seg, i) != 0;
    }
    return living;
}

int cp_segment_tell_fork(cp_segment_t *seg)
{
    return !__atomic_exchange_n(&seg->has_told_fork, 1, __ATOMIC_RELAXED);
}
