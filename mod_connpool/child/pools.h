/* SPDX-License-Identifier: Apache-2.0
 * Making the pools of this child, and ending them. */
#ifndef CONNPOOL_POOLS_H
#define CONNPOOL_POOLS_H

#include <apr_pools.h>

/** In child_init, after the segment is there: the pools of all databases, and
 * those of all upstreams with the limits that they share. What fails is logged,
 * and its pool stays NULL.
 * @return how many are defined */
int connpool_build_databases(apr_pool_t *pchild);
int connpool_build_upstreams(apr_pool_t *pchild);

/** Refuse new work and wake all who wait; idempotent. */
void connpool_stop_pools(void);

#endif
