/* SPDX-License-Identifier: Apache-2.0 */
#include "answers/shared/store.h"

#include "answers/answer.h"
#include "answers/shared/key.h"
#include "base/bytes/buffer.h"
#include "base/bytes/hash.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <apr_ring.h>

#define BUCKETS_MIN      64
#define BUCKETS_MAX      65536
#define BYTES_PER_BUCKET 2048 /* of the limit */
#define OVERHEAD         64   /* of malloc, for the blocks of an entry */

typedef struct kept_t kept_t;
struct kept_t {
    APR_RING_ENTRY(kept_t) link;
    kept_t *next; /* of its bucket */
    uint64_t hash;
    cp_answer_t *answer;
    cp_store_tag_t tag;
    apr_size_t bytes;
    apr_size_t key_size;
    char key[];
};

struct cp_store_t {
    /* Constant. */
    apr_size_t limit;
    apr_size_t buckets_count;
    cp_hash_key_t secret;

    pthread_mutex_t lock; /* guards everything below, and what is kept */
    kept_t **buckets;
    APR_RING_HEAD(kept_ring_t, kept_t) recent; /* the last used is first */
    cp_store_state_t state;
};

/* --- the table --- */

static kept_t **place_of(cp_store_t *store, uint64_t hash)
{
    return &store->buckets[hash & (store->buckets_count - 1)];
}

static kept_t *find(cp_store_t *store, const cp_buffer_t *key, uint64_t hash)
{
    kept_t *kept = *place_of(store, hash);

    while (kept
           && (kept->hash != hash || kept->key_size != key->size
               || memcmp(kept->key, key->data, key->size) != 0)) {
        kept = kept->next;
    }
    return kept;
}

/* Out of the table; what it holds is freed with it. */
static void drop(cp_store_t *store, kept_t *kept)
{
    kept_t **place = place_of(store, kept->hash);

    while (*place != kept) {
        place = &(*place)->next;
    }
    *place = kept->next;
    APR_RING_REMOVE(kept, link);
    store->state.bytes -= kept->bytes;
    store->state.entries--;
    cp_answer_unref(kept->answer);
    free(kept);
}

static void drop_oldest(cp_store_t *store, apr_size_t bytes)
{
    while (store->state.bytes > bytes) {
        drop(store, APR_RING_LAST(&store->recent));
        store->state.evictions++;
    }
}

static apr_size_t weigh(const cp_key_t *key, const cp_answer_t *answer)
{
    return sizeof(kept_t) + sizeof(*answer) + OVERHEAD + key->bytes.size
           + answer->headers.capacity + answer->body.capacity;
}

static void add(cp_store_t *store, kept_t *kept)
{
    kept_t **place = place_of(store, kept->hash);

    kept->next = *place;
    *place = kept;
    APR_RING_INSERT_HEAD(&store->recent, kept, kept_t, link);
    store->state.bytes += kept->bytes;
    store->state.entries++;
}

/* --- its life --- */

static apr_status_t store_cleanup(void *data)
{
    cp_store_t *store = data;

    drop_oldest(store, 0);
    free(store->buckets);
    pthread_mutex_destroy(&store->lock);
    return APR_SUCCESS;
}

static apr_size_t choose_buckets(apr_size_t limit)
{
    apr_size_t count = BUCKETS_MIN;

    while (count < BUCKETS_MAX && count * BYTES_PER_BUCKET < limit) {
        count *= 2;
    }
    return count;
}

apr_status_t cp_store_create(cp_store_t **pstore, apr_size_t limit,
                             apr_pool_t *p)
{
    cp_store_t *store = apr_pcalloc(p, sizeof(*store));
    int rc;

    store->limit = limit;
    store->secret = cp_hash_secret();
    store->buckets_count = choose_buckets(limit);
    store->buckets = calloc(store->buckets_count, sizeof(*store->buckets));
    if (!store->buckets) {
        return APR_ENOMEM;
    }
    rc = pthread_mutex_init(&store->lock, NULL);
    if (rc != 0) {
        free(store->buckets);
        return rc;
    }
    APR_RING_INIT(&store->recent, kept_t, link);
    apr_pool_cleanup_register(p, store, store_cleanup, apr_pool_cleanup_null);
    *pstore = store;
    return APR_SUCCESS;
}

/* --- its use --- */

static uint64_t hash_of(const cp_store_t *store, const cp_key_t *key)
{
    return cp_hash(store->secret, key->bytes.data, key->bytes.size);
}

cp_answer_t *cp_store_get(cp_store_t *store, const cp_key_t *key,
                          cp_store_tag_t *tag)
{
    uint64_t hash = hash_of(store, key);
    cp_answer_t *answer = NULL;
    kept_t *kept;

    pthread_mutex_lock(&store->lock);
    kept = find(store, &key->bytes, hash);
    if (kept) {
        APR_RING_REMOVE(kept, link);
        APR_RING_INSERT_HEAD(&store->recent, kept, kept_t, link);
        cp_answer_ref(kept->answer);
        answer = kept->answer;
        *tag = kept->tag;
    }
    pthread_mutex_unlock(&store->lock);
    return answer;
}

static kept_t *make_kept(const cp_key_t *key, cp_answer_t *answer,
                         const cp_store_tag_t *tag, uint64_t hash)
{
    kept_t *kept = malloc(sizeof(*kept) + key->bytes.size);

    if (!kept) {
        return NULL;
    }
    cp_answer_ref(answer);
    kept->answer = answer;
    kept->tag = *tag;
    kept->hash = hash;
    kept->bytes = weigh(key, answer);
    kept->key_size = key->bytes.size;
    memcpy(kept->key, key->bytes.data, key->bytes.size);
    return kept;
}

int cp_store_put(cp_store_t *store, const cp_key_t *key, cp_answer_t *answer,
                 const cp_store_tag_t *tag)
{
    kept_t *kept = NULL, *old;
    uint64_t hash = hash_of(store, key);

    if (weigh(key, answer) <= store->limit / 4) {
        kept = make_kept(key, answer, tag, hash);
    }
    pthread_mutex_lock(&store->lock);
    old = find(store, &key->bytes, hash);
    if (old) {
        drop(store, old);
    }
    if (kept) {
        drop_oldest(store, store->limit - kept->bytes);
        add(store, kept);
    }
    pthread_mutex_unlock(&store->lock);
    return kept != NULL;
}

void cp_store_shrink(cp_store_t *store, apr_size_t bytes)
{
    pthread_mutex_lock(&store->lock);
    drop_oldest(store, bytes);
    pthread_mutex_unlock(&store->lock);
}

cp_store_state_t cp_store_state(cp_store_t *store)
{
    cp_store_state_t state;

    pthread_mutex_lock(&store->lock);
    state = store->state;
    pthread_mutex_unlock(&store->lock);
    return state;
}
