/* SPDX-License-Identifier: Apache-2.0
 * SQL of pages, as SQLite plans it: each part seeks in the index, whatever the
 * directions are, and wherever the page before has ended. */
#include "suites.h"

#include "database/page.h"
#include "database/sqlite/sqlite.h"

#include <string.h>

#include <apr_strings.h>
#include <sqlite3.h>

static apr_pool_t *pool;
static sqlite3 *db;

static void setup(void)
{
    apr_pool_create(&pool, NULL);
    ck_assert_int_eq(sqlite3_open(":memory:", &db), SQLITE_OK);
    ck_assert_int_eq(
        sqlite3_exec(db,
                     "CREATE TABLE t(a, b, c TEXT);"
                     "CREATE INDEX up ON t(a, b); CREATE INDEX mixed ON "
                     "t(a DESC, b);"
                     "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 "
                     "FROM n WHERE i < 1000) INSERT INTO t SELECT i / 3, i, "
                     "'x' FROM n; ANALYZE",
                     NULL, NULL, NULL),
        SQLITE_OK);
}

static void teardown(void)
{
    sqlite3_close(db);
    apr_pool_destroy(pool);
}

static const char *plan_of(const char *sql)
{
    const char *plan = "";
    sqlite3_stmt *stmt;

    ck_assert_msg(sqlite3_prepare_v2(
                      db, apr_pstrcat(pool, "EXPLAIN QUERY PLAN ", sql, NULL),
                      -1, &stmt, NULL)
                      == SQLITE_OK,
                  "%s: %s", sqlite3_errmsg(db), sql);
    while (sqlite3_step(stmt) == SQLITE_ROW) {
        plan = apr_pstrcat(pool, plan, sqlite3_column_text(stmt, 3), "\n",
                           NULL);
    }
    sqlite3_finalize(stmt);
    return plan;
}

static cp_page_sort_t sort_of(int directions)
{
    return (cp_page_sort_t){
        .columns = {{"a", directions & 1}, {"b", (directions & 2) != 0}},
        .count = 2,
    };
}

START_TEST(each_part_seeks)
{
    static const char *const sqls[] = {
        "SELECT a, b, c FROM t",
        "SELECT * FROM t WHERE c <> :q ORDER BY c DESC", "SELECT * FROM t ;\n"};

    for (size_t i = 0; i < sizeof(sqls) / sizeof(sqls[0]); i++) {
        for (int n = 0; n < 16; n++) {
            cp_page_sort_t sort = sort_of(n & 3);
            const char *sql = cp_page_next(
                pool, sqls[i], &sort, (unsigned)n >> 2, cp_sqlite_driver.pages);
            const char *plan = plan_of(sql);

            /* Nothing sorts behind NULLs that sort last: no part is left. */
            ck_assert_msg(strstr(plan, "SEARCH t USING")
                              || strstr(sql, "1 = 0"),
                          "%s\n%s", sql, plan);
            ck_assert_msg(!strstr(plan, "SCAN t") || strstr(sql, "1 = 0"),
                          "%s\n%s", sql, plan);
        }
    }
}
END_TEST

START_TEST(the_first_page_is_read_in_order)
{
    for (int directions = 0; directions < 4; directions++) {
        cp_page_sort_t sort = sort_of(directions);
        const char *plan = plan_of(cp_page_first(pool, "SELECT * FROM t", &sort,
                                                 cp_sqlite_driver.pages));

        ck_assert_msg(strstr(plan, "USING INDEX") != NULL, "%s", plan);
        ck_assert_msg(!strstr(plan, "TEMP B-TREE"), "%s", plan);
    }
}
END_TEST

START_TEST(names_are_quoted)
{
    cp_page_sort_t sort = {.columns = {{"a`b] \"c", 0}}, .count = 1};
    const char *sql = cp_page_next(
        pool, "SELECT a AS [a`b], b AS \"a`b] \"\"c\" FROM t", &sort, 0,
        cp_sqlite_driver.pages);

    ck_assert_ptr_nonnull(strstr(plan_of(sql), "t"));
}
END_TEST

/* A driver whose NULLs sort last. */
START_TEST(nulls_may_sort_behind)
{
    static const cp_page_dialect_t dialect = {'"', 0};
    cp_page_sort_t sort = {.columns = {{"a", 0}}, .count = 1};

    ck_assert_ptr_nonnull(strstr(
        cp_page_next(pool, "SELECT a FROM t", &sort, 0, &dialect), "IS NULL"));
    ck_assert_ptr_nonnull(strstr(
        cp_page_next(pool, "SELECT a FROM t", &sort, 1, &dialect), "1 = 0"));
}
END_TEST

Suite *page_suite(void)
{
    Suite *suite = suite_create("page");
    TCase *tc = tcase_create("sql");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, each_part_seeks);
    tcase_add_test(tc, the_first_page_is_read_in_order);
    tcase_add_test(tc, names_are_quoted);
    tcase_add_test(tc, nulls_may_sort_behind);
    suite_add_tcase(suite, tc);
    return suite;
}
