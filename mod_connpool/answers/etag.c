/* SPDX-License-Identifier: Apache-2.0 */
#include "answers/etag.h"

#include "base/bytes/buffer.h"

#include <string.h>
#include <strings.h>

#include <apr_strings.h>

/* The word is spread first, lest like changes in two places cancel out. All
 * steps can be undone: bodies that differ in one word only never meet. */
static apr_uint64_t mix(apr_uint64_t hash, apr_uint64_t word)
{
    word *= APR_UINT64_C(0x9e3779b97f4a7c15);
    word ^= word >> 32;
    word *= APR_UINT64_C(0xbf58476d1ce4e5b9);
    hash ^= word;
    return (hash << 27 | hash >> 37) * APR_UINT64_C(0x94d049bb133111eb);
}

apr_uint64_t connpool_hash(apr_uint64_t hash, const char *data, apr_size_t size)
{
    apr_uint64_t word = 0;
    apr_size_t i = 0;

    hash = mix(hash, size);
    for (; size - i >= sizeof(word); i += sizeof(word)) {
        memcpy(&word, data + i, sizeof(word));
        hash = mix(hash, word);
    }
    if (i < size) {
        word = 0;
        memcpy(&word, data + i, size - i);
        hash = mix(hash, word);
    }
    return hash;
}

const char *connpool_etag(apr_pool_t *p, const char *prefix, apr_uint64_t hash)
{
    static const char hex[] = "0123456789abcdef";
    apr_size_t size = strlen(prefix);
    char *tag = apr_palloc(p, size + 2 * sizeof(hash) + sizeof("\"\""));
    char *to = tag + size;
    unsigned char bytes[sizeof(hash)];

    hash ^= hash >> 32;
    memcpy(bytes, &hash, sizeof(hash));
    memcpy(tag, prefix, size);
    *to++ = '"';
    for (size_t i = 0; i < sizeof(bytes); i++) {
        *to++ = hex[bytes[i] >> 4];
        *to++ = hex[bytes[i] & 15];
    }
    memcpy(to, "\"", sizeof("\""));
    return tag;
}

/* Strong: equal bytes, equal tag. A plain hash is enough, nobody gains by
 * forging his own cache's key. */
const char *connpool_body_etag(apr_pool_t *p, const cp_buffer_t *body)
{
    return connpool_etag(p, "", connpool_hash(0, body->data, body->size));
}

/* --- tags that filters have changed --- */

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

const char *connpool_etag_decode(apr_pool_t *p, const char *list,
                                 const char *etag, const char **pknown)
{
    const char *decoded, *found;
    tag_t own;

    *pknown = etag;
    if (!list || !next_tag(etag, &own)) {
        return NULL;
    }
    decoded = decoded_list(p, list, &own, &found);
    if (found && !has_own(list, &own)) {
        *pknown = found;
    }
    return found ? decoded : NULL;
}
