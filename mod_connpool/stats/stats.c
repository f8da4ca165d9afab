/* SPDX-License-Identifier: Apache-2.0 */
#include "stats/stats.h"

#include "base/error.h"

#include <stddef.h>
#include <string.h>

#define SUB_BITS   4 /* 16 buckets an octave */
#define SUBS       (1 << SUB_BITS)
#define VALUE_BITS 32

_Static_assert(CP_HISTOGRAM_BUCKETS == SUBS + (VALUE_BITS - SUB_BITS) * SUBS,
               "the buckets cover exactly 0 .. 2^32 - 1");

static const char *const close_reasons[CP_CLOSE_REASONS] = {
    [CP_CLOSE_IDLE] = "idle",           [CP_CLOSE_LIFETIME] = "lifetime",
    [CP_CLOSE_DEAD] = "dead",           [CP_CLOSE_FLUSHED] = "flushed",
    [CP_CLOSE_DISCARDED] = "discarded", [CP_CLOSE_UNPOOLED] = "unpooled",
    [CP_CLOSE_OVERFLOW] = "overflow",   [CP_CLOSE_SHUTDOWN] = "shutdown",
    [CP_CLOSE_KILLED] = "killed",
};

const char *cp_close_reason_name(cp_close_reason_t reason)
{
    return (unsigned)reason < CP_CLOSE_REASONS ? close_reasons[reason]
                                               : "unknown";
}

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

void cp_stats_raise(uint64_t *cell, uint64_t value)
{
    uint64_t seen = cp_stats_get(cell);

    while (value > seen
           && !__atomic_compare_exchange_n(
               cell, &seen, value, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
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

/* Only one thread merges into a struct, so no locked instruction is needed;
 * the store is atomic because others may read. */
static void accumulate(uint64_t *into, uint64_t value)
{
    if (value != 0) {
        __atomic_store_n(into, cp_stats_get(into) + value, __ATOMIC_RELAXED);
    }
}

/* Like cp_stats_get, and nothing that follows is read earlier. */
static uint64_t get_first(const uint64_t *cell)
{
    return __atomic_load_n(cell, __ATOMIC_ACQUIRE);
}

static void histogram_merge(cp_histogram_t *into, const cp_histogram_t *from)
{
    for (unsigned i = 0; i < CP_HISTOGRAM_BUCKETS; i++) {
        accumulate(&into->bucket[i], cp_stats_get(&from->bucket[i]));
    }
    accumulate(&into->sum, cp_stats_get(&from->sum));
    cp_stats_raise(&into->max, cp_stats_get(&from->max));
}

/* What comes into a pool and what leaves it. */
typedef struct flow_t {
    uint64_t released;
    uint64_t abandoned;
    uint64_t closed[CP_CLOSE_REASONS];
    uint64_t acquired;
    uint64_t created;
} flow_t;

/* What ends is read before what begins, so that a reader never sees more
 * released than acquired, or more closed than created. */
static void read_flow(flow_t *flow, const cp_pool_stats_t *from)
{
    flow->released = get_first(&from->released);
    flow->abandoned = get_first(&from->abandoned);
    for (int i = 0; i < CP_CLOSE_REASONS; i++) {
        flow->closed[i] = get_first(&from->closed[i]);
    }
    flow->acquired = get_first(&from->acquired);
    flow->created = get_first(&from->created);
}

/* Were the reader interrupted in the middle, all that was acquired meanwhile
 * would look busy. When nothing ended until it was read again, the numbers are
 * of one moment. */
static void read_steady_flow(flow_t *flow, const cp_pool_stats_t *from)
{
    read_flow(flow, from);
    for (int tries = 0; tries < 100; tries++) {
        flow_t again;

        read_flow(&again, from);
        if (!memcmp(flow, &again, offsetof(flow_t, acquired))) {
            return;
        }
        *flow = again;
    }
}

static void merge_failures(uint64_t *into, const uint64_t *from)
{
    for (int i = 0; i < CP_ERR_CLASSES; i++) {
        accumulate(&into[i], cp_stats_get(&from[i]));
    }
}

/* The oldest of all: the smallest that is not 0. */
static void merge_waiting_since(uint64_t *into, uint64_t since)
{
    uint64_t oldest = cp_stats_get(into);

    if (since != 0 && (oldest == 0 || since < oldest)) {
        __atomic_store_n(into, since, __ATOMIC_RELAXED);
    }
}

void cp_pool_stats_merge(cp_pool_stats_t *into, const cp_pool_stats_t *from)
{
    flow_t flow;

    read_steady_flow(&flow, from);
    accumulate(&into->acquired, flow.acquired);
    accumulate(&into->released, flow.released);
    accumulate(&into->abandoned, flow.abandoned);
    accumulate(&into->created, flow.created);
    for (int i = 0; i < CP_CLOSE_REASONS; i++) {
        accumulate(&into->closed[i], flow.closed[i]);
    }
    accumulate(&into->timeouts, cp_stats_get(&from->timeouts));
    accumulate(&into->rejected, cp_stats_get(&from->rejected));
    accumulate(&into->fallbacks, cp_stats_get(&from->fallbacks));
    accumulate(&into->create_failures, cp_stats_get(&from->create_failures));
    accumulate(&into->leaks_suspected, cp_stats_get(&from->leaks_suspected));
    accumulate(&into->open, cp_stats_get(&from->open));
    accumulate(&into->busy, cp_stats_get(&from->busy));
    accumulate(&into->idle, cp_stats_get(&from->idle));
    accumulate(&into->waiting, cp_stats_get(&from->waiting));
    accumulate(&into->memory_bytes, cp_stats_get(&from->memory_bytes));
    accumulate(&into->cache_bytes, cp_stats_get(&from->cache_bytes));
    accumulate(&into->schema_bytes, cp_stats_get(&from->schema_bytes));
    accumulate(&into->statement_bytes, cp_stats_get(&from->statement_bytes));
    merge_failures(into->failures, from->failures);
    cp_stats_raise(&into->busy_max, cp_stats_get(&from->busy_max));
    cp_stats_raise(&into->open_max, cp_stats_get(&from->open_max));
    cp_stats_raise(&into->waiting_max, cp_stats_get(&from->waiting_max));
    /* Children see the same file. */
    cp_stats_raise(&into->wal_bytes, cp_stats_get(&from->wal_bytes));
    for (int i = 0; i < CP_POOL_PARTS; i++) {
        accumulate(&into->down[i], cp_stats_get(&from->down[i]));
        merge_waiting_since(&into->waiting_since[i],
                            cp_stats_get(&from->waiting_since[i]));
    }
    histogram_merge(&into->acquire_us, &from->acquire_us);
    histogram_merge(&into->hold_us, &from->hold_us);
    histogram_merge(&into->create_us, &from->create_us);
}

void cp_query_stats_merge(cp_query_stats_t *into, const cp_query_stats_t *from)
{
    accumulate(&into->errors, get_first(&from->errors));
    accumulate(&into->count, cp_stats_get(&from->count));
    accumulate(&into->rows, cp_stats_get(&from->rows));
    accumulate(&into->slow, cp_stats_get(&from->slow));
    merge_failures(into->failures, from->failures);
    accumulate(&into->hits, get_first(&from->hits));
    accumulate(&into->misses, get_first(&from->misses));
    accumulate(&into->stale, get_first(&from->stale));
    accumulate(&into->coalesced, get_first(&from->coalesced));
    accumulate(&into->lookups, cp_stats_get(&from->lookups));
    accumulate(&into->stores, cp_stats_get(&from->stores));
    accumulate(&into->bypassed, cp_stats_get(&from->bypassed));
    histogram_merge(&into->us, &from->us);
}

static void cache_merge(cp_cache_stats_t *into, const cp_cache_stats_t *from)
{
    accumulate(&into->failures, cp_stats_get(&from->failures));
    accumulate(&into->timeouts, cp_stats_get(&from->timeouts));
    accumulate(&into->skipped, cp_stats_get(&from->skipped));
    accumulate(&into->dropped, cp_stats_get(&from->dropped));
    accumulate(&into->too_large, cp_stats_get(&from->too_large));
    accumulate(&into->evictions, cp_stats_get(&from->evictions));
    accumulate(&into->bytes, cp_stats_get(&from->bytes));
    accumulate(&into->entries, cp_stats_get(&from->entries));
}

void cp_upstream_stats_merge(cp_upstream_stats_t *into,
                             const cp_upstream_stats_t *from)
{
    accumulate(&into->errors, get_first(&from->errors));
    accumulate(&into->reused, get_first(&from->reused));
    accumulate(&into->retries, cp_stats_get(&from->retries));
    accumulate(&into->count, cp_stats_get(&from->count));
    cp_stats_raise(&into->answered_at, cp_stats_get(&from->answered_at));
    cp_stats_raise(&into->failed_at, cp_stats_get(&from->failed_at));
    accumulate(&into->breaker_opened, cp_stats_get(&from->breaker_opened));
    accumulate(&into->breaker_refused, cp_stats_get(&from->breaker_refused));
    accumulate(&into->coalesced, cp_stats_get(&from->coalesced));
    cp_stats_raise(&into->breaker_until, cp_stats_get(&from->breaker_until));
    accumulate(&into->breaker_probes, cp_stats_get(&from->breaker_probes));
    accumulate(&into->handshakes, cp_stats_get(&from->handshakes));
    accumulate(&into->bytes, cp_stats_get(&from->bytes));
    for (int i = 0; i < 6; i++) {
        accumulate(&into->statuses[i], cp_stats_get(&from->statuses[i]));
    }
    for (int i = 0; i < CP_SPANS; i++) {
        histogram_merge(&into->span_us[i], &from->span_us[i]);
    }
    histogram_merge(&into->us, &from->us);
}

void cp_loop_stats_merge(cp_loop_stats_t *into, const cp_loop_stats_t *from)
{
    accumulate(&into->running, cp_stats_get(&from->running));
    accumulate(&into->in_flight, cp_stats_get(&from->in_flight));
    accumulate(&into->restarts, cp_stats_get(&from->restarts));
    accumulate(&into->iterations, cp_stats_get(&from->iterations));
    cp_stats_raise(&into->heartbeat, cp_stats_get(&from->heartbeat));
    accumulate(&into->inline_runs, cp_stats_get(&from->inline_runs));
    cp_stats_raise(&into->lag_us, cp_stats_get(&from->lag_us));
}

void cp_process_stats_merge(cp_process_stats_t *into,
                            const cp_process_stats_t *from)
{
    accumulate(&into->rss_bytes, cp_stats_get(&from->rss_bytes));
    accumulate(&into->rss_base_bytes, cp_stats_get(&from->rss_base_bytes));
    accumulate(&into->memory_bytes, cp_stats_get(&from->memory_bytes));
    accumulate(&into->descriptors, cp_stats_get(&from->descriptors));
    accumulate(&into->refused_memory, cp_stats_get(&from->refused_memory));
    accumulate(&into->shrunk, cp_stats_get(&from->shrunk));
    cache_merge(&into->cache, &from->cache);
    cp_stats_raise(&into->rss_max_bytes, cp_stats_get(&from->rss_max_bytes));
    histogram_merge(&into->request_us, &from->request_us);
}

void cp_batch_stats_merge(cp_batch_stats_t *into, const cp_batch_stats_t *from)
{
    accumulate(&into->requests, cp_stats_get(&from->requests));
    accumulate(&into->items, cp_stats_get(&from->items));
    accumulate(&into->errors, cp_stats_get(&from->errors));
    accumulate(&into->overlapped, cp_stats_get(&from->overlapped));
    accumulate(&into->sequential, cp_stats_get(&from->sequential));
}

/* A sequence lock whose sequence is `since`: readers accept the holder when
 * there was one before and the same one after they had copied it. Who sees one
 * byte of a new holder also sees that the old one is gone: release, acquire. */
void cp_leak_write(cp_leak_t *leak, uint64_t since, const char *holder)
{
    size_t length = since ? strnlen(holder, CP_HOLDER_SIZE - 1) : 0;

    __atomic_store_n(&leak->since, 0, __ATOMIC_RELAXED);
    for (size_t i = 0; i < length; i++) {
        __atomic_store_n(&leak->holder[i], holder[i], __ATOMIC_RELEASE);
    }
    __atomic_store_n(&leak->holder[length], '\0', __ATOMIC_RELEASE);
    __atomic_store_n(&leak->since, since, __ATOMIC_RELEASE);
}

int cp_leak_read(const cp_leak_t *leak, cp_leak_t *copy)
{
    copy->since = __atomic_load_n(&leak->since, __ATOMIC_ACQUIRE);
    for (size_t i = 0; i < CP_HOLDER_SIZE; i++) {
        copy->holder[i] = __atomic_load_n(&leak->holder[i], __ATOMIC_ACQUIRE);
    }
    copy->holder[CP_HOLDER_SIZE - 1] = '\0';
    return copy->since != 0
           && copy->since == __atomic_load_n(&leak->since, __ATOMIC_RELAXED);
}

const char *cp_span_name(cp_span_t span)
{
    static const char *const names[CP_SPANS] = {
        [CP_SPAN_QUEUE] = "queue",           [CP_SPAN_LOOKUP] = "lookup",
        [CP_SPAN_TCP] = "connect",           [CP_SPAN_TLS] = "tls",
        [CP_SPAN_FIRST_BYTE] = "first_byte",
    };

    return span < CP_SPANS ? names[span] : "unknown";
}
