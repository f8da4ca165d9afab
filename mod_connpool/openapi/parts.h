/* SPDX-License-Identifier: Apache-2.0
 * The parts of the document. All of them return new references, which the
 * caller puts into something larger; without memory they return NULL, and so
 * does what they are put into. */
#ifndef CONNPOOL_OPENAPI_PARTS_H
#define CONNPOOL_OPENAPI_PARTS_H

#include "glue.h"

#include <jansson.h>

#include <apr_hash.h>

struct connpool_param_t;
struct connpool_query_t;
struct connpool_serving_t;

/** One description being made. */
typedef struct connpool_openapi_t {
    apr_pool_t *p;
    server_rec *server; /**< who describes itself */
    json_t *paths;      /**< what is known so far */
    apr_hash_t *ids;    /**< operations that have that name */
} connpool_openapi_t;

/** One place, and what its URL is. */
typedef struct connpool_endpoint_t {
    const struct connpool_serving_t *serving;
    const char *handler;
    const char *url;
    int is_rated; /**< ConnPoolRateLimit holds here */
} connpool_endpoint_t;

/* --- schema.c: values --- */

/** A parameter as a JSON value (in a body) or as text (in a URL). */
json_t *connpool_openapi_value(apr_pool_t *p,
                               const struct connpool_param_t *param,
                               int is_json);
/** The body's object whose members are the query's parameters. */
json_t *connpool_openapi_params(const connpool_openapi_t *doc,
                                const struct connpool_query_t *query,
                                int is_json);
/** What the query answers. */
json_t *connpool_openapi_result(const struct connpool_query_t *query);
/** #/components/schemas: those that are referred to by name. */
json_t *connpool_openapi_schemas(void);

/* --- responses.c: statuses --- */

/** "$ref" to a response of components for each status, up to 0. */
void connpool_openapi_problems(json_t *responses, const int *statuses);
/** #/components/responses. */
json_t *connpool_openapi_responses(void);
/** #/components/headers. */
json_t *connpool_openapi_headers(void);
json_t *connpool_openapi_ref(const char *kind, const char *name);

/* --- operation.c: what is done --- */

/** Everything that is served at one place, added to doc->paths. */
void connpool_openapi_add(connpool_openapi_t *doc,
                          const connpool_endpoint_t *endpoint);

#endif
