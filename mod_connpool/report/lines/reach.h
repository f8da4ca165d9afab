/* SPDX-License-Identifier: Apache-2.0
 * How many of a pool's connections can be busy at once. */
#ifndef CONNPOOL_REACH_H
#define CONNPOOL_REACH_H

#include <stdint.h>

struct connpool_status_t;

/** For each pool of the report, whose sums are known. */
void connpool_status_reach(struct connpool_status_t *report);

/** All pools of databases, or of upstreams, together: those of one server,
 * which share a limit, count no more than that. */
uint64_t connpool_status_reachable(const struct connpool_status_t *report,
                                   int of_databases);

#endif
