/* SPDX-License-Identifier: Apache-2.0
 * Which URLs lie within an upstream: those that a request can be led to. */
#include "http/upstream/guard.h"
#include "http/upstream/upstream.h"

#include <string.h>
#include <strings.h>

#include <apr_strings.h>

int cp_upstream_is_same_origin(CURLU *a, CURLU *b)
{
    static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST,
                                      CURLUPART_PORT};
    int is_same = 1;

    for (int i = 0; i < 3; i++) {
        char *x = NULL, *y = NULL;

        curl_url_get(a, parts[i], &x, CURLU_DEFAULT_PORT);
        curl_url_get(b, parts[i], &y, CURLU_DEFAULT_PORT);
        is_same = is_same && x && y && strcasecmp(x, y) == 0;
        curl_free(x);
        curl_free(y);
    }
    return is_same;
}

static const char *part_of(apr_pool_t *p, CURLU *url, CURLUPart part)
{
    char *value = NULL;
    const char *copy = NULL;

    if (curl_url_get(url, part, &value, 0) == CURLUE_OK) {
        copy = apr_pstrdup(p, value);
        curl_free(value);
    }
    return copy;
}

/* The path of the upstream's URL, without the slash at its end. */
static const char *base_of(apr_pool_t *p, const cp_upstream_t *upstream)
{
    const char *path = part_of(p, upstream->url, CURLUPART_PATH);
    apr_size_t size = path ? strlen(path) : 0;

    while (size > 0 && path[size - 1] == '/') {
        size--;
    }
    return apr_pstrndup(p, path ? path : "", size);
}

/* What follows base in url, with its query and fragment. */
static const char *tail_of(apr_pool_t *p, CURLU *url, const char *base)
{
    const char *path = part_of(p, url, CURLUPART_PATH);
    const char *query = part_of(p, url, CURLUPART_QUERY);
    const char *fragment = part_of(p, url, CURLUPART_FRAGMENT);
    apr_size_t size = strlen(base);

    if (!path || strncmp(path, base, size) != 0
        || (path[size] != '/' && path[size] != '\0')) {
        return NULL;
    }
    return apr_pstrcat(p, path + size, query ? "?" : "", query ? query : "",
                       fragment ? "#" : "", fragment ? fragment : "", NULL);
}

const char *cp_upstream_inside(apr_pool_t *p, const cp_upstream_t *upstream,
                               const char *path_info, const char *location)
{
    const char *base = base_of(p, upstream);
    const char *path = apr_pstrcat(p, base, *path_info == '/' ? "" : "/",
                                   path_info, NULL);
    CURLU *url = curl_url_dup(upstream->url);
    const char *tail = NULL;

    if (url && curl_url_set(url, CURLUPART_QUERY, NULL, 0) == CURLUE_OK
        && curl_url_set(url, CURLUPART_PATH, path, 0) == CURLUE_OK
        && curl_url_set(url, CURLUPART_URL, location, CURLU_DISALLOW_USER)
               == CURLUE_OK
        && cp_upstream_is_same_origin(url, upstream->url)) {
        tail = tail_of(p, url, base);
    }
    curl_url_cleanup(url);
    return tail;
}
