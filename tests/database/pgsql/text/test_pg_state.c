/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "database/pgsql/text/state.h"
#include "suites.h"

#define COUNT(array) (sizeof(array) / sizeof(array[0]))

START_TEST(pg_state_has_a_class)
{
    static const struct {
        const char *state;
        cp_error_class_t cls;
        const char *constraint;
        unsigned flags;
    } cases[] = {
        {"23505", CP_ERR_CONFLICT, "unique", 0},
        {"23503", CP_ERR_CONFLICT, "foreign_key", 0},
        {"23P01", CP_ERR_CONFLICT, "exclusion", 0},
        {"23502", CP_ERR_INPUT, "not_null", 0},
        {"23514", CP_ERR_INPUT, "check", 0},
        {"44000", CP_ERR_INPUT, "check", 0},
        {"P0001", CP_ERR_INPUT, "trigger", CP_PG_MESSAGE},
        {"22P02", CP_ERR_INPUT, NULL, CP_PG_VALUES},
        {"22003", CP_ERR_INPUT, NULL, CP_PG_VALUES},
        {"42501", CP_ERR_REFUSED, NULL, 0},
        {"42P01", CP_ERR_STORAGE, NULL, CP_PG_FOREIGN},
        {"42P18", CP_ERR_STORAGE, NULL, CP_PG_FOREIGN | CP_PG_UNTYPED},
        {"40001", CP_ERR_CAPACITY, NULL, CP_PG_AGAIN},
        {"40P01", CP_ERR_CAPACITY, NULL, CP_PG_AGAIN},
        {"40003", CP_ERR_STORAGE, NULL, CP_PG_BROKEN},
        {"53300", CP_ERR_CAPACITY, NULL, CP_PG_BROKEN},
        {"53100", CP_ERR_STORAGE, NULL, 0},
        {"55P03", CP_ERR_CAPACITY, NULL, 0},
        {"26000", CP_ERR_STORAGE, NULL, 0},
        {"57014", CP_ERR_DEADLINE, NULL, 0},
        {"57P01", CP_ERR_STORAGE, NULL, CP_PG_BROKEN},
        {"08006", CP_ERR_STORAGE, NULL, CP_PG_BROKEN},
        {"28P01", CP_ERR_STORAGE, NULL, CP_PG_BROKEN | CP_PG_PAUSE},
        {"3D000", CP_ERR_STORAGE, NULL, CP_PG_BROKEN | CP_PG_PAUSE},
        {"XX001", CP_ERR_STORAGE, NULL, CP_PG_BROKEN},
        {"ZZZZZ", CP_ERR_STORAGE, NULL, CP_PG_BROKEN},
        {"", CP_ERR_STORAGE, NULL, CP_PG_BROKEN},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        const cp_pg_outcome_t *outcome = cp_pg_outcome(cases[i].state);

        ck_assert_msg(outcome->cls == cases[i].cls, "%s: class %s",
                      cases[i].state, cp_error_class_name(outcome->cls));
        ck_assert_msg(outcome->flags == cases[i].flags, "%s: flags %u",
                      cases[i].state, outcome->flags);
        ck_assert_msg(
            (outcome->constraint == NULL) == (cases[i].constraint == NULL)
                && (!outcome->constraint
                    || strcmp(outcome->constraint, cases[i].constraint) == 0),
            "%s", cases[i].state);
    }
}
END_TEST

START_TEST(pg_state_names_columns_and_no_values)
{
    char subject[64];

    ck_assert(cp_pg_subject("item",
                            "Key (email, tenant)=(x@y, 1) already exists.",
                            subject, sizeof(subject)));
    ck_assert_str_eq(subject, "item.email, item.tenant");
    ck_assert(!cp_pg_subject("item", "Key (lower(email))=(x) already exists.",
                             subject, sizeof(subject)));
    ck_assert(!cp_pg_subject("item", NULL, subject, sizeof(subject)));
    ck_assert(!cp_pg_subject("item", "Key (a)=(b)", subject, 5));
}
END_TEST

START_TEST(pg_state_shows_one_clean_line)
{
    char shown[16];

    cp_pg_show(shown, sizeof(shown), "one\nLINE 1: SELECT");
    ck_assert_str_eq(shown, "one");
    cp_pg_show(shown, sizeof(shown), "\033[31mred");
    ck_assert_str_eq(shown, "?[31mred");
    cp_pg_show(shown, sizeof(shown), "a very long message of a server");
    ck_assert_str_eq(shown, "a very long ...");
    cp_pg_show(shown, sizeof(shown), "a\xff");
    ck_assert_str_eq(shown, "a?");
}
END_TEST

Suite *pg_state_suite(void)
{
    Suite *suite = suite_create("pg_state");
    TCase *tcase = tcase_create("state");

    tcase_add_test(tcase, pg_state_has_a_class);
    tcase_add_test(tcase, pg_state_names_columns_and_no_values);
    tcase_add_test(tcase, pg_state_shows_one_clean_line);
    suite_add_tcase(suite, tcase);
    return suite;
}
