/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/group/group.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/meanwhile.h"
#include "pool/pool.h"
#include "pool/refuse.h"
#include "pool/slot.h"
#include "stats/cell.h"
#include "stats/histogram.h"
#include "stats/stats.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ASK_EVERY apr_time_from_msec(250) /* whether somebody waits for it */

struct cp_group_t {
    cp_pool_t *pool; /* constant; whose numbers these are, too */
    pthread_mutex_t lock;
    APR_RING_HEAD(queue_t, cp_group_item_t) queue; /* lock */
    int is_led;                                    /* lock */
};

/* --- turns --- */

static cp_group_turn_t turn_of(const cp_group_item_t *item)
{
    return __atomic_load_n(&item->turn, __ATOMIC_ACQUIRE);
}

static void set_turn(cp_group_item_t *item, cp_group_turn_t turn)
{
    __atomic_store_n(&item->turn, turn, __ATOMIC_RELEASE);
}

/* Its thread may have seen the new turn already, and be gone with the item: the
 * kernel takes the address as a number, and whoever waits at the same one later
 * looks again. */
static void wake(cp_group_item_t *item)
{
    syscall(SYS_futex, &item->turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Until it has another turn than that, or the time has come. */
static void sleep_while(cp_group_item_t *item, cp_group_turn_t turn,
                        cp_clock_t until)
{
    struct timespec at = {0}, *pat = NULL;

    if (until != CP_CLOCK_NEVER) {
        at = cp_clock_timespec(until);
        pat = &at;
    }
    /* The bitset's form takes the end as a point of CLOCK_MONOTONIC. */
    syscall(SYS_futex, &item->turn, FUTEX_WAIT_BITSET_PRIVATE, turn, pat, NULL,
            FUTEX_BITSET_MATCH_ANY);
}

/* --- the queue; the lock is held --- */

static void tell_oldest(cp_group_t *group)
{
    uint64_t since = APR_RING_EMPTY(&group->queue, cp_group_item_t, link)
                         ? 0
                         : (uint64_t)APR_RING_FIRST(&group->queue)->since;

    __atomic_store_n(&group->pool->stats->waiting_since[CP_WAIT_GROUP], since,
                     __ATOMIC_RELAXED);
}

static void put_in(cp_group_t *group, cp_group_item_t *item)
{
    cp_pool_stats_t *stats = group->pool->stats;

    item->since = cp_clock_now();
    APR_RING_INSERT_TAIL(&group->queue, item, cp_group_item_t, link);
    cp_stats_add(&stats->waiting, 1);
    cp_stats_raise(&stats->waiting_max, cp_stats_get(&stats->waiting));
    tell_oldest(group);
    __atomic_add_fetch(&group->pool->grouped, 1, __ATOMIC_RELEASE);
}

static void take_out(cp_group_t *group, cp_group_item_t *item)
{
    APR_RING_REMOVE(item, link);
    __atomic_sub_fetch(&group->pool->grouped, 1, __ATOMIC_RELAXED);
    cp_stats_add(&group->pool->stats->waiting, -1);
    tell_oldest(group);
}

/* --- who waits --- */

/* @return CP_GROUP_WAITS: it is queued */
static cp_group_turn_t begin(cp_group_t *group, cp_group_item_t *item)
{
    cp_group_turn_t turn = CP_GROUP_WAITS;

    pthread_mutex_lock(&group->lock);
    if (!group->is_led) {
        group->is_led = 1;
        turn = CP_GROUP_LEADS;
    }
    else if (cp_group_queued(group) >= group->pool->config.queue) {
        turn = CP_GROUP_FULL;
    }
    else {
        put_in(group, item);
    }
    pthread_mutex_unlock(&group->lock);
    return turn;
}

/* Unless somebody has taken it, or made it the leader, meanwhile. */
static cp_group_turn_t give_up(cp_group_t *group, cp_group_item_t *item,
                               cp_group_turn_t turn)
{
    pthread_mutex_lock(&group->lock);
    if (turn_of(item) == CP_GROUP_WAITS) {
        take_out(group, item);
    }
    else {
        turn = CP_GROUP_WAITS;
    }
    pthread_mutex_unlock(&group->lock);
    return turn;
}

/* What its thread looks after may use what the leader would use for it. */
static int step_away(cp_group_t *group, cp_group_item_t *item)
{
    pthread_mutex_lock(&group->lock);
    item->is_away = turn_of(item) == CP_GROUP_WAITS;
    pthread_mutex_unlock(&group->lock);
    return item->is_away;
}

static void come_back(cp_group_t *group, cp_group_item_t *item)
{
    pthread_mutex_lock(&group->lock);
    item->is_away = 0;
    pthread_mutex_unlock(&group->lock);
}

/* One look around. @return CP_GROUP_WAITS: it goes on */
static cp_group_turn_t look(cp_group_t *group, cp_group_item_t *item,
                            const cp_group_patience_t *patience,
                            cp_clock_t *pask_at, cp_clock_t now)
{
    if (now >= patience->deadline) {
        return give_up(group, item, CP_GROUP_LATE);
    }
    if (patience->is_gone && now >= *pask_at) {
        *pask_at = cp_clock_add(now, ASK_EVERY);
        if (patience->is_gone(patience->baton)) {
            return give_up(group, item, CP_GROUP_GONE);
        }
    }
    if (cp_meanwhile_get().fn && step_away(group, item)) {
        cp_meanwhile_tend(now);
        come_back(group, item);
    }
    return CP_GROUP_WAITS;
}

static cp_group_turn_t wait_for_turn(cp_group_t *group, cp_group_item_t *item,
                                     const cp_group_patience_t *patience)
{
    cp_clock_t ask_at = cp_clock_after(ASK_EVERY);

    for (;;) {
        cp_group_turn_t turn = turn_of(item);
        cp_clock_t until = CP_CLOCK_NEVER;

        if (turn != CP_GROUP_WAITS && turn != CP_GROUP_TAKEN) {
            return turn;
        }
        if (turn == CP_GROUP_WAITS) {
            cp_group_turn_t end = look(group, item, patience, &ask_at,
                                       cp_clock_now());

            if (end != CP_GROUP_WAITS) {
                return end;
            }
            until = cp_meanwhile_until(patience->deadline);
            until = patience->is_gone && ask_at < until ? ask_at : until;
        }
        sleep_while(item, turn, until);
    }
}

cp_group_turn_t cp_group_join(cp_group_t *group, cp_group_item_t *item,
                              const cp_group_patience_t *patience)
{
    cp_group_turn_t turn;

    item->is_away = 0;
    item->turn = CP_GROUP_WAITS;
    turn = begin(group, item);
    item->has_waited = turn == CP_GROUP_WAITS;
    return item->has_waited ? wait_for_turn(group, item, patience) : turn;
}

apr_status_t cp_group_refuse(cp_group_t *group, cp_group_turn_t turn,
                             cp_clock_t asked, cp_error_t *err)
{
    cp_histogram_record(&group->pool->stats->refused_us,
                        cp_clock_now() - asked);
    return cp_pool_refuse(group->pool, CP_OWN_LIMIT,
                          turn == CP_GROUP_FULL ? APR_ENOSPC : APR_TIMEUP, err);
}

/* --- who leads --- */

int cp_group_queued(const cp_group_t *group)
{
    return __atomic_load_n(&group->pool->grouped, __ATOMIC_ACQUIRE);
}

cp_group_item_t *cp_group_take(cp_group_t *group)
{
    cp_group_item_t *item = NULL, *found = NULL;

    pthread_mutex_lock(&group->lock);
    APR_RING_FOREACH(item, &group->queue, cp_group_item_t, link)
    {
        if (!item->is_away) {
            found = item;
            break;
        }
    }
    if (found) {
        take_out(group, found);
        set_turn(found, CP_GROUP_TAKEN);
    }
    pthread_mutex_unlock(&group->lock);
    return found;
}

void cp_group_end(cp_group_item_t *item, cp_group_turn_t turn)
{
    set_turn(item, turn);
    wake(item);
}

/* Also one whose thread is away: it is in a moment what it is told now. */
void cp_group_hand_over(cp_group_t *group)
{
    cp_group_item_t *next = NULL;

    pthread_mutex_lock(&group->lock);
    if (APR_RING_EMPTY(&group->queue, cp_group_item_t, link)) {
        group->is_led = 0;
    }
    else {
        next = APR_RING_FIRST(&group->queue);
        take_out(group, next);
        /* Under the lock, lest it gives up in between. */
        set_turn(next, CP_GROUP_LEADS);
    }
    pthread_mutex_unlock(&group->lock);
    if (next) {
        wake(next);
    }
}

void cp_group_count(cp_group_t *group, int size)
{
    int i = 0;

    while (i < CP_GROUP_SIZES - 1 && size > 2 << i) {
        i++;
    }
    cp_stats_add(&group->pool->stats->groups[i], 1);
}

/* --- its life --- */

static apr_status_t group_cleanup(void *data)
{
    pthread_mutex_destroy(&((cp_group_t *)data)->lock);
    return APR_SUCCESS;
}

apr_status_t cp_group_create(cp_group_t **pgroup, cp_pool_t *pool,
                             apr_pool_t *p)
{
    cp_group_t *group = apr_pcalloc(p, sizeof(*group));
    int rc = pthread_mutex_init(&group->lock, NULL);

    if (rc != 0) {
        return rc;
    }
    group->pool = pool;
    APR_RING_INIT(&group->queue, cp_group_item_t, link);
    apr_pool_cleanup_register(p, group, group_cleanup, apr_pool_cleanup_null);
    *pgroup = group;
    return APR_SUCCESS;
}
