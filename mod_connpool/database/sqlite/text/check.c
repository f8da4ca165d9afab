/* SPDX-License-Identifier: Apache-2.0
 * The check of SQL without its database. SQLite tells one error at a time, and
 * of an unknown table before it has looked at any function; so what it misses
 * is made up, and it is asked again, until it is content or tells of something
 * that no table and no column could mend. */
#include "database/sqlite/text/check.h"

#include "database/page.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <apr_hash.h>
#include <apr_strings.h>
#include <apr_tables.h>

#define TRIES_MAX 200

typedef struct check_t {
    apr_pool_t *p;
    sqlite3 *db;
    apr_array_header_t *tables;  /* const char *: those that were made up */
    apr_hash_t *homes;           /* qualifier -> int: place in tables */
    int has_others;              /* functions of other modules may be there */
    apr_array_header_t *columns; /* const char *: those that were asked for */
    int is_everywhere;           /* each table has all of them */
    const char *column;          /* that is looked for, or NULL */
    int place;                   /* of the table that gets it next */
} check_t;

/* What a message says behind its beginning, or NULL. */
static const char *behind(const char *message, const char *beginning)
{
    size_t size = strlen(beginning);

    return strncmp(message, beginning, size) == 0 ? message + size : NULL;
}

/* Errors that every database would have. What depends on how many columns a
 * made-up table has is not among them. */
static int is_hopeless(const char *message)
{
    static const char *const beginnings[] = {
        "unrecognized token",
        "incomplete input",
        "no such function",
        "wrong number of arguments to function",
        "no such collation sequence",
        "no such window",
        "misuse of ",
        "unknown or unsupported join type",
        "unknown join type",
        "a JOIN clause is required before",
        "a NATURAL join may not have",
        "LIMIT clause should come after",
        "ORDER BY clause should come after",
        "all VALUES must have the same number of terms",
        "aggregate functions are not allowed",
        "HAVING clause on a non-aggregate query",
        "a GROUP BY clause is required before HAVING",
        "duplicate WITH table name",
        "RAISE() may only be used",
        "DISTINCT is not supported for window functions",
        "FILTER may not be used with",
        "FILTER clause may only be used with",
        "DISTINCT aggregates must have exactly one argument",
        "ORDER BY may not be used with",
        "unsupported frame specification",
        "frame ",
        NULL};

    for (const char *const *beginning = beginnings; *beginning; beginning++) {
        if (behind(message, *beginning)) {
            return 1;
        }
    }
    return strstr(message, "syntax error") != NULL
           || strstr(message, "() may not be used as a window function")
           || (strchr("123456789", *message)
               && strstr(message, " values for "));
}

static int run(check_t *check, char *sql)
{
    int rc = sql ? sqlite3_exec(check->db, sql, NULL, NULL, NULL)
                 : SQLITE_NOMEM;

    sqlite3_free(sql);
    return rc == SQLITE_OK;
}

static int add_table(check_t *check, const char *name)
{
    const char *plain = behind(name, "main.");

    name = plain ? plain : name;
    APR_ARRAY_PUSH(check->tables, const char *) = name;
    return run(check, sqlite3_mprintf("CREATE TABLE \"%w\"(\"%w is made up\")",
                                      name, name));
}

static int add_column(check_t *check, const char *table, const char *column)
{
    return run(check, sqlite3_mprintf("ALTER TABLE \"%w\" ADD COLUMN \"%w\"",
                                      table, column));
}

/* Where "t." or "alias." has been at home so far; -1: nobody knows. */
static int place_of(check_t *check, const char *qualifier)
{
    const int *known = apr_hash_get(check->homes, qualifier,
                                    APR_HASH_KEY_STRING);

    for (int i = 0; !known && i < check->tables->nelts; i++) {
        if (!strcasecmp(qualifier,
                        APR_ARRAY_IDX(check->tables, i, const char *))) {
            return i;
        }
    }
    return known ? *known : -1;
}

static int add_at(check_t *check, int place, const char *qualifier,
                  const char *column)
{
    if (!add_column(check, APR_ARRAY_IDX(check->tables, place, const char *),
                    column)) {
        return 0;
    }
    apr_hash_set(check->homes, qualifier, APR_HASH_KEY_STRING,
                 apr_pmemdup(check->p, &place, sizeof(place)));
    return 1;
}

/* Which table it belongs to, the message does not tell: the likely one gets it,
 * and then one after the other, as long as it is asked for. */
static int add_somewhere(check_t *check, const char *asked)
{
    const char *dot = strrchr(asked, '.');
    const char *column = dot ? dot + 1 : asked;
    const char *qualifier = apr_pstrmemdup(check->p, asked,
                                           dot ? (size_t)(dot - asked) : 0);
    int home;

    if (!check->column || strcmp(check->column, asked) != 0) {
        APR_ARRAY_PUSH(check->columns, const char *) = column;
        check->column = asked;
        check->place = 0;
        home = place_of(check, qualifier);
        if (home >= 0 && add_at(check, home, qualifier, column)) {
            return 1;
        }
    }
    while (check->place < check->tables->nelts) {
        if (add_at(check, check->place++, qualifier, column)) {
            return 1;
        }
    }
    return 0;
}

/* The column in (SELECT max(at) FROM inner) was taken for one of the outer
 * query if it was made up there, and the aggregate would then be out of place.
 * Where each table has it, the inner one counts. */
static int add_everywhere(check_t *check, const char *message)
{
    if (check->is_everywhere
        || (!behind(message, "misuse of aggregate")
            && !behind(message, "aggregate functions are not allowed"))) {
        return 0;
    }
    for (int i = 0; i < check->tables->nelts; i++) {
        for (int k = 0; k < check->columns->nelts; k++) {
            add_column(check, APR_ARRAY_IDX(check->tables, i, const char *),
                       APR_ARRAY_IDX(check->columns, k, const char *));
        }
    }
    return check->is_everywhere = 1;
}

/* "T has no column named C" */
static int add_named(check_t *check, const char *rest)
{
    static const char between[] = " has no column named ";
    const char *at = strstr(rest, between);

    return at
           && add_column(check,
                         apr_pstrmemdup(check->p, rest, (size_t)(at - rest)),
                         at + strlen(between));
}

/* "T has N columns but M values were supplied" */
static int add_missing(check_t *check, const char *rest)
{
    static const char before[] = " has ";
    static const char between[] = " columns but ";
    const char *at = strstr(rest, between);
    const char *count = at;
    long has, wants;
    char *table;

    while (count && count > rest && count[-1] >= '0' && count[-1] <= '9') {
        count--;
    }
    if (!at || count - rest < (long)strlen(before)) {
        return 0;
    }
    table = apr_pstrmemdup(check->p, rest,
                           (size_t)(count - rest) - strlen(before));
    has = strtol(count, NULL, 10);
    wants = strtol(at + strlen(between), NULL, 10);
    for (long i = has; i < wants && i < 1000; i++) {
        if (!add_column(check, table,
                        apr_psprintf(check->p, "made up %ld", i))) {
            return 0;
        }
    }
    return has < wants;
}

/* "C - column not present in both tables" */
static int add_to_all(check_t *check, const char *rest)
{
    const char *end = strstr(rest, " - column not present");
    int added = 0;

    for (int i = 0; end && i < check->tables->nelts; i++) {
        added |= add_column(
            check, APR_ARRAY_IDX(check->tables, i, const char *),
            apr_pstrmemdup(check->p, rest, (size_t)(end - rest)));
    }
    return added;
}

/* Make up what the message asks for. */
static int mend(check_t *check, const char *message)
{
    const char *rest = behind(message, "no such table: ");

    if (rest) {
        return add_table(check, rest);
    }
    rest = behind(message, "no such column: ");
    if (rest) {
        return add_somewhere(check, rest);
    }
    rest = behind(message, "cannot join using column ");
    if (rest) {
        return add_to_all(check, rest);
    }
    rest = behind(message, "table ");
    return rest && (add_named(check, rest) || add_missing(check, rest));
}

/* What another module may bring. */
static int is_about_function(const char *message)
{
    return behind(message, "no such function")
           || behind(message, "wrong number of arguments to function")
           || behind(message, "no such collation sequence");
}

/* No table could give a page the column that its SQL leaves out. */
static const char *missing_of_page(check_t *check, const char *message)
{
    const char *column = behind(message, "no such column: " CP_PAGE_TABLE ".");

    return column ? apr_psprintf(
               check->p, "the answer of the SQL has no column '%s'", column)
                  : NULL;
}

static const char *find_error(check_t *check, const char *sql)
{
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        sqlite3_stmt *stmt = NULL;
        int rc = sqlite3_prepare_v2(check->db, sql, -1, &stmt, NULL);
        const char *message;

        sqlite3_finalize(stmt);
        if (rc != SQLITE_ERROR) {
            return NULL;
        }
        message = apr_pstrdup(check->p, sqlite3_errmsg(check->db));
        if (add_everywhere(check, message)) {
            continue;
        }
        if (is_hopeless(message)
            && !(check->has_others && is_about_function(message))) {
            return apr_pstrcat(check->p,
                               "SQLite cannot read the SQL: ", message, NULL);
        }
        if (!mend(check, message)) {
            return missing_of_page(check, message);
        }
    }
    return NULL;
}

const char *cp_sqlite_check_sql(apr_pool_t *p, const char *sql, int has_others)
{
    check_t check = {.p = p,
                     .has_others = has_others,
                     .tables = apr_array_make(p, 4, sizeof(char *)),
                     .columns = apr_array_make(p, 8, sizeof(char *)),
                     .homes = apr_hash_make(p)};
    const char *error = NULL;

    if (sqlite3_open_v2(":memory:", &check.db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL)
        == SQLITE_OK) {
        error = find_error(&check, sql);
    }
    sqlite3_close(check.db);
    /* The parent forks: its children must not draw the same numbers. */
    sqlite3_randomness(0, NULL);
    return error;
}
