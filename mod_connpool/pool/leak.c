/* SPDX-License-Identifier: Apache-2.0
 * Who holds a connection for too long. */
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

typedef struct leak_list_t {
    cp_leak_t leaks[CP_LEAKS_LISTED]; /* oldest first */
    int count;
} leak_list_t;

/* Insert what was reported and is still out; the youngest drops out. */
static int visit_held(cp_pool_t *pool, cp_slot_t *slot, void *baton)
{
    leak_list_t *list = baton;
    uint64_t since = (uint64_t)slot->busy_since;
    int place = list->count;

    if (!slot->is_busy || !slot->leak_reported) {
        return 0;
    }
    while (place > 0 && list->leaks[place - 1].since > since) {
        place--;
    }
    if (place == CP_LEAKS_LISTED) {
        return 0;
    }
    if (list->count < CP_LEAKS_LISTED) {
        list->count++;
    }
    for (int i = list->count - 1; i > place; i--) {
        list->leaks[i] = list->leaks[i - 1];
    }
    list->leaks[place].since = since;
    apr_cpystrn(list->leaks[place].holder, slot->holder, CP_HOLDER_SIZE);
    return 0;
}

void cp_pool_list_leaks(cp_pool_t *pool)
{
    cp_leak_t *shown = pool->stats->leaks[cp_pool_part(&pool->config)];
    leak_list_t list = {0};

    pthread_mutex_lock(&pool->leaks_lock);
    cp_slot_find(pool, visit_held, &list);
    for (int i = 0; i < CP_LEAKS_LISTED; i++) {
        if (shown[i].since != list.leaks[i].since
            || strcmp(shown[i].holder, list.leaks[i].holder) != 0) {
            cp_leak_write(&shown[i], list.leaks[i].since, list.leaks[i].holder);
        }
    }
    pthread_mutex_unlock(&pool->leaks_lock);
}
