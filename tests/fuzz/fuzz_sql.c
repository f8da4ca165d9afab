/* SPDX-License-Identifier: Apache-2.0
 * The scanner of SQL against SQLite: of what both take they find the same
 * parameters, and what only reads for the one does so for the other. */
#include "fuzz.h"

#include <ctype.h>
#include <string.h>

#include <sqlite3.h>

#include "database/sqlite/text/scan.h"

static const char schema[] = "CREATE TABLE a(b,c,d);CREATE TABLE item(id "
                             "INTEGER PRIMARY KEY, title TEXT UNIQUE, x);"
                             "CREATE VIEW v AS SELECT b, c FROM a;";

static int only_plain(void *data, int action, const char *one, const char *two,
                      const char *three, const char *four)
{
    (void)data;
    (void)one;
    (void)two;
    (void)three;
    (void)four;
    return action == SQLITE_ATTACH || action == SQLITE_DETACH
                   || action == SQLITE_PRAGMA
               ? SQLITE_DENY
               : SQLITE_OK;
}

static sqlite3 *database(void)
{
    static sqlite3 *db;

    if (!db) {
        MUST(sqlite3_open(":memory:", &db) == SQLITE_OK);
        MUST(sqlite3_exec(db, schema, NULL, NULL, NULL) == SQLITE_OK);
        sqlite3_set_authorizer(db, only_plain, NULL);
        sqlite3_limit(db, SQLITE_LIMIT_EXPR_DEPTH, 50);
        sqlite3_limit(db, SQLITE_LIMIT_COMPOUND_SELECT, 10);
        sqlite3_limit(db, SQLITE_LIMIT_LENGTH, 1000000);
    }
    return db;
}

static int has_name(const cp_sql_shape_t *shape, const char *name)
{
    for (int i = 0; i < shape->names->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(shape->names, i, const char *), name) == 0) {
            return 1;
        }
    }
    return 0;
}

static int is_blank(const char *tail)
{
    while (isspace((unsigned char)*tail) || *tail == ';') {
        tail++;
    }
    return !*tail;
}

static void compare(const cp_sql_shape_t *shape, sqlite3_stmt *stmt)
{
    int count = sqlite3_bind_parameter_count(stmt);

    MUST(count == shape->names->nelts);
    for (int i = 1; i <= count; i++) {
        const char *name = sqlite3_bind_parameter_name(stmt, i);

        MUST(name && name[0] == ':' && has_name(shape, name + 1));
    }
    MUST(strcmp(shape->verb, "SELECT") != 0 || sqlite3_stmt_readonly(stmt));
    MUST(strcmp(shape->verb, "SELECT") == 0 || !shape->has_returning
         || !sqlite3_stmt_readonly(stmt));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *p = fuzz_pool();
    const char *sql = fuzz_text(p, data, size), *tail, *word = NULL;
    cp_sql_shape_t shape = {0};
    const char *mistake = cp_sql_scan(p, sql, &shape);
    sqlite3_stmt *stmt = NULL;
    int rc;

    MUST(!cp_sql_is_volatile(sql, &word) || (word && *word));
    MUST(!mistake || *mistake);
    if (mistake) {
        return 0;
    }
    MUST(shape.verb && shape.names);
    rc = sqlite3_prepare_v2(database(), sql, -1, &stmt, &tail);
    if (rc == SQLITE_OK && stmt && is_blank(tail)) {
        compare(&shape, stmt);
    }
    sqlite3_finalize(stmt);
    return 0;
}
