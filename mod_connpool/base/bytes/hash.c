/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes/hash.h"

#include "base/clock.h"

#include <endian.h>

#include <apr_general.h>
#include <apr_siphash.h>

uint64_t cp_hash(cp_hash_key_t key, const void *data, size_t size)
{
    const uint64_t bytes[] = {htole64(key.low), htole64(key.high)};

    return apr_siphash24(data, size, (const unsigned char *)bytes);
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
