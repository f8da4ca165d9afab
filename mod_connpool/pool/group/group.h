/* SPDX-License-Identifier: Apache-2.0
 * Who may go on together: work that waits for the one connection of a pool, and
 * is done by one of those who wait.
 *
 * Who comes while nobody leads, leads: he borrows the connection, does his own
 * work, takes what others have queued meanwhile, gives each its end, and hands
 * over to the one who waits longest. Nobody ever waits for more to come.
 *
 * Who owns what, and under which lock:
 *  - The group's mutex guards the queue, and whether somebody leads. It is held
 *    for a few instructions, never while anything runs.
 *  - An item lies on the stack of the thread that waits, and is that thread's
 *    while it is queued; the leader's, with all that its baton points to, from
 *    cp_group_take to cp_group_end; then its thread's again. Its state is
 *    atomic, written with release and read with acquire, so that one sees what
 *    the other has done with it.
 *  - The lead is passed on by cp_group_hand_over alone. Whoever leads must call
 *    it, whatever became of his work, with no item taken and not ended. */
#ifndef CP_GROUP_H
#define CP_GROUP_H

#include <stdint.h>

#include <apr_errno.h>
#include <apr_pools.h>
#include <apr_ring.h>

#include "base/clock.h"
#include "base/error.h"

struct cp_pool_t;

typedef struct cp_group_t cp_group_t;

/** How waiting has ended. */
typedef enum cp_group_turn_t {
    CP_GROUP_WAITS, /**< not yet */
    CP_GROUP_TAKEN, /**< not yet: the leader works on it */
    CP_GROUP_LEADS, /**< this thread leads now */
    CP_GROUP_DONE,  /**< the leader has done it */
    CP_GROUP_ALONE, /**< undone: to be done apart from the group */
    CP_GROUP_LATE,  /**< the deadline has passed, before it was begun */
    CP_GROUP_FULL,  /**< as many wait as may */
    CP_GROUP_GONE   /**< is_gone said so, before it was begun */
} cp_group_turn_t;

typedef struct cp_group_item_t cp_group_item_t;
struct cp_group_item_t {
    APR_RING_ENTRY(cp_group_item_t) link; /**< the group's lock */
    void *baton;                          /**< the caller's; constant */
    cp_clock_t since;                     /**< the group's lock */
    uint32_t turn; /**< atomic: a cp_group_turn_t, and a futex */
    int is_away;   /**< the group's lock: its thread has something else to do */
    int has_waited; /**< its thread's: it did not lead at once */
};

/** How long somebody waits. */
typedef struct cp_group_patience_t {
    cp_clock_t deadline;         /**< until it is begun */
    int (*is_gone)(void *baton); /**< asked now and then: 1: nobody waits for
                                      it. NULL: somebody does */
    void *baton;
} cp_group_patience_t;

/** For work on the pool's connections; as many wait at the most as its queue=
 * says, and count among those that wait for it.
 * @param p ends it, not after the pool */
apr_status_t cp_group_create(cp_group_t **pgroup, struct cp_pool_t *pool,
                             apr_pool_t *p);

/** Lead at once, or queue and wait; looks after what is to be looked after
 * meanwhile, except while the leader has the item. */
cp_group_turn_t cp_group_join(cp_group_t *group, cp_group_item_t *item,
                              const cp_group_patience_t *patience);

/** Why CP_GROUP_LATE or CP_GROUP_FULL was it, for who has asked then: as the
 * pool refuses. */
apr_status_t cp_group_refuse(cp_group_t *group, cp_group_turn_t turn,
                             cp_clock_t asked, cp_error_t *err);

/** How many wait. Cheap. */
int cp_group_queued(const cp_group_t *group);

/** The leader: the item that waits longest, or NULL. */
cp_group_item_t *cp_group_take(cp_group_t *group);

/** The leader, or who was it: CP_GROUP_DONE or CP_GROUP_ALONE for an item that
 * he took. It is not there any more then. */
void cp_group_end(cp_group_item_t *item, cp_group_turn_t turn);

/** The leader leads no more; the one who waits longest does. */
void cp_group_hand_over(cp_group_t *group);

/** One of so many, this thread's with it, is done: count it. */
void cp_group_count(cp_group_t *group, int size);

#endif
