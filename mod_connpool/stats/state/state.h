/* SPDX-License-Identifier: Apache-2.0
 * How well something is. One function decides it from what is known, and all
 * that operators see - page, JSON, health, server-status, metrics, log - shows
 * what it says. */
#ifndef CP_STATE_H
#define CP_STATE_H

#include <stdint.h>

/** Later ones are worse. */
typedef enum cp_level_t {
    CP_LEVEL_OK,
    CP_LEVEL_DEGRADED, /**< it serves, but not all, or not as it should */
    CP_LEVEL_DOWN,     /**< it serves nobody, or hardly anybody */
    CP_LEVELS
} cp_level_t;

/** "ok", "degraded", "down". */
const char *cp_level_name(cp_level_t level);

typedef enum cp_subject_t {
    CP_SUBJECT_POOL,
    CP_SUBJECT_QUERY,
    CP_SUBJECT_UPSTREAM,
    CP_SUBJECT_EVENT_LOOP, /**< one for the whole server, as all below */
    CP_SUBJECT_MEMORY,
    CP_SUBJECT_CACHE,
    CP_SUBJECTS
} cp_subject_t;

/** "pool", "query", "upstream", "event_loop", "memory", "cache". */
const char *cp_subject_name(cp_subject_t subject);

/** What is known of one subject, over all children; what does not concern it
 * is 0. */
typedef struct cp_facts_t {
    /* Of the last 30 seconds; of a query: runs that failed because of the
     * database; of a cache: calls that failed. */
    uint64_t tried;
    uint64_t refused;

    /* Pools. */
    int cannot_read;  /**< nothing is open, and opening fails */
    int cannot_write; /**< all that fails to open is for writing */
    int cannot_open;  /**< something fails to open */
    int is_strained;  /**< over 90 % busy for 30 seconds */
    int fell_back;    /**< to one-shot connections, in the last 30 seconds */
    uint64_t busy;
    uint64_t limit; /**< how many can be busy */
    uint64_t waiting;
    uint64_t oldest_wait_us;
    const char *error; /**< class of what stands in the way, or NULL */

    /* Upstreams, and their pools. */
    int is_left_alone; /**< a breaker is open */
    int is_silent;     /**< the last fetch, a moment ago, got no answer */

    /* Queries: those where it cannot be prepared. Loops: those without. */
    uint64_t lacking_children;
    uint64_t children;

    /* Memory, of the child that uses most. */
    uint64_t used_bytes;
    uint64_t bound_bytes;
} cp_facts_t;

#define CP_CAUSE_SIZE 128

/** Names nothing that is not a number or a word of ours: no path, no SQL, no
 * address. */
typedef struct cp_state_t {
    cp_level_t level;
    const char *word;          /**< the cause in a word or two; NULL: ok */
    char cause[CP_CAUSE_SIZE]; /**< in a sentence without end; "": ok */
    int is_inherited;          /**< a pool's, from its upstream */
    int is_unlogged;           /**< nothing else in the log tells of it */
} cp_state_t;

/** How it is, and why: the worst that can be said. */
void cp_state_judge(cp_subject_t subject, const cp_facts_t *facts,
                    cp_state_t *state);

#endif
