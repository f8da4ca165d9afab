/* SPDX-License-Identifier: Apache-2.0
 * Token buckets that all children share. */
#include "pool/rate/rate.h"

#include "base/bytes/hash.h"
#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#define PLACES 15 /* of a set: with its lock 280 bytes */

typedef struct bucket_t {
    uint64_t key; /* 0: free */
    int64_t full; /* nanoseconds on our clock: then it is full */
} bucket_t;

/* Where a key may stand. The lock guards the places; it is robust, since a
 * child can be killed anywhere. A bucket is whole at any moment: the key is
 * written last. */
typedef struct set_t {
    pthread_mutex_t lock;
    bucket_t places[PLACES];
} set_t;

struct cp_rate_t {
    /* Constant after cp_rate_init. */
    cp_hash_key_t secret;
    uint32_t sets;
    set_t set[];
};

static uint32_t sets_for(int buckets)
{
    return ((uint32_t)buckets + PLACES - 1) / PLACES;
}

size_t cp_rate_size(int buckets)
{
    return sizeof(cp_rate_t) + sets_for(buckets) * sizeof(set_t);
}

static int init_locks(cp_rate_t *rate)
{
    pthread_mutexattr_t attr;
    int rc = pthread_mutexattr_init(&attr);

    if (rc != 0) {
        return rc;
    }
    rc = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    if (rc == 0) {
        rc = pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    }
    for (uint32_t i = 0; rc == 0 && i < rate->sets; i++) {
        rc = pthread_mutex_init(&rate->set[i].lock, &attr);
    }
    pthread_mutexattr_destroy(&attr);
    return rc;
}

cp_rate_t *cp_rate_init(void *memory, int buckets)
{
    cp_rate_t *rate = memory;

    memset(memory, 0, cp_rate_size(buckets));
    rate->secret = cp_hash_secret();
    rate->sets = sets_for(buckets);
    return init_locks(rate) == 0 ? rate : NULL;
}

uint64_t cp_rate_key(const cp_rate_t *rate, const void *data, size_t size)
{
    uint64_t key = cp_hash(rate->secret, data, size);

    return key ? key : 1;
}

/* That of the key; or one that is free or full; or the one next to full. */
static bucket_t *find(set_t *set, uint64_t key, int64_t now)
{
    bucket_t *best = &set->places[0];

    for (int i = 0; i < PLACES; i++) {
        bucket_t *bucket = &set->places[i];

        if (bucket->key == key) {
            return bucket;
        }
        if (bucket->full < best->full) {
            best = bucket;
        }
    }
    best->key = 0;
    best->full = now;
    best->key = key;
    return best;
}

/* Somebody was killed within: what he left is whole. */
static int enter(set_t *set)
{
    int rc = pthread_mutex_lock(&set->lock);

    if (rc == EOWNERDEAD) {
        rc = pthread_mutex_consistent(&set->lock);
    }
    return rc == 0;
}

static apr_interval_time_t microseconds(int64_t ns)
{
    return ns > 0 ? (ns + 999) / 1000 : 0;
}

cp_rate_verdict_t cp_rate_take(cp_rate_t *rate, uint64_t key,
                               const cp_rate_limit_t *limit, cp_clock_t now)
{
    int64_t at = (int64_t)now * 1000;
    int64_t each = (int64_t)limit->period * 1000 / limit->count;
    int64_t room = each * limit->burst; /* a bucket is full that long before */
    set_t *set = &rate->set[key % rate->sets];
    cp_rate_verdict_t verdict = {.is_allowed = 1, .remaining = limit->burst};
    bucket_t *bucket;
    int64_t owed;

    if (!enter(set)) {
        return verdict; /* no limit rather than no service */
    }
    bucket = find(set, key, at);
    owed = bucket->full > at ? bucket->full - at : 0;
    verdict.is_allowed = owed + each <= room;
    if (verdict.is_allowed) {
        owed += each;
        bucket->full = at + owed;
    }
    pthread_mutex_unlock(&set->lock);
    verdict.remaining = (int)((room - owed) / each);
    verdict.retry = microseconds(owed + each - room);
    verdict.full = microseconds(owed);
    return verdict;
}
