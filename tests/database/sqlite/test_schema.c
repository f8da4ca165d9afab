/* SPDX-License-Identifier: Apache-2.0
 * What a schema may do: those of ordinary applications all they need, hostile
 * ones no harm. And whose fault a failure is. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_strings.h>
#include <sqlite3.h>

#include "base/clock.h"
#include "base/error.h"
#include "database/sqlite/sqlite.h"
#include "database/sqlite/text/scan.h"
#include "scratch.h"
#include "suites.h"

static apr_pool_t *pool;
static char dir[SCRATCH_SIZE];
static const char *path;
static cp_sqlite_config_t config;

/* --- another module of the process --- */

static int harm_done; /* how often something of it was called */

static void do_harm(sqlite3_context *context, int count, sqlite3_value **values)
{
    harm_done++;
    sqlite3_result_int(context, 1);
}

static int connect_harm(sqlite3 *db, void *aux, int argc,
                        const char *const *argv, sqlite3_vtab **vtab,
                        char **error)
{
    int rc = sqlite3_declare_vtab(db, "CREATE TABLE x(secret)");

    harm_done++;
    *vtab = sqlite3_malloc(sizeof(**vtab));
    memset(*vtab, 0, sizeof(**vtab));
    return rc;
}

static int disconnect_harm(sqlite3_vtab *vtab)
{
    sqlite3_free(vtab);
    return SQLITE_OK;
}

static int plan_harm(sqlite3_vtab *vtab, sqlite3_index_info *info)
{
    return SQLITE_OK;
}

static int open_harm(sqlite3_vtab *vtab, sqlite3_vtab_cursor **cursor)
{
    *cursor = sqlite3_malloc(sizeof(**cursor));
    memset(*cursor, 0, sizeof(**cursor));
    return SQLITE_OK;
}

static int close_harm(sqlite3_vtab_cursor *cursor)
{
    sqlite3_free(cursor);
    return SQLITE_OK;
}

static int filter_harm(sqlite3_vtab_cursor *cursor, int number,
                       const char *text, int argc, sqlite3_value **argv)
{
    harm_done++;
    return SQLITE_OK;
}

static int at_end(sqlite3_vtab_cursor *cursor)
{
    return 1;
}

static sqlite3_module harm_module = {
    .xCreate = connect_harm,
    .xConnect = connect_harm,
    .xBestIndex = plan_harm,
    .xDisconnect = disconnect_harm,
    .xDestroy = disconnect_harm,
    .xOpen = open_harm,
    .xClose = close_harm,
    .xFilter = filter_harm,
    .xEof = at_end,
};

static int register_harm(sqlite3 *db, char **error, const void *api)
{
    static const char *const names[] = {"harm", "readfile", "lower", "edit"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        sqlite3_create_function(db, names[i], 1,
                                SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL,
                                do_harm, NULL, NULL);
    }
    sqlite3_create_function(db, "harm", -1, SQLITE_UTF16LE, NULL, do_harm, NULL,
                            NULL);
    sqlite3_create_function(db, "harmless", 1,
                            SQLITE_UTF8 | SQLITE_DETERMINISTIC
                                | SQLITE_INNOCUOUS,
                            NULL, do_harm, NULL, NULL);
    sqlite3_create_module(db, "files", &harm_module, NULL);
    return SQLITE_OK;
}

/* --- fixture --- */

static void set_up(void)
{
    apr_pool_create(&pool, NULL);
    scratch_make(dir);
    path = apr_pstrcat(pool, dir, "/x.db", NULL);
    config = scratch_config(path);
    config.foreign_keys = 1;
    harm_done = 0;
}

static void tear_down(void)
{
    sqlite3_reset_auto_extension();
    scratch_remove(dir);
    apr_pool_destroy(pool);
}

static void make_db(const char *sql)
{
    char *error = NULL;
    sqlite3 *raw;

    ck_assert_int_eq(sqlite3_open(path, &raw), SQLITE_OK);
    sqlite3_exec(raw, sql, NULL, NULL, &error);
    ck_assert_msg(error == NULL, "%s: %s", sql, error);
    sqlite3_close(raw);
}

static cp_clock_t soon(void)
{
    return cp_clock_after(apr_time_from_sec(20));
}

static void *connect_to(const cp_driver_t *driver)
{
    cp_error_t err = {0};
    void *conn = NULL;
    cp_sqlite_t *db;

    ck_assert_int_eq(cp_sqlite_create(&db, &config, pool), APR_SUCCESS);
    ck_assert_msg(driver->open(db, soon(), &conn, &err) == APR_SUCCESS, "%s",
                  err.detail);
    return conn;
}

static void leave(void *conn)
{
    cp_sqlite_reader.close(NULL, conn);
}

/* APR_EOF when all went well; the parameter :v, if there is one, is `value`. */
static apr_status_t run_with(void *conn, const char *sql,
                             const cp_value_t *value, cp_error_t *err)
{
    cp_statement_t *st;
    apr_status_t rv;

    memset(err, 0, sizeof(*err));
    rv = cp_statement_prepare(conn, sql, &st, err);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (value) {
        rv = cp_statement_bind(st, "v", value, err);
    }
    while (rv == APR_SUCCESS) {
        rv = cp_statement_step(st, err);
    }
    cp_statement_finish(st);
    return rv;
}

static void run_ok(void *conn, const char *sql)
{
    cp_error_t err;

    ck_assert_msg(run_with(conn, sql, NULL, &err) == APR_EOF, "%s: %s", sql,
                  err.detail);
}

static cp_value_t text(const char *data)
{
    return (cp_value_t){.storage = CP_TEXT, .as.bytes = {data, strlen(data)}};
}

static cp_value_t integer(apr_int64_t number)
{
    return (cp_value_t){.storage = CP_INTEGER, .as.integer = number};
}

/* --- hostile schemas --- */

/* Each is made by a program that has the functions, and used by ours. */
static const char *const hostile_objects[] = {
    "CREATE TABLE x(a CHECK (harm(a)))",
    "CREATE TABLE x(a CHECK (harm(a, 2)))",
    "CREATE TABLE x(a, b AS (harm(a)) STORED)",
    "CREATE TABLE x(a, b AS (harm(a)) VIRTUAL)",
    "CREATE TABLE x(a DEFAULT (harm(1)), b)",
    "CREATE TABLE x(a); CREATE INDEX i ON x(harm(a))",
    "CREATE TABLE x(a); CREATE INDEX i ON x(a) WHERE harm(a)",
    "CREATE TABLE x(a); CREATE TRIGGER g AFTER INSERT ON x BEGIN SELECT "
    "harm(new.a); END",
    "CREATE TABLE x(a); CREATE TRIGGER g AFTER INSERT ON x WHEN harm(1) BEGIN "
    "SELECT 1; END",
    "CREATE TABLE x(a); CREATE TRIGGER g BEFORE INSERT ON x BEGIN SELECT "
    "readfile('/etc/passwd'); SELECT edit('x'); END",
    "CREATE TABLE y(a); CREATE VIEW x AS SELECT harm(1) AS a",
    "CREATE TABLE y(a); CREATE VIEW x AS SELECT 1 AS a WHERE lower('A') = 'a'",
    "CREATE VIRTUAL TABLE x USING files('/etc/passwd')",
    "CREATE VIRTUAL TABLE z USING files('/etc/passwd'); CREATE VIEW x AS "
    "SELECT secret AS a FROM z",
    "CREATE VIRTUAL TABLE z USING files('/etc/passwd'); CREATE TABLE x(a); "
    "CREATE TRIGGER g AFTER INSERT ON x BEGIN SELECT secret FROM z; END",
};

static const char *const uses[] = {
    "SELECT * FROM x",
    "SELECT a FROM x WHERE a = 1",
    "INSERT INTO x(a) VALUES(1)",
    "INSERT INTO x DEFAULT VALUES",
    "UPDATE x SET a = 2",
    "DELETE FROM x",
};

START_TEST(hostile_schema_calls_nothing)
{
    cp_error_t err;
    void *conn;

    sqlite3_auto_extension((void (*)(void))register_harm);
    make_db(hostile_objects[_i]);
    make_db("CREATE TABLE good(a); INSERT INTO good VALUES(1)");
    harm_done = 0;
    conn = connect_to(&cp_sqlite_writer);
    for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++) {
        run_with(conn, uses[i], NULL, &err);
        ck_assert_msg(harm_done == 0, "%s: %s", hostile_objects[_i], uses[i]);
        if (err.cause) {
            ck_assert_ptr_null(strstr(err.cause, "damaged"));
            ck_assert_msg(err.cls == CP_ERR_REFUSED
                              || err.cls == CP_ERR_INTERNAL
                              || err.cls == CP_ERR_STORAGE,
                          "%s", cp_error_class_name(err.cls));
        }
    }
    /* It is not the neighbour's fault. */
    run_ok(conn, "SELECT a FROM good");
    run_ok(conn, "INSERT INTO good VALUES(2)");
    leave(conn);
    ck_assert_int_eq(harm_done, 0);
}
END_TEST

START_TEST(trusted_schema_has_what_its_process_offers)
{
    void *conn;

    sqlite3_auto_extension((void (*)(void))register_harm);
    make_db("CREATE TABLE x(a CHECK (harm(a)));"
            "CREATE VIRTUAL TABLE z USING files('/etc/passwd');"
            "CREATE VIEW v AS SELECT secret FROM z");
    config.is_trusted = 1;
    conn = connect_to(&cp_sqlite_writer);
    harm_done = 0;
    run_ok(conn, "INSERT INTO x VALUES(1)");
    ck_assert_int_eq(harm_done, 1);
    run_ok(conn, "SELECT * FROM v");
    leave(conn);
}
END_TEST

START_TEST(functions_marked_innocuous_stay)
{
    void *conn;

    sqlite3_auto_extension((void (*)(void))register_harm);
    make_db("CREATE TABLE x(a CHECK (harmless(a)))");
    conn = connect_to(&cp_sqlite_writer);
    harm_done = 0;
    run_ok(conn, "INSERT INTO x VALUES(1)");
    ck_assert_int_eq(harm_done, 1);
    leave(conn);
}
END_TEST

/* Whoever borrows the handle may register what he likes, for himself. */
START_TEST(what_a_borrower_registers_ends_with_the_release)
{
    cp_error_t err;
    void *conn;

    make_db("CREATE TABLE x(a)");
    conn = connect_to(&cp_sqlite_reader);
    sqlite3_create_function(cp_sqlite_handle(conn), "harm", 1, SQLITE_UTF8,
                            NULL, do_harm, NULL, NULL);
    run_ok(conn, "SELECT harm(1)");
    ck_assert_int_eq(harm_done, 1);
    ck_assert_int_eq(cp_sqlite_reader.reset(NULL, conn), APR_SUCCESS);
    ck_assert_int_ne(run_with(conn, "SELECT harm(1)", NULL, &err), APR_EOF);
    ck_assert_int_eq(harm_done, 1);
    leave(conn);
}
END_TEST

/* What needs no function of others. The schema is written as a hostile program
 * would, past all checks. */
static const char *const forged[] = {
    "CREATE VIEW x AS SELECT load_extension('/tmp/x.so') AS a",
    "CREATE VIEW x AS SELECT fts3_tokenizer('simple') AS a",
    "CREATE VIEW x AS SELECT hex(fts3_tokenizer('simple')) AS a",
    "CREATE VIEW x AS SELECT sql AS a FROM sqlite_stmt",
    "CREATE VIEW x AS SELECT data AS a FROM sqlite_dbpage",
    "CREATE VIEW x AS SELECT name AS a FROM dbstat",
    "CREATE VIEW x AS SELECT file AS a FROM pragma_database_list",
    "CREATE VIEW x AS SELECT * FROM pragma_journal_mode('delete')",
    "CREATE VIRTUAL TABLE x USING sqlite_stmt",
    "CREATE VIRTUAL TABLE x USING sqlite_dbpage",
    "CREATE VIRTUAL TABLE x USING dbstat",
    "CREATE VIRTUAL TABLE x USING pragma_database_list",
    "ATTACH '/tmp/connpool-never.db' AS x",
    "PRAGMA writable_schema=1",
    "CREATE TRIGGER x AFTER INSERT ON good BEGIN UPDATE sqlite_schema SET "
    "sql='x'; END",
    "CREATE TRIGGER x AFTER INSERT ON good BEGIN SELECT "
    "fts3_tokenizer('a', x'0102030405060708'); END",
    "CREATE TRIGGER x AFTER INSERT ON good BEGIN SELECT "
    "load_extension('/tmp/x.so'); END",
};

/* A row of the schema as a hostile program writes it, past all checks. */
static void forge(const char *type, const char *table, const char *sql)
{
    sqlite3_stmt *stmt;
    sqlite3 *raw;

    ck_assert_int_eq(sqlite3_open(path, &raw), SQLITE_OK);
    sqlite3_db_config(raw, SQLITE_DBCONFIG_DEFENSIVE, 0, NULL);
    sqlite3_exec(raw, "PRAGMA writable_schema=1", NULL, NULL, NULL);
    ck_assert_int_eq(
        sqlite3_prepare_v2(raw,
                           "INSERT INTO sqlite_schema VALUES(?1, 'x', ?3, 0, "
                           "?2)",
                           -1, &stmt, NULL),
        SQLITE_OK);
    sqlite3_bind_text(stmt, 1, type, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 2, sql, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 3, table, -1, SQLITE_STATIC);
    ck_assert_int_eq(sqlite3_step(stmt), SQLITE_DONE);
    sqlite3_finalize(stmt);
    sqlite3_close(raw);
}

START_TEST(forged_schema_is_powerless)
{
    static const char *const type_of[] = {"view", "table", "trigger"};
    const char *sql = forged[_i];
    int type = strstr(sql, "TRIGGER") ? 2 : strstr(sql, "VIEW") ? 0 : 1;
    cp_error_t err;
    apr_status_t rv;
    void *conn = NULL;
    cp_sqlite_t *db;

    make_db("PRAGMA journal_mode=WAL; CREATE TABLE good(a)");
    forge(type_of[type], type == 2 ? "good" : "x", sql);
    ck_assert_int_eq(cp_sqlite_create(&db, &config, pool), APR_SUCCESS);
    rv = cp_sqlite_writer.open(db, soon(), &conn, &err);
    if (rv == APR_SUCCESS) {
        rv = run_with(
            conn, type == 2 ? "INSERT INTO good VALUES(1)" : "SELECT * FROM x",
            NULL, &err);
        ck_assert_msg(rv != APR_EOF, "allowed: %s", sql);
        leave(conn);
    }
    ck_assert_ptr_nonnull(err.cause);
    ck_assert_int_ne(err.cls, CP_ERR_INPUT);
    ck_assert_int_eq(access("/tmp/connpool-never.db", F_OK), -1);
}
END_TEST

/* --- what is damage --- */

static const char *const later_schemas[] = {
    "CREATE TABLE x(a) FUTURE",
    "CREATE TABLE x(a, b AS (a) REMEMBERED)",
};

START_TEST(schema_of_a_later_version_is_not_damaged)
{
    cp_error_t err = {0};
    cp_sqlite_t *db;
    void *conn = NULL;

    make_db("CREATE TABLE good(a)");
    forge("table", "x", later_schemas[_i]);
    ck_assert_int_eq(cp_sqlite_create(&db, &config, pool), APR_SUCCESS);
    ck_assert_int_ne(cp_sqlite_reader.open(db, soon(), &conn, &err),
                     APR_SUCCESS);
    ck_assert_int_eq(err.cls, CP_ERR_STORAGE);
    ck_assert_ptr_null(strstr(err.cause, "damaged"));
    ck_assert_ptr_nonnull(strstr(err.cause, "schema"));
    ck_assert_ptr_nonnull(strstr(err.detail, sqlite3_libversion()));
}
END_TEST

/* An index, a check, a column with a function that only its program has. */
START_TEST(function_of_another_program_spoils_its_table_only)
{
    cp_error_t err = {0};
    void *conn;

    sqlite3_auto_extension((void (*)(void))register_harm);
    make_db("CREATE TABLE x(a); CREATE INDEX i ON x(harm(a));"
            "INSERT INTO x VALUES(1); CREATE TABLE good(a)");
    sqlite3_reset_auto_extension();
    conn = connect_to(&cp_sqlite_writer);
    run_ok(conn, "INSERT INTO good VALUES(1)");
    run_ok(conn, "SELECT a FROM x");
    run_with(conn, "INSERT INTO x VALUES(1)", NULL, &err);
    ck_assert_int_eq(err.cls, CP_ERR_STORAGE);
    ck_assert_ptr_null(strstr(err.cause, "damaged"));
    ck_assert_ptr_nonnull(strstr(err.detail, "harm"));
    leave(conn);
}
END_TEST

/* --- constraints --- */

typedef struct violation_t {
    const char *sql;
    cp_error_class_t cls;
    const char *constraint, *subject, *message;
} violation_t;

static const violation_t violations[] = {
    {"INSERT INTO t(id, mail) VALUES(1, 'b')", CP_ERR_CONFLICT, "primary_key",
     "t.id", ""},
    {"INSERT INTO t(mail) VALUES('a')", CP_ERR_CONFLICT, "unique", "t.mail",
     ""},
    {"INSERT INTO w VALUES(1, 1)", CP_ERR_CONFLICT, "primary_key", "w.a, w.b",
     ""},
    {"INSERT INTO t(mail, low) VALUES('c', 'X')", CP_ERR_CONFLICT, "unique",
     "t_low", ""},
    {"INSERT INTO c VALUES(9)", CP_ERR_CONFLICT, "foreign_key", "", ""},
    {"DELETE FROM t WHERE id = 1", CP_ERR_CONFLICT, "foreign_key", "", ""},
    {"INSERT INTO t(mail) VALUES(NULL)", CP_ERR_INPUT, "not_null", "t.mail",
     ""},
    {"INSERT INTO t(mail, n) VALUES('d', -1)", CP_ERR_INPUT, "check", "", ""},
    {"INSERT INTO t(mail, n) VALUES('d', 99)", CP_ERR_INPUT, "check",
     "not_too_many", ""},
    {"INSERT INTO s VALUES('x')", CP_ERR_INPUT, "datatype", "s.n", ""},
    {"INSERT INTO t(mail, n) VALUES('d', 13)", CP_ERR_INPUT, "trigger", "",
     "13 brings bad luck"},
    {"INSERT INTO r VALUES(1, 5, 2)", CP_ERR_INPUT, "check", "", ""},
    {"INSERT INTO r VALUES(7, 1, 2)", CP_ERR_CONFLICT, "unique", "r.id", ""},
    {"INSERT INTO f(rowid, x) VALUES(1, 'a')", CP_ERR_CONFLICT, "primary_key",
     "", ""},
};

START_TEST(violations_are_told_by_kind)
{
    const violation_t *v = &violations[_i];
    cp_error_t err;
    void *conn;

    make_db("CREATE TABLE t(id INTEGER PRIMARY KEY, mail TEXT NOT NULL UNIQUE,"
            " low TEXT, n CHECK (n >= 0),"
            " CONSTRAINT not_too_many CHECK (n < 50));"
            "CREATE UNIQUE INDEX t_low ON t(lower(low));"
            "CREATE TABLE w(a, b, PRIMARY KEY(a, b)) WITHOUT ROWID;"
            "CREATE TABLE c(t REFERENCES t);"
            "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1);"
            "CREATE TRIGGER g BEFORE INSERT ON t WHEN new.n = 13 BEGIN "
            "SELECT RAISE(ABORT, '13 brings bad luck'); END;"
            "INSERT INTO t VALUES(1, 'a', 'x', 1); INSERT INTO w VALUES(1, 1);"
            "INSERT INTO c VALUES(1); INSERT INTO r VALUES(7, 1, 2);"
            "CREATE VIRTUAL TABLE f USING fts5(x); INSERT INTO f VALUES('a')");
    if (sqlite3_libversion_number() >= 3037000) {
        make_db("CREATE TABLE s(n INTEGER) STRICT");
    }
    else if (strcmp(v->constraint, "datatype") == 0) {
        return;
    }
    conn = connect_to(&cp_sqlite_writer);
    ck_assert_int_ne(run_with(conn, v->sql, NULL, &err), APR_EOF);
    ck_assert_msg(err.cls == v->cls, "%s: %s", v->sql,
                  cp_error_class_name(err.cls));
    ck_assert_str_eq(err.constraint, v->constraint);
    ck_assert_str_eq(err.subject, v->subject);
    ck_assert_str_eq(err.message, v->message);
    leave(conn);
}
END_TEST

START_TEST(deferred_reference_fails_at_the_commit)
{
    cp_error_t err = {0};
    void *conn;

    make_db("CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p "
            "REFERENCES p DEFERRABLE INITIALLY DEFERRED)");
    conn = connect_to(&cp_sqlite_writer);
    ck_assert_int_eq(cp_sqlite_begin(conn, soon(), &err), APR_SUCCESS);
    run_ok(conn, "INSERT INTO c VALUES(3)");
    ck_assert_int_ne(cp_sqlite_commit(conn, &err), APR_SUCCESS);
    ck_assert_int_eq(err.cls, CP_ERR_CONFLICT);
    ck_assert_str_eq(err.constraint, "foreign_key");
    leave(conn);
}
END_TEST

START_TEST(reference_to_nothing_is_explained)
{
    static const char *const schemas[] = {
        "CREATE TABLE c(p REFERENCES nowhere)",
        "CREATE TABLE p(a, b); CREATE TABLE c(p REFERENCES p(b))",
    };
    cp_error_t err;
    void *conn;

    for (size_t i = 0; i < 2; i++) {
        make_db(schemas[i]);
        conn = connect_to(&cp_sqlite_writer);
        ck_assert_int_ne(run_with(conn, "INSERT INTO c VALUES(3)", NULL, &err),
                         APR_EOF);
        ck_assert_int_eq(err.cls, CP_ERR_STORAGE);
        ck_assert_ptr_nonnull(strstr(err.detail, "foreign_keys=off"));
        leave(conn);
        unlink(path);
    }
}
END_TEST

/* Compiled anew because of a schema that changed, a statement may meet what is
 * refused; the next one has nothing to do with it. */
START_TEST(refusal_does_not_stay)
{
    cp_error_t err = {0};
    cp_statement_t *bad, *good;
    void *conn;

    sqlite3_auto_extension((void (*)(void))register_harm);
    make_db("PRAGMA journal_mode=WAL; CREATE TABLE x(a); CREATE TABLE y(a);"
            "INSERT INTO x VALUES(1); CREATE VIEW v AS SELECT a FROM x");
    conn = connect_to(&cp_sqlite_reader);
    ck_assert_int_eq(cp_statement_prepare(conn, "SELECT a FROM v", &bad, &err),
                     APR_SUCCESS);
    ck_assert_int_eq(
        cp_statement_prepare(conn, "SELECT max(a) FROM x", &good, &err),
        APR_SUCCESS);
    make_db("DROP VIEW v; CREATE VIEW v AS SELECT harm(a) AS a FROM x");
    harm_done = 0;
    ck_assert_int_ne(cp_statement_step(bad, &err), APR_SUCCESS);
    ck_assert_int_eq(err.cls, CP_ERR_STORAGE);
    ck_assert_ptr_nonnull(strstr(err.detail, "schema=trusted"));
    ck_assert_int_eq(cp_statement_step(good, &err), APR_SUCCESS);
    cp_statement_finish(bad);
    cp_statement_finish(good);
    run_ok(conn, "SELECT min(a) FROM x");
    leave(conn);
    ck_assert_int_eq(harm_done, 0);
}
END_TEST

START_TEST(foreign_keys_can_be_left_alone)
{
    void *conn;

    make_db("CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p "
            "REFERENCES p)");
    config.foreign_keys = 0;
    conn = connect_to(&cp_sqlite_writer);
    run_ok(conn, "INSERT INTO c VALUES(3)");
    leave(conn);
}
END_TEST

/* --- whose fault --- */

typedef struct fault_t {
    const char *sql;
    const char *value; /* text of :v; NULL: none */
    cp_error_class_t cls;
} fault_t;

#define OURS   CP_ERR_INTERNAL
#define THEIRS CP_ERR_INPUT
#define LONG_PATTERN                                                           \
    "%aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const fault_t text_faults[] = {
    /* Without a value. */
    {"SELECT sum(big) FROM t", NULL, OURS},
    {"SELECT json_extract(doc, '$.a') FROM t", NULL, OURS},
    {"SELECT abs(low) FROM t", NULL, OURS},
    {"INSERT INTO j(doc) SELECT doc FROM t", NULL, OURS},
    {"SELECT 'a' LIKE pattern FROM t", NULL, OURS},
    /* With one that only chooses. */
    {"SELECT json_extract(doc, '$.a') FROM t WHERE name = :v", "bad", OURS},
    {"SELECT json_extract(doc, :v) FROM t", "$.a", OURS},
    {"SELECT doc ->> '$.a' FROM t WHERE name = :v", "bad", OURS},
    {"SELECT doc -> :v FROM t", "$.a", OURS},
    {"SELECT sum(big) FROM t WHERE name <> :v", "none", OURS},
    {"SELECT sum(big), :v FROM t", "x", OURS},
    {"SELECT abs(low) FROM t WHERE name = :v", "bad", OURS},
    {"SELECT json_each.value FROM t, json_each(t.doc) WHERE name = :v", "bad",
     OURS},
    {"SELECT :v LIKE pattern FROM t", "x", OURS},
    {"UPDATE t SET doc = json_set(doc, '$.a', :v)", "x", OURS},
    {"INSERT INTO n(a) VALUES(:v)", "x", OURS},
    {"INSERT INTO t(id) SELECT name FROM t WHERE name = :v", "bad", OURS},
    {"SELECT json_extract(doc, '$.a') FROM t WHERE json_valid(:v) = 0", "{",
     OURS},
    {"SELECT json_extract((SELECT doc FROM t WHERE name = :v), '$.a') FROM t",
     "bad", OURS},
    {"SELECT doc > :v, json_type(doc) FROM t", "x", OURS},
    /* That are wrong by themselves. */
    {"SELECT json_extract(:v, '$.a')", "{", THEIRS},
    {"SELECT json(:v)", "nonsense", THEIRS},
    {"SELECT value FROM json_each(:v)", "[1", THEIRS},
    {"SELECT :v -> '$.a' FROM t", "{", THEIRS},
    {"SELECT json_extract('{}', :v)", "nonsense", THEIRS},
    {"SELECT json_extract(good, :v) FROM t", "nonsense", THEIRS},
    {"SELECT good ->> :v FROM t", "$x", THEIRS},
    {"SELECT json_extract(good, '$.' || :v) FROM t", "[", THEIRS},
    {"UPDATE t SET good = json(:v)", "{", THEIRS},
    {"UPDATE t SET good = json_patch(good, :v)", "{", THEIRS},
    {"SELECT json_set(good, '$.a', json(:v)) FROM t", "{", THEIRS},
    {"INSERT INTO j(doc) VALUES(:v)", "{", THEIRS},
    {"UPDATE j SET doc = :v", "{", THEIRS},
    {"INSERT INTO j(doc) VALUES(:v) RETURNING doc", "{", THEIRS},
    {"INSERT INTO k(doc) VALUES(:v)", "{", THEIRS},
    {"INSERT INTO g(doc) VALUES(:v) RETURNING a", "{", THEIRS},
    {"SELECT * FROM f WHERE f MATCH :v", "\"", THEIRS},
    {"SELECT * FROM f WHERE f MATCH :v", "nowhere:x", THEIRS},
    {"SELECT * FROM f(:v)", "AND", THEIRS},
    {"SELECT * FROM f WHERE f = :v", "(", THEIRS},
    {"SELECT * FROM f WHERE f MATCH '\"' || :v || '\"'", "\"", THEIRS},
    {"SELECT t.id FROM t JOIN f ON f.rowid = t.id WHERE f MATCH :v", "*",
     THEIRS},
    {"SELECT * FROM f4 WHERE f4 MATCH :v", "\"a (", THEIRS},
    {"SELECT name FROM t WHERE name LIKE :v", LONG_PATTERN, THEIRS},
    {"SELECT name FROM t WHERE name GLOB :v", LONG_PATTERN, THEIRS},
    {"INSERT INTO t(id, name) VALUES(:v, 'x')", "seven", THEIRS},
    {"UPDATE t SET id = :v", "seven", THEIRS},
    {"SELECT name FROM t LIMIT :v", "seven", THEIRS},
};

START_TEST(only_values_are_the_clients_fault)
{
    const fault_t *fault = &text_faults[_i];
    cp_value_t value = fault->value ? text(fault->value) : text("");
    cp_error_t err;
    apr_status_t rv;
    void *conn;

    if (strstr(fault->sql, "->") && sqlite3_libversion_number() < 3038000) {
        return;
    }
    sqlite3_auto_extension((void (*)(void))register_harm);
    make_db("CREATE TABLE n(a CHECK (harm(a)));"
            "CREATE TABLE t(id INTEGER PRIMARY KEY, name, doc, good, big, low,"
            " pattern);"
            "INSERT INTO t VALUES(1, 'bad', '{', '{}', 9223372036854775807,"
            " -9223372036854775808, '" LONG_PATTERN "');"
            "INSERT INTO t VALUES(2, 'also', '{', '{}', 9223372036854775807,"
            " -9223372036854775808, '" LONG_PATTERN "');"
            "CREATE TABLE j(doc); CREATE INDEX i ON j(json_extract(doc, "
            "'$.a')); INSERT INTO j VALUES('{}');"
            "CREATE TABLE k(doc); CREATE TABLE log(a); CREATE TRIGGER kt AFTER "
            "INSERT ON k BEGIN INSERT INTO log VALUES(json_extract(new.doc, "
            "'$.a')); END;"
            "CREATE TABLE g(doc, a AS (json_extract(doc, '$.a')));"
            "CREATE VIRTUAL TABLE f USING fts5(x);"
            "CREATE VIRTUAL TABLE f4 USING fts4(x);"
            "INSERT INTO f VALUES('one'); INSERT INTO f4 VALUES('one')");
    conn = connect_to(&cp_sqlite_writer);
    rv = run_with(conn, fault->sql, fault->value ? &value : NULL, &err);
    ck_assert_msg(rv != APR_EOF, "did not fail: %s", fault->sql);
    ck_assert_msg(err.cls == fault->cls, "%s: %s (%s)", fault->sql,
                  cp_error_class_name(err.cls), err.detail);
    leave(conn);
}
END_TEST

START_TEST(least_integer_is_the_clients_where_it_comes_from_there)
{
    cp_value_t least = integer(INT64_MIN);
    cp_error_t err;
    void *conn;

    make_db("CREATE TABLE t(a); INSERT INTO t VALUES(-9223372036854775808)");
    conn = connect_to(&cp_sqlite_reader);
    run_with(conn, "SELECT abs(:v) FROM t", &least, &err);
    ck_assert_int_eq(err.cls, THEIRS);
    run_with(conn, "SELECT abs(a) FROM t WHERE a = :v", &least, &err);
    ck_assert_int_eq(err.cls, OURS);
    leave(conn);
}
END_TEST

/* --- the log --- */

START_TEST(values_in_lines_are_cut_and_printable)
{
    char *large = malloc(100001);
    cp_value_t value;
    cp_error_t err;
    void *conn;

    memset(large, 'x', 100000);
    large[100000] = '\0';
    memcpy(large, "a.a\n\r\t\x1b[31m", 11);
    make_db("CREATE TABLE t(a)");
    conn = connect_to(&cp_sqlite_reader);
    value = text(large);
    run_with(conn, "SELECT json_extract('{}', :v)", &value, &err);
    ck_assert_int_eq(err.cls, THEIRS);
    ck_assert_uint_lt(strlen(err.detail), 320);
    ck_assert_ptr_nonnull(strstr(err.detail, path));
    for (const char *c = err.detail; *c; c++) {
        ck_assert_int_ge(*c, ' ');
    }
    leave(conn);
    free(large);
}
END_TEST

/* --- memory --- */

static void fill(void *conn)
{
    run_ok(conn, "SELECT sum(length(a)) FROM t");
}

START_TEST(memory_is_that_of_our_connections)
{
    uint64_t before = cp_sqlite_memory_used();
    sqlite3 *foreign;
    void *conn;

    make_db("CREATE TABLE t(a); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
            "SELECT i+1 FROM n WHERE i<2000) INSERT INTO t SELECT "
            "randomblob(1000) FROM n");
    ck_assert_int_eq(sqlite3_open(path, &foreign), SQLITE_OK);
    sqlite3_exec(foreign,
                 "PRAGMA cache_size=-16000; SELECT sum(length(a)) "
                 "FROM t",
                 NULL, NULL, NULL);
    ck_assert_uint_eq(cp_sqlite_memory_used(), before);
    conn = connect_to(&cp_sqlite_reader);
    ck_assert_uint_gt(cp_sqlite_memory_used(), before);
    fill(conn);
    cp_sqlite_reader.reset(NULL, conn);
    ck_assert_uint_gt(cp_sqlite_memory_used(), before + 300 * 1024);
    cp_sqlite_shrink(conn);
    ck_assert_uint_lt(cp_sqlite_memory_used(), before + 100 * 1024);
    leave(conn);
    ck_assert_uint_eq(cp_sqlite_memory_used(), before);
    sqlite3_close(foreign);
}
END_TEST

/* --- names of columns --- */

START_TEST(nameless_columns_are_found)
{
    static const struct {
        const char *sql, *nameless;
    } cases[] = {
        {"SELECT count(*) FROM t", "count(*)"},
        {"SELECT a, count(*), b FROM t", "count(*)"},
        {"SELECT a+b FROM t", "a+b"},
        {"SELECT 1", "1"},
        {"SELECT 1.5", "1.5"},
        {"SELECT 'x'", "'x'"},
        {"SELECT NULL", "NULL"},
        {"SELECT :v", ":v"},
        {"SELECT CASE WHEN a THEN b ELSE c END FROM t",
         "CASE WHEN a THEN b ELSE c END"},
        {"SELECT (SELECT max(b) AS m FROM u) FROM t",
         "(SELECT max(b) AS m FROM u)"},
        {"SELECT a COLLATE nocase FROM t", "a COLLATE nocase"},
        {"SELECT a IS NULL FROM t", "a IS NULL"},
        {"SELECT sum(a) OVER w FROM t WINDOW w AS ()", "sum(a) OVER w"},
        {"SELECT doc ->> '$.a' FROM t", "doc ->> '$.a'"},
        {"WITH x AS (SELECT 1) SELECT max(a) FROM x", "max(a)"},
        {"INSERT INTO t SELECT count(*) FROM u RETURNING a, b + 1", "b + 1"},
        {"INSERT INTO t SELECT count(*) FROM u", NULL},
        {"UPDATE t SET a = a + 1 RETURNING a", NULL},
        {"SELECT * FROM t", NULL},
        {"SELECT t.*, s.t.a, [b c] FROM t", NULL},
        {"SELECT DISTINCT a FROM t", NULL},
        {"SELECT count(*) AS n, max(a) m, min(a) [least] FROM t", NULL},
        {"SELECT CASE WHEN a THEN b END c FROM t", NULL},
        {"SELECT strftime('%Y, %m', d) AS y FROM t", NULL},
        {"SELECT a FROM t UNION SELECT count(*) FROM u", NULL},
        {"VALUES (1, 2)", NULL},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cp_sql_shape_t shape;
        apr_size_t size = 0;
        const char *found;

        ck_assert_ptr_null(cp_sql_scan(pool, cases[i].sql, &shape));
        found = cp_sql_nameless(cases[i].sql, &shape, &size);
        ck_assert_msg(!found == !cases[i].nameless, "%s", cases[i].sql);
        if (found) {
            ck_assert_str_eq(apr_pstrndup(pool, found, size),
                             cases[i].nameless);
        }
    }
}
END_TEST

/* --- files that may not be written --- */

START_TEST(immutable_file_needs_no_log)
{
    cp_error_t err = {0};
    cp_sqlite_t *db;
    void *conn = NULL;

    path = apr_pstrcat(pool, dir, "/a %41?b#.db", NULL);
    config.path = path;
    make_db("PRAGMA journal_mode=WAL; CREATE TABLE t(a);"
            "INSERT INTO t VALUES(1); PRAGMA wal_checkpoint(TRUNCATE)");
    config.is_readonly = config.is_immutable = 1;
    conn = connect_to(&cp_sqlite_reader);
    run_ok(conn, "SELECT a FROM t");
    ck_assert_int_ne(access(apr_pstrcat(pool, path, "-shm", NULL), F_OK), 0);
    leave(conn);
    ck_assert_int_eq(cp_sqlite_create(&db, &config, pool), APR_SUCCESS);
    ck_assert_int_ne(cp_sqlite_writer.open(db, soon(), &conn, &err),
                     APR_SUCCESS);
}
END_TEST

/* --- temporary files --- */

static sqlite3_vfs shim;
static sqlite3_vfs *real_vfs;
static int temporary_fails; /* with this code; 0: not */

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file,
                     int flags, int *pflags)
{
    if (temporary_fails && (flags & SQLITE_OPEN_DELETEONCLOSE)) {
        file->pMethods = NULL;
        return temporary_fails;
    }
    return real_vfs->xOpen(real_vfs, name, file, flags, pflags);
}

static const int temporary_codes[] = {
    SQLITE_FULL, SQLITE_CANTOPEN, SQLITE_IOERR_GETTEMPPATH, SQLITE_IOERR_WRITE};

#define ROWS                                                                   \
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT "    \
    "3000) SELECT i, hex(randomblob(500)) AS x FROM n ORDER BY x"

START_TEST(log_names_the_directory_of_temporary_files)
{
    cp_error_t err;
    void *conn;

    make_db("CREATE TABLE t(a)");
    real_vfs = sqlite3_vfs_find(NULL);
    shim = *real_vfs;
    shim.zName = "shim";
    shim.pNext = NULL;
    shim.xOpen = shim_open;
    sqlite3_vfs_register(&shim, 1);
    config.cache = 16 * 1024;
    conn = connect_to(&cp_sqlite_reader);
    run_ok(conn, ROWS);
    temporary_fails = temporary_codes[_i];
    ck_assert_int_ne(run_with(conn, ROWS, NULL, &err), APR_EOF);
    temporary_fails = 0;
    ck_assert_int_eq(err.cls, CP_ERR_STORAGE);
    ck_assert_ptr_nonnull(strstr(err.cause, "temporary files"));
    ck_assert_ptr_null(strchr(err.cause, '/'));
    ck_assert_ptr_nonnull(strstr(err.detail, "TMPDIR"));
    leave(conn);
    sqlite3_vfs_unregister(&shim);
}
END_TEST

#define COUNT(list) ((int)(sizeof(list) / sizeof((list)[0])))

Suite *schema_suite(void)
{
    Suite *suite = suite_create("schema");
    TCase *tc = tcase_create("schema");

    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 30);
    tcase_add_loop_test(tc, hostile_schema_calls_nothing, 0,
                        COUNT(hostile_objects));
    tcase_add_test(tc, trusted_schema_has_what_its_process_offers);
    tcase_add_test(tc, functions_marked_innocuous_stay);
    tcase_add_test(tc, what_a_borrower_registers_ends_with_the_release);
    tcase_add_loop_test(tc, forged_schema_is_powerless, 0, COUNT(forged));
    tcase_add_loop_test(tc, schema_of_a_later_version_is_not_damaged, 0,
                        COUNT(later_schemas));
    tcase_add_test(tc, function_of_another_program_spoils_its_table_only);
    tcase_add_loop_test(tc, violations_are_told_by_kind, 0, COUNT(violations));
    tcase_add_test(tc, deferred_reference_fails_at_the_commit);
    tcase_add_test(tc, reference_to_nothing_is_explained);
    tcase_add_test(tc, refusal_does_not_stay);
    tcase_add_test(tc, foreign_keys_can_be_left_alone);
    tcase_add_loop_test(tc, only_values_are_the_clients_fault, 0,
                        COUNT(text_faults));
    tcase_add_test(tc, least_integer_is_the_clients_where_it_comes_from_there);
    tcase_add_test(tc, values_in_lines_are_cut_and_printable);
    tcase_add_test(tc, memory_is_that_of_our_connections);
    tcase_add_test(tc, nameless_columns_are_found);
    tcase_add_loop_test(tc, log_names_the_directory_of_temporary_files, 0,
                        COUNT(temporary_codes));
    tcase_add_test(tc, immutable_file_needs_no_log);
    suite_add_tcase(suite, tc);
    return suite;
}
