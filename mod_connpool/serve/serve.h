/* SPDX-License-Identifier: Apache-2.0
 * The handlers that answer with work of ours. */
#ifndef CONNPOOL_SERVE_H
#define CONNPOOL_SERVE_H

#include "glue.h"

int connpool_query_handler(request_rec *r); /* mod_connpool_query.c */
int connpool_fetch_handler(request_rec *r); /* mod_connpool_fetch.c */
int connpool_batch_handler(request_rec *r); /* mod_connpool_batch.c */

#endif
