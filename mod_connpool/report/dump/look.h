/* SPDX-License-Identifier: Apache-2.0
 * A look at what was defined, from a process of the server's user. */
#ifndef CONNPOOL_LOOK_H
#define CONNPOOL_LOOK_H

#include "glue.h"

struct connpool_database_t;
struct connpool_teller_t;
struct connpool_upstream_t;

/** A query, and the section that it is told in. */
typedef struct connpool_told_query_t {
    const struct connpool_query_t *query;
    int section;
} connpool_told_query_t;

/** A database with all queries that use it. */
typedef struct connpool_database_look_t {
    const struct connpool_database_t *database;
    apr_array_header_t *queries; /**< connpool_told_query_t */
} connpool_database_look_t;

#define CONNPOOL_LOOK_AT_DATABASE apr_time_from_sec(10)
#define CONNPOOL_LOOK_AT_QUERY    apr_time_from_msec(200) /* beside it, each */
#define CONNPOOL_LOOK_AT_UPSTREAM apr_time_from_sec(2)

/** Works of jobs: subject is a connpool_database_look_t. */
void connpool_look_at_database(apr_pool_t *p, void *subject,
                               struct connpool_teller_t *teller);

/** Subject is a connpool_upstream_t. */
void connpool_look_at_upstream(apr_pool_t *p, void *subject,
                               struct connpool_teller_t *teller);

#endif
