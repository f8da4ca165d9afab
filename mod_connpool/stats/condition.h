/* SPDX-License-Identifier: Apache-2.0
 * How a pool has been lately, over all children: what a monitoring system
 * would have to remember between two looks. Lives in shared memory; written by
 * the one who takes the second's sample, read by anybody. */
#ifndef CP_CONDITION_H
#define CP_CONDITION_H

#include <stdint.h>

#include "base/clock.h"

/** All cells are relaxed atomics, and 0 in a new one. */
typedef struct cp_condition_t {
    uint64_t high_since;  /**< utilisation over 90 % since (us); 0: it is not */
    uint64_t fallbacks;   /**< seen so far */
    uint64_t fallback_at; /**< when the last one was seen (us); 0: never */
} cp_condition_t;

/** What one look at a pool has seen. */
typedef struct cp_observation_t {
    uint64_t busy;
    uint64_t limit;     /**< how many can be busy */
    uint64_t fallbacks; /**< total so far */
} cp_observation_t;

void cp_condition_observe(cp_condition_t *condition,
                          const cp_observation_t *seen, cp_clock_t now);

/** Over 90 % busy in every look of the last 30 seconds. */
int cp_condition_is_strained(const cp_condition_t *condition, cp_clock_t now);

/** A one-shot connection was used within the last 30 seconds. */
int cp_condition_fell_back(const cp_condition_t *condition, cp_clock_t now);

/** Is `at` (us, 0: never) within the last 30 seconds? */
int cp_condition_is_recent(uint64_t at, cp_clock_t now);

#endif
