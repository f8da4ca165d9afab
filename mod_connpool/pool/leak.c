/* SPDX-License-Identifier: Apache-2.0
 * Who holds connections, and who does for too long. */
#include "pool/leak.h"

#include "base/clock.h"
#include "base/log.h"
#include "pool/pool.h"
#include "pool/slot.h"
#include "stats/cell.h"
#include "stats/stats.h"

#include <string.h>

#include <apr_strings.h>

typedef struct leak_t {
    char holder[CP_HOLDER_SIZE];
    apr_interval_time_t held;
    cp_clock_t now;
} leak_t;

static int visit_leak(cp_pool_t *pool, cp_slot_t *slot, void *baton)
{
    leak_t *leak = baton;

    leak->held = leak->now - slot->busy_since;
    if (!slot->is_busy || slot->leak_reported
        || leak->held < pool->config.leak) {
        return 0;
    }
    slot->leak_reported = 1;
    apr_cpystrn(leak->holder, slot->holder, sizeof(leak->holder));
    return 1;
}

void cp_pool_report_leaks(cp_pool_t *pool)
{
    leak_t leak;

    leak.now = cp_clock_now();
    while (pool->config.leak > 0 && cp_slot_find(pool, visit_leak, &leak)) {
        cp_stats_add(&pool->stats->leaks_suspected, 1);
        cp_log(CP_LOG_MARK, CP_LOG_WARNING, 0,
               "pool '%s': a connection has been held for %" APR_TIME_T_FMT
               " ms by %s; is it leaked?",
               pool->config.name, apr_time_as_msec(leak.held), leak.holder);
    }
}

/* --- who is shown --- */

typedef struct holder_list_t {
    cp_holder_t holders[CP_HOLDERS_LISTED]; /* oldest first */
    int count;
    int of_all; /* whether or not they are shown already */
} holder_list_t;

static void fill_holder(cp_holder_t *holder, const cp_slot_t *slot)
{
    holder->since = (uint64_t)slot->busy_since;
    holder->is_leak = (uint64_t)slot->leak_reported;
    apr_cpystrn(holder->holder, slot->holder, CP_HOLDER_SIZE);
    apr_cpystrn(holder->request, slot->request, CP_HOLDER_SIZE);
}

/* Insert what is out; the youngest drops out. */
static int visit_held(cp_pool_t *pool, cp_slot_t *slot, void *baton)
{
    holder_list_t *list = baton;
    uint64_t since = (uint64_t)slot->busy_since;
    int place = list->count;

    if (!slot->is_busy
        || !(list->of_all || slot->is_shown || slot->leak_reported)) {
        return 0;
    }
    while (place > 0 && list->holders[place - 1].since > since) {
        place--;
    }
    if (place == CP_HOLDERS_LISTED) {
        return 0;
    }
    if (list->count < CP_HOLDERS_LISTED) {
        list->count++;
    }
    for (int i = list->count - 1; i > place; i--) {
        list->holders[i] = list->holders[i - 1];
    }
    fill_holder(&list->holders[place], slot);
    return 0;
}

static int is_same(const cp_holder_t *a, const cp_holder_t *b)
{
    return a->since == b->since && a->is_leak == b->is_leak
           && strcmp(a->holder, b->holder) == 0
           && strcmp(a->request, b->request) == 0;
}

void cp_pool_list_holders(cp_pool_t *pool)
{
    cp_holder_t *shown = pool->stats->holders[cp_pool_part(&pool->config)];
    holder_list_t list = {.count = 0};

    pthread_mutex_lock(&pool->holders_lock);
    cp_slot_find(pool, visit_held, &list);
    for (int i = 0; i < CP_HOLDERS_LISTED; i++) {
        if (i >= list.count) {
            cp_holder_write(&shown[i], NULL);
        }
        else if (!is_same(&shown[i], &list.holders[i])) {
            cp_holder_write(&shown[i], &list.holders[i]);
        }
    }
    pthread_mutex_unlock(&pool->holders_lock);
}

static int visit_shown(cp_pool_t *pool, cp_slot_t *slot, void *baton)
{
    const uint64_t *youngest = baton;

    slot->is_shown = slot->is_busy && (uint64_t)slot->busy_since <= *youngest;
    return 0;
}

/* Who comes back takes himself out of the list. Were the next one put in then,
 * a pool at work would make its list anew at each release; so nobody comes in
 * but here. */
void cp_pool_choose_holders(cp_pool_t *pool)
{
    holder_list_t list = {.of_all = 1};
    uint64_t youngest;

    cp_slot_find(pool, visit_held, &list);
    youngest = list.count > 0 ? list.holders[list.count - 1].since : 0;
    cp_slot_find(pool, visit_shown, &youngest);
    cp_pool_list_holders(pool);
}
