/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_pools.h>
#include <apr_strings.h>
#include <sqlite3.h>

#include "database/sqlite/text/scan.h"
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

START_TEST(scan_finds_verb_names_and_returning)
{
    static const struct {
        const char *sql;
        const char *verb;
        const char *names;
        int has_returning;
    } cases[] = {
        {"SELECT 1", "SELECT", "", 0},
        {"select 1;", "SELECT", "", 0},
        {"; SELECT 1", "SELECT", "", 0},
        {"  /* x */ -- y\n sElEcT 1 ; ; -- done", "SELECT", "", 0},
        {"\xef\xbb\xbfSELECT :a", "SELECT", "a", 0},
        {"VALUES (:x)", "VALUES", "x", 0},
        {"SELECT :a, :b, :a, :A", "SELECT", "a b A", 0},
        {"SELECT :a_1$, :1, :\xc3\xa4", "SELECT", "a_1$ 1 \xc3\xa4", 0},
        {"SELECT ':a', \":b\", [:c], `:d`, :e", "SELECT", "e", 0},
        {"SELECT 'it''s :a', \"say \"\":b\", :c", "SELECT", "c", 0},
        {"SELECT `a``:b`, [a[:b], :c", "SELECT", "c", 0},
        {"SELECT [a]] :b", "SELECT", "b", 0},
        {"SELECT x':a', :b", "SELECT", "b", 0},
        {"SELECT 1 -- :a\n, :b", "SELECT", "b", 0},
        {"SELECT 1 -- it's :a", "SELECT", "", 0},
        {"SELECT /* :a ' \" */ :b /**/ /***/", "SELECT", "b", 0},
        {"SELECT /*/ :a */ :b", "SELECT", "b", 0},
        {"SELECT a-:b, a/:c, a->'$.x', 2- -:d", "SELECT", "b c d", 0},
        {"SELECT a$b, 1e5, .5, 0x1F, 1.5e+3:e", "SELECT", "e", 0},
        {"SELECT(:a)", "SELECT", "a", 0},
        {"SELECT ';' AS \";\"", "SELECT", "", 0},
        {"INSERT INTO t VALUES (:a) RETURNING id", "INSERT", "a", 1},
        {"INSERT INTO t VALUES ('returning')", "INSERT", "", 0},
        {"INSERT INTO t(\"returning\") VALUES (1)", "INSERT", "", 0},
        {"UPDATE t SET a = :a WHERE b = :b returning *", "UPDATE", "a b", 1},
        {"DELETE FROM t -- RETURNING\n", "DELETE", "", 0},
        {"REPLACE INTO t VALUES (:a)", "REPLACE", "a", 0},
        {"PRAGMA user_version", "PRAGMA", "", 0},
        {"EXPLAIN SELECT 1", "EXPLAIN", "", 0},
        {"WITH c AS (SELECT :a) SELECT * FROM c", "SELECT", "a", 0},
        {"WITH RECURSIVE c(n) AS (VALUES(1) UNION SELECT n+1 FROM c) "
         "DELETE FROM t WHERE a IN (SELECT n FROM c)",
         "DELETE", "", 0},
        {"WITH c AS MATERIALIZED (SELECT 1), d AS NOT MATERIALIZED (SELECT 2) "
         "INSERT INTO t SELECT * FROM c RETURNING a",
         "INSERT", "", 1},
        {"WITH replace AS (SELECT 1) SELECT * FROM replace", "SELECT", "", 0},
        {"WITH replace(update_) AS (SELECT 1) UPDATE t SET a=1", "UPDATE", "",
         0},
        {"WITH a AS (SELECT 1), replace AS (SELECT 2) VALUES (3)", "VALUES", "",
         0},
        {"with c as (select 1) replace into t select 1", "REPLACE", "", 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        cp_sql_shape_t shape;
        const char *error = cp_sql_scan(pool, cases[i].sql, &shape);
        ck_assert_msg(!error, "%s: %s", cases[i].sql, error);
        ck_assert_msg(!strcmp(shape.verb, cases[i].verb), "%s: %s",
                      cases[i].sql, shape.verb);
        ck_assert_msg(!strcmp(names_of(&shape), cases[i].names), "%s: %s",
                      cases[i].sql, names_of(&shape));
        ck_assert_msg(shape.has_returning == cases[i].has_returning, "%s",
                      cases[i].sql);
    }
}
END_TEST

START_TEST(scan_refuses_with_a_sentence_that_shows_the_place)
{
    static const struct {
        const char *sql;
        const char *error;
    } cases[] = {
        {"", "the SQL is empty"},
        {" \n\t", "the SQL is empty"},
        {"-- nothing", "the SQL is empty"},
        {"/* nothing */ ;", "the SQL is empty"},
        {"SELECT 1; SELECT 2", "the SQL has more than one statement: SELECT"},
        {"SELECT 1;;'x'", "the SQL has more than one statement: 'x'"},
        {"(SELECT 1)", "the SQL has no keyword at its beginning: ("},
        {"'x'", "the SQL has no keyword at its beginning: 'x'"},
        {"SELECT 'abc", "the SQL has a quote that is not closed: 'abc"},
        {"SELECT 'it''s", "the SQL has a quote that is not closed: 'it''s"},
        {"SELECT \"a", "the SQL has a quote that is not closed: \"a"},
        {"SELECT [a", "the SQL has a quote that is not closed: [a"},
        {"SELECT `a", "the SQL has a quote that is not closed: `a"},
        {"SELECT 1 /* x", "the SQL has a comment that is not closed: /"},
        {"SELECT 1 /*/", "the SQL has a comment that is not closed: /"},
        {"SELECT ?", "the SQL has a parameter that is not a :name: ?"},
        {"SELECT ?12", "the SQL has a parameter that is not a :name: ?12"},
        {"SELECT @a", "the SQL has a parameter that is not a :name: @a"},
        {"SELECT $a::b(c)",
         "the SQL has a parameter that is not a :name: $a::b(c)"},
        {"SELECT :a::b", "the SQL has a parameter that is not a :name: :a::b"},
        {"SELECT :a(b)", "the SQL has a parameter that is not a :name: :a(b)"},
        {"SELECT #1", "the SQL has a parameter that is not a :name: #1"},
        {"SELECT :", "the SQL has a parameter that is not a :name: :"},
        {"SELECT : a", "the SQL has a parameter that is not a :name: :"},
        {"SELECT (1", "the SQL has a '(' without its ')'"},
        {"SELECT 1)", "the SQL has a ')' without its '(': )"},
        {"SELECT ')' || (", "the SQL has a '(' without its ')'"},
        {"SELECT 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "the SQL has a quote that is not closed: "
         "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa..."},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        cp_sql_shape_t shape;
        const char *error = cp_sql_scan(pool, cases[i].sql, &shape);
        ck_assert_msg(error != NULL, "accepted: %s", cases[i].sql);
        ck_assert_str_eq(error, cases[i].error);
    }
}
END_TEST

/*** What changes without the data ***/

START_TEST(volatile_names_are_found)
{
    static const struct {
        const char *sql;
        const char *word;
    } cases[] = {
        {"SELECT CURRENT_DATE", "current_date"},
        {"SELECT a FROM t WHERE b<current_time", "current_time"},
        {"SELECT Current_Timestamp, 1", "current_timestamp"},
        {"SELECT random()", "random"},
        {"SELECT RANDOM ( )", "random"},
        {"SELECT random/* x */()", "random"},
        {"SELECT random-- x\n()", "random"},
        {"SELECT \"random\"()", "random"},
        {"SELECT [random]()", "random"},
        {"SELECT `Random`()", "random"},
        {"SELECT a FROM t ORDER BY random()", "random"},
        {"SELECT hex(randomblob(16))", "randomblob"},
        {"SELECT changes()", "changes"},
        {"SELECT total_changes()", "total_changes"},
        {"SELECT last_insert_rowid()", "last_insert_rowid"},
        {"SELECT date('now')", "'now'"},
        {"SELECT date('NOW', '-1 day')", "'now'"},
        {"SELECT strftime('%s', 'now')", "'now'"},
        {"SELECT strftime('%s', \"now\")", "'now'"},
        {"SELECT * FROM (SELECT 'Now' AS n)", "'now'"},
        {"SELECT date()", "date"},
        {"SELECT time( /* now */ )", "time"},
        {"SELECT \"datetime\" ()", "datetime"},
        {"SELECT julianday() - a FROM t", "julianday"},
        {"SELECT unixepoch()", "unixepoch"},
        {"SELECT strftime('%s')", "strftime"},
        {"SELECT strftime(max('%s', '%d'))", "strftime"},
        {"WITH c AS (SELECT 1) SELECT * FROM c WHERE 1 = random()", "random"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *word = NULL;
        ck_assert_msg(cp_sql_is_volatile(cases[i].sql, &word), "not found: %s",
                      cases[i].sql);
        ck_assert_str_eq(word, cases[i].word);
        ck_assert(cp_sql_is_volatile(cases[i].sql, NULL));
    }
}
END_TEST

START_TEST(names_that_look_volatile_are_not)
{
    static const char *const cases[] = {
        "",
        "SELECT 1",
        "SELECT 'random()'",
        "SELECT 'it''s random() now'",
        "SELECT 1 -- random()",
        "SELECT /* random() 'now' */ 1",
        "SELECT 1 /* random()",
        "SELECT random FROM t",
        "SELECT \"random\" FROM t",
        "SELECT \"current_date\", [current_time], `current_timestamp` FROM t",
        "SELECT current_dates, my_random() FROM t",
        "SELECT randomness(), xrandom() FROM t",
        "SELECT 'random'",
        "SELECT now FROM t",
        "SELECT [now] FROM t",
        "SELECT 'now ', ' now', 'nowhere'",
        "SELECT date(a), time(:p), datetime(a, '+1 day') FROM t",
        "SELECT date FROM t WHERE date IN (1, 2)",
        "SELECT julianday(a), unixepoch('2020-01-01') FROM t",
        "SELECT strftime('%s', a), strftime(max('a', 'b'), c) FROM t",
        "SELECT :random, :now, :current_date",
        "SELECT abs(a), count(*), coalesce(changes, 1) FROM t",
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *word = "left";
        ck_assert_msg(!cp_sql_is_volatile(cases[i], &word), "%s: %s", cases[i],
                      word);
        ck_assert_ptr_null(word);
    }
}
END_TEST

/*** Against SQLite ***/

static unsigned seed;

static const char *pick(const char *const *pieces, size_t count)
{
    return pieces[(size_t)rand_r(&seed) % count];
}

#define PICK(...)                                                              \
    pick((const char *const[]){__VA_ARGS__},                                   \
         sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

static const char *blank(void)
{
    return PICK(" ", " ", " ", "\n", "\t", " /* :no '\" */ ", " -- :no ' [\n",
                "/**/", "/*/ :no */", "/***/", " --\n", "\f", "\xef\xbb\xbf");
}

static const char *expression(int depth)
{
    const char *a, *b;
    if (depth <= 0 || rand_r(&seed) % 3 == 0) {
        return PICK("1", "1.5e3", ".5", "0x1F", "1e+2", "'text'", "'it''s'",
                    "''", "''''", "':no'", "x'0aFF'", "X''", "NULL", "a",
                    "\"a\"", "[b c]", "`d``e`", "\"f\"\"g\"", "[:h]", "i$j",
                    "\xc3\xa4", "t.a", ":p", ":q", ":p1", ":_", ":$x",
                    ":\xc3\xa4", ":1", "-:p", "(:q)", "a->>'$.x'", "'-- no'",
                    "'/* no'", "\":no\"", "current_date", "?", "?2", "@r", "$s",
                    ":a::b", ":a(b)");
    }
    a = expression(depth - 1);
    b = expression(depth - 1);
    switch (rand_r(&seed) % 9) {
    case 0:
        return apr_pstrcat(pool, "CAST(", a, " AS ", PICK("TEXT", "[x y]"), ")",
                           NULL);
    case 1:
        return apr_pstrcat(pool, "(", a, blank(), ")", NULL);
    case 2:
        return apr_pstrcat(pool, "max(", a, ",", b, ")", NULL);
    case 3:
        return apr_pstrcat(pool, "CASE", blank(), a, " WHEN ", b, " THEN ", a,
                           " END", NULL);
    case 4:
        return apr_pstrcat(pool, "(SELECT ", a, " FROM t)", NULL);
    case 5:
        return apr_pstrcat(pool, a, blank(), "IN (", b, ")", NULL);
    default:
        return apr_pstrcat(
            pool, a, blank(),
            PICK("+", "||", "-", "/", "*", "=", "<>", "AND", "->", "<<", "%"),
            blank(), b, NULL);
    }
}

static const char *statement(void)
{
    const char *with = rand_r(&seed) % 3
                           ? ""
                           : apr_pstrcat(
                               pool, "WITH", blank(),
                               PICK("c", "replace", "[c d]", "RECURSIVE c"),
                               PICK("", "(z)"), " AS ",
                               PICK("", "MATERIALIZED "), "(SELECT ",
                               expression(1), ")", blank(), NULL);
    const char *where = rand_r(&seed) % 2 ? apr_pstrcat(pool, blank(), "WHERE ",
                                                        expression(2), NULL)
                                          : "";
    const char *returning = PICK("", "", " RETURNING a", " returning *");
    const char *tail = PICK("", "", "", ";", " ;", ";;", "; -- x", "-- x",
                            "/* x */", "; SELECT 2", "/* open", "; /* open");
    const char *body;
    switch (rand_r(&seed) % 6) {
    case 0:
        body = apr_pstrcat(pool, PICK("INSERT", "REPLACE"), " INTO t(a)",
                           PICK(" VALUES (", " SELECT max("), expression(2),
                           ")", returning, NULL);
        break;
    case 1:
        body = apr_pstrcat(pool, "UPDATE t SET a =", blank(), expression(2),
                           where, returning, NULL);
        break;
    case 2:
        body = apr_pstrcat(pool, "DELETE FROM t", where, returning, NULL);
        break;
    default:
        body = apr_pstrcat(pool, "SELECT", blank(), expression(3), ",",
                           expression(2), blank(), "FROM t", where,
                           PICK("", " LIMIT :l OFFSET :o", " ORDER BY 1"),
                           NULL);
    }
    return apr_pstrcat(pool, PICK("", "", blank()), with, body, tail, NULL);
}

/* Puts in, doubles or takes out single bytes that matter to a tokenizer. */
static const char *mutate(const char *sql)
{
    static const char bytes[] = "''\"\"``[]::?@$#--/*();xX \n09ae_.!<\\\x80";
    size_t size = strlen(sql);
    char *copy = apr_palloc(pool, size + 2);
    size_t at = (size_t)rand_r(&seed) % (size + 1);
    memcpy(copy, sql, at);
    size_t skip = 0, put = 0;
    if (rand_r(&seed) % 2) {
        copy[at] = bytes[(size_t)rand_r(&seed) % (sizeof(bytes) - 1)];
        put = 1;
    }
    else if (at < size) {
        skip = 1;
    }
    memcpy(copy + at + put, sql + at + skip, size - at - skip + 1);
    return copy;
}

static int is_plain_name(const char *name)
{
    if (!name || name[0] != ':') {
        return 0;
    }
    for (name++; *name; name++) {
        if (strchr(":()", *name)) {
            return 0;
        }
    }
    return 1;
}

static int count_char(const char *text, char c)
{
    int count = 0;
    for (; *text; text++) {
        count += *text == c;
    }
    return count;
}

/* SQLite drops the names ?NNN that share their number with a :name, but it
 * replaces them in the expanded statement. */
static int has_foreign_parameter(sqlite3_stmt *stmt)
{
    int plain = 0, count = sqlite3_bind_parameter_count(stmt);
    for (int i = 1; i <= count; i++) {
        plain += is_plain_name(sqlite3_bind_parameter_name(stmt, i));
    }
    char *expanded = sqlite3_expanded_sql(stmt);
    int is_foreign = plain < count
                     || count_char(expanded, '?')
                            < count_char(sqlite3_sql(stmt), '?');
    sqlite3_free(expanded);
    return is_foreign;
}

/* 1 if SQLite finds another statement in what is left. */
static int has_more(sqlite3 *db, const char *tail)
{
    while (*tail) {
        sqlite3_stmt *more = NULL;
        if (sqlite3_prepare_v2(db, tail, -1, &more, &tail) != SQLITE_OK
            || more) {
            sqlite3_finalize(more);
            return 1;
        }
    }
    return 0;
}

static int is_write(const char *verb)
{
    return !strcmp(verb, "INSERT") || !strcmp(verb, "UPDATE")
           || !strcmp(verb, "DELETE") || !strcmp(verb, "REPLACE");
}

static void compare_accepted(const char *sql, sqlite3_stmt *stmt,
                             const cp_sql_shape_t *shape)
{
    ck_assert_msg(shape->names->nelts == sqlite3_bind_parameter_count(stmt),
                  "%s: %s", sql, names_of(shape));
    for (int i = 0; i < shape->names->nelts; i++) {
        ck_assert_msg(!strcmp(APR_ARRAY_IDX(shape->names, i, const char *),
                              sqlite3_bind_parameter_name(stmt, i + 1) + 1),
                      "%s: %s", sql, names_of(shape));
    }
    ck_assert_msg(is_write(shape->verb) == !sqlite3_stmt_readonly(stmt),
                  "%s: %s", sql, shape->verb);
    if (is_write(shape->verb)) {
        ck_assert_msg(shape->has_returning == (sqlite3_column_count(stmt) > 0),
                      "%s", sql);
    }
}

/* What SQLite accepts is refused for a reason that SQLite confirms. */
static void compare_refused(sqlite3 *db, const char *sql, sqlite3_stmt *stmt,
                            const char *tail, const char *error)
{
    if (strstr(error, "not a :name")) {
        ck_assert_msg(has_foreign_parameter(stmt) || has_more(db, tail),
                      "%s: %s", sql, error);
    }
    else if (strstr(error, "comment")) {
        cp_sql_shape_t shape;
        const char *closed = apr_pstrcat(pool, sql, "*/", NULL);
        const char *still = cp_sql_scan(pool, closed, &shape);
        ck_assert_msg(!still, "%s: %s", closed, still);
    }
    else {
        ck_assert_msg(has_more(db, tail), "%s: %s", sql, error);
    }
}

/* 0 refused by SQLite, 1 refused by the scan alone, 2 accepted by both */
static int compare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *stmt = NULL;
    const char *tail = NULL;
    cp_sql_shape_t shape;
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, &tail) != SQLITE_OK || !stmt) {
        return 0;
    }
    const char *error = cp_sql_scan(pool, sql, &shape);
    if (error) {
        compare_refused(db, sql, stmt, tail, error);
    }
    else {
        ck_assert_msg(!has_more(db, tail), "%s", sql);
        compare_accepted(sql, stmt, &shape);
    }
    sqlite3_finalize(stmt);
    return error ? 1 : 2;
}

START_TEST(scan_agrees_with_sqlite_on_generated_statements)
{
    sqlite3 *db;
    int counts[3] = {0};
    ck_assert_int_eq(sqlite3_open(":memory:", &db), SQLITE_OK);
    ck_assert_int_eq(
        sqlite3_exec(db,
                     "CREATE TABLE t(a, \"b c\", \"d`e\", \"f\"\"g\", \":h\", "
                     "i$j, \xc3\xa4)",
                     NULL, NULL, NULL),
        SQLITE_OK);
    seed = 4;
    for (int i = 0; i < 20000; i++) {
        apr_pool_t *parent = pool;
        apr_pool_create(&pool, parent);
        const char *sql = statement();
        for (int n = rand_r(&seed) % 4; n > 1; n--) {
            sql = mutate(sql);
        }
        counts[compare(db, sql)]++;
        apr_pool_destroy(pool);
        pool = parent;
    }
    sqlite3_close(db);
    /* The generator must reach all three outcomes to prove anything. */
    ck_assert_msg(counts[0] >= 2000 && counts[1] >= 2000 && counts[2] >= 2000,
                  "%d %d %d", counts[0], counts[1], counts[2]);
}
END_TEST

Suite *scan_suite(void)
{
    Suite *suite = suite_create("scan");
    TCase *tc = tcase_create("scan");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, scan_finds_verb_names_and_returning);
    tcase_add_test(tc, scan_refuses_with_a_sentence_that_shows_the_place);
    tcase_add_test(tc, volatile_names_are_found);
    tcase_add_test(tc, names_that_look_volatile_are_not);
    tcase_add_test(tc, scan_agrees_with_sqlite_on_generated_statements);
    suite_add_tcase(suite, tc);
    return suite;
}
