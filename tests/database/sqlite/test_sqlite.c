/* SPDX-License-Identifier: Apache-2.0
 * Real files, real locks, real processes. */
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_global_mutex.h>
#include <apr_strings.h>
#include <sqlite3.h>

#include "database/sqlite/sqlite.h"
#include "scratch.h"
#include "suites.h"

#define MS(n) apr_time_from_msec(n)

/* It does not know that a lock whose owner died is held by the next one. */
#ifdef __SANITIZE_THREAD__
#define IS_THREAD_SANITIZER 1
#else
#define IS_THREAD_SANITIZER 0
#endif

static apr_pool_t *pool;
static char dir[SCRATCH_SIZE];
static const char *path; /* of the database of the test */
static cp_sqlite_config_t config;

/* --- fixture --- */

static void set_up(void)
{
    apr_pool_create(&pool, NULL);
    scratch_make(dir);
    path = apr_pstrcat(pool, dir, "/x.db", NULL);
    config = scratch_config(path);
}

static void tear_down(void)
{
    scratch_remove(dir);
    apr_pool_destroy(pool);
}

/* Slow tools (valgrind, sanitizers) say so in check's own variable. */
static apr_interval_time_t patience(int milliseconds)
{
    const char *factor = getenv("CK_TIMEOUT_MULTIPLIER");

    return (apr_interval_time_t)((factor ? atof(factor) : 1)
                                 * (double)MS(milliseconds));
}

static int count_from_env(const char *name, int otherwise)
{
    const char *value = getenv(name);

    return value ? atoi(value) : otherwise;
}

static cp_clock_t soon(void)
{
    return cp_clock_after(patience(10000));
}

/* --- what another program does: a raw handle, no hardening --- */

static sqlite3 *raw_open(void)
{
    sqlite3 *raw;

    ck_assert_int_eq(sqlite3_open(path, &raw), SQLITE_OK);
    return raw;
}

static void raw_exec(sqlite3 *raw, const char *sql)
{
    int rc = sqlite3_exec(raw, sql, NULL, NULL, NULL);

    ck_assert_msg(rc == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(raw));
}

static void make_db(const char *sql)
{
    sqlite3 *raw = raw_open();

    raw_exec(raw, sql);
    sqlite3_close(raw);
}

static const char *raw_text(const char *sql)
{
    sqlite3 *raw = raw_open();
    sqlite3_stmt *stmt;
    const char *text;

    ck_assert_int_eq(sqlite3_prepare_v2(raw, sql, -1, &stmt, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
    text = apr_pstrdup(pool, (const char *)sqlite3_column_text(stmt, 0));
    sqlite3_finalize(stmt);
    sqlite3_close(raw);
    return text;
}

static void write_file(const char *name, const void *data, size_t size)
{
    FILE *file = fopen(name, "wb");

    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(data, 1, size, file), size);
    fclose(file);
}

static char *read_whole(const char *name, size_t *size)
{
    struct stat st;
    FILE *file = fopen(name, "rb");
    char *data;

    ck_assert_ptr_nonnull(file);
    fstat(fileno(file), &st);
    *size = (size_t)st.st_size;
    data = malloc(*size + 1);
    ck_assert_uint_eq(fread(data, 1, *size, file), *size);
    fclose(file);
    return data;
}

static apr_off_t size_of(const char *suffix)
{
    struct stat st;

    return stat(apr_pstrcat(pool, path, suffix, NULL), &st) == 0 ? st.st_size
                                                                 : -1;
}

/* --- what the server does --- */

static cp_sqlite_t *make(void)
{
    cp_sqlite_t *db;

    ck_assert_int_eq(cp_sqlite_create(&db, &config, pool), APR_SUCCESS);
    return db;
}

static void *connect_to(const cp_driver_t *driver, cp_sqlite_t *db)
{
    cp_error_t err = {0};
    void *conn = NULL;
    apr_status_t rv = driver->open(db, soon(), &conn, &err);

    ck_assert_msg(rv == APR_SUCCESS, "%s", err.detail);
    return conn;
}

static void *reader(cp_sqlite_t *db)
{
    return connect_to(&cp_sqlite_reader, db);
}

static void *writer(cp_sqlite_t *db)
{
    return connect_to(&cp_sqlite_writer, db);
}

static void leave(void *conn)
{
    cp_sqlite_reader.close(NULL, conn);
}

/* Runs to the end; APR_EOF when all went well. */
static apr_status_t run(void *conn, const char *sql, cp_error_t *err)
{
    cp_statement_t *st;
    apr_status_t rv;

    memset(err, 0, sizeof(*err));
    rv = cp_statement_prepare(conn, sql, &st, err);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    do {
        rv = cp_statement_step(st, err);
    } while (rv == APR_SUCCESS);
    cp_statement_finish(st);
    return rv;
}

static void run_ok(void *conn, const char *sql)
{
    cp_error_t err;
    apr_status_t rv = run(conn, sql, &err);

    ck_assert_msg(rv == APR_EOF, "%s: %s", sql, err.detail);
}

static void run_fails(void *conn, const char *sql, cp_error_class_t cls)
{
    cp_error_t err;
    apr_status_t rv = run(conn, sql, &err);

    ck_assert_msg(rv != APR_EOF, "was allowed: %s", sql);
    ck_assert_msg(err.cls == cls, "%s: %s, expected %s (%s)", sql,
                  cp_error_class_name(err.cls), cp_error_class_name(cls),
                  err.detail);
    ck_assert_ptr_null(strchr(err.cause, '/'));
}

static cp_statement_t *prepare(void *conn, const char *sql)
{
    cp_error_t err = {0};
    cp_statement_t *st;

    ck_assert_msg(cp_statement_prepare(conn, sql, &st, &err) == APR_SUCCESS,
                  "%s: %s", sql, err.detail);
    return st;
}

static apr_status_t step(cp_statement_t *st)
{
    cp_error_t err = {0};

    return cp_statement_step(st, &err);
}

static apr_int64_t number(void *conn, const char *sql)
{
    cp_statement_t *st = prepare(conn, sql);
    cp_value_t value;

    ck_assert_int_eq(step(st), APR_SUCCESS);
    cp_statement_row(st, &value);
    ck_assert_int_eq(value.storage, CP_INTEGER);
    cp_statement_finish(st);
    return value.as.integer;
}

static void write_ok(void *conn, const char *sql)
{
    cp_error_t err = {0};

    ck_assert_msg(cp_sqlite_begin(conn, soon(), &err) == APR_SUCCESS, "%s",
                  err.detail);
    run_ok(conn, sql);
    ck_assert_msg(cp_sqlite_commit(conn, &err) == APR_SUCCESS, "%s",
                  err.detail);
}

static apr_global_mutex_t *make_lock(void)
{
    apr_global_mutex_t *lock;

    ck_assert_int_eq(apr_global_mutex_create(
                         &lock, apr_pstrcat(pool, dir, "/lock", NULL),
                         count_from_env("CP_TEST_LOCK", APR_LOCK_DEFAULT),
                         pool),
                     APR_SUCCESS);
    return lock;
}

/* A process of its own; what it leaves is told by its exit status. */
static pid_t start(void (*work)(void *), void *data)
{
    pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        work(data);
        _exit(0);
    }
    return pid;
}

static void await(pid_t pid)
{
    int status = -1;

    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
                  "a child ended with status %#x", status);
}

/* --- opening --- */

static void open_fails(const cp_driver_t *driver)
{
    cp_error_t err = {0};
    void *conn = &err;
    apr_status_t rv = driver->open(make(), soon(), &conn, &err);

    ck_assert_int_ne(rv, APR_SUCCESS);
    ck_assert_ptr_null(conn);
    ck_assert_int_eq(err.cls, CP_ERR_STORAGE);
    ck_assert_ptr_nonnull(err.cause);
    ck_assert_ptr_null(strchr(err.cause, '/'));
    ck_assert_ptr_nonnull(strstr(err.detail, path));
}

static void both_opens_fail(void)
{
    open_fails(&cp_sqlite_reader);
    open_fails(&cp_sqlite_writer);
}

static apr_size_t memory_of(void *conn)
{
    cp_sqlite_weight_t sum = {0};

    cp_sqlite_weigh(conn, &sum);
    return sum.cache + sum.schema + sum.statements;
}

START_TEST(missing_file_is_a_storage_error)
{
    both_opens_fail();
    ck_assert_int_eq(size_of(""), -1);
}
END_TEST

START_TEST(directory_is_a_storage_error)
{
    config.path = path = apr_pstrdup(pool, dir);
    both_opens_fail();
}
END_TEST

START_TEST(named_pipe_is_refused_at_once)
{
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    both_opens_fail();
}
END_TEST

START_TEST(garbage_is_a_storage_error)
{
    char garbage[8192];

    memset(garbage, 'x', sizeof(garbage));
    write_file(path, garbage, sizeof(garbage));
    both_opens_fail();
}
END_TEST

START_TEST(empty_file_is_a_storage_error_and_stays_empty)
{
    write_file(path, "", 0);
    both_opens_fail();
    ck_assert_int_eq(size_of(""), 0);
}
END_TEST

START_TEST(cut_header_is_a_storage_error)
{
    make_db("CREATE TABLE t(a)");
    ck_assert_int_eq(truncate(path, 50), 0);
    both_opens_fail();
}
END_TEST

START_TEST(cut_file_is_a_storage_error_and_spoils_the_connection)
{
    cp_error_t err = {0};
    void *conn = NULL;
    apr_status_t rv;

    make_db("CREATE TABLE t(a); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
            "SELECT i+1 FROM n WHERE i<5000) INSERT INTO t SELECT "
            "randomblob(100) FROM n");
    config.is_readonly = 1;
    ck_assert_int_eq(truncate(path, 20 * 4096), 0);
    rv = cp_sqlite_reader.open(make(), soon(), &conn, &err);
    if (rv == APR_SUCCESS) {
        rv = run(conn, "SELECT sum(length(a)) FROM t", &err);
        ck_assert_int_ne(rv, APR_EOF);
        ck_assert_int_ne(cp_sqlite_reader.reset(NULL, conn), APR_SUCCESS);
        leave(conn);
    }
    ck_assert_int_eq(err.cls, CP_ERR_STORAGE);
    ck_assert_ptr_null(strchr(err.cause, '/'));
}
END_TEST

START_TEST(file_that_comes_back_is_opened)
{
    cp_sqlite_t *db = make();
    cp_error_t err = {0};
    void *conn;

    ck_assert_int_ne(cp_sqlite_reader.open(db, soon(), &conn, &err),
                     APR_SUCCESS);
    make_db("CREATE TABLE t(a); INSERT INTO t VALUES(7)");
    conn = reader(db);
    ck_assert_int_eq(number(conn, "SELECT a FROM t"), 7);
    leave(conn);
    ck_assert_str_eq(raw_text("PRAGMA journal_mode"), "wal");
}
END_TEST

START_TEST(first_connection_switches_to_wal_and_later_ones_do_not)
{
    cp_sqlite_t *db;
    void *first, *second;

    make_db("CREATE TABLE t(a)");
    ck_assert_str_eq(raw_text("PRAGMA journal_mode"), "delete");
    db = make();
    first = reader(db);
    ck_assert_str_eq(raw_text("PRAGMA journal_mode"), "wal");
    leave(first);
    /* Somebody changes their mind: it is not ours to fight about. */
    make_db("PRAGMA journal_mode=DELETE");
    second = reader(db);
    leave(second);
    ck_assert_str_eq(raw_text("PRAGMA journal_mode"), "delete");
}
END_TEST

START_TEST(readonly_touches_nothing)
{
    cp_sqlite_t *db;
    cp_error_t err = {0};
    size_t size, size_after;
    char *before, *after;
    void *conn;

    make_db("CREATE TABLE t(a); INSERT INTO t VALUES(7)");
    before = read_whole(path, &size);
    config.is_readonly = 1;
    db = make();
    conn = reader(db);
    ck_assert_int_eq(number(conn, "SELECT a FROM t"), 7);
    ck_assert_int_eq(size_of("-wal"), -1);
    ck_assert_int_eq(size_of("-shm"), -1);
    leave(conn);
    ck_assert_int_ne(cp_sqlite_writer.open(db, soon(), &conn, &err),
                     APR_SUCCESS);
    ck_assert_int_eq(err.cls, CP_ERR_REFUSED);
    after = read_whole(path, &size_after);
    ck_assert_uint_eq(size, size_after);
    ck_assert_mem_eq(before, after, size);
    free(before);
    free(after);
}
END_TEST

enum {
    NOBODY = 65534
};

/* Root may write whatever its modes say. */
static void become_nobody(void)
{
    if (geteuid() == 0 && (setgid(NOBODY) != 0 || setuid(NOBODY) != 0)) {
        _exit(2);
    }
}

/* A process of its own: nobody stays nobody. */
static void use_unwritable_file(void *data)
{
    cp_error_t err = {0};
    void *conn = &err;
    cp_sqlite_t *db;
    void *first;

    become_nobody();
    db = make();
    first = reader(db);
    ck_assert_int_eq(number(first, "SELECT a FROM t"), 7);
    ck_assert_int_ne(cp_sqlite_writer.open(db, soon(), &conn, &err),
                     APR_SUCCESS);
    ck_assert_ptr_null(conn);
    ck_assert_int_eq(err.cls, CP_ERR_STORAGE);
    ck_assert_str_eq(err.cause, "the database cannot be written");
    ck_assert_ptr_nonnull(strstr(err.detail, path));
    ck_assert_ptr_nonnull(
        strstr(err.detail, apr_psprintf(pool, "user (uid %d)", geteuid())));
    leave(reader(db));
    ck_assert_int_eq(number(first, "SELECT a FROM t"), 7);
    leave(first);
}

/* SQLite itself opens such a file for reading without a word. */
START_TEST(file_that_cannot_be_written_has_readers_and_no_writer)
{
    static const char *const modes[] = {"DELETE", "WAL"};

    make_db(apr_psprintf(pool,
                         "PRAGMA journal_mode=%s; CREATE TABLE t(a);"
                         "INSERT INTO t VALUES(7)",
                         modes[_i]));
    ck_assert_int_eq(chmod(dir, 0777), 0);
    ck_assert_int_eq(chmod(path, 0444), 0);
    await(start(use_unwritable_file, NULL));
    /* It was the file, not its place or its user. */
    ck_assert_int_eq(chmod(path, 0666), 0);
    leave(writer(make()));
}
END_TEST

/* --- hardening --- */

static const char *const denied_everywhere[] = {
    "ATTACH '/tmp/connpool-never.db' AS a",
    "ATTACH ':memory:' AS a",
    "ATTACH '' AS a",
    "DETACH main",
    "DETACH temp",
    "SELECT load_extension('/lib/x.so')",
    "SELECT load_extension('/lib/x.so', 'entry')",
    "SELECT fts3_tokenizer('simple')",
    "SELECT fts3_tokenizer('simple', x'0102030405060708')",
    "SELECT hex(fts3_tokenizer('simple'))",
    "PRAGMA writable_schema=1",
    "PRAGMA writable_schema=ON",
    "PRAGMA journal_mode=DELETE",
    "PRAGMA journal_mode",
    "PRAGMA synchronous=OFF",
    "PRAGMA cache_size=1000000",
    "PRAGMA trusted_schema=1",
    "PRAGMA temp_store=2",
    "PRAGMA temp_store_directory='/tmp'",
    "PRAGMA query_only=0",
    "PRAGMA mmap_size=1000000000",
    "PRAGMA locking_mode=EXCLUSIVE",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "PRAGMA wal_autocheckpoint=1",
    "PRAGMA busy_timeout=100000",
    "PRAGMA schema_version=9",
    "PRAGMA user_version=9",
    "PRAGMA data_version=9",
    "PRAGMA database_list",
    "PRAGMA table_info(t)",
    "PRAGMA integrity_check",
    "PRAGMA hard_heap_limit=1",
    "PRAGMA soft_heap_limit=1",
    "PRAGMA optimize",
    "PRAGMA foreign_keys=0",
    "PRAGMA encoding",
    "PRAGMA compile_options",
    "SELECT sql FROM sqlite_stmt",
    "SELECT count(*) FROM sqlite_stmt",
    "SELECT (SELECT 1 FROM \"sqlite_stmt\")",
    "SELECT * FROM dbstat",
    "SELECT count(*) FROM dbstat('main', 1)",
    "CREATE TEMP TABLE x(a)",
    "CREATE TEMPORARY TABLE x AS SELECT 1",
    "CREATE TABLE temp.x(a)",
    "CREATE TEMP VIEW x AS SELECT 1",
    "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END",
    "CREATE VIRTUAL TABLE temp.x USING fts5(a)",
    "CREATE VIRTUAL TABLE x USING dbstat",
    "CREATE VIRTUAL TABLE temp.x USING sqlite_stmt",
    "BEGIN",
    "BEGIN IMMEDIATE",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT x",
    "RELEASE x",
    "EXPLAIN ATTACH 'x' AS y",
    NULL,
};

/* Compiled by other means, or denied only when they run. */
static const char *const fails_somehow[] = {
    "VACUUM INTO '/tmp/connpool-never.db'",
    "VACUUM",
    "SELECT * FROM pragma_table_info('t')",
    "SELECT * FROM pragma_database_list",
    "SELECT * FROM pragma_journal_mode",
    "UPDATE sqlite_schema SET sql='x'",
    "DELETE FROM sqlite_master",
    "SELECT * FROM sqlite_dbpage",
    "SELECT count(*) FROM sqlite_dbpage",
    "SELECT * FROM SQLITE_DBPAGE('main')",
    "INSERT INTO sqlite_dbpage VALUES(1, x'00')",
    "UPDATE sqlite_dbpage SET data=x'00'",
    "DROP TABLE sqlite_schema",
    "SELECT readfile('/etc/passwd')",
    "SELECT writefile('/tmp/connpool-never.db', 'x')",
    "SELECT edit('x')",
    "SELECT zeroblob(1000001)",
    NULL,
};

static void hostile_statements_fail(void *conn)
{
    cp_error_t err;

    for (const char *const *sql = denied_everywhere; *sql; sql++) {
        run_fails(conn, *sql, CP_ERR_REFUSED);
    }
    for (const char *const *sql = fails_somehow; *sql; sql++) {
        ck_assert_msg(run(conn, *sql, &err) != APR_EOF, "allowed: %s", *sql);
    }
    ck_assert_int_eq(access("/tmp/connpool-never.db", F_OK), -1);
    ck_assert_int_eq(number(conn, "SELECT count(*) FROM t"), 1);
}

START_TEST(hostile_statements_fail_on_a_reader)
{
    void *conn;

    make_db("CREATE TABLE t(a); INSERT INTO t VALUES(1)");
    conn = reader(make());
    hostile_statements_fail(conn);
    leave(conn);
}
END_TEST

START_TEST(hostile_statements_fail_on_a_writer)
{
    void *conn;

    make_db("CREATE TABLE t(a); INSERT INTO t VALUES(1)");
    conn = writer(make());
    hostile_statements_fail(conn);
    leave(conn);
    ck_assert_str_eq(raw_text("PRAGMA integrity_check"), "ok");
}
END_TEST

START_TEST(useful_statements_pass_the_authorizer)
{
    cp_sqlite_t *db;
    void *conn;

    make_db("CREATE TABLE t(a INTEGER PRIMARY KEY, b);"
            "CREATE VIRTUAL TABLE f5 USING fts5(x);"
            "CREATE VIRTUAL TABLE f4 USING fts4(x);"
            "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1)");
    db = make();
    conn = writer(db);
    write_ok(conn, "INSERT INTO t(b) VALUES(1) RETURNING a");
    write_ok(conn, "INSERT INTO f5 VALUES('one two')");
    write_ok(conn, "INSERT INTO f4 VALUES('one two')");
    write_ok(conn, "INSERT INTO r VALUES(1, 2, 3)");
    write_ok(conn, "UPDATE t SET b = b + 1 RETURNING b");
    write_ok(conn, "INSERT INTO t VALUES(1, 5) ON CONFLICT DO UPDATE SET b=3");
    leave(conn);
    conn = reader(db);
    ck_assert_int_eq(number(conn, "SELECT count(*) FROM f5('two')"), 1);
    ck_assert_int_eq(
        number(conn, "SELECT count(*) FROM f4 WHERE x MATCH 'one'"), 1);
    ck_assert_int_eq(number(conn, "SELECT count(*) FROM r WHERE x1 > 1"), 1);
    ck_assert_int_eq(number(conn, "SELECT b FROM t"), 3);
    ck_assert_int_eq(number(conn, "SELECT value FROM json_each('[4]')"), 4);
    run_ok(conn, "EXPLAIN QUERY PLAN SELECT * FROM t");
    leave(conn);
}
END_TEST

START_TEST(reader_cannot_write)
{
    static const char *const writes[] = {
        "INSERT INTO t VALUES(2)",
        "UPDATE t SET a=2",
        "DELETE FROM t",
        "CREATE TABLE u(a)",
        "DROP TABLE t",
        "REINDEX",
        "ANALYZE",
        "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
        NULL,
    };
    cp_error_t err = {0};
    void *conn;

    make_db("CREATE TABLE t(a); CREATE INDEX i ON t(a);"
            "INSERT INTO t VALUES(1)");
    conn = reader(make());
    for (const char *const *sql = writes; *sql; sql++) {
        run_fails(conn, *sql, CP_ERR_REFUSED);
    }
    ck_assert_int_ne(cp_sqlite_begin(conn, soon(), &err), APR_SUCCESS);
    /* Not even through the native handle. */
    ck_assert_int_eq(
        sqlite3_exec(cp_sqlite_handle(conn), writes[0], NULL, NULL, NULL)
            & 0xff,
        SQLITE_READONLY);
    leave(conn);
}
END_TEST

START_TEST(only_one_statement_is_taken)
{
    void *conn;

    make_db("CREATE TABLE t(a)");
    conn = reader(make());
    run_fails(conn, "SELECT 1; SELECT 2", CP_ERR_INTERNAL);
    run_fails(conn, "SELECT 1;; nonsense", CP_ERR_INTERNAL);
    run_fails(conn, "", CP_ERR_INTERNAL);
    run_fails(conn, " ; -- nothing", CP_ERR_INTERNAL);
    run_ok(conn, "SELECT 1;");
    run_ok(conn, "SELECT 1 ; ; /* done */ -- really");
    leave(conn);
}
END_TEST

START_TEST(error_in_the_schema_is_not_the_clients_fault)
{
    void *conn;

    make_db("CREATE TABLE t(a)");
    conn = reader(make());
    run_fails(conn, "SELECT * FROM nowhere", CP_ERR_STORAGE);
    run_fails(conn, "SELEC 1", CP_ERR_STORAGE);
    /* Nor is what fails without a value of the client's. */
    run_fails(conn, "SELECT abs(-9223372036854775807 - 1)", CP_ERR_INTERNAL);
    leave(conn);
}
END_TEST

/* --- statements --- */

static int count_prepared(void *conn)
{
    sqlite3_stmt *stmt = NULL;
    int count = 0;

    while ((stmt = sqlite3_next_stmt(cp_sqlite_handle(conn), stmt)) != NULL) {
        count++;
    }
    return count;
}

/* How often it ran since it was prepared; -1 when it is not. */
static int count_runs(void *conn, const char *sql)
{
    sqlite3_stmt *stmt = NULL;

    while ((stmt = sqlite3_next_stmt(cp_sqlite_handle(conn), stmt)) != NULL) {
        if (strcmp(sqlite3_sql(stmt), sql) == 0) {
            return sqlite3_stmt_status(stmt, SQLITE_STMTSTATUS_RUN, 0);
        }
    }
    return -1;
}

START_TEST(cache_keeps_64_statements_and_the_hot_one)
{
    void *conn;

    make_db("CREATE TABLE t(a)");
    conn = reader(make());
    for (int i = 0; i < 200; i++) {
        run_ok(conn, "SELECT 'hot'");
        run_ok(conn, apr_psprintf(pool, "SELECT %d", i));
        ck_assert_int_le(count_prepared(conn), 64);
    }
    ck_assert_int_eq(count_prepared(conn), 64);
    ck_assert_int_eq(count_runs(conn, "SELECT 'hot'"), 200);
    ck_assert_int_eq(count_runs(conn, "SELECT 199"), 1);
    ck_assert_int_eq(count_runs(conn, "SELECT 137"), 1);
    ck_assert_int_eq(count_runs(conn, "SELECT 136"), -1);
    leave(conn);
}
END_TEST

START_TEST(statement_is_prepared_once_and_not_shared_while_out)
{
    cp_statement_t *all[64], *one_more;
    cp_error_t err = {0};
    void *conn;

    make_db("CREATE TABLE t(a)");
    conn = reader(make());
    for (int i = 0; i < 64; i++) {
        all[i] = prepare(conn, "SELECT 1");
        ck_assert_int_eq(count_prepared(conn), i + 1);
    }
    ck_assert_int_ne(cp_statement_prepare(conn, "SELECT 1", &one_more, &err),
                     APR_SUCCESS);
    ck_assert_int_eq(err.cls, CP_ERR_CAPACITY);
    ck_assert_ptr_null(one_more);
    for (int i = 0; i < 64; i++) {
        cp_statement_finish(all[i]);
    }
    ck_assert_int_eq(count_prepared(conn), 64);
    run_ok(conn, "SELECT 1");
    ck_assert_int_eq(count_prepared(conn), 64);
    leave(conn);
}
END_TEST

START_TEST(changed_schema_is_noticed)
{
    cp_statement_t *st;
    sqlite3 *other;
    void *conn;

    make_db("CREATE TABLE t(a); INSERT INTO t VALUES(1)");
    conn = reader(make());
    run_ok(conn, "SELECT * FROM t");
    other = raw_open();
    raw_exec(other, "ALTER TABLE t ADD COLUMN b DEFAULT 5");
    st = prepare(conn, "SELECT * FROM t");
    ck_assert_int_eq(step(st), APR_SUCCESS);
    ck_assert_int_eq(cp_statement_columns(st), 2);
    ck_assert_str_eq(cp_statement_column_name(st, 1), "b");
    cp_statement_finish(st);
    raw_exec(other, "DROP TABLE t");
    run_fails(conn, "SELECT * FROM t", CP_ERR_STORAGE);
    raw_exec(other, "CREATE TABLE t(a); INSERT INTO t VALUES(3)");
    ck_assert_int_eq(number(conn, "SELECT * FROM t"), 3);
    sqlite3_close(other);
    leave(conn);
}
END_TEST

static void bind_value(cp_statement_t *st, const char *name, cp_value_t value)
{
    cp_error_t err = {0};

    ck_assert_msg(cp_statement_bind(st, name, &value, &err) == APR_SUCCESS,
                  "%s", err.detail);
}

static cp_value_t bytes(cp_storage_t storage, const char *data, size_t size)
{
    cp_value_t value = {.storage = storage};

    value.as.bytes.data = data;
    value.as.bytes.size = size;
    return value;
}

static cp_value_t integer(apr_int64_t i)
{
    cp_value_t value = {.storage = CP_INTEGER, .as.integer = i};

    return value;
}

static cp_value_t real(double d)
{
    cp_value_t value = {.storage = CP_REAL, .as.real = d};

    return value;
}

static void same_bytes(const cp_value_t *value, cp_storage_t storage,
                       const char *data, size_t size)
{
    ck_assert_int_eq(value->storage, storage);
    ck_assert_uint_eq(value->as.bytes.size, size);
    ck_assert_ptr_nonnull(value->as.bytes.data);
    ck_assert_mem_eq(value->as.bytes.data, data, size);
}

START_TEST(every_value_comes_back_exactly)
{
    cp_value_t null = {.storage = CP_NULL}, row[10];
    cp_statement_t *st;
    void *conn;

    make_db("CREATE TABLE t(a)");
    conn = reader(make());
    st = prepare(conn, "SELECT :a, :b, :c, :d, :e, :f, :g, :h, :i, length(:e)");
    bind_value(st, "a", integer(APR_INT64_MAX));
    bind_value(st, "b", integer(APR_INT64_MIN));
    bind_value(st, "c", real(0.1));
    bind_value(st, "d", real(-1.7976931348623157e308));
    bind_value(st, "e", bytes(CP_TEXT, "a\0b\xc3\xa9", 5));
    bind_value(st, "f", bytes(CP_TEXT, NULL, 0));
    bind_value(st, "g", bytes(CP_BLOB, "\0\1\xff", 3));
    bind_value(st, "h", bytes(CP_BLOB, NULL, 0));
    bind_value(st, "i", null);
    ck_assert_int_eq(step(st), APR_SUCCESS);
    ck_assert_int_eq(cp_statement_columns(st), 10);
    cp_statement_row(st, row);
    ck_assert(row[0].as.integer == APR_INT64_MAX);
    ck_assert(row[1].as.integer == APR_INT64_MIN);
    ck_assert_int_eq(row[2].storage, CP_REAL);
    ck_assert(row[2].as.real == 0.1);
    ck_assert(row[3].as.real == -1.7976931348623157e308);
    same_bytes(&row[4], CP_TEXT, "a\0b\xc3\xa9", 5);
    same_bytes(&row[5], CP_TEXT, "", 0);
    same_bytes(&row[6], CP_BLOB, "\0\1\xff", 3);
    same_bytes(&row[7], CP_BLOB, "", 0);
    ck_assert_int_eq(row[8].storage, CP_NULL);
    ck_assert_int_eq(step(st), APR_EOF);
    cp_statement_finish(st);
    leave(conn);
}
END_TEST

START_TEST(not_a_number_becomes_null)
{
    cp_statement_t *st;
    cp_value_t row[2];
    void *conn;

    make_db("CREATE TABLE t(a)");
    conn = reader(make());
    st = prepare(conn, "SELECT :a, 9e999");
    bind_value(st, "a", real((double)NAN));
    ck_assert_int_eq(step(st), APR_SUCCESS);
    cp_statement_row(st, row);
    ck_assert_int_eq(row[0].storage, CP_NULL);
    ck_assert(isinf(row[1].as.real));
    cp_statement_finish(st);
    leave(conn);
}
END_TEST

START_TEST(unknown_parameters_are_told)
{
    char prefix[78], name[128];
    cp_value_t one = integer(1);
    cp_error_t err = {0};
    cp_statement_t *st;
    void *conn;

    make_db("CREATE TABLE t(a)");
    conn = reader(make());
    memset(prefix, 'p', sizeof(prefix));
    st = prepare(conn, apr_psprintf(pool, "SELECT :%.78s, :a", prefix));
    ck_assert_int_eq(cp_statement_bind(st, "b", &one, &err), APR_NOTFOUND);
    ck_assert_int_eq(cp_statement_bind(st, "", &one, &err), APR_NOTFOUND);
    ck_assert_int_eq(cp_statement_bind(st, "a", &one, &err), APR_SUCCESS);
    /* Longer than any declared name, and it begins like one. */
    memset(name, 'p', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    ck_assert_int_eq(cp_statement_bind(st, name, &one, &err), APR_NOTFOUND);
    cp_statement_finish(st);
    leave(conn);
}
END_TEST

START_TEST(bindings_do_not_outlive_their_borrower)
{
    cp_statement_t *st;
    cp_value_t value;
    void *conn;

    make_db("CREATE TABLE t(a)");
    conn = reader(make());
    st = prepare(conn, "SELECT :secret");
    bind_value(st, "secret", integer(42));
    cp_statement_finish(st);
    st = prepare(conn, "SELECT :secret");
    ck_assert_int_eq(step(st), APR_SUCCESS);
    cp_statement_row(st, &value);
    ck_assert_int_eq(value.storage, CP_NULL);
    cp_statement_finish(st);
    leave(conn);
}
END_TEST

START_TEST(values_of_the_client_are_input_errors)
{
    char *large = calloc(1, 1000001);
    cp_value_t value;
    cp_error_t err = {0};
    cp_statement_t *st;
    void *conn;

    make_db("CREATE TABLE t(a INTEGER PRIMARY KEY, b NOT NULL CHECK (b > 0));"
            "CREATE TRIGGER g BEFORE INSERT ON t WHEN NEW.b = 13 "
            "BEGIN SELECT RAISE(ABORT, 'unlucky'); END;"
            "INSERT INTO t VALUES(1, 1)");
    conn = writer(make());
    run_fails(conn, "INSERT INTO t VALUES(1, 1)", CP_ERR_CONFLICT);
    run_fails(conn, "INSERT INTO t VALUES(2, NULL)", CP_ERR_INPUT);
    run_fails(conn, "INSERT INTO t VALUES(2, -1)", CP_ERR_INPUT);
    run_fails(conn, "INSERT INTO t VALUES(2, 13)", CP_ERR_INPUT);
    run_fails(conn, "INSERT INTO t VALUES('x', 1)", CP_ERR_INTERNAL);
    st = prepare(conn, "SELECT :a");
    value = bytes(CP_BLOB, large, 1000001);
    ck_assert_int_ne(cp_statement_bind(st, "a", &value, &err), APR_SUCCESS);
    ck_assert_int_eq(err.cls, CP_ERR_SIZE);
    value = bytes(CP_BLOB, large, 1000000);
    ck_assert_int_eq(cp_statement_bind(st, "a", &value, &err), APR_SUCCESS);
    cp_statement_finish(st);
    run_fails(conn, "SELECT zeroblob(1000001)", CP_ERR_INTERNAL);
    run_fails(conn,
              "SELECT group_concat(a) FROM (WITH RECURSIVE n(i, a) AS "
              "(SELECT 1, hex(zeroblob(5000)) UNION ALL SELECT i+1, a "
              "FROM n WHERE i<200) SELECT a FROM n)",
              CP_ERR_INTERNAL);
    ck_assert_int_eq(cp_sqlite_writer.reset(NULL, conn), APR_SUCCESS);
    leave(conn);
    free(large);
}
END_TEST

/* --- deadlines --- */

#define ENDLESS "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) "

/* How long it ran; afterwards the connection works. */
static apr_interval_time_t stop_after(void *conn, const char *sql,
                                      apr_interval_time_t limit)
{
    cp_clock_t begin = cp_clock_now();
    apr_interval_time_t took;

    cp_sqlite_set_deadline(conn, begin + limit);
    run_fails(conn, sql, CP_ERR_DEADLINE);
    took = cp_clock_now() - begin;
    ck_assert_int_eq(cp_sqlite_reader.reset(NULL, conn), APR_SUCCESS);
    ck_assert_int_eq(number(conn, "SELECT count(*) FROM t"), 2000);
    return took;
}

START_TEST(endless_query_stops_at_its_deadline)
{
    static const char *const queries[] = {
        ENDLESS "SELECT count(*) FROM n",
        ENDLESS "SELECT max(i) FROM n WHERE i < 0",
        "SELECT count(*) FROM t a, t b, t c, t d",
        "SELECT a.i FROM t a, t b, t c ORDER BY a.i * b.i * c.i",
        NULL,
    };
    void *conn;

    make_db("CREATE TABLE t(i);" ENDLESS
            "INSERT INTO t SELECT i FROM n LIMIT 2000");
    conn = reader(make());
    for (const char *const *sql = queries; *sql; sql++) {
        apr_interval_time_t best = stop_after(conn, *sql, MS(100));

        /* A busy machine may stop us, too: three tries. */
        for (int i = 0; i < 2 && best >= MS(150); i++) {
            best = stop_after(conn, *sql, MS(100));
        }
        ck_assert_msg(best >= MS(100) && best < MS(100) + patience(50),
                      "%s: %d us", *sql, (int)best);
    }
    leave(conn);
}
END_TEST

START_TEST(deadline_ends_with_the_release)
{
    cp_sqlite_t *db;
    void *conn;

    make_db("CREATE TABLE t(i)");
    db = make();
    conn = reader(db);
    cp_sqlite_set_deadline(conn, cp_clock_now());
    run_fails(conn, ENDLESS "SELECT i FROM n LIMIT 100000", CP_ERR_DEADLINE);
    ck_assert_int_eq(cp_sqlite_reader.reset(NULL, conn), APR_SUCCESS);
    run_ok(conn, ENDLESS "SELECT i FROM n LIMIT 100000");
    /* Nor does the check of an idle connection leave one behind. */
    ck_assert_int_eq(cp_sqlite_reader.check(db, conn, cp_clock_after(MS(20))),
                     APR_SUCCESS);
    usleep(30000);
    run_ok(conn, ENDLESS "SELECT i FROM n LIMIT 100000");
    leave(conn);
}
END_TEST

START_TEST(no_single_function_runs_for_long)
{
    static const char *const calls[] = {
        "SELECT length(hex(randomblob(499999)))",
        "SELECT length(replace(hex(zeroblob(40000)), '0', 'xxxxxxxxxxxx'))",
        "SELECT hex(zeroblob(499999)) LIKE '%0%0%0%0%0%0%0%0%0%0%0%0%0%0%0%1'",
        "SELECT hex(zeroblob(499999)) GLOB '*0*0*0*0*0*0*0*0*0*0*0*0*0*0*0*1'",
        "SELECT length(printf('%.*c', 99999, 'x'))",
        "SELECT length(quote(randomblob(499990)))",
        NULL,
    };
    void *conn;

    make_db("CREATE TABLE t(i)");
    conn = reader(make());
    for (const char *const *sql = calls; *sql; sql++) {
        cp_clock_t begin = cp_clock_now();
        apr_interval_time_t took;

        run_ok(conn, *sql);
        took = cp_clock_now() - begin;
        ck_assert_msg(took < patience(500), "%s: %d us", *sql, (int)took);
    }
    run_fails(conn, "SELECT hex(randomblob(100000000))", CP_ERR_INTERNAL);
    run_fails(conn,
              "SELECT 'a' LIKE '%aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
              "aaaaaaaaaaaaaaaaaa'",
              CP_ERR_INTERNAL);
    leave(conn);
}
END_TEST

/* --- writes --- */

START_TEST(write_is_committed_or_rolled_back)
{
    cp_error_t err = {0};
    cp_sqlite_t *db;
    void *conn, *other;

    make_db("CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
    db = make();
    conn = writer(db);
    other = reader(db);
    ck_assert_int_eq(cp_sqlite_begin(conn, soon(), &err), APR_SUCCESS);
    run_ok(conn, "INSERT INTO t(b) VALUES(1), (2), (3)");
    ck_assert(cp_sqlite_changes(conn) == 3);
    ck_assert(cp_sqlite_last_rowid(conn) == 3);
    ck_assert_int_eq(number(other, "SELECT count(*) FROM t"), 0);
    ck_assert_int_ne(cp_sqlite_begin(conn, soon(), &err), APR_SUCCESS);
    ck_assert_int_eq(err.cls, CP_ERR_INTERNAL);
    ck_assert_int_eq(cp_sqlite_commit(conn, &err), APR_SUCCESS);
    ck_assert_int_eq(number(other, "SELECT count(*) FROM t"), 3);

    ck_assert_int_eq(cp_sqlite_begin(conn, soon(), &err), APR_SUCCESS);
    run_ok(conn, "DELETE FROM t");
    cp_sqlite_rollback(conn);
    cp_sqlite_rollback(conn);
    ck_assert_int_eq(number(other, "SELECT count(*) FROM t"), 3);
    leave(conn);
    leave(other);
}
END_TEST

START_TEST(failed_commit_rolls_back_and_frees_the_lock)
{
    cp_error_t err = {0};
    cp_sqlite_t *db;
    void *conn, *other;

    config.write_lock = make_lock();
    make_db("CREATE TABLE p(a INTEGER PRIMARY KEY); CREATE TABLE c(a "
            "REFERENCES p(a) DEFERRABLE INITIALLY DEFERRED)");
    db = make();
    conn = writer(db);
    other = writer(db);
    sqlite3_db_config(cp_sqlite_handle(conn), SQLITE_DBCONFIG_ENABLE_FKEY, 1,
                      NULL);
    ck_assert_int_eq(cp_sqlite_begin(conn, soon(), &err), APR_SUCCESS);
    run_ok(conn, "INSERT INTO c VALUES(5)");
    ck_assert_int_ne(cp_sqlite_commit(conn, &err), APR_SUCCESS);
    ck_assert_int_eq(err.cls, CP_ERR_CONFLICT);
    write_ok(other, "INSERT INTO p VALUES(1)");
    write_ok(conn, "INSERT INTO c VALUES(1)");
    ck_assert_int_eq(number(conn, "SELECT count(*) FROM c"), 1);
    ck_assert_int_eq(cp_sqlite_writer.reset(NULL, conn), APR_SUCCESS);
    leave(conn);
    leave(other);
}
END_TEST

START_TEST(interrupted_write_cannot_be_committed)
{
    cp_error_t err = {0};
    cp_sqlite_t *db;
    void *conn, *other;

    config.write_lock = make_lock();
    make_db("CREATE TABLE t(a)");
    db = make();
    conn = writer(db);
    other = writer(db);
    ck_assert_int_eq(cp_sqlite_begin(conn, cp_clock_after(MS(100)), &err),
                     APR_SUCCESS);
    run_ok(conn, "INSERT INTO t VALUES(1)");
    run_fails(conn, ENDLESS "INSERT INTO t SELECT i FROM n", CP_ERR_DEADLINE);
    ck_assert_int_ne(cp_sqlite_commit(conn, &err), APR_SUCCESS);
    ck_assert_int_eq(err.cls, CP_ERR_STORAGE);
    write_ok(other, "INSERT INTO t VALUES(2)");
    ck_assert_int_eq(number(other, "SELECT sum(a) FROM t"), 2);
    ck_assert_int_eq(cp_sqlite_writer.reset(NULL, conn), APR_SUCCESS);
    write_ok(conn, "INSERT INTO t VALUES(3)");
    leave(conn);
    leave(other);
}
END_TEST

/* The shortest of three waits, for a busy machine may stop us, too. */
static apr_interval_time_t gives_up_after(void *conn, apr_interval_time_t limit,
                                          cp_error_class_t cls)
{
    apr_interval_time_t best = APR_INT64_MAX;

    for (int i = 0; i < 3; i++) {
        cp_error_t err = {0};
        cp_clock_t begin = cp_clock_now();
        apr_interval_time_t took;

        ck_assert_int_ne(cp_sqlite_begin(conn, cp_clock_after(limit), &err),
                         APR_SUCCESS);
        took = cp_clock_now() - begin;
        ck_assert_int_eq(err.cls, cls);
        best = took < best ? took : best;
    }
    return best;
}

START_TEST(write_lock_has_a_deadline_and_is_freed_by_release)
{
    cp_error_t err = {0};
    cp_sqlite_t *db;
    void *conn, *other;
    apr_interval_time_t took;

    config.write_lock = make_lock();
    make_db("CREATE TABLE t(a)");
    db = make();
    conn = writer(db);
    other = writer(db);
    ck_assert_int_eq(cp_sqlite_begin(conn, soon(), &err), APR_SUCCESS);
    run_ok(conn, "INSERT INTO t VALUES(1)");

    took = gives_up_after(other, MS(150), CP_ERR_CAPACITY);
    ck_assert_msg(took >= MS(150) && took < MS(150) + patience(50), "%d us",
                  (int)took);
    /* The database's busy time is a limit, too. */
    took = gives_up_after(other, -1, CP_ERR_CAPACITY);
    ck_assert_msg(took >= MS(300) && took < MS(300) + patience(50), "%d us",
                  (int)took);

    ck_assert_int_eq(cp_sqlite_writer.reset(NULL, conn), APR_SUCCESS);
    write_ok(other, "INSERT INTO t VALUES(2)");
    ck_assert_int_eq(number(conn, "SELECT sum(a) FROM t"), 2);
    leave(conn);
    leave(other);
}
END_TEST

START_TEST(release_cleans_what_the_borrower_left)
{
    sqlite3_stmt *stray;
    cp_statement_t *st;
    cp_sqlite_t *db;
    cp_value_t value;
    sqlite3 *other;
    char *secret = strdup("secret");
    void *conn;

    make_db("CREATE TABLE t(a); INSERT INTO t VALUES(1), (2), (3)");
    db = make();
    conn = reader(db);
    st = prepare(conn, "SELECT :x FROM t");
    bind_value(st, "x", bytes(CP_TEXT, secret, 6));
    ck_assert_int_eq(step(st), APR_SUCCESS);
    ck_assert_int_eq(sqlite3_prepare_v2(cp_sqlite_handle(conn),
                                        "SELECT a FROM t", -1, &stray, NULL),
                     SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(stray), SQLITE_ROW);
    ck_assert_int_eq(cp_sqlite_reader.reset(NULL, conn), APR_SUCCESS);
    free(secret);

    /* Nothing pins the log any more. */
    other = raw_open();
    raw_exec(other, "INSERT INTO t VALUES(4)");
    ck_assert_int_eq(sqlite3_wal_checkpoint_v2(
                         other, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(other);
    st = prepare(conn, "SELECT :x FROM t");
    ck_assert_int_eq(count_prepared(conn), 2); /* it, and the stray one */
    ck_assert_int_eq(step(st), APR_SUCCESS);
    cp_statement_row(st, &value);
    ck_assert_int_eq(value.storage, CP_NULL);
    cp_statement_finish(st);
    /* Closing with the stray statement still there harms nobody. */
    leave(conn);
    ck_assert_int_eq(sqlite3_step(stray), SQLITE_ROW);
    sqlite3_finalize(stray);
}
END_TEST

START_TEST(memory_grows_with_use)
{
    apr_size_t before;
    void *conn;

    make_db("CREATE TABLE t(a); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
            "SELECT i+1 FROM n WHERE i<1000) INSERT INTO t SELECT "
            "randomblob(1000) FROM n");
    conn = reader(make());
    before = memory_of(conn);
    ck_assert_uint_gt(before, 0);
    run_ok(conn, "SELECT sum(length(a)) FROM t");
    ck_assert_uint_gt(memory_of(conn), before + 100 * 1024);
    /* The cache has its limit. */
    ck_assert_uint_lt(memory_of(conn), before + 1024 * 1024);
    leave(conn);
}
END_TEST

/* --- checkpoints --- */

#define BLOBS(n)                                                               \
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE "      \
    "i<" #n ") INSERT INTO t SELECT randomblob(4000) FROM n"

START_TEST(checkpoint_needs_the_lock)
{
    cp_error_t err = {0};
    apr_off_t size;
    cp_sqlite_t *db;
    void *conn;

    make_db("CREATE TABLE t(a)");
    db = make();
    conn = writer(db);
    size = size_of("");
    run_ok(conn, BLOBS(3000));
    leave(conn);
    ck_assert_int_eq(size_of(""), size);
    ck_assert_int_gt(size_of("-wal"), 3000 * 4000);

    conn = writer(db);
    run_ok(conn, "INSERT INTO t VALUES(1)");
    ck_assert_int_eq(size_of(""), size);
    ck_assert_int_eq(cp_sqlite_lock(conn, soon(), &err), APR_SUCCESS);
    ck_assert_int_eq(size_of(""), size);
    cp_sqlite_unlock(conn);
    ck_assert_int_gt(size_of(""), 3000 * 4000);
    leave(conn);
}
END_TEST

START_TEST(log_stays_short_under_small_writes)
{
    int writes = count_from_env("CP_TEST_WRITES", 10000);
    apr_off_t longest = 0;
    void *conn, *other;
    cp_sqlite_t *db;

    config.write_lock = make_lock();
    make_db("CREATE TABLE t(a)");
    db = make();
    conn = writer(db);
    other = reader(db);
    for (int i = 0; i < writes; i++) {
        write_ok(conn, "INSERT INTO t VALUES(hex(randomblob(50)))");
        if (i % 100 == 0) {
            number(other, "SELECT count(*) FROM t");
            longest = size_of("-wal") > longest ? size_of("-wal") : longest;
        }
    }
    ck_assert_int_eq(number(other, "SELECT count(*) FROM t"), writes);
    ck_assert_msg(longest < 8 * 1024 * 1024, "%ld", (long)longest);
    leave(conn);
    leave(other);
}
END_TEST

START_TEST(pinned_log_costs_a_bounded_time_and_shrinks_afterwards)
{
    apr_interval_time_t worst = 0;
    cp_statement_t *st;
    cp_sqlite_t *db;
    void *conn, *other;

    make_db("CREATE TABLE t(a); INSERT INTO t VALUES(1), (2)");
    db = make();
    conn = writer(db);
    other = reader(db);
    st = prepare(other, "SELECT a FROM t");
    ck_assert_int_eq(step(st), APR_SUCCESS);
    for (int i = 0; i < 180; i++) {
        cp_error_t err;
        cp_clock_t begin;

        ck_assert_int_eq(cp_sqlite_begin(conn, soon(), &err), APR_SUCCESS);
        run_ok(conn, BLOBS(100));
        begin = cp_clock_now();
        ck_assert_int_eq(cp_sqlite_commit(conn, &err), APR_SUCCESS);
        if (cp_clock_now() - begin > worst) {
            worst = cp_clock_now() - begin;
        }
    }
    ck_assert_int_gt(size_of("-wal"), 16000 * 4096);
    ck_assert_msg(worst < patience(1000), "%d us", (int)worst);
    ck_assert_int_eq(step(st), APR_SUCCESS);
    ck_assert_int_eq(step(st), APR_EOF);
    cp_statement_finish(st);
    for (int i = 0; i < 12; i++) {
        write_ok(conn, BLOBS(100));
    }
    ck_assert_msg(size_of("-wal") < 8 * 1024 * 1024, "%ld",
                  (long)size_of("-wal"));
    leave(conn);
    leave(other);
}
END_TEST

/* --- other programs --- */

typedef struct outsider_t {
    pid_t pid;
    int ready[2], done[2];
} outsider_t;

static void hold_exclusively(void *data)
{
    outsider_t *outsider = data;
    sqlite3 *raw;
    char byte = 0;

    close(outsider->done[1]);
    if (sqlite3_open(path, &raw) != SQLITE_OK
        || sqlite3_exec(raw, "BEGIN EXCLUSIVE", NULL, NULL, NULL)
        || write(outsider->ready[1], &byte, 1) != 1) {
        _exit(1);
    }
    /* Until it is told, or nobody is left to tell. */
    if (read(outsider->done[0], &byte, 1) != 0) {
        _exit(2);
    }
    sqlite3_close(raw);
}

START_TEST(foreign_lock_stops_writers_in_time_and_no_readers)
{
    outsider_t outsider;
    cp_sqlite_t *db;
    void *conn, *other, *late;
    apr_interval_time_t took;
    char byte;

    config.write_lock = make_lock();
    make_db(
        "PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES(1)");
    ck_assert_int_eq(pipe(outsider.ready), 0);
    ck_assert_int_eq(pipe(outsider.done), 0);
    outsider.pid = start(hold_exclusively, &outsider);
    ck_assert_int_eq(read(outsider.ready[0], &byte, 1), 1);
    /* Not before: handles must not be carried over a fork. */
    db = make();
    conn = writer(db);
    other = reader(db);

    took = gives_up_after(conn, -1, CP_ERR_STORAGE);
    ck_assert_msg(took >= MS(290) && took < MS(300) + patience(50), "%d us",
                  (int)took);
    took = gives_up_after(conn, MS(100), CP_ERR_STORAGE);
    ck_assert_msg(took < MS(100) + patience(50), "%d us", (int)took);

    ck_assert_int_eq(number(other, "SELECT a FROM t"), 1);
    late = reader(db);
    ck_assert_int_eq(number(late, "SELECT a FROM t"), 1);
    close(outsider.done[1]);
    await(outsider.pid);
    write_ok(conn, "INSERT INTO t VALUES(2)");
    ck_assert_int_eq(number(late, "SELECT sum(a) FROM t"), 3);
    leave(conn);
    leave(other);
    leave(late);
}
END_TEST

START_TEST(foreign_lock_at_the_start_delays_wal_not_the_answer)
{
    cp_error_t err = {0};
    cp_sqlite_t *db;
    sqlite3 *other;
    cp_clock_t begin;
    void *conn;

    make_db("CREATE TABLE t(a)");
    db = make();
    other = raw_open();
    raw_exec(other, "BEGIN EXCLUSIVE");
    begin = cp_clock_now();
    ck_assert_int_ne(cp_sqlite_reader.open(db, begin + MS(200), &conn, &err),
                     APR_SUCCESS);
    ck_assert_int_eq(err.cls, CP_ERR_STORAGE);
    ck_assert_int_lt(cp_clock_now() - begin, MS(200) + patience(50));
    sqlite3_close(other);
    leave(reader(db));
    ck_assert_str_eq(raw_text("PRAGMA journal_mode"), "wal");
}
END_TEST

START_TEST(replaced_file_is_noticed_once)
{
    const char *next = apr_pstrcat(pool, dir, "/next.db", NULL);
    const char *log = apr_pstrcat(pool, path, "-wal", NULL);
    cp_sqlite_t *db;
    sqlite3 *raw;
    void *conn;

    make_db("CREATE TABLE t(a)");
    db = make();
    conn = writer(db);
    ck_assert_int_eq(cp_sqlite_file_changed(db), 0);
    write_ok(conn, "INSERT INTO t VALUES(1)");
    ck_assert_int_eq(cp_sqlite_file_changed(db), 0);

    ck_assert_int_eq(unlink(log), 0);
    ck_assert_int_eq(cp_sqlite_file_changed(db), 1);
    ck_assert_int_eq(cp_sqlite_file_changed(db), 0);
    leave(conn);

    ck_assert_int_eq(sqlite3_open(next, &raw), SQLITE_OK);
    raw_exec(raw, "CREATE TABLE t(a); INSERT INTO t VALUES(9)");
    sqlite3_close(raw);
    ck_assert_int_eq(rename(next, path), 0);
    ck_assert_int_eq(cp_sqlite_file_changed(db), 1);
    ck_assert_int_eq(cp_sqlite_file_changed(db), 0);
    conn = reader(db);
    ck_assert_int_eq(number(conn, "SELECT a FROM t"), 9);
    ck_assert_str_eq(raw_text("PRAGMA journal_mode"), "wal");

    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(cp_sqlite_file_changed(db), 1);
    ck_assert_int_eq(cp_sqlite_file_changed(db), 0);
    leave(conn);
    unlink(log);
    cp_sqlite_file_changed(db);
    make_db("CREATE TABLE t(a)");
    ck_assert_int_eq(cp_sqlite_file_changed(db), 0);
    leave(reader(db));
}
END_TEST

START_TEST(version_risk_matches_the_library)
{
    int v = sqlite3_libversion_number();
    const char *risk = cp_sqlite_version_risk(pool);

    ck_assert_str_eq(cp_sqlite_version(), sqlite3_libversion());
    if (v >= 3051003) {
        ck_assert_ptr_null(risk);
    }
    else if (v < 3044006) {
        ck_assert_ptr_nonnull(strstr(risk, sqlite3_libversion()));
    }
}
END_TEST

/* --- many processes --- */

enum {
    PROCESSES = 4,
    THREADS = 16,
    INSERTS = 50
};

typedef struct crowd_t {
    cp_sqlite_t *db;
    void *conn; /* guarded by lock */
    pthread_mutex_t lock;
    int process;
    int failures; /* atomic */
} crowd_t;

typedef struct member_t {
    crowd_t *crowd;
    int id;
} member_t;

static int insert(void *conn, const char *sql, apr_int64_t number_)
{
    cp_error_t err = {0};
    cp_value_t value = integer(number_);
    cp_statement_t *st;
    apr_status_t rv = cp_sqlite_begin(conn, soon(), &err);

    if (rv == APR_SUCCESS) {
        rv = cp_statement_prepare(conn, sql, &st, &err);
    }
    if (rv == APR_SUCCESS) {
        cp_statement_bind(st, "a", &value, &err);
        rv = cp_statement_step(st, &err);
        cp_statement_finish(st);
        rv = rv == APR_EOF ? cp_sqlite_commit(conn, &err) : rv;
    }
    if (rv != APR_SUCCESS) {
        fprintf(stderr, "insert: %s\n", err.detail);
        cp_sqlite_rollback(conn);
    }
    return rv == APR_SUCCESS;
}

static void *insert_many(void *data)
{
    member_t *member = data;
    crowd_t *crowd = member->crowd;

    for (int i = 0; i < INSERTS; i++) {
        apr_int64_t id = crowd->process * 100000 + member->id * 1000 + i;

        pthread_mutex_lock(&crowd->lock);
        if (!insert(crowd->conn, "INSERT INTO t VALUES(:a)", id)) {
            __atomic_add_fetch(&crowd->failures, 1, __ATOMIC_RELAXED);
        }
        pthread_mutex_unlock(&crowd->lock);
    }
    return NULL;
}

typedef struct process_t {
    int number;
    int go[2], report[2];
} process_t;

/* Whoever holds the server-wide lock never waits for SQLite's. */
static int on_unexpected_wait(void *data, int count)
{
    return 0;
}

static void crowd_process(void *data)
{
    process_t *process = data;
    crowd_t crowd = {.process = process->number,
                     .lock = PTHREAD_MUTEX_INITIALIZER};
    member_t members[THREADS];
    pthread_t threads[THREADS];
    cp_error_t err = {0};
    cp_clock_t begin;
    apr_interval_time_t took;
    char byte;

    close(process->go[1]);
    apr_global_mutex_child_init(&config.write_lock,
                                apr_pstrcat(pool, dir, "/lock", NULL), pool);
    if (cp_sqlite_create(&crowd.db, &config, pool) != APR_SUCCESS
        || cp_sqlite_writer.open(crowd.db, soon(), &crowd.conn, &err)
               != APR_SUCCESS
        || read(process->go[0], &byte, 1) != 0) {
        _exit(1);
    }
    sqlite3_busy_handler(cp_sqlite_handle(crowd.conn), on_unexpected_wait,
                         NULL);
    begin = cp_clock_now();
    for (int i = 0; i < THREADS; i++) {
        members[i] = (member_t){&crowd, i};
        pthread_create(&threads[i], NULL, insert_many, &members[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    took = cp_clock_now() - begin;
    cp_sqlite_writer.close(crowd.db, crowd.conn);
    if (crowd.failures
        || write(process->report[1], &took, sizeof(took)) != sizeof(took)) {
        _exit(2);
    }
}

START_TEST(writers_of_many_processes_never_meet)
{
    process_t process;
    pid_t pids[PROCESSES];
    apr_interval_time_t first = 0, last = 0;
    const char *expected = apr_itoa(pool, PROCESSES * THREADS * INSERTS);

    config.busy = patience(20000);
    config.write_lock = make_lock();
    make_db("PRAGMA journal_mode=WAL; CREATE TABLE t(a INTEGER PRIMARY KEY)");
    ck_assert_int_eq(pipe(process.go), 0);
    ck_assert_int_eq(pipe(process.report), 0);
    for (int i = 0; i < PROCESSES; i++) {
        process.number = i;
        pids[i] = start(crowd_process, &process);
    }
    close(process.go[0]);
    close(process.go[1]);
    for (int i = 0; i < PROCESSES; i++) {
        await(pids[i]);
    }
    for (int i = 0; i < PROCESSES; i++) {
        apr_interval_time_t took;

        ck_assert_int_eq(read(process.report[0], &took, sizeof(took)),
                         sizeof(took));
        first = i == 0 || took < first ? took : first;
        last = took > last ? took : last;
    }
    if (getenv("CP_TEST_VERBOSE")) {
        fprintf(stderr, "processes ended after %d to %d ms\n",
                (int)(first / 1000), (int)(last / 1000));
    }
    ck_assert_str_eq(raw_text("SELECT count(*) FROM t"), expected);
    ck_assert_str_eq(raw_text("PRAGMA integrity_check"), "ok");
}
END_TEST

/* Tells each row once it is committed, until it is killed. */
static void insert_until_killed(void *data)
{
    process_t *process = data;
    cp_sqlite_t *db;
    cp_error_t err = {0};
    void *conn;

    apr_global_mutex_child_init(&config.write_lock,
                                apr_pstrcat(pool, dir, "/lock", NULL), pool);
    if (cp_sqlite_create(&db, &config, pool) != APR_SUCCESS
        || cp_sqlite_writer.open(db, soon(), &conn, &err) != APR_SUCCESS) {
        _exit(1);
    }
    for (apr_int64_t i = 0;; i++) {
        apr_int64_t id = process->number * 1000000 + i;

        if (!insert(conn, "INSERT INTO t VALUES(:a, randomblob(2000))", id)
            || write(process->report[1], &id, sizeof(id)) != sizeof(id)) {
            _exit(2);
        }
    }
}

/* The rows that were told are there, and at most one more. */
static void check_rows(void *conn, int round, apr_int64_t acknowledged)
{
    apr_int64_t rows = number(
        conn,
        apr_psprintf(pool, "SELECT count(*) FROM t WHERE a BETWEEN %d AND %d",
                     round * 1000000, round * 1000000 + 999999));

    ck_assert_msg(rows == acknowledged || rows == acknowledged + 1,
                  "round %d: %d rows, %d acknowledged", round, (int)rows,
                  (int)acknowledged);
}

static apr_int64_t drain(int fd, apr_int64_t acknowledged)
{
    apr_int64_t id;

    while (read(fd, &id, sizeof(id)) == sizeof(id)) {
        acknowledged++;
    }
    return acknowledged;
}

START_TEST(killed_writer_loses_nothing_and_blocks_nobody)
{
    int rounds = count_from_env("CP_TEST_KILLS", 30);
    unsigned seed = 7;
    cp_sqlite_t *db;
    void *conn;

    config.busy = patience(5000);
    config.write_lock = make_lock();
    make_db("PRAGMA journal_mode=WAL; CREATE TABLE t(a INTEGER PRIMARY KEY, "
            "b)");
    db = make();
    for (int round = 0; round < rounds; round++) {
        process_t process = {.number = round};
        apr_int64_t acknowledged = 0, id;
        cp_clock_t begin;
        pid_t pid;

        ck_assert_int_eq(pipe(process.report), 0);
        pid = start(insert_until_killed, &process);
        close(process.report[1]);
        /* Somewhere in the middle of its n-th write. */
        for (int n = 1 + rand_r(&seed) % 40; n > 0; n--) {
            ck_assert_int_eq(read(process.report[0], &id, sizeof(id)),
                             sizeof(id));
            acknowledged++;
        }
        for (int n = rand_r(&seed) % 20000; n > 0; n--) {
            __asm__ volatile("" ::: "memory");
        }
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        acknowledged = drain(process.report[0], acknowledged);
        close(process.report[0]);

        conn = writer(db);
        begin = cp_clock_now();
        ck_assert(insert(conn, "INSERT INTO t VALUES(:a, 'next')", -1 - round));
        ck_assert_int_lt(cp_clock_now() - begin, patience(1000));
        check_rows(conn, round, acknowledged);
        leave(conn);
    }
    ck_assert_str_eq(raw_text("PRAGMA integrity_check"), "ok");
}
END_TEST

/* --- damaged files --- */

static unsigned long long next_random(unsigned long long *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void write_mutated(const char *name, const char *data, size_t size,
                          int flips, unsigned long long *state)
{
    char *copy = malloc(size);

    memcpy(copy, data, size);
    while (flips-- > 0) {
        unsigned long long r = next_random(state);
        /* Headers and the first cells are worth more attention. */
        size_t place = (size_t)(r >> 16) % (r & 0x100 ? size : 200);

        copy[place] = (char)(r & 0x200 ? copy[place] ^ (1 << (r & 7))
                                       : (int)(r & 255));
    }
    write_file(name, copy, size);
    free(copy);
}

static void query_damaged(const cp_driver_t *driver, cp_sqlite_t *db)
{
    static const char *const queries[] = {
        "SELECT * FROM t ORDER BY b",
        "SELECT count(*) FROM t WHERE b > 'm'",
        "SELECT * FROM v",
        "SELECT * FROM f('word')",
        "SELECT sum(length(c)) FROM t",
        "INSERT INTO t VALUES(NULL, 'x', randomblob(9000))",
        "DELETE FROM t WHERE a % 2",
        "UPDATE t SET b = b || 'y'",
        NULL,
    };
    cp_error_t err = {0};
    void *conn;

    if (driver->open(db, cp_clock_after(patience(2000)), &conn, &err)
        != APR_SUCCESS) {
        ck_assert_int_ne(err.cls, CP_ERR_NONE);
        return;
    }
    for (const char *const *sql = queries; *sql; sql++) {
        cp_sqlite_set_deadline(conn, cp_clock_after(patience(200)));
        if (run(conn, *sql, &err) != APR_EOF) {
            ck_assert_int_ne(err.cls, CP_ERR_NONE);
        }
    }
    driver->reset(db, conn);
    driver->close(db, conn);
}

START_TEST(damaged_files_never_crash)
{
    int files = count_from_env("CP_TEST_DAMAGED", 2000);
    const char *log = apr_pstrcat(pool, path, "-wal", NULL);
    unsigned long long state = 88172645463325252ULL;
    size_t size, log_size;
    char *data, *log_data;
    sqlite3 *raw;

    make_db("PRAGMA page_size=1024; CREATE TABLE t(a INTEGER PRIMARY KEY, "
            "b, c); CREATE INDEX i ON t(b);"
            "CREATE VIEW v AS SELECT a, hex(b) AS h FROM t WHERE c IS NOT 0;"
            "CREATE TRIGGER g AFTER UPDATE ON t BEGIN SELECT NEW.b; END;"
            "CREATE VIRTUAL TABLE f USING fts5(x);" ENDLESS
            "INSERT INTO t SELECT i, 'b' || i, randomblob(i * 7) FROM n LIMIT "
            "60; INSERT INTO f SELECT 'word ' || i FROM (" ENDLESS
            "SELECT i FROM n LIMIT 40)");
    raw = raw_open();
    raw_exec(raw, "PRAGMA journal_mode=WAL; UPDATE t SET c = randomblob(300) "
                  "WHERE a < 30");
    data = read_whole(path, &size);
    log_data = read_whole(log, &log_size);
    sqlite3_close(raw);
    config.synchronous = "off";
    config.busy = MS(1);
    for (int i = 0; i < files; i++) {
        apr_pool_t *own = pool;
        int flips = 1 + (int)(next_random(&state) % 8);
        cp_sqlite_t *db;

        unlink(apr_pstrcat(pool, path, "-shm", NULL));
        write_mutated(path, data, size, i % 3 ? flips : 0, &state);
        write_mutated(log, log_data, log_size, i % 3 ? 0 : flips, &state);
        if (i % 6 == 1) {
            unlink(log);
        }
        apr_pool_create(&pool, own);
        db = make();
        query_damaged(&cp_sqlite_reader, db);
        query_damaged(&cp_sqlite_writer, db);
        apr_pool_destroy(pool);
        pool = own;
    }
    free(data);
    free(log_data);
}
END_TEST

/* --- the suite --- */

static TCase *add_case(Suite *suite, const char *name, double seconds)
{
    TCase *tc = tcase_create(name);

    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, seconds);
    suite_add_tcase(suite, tc);
    return tc;
}

/* --- what changes without the data --- */

static const char *volatile_of(void *conn, const char *sql)
{
    cp_statement_t *st = prepare(conn, sql);
    const char *word;

    step(st);
    word = cp_statement_volatile(st);
    cp_statement_finish(st);
    return word ? word : "";
}

START_TEST(volatile_functions_are_seen_within_views_too)
{
    void *conn, *writes;

    make_db("CREATE TABLE t(a); INSERT INTO t VALUES(1);"
            "CREATE VIEW later AS SELECT a, strftime('%s', 'now') AS n FROM t;"
            "CREATE VIEW dice AS SELECT random() AS r FROM t;"
            "CREATE VIEW stamp AS SELECT current_timestamp AS c;"
            "CREATE VIEW v AS SELECT a FROM t");
    conn = reader(make());
    ck_assert_str_eq(volatile_of(conn, "SELECT a FROM t"), "");
    ck_assert_str_eq(volatile_of(conn, "SELECT date(a) FROM t"), "");
    ck_assert_str_eq(volatile_of(conn, "SELECT random()"), "random");
    ck_assert_str_eq(volatile_of(conn, "SELECT CURRENT_DATE"), "current_date");
    ck_assert_str_eq(volatile_of(conn, "SELECT n FROM later"), "strftime");
    ck_assert_str_eq(volatile_of(conn, "SELECT r FROM dice"), "random");
    ck_assert_str_eq(volatile_of(conn, "SELECT c FROM stamp"),
                     "current_timestamp");
    ck_assert_str_eq(volatile_of(conn, "SELECT a FROM v"), "");
    ck_assert_str_eq(volatile_of(conn, "SELECT r FROM dice"), "random");

    writes = raw_open();
    raw_exec(writes, "DROP VIEW v; CREATE VIEW v AS SELECT changes() AS a");
    sqlite3_close(writes);
    ck_assert_str_eq(volatile_of(conn, "SELECT a FROM v"), "changes");
    leave(conn);
}
END_TEST

static void add_opening(Suite *suite)
{
    TCase *tc = add_case(suite, "opening", 20);

    tcase_add_test(tc, missing_file_is_a_storage_error);
    tcase_add_test(tc, volatile_functions_are_seen_within_views_too);
    tcase_add_test(tc, directory_is_a_storage_error);
    tcase_add_test(tc, named_pipe_is_refused_at_once);
    tcase_add_test(tc, garbage_is_a_storage_error);
    tcase_add_test(tc, empty_file_is_a_storage_error_and_stays_empty);
    tcase_add_test(tc, cut_header_is_a_storage_error);
    tcase_add_test(tc, cut_file_is_a_storage_error_and_spoils_the_connection);
    tcase_add_test(tc, file_that_comes_back_is_opened);
    tcase_add_test(tc, first_connection_switches_to_wal_and_later_ones_do_not);
    tcase_add_test(tc, readonly_touches_nothing);
    tcase_add_loop_test(
        tc, file_that_cannot_be_written_has_readers_and_no_writer, 0, 2);
    tcase_add_test(tc, version_risk_matches_the_library);
}

static void add_statements(Suite *suite)
{
    TCase *tc = add_case(suite, "statements", 20);

    tcase_add_test(tc, hostile_statements_fail_on_a_reader);
    tcase_add_test(tc, hostile_statements_fail_on_a_writer);
    tcase_add_test(tc, useful_statements_pass_the_authorizer);
    tcase_add_test(tc, reader_cannot_write);
    tcase_add_test(tc, only_one_statement_is_taken);
    tcase_add_test(tc, error_in_the_schema_is_not_the_clients_fault);
    tcase_add_test(tc, cache_keeps_64_statements_and_the_hot_one);
    tcase_add_test(tc, statement_is_prepared_once_and_not_shared_while_out);
    tcase_add_test(tc, changed_schema_is_noticed);
    tcase_add_test(tc, every_value_comes_back_exactly);
    tcase_add_test(tc, not_a_number_becomes_null);
    tcase_add_test(tc, unknown_parameters_are_told);
    tcase_add_test(tc, bindings_do_not_outlive_their_borrower);
    tcase_add_test(tc, values_of_the_client_are_input_errors);
    tcase_add_test(tc, endless_query_stops_at_its_deadline);
    tcase_add_test(tc, deadline_ends_with_the_release);
    tcase_add_test(tc, no_single_function_runs_for_long);
    tcase_add_test(tc, release_cleans_what_the_borrower_left);
    tcase_add_test(tc, memory_grows_with_use);
}

static void add_writes(Suite *suite)
{
    TCase *tc = add_case(suite, "writes", 60);

    tcase_add_test(tc, write_is_committed_or_rolled_back);
    tcase_add_test(tc, failed_commit_rolls_back_and_frees_the_lock);
    tcase_add_test(tc, interrupted_write_cannot_be_committed);
    tcase_add_test(tc, write_lock_has_a_deadline_and_is_freed_by_release);
    tcase_add_test(tc, checkpoint_needs_the_lock);
    tcase_add_test(tc, log_stays_short_under_small_writes);
    tcase_add_test(tc, pinned_log_costs_a_bounded_time_and_shrinks_afterwards);
    tcase_add_test(tc, foreign_lock_stops_writers_in_time_and_no_readers);
    tcase_add_test(tc, foreign_lock_at_the_start_delays_wal_not_the_answer);
    tcase_add_test(tc, replaced_file_is_noticed_once);
}

static void add_disasters(Suite *suite)
{
    TCase *tc = add_case(suite, "disasters", 120);

    tcase_add_test(tc, writers_of_many_processes_never_meet);
    if (!IS_THREAD_SANITIZER) {
        tcase_add_test(tc, killed_writer_loses_nothing_and_blocks_nobody);
    }
    tcase_add_test(tc, damaged_files_never_crash);
}

Suite *sqlite_suite(void)
{
    Suite *suite = suite_create("sqlite");

    add_opening(suite);
    add_statements(suite);
    add_writes(suite);
    add_disasters(suite);
    return suite;
}
