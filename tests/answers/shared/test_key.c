/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_hash.h>
#include <apr_strings.h>

#include "answers/shared/key.h"
#include "suites.h"

static apr_pool_t *pool;
static apr_hash_t *seen; /* key -> what it was made of */
static apr_hash_t *ids;

static void setup(void)
{
    apr_pool_create(&pool, NULL);
    seen = apr_hash_make(pool);
    ids = apr_hash_make(pool);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

/* No list of parts before made this key, or its id. */
static void is_new(cp_key_t *key, const char *what)
{
    char *bytes = apr_pmemdup(pool, key->bytes.data, key->bytes.size);
    apr_ssize_t size = (apr_ssize_t)key->bytes.size;
    const char *other = apr_hash_get(seen, bytes, size);
    char *id = apr_palloc(pool, CP_KEY_ID_SIZE);

    ck_assert_msg(!other, "the same key: %s and %s", what, other);
    apr_hash_set(seen, bytes, size, apr_pstrdup(pool, what));
    cp_key_id(key, id);
    ck_assert_uint_eq(strlen(id), CP_KEY_ID_SIZE - 1);
    ck_assert_uint_eq(strspn(id, "0123456789abcdef"), CP_KEY_ID_SIZE - 1);
    other = apr_hash_get(ids, id, APR_HASH_KEY_STRING);
    ck_assert_msg(!other, "the same id: %s and %s", what, other);
    apr_hash_set(ids, id, APR_HASH_KEY_STRING, apr_pstrdup(pool, what));
    cp_key_free(key);
}

static cp_value_t bytes_of(cp_storage_t storage, const char *data, size_t size)
{
    cp_value_t value = {.storage = storage};

    value.as.bytes.data = data;
    value.as.bytes.size = size;
    return value;
}

static cp_value_t text(const char *data)
{
    return bytes_of(CP_TEXT, data, strlen(data));
}

static cp_value_t integer(apr_int64_t number)
{
    return (cp_value_t){.storage = CP_INTEGER, .as.integer = number};
}

static cp_value_t real(double number)
{
    return (cp_value_t){.storage = CP_REAL, .as.real = number};
}

/* Cut "abcdefghij" in all ways into two or three texts, in all kinds of parts:
 * what one part loses the next one gains. */
START_TEST(bytes_that_move_between_neighbours_make_other_keys)
{
    static const char letters[] = "abcdefghij";
    static const cp_storage_t kinds[] = {CP_TEXT, CP_BLOB};
    int count = 0;

    for (size_t first = 0; first <= 10; first++) {
        for (size_t second = first; second <= 10; second++) {
            for (int kind = 0; kind < 8; kind++) {
                cp_value_t a = bytes_of(kinds[kind & 1], letters, first);
                cp_value_t b = bytes_of(kinds[kind >> 1 & 1], letters + first,
                                        second - first);
                cp_value_t c = bytes_of(kinds[kind >> 2], letters + second,
                                        10 - second);
                cp_key_t key = {{0}};

                cp_key_add_param(&key, "p", CP_TYPE_TEXT, &a);
                cp_key_add_param(&key, "p", CP_TYPE_TEXT, &b);
                cp_key_add_param(&key, "p", CP_TYPE_TEXT, &c);
                is_new(&key, apr_psprintf(pool, "%d %d %d", (int)first,
                                          (int)second, kind));
                count++;
            }
        }
    }
    ck_assert_int_ge(count, 500);
}
END_TEST

START_TEST(bytes_that_move_between_name_and_value_make_other_keys)
{
    for (size_t cut = 0; cut <= 6; cut++) {
        const char *name = apr_pstrndup(pool, "abcdef", cut);
        cp_value_t value = text("abcdef" + cut);
        cp_key_t key = {{0}};

        cp_key_add_param(&key, name, CP_TYPE_TEXT, &value);
        is_new(&key, name);
    }
}
END_TEST

START_TEST(types_make_other_keys)
{
    const cp_value_t values[] = {
        integer(0),
        integer(1),
        integer(-1),
        integer(49),
        integer(APR_INT64_MAX),
        integer(APR_INT64_MIN),
        real(0.0),
        real(1.0),
        real(49.0),
        real(0.1),
        text(""),
        text("0"),
        text("1"),
        text("1.0"),
        text("true"),
        text("null"),
        bytes_of(CP_BLOB, "", 0),
        bytes_of(CP_BLOB, "1", 1),
        bytes_of(CP_TEXT, "1\0", 2),
        bytes_of(CP_TEXT, "1\0\0", 3),
        {.storage = CP_NULL},
    };
    size_t count = sizeof(values) / sizeof(values[0]);

    for (cp_type_t type = 0; type < CP_TYPES; type++) {
        for (size_t i = 0; i <= count; i++) {
            cp_key_t key = {{0}};

            cp_key_add_param(&key, "p", type, i < count ? &values[i] : NULL);
            is_new(&key, apr_psprintf(pool, "type %d value %d", type, (int)i));
        }
    }
}
END_TEST

START_TEST(text_parts_keep_their_places)
{
    static const char *const parts[][3] = {
        {"server", "query", "sql"},
        {"serverquery", "", "sql"},
        {"", "serverquery", "sql"},
        {"server", "querysql", ""},
        {"server", NULL, "sql"},
        {"server", "", "sql"},
        {NULL, "server", "sql"},
        {"query", "server", "sql"},
        {NULL, NULL, NULL},
        {"", "", ""},
        {"t", "t", "t"},
        {"a", "", "t"},
    };

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        cp_key_t key = {{0}};

        for (int n = 0; n < 3; n++) {
            cp_key_add_text(&key, parts[i][n]);
        }
        is_new(&key, apr_psprintf(pool, "list %d", (int)i));
    }
}
END_TEST

/* One value that ends with the bytes of the part behind it, and two parts. */
static void swallow_the_next_part(void)
{
    cp_key_t second = {{0}}, both = {{0}}, one = {{0}};
    cp_buffer_t swallowed = {0};
    cp_value_t x = text("x"), y = text("y"), whole;

    cp_key_add_param(&second, "b", CP_TYPE_TEXT, &y);
    cp_buffer_append(&swallowed, "x", 1);
    cp_buffer_append(&swallowed, second.bytes.data, second.bytes.size);
    whole = bytes_of(CP_TEXT, swallowed.data, swallowed.size);
    cp_key_add_param(&both, "a", CP_TYPE_TEXT, &x);
    cp_key_add_param(&both, "b", CP_TYPE_TEXT, &y);
    cp_key_add_param(&one, "a", CP_TYPE_TEXT, &whole);
    is_new(&both, "two parts");
    is_new(&one, "one part with both in it");
    cp_key_free(&second);
    cp_buffer_free(&swallowed);
}

/* A text that looks like the parts behind it. */
START_TEST(text_cannot_imitate_parts)
{
    cp_key_t inner = {{0}}, outer = {{0}}, flat = {{0}};
    cp_value_t one = text("1"), whole;

    cp_key_add_param(&inner, "a", CP_TYPE_TEXT, &one);
    cp_key_add_param(&inner, "b", CP_TYPE_TEXT, &one);
    whole = bytes_of(CP_TEXT, inner.bytes.data, inner.bytes.size);
    cp_key_add_param(&outer, "a", CP_TYPE_TEXT, &whole);
    cp_key_add_param(&flat, "a", CP_TYPE_TEXT, &one);
    cp_key_add_number(&flat, 1);
    swallow_the_next_part();
    is_new(&outer, "outer");
    is_new(&flat, "flat");
    is_new(&inner, "inner");
}
END_TEST

/* Other machines, and later releases, must find what this one stores. */
START_TEST(id_is_always_the_same)
{
    cp_key_t key = {{0}};
    char id[CP_KEY_ID_SIZE];

    cp_key_add_text(&key, "example.org:80");
    cp_key_add_number(&key, 7);
    cp_key_id(&key, id);
    ck_assert_str_eq(id, "b069e34207affe0c87ae51b1ea06d990");
    cp_key_free(&key);
}
END_TEST

Suite *key_suite(void)
{
    Suite *suite = suite_create("key");
    TCase *tc = tcase_create("key");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, bytes_that_move_between_neighbours_make_other_keys);
    tcase_add_test(tc, bytes_that_move_between_name_and_value_make_other_keys);
    tcase_add_test(tc, types_make_other_keys);
    tcase_add_test(tc, text_parts_keep_their_places);
    tcase_add_test(tc, text_cannot_imitate_parts);
    tcase_add_test(tc, id_is_always_the_same);
    suite_add_tcase(suite, tc);
    return suite;
}
