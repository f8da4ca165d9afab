/* SPDX-License-Identifier: Apache-2.0
 * SQL that cannot be read, and SQL that only needs its database. */
#include "suites.h"

#include "base/clock.h"
#include "database/sqlite/text/check.h"

#include <string.h>

#include <apr_strings.h>
#include <sqlite3.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static apr_pool_t *pool;

static void setup(void)
{
    apr_pool_create(&pool, NULL);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

START_TEST(what_cannot_be_read_is_told)
{
    static const struct {
        const char *sql, *problem;
    } cases[] = {
        {"SELECT a FORM t", "syntax error"},
        {"SELECT a FROM t ORDR BY a", "syntax error"},
        {"SELECT a FROM t WERE a = 1", "syntax error"},
        {"SELECT a FROM t GROUP a", "syntax error"},
        {"SELECT a, FROM t", "near \"FROM\": syntax error"},
        {"SELECT a FROM t WHERE", "incomplete input"},
        {"SELECT a FROM t WHERE a = ", "incomplete input"},
        {"SELECT a FROM t LEFT JION u ON t.a = u.a", "syntax error"},
        {"SELECT a FROM t WHERE a == = 1", "syntax error"},
        {"SELECT 1x", "unrecognized token"},
        {"INSERT INTO t VALUE (1)", "syntax error"},
        {"INSERT t VALUES (1)", "syntax error"},
        {"INSERT INTO t(a, b) VALUES (1)", "1 values for 2 columns"},
        {"INSERT INTO t VALUES (1), (1, 2)", "same number of terms"},
        {"UPDATE t a = 1", "syntax error"},
        {"UPDATE t SET a = 1 WHER b = 2", "syntax error"},
        {"DELETE t WHERE a = 1", "syntax error"},
        {"DELETE * FROM t", "syntax error"},
        {"SELECT nosuch(1)", "no such function: nosuch"},
        {"SELECT nosuch(a) FROM t", "no such function: nosuch"},
        {"SELECT a FROM t WHERE concatenate(a, b) = 1", "no such function"},
        {"SELECT t.a, u.b FROM t JOIN u ON t.id = u.id ORDER BY nosuch(u.b)",
         "no such function"},
        {"SELECT x.a FROM t AS x, u AS y WHERE x.b = y.c AND now() > y.d",
         "no such function: now"},
        {"SELECT a FROM t WHERE a IN (SELECT isnull2(b) FROM u)",
         "no such function"},
        {"SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.x = t.y AND "
         "len(u.z) > 1)",
         "no such function: len"},
        {"WITH w AS (SELECT a FROM t) SELECT lcase(a) FROM w",
         "no such function: lcase"},
        {"INSERT INTO t VALUES (:a, now(), :b)", "no such function: now"},
        {"INSERT INTO t(a, b) VALUES (:a, now())", "no such function: now"},
        {"INSERT INTO t(a) SELECT md5(b) FROM u", "no such function: md5"},
        {"UPDATE t SET a = now() WHERE b = :b", "no such function: now"},
        {"DELETE FROM t WHERE a < curdate()", "no such function: curdate"},
        {"INSERT INTO t(a) VALUES (1) RETURNING foo(a)", "no such function"},
        {"SELECT a FROM t JOIN u USING (id) WHERE foo(b)", "no such function"},
        {"SELECT a FROM t WHERE a REGEXP 'x'", "no such function: REGEXP"},
        {"SELECT substr(a) FROM t", "wrong number of arguments to function"},
        {"SELECT abs(a, b) FROM t", "wrong number of arguments to function"},
        {"SELECT a FROM t ORDER BY a COLLATE german", "no such collation"},
        {"SELECT a FROM t WHERE count(*) > 1", "misuse of aggregate"},
        {"SELECT a FROM t WHERE max(b) > 1", "misuse of aggregate"},
        {"SELECT t.a FROM t JOIN u ON u.b = t.b WHERE max(u.c) > 1",
         "misuse of aggregate"},
        {"SELECT a FROM t GROUP BY sum(a)", "aggregate functions are not"},
        {"SELECT a FROM t WHERE b = (SELECT max(b) FROM u) AND nosuch(a)",
         "no such function: nosuch"},
        {"SELECT a FROM t LIMIT 1 UNION SELECT 2", "LIMIT clause should come"},
        {"SELECT a FROM t WHERE \"a = 1", ""},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *error = cp_sqlite_check_sql(pool, cases[i].sql, 0);

        ck_assert_msg(error != NULL, "accepted: %s", cases[i].sql);
        ck_assert_msg(strstr(error, cases[i].problem) != NULL, "%s: %s",
                      cases[i].sql, error);
        ck_assert_msg(!strncmp(error, "SQLite cannot read the SQL: ", 28), "%s",
                      error);
    }
}
END_TEST

START_TEST(what_the_database_may_have_is_accepted)
{
    static const char *const cases[] = {
        "SELECT 1",
        "SELECT :a, 'x', x'00', NULL, 1e3",
        "SELECT * FROM t",
        "SELECT a, b AS c, count(*) FROM t WHERE d = :d GROUP BY 1, 2 "
        "HAVING count(*) > 1 ORDER BY c DESC LIMIT :n OFFSET 2",
        "SELECT t.a, u.b FROM t JOIN u ON t.id = u.id WHERE u.c LIKE :x",
        "SELECT x.a, y.b FROM main.t AS x LEFT JOIN \"odd name\" AS y USING "
        "(k)",
        "SELECT * FROM t NATURAL JOIN u",
        "SELECT a FROM t WHERE b = (SELECT max(b) FROM u)",
        "SELECT name FROM t LEFT JOIN u ON owner = name AND b = (SELECT max(b) "
        "FROM u WHERE owner = name)",
        "DELETE FROM t WHERE a < (SELECT avg(a) FROM u WHERE b = :b)",
        "UPDATE t SET a = 1 WHERE b = (SELECT min(b) FROM t)",
        "SELECT a FROM t UNION ALL SELECT b, c FROM u",
        "SELECT * FROM t UNION SELECT * FROM u ORDER BY 3",
        "SELECT (SELECT * FROM t) FROM u",
        "SELECT id FROM t JOIN u ON u.id = t.id",
        "SELECT * FROM docs WHERE docs MATCH :q ORDER BY rank",
        "SELECT * FROM docs(:q)",
        "SELECT highlight(docs, 0, '<', '>'), bm25(docs) FROM docs WHERE docs "
        "MATCH 'x'",
        "SELECT snippet(docs) FROM docs WHERE body MATCH 'x'",
        "SELECT value FROM t, json_each(t.tags) WHERE json_valid(t.d)",
        "SELECT name FROM pragma_table_info('t')",
        "SELECT name FROM sqlite_master",
        "SELECT a FROM aux.t",
        "SELECT a FROM t INDEXED BY i WHERE a = 1",
        "SELECT a ->> '$.x' FROM t",
        "SELECT date('now'), strftime('%Y', :d), julianday(a) FROM t",
        "SELECT row_number() OVER (PARTITION BY a ORDER BY b) FROM t",
        "SELECT sum(a) FILTER (WHERE b) OVER w FROM t WINDOW w AS (ORDER BY c)",
        "SELECT rowid, oid, _rowid_ FROM t",
        "SELECT a FROM [x.y] WHERE [c.d] = 1",
        "SELECT \"it's\" FROM `a\"b`",
        "SELECT a FROM t ORDER BY a COLLATE NOCASE",
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n "
        "WHERE i < 9) SELECT i FROM n, t WHERE t.a = i",
        "VALUES (1, 2), (3, 4)",
        "INSERT INTO t VALUES (?1, 2, 3)",
        "INSERT INTO t VALUES (1, 2, 3) RETURNING *",
        "INSERT INTO t(a, b) VALUES (:a, :b) ON CONFLICT (a) DO UPDATE SET b = "
        "excluded.b",
        "INSERT INTO t(a) VALUES (1) ON CONFLICT DO NOTHING",
        "INSERT OR REPLACE INTO t SELECT * FROM u",
        "REPLACE INTO t(a) VALUES (:a)",
        "INSERT INTO t DEFAULT VALUES",
        "UPDATE t SET a = a + 1, b = :b WHERE rowid = :id",
        "UPDATE t SET (a, b) = (SELECT c, d FROM u WHERE u.k = t.k)",
        "UPDATE t SET a = u.b FROM u WHERE u.id = t.id",
        "DELETE FROM t WHERE a IN (SELECT b FROM u WHERE c = t.d)",
        "DELETE FROM t WHERE (a, b) IN (VALUES (1, 2))",
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *error = cp_sqlite_check_sql(pool, cases[i], 0);

        ck_assert_msg(error == NULL, "%s: %s", cases[i], error);
    }
}
END_TEST

/* A real database would find all of them, so they are not checked here without
 * end. */
START_TEST(many_names_end_in_time)
{
    const char *sql = "SELECT c0";
    cp_clock_t began = cp_clock_now();

    for (int i = 1; i < 900; i++) {
        sql = apr_psprintf(pool, "%s, t%d.c%d", sql, i % 9, i);
    }
    sql = apr_pstrcat(pool, sql, " FROM t0", NULL);
    for (int i = 1; i < 9; i++) {
        sql = apr_psprintf(pool, "%s, t%d", sql, i);
    }
    ck_assert_ptr_null(cp_sqlite_check_sql(pool, sql, 0));
    ck_assert_int_lt(cp_clock_now() - began, 5 * APR_USEC_PER_SEC);
}
END_TEST

START_TEST(functions_of_others_may_come_later)
{
    static const char *const sql[] = {
        "SELECT create_file(a) AS a FROM t",
        "SELECT lower(a, 2) AS a FROM t",
        "SELECT a FROM t ORDER BY a COLLATE icu",
    };

    for (size_t i = 0; i < sizeof(sql) / sizeof(sql[0]); i++) {
        ck_assert_ptr_nonnull(cp_sqlite_check_sql(pool, sql[i], 0));
        ck_assert_ptr_null(cp_sqlite_check_sql(pool, sql[i], 1));
    }
    ck_assert_ptr_nonnull(cp_sqlite_check_sql(pool, "SELECT FROM t", 1));
}
END_TEST

Suite *check_suite(void)
{
    Suite *s = suite_create("check");
    TCase *tc = tcase_create("check");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, functions_of_others_may_come_later);
    tcase_add_test(tc, what_cannot_be_read_is_told);
    tcase_add_test(tc, what_the_database_may_have_is_accepted);
    tcase_add_test(tc, many_names_end_in_time);
    suite_add_tcase(s, tc);
    return s;
}
