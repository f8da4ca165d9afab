/* SPDX-License-Identifier: Apache-2.0
 * Where an upstream sends the client after a write: what lies within the
 * upstream has a place here, too. */
#include "glue.h"
#include "child/child.h"
#include "config/upstream.h"
#include "http/upstream/upstream.h"
#include "serve/path.h"

#include <apr_strings.h>

const char *connpool_place_here(request_rec *r, const connpool_upstream_t *up,
                                const char *path_info, const char *location)
{
    const char *tail = cp_upstream_inside(r->pool, up->child->upstream,
                                          path_info, location);

    return tail ? apr_pstrcat(
               r->pool, ap_os_escape_path(r->pool, connpool_place_path(r), 1),
               tail, NULL)
                : NULL;
}
