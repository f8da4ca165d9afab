/* SPDX-License-Identifier: Apache-2.0
 * The life of a pool. */
#include "pool/pool.h"

#include "base/clock.h"
#include "base/error.h"
#include "pool/connection.h"
#include "pool/driver.h"
#include "pool/wait/gate.h"
#include "pool/slot.h"
#include "pool/upkeep.h"
#include "stats/stats.h"

#include <apr_strings.h>

apr_status_t cp_pool_create(cp_pool_t **ppool, const cp_pool_config_t *config,
                            const cp_driver_t *driver, void *driver_ctx,
                            cp_pool_stats_t *stats)
{
    apr_pool_t *p;
    cp_pool_t *pool;
    apr_status_t rv;

    /* A root of its own: apr_reslist's cleanup asserts that nothing is out,
     * so only cp_pool_destroy may decide to run it. */
    rv = apr_pool_create_unmanaged_ex(&p, NULL, NULL);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    apr_pool_tag(p, "connpool_pool");
    pool = apr_pcalloc(p, sizeof(*pool));
    pool->p = p;
    pool->config = *config;
    pool->label = apr_psprintf(p, config->members ? "'%s' (%s)" : "'%s'",
                               config->name, config->members);
    pool->driver = driver;
    pool->driver_ctx = driver_ctx;
    pool->stats = stats;
    pthread_mutex_init(&pool->registry_lock, NULL);
    pthread_mutex_init(&pool->holders_lock, NULL);
    pthread_mutex_init(&pool->error_lock, NULL);
    APR_RING_INIT(&pool->registry, cp_slot_t, link);
    rv = cp_gate_create(&pool->gate, config->max, config->queue,
                        &stats->waiting, p);
    if (rv == APR_SUCCESS) {
        cp_gate_tell(pool->gate, &stats->waiting_max,
                     &stats->waiting_since[cp_pool_part(config)]);
    }
    if (rv == APR_SUCCESS) {
        rv = cp_slots_create(pool);
    }
    if (rv != APR_SUCCESS) {
        apr_pool_destroy(p);
        return rv;
    }
    *ppool = pool;
    return APR_SUCCESS;
}

void cp_pool_stop(cp_pool_t *pool)
{
    __atomic_store_n(&pool->is_stopped, 1, __ATOMIC_RELEASE);
    cp_gate_close(pool->gate);
    cp_pool_sweep(pool);
}

int cp_pool_is_used(cp_pool_t *pool)
{
    return cp_gate_is_used(pool->gate)
           || __atomic_load_n(&pool->overflows, __ATOMIC_RELAXED) > 0;
}

apr_status_t cp_pool_destroy(cp_pool_t *pool)
{
    if (cp_pool_is_used(pool)) {
        return APR_EBUSY;
    }
    cp_pool_stop(pool);
    cp_slots_destroy(pool);
    pthread_mutex_destroy(&pool->registry_lock);
    pthread_mutex_destroy(&pool->holders_lock);
    pthread_mutex_destroy(&pool->error_lock);
    apr_pool_destroy(pool->p);
    return APR_SUCCESS;
}

const cp_pool_config_t *cp_pool_settings(const cp_pool_t *pool)
{
    return &pool->config;
}

apr_status_t cp_pool_try_open(cp_pool_t *pool, cp_clock_t deadline,
                              cp_error_t *err)
{
    cp_connection_t conn = {0};
    apr_status_t rv;

    if (!cp_connection_try_permit(pool, &conn)) {
        return cp_error_set(
            err, CP_ERR_CAPACITY, APR_EAGAIN, "no connection is free",
            "pool %s: others have all permits of the server", pool->label);
    }
    rv = pool->driver->open(pool->driver_ctx, deadline, &conn.handle, err);
    if (rv == APR_SUCCESS) {
        pool->driver->close(pool->driver_ctx, conn.handle);
    }
    cp_connection_let_go(pool, &conn);
    return rv;
}
