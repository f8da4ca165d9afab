/* SPDX-License-Identifier: Apache-2.0
 * Settings as they hold, and where each comes from. */
#ifndef CONNPOOL_SETTINGS_H
#define CONNPOOL_SETTINGS_H

#include "glue.h"

struct connpool_database_t;
struct connpool_facts_t;
struct connpool_param_t;
struct connpool_query_t;
struct connpool_section_t;
struct connpool_upstream_t;

void connpool_settings_of_server(struct connpool_facts_t *facts,
                                 struct connpool_section_t *section,
                                 server_rec *s);
void connpool_settings_of_database(struct connpool_facts_t *facts,
                                   struct connpool_section_t *section,
                                   const struct connpool_database_t *db);
void connpool_settings_of_upstream(struct connpool_facts_t *facts,
                                   struct connpool_section_t *section,
                                   const struct connpool_upstream_t *up);
void connpool_settings_of_query(struct connpool_facts_t *facts,
                                struct connpool_section_t *section,
                                const struct connpool_query_t *query);
void connpool_settings_of_param(struct connpool_section_t *section,
                                const struct connpool_query_t *query,
                                const struct connpool_param_t *param);

/** Where it is served. */
void connpool_found_servings(struct connpool_facts_t *facts,
                             struct connpool_section_t *section,
                             const void *definition);

#endif
