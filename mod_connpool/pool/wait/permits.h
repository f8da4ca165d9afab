/* SPDX-License-Identifier: Apache-2.0
 * Permits in memory that all children share: who holds one may have a
 * connection open, and there are so many of them for the whole server.
 *
 * A process that dies takes nothing with it: each has a cell of its own, which
 * tells how many it holds and whether it waits, and what is free is what the
 * cells leave. Tickets make the order; a bell, which is a futex of its cell,
 * wakes one process. No condition variable is shared: one that is killed while
 * it signals leaves it unusable for all. */
#ifndef CP_PERMITS_H
#define CP_PERMITS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/clock.h"

/** In shared memory, used by all processes. */
typedef struct cp_permits_t cp_permits_t;

/** Bytes for so many processes at once. */
size_t cp_permits_size(int cells);

/** Make them in zeroed shared memory, before the fork. NULL: the system has no
 * mutexes that survive their holders. */
cp_permits_t *cp_permits_init(void *memory, int cells);

/** There are so many from now on. Those that are out beyond it stay out until
 * they are given back. */
void cp_permits_limit(cp_permits_t *permits, int max);

/** That process is dead: what it held is free. Unknown ones are ignored. */
void cp_permits_fold(cp_permits_t *permits, pid_t pid);

/** A cell for this process, or -1 when all are taken by the living. */
int cp_permits_join(cp_permits_t *permits, pid_t pid);

/** Take one if one is free and nobody waits who came before.
 * @return whether it was; if not, with `queues`, the cell is in the queue */
int cp_permits_take(cp_permits_t *permits, int cell, int queues);

/** Leave the queue without one. */
void cp_permits_leave(cp_permits_t *permits, int cell);

/** Give one back: the first of the queue hears of it. */
void cp_permits_give(cp_permits_t *permits, int cell);

/** Ask the other holders for what they do not need. */
void cp_permits_call(cp_permits_t *permits, int cell);

/** Since when (CLOCK_MONOTONIC) another process waits that none is free for; 0:
 * nobody does. Two relaxed loads. */
cp_clock_t cp_permits_wanted_since(const cp_permits_t *permits, int cell);

/** A word that changes when something may have: with the bell there may be a
 * permit, with the call somebody asks for one. */
typedef enum cp_permits_word_t {
    CP_PERMITS_BELL,
    CP_PERMITS_CALL,
} cp_permits_word_t;

uint32_t cp_permits_read(const cp_permits_t *permits, int cell,
                         cp_permits_word_t word);

/** Change it, and wake who sleeps on it. */
void cp_permits_ring(cp_permits_t *permits, int cell, cp_permits_word_t word);

/** Sleep until it is other than `seen`, or until then; may return early. */
void cp_permits_sleep(const cp_permits_t *permits, int cell,
                      cp_permits_word_t word, uint32_t seen, cp_clock_t until);

typedef struct cp_permits_state_t {
    int max;
    int held;    /**< by all */
    int waiting; /**< processes */
} cp_permits_state_t;

cp_permits_state_t cp_permits_state(cp_permits_t *permits);

/** A process that holds some, or waits. */
typedef struct cp_permits_holder_t {
    pid_t pid;
    int held;
    cp_clock_t since; /**< when its wait began, 0: it does not wait */
} cp_permits_holder_t;

/** The first `most` of them.
 * @return how many are in the list */
int cp_permits_list(cp_permits_t *permits, cp_permits_holder_t *list, int most);

#endif
