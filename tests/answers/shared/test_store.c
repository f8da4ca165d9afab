/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "answers/shared/store.h"
#include "suites.h"

enum {
    LIMIT = 40000,
    BODY = 1000,
    THREADS = 8,
    ROUNDS = 5000,
    KEYS = 100,
};

static apr_pool_t *pool;
static cp_store_t *store;

static void setup(void)
{
    apr_pool_create(&pool, NULL);
    ck_assert_int_eq(cp_store_create(&store, LIMIT, pool), APR_SUCCESS);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

static cp_key_t key_of(int number)
{
    cp_key_t key = {{0}};

    cp_key_add_number(&key, number);
    return key;
}

/* Kept by the store alone afterwards. */
static int put(int number, int status, size_t body)
{
    static const char filling[LIMIT];
    cp_key_t key = key_of(number);
    cp_answer_t *answer = cp_answer_create(status);
    cp_store_tag_t tag = {{1, (uint64_t)number}, 77};
    int is_kept;

    cp_buffer_append(&answer->body, filling, body);
    is_kept = cp_store_put(store, &key, answer, &tag);
    cp_answer_unref(answer);
    cp_key_free(&key);
    return is_kept;
}

/* The status that was put there last, 0 without an answer. */
static int status_of(int number)
{
    cp_key_t key = key_of(number);
    cp_store_tag_t tag;
    cp_answer_t *answer = cp_store_get(store, &key, &tag);
    int status = 0;

    if (answer) {
        status = answer->status;
        ck_assert_uint_eq(tag.version.epoch, 1);
        ck_assert_uint_eq(tag.version.number, (uint64_t)number);
        ck_assert_int_eq(tag.expires, 77);
        cp_answer_unref(answer);
    }
    cp_key_free(&key);
    return status;
}

START_TEST(get_gives_what_was_put_with_its_tag)
{
    ck_assert_int_eq(status_of(1), 0);
    ck_assert(put(1, 200, BODY));
    ck_assert(put(2, 201, 0));
    ck_assert_int_eq(status_of(1), 200);
    ck_assert_int_eq(status_of(2), 201);
    ck_assert_int_eq(status_of(3), 0);
    ck_assert_uint_eq(cp_store_state(store).entries, 2);
    ck_assert_uint_gt(cp_store_state(store).bytes, BODY);
}
END_TEST

START_TEST(put_replaces)
{
    ck_assert(put(1, 200, BODY));
    apr_size_t bytes = cp_store_state(store).bytes;
    ck_assert(put(1, 404, BODY));
    ck_assert_int_eq(status_of(1), 404);
    ck_assert_uint_eq(cp_store_state(store).entries, 1);
    ck_assert_uint_eq(cp_store_state(store).bytes, bytes);
    ck_assert_uint_eq(cp_store_state(store).evictions, 0);
}
END_TEST

START_TEST(bytes_stay_within_the_limit_and_the_oldest_go_first)
{
    int first_left = 0;

    for (int i = 0; i < 200; i++) {
        ck_assert(put(i, 200, BODY));
        ck_assert_uint_le(cp_store_state(store).bytes, LIMIT);
    }
    while (!status_of(first_left)) {
        first_left++;
    }
    for (int i = first_left; i < 200; i++) {
        ck_assert_int_eq(status_of(i), 200);
    }
    ck_assert_uint_eq(cp_store_state(store).entries, 200U - first_left);
    ck_assert_uint_eq(cp_store_state(store).evictions, (unsigned)first_left);
    ck_assert_uint_gt(cp_store_state(store).bytes, LIMIT * 3 / 4);
}
END_TEST

START_TEST(what_is_used_stays)
{
    for (int i = 0; i < 200; i++) {
        ck_assert(put(i, 200, BODY));
        ck_assert_int_eq(status_of(0), 200);
    }
    ck_assert_int_eq(status_of(1), 0);
}
END_TEST

START_TEST(more_than_a_quarter_of_the_limit_is_not_kept)
{
    ck_assert(put(1, 200, BODY));
    ck_assert(put(2, 200, BODY));
    ck_assert(!put(1, 201, LIMIT / 4));
    /* And the last answer is not what the key means any more. */
    ck_assert_int_eq(status_of(1), 0);
    ck_assert_int_eq(status_of(2), 200);
}
END_TEST

START_TEST(shrink_lets_go_of_the_oldest)
{
    for (int i = 0; i < 10; i++) {
        ck_assert(put(i, 200, BODY));
    }
    cp_store_shrink(store, cp_store_state(store).bytes / 2);
    ck_assert_uint_eq(cp_store_state(store).entries, 5);
    ck_assert_int_eq(status_of(4), 0);
    ck_assert_int_eq(status_of(5), 200);
    cp_store_shrink(store, 0);
    ck_assert_uint_eq(cp_store_state(store).entries, 0);
    ck_assert_uint_eq(cp_store_state(store).bytes, 0);
    ck_assert_uint_eq(cp_store_state(store).evictions, 10);
    ck_assert(put(1, 200, BODY));
    ck_assert_int_eq(status_of(1), 200);
}
END_TEST

START_TEST(answer_outlives_its_place_in_the_store)
{
    cp_key_t key = key_of(1);
    cp_store_tag_t tag;
    cp_answer_t *answer;

    ck_assert(put(1, 200, BODY));
    answer = cp_store_get(store, &key, &tag);
    ck_assert_int_eq(answer->refs, 2);
    cp_store_shrink(store, 0);
    ck_assert_int_eq(answer->refs, 1);
    ck_assert_int_eq(answer->status, 200);
    ck_assert_uint_eq(answer->body.size, BODY);
    cp_answer_unref(answer);
    cp_key_free(&key);
}
END_TEST

START_TEST(limit_of_nothing_keeps_nothing)
{
    ck_assert_int_eq(cp_store_create(&store, 0, pool), APR_SUCCESS);
    ck_assert(!put(1, 200, 0));
    ck_assert_uint_eq(cp_store_state(store).bytes, 0);
}
END_TEST

static int wrong; /* atomic */

/* The status tells the key, the body's size and contents the same. */
static void *use(void *data)
{
    unsigned seed = *(unsigned *)data;

    for (int i = 0; i < ROUNDS; i++) {
        int number = rand_r(&seed) % KEYS;
        cp_key_t key = key_of(number);
        cp_store_tag_t tag = {{1, (uint64_t)number}, 0};
        cp_answer_t *answer = cp_store_get(store, &key, &tag);

        if (answer) {
            if (answer->status != number
                || tag.version.number != (uint64_t)number
                || answer->body.size != (size_t)number * 10) {
                __atomic_store_n(&wrong, 1, __ATOMIC_RELAXED);
            }
        }
        else {
            static const char filling[KEYS * 10];

            answer = cp_answer_create(number);
            cp_buffer_append(&answer->body, filling, (size_t)number * 10);
            cp_store_put(store, &key, answer, &tag);
        }
        cp_answer_unref(answer);
        if (rand_r(&seed) % 50 == 0) {
            put(number, 200, LIMIT / 4); /* too much: the key has none */
        }
        if (rand_r(&seed) % 500 == 0) {
            cp_store_shrink(store, LIMIT / 8);
        }
        cp_key_free(&key);
    }
    return NULL;
}

START_TEST(many_threads_share_it)
{
    pthread_t threads[THREADS];
    unsigned seeds[THREADS];

    wrong = 0;
    for (int i = 0; i < THREADS; i++) {
        seeds[i] = (unsigned)i;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, use, &seeds[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    ck_assert_int_eq(wrong, 0);
    ck_assert_uint_le(cp_store_state(store).bytes, LIMIT);
    ck_assert_uint_gt(cp_store_state(store).evictions, 0);
    cp_store_shrink(store, 0);
    ck_assert_uint_eq(cp_store_state(store).bytes, 0);
}
END_TEST

Suite *store_suite(void)
{
    Suite *suite = suite_create("store");
    TCase *tc = tcase_create("store");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, get_gives_what_was_put_with_its_tag);
    tcase_add_test(tc, put_replaces);
    tcase_add_test(tc, bytes_stay_within_the_limit_and_the_oldest_go_first);
    tcase_add_test(tc, what_is_used_stays);
    tcase_add_test(tc, more_than_a_quarter_of_the_limit_is_not_kept);
    tcase_add_test(tc, shrink_lets_go_of_the_oldest);
    tcase_add_test(tc, answer_outlives_its_place_in_the_store);
    tcase_add_test(tc, limit_of_nothing_keeps_nothing);
    tcase_add_test(tc, many_threads_share_it);
    suite_add_tcase(suite, tc);
    return suite;
}
