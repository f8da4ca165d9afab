/* SPDX-License-Identifier: Apache-2.0
 * Whether work is quick enough to be done beside that of others: not if more
 * than one of a hundred took too long lately. */
#ifndef CP_PACE_H
#define CP_PACE_H

#include <stdint.h>

/** Of one kind of work; zeroed. Relaxed atomics: notes that are lost when two
 * threads halve it at once do not matter. */
typedef struct cp_pace_t {
    uint32_t count;
    uint32_t slow;
} cp_pace_t;

#define CP_PACE_MEMORY 1024 /* so many are remembered in full */

static inline void cp_pace_note(cp_pace_t *pace, int is_slow)
{
    uint32_t count = __atomic_add_fetch(&pace->count, 1, __ATOMIC_RELAXED);

    if (is_slow) {
        __atomic_add_fetch(&pace->slow, 1, __ATOMIC_RELAXED);
    }
    if (count >= CP_PACE_MEMORY) {
        __atomic_store_n(&pace->count, count / 2, __ATOMIC_RELAXED);
        __atomic_store_n(&pace->slow,
                         __atomic_load_n(&pace->slow, __ATOMIC_RELAXED) / 2,
                         __ATOMIC_RELAXED);
    }
}

static inline int cp_pace_is_slow(const cp_pace_t *pace)
{
    return __atomic_load_n(&pace->slow, __ATOMIC_RELAXED) * 100
           > __atomic_load_n(&pace->count, __ATOMIC_RELAXED);
}

#endif
