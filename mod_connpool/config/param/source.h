/* SPDX-License-Identifier: Apache-2.0
 * Parameters that no client gives: the request itself tells them. */
#ifndef CONNPOOL_SOURCE_H
#define CONNPOOL_SOURCE_H

#include "glue.h"

#include <ap_expr.h>

/** Segments of a path that a query may declare. */
#define CONNPOOL_SEGMENTS_MAX 16

/** One of the two. */
typedef struct connpool_source_t {
    const char *text;           /**< of from=, as it was written */
    const ap_expr_info_t *from; /**< its expression; NULL: a segment */
    int segment;                /**< of the path behind the place, from 1 */
} connpool_source_t;

/** From the values of from= and path= (NULL: not given; *psource is NULL
 * without both).
 * @return NULL, or a sentence */
const char *connpool_source_read(cmd_parms *cmd, const char *from,
                                 const char *path, connpool_source_t **psource);

/** From bits, one for each segment, the lowest for the first: is one missing?
 * @return NULL, or a sentence */
const char *connpool_source_check(apr_pool_t *p, unsigned segments);

/** How many segments the bits declare. */
int connpool_source_count(unsigned segments);

#endif
