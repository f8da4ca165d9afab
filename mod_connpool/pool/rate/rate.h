/* SPDX-License-Identifier: Apache-2.0
 * How often somebody may come: token buckets in memory that all children
 * share.
 *
 * A bucket is kept as one point in time, that at which it will be full again
 * (GCRA, the "virtual scheduling" of ITU-T I.371): a request moves it one
 * interval on, and is refused when that would take it further from now than the
 * burst. A bucket that is full is as good as none, so its place is free. When
 * all places where a key may stand are taken, that bucket goes which is next to
 * full: who asks most is never forgotten, however many ask. */
#ifndef CP_RATE_H
#define CP_RATE_H

#include "base/clock.h"

#include <stddef.h>
#include <stdint.h>

/** count / period, and burst at once. Up to a million each, and an hour. */
typedef struct cp_rate_limit_t {
    int count;                  /**< per period, >= 1; 0: no limit */
    int burst;                  /**< >= 1 */
    apr_interval_time_t period; /**< microseconds */
} cp_rate_limit_t;

/** In shared memory, used by all threads and processes. */
typedef struct cp_rate_t cp_rate_t;

typedef struct cp_rate_verdict_t {
    int is_allowed;
    int remaining;             /**< requests that would be allowed now */
    apr_interval_time_t retry; /**< until one is, 0: now */
    apr_interval_time_t full;  /**< until `burst` of them are */
} cp_rate_verdict_t;

/** Bytes for so many buckets, rounded up. */
size_t cp_rate_size(int buckets);

/** Make it in memory that is shared, of cp_rate_size bytes, before the fork.
 * NULL: the system has no mutexes that survive their holders. */
cp_rate_t *cp_rate_init(void *memory, int buckets);

/** The key of a bucket: a hash that nobody can aim at another's. */
uint64_t cp_rate_key(const cp_rate_t *rate, const void *data, size_t size);

/** Take one from the bucket of that key, if there is one. Exact: whatever
 * threads and processes ask at once, and however many of them are killed, no
 * more are allowed than the limit says. Never waits for anybody but who is
 * within this function. */
cp_rate_verdict_t cp_rate_take(cp_rate_t *rate, uint64_t key,
                               const cp_rate_limit_t *limit, cp_clock_t now);

#endif
