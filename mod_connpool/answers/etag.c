/* SPDX-License-Identifier: Apache-2.0 */
#include "answers/etag.h"

#include "base/bytes/buffer.h"

#include <string.h>

#include <apr_escape.h>
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
    hash ^= hash >> 32;
    return apr_pstrcat(p, prefix, "\"",
                       apr_pescape_hex(p, &hash, sizeof(hash), 0), "\"", NULL);
}

/* Strong: equal bytes, equal tag. A plain hash is enough, nobody gains by
 * forging his own cache's key. */
const char *connpool_body_etag(apr_pool_t *p, const cp_buffer_t *body)
{
    return connpool_etag(p, "", connpool_hash(0, body->data, body->size));
}
