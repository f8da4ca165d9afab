/* SPDX-License-Identifier: Apache-2.0
 * From a request for a query with page= to the page that is asked for, and on
 * to the next one. */
#ifndef CONNPOOL_TURN_H
#define CONNPOOL_TURN_H

#include "glue.h"

struct connpool_query_t;
struct cp_value_t;

/** The page that limit and after name among the query's values.
 * @param pvalues those of the query; then of the page
 * @return NULL: the cursor is none of this query's */
struct connpool_query_t *connpool_page_turn(
    request_rec *r, const struct connpool_query_t *query,
    const struct cp_value_t **pvalues);

/** What is said of such a cursor. */
#define connpool_cursor_error                                                  \
    ((connpool_input_error_t){"after", "is no cursor of this query", 0})

/** Tell where the page behind goes on, as the header Link: the path that the
 * client has asked for, with the parameters that it has given.
 * @param values of the query, not of its page */
void connpool_page_link(request_rec *r, const struct connpool_query_t *query,
                        const struct cp_value_t *values, const char *cursor);

#endif
