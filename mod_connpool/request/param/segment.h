/* SPDX-License-Identifier: Apache-2.0
 * The segments of a request's path behind the place that serves it. */
#ifndef CONNPOOL_SEGMENT_H
#define CONNPOOL_SEGMENT_H

#include "glue.h"

/** Are there so many, no more, none of them empty or "." or ".."? Then they are
 * in *psegments, decoded once after the path was cut: an encoded slash is a
 * character of its segment. */
int connpool_segments_read(request_rec *r, int count, char ***psegments);

/** Has the query that the request's handler serves parameters from the path,
 * which are what follows its place? */
int connpool_takes_segments(request_rec *r);

#endif
