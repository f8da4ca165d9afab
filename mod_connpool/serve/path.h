/* SPDX-License-Identifier: Apache-2.0
 * A part of a request's path in the encoding that it came in. */
#ifndef CONNPOOL_PATH_H
#define CONNPOOL_PATH_H

#include "glue.h"

/** The end of r->uri (or r->path_info) as the client has encoded it. */
const char *connpool_encoded_tail(request_rec *r, const char *tail);

/** The path of the place that serves, decoded, without a slash at its end. */
const char *connpool_place_path(request_rec *r);

/** What follows that place in the request's path, encoded as it came. */
const char *connpool_path_behind_place(request_rec *r);

struct connpool_upstream_t;

/** An upstream's Location as a path here, or NULL (location.c). path_info: of
 * the request that it answers. */
const char *connpool_place_here(request_rec *r,
                                const struct connpool_upstream_t *up,
                                const char *path_info, const char *location);

#endif
