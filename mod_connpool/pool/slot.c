/* SPDX-License-Identifier: Apache-2.0
 * Slots: in the list that lends them, and in the register that shows them all.
 */
#include "pool/slot.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

#include <apr_reslist.h>

/* --- slots --- */

cp_slot_t *cp_slot_create(int is_overflow)
{
    cp_slot_t *slot = calloc(1, sizeof(*slot));

    if (slot) {
        pthread_mutex_init(&slot->lock, NULL);
        slot->is_overflow = is_overflow;
    }
    return slot;
}

void cp_slot_free(cp_slot_t *slot)
{
    pthread_mutex_destroy(&slot->lock);
    free(slot);
}

void cp_slot_register(cp_pool_t *pool, cp_slot_t *slot)
{
    pthread_mutex_lock(&pool->registry_lock);
    APR_RING_INSERT_TAIL(&pool->registry, slot, cp_slot_t, link);
    pthread_mutex_unlock(&pool->registry_lock);
}

void cp_slot_unregister(cp_pool_t *pool, cp_slot_t *slot)
{
    pthread_mutex_lock(&pool->registry_lock);
    APR_RING_REMOVE(slot, link);
    pthread_mutex_unlock(&pool->registry_lock);
}

/* --- the list --- */

/* Reslist constructor: runs under the reslist's lock, so it only allocates. */
static apr_status_t slot_construct(void **presource, void *params,
                                   apr_pool_t *p)
{
    cp_slot_t *slot = cp_slot_create(0);

    if (!slot) {
        return APR_ENOMEM;
    }
    cp_slot_register(params, slot);
    *presource = slot;
    return APR_SUCCESS;
}

/* Reslist destructor, under the same lock: the connection is gone already. */
static apr_status_t slot_destruct(void *resource, void *params, apr_pool_t *p)
{
    cp_slot_unregister(params, resource);
    cp_slot_free(resource);
    return APR_SUCCESS;
}

apr_status_t cp_slots_create(cp_pool_t *pool)
{
    int max = pool->config.max;
    apr_status_t rv = apr_reslist_create(&pool->slots, max, max, max, 0,
                                         slot_construct, slot_destruct, pool,
                                         pool->p);

    if (rv == APR_SUCCESS) {
        apr_reslist_cleanup_order_set(pool->slots, APR_RESLIST_CLEANUP_FIRST);
    }
    return rv;
}

void cp_slots_destroy(cp_pool_t *pool)
{
    apr_reslist_destroy(pool->slots);
}

apr_status_t cp_slots_take(cp_pool_t *pool, cp_slot_t **pslot)
{
    void *resource;
    apr_status_t rv = apr_reslist_acquire(pool->slots, &resource);

    *pslot = rv == APR_SUCCESS ? resource : NULL;
    return rv;
}

void cp_slots_give(cp_pool_t *pool, cp_slot_t *slot)
{
    apr_reslist_release(pool->slots, slot);
}

/* --- the register --- */

int cp_slot_find(cp_pool_t *pool, cp_slot_visitor_t visit, void *baton)
{
    cp_slot_t *slot;
    int found = 0;

    pthread_mutex_lock(&pool->registry_lock);
    APR_RING_FOREACH(slot, &pool->registry, cp_slot_t, link)
    {
        pthread_mutex_lock(&slot->lock);
        found = visit(pool, slot, baton);
        pthread_mutex_unlock(&slot->lock);
        if (found) {
            break;
        }
    }
    pthread_mutex_unlock(&pool->registry_lock);
    return found;
}

void cp_slot_occupy(cp_slot_t *slot, const char *holder, cp_clock_t now)
{
    size_t size = strnlen(holder, sizeof(slot->holder) - 1);

    pthread_mutex_lock(&slot->lock);
    slot->is_busy = 1;
    slot->leak_reported = 0;
    slot->is_shown = 0;
    slot->busy_since = now;
    slot->request[0] = '\0';
    memcpy(slot->holder, holder, size);
    slot->holder[size] = '\0';
    pthread_mutex_unlock(&slot->lock);
}

void cp_slot_tell(cp_slot_t *slot, const char *method, const char *path)
{
    size_t room = sizeof(slot->request) - 2; /* for the blank and the end */
    size_t first = strnlen(method, room);
    size_t second = strnlen(path, room - first);

    pthread_mutex_lock(&slot->lock);
    memcpy(slot->request, method, first);
    slot->request[first] = ' ';
    memcpy(slot->request + first + 1, path, second);
    slot->request[first + 1 + second] = '\0';
    pthread_mutex_unlock(&slot->lock);
}

int cp_slot_vacate(cp_slot_t *slot, const cp_connection_t *conn)
{
    int was_listed;

    pthread_mutex_lock(&slot->lock);
    was_listed = slot->is_shown || slot->leak_reported;
    slot->is_busy = 0;
    slot->leak_reported = 0;
    slot->is_shown = 0;
    slot->conn = *conn;
    pthread_mutex_unlock(&slot->lock);
    return was_listed;
}
