/* SPDX-License-Identifier: Apache-2.0
 * What it comes to at worst, over all children. */
#ifndef CONNPOOL_TOTAL_H
#define CONNPOOL_TOTAL_H

#include "glue.h"

struct connpool_database_t;
struct connpool_facts_t;
struct connpool_section_t;
struct connpool_upstream_t;

void connpool_total_of_database(struct connpool_facts_t *facts,
                                struct connpool_section_t *section,
                                const struct connpool_database_t *db);
void connpool_total_of_upstream(struct connpool_facts_t *facts,
                                struct connpool_section_t *section,
                                const struct connpool_upstream_t *up);

/** Of the whole server, and what holds for all of it. */
void connpool_total_of_all(struct connpool_facts_t *facts,
                           struct connpool_section_t *module,
                           server_rec *main_server);

#endif
