/* SPDX-License-Identifier: Apache-2.0
 * What the maintenance thread does for the pools of this child: looks whether
 * their files are what they should be, weighs and closes what is idle. */
#include "child/upkeep.h"

#include "glue.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/gauge.h"
#include "child/child.h"
#include "config/database.h"
#include "config/query.h"
#include "database/database.h"
#include "pool/driver.h"
#include "pool/pool.h"
#include "stats/cell.h"
#include "stats/segment.h"
#include "stats/state/standing.h"
#include "stats/state/state.h"
#include "stats/stats.h"

static cp_pool_stats_t *database_stats(const connpool_database_t *db)
{
    return cp_segment_pool(connpool_child.segment, connpool_child.slot,
                           db->entry);
}

static void set_gauge(uint64_t *gauge, uint64_t value)
{
    __atomic_store_n(gauge, value, __ATOMIC_RELAXED);
}

static void flush_pool(cp_pool_t *pool, void *baton)
{
    cp_pool_flush(pool, ((const connpool_database_t *)baton)->driver->outdated);
}

typedef struct weighing_t {
    const cp_database_driver_t *driver;
    uint64_t sums[CP_GAUGES];
} weighing_t;

static void weigh_connection(void *conn, void *baton)
{
    weighing_t *weighing = baton;

    weighing->driver->weigh(conn, weighing->sums);
}

static void weigh_pool(cp_pool_t *pool, void *baton)
{
    cp_pool_each_idle(pool, weigh_connection, baton);
}

/* A part of the database's pools that is down: would it open now? */
static void look_at_part(cp_pool_t *pool, void *baton)
{
    uint64_t *down = &database_stats(baton)
                          ->down[cp_pool_part(cp_pool_settings(pool))];
    cp_error_t err;

    if (cp_stats_get(down)
        && cp_pool_try_open(pool, cp_clock_after(CONNPOOL_UPKEEP_EVERY), &err)
               == APR_SUCCESS) {
        set_gauge(down, 0);
    }
}

static void show_down(cp_pool_t *pool, void *baton)
{
    const connpool_database_t *db = baton;

    set_gauge(&database_stats(db)->down[cp_pool_part(cp_pool_settings(pool))],
              1);
    cp_standing_note_error(
        cp_segment_standing(connpool_child.segment, CP_SUBJECT_POOL, db->entry),
        CP_ERR_STORAGE, apr_time_now());
}

/* Without traffic nobody would find out that the database is gone, or back.
 * That it can be read again does not mean that it can be written. */
static void look_at_database(connpool_database_t *db)
{
    int sight = db->driver->look(db->child->database);

    if (sight & CP_SIGHT_OTHER) {
        connpool_each_pool_of(db, flush_pool, db);
    }
    connpool_each_pool_of(db, sight & CP_SIGHT_GONE ? show_down : look_at_part,
                          db);
}

static void weigh_database(connpool_database_t *db)
{
    cp_pool_stats_t *stats = database_stats(db);
    weighing_t weighing = {.driver = db->driver};
    uint64_t held = 0;

    connpool_each_pool_of(db, weigh_pool, &weighing);
    db->driver->measure(db->child->database, weighing.sums);
    for (int i = 0; i < CP_GAUGES; i++) {
        held += i < CP_GAUGES_HELD ? weighing.sums[i] : 0;
        set_gauge(&stats->driver_gauges[i], weighing.sums[i]);
    }
    set_gauge(&stats->memory_bytes, held);
}

static void maintain_database(connpool_database_t *db, void *baton)
{
    if (!db->child) {
        return;
    }
    look_at_database(db);
    db->driver->tend(db->child->database);
    weigh_database(db);
}

static void maintain_pool(cp_pool_t *pool, void *baton)
{
    cp_pool_maintain(pool);
}

void connpool_upkeep(void)
{
    connpool_each_database(maintain_database, NULL);
    connpool_each_pool(maintain_pool, NULL);
}
