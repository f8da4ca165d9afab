/* SPDX-License-Identifier: Apache-2.0
 * What goes out beside the bytes of a query's answer, and what a write is asked
 * that it does not know. */
#ifndef CONNPOOL_SERVE_REPLY_H
#define CONNPOOL_SERVE_REPLY_H

#include "glue.h"

struct connpool_query_t;

/** NULL, or why this write must not be done for this request: it has a
 * precondition that nothing of the query looks at. */
const char *connpool_unread_condition(request_rec *r,
                                      const struct connpool_query_t *query);

/** Status and headers of an answer that has a body. */
void connpool_set_status(request_rec *r, int status);
void connpool_set_reply_header(request_rec *r, const char *name,
                               const char *value);

#endif
