/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include <apr_pools.h>
#include <apr_strings.h>

#include "base/bytes/buffer.h"
#include "database/pgsql/text/sql.h"
#include "suites.h"

#define COUNT(array) (sizeof(array) / sizeof(array[0]))

static apr_pool_t *pool;

static void setup(void)
{
    apr_pool_create(&pool, NULL);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

static const char *names_of(const cp_sql_shape_t *shape)
{
    const char *names = "";

    for (int i = 0; i < shape->names->nelts; i++) {
        names = apr_pstrcat(pool, names, i ? " " : "",
                            APR_ARRAY_IDX(shape->names, i, const char *), NULL);
    }
    return names;
}

START_TEST(pg_sql_finds_verb_names_and_returning)
{
    static const struct {
        const char *sql, *verb, *names;
        int has_returning;
    } cases[] = {
        {"SELECT 1", "SELECT", "", 0},
        {"select 1;", "SELECT", "", 0},
        {"(SELECT 1) UNION (SELECT :b)", "SELECT", "b", 0},
        {"  /* x /* nested :a */ y */ -- z\n SeLeCT :b", "SELECT", "b", 0},
        {"VALUES (:x)", "VALUES", "x", 0},
        {"TABLE item", "TABLE", "", 0},
        {"SELECT :a, :b, :a, :A", "SELECT", "a b A", 0},
        {"SELECT ':a', \":b\", :c", "SELECT", "c", 0},
        {"SELECT 'it''s :a', \"say \"\":b\", :c", "SELECT", "c", 0},
        {"SELECT E'it\\'s :a', :c", "SELECT", "c", 0},
        {"SELECT 'it\\', :c", "SELECT", "c", 0},
        {"SELECT E'a'\n  '\\' :x', :c", "SELECT", "c", 0},
        {"SELECT $$ :a ' $$, :b", "SELECT", "b", 0},
        {"SELECT $t$ $$ :a $u$ $t$, :b", "SELECT", "b", 0},
        {"SELECT a$b$c, :b", "SELECT", "b", 0},
        {"SELECT :a::int, x::text FROM t", "SELECT", "a", 0},
        {"SELECT f(a := 1, b => :c)", "SELECT", "c", 0},
        {"SELECT v[lo:hi], v[1:n], v[f(x):y], :a FROM t", "SELECT", "a", 0},
        {"SELECT v[:lo] FROM t", "SELECT", "lo", 0},
        {"SELECT v[1 : :hi] FROM t", "SELECT", "hi", 0},
        {"SELECT data->>:k, data #> :p, data @> :j, data ? :q FROM t", "SELECT",
         "k p j q", 0},
        {"SELECT 1e5, 1.5e-3, 0x1F, :a", "SELECT", "a", 0},
        {"INSERT INTO t VALUES (:a) RETURNING id", "INSERT", "a", 1},
        {"UPDATE t SET a = :a", "UPDATE", "a", 0},
        {"MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE", "MERGE",
         "", 0},
        {"WITH x AS (SELECT 1) SELECT * FROM x", "SELECT", "", 0},
        {"WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) "
         "SELECT i FROM n",
         "SELECT", "", 0},
        {"WITH x AS NOT MATERIALIZED (SELECT 1), \"y\" AS (SELECT 2) INSERT "
         "INTO t TABLE x",
         "INSERT", "", 0},
        {"WITH gone AS (DELETE FROM t WHERE id = :id RETURNING *) SELECT * "
         "FROM gone",
         "DELETE", "id", 1},
        {"WITH gone AS MATERIALIZED (DELETE FROM t RETURNING *) INSERT INTO u "
         "SELECT * FROM gone",
         "INSERT", "", 0},
        {"WITH update AS (SELECT 1) SELECT * FROM update", "SELECT", "", 0},
        {"WITH t AS (SELECT 'x' AS delete) SELECT 1", "SELECT", "", 0},
        {"COPY t FROM STDIN", "COPY", "", 0},
        {"do $$ BEGIN END $$", "DO", "", 0},
        {"\xef\xbb\xbfSELECT :\xc3\xa4", "SELECT", "\xc3\xa4", 0},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        cp_sql_shape_t shape;
        const char *error = cp_pg_scan(pool, cases[i].sql, &shape);

        ck_assert_msg(!error, "%s: %s", cases[i].sql, error);
        ck_assert_msg(strcmp(shape.verb, cases[i].verb) == 0, "%s: %s",
                      cases[i].sql, shape.verb);
        ck_assert_msg(strcmp(names_of(&shape), cases[i].names) == 0, "%s: %s",
                      cases[i].sql, names_of(&shape));
        ck_assert_msg(shape.has_returning == cases[i].has_returning, "%s",
                      cases[i].sql);
    }
}
END_TEST

START_TEST(pg_sql_refuses_what_is_not_one_statement)
{
    static const struct {
        const char *sql, *sentence;
    } cases[] = {
        {"", "is empty"},
        {" ; -- x", "is empty"},
        {"SELECT 1; SELECT 2", "more than one statement: SELECT"},
        {"SELECT 'a", "a quote that is not closed"},
        {"SELECT E'a\\'", "a quote that is not closed"},
        {"SELECT \"a", "a quote that is not closed"},
        {"SELECT $a$ $b$", "a quote that is not closed"},
        {"SELECT 1 /* /* */", "a comment that is not closed"},
        {"SELECT (1", "a '(' without its ')'"},
        {"SELECT 1)", "a ')' without its '('"},
        {"SELECT $1", "a parameter that is not a :name: $1"},
        {"SELECT a:b", "right behind something else"},
        {"SELECT (a):b", "right behind something else"},
        {"SELECT 1:b", "right behind something else"},
        {"= SELECT", "no keyword at its beginning"},
        {"WITH x AS (SELECT 1)", "a WITH without its statement"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        cp_sql_shape_t shape;
        const char *error = cp_pg_scan(pool, cases[i].sql, &shape);

        ck_assert_msg(error && strstr(error, cases[i].sentence), "%s: %s",
                      cases[i].sql, error ? error : "taken");
    }
}
END_TEST

START_TEST(pg_sql_tells_of_a_comment_that_takes_all)
{
    cp_sql_shape_t shape;

    ck_assert_ptr_null(cp_pg_scan(pool, "SELECT 1 -- rest FROM t", &shape));
    ck_assert_str_eq(shape.comment, "rest FROM t");
    ck_assert_ptr_null(cp_pg_scan(pool, "SELECT 1 -- rest\n", &shape));
    ck_assert_ptr_null(shape.comment);
    ck_assert_ptr_null(cp_pg_scan(pool, "SELECT '-- no'", &shape));
    ck_assert_ptr_null(shape.comment);
}
END_TEST

START_TEST(pg_sql_numbers_parameters)
{
    static const struct {
        const char *sql, *text;
        int count;
    } cases[] = {
        {"SELECT :a, :b, :a;", "SELECT $1, $2, $1", 2},
        {"SELECT :a::int, ':b', v[lo:hi]", "SELECT $1::int, ':b', v[lo:hi]", 1},
        {"SELECT 1", "SELECT 1", 0},
        {"SELECT $$:a$$ || :x -- :y\n", "SELECT $$:a$$ || $1 -- :y\n", 1},
        {"SELECT 1; SELECT 2", NULL, -1},
        {"SELECT $1", NULL, -1},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        cp_buffer_t out = {0};
        cp_pg_param_t *params = NULL;

        ck_assert_int_eq(cp_pg_rewrite(cases[i].sql, &out, &params),
                         cases[i].count);
        if (cases[i].text) {
            ck_assert_str_eq(out.data, cases[i].text);
            free(params);
        }
        cp_buffer_free(&out);
    }
}
END_TEST

START_TEST(pg_sql_knows_what_writes)
{
    ck_assert(!cp_pg_writes("SELECT 1"));
    ck_assert(!cp_pg_writes("WITH x AS (SELECT 1) TABLE x"));
    ck_assert(cp_pg_writes("WITH x AS (DELETE FROM t RETURNING 1) TABLE x"));
    ck_assert(cp_pg_writes("INSERT INTO t VALUES (1)"));
    ck_assert(cp_pg_writes("TRUNCATE t"));
    ck_assert(!cp_pg_writes("VALUES (1)"));
}
END_TEST

START_TEST(pg_sql_names_what_changes_by_itself)
{
    static const struct {
        const char *sql, *word;
    } cases[] = {
        {"SELECT now()", "now"},
        {"SELECT * FROM t WHERE made < current_date", "current_date"},
        {"SELECT RANDOM ()", "random*"},
        {"SELECT \"nextval\"('s')", "nextval"},
        {"SELECT 'Now'::timestamptz", "'now'"},
        {"SELECT gen_random_uuid()", "gen_random_*"},
        {"SELECT now FROM t", NULL},
        {"SELECT 'now is the time'", NULL},
        {"SELECT a FROM t WHERE b = :now", NULL},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *word = NULL;
        int is_volatile = cp_pg_is_volatile(cases[i].sql, &word);

        ck_assert_msg(is_volatile == (cases[i].word != NULL), "%s",
                      cases[i].sql);
        if (word) {
            ck_assert_str_eq(word, cases[i].word);
        }
    }
}
END_TEST

Suite *pg_sql_suite(void)
{
    Suite *suite = suite_create("pg_sql");
    TCase *tcase = tcase_create("sql");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, pg_sql_finds_verb_names_and_returning);
    tcase_add_test(tcase, pg_sql_refuses_what_is_not_one_statement);
    tcase_add_test(tcase, pg_sql_tells_of_a_comment_that_takes_all);
    tcase_add_test(tcase, pg_sql_numbers_parameters);
    tcase_add_test(tcase, pg_sql_knows_what_writes);
    tcase_add_test(tcase, pg_sql_names_what_changes_by_itself);
    suite_add_tcase(suite, tcase);
    return suite;
}
