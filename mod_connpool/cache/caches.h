/* SPDX-License-Identifier: Apache-2.0
 * The caches of this child: where answers are kept, and who waits for which. */

#include "glue.h"
#include "answers/shared/flight.h"
#include "answers/shared/store.h"

#ifndef CONNPOOL_CACHES_H
#define CONNPOOL_CACHES_H

/** Set in connpool_cache_start, before any request. */
typedef struct connpool_caches_t {
    cp_flight_table_t *flights; /**< NULL: nothing is kept or shared */
    cp_store_t *store;          /**< NULL: no query has ttl=data */
    uint64_t evictions;         /**< told so far; maintenance only */
} connpool_caches_t;

extern connpool_caches_t connpool_caches;

/** Before the first request of the child; when it ends at once; after its
 * last request; once a second. */
void connpool_cache_start(apr_pool_t *pchild, server_rec *main_server);
void connpool_cache_cancel(void);
void connpool_cache_stop(void);
void connpool_cache_maintain(void);

#endif
