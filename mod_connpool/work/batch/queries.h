/* SPDX-License-Identifier: Apache-2.0
 * The queries of a batch. */
#ifndef CONNPOOL_WORK_QUERIES_H
#define CONNPOOL_WORK_QUERIES_H

#include "base/clock.h"

struct connpool_item_t;

/** Run the item's query, which ends by the deadline. */
void connpool_item_run(struct connpool_item_t *item, cp_clock_t deadline);

/** Run the item's query. Others behind it, that read from the same database,
 * may go with it if the driver can send them in one go: none of them begins
 * after `until`, and what could not be had so is left to a run of its own. All
 * end by the deadline. */
void connpool_queries_run(struct connpool_item_t *first, cp_clock_t deadline,
                          cp_clock_t until);

#endif
