/* SPDX-License-Identifier: Apache-2.0
 * The place that serves an upstream, and what of the upstream lies there. */
#include "serve/location.h"

#include "glue.h"
#include "child/child.h"
#include "config/setting.h"
#include "config/upstream.h"
#include "http/upstream/upstream.h"
#include "request/param/path.h"

#include <apr_strings.h>

/* The Location that serves, without the slash at its end; NULL: another kind of
 * place does. */
static const char *location_of(request_rec *r)
{
    const connpool_place_t *place = &connpool_dir(r)->served;
    apr_size_t n;

    if (place->kind != CONNPOOL_PLACE_LOCATION || !place->path) {
        return NULL;
    }
    n = strlen(place->path);
    while (n > 0 && place->path[n - 1] == '/') {
        n--;
    }
    return apr_pstrndup(r->pool, place->path, n);
}

const char *connpool_place_path(request_rec *r)
{
    const char *location = location_of(r);
    apr_size_t size = strlen(r->uri);
    apr_size_t rest = r->path_info ? strlen(r->path_info) : 0;

    return location ? location
                    : apr_pstrndup(r->pool, r->uri,
                                   rest <= size ? size - rest : size);
}

const char *connpool_path_behind_place(request_rec *r)
{
    const char *location = location_of(r);
    apr_size_t n = location ? strlen(location) : 0;

    if (!location) {
        return r->path_info ? connpool_encoded_tail(r, r->path_info) : "";
    }
    return strncmp(r->uri, location, n) == 0
               ? connpool_encoded_tail(r, r->uri + n)
               : "";
}

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
