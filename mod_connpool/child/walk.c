/* SPDX-License-Identifier: Apache-2.0
 * Walks over all that is defined, and over the pools of this child. */
#include "glue.h"
#include "child/child.h"
#include "config/database.h"
#include "config/query.h"
#include "config/setting.h"
#include "config/upstream.h"
#include "database/database.h"

/* A virtual host without a directive of ours shares its main server's config.
 */
static connpool_server_t *own_config(server_rec *s)
{
    connpool_server_t *sc = connpool_server(s);

    return sc->server == s ? sc : NULL;
}

#define DEFINE_EACH(noun, list)                                                \
    void connpool_each_##noun(connpool_each_##noun##_fn fn, void *baton)       \
    {                                                                          \
        for (server_rec *s = connpool_child.main_server; s; s = s->next) {     \
            connpool_server_t *sc = own_config(s);                             \
                                                                               \
            for (int i = 0; sc && i < sc->list->nelts; i++) {                  \
                fn(APR_ARRAY_IDX(sc->list, i, connpool_##noun##_t *), baton);  \
            }                                                                  \
        }                                                                      \
    }

DEFINE_EACH(database, databases)
DEFINE_EACH(upstream, upstreams)
DEFINE_EACH(query, queries)

typedef struct driver_walk_t {
    connpool_each_driver_fn fn;
    void *baton;
    const cp_database_driver_t *seen[CONNPOOL_DRIVERS];
    int count;
} driver_walk_t;

static void walk_driver(connpool_database_t *db, void *baton)
{
    driver_walk_t *walk = baton;

    for (int i = 0; i < walk->count; i++) {
        if (walk->seen[i] == db->driver) {
            return;
        }
    }
    if (walk->count < CONNPOOL_DRIVERS) {
        walk->seen[walk->count++] = db->driver;
        walk->fn(db->driver, walk->baton);
    }
}

void connpool_each_driver(connpool_each_driver_fn fn, void *baton)
{
    driver_walk_t walk = {.fn = fn, .baton = baton};

    connpool_each_database(walk_driver, &walk);
}

int connpool_has_writer_apart(const connpool_database_t *db)
{
    int writers = db->facts.writers;

    if (db->facts.is_readonly || db->pool.max <= 1) {
        return 0;
    }
    if (writers == 0) {
        return (db->driver->can & CP_CAN_SPLIT_WRITER) != 0;
    }
    return writers < db->pool.max ? writers : db->pool.max - 1;
}

typedef struct pool_walk_t {
    connpool_each_pool_fn fn;
    void *baton;
} pool_walk_t;

static void walk_pools(const connpool_db_pools_t *pools,
                       const pool_walk_t *walk)
{
    if (pools->readers) {
        walk->fn(pools->readers, walk->baton);
    }
    if (pools->writer && pools->writer != pools->readers) {
        walk->fn(pools->writer, walk->baton);
    }
}

static void walk_database(connpool_database_t *db, void *baton)
{
    if (db->child) {
        walk_pools(&db->child->direct, baton);
        walk_pools(&db->child->pooled, baton);
    }
}

static void walk_upstream(connpool_upstream_t *up, void *baton)
{
    const pool_walk_t *walk = baton;

    for (int i = 0; i < 2 * up->base_count; i++) {
        const connpool_up_child_t *child = up->bases[i / 2].child;

        if (child && child->pool[i % 2]) {
            walk->fn(child->pool[i % 2], walk->baton);
        }
    }
}

void connpool_each_pool_of(connpool_database_t *db, connpool_each_pool_fn fn,
                           void *baton)
{
    pool_walk_t walk = {fn, baton};

    walk_database(db, &walk);
}

void connpool_each_pool(connpool_each_pool_fn fn, void *baton)
{
    pool_walk_t walk = {fn, baton};

    connpool_each_database(walk_database, &walk);
    connpool_each_upstream(walk_upstream, &walk);
}
