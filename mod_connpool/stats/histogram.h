/* SPDX-License-Identifier: Apache-2.0
 * Distributions of durations in shared memory. */
#ifndef CP_HISTOGRAM_H
#define CP_HISTOGRAM_H

#include <stdint.h>

#include <apr_time.h>

/** HDR-style: below 16 us one bucket each; above, 16 buckets an octave, so a
 * bucket's middle is at most 3.2 % from any value in it. Values are whole
 * microseconds up to 2^32 (71 minutes); larger ones count in the last bucket.
 */
#define CP_HISTOGRAM_BUCKETS (16 + 28 * 16)

typedef struct cp_histogram_t {
    uint64_t sum; /**< microseconds */
    uint64_t max;
    uint64_t bucket[CP_HISTOGRAM_BUCKETS];
} cp_histogram_t;

/** What is shown of one, in microseconds. */
typedef struct cp_spread_t {
    uint64_t count;
    uint64_t sum;
    uint64_t p50;
    uint64_t p90;
    uint64_t p99;
    uint64_t max;
} cp_spread_t;

/** Record one duration in microseconds (negative counts as 0). */
void cp_histogram_record(cp_histogram_t *h, apr_interval_time_t us);

/** The largest value that is counted there; the last bucket has no end. */
uint64_t cp_histogram_bucket_end(unsigned bucket);

/** Exact number of recorded values. */
uint64_t cp_histogram_count(const cp_histogram_t *h);

/** The value in microseconds below which the share q (0..1) of all recorded
 * values lies: the bucket's middle, never above max. 0 when empty. */
uint64_t cp_histogram_quantile(const cp_histogram_t *h, double q);

/** How many values are at most `us`, to the precision of a bucket; grows with
 * us, and never exceeds the count. */
uint64_t cp_histogram_below(const cp_histogram_t *h, uint64_t us);

void cp_histogram_spread(const cp_histogram_t *h, cp_spread_t *spread);

/** into += from, which may be written meanwhile; into by this thread alone. */
void cp_histogram_merge(cp_histogram_t *into, const cp_histogram_t *from);

#endif
