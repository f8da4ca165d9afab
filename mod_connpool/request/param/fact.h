/* SPDX-License-Identifier: Apache-2.0
 * Values that the request itself tells: from= and path=. */
#ifndef CONNPOOL_FACT_H
#define CONNPOOL_FACT_H

#include "glue.h"

struct connpool_param_t;
struct connpool_query_t;
struct cp_value_t;

/** The value of a parameter that has a source, in the handler: who asks is
 * known by then. *preason says what is wrong with it.
 * @return OK; or the HTTP status to answer: 400, 403: it is required and not
 * there, 404: the path is not that of the query, 500 */
int connpool_fact_read(request_rec *r, const struct connpool_query_t *query,
                       const struct connpool_param_t *param,
                       struct cp_value_t *value, const char **preason);

#endif
