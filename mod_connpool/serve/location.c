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
    const char *tail = NULL;

    /* Which of them has answered? A whole URL says it, and of paths those of
     * the first one are right. */
    for (int i = 0; i < up->base_count && !tail; i++) {
        tail = cp_upstream_inside(r->pool, up->bases[i].child->upstream,
                                  path_info, location);
    }
    return tail ? apr_pstrcat(
               r->pool, ap_os_escape_path(r->pool, connpool_place_path(r), 1),
               tail, NULL)
                : NULL;
}
