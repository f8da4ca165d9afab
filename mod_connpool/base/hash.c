/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#include "base/clock.h"

#include <endian.h>
#include <string.h>

#include <apr_general.h>

typedef struct siphash_t {
    uint64_t v0, v1, v2, v3;
} siphash_t;

static uint64_t rotate(uint64_t word, int bits)
{
    return word << bits | word >> (64 - bits);
}

static void round_of(siphash_t *s)
{
    s->v0 += s->v1;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v2 = rotate(s->v2, 32);
}

static void take(siphash_t *s, uint64_t word)
{
    s->v3 ^= word;
    round_of(s);
    round_of(s);
    s->v0 ^= word;
}

/* Little-endian, at any alignment, up to eight bytes. */
static uint64_t load(const unsigned char *at, size_t bytes)
{
    uint64_t word = 0;

    if (bytes > 0) {
        memcpy(&word, at, bytes);
    }
    return le64toh(word);
}

uint64_t cp_hash(cp_hash_key_t key, const void *data, size_t size)
{
    const unsigned char *at = data;
    const unsigned char *end = size > 0 ? at + size / 8 * 8 : at;
    siphash_t s = {key.low ^ 0x736f6d6570736575, key.high ^ 0x646f72616e646f6d,
                   key.low ^ 0x6c7967656e657261, key.high ^ 0x7465646279746573};

    for (; at < end; at += 8) {
        take(&s, load(at, 8));
    }
    take(&s, (uint64_t)size << 56 | load(at, size % 8));
    s.v2 ^= 0xff;
    for (int i = 0; i < 4; i++) {
        round_of(&s);
    }
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

cp_hash_key_t cp_hash_secret(void)
{
    cp_hash_key_t key;

    if (apr_generate_random_bytes((unsigned char *)&key, sizeof(key))
        != APR_SUCCESS) {
        /* Worse, but no reason not to start. */
        key.low = (uint64_t)cp_clock_now();
        key.high = (uint64_t)(uintptr_t)&key ^ (uint64_t)apr_time_now();
    }
    return key;
}
