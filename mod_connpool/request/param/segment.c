/* SPDX-License-Identifier: Apache-2.0
 * Where a request's path goes on behind its place. httpd tells no handler which
 * section has matched; but the section that sets the handler, and the one that
 * says what is served, are kept with the settings that they have made, and the
 * place begins behind the longer of both. */
#include "request/param/segment.h"

#include "glue.h"
#include "config/param/source.h"
#include "config/query.h"
#include "config/setting.h"
#include "request/param/path.h"

#include <apr_hash.h>
#include <apr_strings.h>

/* What follows so many bytes of a path, with the slash that leads it, even if
 * the place ends with that. */
static const char *behind(const char *path, apr_size_t n)
{
    return path + n - (n > 0 && path[n - 1] == '/');
}

static const char *behind_path(const char *path, const char *place)
{
    apr_size_t n = place ? strlen(place) : 0;

    return place && strncmp(path, place, n) == 0 ? behind(path, n) : NULL;
}

static const char *behind_match(const char *path, const ap_regex_t *regex)
{
    ap_regmatch_t match[1];

    return regex && ap_regexec(regex, path, 1, match, 0) == 0
               ? behind(path, (apr_size_t)match[0].rm_eo)
               : NULL;
}

/* NULL: that cannot be told. */
static const char *rest_of(request_rec *r, const connpool_place_t *place)
{
    switch (place->kind) {
    case CONNPOOL_PLACE_LOCATION:
        return behind_path(r->uri, place->path);
    case CONNPOOL_PLACE_PATTERN:
        return behind_match(r->uri, place->regex);
    case CONNPOOL_PLACE_DIRECTORY: /* whatever of the file's name exists */
        return behind_path(apr_pstrcat(r->pool, r->filename ? r->filename : "",
                                       r->path_info, NULL),
                           place->path);
    case CONNPOOL_PLACE_FILES:
        return r->path_info ? r->path_info : "";
    case CONNPOOL_PLACE_SERVER:
        break;
    }
    return NULL;
}

static const char *find_rest(request_rec *r)
{
    const connpool_dir_t *dir = connpool_dir(r);
    const char *set = rest_of(r, &dir->handled);
    const char *served = rest_of(r, &dir->served);

    return !set || (served && strlen(served) < strlen(set)) ? served : set;
}

/* Decode in place, once. What names no thing, or another than it seems to, is
 * not there. */
static int decode(char *segment)
{
    return *segment && ap_unescape_url_keep2f(segment, 1) == OK
           && strcmp(segment, ".") != 0 && strcmp(segment, "..") != 0;
}

static int cut(char *tail, int count, char **segments)
{
    for (int i = 0; i < count; i++) {
        char *end = tail ? strchr(tail, '/') : NULL;

        if (!tail || !end != (i == count - 1)) {
            return 0;
        }
        if (end) {
            *end++ = '\0';
        }
        segments[i] = tail;
        if (!decode(tail)) {
            return 0;
        }
        tail = end;
    }
    return 1;
}

int connpool_segments_read(request_rec *r, int count, char ***psegments)
{
    const char *rest = find_rest(r);
    const char *tail = rest ? connpool_raw_tail(r, rest) : NULL;

    if (!tail || *tail++ != '/') {
        return 0;
    }
    *psegments = apr_palloc(r->pool, (apr_size_t)count * sizeof(**psegments));
    return cut(apr_pstrdup(r->pool, tail), count, *psegments);
}

int connpool_takes_segments(request_rec *r)
{
    const char *name = connpool_served_name(r);
    const connpool_query_t *query = name ? apr_hash_get(
                                        connpool_server(r->server)->all_queries,
                                        name, APR_HASH_KEY_STRING)
                                         : NULL;

    return query && query->segments
           && strcmp(r->handler, "connpool-query") == 0;
}
