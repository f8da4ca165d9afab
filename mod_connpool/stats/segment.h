/* SPDX-License-Identifier: Apache-2.0
 * The numbers of all children in one piece of shared memory, made by the parent
 * and inherited by all children: a directory of named entries, and a slot per
 * child, which keeps its counters when the child ends. No pointers inside. */
#ifndef CP_SEGMENT_H
#define CP_SEGMENT_H

#include <stddef.h>
#include <sys/types.h>

#include <apr_errno.h>

#include "stats/condition.h"
#include "stats/state/standing.h"
#include "stats/state/state.h"
#include "stats/stats.h"

typedef struct cp_segment_t cp_segment_t;

typedef enum cp_entry_kind_t {
    CP_ENTRY_POOL,
    CP_ENTRY_QUERY,
    CP_ENTRY_UPSTREAM,
    CP_ENTRY_KINDS
} cp_entry_kind_t;

/** Rooms: one for each entry of a kind, and one for the whole server. */
#define CP_ROOM_SERVER CP_ENTRY_KINDS
#define CP_ROOM_KINDS  (CP_ENTRY_KINDS + 1)

/** How much room to make: entries of each kind, and children. */
typedef struct cp_segment_layout_t {
    int entries[CP_ENTRY_KINDS];
    int children;
    size_t rooms[CP_ROOM_KINDS]; /**< bytes of each; 0: there are none */
} cp_segment_layout_t;

/** Bytes of memory that cp_segment_init needs. The kernel provides only the
 * pages of entries and children that are really used. */
size_t cp_segment_size(const cp_segment_layout_t *layout);

/** Build a segment in zeroed memory of that size (the parent, before fork). */
cp_segment_t *cp_segment_init(void *memory, const cp_segment_layout_t *layout);

/** Index of the entry, made when it is new; -1 when the directory is full. The
 * same (server, name) keeps its index over graceful restarts. server is "" for
 * the main server. Parent only. Names longer than 127 bytes are cut. */
int cp_segment_entry(cp_segment_t *seg, cp_entry_kind_t kind,
                     const char *server, const char *name);

/** Claim a slot for this process (child, after fork, before it counts): child
 * index, or -1 when all are taken. The slot stays claimed until it is folded.
 * Claiming again with one pid gives the same slot, settled as by a fold: the
 * kernel has reused the pid of a dead child. */
int cp_segment_claim(cp_segment_t *seg, pid_t pid);

/** Settle what the dead child left behind and free its slot: what was busy
 * becomes abandoned, what was open becomes closed[KILLED], gauges vanish. Its
 * counters stay in the sums. Parent only, before it forks again. Unknown pids
 * are ignored. */
void cp_segment_fold(cp_segment_t *seg, pid_t pid);

/** A child's own cells, valid while the segment is mapped. They need not begin
 * at zero: the next child counts on where the last one ended. With a child or
 * an entry that does not exist (-1) these are cells of this process that nobody
 * reads, so that callers need not ask. */
cp_pool_stats_t *cp_segment_pool(cp_segment_t *seg, int child, int entry);
cp_query_stats_t *cp_segment_query(cp_segment_t *seg, int child, int entry);
cp_upstream_stats_t *cp_segment_upstream(cp_segment_t *seg, int child,
                                         int entry);
cp_loop_stats_t *cp_segment_loop(cp_segment_t *seg, int child);
cp_process_stats_t *cp_segment_process(cp_segment_t *seg, int child);
cp_batch_stats_t *cp_segment_batch(cp_segment_t *seg, int child);

/** Set *sum to the sum over all children, living and ended; 0 throughout for
 * an entry that does not exist. Counters never fall, whatever is folded or
 * counted meanwhile. busy and open are what the counters leave, so that the
 * identities of cp_pool_stats_t hold in every sum. */
void cp_segment_sum_pool(cp_segment_t *seg, int entry, cp_pool_stats_t *sum);
void cp_segment_sum_query(cp_segment_t *seg, int entry, cp_query_stats_t *sum);
void cp_segment_sum_upstream(cp_segment_t *seg, int entry,
                             cp_upstream_stats_t *sum);
void cp_segment_sum_loop(cp_segment_t *seg, cp_loop_stats_t *sum);
void cp_segment_sum_process(cp_segment_t *seg, cp_process_stats_t *sum);
void cp_segment_sum_batch(cp_segment_t *seg, cp_batch_stats_t *sum);

/** The sum of an entry of that kind (its struct of counters) without its
 * distributions, which stay 0: for who looks every second. */
void cp_segment_glance(cp_segment_t *seg, cp_entry_kind_t kind, int entry,
                       void *sum);

/** Bytes that belong to an entry, or to the server (CP_ROOM_SERVER, 0), and to
 * no child; zeroed at the start. What they mean knows who laid the segment out:
 * stats/recent. NULL: there are none, or no such entry. */
void *cp_segment_room(cp_segment_t *seg, int kind, int entry);

/** Who owns slot `child` (0 up to cp_segment_slots): its pid, or 0. For
 * reports by child. */
pid_t cp_segment_owner(cp_segment_t *seg, int child);
int cp_segment_slots(cp_segment_t *seg);

/* --- the last ten minutes, and how pools have been --- */

#define CP_HISTORY_SAMPLES 600

/** All children together, once a second. */
typedef struct cp_sample_t {
    uint64_t at; /**< CLOCK_MONOTONIC, us */
    uint64_t busy;
    uint64_t waiting;
    uint64_t requests; /**< total so far: queries and fetches */
    uint64_t errors;   /**< total so far */
} cp_sample_t;

/** Is a sample due, and is it this caller's to take? True for one of all
 * children, at most once a second. */
int cp_segment_sample_due(cp_segment_t *seg, uint64_t now);

/** Append; by the one for whom cp_segment_sample_due was true. */
void cp_segment_record(cp_segment_t *seg, const cp_sample_t *sample);

/** Copy the newest samples, oldest first, into room for CP_HISTORY_SAMPLES;
 * returns how many. */
int cp_segment_history(cp_segment_t *seg, cp_sample_t *samples);

/** May this caller probe? True for one of all children, at most once a second.
 */
int cp_segment_probe_due(cp_segment_t *seg, uint64_t now);

/** How a pool has been; written by who takes the sample. A static dummy for an
 * entry that does not exist. */
cp_condition_t *cp_segment_condition(cp_segment_t *seg, int entry);

/** May this caller tell the log of forked processes? True for the first. */
int cp_segment_tell_fork(cp_segment_t *seg);

/** Likewise of what there is one of: memory, cache. */
cp_condition_t *cp_segment_server_condition(cp_segment_t *seg,
                                            cp_subject_t subject);

/** Since when a subject is as it is; entry counts for those that have entries.
 * A static dummy for one that does not exist. */
cp_standing_t *cp_segment_standing(cp_segment_t *seg, cp_subject_t subject,
                                   int entry);

/** Number of living children that claimed a slot. */
int cp_segment_children(cp_segment_t *seg);

#endif
