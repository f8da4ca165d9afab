/* SPDX-License-Identifier: Apache-2.0
 * One number in shared memory: relaxed atomics, each inlined. */
#ifndef CP_CELL_H
#define CP_CELL_H

#include <stdint.h>

/** Any counter or gauge; delta may be negative for gauges. */
static inline void cp_stats_add(uint64_t *cell, int64_t delta)
{
    __atomic_fetch_add(cell, (uint64_t)delta, __ATOMIC_RELAXED);
}

static inline uint64_t cp_stats_get(const uint64_t *cell)
{
    return __atomic_load_n(cell, __ATOMIC_RELAXED);
}

/** A high-water mark: *cell becomes value if that is larger. */
static inline void cp_stats_raise(uint64_t *cell, uint64_t value)
{
    uint64_t seen = cp_stats_get(cell);

    while (value > seen
           && !__atomic_compare_exchange_n(
               cell, &seen, value, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

/** Add to a cell that this thread alone writes: no locked instruction is
 * needed, and the store is atomic because others may read. */
static inline void cp_stats_accumulate(uint64_t *cell, uint64_t value)
{
    if (value != 0) {
        __atomic_store_n(cell, cp_stats_get(cell) + value, __ATOMIC_RELAXED);
    }
}

#endif
