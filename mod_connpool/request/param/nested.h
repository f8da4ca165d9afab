/* SPDX-License-Identifier: Apache-2.0
 * A parameter of type json that came as a member of a JSON body. */
#ifndef CONNPOOL_NESTED_H
#define CONNPOOL_NESTED_H

#include "glue.h"

struct connpool_param_t;
struct cp_value_t;
struct json_t;

/** The array or object as the text that it would have been in a query string.
 * @return NULL, or the reason against it */
const char *connpool_nested_parse(apr_pool_t *p,
                                  const struct connpool_param_t *param,
                                  const struct json_t *json,
                                  struct cp_value_t *value);

#endif
