/* SPDX-License-Identifier: Apache-2.0
 * How a pool has been lately, over all children: what a monitoring system
 * would have to remember between two looks. Lives in shared memory; written by
 * the one who takes the second's sample, read by anybody. */
#ifndef CP_CONDITION_H
#define CP_CONDITION_H

#include <stdint.h>

#include "base/clock.h"

/** Looks that are remembered: those of half a minute, and the one before. */
#define CP_LOOKS 32

/** All cells are relaxed atomics, and 0 in a new one. */
typedef struct cp_look_t {
    uint64_t at; /**< us */
    uint64_t tried;
    uint64_t refused;
} cp_look_t;

/** Likewise. */
typedef struct cp_condition_t {
    uint64_t high_since;  /**< utilisation over 90 % since (us); 0: it is not */
    uint64_t fallbacks;   /**< seen so far */
    uint64_t fallback_at; /**< when the last one was seen (us); 0: never */
    uint64_t is_unopened; /**< nothing could be opened, or a query not be
                             prepared, when last known */
    uint64_t looks;       /**< ever; the last ones can be read */
    cp_look_t look[CP_LOOKS];
} cp_condition_t;

/** What one look at a pool has seen. */
typedef struct cp_observation_t {
    uint64_t busy;
    uint64_t limit;     /**< how many can be busy */
    uint64_t fallbacks; /**< total so far */
    uint64_t tried;     /**< likewise: all who asked */
    uint64_t refused;   /**< likewise: those who got nothing */
    int is_unopened;    /**< nothing is open, and nothing can be opened; of a
                             query: it cannot be prepared */
} cp_observation_t;

void cp_condition_observe(cp_condition_t *condition,
                          const cp_observation_t *seen, cp_clock_t now);

/** Over 90 % busy in every look of the last 30 seconds. */
int cp_condition_is_strained(const cp_condition_t *condition, cp_clock_t now);

/** A one-shot connection was used within the last 30 seconds. */
int cp_condition_fell_back(const cp_condition_t *condition, cp_clock_t now);

/** How many of both came within the last 30 seconds: the totals, less what
 * they were then. */
void cp_condition_lately(const cp_condition_t *condition, cp_clock_t now,
                         uint64_t *tried, uint64_t *refused);

/** When the last one was refused, as far as that is remembered (us), 0: never.
 * refused: the total; those that no look has seen were refused now. */
uint64_t cp_condition_refused_at(const cp_condition_t *condition,
                                 uint64_t refused, cp_clock_t now);

/** Is `at` (us, 0: never) within the last 30 seconds? */
int cp_condition_is_recent(uint64_t at, cp_clock_t now);

#endif
