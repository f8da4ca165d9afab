/* SPDX-License-Identifier: Apache-2.0
 * Whether work is quick enough to be done beside that of others: not if more
 * than one of a hundred took too long lately, and it was no accident. */
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
#define CP_PACE_ENOUGH 3    /* slow ones, before which it may be an accident */

/** It was done once; for how many slow ones that counts, 0 mostly. */
static inline void cp_pace_note(cp_pace_t *pace, uint32_t slow)
{
    uint32_t count = __atomic_add_fetch(&pace->count, 1, __ATOMIC_RELAXED);

    if (slow) {
        __atomic_add_fetch(&pace->slow, slow, __ATOMIC_RELAXED);
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
    uint32_t slow = __atomic_load_n(&pace->slow, __ATOMIC_RELAXED);

    return slow >= CP_PACE_ENOUGH
           && slow * 100 > __atomic_load_n(&pace->count, __ATOMIC_RELAXED);
}

#endif
