/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include <apr_pools.h>

#include "base/option.h"
#include "suites.h"

typedef struct thing_t {
    int untouched;
    int max;
    int late;
    int is_on;
    int kind;
    apr_interval_time_t wait;
    apr_int64_t size;
    const char *mode;
    const char *word;
    const char *file;
} thing_t;

static const char *const modes[] = {"off", "normal", "full", NULL};

#define THING(field) APR_OFFSETOF(thing_t, field)

static const cp_option_t options[] = {
    {CP_INT("max", THING(max), 10, 1, 1000)},
    {CP_INT("late", THING(late), CP_UNSET, 1, 1000)},
    {CP_FLAG("on", THING(is_on), 1)},
    {CP_CHOICE("kind", THING(kind), 2, modes)},
    {CP_DURATION("wait", THING(wait), 2 * CP_SECOND, 0, CP_HOUR)},
    {CP_SIZE("size", THING(size), 8 * CP_GIB, CP_KIB, CP_TIB)},
    {CP_NAME("mode", THING(mode), 1, modes)},
    {CP_WORD("word", THING(word))},
    {CP_FILE("file", THING(file))},
    {NULL},
};

static apr_pool_t *pool;

static void setup(void)
{
    apr_pool_create(&pool, NULL);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

static const char *set(thing_t *thing, const char *key, const char *text)
{
    return cp_option_set(pool, cp_options_find(options, key), thing, text);
}

START_TEST(a_struct_starts_unset)
{
    thing_t thing;

    memset(&thing, 7, sizeof(thing));
    thing.untouched = 42;
    cp_options_clear(options, &thing);
    ck_assert_int_eq(thing.untouched, 42);
    ck_assert_int_eq(thing.max, CP_UNSET);
    ck_assert_int_eq(thing.is_on, CP_UNSET);
    ck_assert_int_eq(thing.kind, CP_UNSET);
    ck_assert_int_eq(thing.wait, CP_UNSET);
    ck_assert_int_eq(thing.size, CP_UNSET);
    ck_assert_ptr_null(thing.mode);
    ck_assert_ptr_null(thing.word);
    ck_assert_ptr_null(thing.file);
}
END_TEST

START_TEST(what_is_unset_gets_its_initial_value)
{
    thing_t thing = {0};

    cp_options_clear(options, &thing);
    thing.max = 0; /* a value like any other */
    cp_options_complete(options, &thing);
    ck_assert_int_eq(thing.max, 0);
    ck_assert_int_eq(thing.late, CP_UNSET);
    ck_assert_int_eq(thing.is_on, 1);
    ck_assert_int_eq(thing.kind, 2);
    ck_assert_int_eq(thing.wait, 2 * CP_SECOND);
    ck_assert_int_eq(thing.size, 8 * CP_GIB);
    ck_assert_str_eq(thing.mode, "normal");
    ck_assert_ptr_null(thing.word);
    ck_assert_ptr_null(thing.file);
}
END_TEST

START_TEST(what_is_unset_is_inherited)
{
    thing_t base = {0}, thing = {0};

    cp_options_clear(options, &base);
    cp_options_clear(options, &thing);
    set(&base, "max", "7");
    set(&base, "wait", "3s");
    set(&base, "word", "base");
    set(&base, "mode", "full");
    set(&thing, "wait", "0");
    set(&thing, "mode", "off");
    base.untouched = 42;
    cp_options_inherit(options, &thing, &base);
    ck_assert_int_eq(thing.untouched, 0);
    ck_assert_int_eq(thing.max, 7);
    ck_assert_int_eq(thing.wait, 0);
    ck_assert_str_eq(thing.word, "base");
    ck_assert_str_eq(thing.mode, "off");
    ck_assert_int_eq(thing.size, CP_UNSET);
}
END_TEST

START_TEST(values_go_where_the_table_says)
{
    thing_t thing = {0};

    ck_assert_ptr_null(set(&thing, "max", "1000"));
    ck_assert_ptr_null(set(&thing, "on", "On"));
    ck_assert_ptr_null(set(&thing, "kind", "Normal"));
    ck_assert_ptr_null(set(&thing, "wait", "250ms"));
    ck_assert_ptr_null(set(&thing, "size", "9G"));
    ck_assert_ptr_null(set(&thing, "mode", "FULL"));
    ck_assert_ptr_null(set(&thing, "word", "As It Stands"));
    ck_assert_ptr_null(set(&thing, "file", "/a/file"));
    ck_assert_int_eq(thing.max, 1000);
    ck_assert_int_eq(thing.is_on, 1);
    ck_assert_int_eq(thing.kind, 1);
    ck_assert_int_eq(thing.wait, 250 * CP_MILLISECOND);
    ck_assert_int_eq(thing.size, 9 * CP_GIB);
    ck_assert_str_eq(thing.mode, "full");
    ck_assert_str_eq(thing.word, "As It Stands");
    ck_assert_str_eq(thing.file, "/a/file");
}
END_TEST

static const char *show(const thing_t *thing, const char *key)
{
    return cp_option_show(pool, cp_options_find(options, key), thing);
}

START_TEST(values_are_shown_as_they_are_written)
{
    thing_t thing;
    apr_int64_t number = 0;

    cp_options_clear(options, &thing);
    ck_assert_ptr_null(show(&thing, "max"));
    ck_assert_ptr_null(show(&thing, "word"));
    ck_assert(
        !cp_option_number(cp_options_find(options, "max"), &thing, &number));
    for (const cp_option_t *option = options; option->key; option++) {
        const char *text = option->type == CP_OPTION_INT        ? "7"
                           : option->type == CP_OPTION_FLAG     ? "on"
                           : option->type == CP_OPTION_DURATION ? "250ms"
                           : option->type == CP_OPTION_SIZE     ? "8M"
                           : option->choices ? option->choices[1]
                                             : "text";

        ck_assert_ptr_null(set(&thing, option->key, text));
        ck_assert_str_eq(show(&thing, option->key), text);
        ck_assert_int_eq(cp_option_number(option, &thing, &number),
                         option->type <= CP_OPTION_FLAG);
    }
    cp_option_number(cp_options_find(options, "wait"), &thing, &number);
    ck_assert_int_eq(number, 250 * CP_MILLISECOND);
}
END_TEST

START_TEST(a_refused_value_changes_nothing)
{
    thing_t thing = {.max = 5, .kind = 2, .size = CP_MIB, .mode = "off"};
    const char *error = set(&thing, "max", "1001");

    ck_assert_ptr_nonnull(error);
    ck_assert_ptr_nonnull(strstr(error, "1001"));
    ck_assert_ptr_nonnull(strstr(error, "1000"));
    ck_assert_ptr_nonnull(set(&thing, "on", "perhaps"));
    ck_assert_ptr_nonnull(set(&thing, "kind", "other"));
    ck_assert_ptr_nonnull(set(&thing, "wait", "2h"));
    ck_assert_ptr_nonnull(set(&thing, "size", "1"));
    ck_assert_ptr_nonnull(strstr(set(&thing, "mode", "other"), "normal"));
    ck_assert_int_eq(thing.max, 5);
    ck_assert_int_eq(thing.is_on, 0);
    ck_assert_int_eq(thing.kind, 2);
    ck_assert_int_eq(thing.size, CP_MIB);
    ck_assert_str_eq(thing.mode, "off");
}
END_TEST

START_TEST(keys_are_found_and_listed)
{
    ck_assert_ptr_eq(cp_options_find(options, "late"), &options[1]);
    ck_assert_ptr_null(cp_options_find(options, "later"));
    ck_assert_str_eq(cp_options_list(pool, options),
                     "max, late, on, kind, wait, size, mode, word, file");
}
END_TEST

Suite *option_suite(void)
{
    Suite *suite = suite_create("option");
    TCase *tc = tcase_create("option");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_struct_starts_unset);
    tcase_add_test(tc, what_is_unset_gets_its_initial_value);
    tcase_add_test(tc, what_is_unset_is_inherited);
    tcase_add_test(tc, values_go_where_the_table_says);
    tcase_add_test(tc, values_are_shown_as_they_are_written);
    tcase_add_test(tc, a_refused_value_changes_nothing);
    tcase_add_test(tc, keys_are_found_and_listed);
    suite_add_tcase(suite, tc);
    return suite;
}
