/* SPDX-License-Identifier: Apache-2.0
 * A bounded store of answers in the memory of one child: what was used least
 * recently goes first. */
#ifndef CP_STORE_H
#define CP_STORE_H

#include <apr_pools.h>

#include "answers/answer.h"
#include "answers/shared/key.h"
#include "base/clock.h"
#include "database/version.h"

/** Any thread may use it at any time. */
typedef struct cp_store_t cp_store_t;

/** What an answer is kept with. The store itself looks at neither: it also
 * gives out what has expired. */
typedef struct cp_store_tag_t {
    cp_version_t version; /**< of the data, read before them */
    cp_clock_t expires;
} cp_store_tag_t;

/** In p, and destroyed with it. limit: bytes, with all overhead. */
apr_status_t cp_store_create(cp_store_t **pstore, apr_size_t limit,
                             apr_pool_t *p);

/** The answer, which is the caller's to unref, and its tag; or NULL. */
cp_answer_t *cp_store_get(cp_store_t *store, const cp_key_t *key,
                          cp_store_tag_t *tag);

/** Keep the answer with a reference of its own, in place of the key's last one.
 * @return 0 when it is larger than a quarter of the limit: the key has no
 * answer then */
int cp_store_put(cp_store_t *store, const cp_key_t *key, cp_answer_t *answer,
                 const cp_store_tag_t *tag);

/** Let go of answers until at most that many bytes are held. */
void cp_store_shrink(cp_store_t *store, apr_size_t bytes);

typedef struct cp_store_state_t {
    apr_size_t bytes;
    apr_size_t entries;
    uint64_t evictions; /**< for lack of room, since the store was made */
} cp_store_state_t;

cp_store_state_t cp_store_state(cp_store_t *store);

#endif
