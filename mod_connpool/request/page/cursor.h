/* SPDX-License-Identifier: Apache-2.0
 * Where a page has ended: a text that clients give back to get the next one. It
 * holds the values of its last row in the columns of page=, exactly, and a hash
 * of them, the query and its parameters, so that none is taken for another
 * query, or for other parameters, or for somebody else. */
#ifndef CONNPOOL_CURSOR_H
#define CONNPOOL_CURSOR_H

#include "glue.h"

struct connpool_query_t;
struct cp_value_t;

/** Of the values of a row in the columns, one for each.
 * @param own of the parameters of the query's SQL
 * @return NULL: they are too long */
const char *connpool_cursor_write(apr_pool_t *p,
                                  const struct connpool_query_t *query,
                                  const struct cp_value_t *own,
                                  const struct cp_value_t *columns);

/** @return whether it is one of this query with these parameters: its values
 * are in columns then, in p */
int connpool_cursor_read(apr_pool_t *p, const struct connpool_query_t *query,
                         const struct cp_value_t *own,
                         const struct cp_value_t *text,
                         struct cp_value_t *columns);

#endif
