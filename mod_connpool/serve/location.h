/* SPDX-License-Identifier: Apache-2.0
 * The place that serves an upstream, and what of the upstream lies there. */
#ifndef CONNPOOL_LOCATION_H
#define CONNPOOL_LOCATION_H

#include "glue.h"

struct connpool_upstream_t;

/** The path of the place that serves, decoded, without a slash at its end. */
const char *connpool_place_path(request_rec *r);

/** What follows that place in the request's path, encoded as it came. */
const char *connpool_path_behind_place(request_rec *r);

/** Where an upstream sends the client after a write, as a path here: NULL when
 * it lies not within the upstream. path_info: of the request that it answers.
 */
const char *connpool_place_here(request_rec *r,
                                const struct connpool_upstream_t *up,
                                const char *path_info, const char *location);

#endif
