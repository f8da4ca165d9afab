/* SPDX-License-Identifier: Apache-2.0
 * The handlers that answer with work of ours. */
#ifndef CONNPOOL_SERVE_H
#define CONNPOOL_SERVE_H

#include "glue.h"
#include "base/bytes/buffer.h"

struct connpool_batch_t;
struct connpool_query_t;
struct connpool_served_t;

int connpool_query_handler(request_rec *r);
int connpool_fetch_handler(request_rec *r);
int connpool_batch_handler(request_rec *r);

/* --- walk=off --- */

void connpool_walk_register(void);

/** When all is configured: what it leaves out is refused, or warned of.
 * @return OK, or what a hook returns that has logged an error */
int connpool_walk_check(apr_pool_t *p, server_rec *main_server);

/* --- what the handlers share --- */

/** Serve it with Cache-Control, Vary, Age and the note; takes over the
 * reference. */
int connpool_send_served(request_rec *r, const struct connpool_query_t *query,
                         struct connpool_served_t *served);

/** Serve a raw body, with what conditions and ranges leave of it. Takes over
 * the reference. */
int connpool_send_raw(request_rec *r, struct connpool_query_t *query,
                      struct connpool_served_t *served);

/** Fill the batch from the request.
 * @return OK, or the HTTP status to answer, with *pdetail and *perrors set */
int connpool_batch_read(struct connpool_batch_t *batch, request_rec *r,
                        const char **pdetail, apr_array_header_t **perrors);

/** ?strict=1 */
int connpool_batch_is_strict(request_rec *r);

/** The array, with a tag that tells nothing of the time it took. Answers are
 * freed on the way. *pfailed: how many items are not what was asked for. */
const char *connpool_batch_write(struct connpool_batch_t *batch, request_rec *r,
                                 cp_buffer_t *buf, int *pfailed);

#endif
