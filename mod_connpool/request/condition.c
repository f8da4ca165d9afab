/* SPDX-License-Identifier: Apache-2.0
 * Conditions of a request, and entity tags that filters have changed:
 * mod_deflate and mod_brotli make "abc-gzip" and "abc-br" of our "abc", others
 * "abc;gzip" or W/"abc". Who asks with such a tag has our answer. */
#include "glue.h"
#include "request/output.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_protocol.h>

/* One tag of a list. */
typedef struct tag_t {
    const char *start;  /* of W/, if that is there */
    const char *opaque; /* behind the first quote */
    apr_size_t size;    /* of the opaque part */
    const char *end;    /* behind the second quote */
} tag_t;

/* The next tag at or behind c; what is none is passed over. */
static int next_tag(const char *c, tag_t *tag)
{
    const char *quote = strchr(c, '"');
    const char *end = quote ? strchr(quote + 1, '"') : NULL;

    if (!end) {
        return 0;
    }
    tag->start = quote - c >= 2 && quote[-1] == '/' && quote[-2] == 'W'
                     ? quote - 2
                     : quote;
    tag->opaque = quote + 1;
    tag->size = (apr_size_t)(end - tag->opaque);
    tag->end = end + 1;
    return 1;
}

/* "-gzip", ";br": how an encoded form of the same is told apart. */
static int names_coding(const char *suffix, apr_size_t size)
{
    static const char *const codings[] = {"gzip",    "br",     "zstd",
                                          "deflate", "x-gzip", "compress"};
    apr_size_t skip = size > 1 && suffix[0] == '-' && suffix[1] == '-' ? 2 : 1;

    if (size <= skip || (suffix[0] != '-' && suffix[0] != ';')) {
        return 0;
    }
    for (size_t i = 0; i < sizeof(codings) / sizeof(codings[0]); i++) {
        if (size - skip == strlen(codings[i])
            && !strncasecmp(suffix + skip, codings[i], size - skip)) {
            return 1;
        }
    }
    return 0;
}

/* Our tag with the name of a coding behind it? */
static int is_encoded(const tag_t *tag, const tag_t *own)
{
    return tag->size > own->size
           && strncmp(tag->opaque, own->opaque, own->size) == 0
           && names_coding(tag->opaque + own->size, tag->size - own->size);
}

/* The list with our own tag in the place of each encoded one; *pfound is the
 * first of those as it came, or NULL. A weak one stays weak. */
static const char *decoded_list(apr_pool_t *p, const char *list,
                                const tag_t *own, const char **pfound)
{
    const char *rest = list;
    const char *copy = "";
    tag_t tag;

    *pfound = NULL;
    while (next_tag(rest, &tag)) {
        if (is_encoded(&tag, own)) {
            const char *found = apr_pstrmemdup(
                p, tag.start, (apr_size_t)(tag.end - tag.start));

            *pfound = *pfound ? *pfound : found;
            copy = apr_pstrcat(
                p, copy,
                apr_pstrmemdup(p, rest, (apr_size_t)(tag.opaque - rest)),
                apr_pstrmemdup(p, own->opaque, own->size), "\"", NULL);
        }
        else {
            copy = apr_pstrcat(
                p, copy, apr_pstrmemdup(p, rest, (apr_size_t)(tag.end - rest)),
                NULL);
        }
        rest = tag.end;
    }
    return apr_pstrcat(p, copy, rest, NULL);
}

/* Is our own tag in the list as it came? */
static int has_own(const char *list, const tag_t *own)
{
    tag_t tag;

    while (next_tag(list, &tag)) {
        if (tag.size == own->size
            && strncmp(tag.opaque, own->opaque, tag.size) == 0) {
            return 1;
        }
        list = tag.end;
    }
    return 0;
}

/* Put the decoded list in the header's place, for who compares; returns what
 * was there, or NULL when nothing is encoded. */
static const char *replace_list(request_rec *r, const char *header,
                                const tag_t *own, const char **pfound)
{
    const char *list = apr_table_get(r->headers_in, header);
    const char *decoded = list ? decoded_list(r->pool, list, own, pfound)
                               : NULL;

    if (!decoded || !*pfound) {
        return NULL;
    }
    apr_table_setn(r->headers_in, header, decoded);
    return list;
}

int connpool_meets_conditions(request_rec *r)
{
    const char *etag = apr_table_get(r->headers_out, "ETag");
    const char *match, *none, *found, *ignored;
    tag_t own;
    int status;

    if (!etag || !next_tag(etag, &own)) {
        return ap_meets_conditions(r);
    }
    match = replace_list(r, "If-Match", &own, &ignored);
    none = replace_list(r, "If-None-Match", &own, &found);
    status = ap_meets_conditions(r);
    if (match) {
        apr_table_setn(r->headers_in, "If-Match", match);
    }
    if (none) {
        apr_table_setn(r->headers_in, "If-None-Match", none);
        /* A cache looks for what it has under the very tag that it named. */
        if (status == HTTP_NOT_MODIFIED && !has_own(none, &own)) {
            apr_table_setn(r->headers_out, "ETag", found);
        }
    }
    return status;
}
