/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "answers/shared/entry.h"
#include "base/bytes/hash.h"
#include "suites.h"

static cp_key_t key;
static cp_answer_t *answer;
static cp_buffer_t entry;
static const cp_entry_times_t times = {1000, 2000, APR_INT64_MAX};

static void setup(void)
{
    cp_key_add_text(&key, "a server");
    cp_key_add_text(&key, "a query");
    answer = cp_answer_create(206);
    answer->made_at = 1234567890123456;
    cp_answer_add(answer, "Content-Type", "application/json");
    cp_answer_add(answer, "X-Empty", "");
    cp_buffer_append(&answer->body, "[1,\0\xff]", 6);
}

static void teardown(void)
{
    cp_key_free(&key);
    cp_answer_unref(answer);
    cp_buffer_free(&entry);
}

/* Decodes a copy of exactly that size, at an odd address, so that tools see
 * whoever reads beyond it. */
static cp_entry_verdict_t decode_as(const cp_key_t *as, const char *data,
                                    size_t size, cp_answer_t **panswer,
                                    cp_entry_times_t *got)
{
    char *copy = malloc(size + 1);
    cp_entry_verdict_t verdict;

    ck_assert_ptr_nonnull(copy);
    if (size > 0) {
        memcpy(copy + 1, data, size);
    }
    verdict = cp_entry_decode(copy + 1, size, as, panswer, got);
    free(copy);
    return verdict;
}

static cp_entry_verdict_t decode(const char *data, size_t size)
{
    cp_entry_times_t got;
    cp_answer_t *read = NULL;
    cp_entry_verdict_t verdict = decode_as(&key, data, size, &read, &got);

    ck_assert_int_eq(verdict == CP_ENTRY_VALID, read != NULL);
    cp_answer_unref(read);
    return verdict;
}

static void encode(void)
{
    cp_buffer_free(&entry);
    cp_entry_encode(&entry, &key, answer, &times);
}

/* Where the format has its numbers. */
enum {
    AT_TOTAL = 8,
    AT_CHECKSUM = 16,
    AT_KEY_SIZE = 64,
    AT_HEADERS_SIZE = 72,
    HEAD = 80
};

static void put_number(char *at, uint64_t number)
{
    for (int i = 0; i < 8; i++) {
        at[i] = (char)(number >> (8 * i));
    }
}

/* What somebody else would do who knows the format. */
static void forge(char *data, size_t size)
{
    cp_hash_key_t fixed = {0x45435043, 1};

    put_number(data + AT_TOTAL, size);
    put_number(data + AT_CHECKSUM, cp_hash(fixed, data + 24, size - 24));
}

static void same_bytes(const cp_buffer_t *a, const cp_buffer_t *b)
{
    ck_assert_uint_eq(a->size, b->size);
    if (a->size > 0) {
        ck_assert_int_eq(memcmp(a->data, b->data, a->size), 0);
    }
}

static void round_trip(void)
{
    cp_entry_times_t got = {0};
    cp_answer_t *read = NULL;

    encode();
    ck_assert_uint_eq(entry.size, cp_entry_size(&key, answer));
    ck_assert_int_eq(decode_as(&key, entry.data, entry.size, &read, &got),
                     CP_ENTRY_VALID);
    ck_assert_int_eq(read->status, answer->status);
    ck_assert_int_eq(read->made_at, answer->made_at);
    ck_assert_int_eq(read->refs, 1);
    same_bytes(&read->headers, &answer->headers);
    same_bytes(&read->body, &answer->body);
    ck_assert_int_eq(got.expires, times.expires);
    ck_assert_int_eq(got.stale_until, times.stale_until);
    ck_assert_int_eq(got.stale_if_error_until, times.stale_if_error_until);
    cp_answer_unref(read);
}

START_TEST(what_was_encoded_is_decoded)
{
    round_trip();
}
END_TEST

START_TEST(empty_answer_is_an_entry)
{
    cp_answer_unref(answer);
    answer = cp_answer_create(204);
    round_trip();
    cp_key_free(&key);
    key = (cp_key_t){{0}};
    round_trip();
}
END_TEST

START_TEST(entry_is_appended)
{
    encode();
    cp_entry_encode(&entry, &key, answer, &times);
    ck_assert_uint_eq(entry.size, 2 * cp_entry_size(&key, answer));
    ck_assert_int_eq(
        memcmp(entry.data, entry.data + entry.size / 2, entry.size / 2), 0);
    ck_assert_int_eq(decode(entry.data, entry.size), CP_ENTRY_LENGTH);
}
END_TEST

START_TEST(every_change_of_a_byte_is_a_miss)
{
    encode();
    for (size_t at = 0; at < entry.size; at++) {
        for (int change = 1; change < 256; change++) {
            entry.data[at] ^= (char)change;
            ck_assert_int_ne(decode(entry.data, entry.size), CP_ENTRY_VALID);
            entry.data[at] ^= (char)change;
        }
    }
    ck_assert_int_eq(decode(entry.data, entry.size), CP_ENTRY_VALID);
}
END_TEST

START_TEST(every_cut_is_a_miss)
{
    encode();
    for (size_t size = 0; size < entry.size; size++) {
        cp_entry_verdict_t verdict = decode(entry.data, size);

        ck_assert(verdict == CP_ENTRY_SHORT || verdict == CP_ENTRY_LENGTH);
    }
    cp_buffer_append(&entry, "", 1);
    ck_assert_int_eq(decode(entry.data, entry.size), CP_ENTRY_LENGTH);
}
END_TEST

START_TEST(verdict_tells_the_reason)
{
    cp_key_t other = {{0}};
    cp_entry_times_t got;
    cp_answer_t *read = NULL;

    encode();
    cp_key_add_text(&other, "a server");
    cp_key_add_text(&other, "a querz");
    ck_assert_int_eq(decode_as(&other, entry.data, entry.size, &read, &got),
                     CP_ENTRY_KEY);
    ck_assert_ptr_null(read);
    cp_key_free(&other);

    ck_assert_int_eq(decode("", 0), CP_ENTRY_SHORT);
    entry.data[entry.size - 1] ^= 1;
    ck_assert_int_eq(decode(entry.data, entry.size), CP_ENTRY_CHECKSUM);
    entry.data[4] ^= 1;
    ck_assert_int_eq(decode(entry.data, entry.size), CP_ENTRY_FORMAT);
    entry.data[0] ^= 1;
    ck_assert_int_eq(decode(entry.data, entry.size), CP_ENTRY_MAGIC);
    for (int i = 0; i < CP_ENTRY_VERDICTS; i++) {
        ck_assert_ptr_nonnull(cp_entry_verdict_names[i]);
    }
    ck_assert_ptr_null(cp_entry_verdict_names[CP_ENTRY_VERDICTS]);
}
END_TEST

/* Whoever can write to the store can make a right checksum. */
START_TEST(whole_entry_with_wrong_content_is_a_miss)
{
    static const struct {
        int status;
        size_t size;
        const char *headers;
    } wrong[] = {
        {99, 0, ""},
        {600, 0, ""},
        {-200, 0, ""},
        {200, 1, "\0"},
        {200, 1, "a"},
        {200, 2, "a\0"},
        {200, 3, "a\0b"},
        {200, 3, "\0b\0"},
        {200, 6, "a\0b\0c\0"},
        {200, 6, "a\nb\0c\0"},
        {200, 6, "a b\0c\0"},
        {200, 6, "a:b\0c\0"},
        {200, 9, "a\0b\r\nc: \0"},
        {200, 5,
         "a\0\x7f"
         "b\0"},
    };

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        cp_buffer_free(&answer->headers);
        answer->headers = (cp_buffer_t){0};
        cp_buffer_append(&answer->headers, wrong[i].headers, wrong[i].size);
        answer->status = wrong[i].status;
        encode();
        ck_assert_msg(decode(entry.data, entry.size) == CP_ENTRY_CONTENT,
                      "accepted: number %d", (int)i);
    }
}
END_TEST

/* A right frame, whose lengths lie. */
START_TEST(lengths_that_lie_are_a_miss)
{
    static const uint64_t lies[] = {
        UINT64_MAX, UINT64_MAX - 79, 1ULL << 63, 1ULL << 32, 81, 1000000};

    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        for (int at = AT_KEY_SIZE; at <= AT_HEADERS_SIZE; at += 8) {
            encode();
            put_number(entry.data + at, lies[i]);
            forge(entry.data, entry.size);
            ck_assert_int_eq(decode(entry.data, entry.size), CP_ENTRY_CONTENT);
        }
    }
}
END_TEST

START_TEST(junk_is_a_miss)
{
    unsigned seed = 5;
    char junk[300];

    encode();
    for (int i = 0; i < 100000; i++) {
        size_t size = (size_t)rand_r(&seed) % sizeof(junk);
        size_t kept = (size_t)rand_r(&seed) % 100;

        for (size_t n = 0; n < size; n++) {
            junk[n] = (char)rand_r(&seed);
        }
        /* Some with a head that is right as far as it goes. */
        if (i % 2) {
            memcpy(junk, entry.data, kept < size ? kept : size);
        }
        if (i % 4 == 3 && size >= HEAD) {
            forge(junk, size);
        }
        ck_assert_int_ne(decode(junk, size), CP_ENTRY_VALID);
    }
}
END_TEST

Suite *entry_suite(void)
{
    Suite *suite = suite_create("entry");
    TCase *tc = tcase_create("entry");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, what_was_encoded_is_decoded);
    tcase_add_test(tc, empty_answer_is_an_entry);
    tcase_add_test(tc, entry_is_appended);
    tcase_add_test(tc, every_change_of_a_byte_is_a_miss);
    tcase_add_test(tc, every_cut_is_a_miss);
    tcase_add_test(tc, verdict_tells_the_reason);
    tcase_add_test(tc, whole_entry_with_wrong_content_is_a_miss);
    tcase_add_test(tc, lengths_that_lie_are_a_miss);
    tcase_add_test(tc, junk_is_a_miss);
    suite_add_tcase(suite, tc);
    return suite;
}
