/* SPDX-License-Identifier: Apache-2.0
 * The shared segment of the counters; for the parent. */
#ifndef CONNPOOL_COUNTERS_H
#define CONNPOOL_COUNTERS_H

#include "glue.h"

/** It and those before it; outlives restarts. */
typedef struct connpool_counters_t connpool_counters_t;

/** Make it, or go on with it, and give all that is configured a place in it. */
apr_status_t connpool_set_up_counters(connpool_counters_t **pcounters,
                                      server_rec *s);

/** How many children, and their successors, there can be at once. */
int connpool_most_processes(void);

#endif
