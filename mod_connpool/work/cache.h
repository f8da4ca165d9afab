/* SPDX-License-Identifier: Apache-2.0
 * Answers of queries that are kept or shared. */
#ifndef CONNPOOL_CACHE_H
#define CONNPOOL_CACHE_H

#include "glue.h"
#include "base/error.h"

struct connpool_query_t;
struct cp_answer_t;
struct cp_value_t;

/** How a request came to its answer: the note connpool-cache. */
typedef enum connpool_outcome_t {
    CONNPOOL_BYPASS,    /* neither looked for nor kept */
    CONNPOOL_MISS,      /* the query was run for it */
    CONNPOOL_HIT,       /* it was there */
    CONNPOOL_STALE,     /* it was there, and had expired */
    CONNPOOL_COALESCED, /* the query was run for another request */
    CONNPOOL_OUTCOMES
} connpool_outcome_t;

typedef struct connpool_served_t {
    struct cp_answer_t *answer; /* the caller's to unref */
    connpool_outcome_t outcome;
    apr_time_t expires; /* wall clock, with ttl=DURATION; else 0 */
} connpool_served_t;

/** The answer from the cache, from another request that asks for the same now,
 * or by running the query. Counts. */
apr_status_t connpool_serve_query(request_rec *r,
                                  struct connpool_query_t *query,
                                  const struct cp_value_t *values,
                                  connpool_served_t *served, cp_error_t *err);

/** The answer alone, which is the caller's to unref. */
apr_status_t connpool_answer_query(request_rec *r,
                                   struct connpool_query_t *query,
                                   const struct cp_value_t *values,
                                   struct cp_answer_t **panswer,
                                   cp_error_t *err);

#endif
