/* SPDX-License-Identifier: Apache-2.0
 * What dry runs print. */
#ifndef CONNPOOL_GATHER_H
#define CONNPOOL_GATHER_H

#include "glue.h"

struct connpool_facts_t;

/** All of it: gathered at the first call, which takes its time; the same for
 * each who asks. */
const struct connpool_facts_t *connpool_facts(apr_pool_t *p,
                                              server_rec *main_server);

#endif
