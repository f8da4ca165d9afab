/* SPDX-License-Identifier: Apache-2.0
 * Distributions of durations in shared memory. */
#include "stats/histogram.h"

#include "stats/cell.h"

#define SUB_BITS   4 /* 16 buckets an octave */
#define SUBS       (1 << SUB_BITS)
#define VALUE_BITS 32

_Static_assert(CP_HISTOGRAM_BUCKETS == SUBS + (VALUE_BITS - SUB_BITS) * SUBS,
               "the buckets cover exactly 0 .. 2^32 - 1");

/* Above 16 the bucket is the exponent, followed by the four bits below the
 * leading one. */
static unsigned bucket_of(uint64_t us)
{
    unsigned octave;

    if (us < SUBS) {
        return (unsigned)us;
    }
    if (us > UINT32_MAX) {
        return CP_HISTOGRAM_BUCKETS - 1;
    }
    octave = (unsigned)(63 - __builtin_clzll(us)) - SUB_BITS;
    return SUBS + octave * SUBS + (unsigned)((us >> octave) & (SUBS - 1));
}

static uint64_t bucket_middle(unsigned bucket)
{
    unsigned octave;
    uint64_t low;

    if (bucket < SUBS) {
        return bucket;
    }
    octave = (bucket - SUBS) / SUBS;
    low = (uint64_t)(SUBS + bucket % SUBS) << octave;
    return low + ((UINT64_C(1) << octave) >> 1);
}

uint64_t cp_histogram_bucket_end(unsigned bucket)
{
    unsigned octave = bucket < SUBS ? 0 : (bucket - SUBS) / SUBS;
    uint64_t low = bucket < SUBS ? bucket
                                 : (uint64_t)(SUBS + bucket % SUBS) << octave;

    return bucket >= CP_HISTOGRAM_BUCKETS - 1
               ? UINT64_MAX
               : low + (UINT64_C(1) << octave) - 1;
}

void cp_histogram_record(cp_histogram_t *h, apr_interval_time_t us)
{
    uint64_t value = us > 0 ? (uint64_t)us : 0;

    /* The maximum first: a quantile must not be cut to an older one. */
    cp_stats_raise(&h->max, value);
    cp_stats_add(&h->sum, (int64_t)value);
    cp_stats_add(&h->bucket[bucket_of(value)], 1);
}

uint64_t cp_histogram_count(const cp_histogram_t *h)
{
    uint64_t count = 0;

    for (unsigned i = 0; i < CP_HISTOGRAM_BUCKETS; i++) {
        count += cp_stats_get(&h->bucket[i]);
    }
    return count;
}

/* The place, from 1, of the wanted value among count sorted ones. */
static uint64_t rank_of(double q, uint64_t count)
{
    uint64_t rank;

    if (!(q > 0)) {
        return 1;
    }
    if (q >= 1) {
        return count;
    }
    rank = (uint64_t)(q * (double)count);
    if ((double)rank < q * (double)count) {
        rank++;
    }
    return rank > 0 ? rank : 1;
}

uint64_t cp_histogram_quantile(const cp_histogram_t *h, double q)
{
    uint64_t count = cp_histogram_count(h);
    uint64_t rank = rank_of(q, count);
    uint64_t seen = 0;

    if (count == 0) {
        return 0;
    }
    for (unsigned i = 0; i < CP_HISTOGRAM_BUCKETS; i++) {
        seen += cp_stats_get(&h->bucket[i]);
        if (seen >= rank) {
            uint64_t max = cp_stats_get(&h->max);
            uint64_t middle = bucket_middle(i);

            return middle < max ? middle : max;
        }
    }
    return cp_stats_get(&h->max);
}

uint64_t cp_histogram_below(const cp_histogram_t *h, uint64_t us)
{
    uint64_t count = 0;

    for (unsigned i = 0; i < CP_HISTOGRAM_BUCKETS && bucket_middle(i) <= us;
         i++) {
        count += cp_stats_get(&h->bucket[i]);
    }
    return count;
}

void cp_histogram_merge(cp_histogram_t *into, const cp_histogram_t *from)
{
    for (unsigned i = 0; i < CP_HISTOGRAM_BUCKETS; i++) {
        cp_stats_accumulate(&into->bucket[i], cp_stats_get(&from->bucket[i]));
    }
    cp_stats_accumulate(&into->sum, cp_stats_get(&from->sum));
    cp_stats_raise(&into->max, cp_stats_get(&from->max));
}

void cp_histogram_spread(const cp_histogram_t *h, cp_spread_t *spread)
{
    *spread = (cp_spread_t){
        .count = cp_histogram_count(h),
        .sum = h->sum,
        .p50 = cp_histogram_quantile(h, 0.50),
        .p90 = cp_histogram_quantile(h, 0.90),
        .p99 = cp_histogram_quantile(h, 0.99),
        .max = h->max,
    };
}
