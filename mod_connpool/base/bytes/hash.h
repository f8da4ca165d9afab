/* SPDX-License-Identifier: Apache-2.0
 * SipHash-2-4: for tables, with a secret key, so that nobody can choose keys
 * that meet in one bucket; with a fixed one for checksums and names. */
#ifndef CP_HASH_H
#define CP_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct cp_hash_key_t {
    uint64_t low, high;
} cp_hash_key_t;

/** A key of this process that nobody can guess. */
cp_hash_key_t cp_hash_secret(void);

/** The same on every machine. */
uint64_t cp_hash(cp_hash_key_t key, const void *data, size_t size);

#endif
