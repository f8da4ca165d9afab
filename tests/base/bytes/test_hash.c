/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes/hash.h"
#include "suites.h"

/* The published vectors: key 00 01 ... 0f, data 00 01 ... */
START_TEST(hash_agrees_with_the_published_vectors)
{
    static const struct {
        size_t size;
        uint64_t hash;
    } vectors[] = {
        {0, 0x726fdb47dd0e0e31},  {1, 0x74f839c593dc67fd},
        {7, 0xab0200f58b01d137},  {8, 0x93f5f5799a932462},
        {15, 0xa129ca6149be45e5}, {63, 0x958a324ceb064572},
    };
    cp_hash_key_t key = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    unsigned char data[64];

    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (unsigned char)i;
    }
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        ck_assert_uint_eq(cp_hash(key, data, vectors[i].size), vectors[i].hash);
    }
}
END_TEST

START_TEST(hash_does_not_depend_on_alignment)
{
    cp_hash_key_t key = {1, 2};
    char data[80];

    for (size_t shift = 0; shift < 8; shift++) {
        memset(data, 0, sizeof(data));
        memcpy(data + shift, "the quick brown fox jumps", 25);
        ck_assert_uint_eq(cp_hash(key, data + shift, 25),
                          cp_hash(key, "the quick brown fox jumps", 25));
    }
}
END_TEST

START_TEST(nothing_has_a_hash)
{
    cp_hash_key_t key = {1, 2};

    ck_assert_uint_eq(cp_hash(key, NULL, 0), cp_hash(key, "", 0));
}
END_TEST

START_TEST(secrets_differ)
{
    cp_hash_key_t a = cp_hash_secret(), b = cp_hash_secret();

    ck_assert_uint_ne(a.low, b.low);
    ck_assert_uint_ne(a.high, b.high);
}
END_TEST

Suite *hash_suite(void)
{
    Suite *suite = suite_create("hash");
    TCase *tc = tcase_create("hash");

    tcase_add_test(tc, hash_agrees_with_the_published_vectors);
    tcase_add_test(tc, hash_does_not_depend_on_alignment);
    tcase_add_test(tc, nothing_has_a_hash);
    tcase_add_test(tc, secrets_differ);
    suite_add_tcase(suite, tc);
    return suite;
}
