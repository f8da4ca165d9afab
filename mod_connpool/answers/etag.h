/* SPDX-License-Identifier: Apache-2.0
 * Entity tags: names of bodies, made of their bytes. */
#ifndef CP_ETAG_H
#define CP_ETAG_H

#include <apr_pools.h>

#include "base/bytes/buffer.h"

/** Go on with a hash, 0 at first; and the tag that it makes: prefix is "", or
 * "W/" when answers with the same tag may differ in what does not matter. */
apr_uint64_t connpool_hash(apr_uint64_t hash, const char *data,
                           apr_size_t size);
const char *connpool_etag(apr_pool_t *p, const char *prefix, apr_uint64_t hash);

/** A strong entity tag of the body. */
const char *connpool_body_etag(apr_pool_t *p, const cp_buffer_t *body);

/** A list of tags (If-None-Match, If-Match; NULL: none) with `etag` in the
 * place of each that a filter has made of it: mod_deflate and mod_brotli make
 * "abc-gzip" and "abc-br" of "abc", others "abc;gzip". Who asks with such a tag
 * has our answer. A weak one stays weak.
 * @param pknown the tag under which the client knows the answer, as it came
 * @return NULL: nothing is to be replaced */
const char *connpool_etag_decode(apr_pool_t *p, const char *list,
                                 const char *etag, const char **pknown);

#endif
