/* SPDX-License-Identifier: Apache-2.0
 * Whatever a statement does, it ends at its deadline: within long functions,
 * single instructions that read much, and SQLite's own sleeping. Functions that
 * stand in for SQLite's give what SQLite's give. Logs that were cut. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_strings.h>
#include <sqlite3.h>

#include "base/meanwhile.h"
#include "database/sqlite/sqlite.h"
#include "scratch.h"
#include "suites.h"

#define MS(n) apr_time_from_msec(n)

static apr_pool_t *pool;
static char dir[SCRATCH_SIZE];
static const char *path; /* of the database of the test */
static cp_sqlite_config_t config;

static void set_up(void)
{
    apr_pool_create(&pool, NULL);
    scratch_make(dir);
    path = apr_pstrcat(pool, dir, "/x.db", NULL);
    config = scratch_config(path);
    config.busy = apr_time_from_sec(5);
}

static void tear_down(void)
{
    scratch_remove(dir);
    apr_pool_destroy(pool);
}

static apr_interval_time_t patience(int milliseconds)
{
    const char *factor = getenv("CK_TIMEOUT_MULTIPLIER");

    return (apr_interval_time_t)((factor ? atof(factor) : 1)
                                 * (double)MS(milliseconds));
}

/* What another program does. */
static void make_db(const char *sql)
{
    sqlite3 *raw;
    char *message = NULL;

    ck_assert_int_eq(sqlite3_open(path, &raw), SQLITE_OK);
    sqlite3_exec(raw, sql, NULL, NULL, &message);
    ck_assert_msg(!message, "%s: %s", sql, message);
    sqlite3_close(raw);
}

static cp_sqlite_t *make(void)
{
    cp_sqlite_t *db;

    ck_assert_int_eq(cp_sqlite_create(&db, &config, pool), APR_SUCCESS);
    return db;
}

static void *open_with(const cp_driver_t *driver, cp_sqlite_t *db)
{
    cp_error_t err = {0};
    void *conn = NULL;
    apr_status_t rv = driver->open(db, cp_clock_after(patience(10000)), &conn,
                                   &err);

    ck_assert_msg(rv == APR_SUCCESS, "%s: %s", err.cause, err.detail);
    return conn;
}

/* Run it to its end; err tells what became of it. */
static void run(void *conn, const char *sql, cp_error_t *err)
{
    cp_statement_t *st;
    apr_status_t rv;

    cp_error_clear(err);
    rv = cp_statement_prepare(conn, sql, &st, err);
    if (rv != APR_SUCCESS) {
        return;
    }
    do {
        rv = cp_statement_step(st, err);
    } while (rv == APR_SUCCESS);
    cp_statement_finish(st);
}

static void run_ok(void *conn, const char *sql)
{
    cp_error_t err;

    run(conn, sql, &err);
    ck_assert_msg(err.cls == CP_ERR_NONE, "%s: %s: %s", sql, err.cause,
                  err.detail);
}

/* --- long statements --- */

#define NUMBERS                                                                \
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT "

/* Large values, with what is searched for in vain. */
#define LARGE                                                                  \
    "CREATE TABLE big(id INTEGER PRIMARY KEY, x TEXT);" NUMBERS                \
    "60) INSERT INTO big SELECT i, replace(hex(zeroblob(495000)), '0', 'a') "  \
    "FROM n;"                                                                  \
    "CREATE TABLE many(a, b);" NUMBERS                                         \
    "100000) INSERT INTO many SELECT i % 7, hex(randomblob(100)) FROM n;"      \
    "CREATE TABLE doc(d TEXT);" NUMBERS                                        \
    "40000) INSERT INTO doc SELECT json_group_object('k' || (i + 100000), i)"  \
    " FROM n"

#define LIMIT MS(200)

static const char *const long_ones[] = {
    "SELECT count(*) FROM big WHERE x LIKE "
    "'%aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab%'",
    "SELECT count(*) FROM big WHERE x LIKE "
    "'%_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!_' ESCAPE '!'",
    "SELECT count(*) FROM big WHERE x GLOB "
    "'*aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab*'",
    "SELECT sum(instr(x, substr(x, 1, 490000) || 'b')) FROM big a, "
    "(SELECT 1 FROM many LIMIT 1000)",
    "SELECT sum(length(replace(x, substr(x, 1, 300000) || 'b', 'c'))) "
    "FROM big, (SELECT 1 FROM many LIMIT 1000)",
    "SELECT length(trim(x, replace(hex(zeroblob(100000)), '0', 'b') || 'a')) "
    "FROM big",
    "SELECT length(ltrim(x, replace(hex(zeroblob(100000)), '0', 'b') || 'a')) "
    "FROM big",
    "SELECT length(rtrim(x, replace(hex(zeroblob(100000)), '0', 'b') || 'a')) "
    "FROM big",
    "SELECT sum(length(hex(substr(a.x, 1, 490000)))) FROM big a, big b, big c",
    "SELECT sum(length(upper(a.x)) + length(lower(a.x))) FROM big a, big b, "
    "big c",
    "SELECT sum(length(quote(a.x))) FROM big a, big b, big c",
    "SELECT sum(length(printf('%999000d', i))) FROM (" NUMBERS
    "100000) SELECT i FROM n)",
    "SELECT sum(length(randomblob(990000))) FROM many",
    "SELECT sum(length(zeroblob(990000) || a)) FROM many",
    "SELECT sum(json_valid('[' || x || ']')) FROM big, many",
    "SELECT group_concat(b) OVER (ROWS 4000 PRECEDING) FROM many",
    "SELECT x FROM big, many ORDER BY x DESC, b",
    "SELECT DISTINCT a.b || b.b FROM many a, many b",
    "SELECT count(*) FROM many a JOIN many b ON a.a < b.b COLLATE NOCASE",
    "SELECT count(*) FROM big a, big b, big c WHERE a.x < b.x COLLATE NOCASE",
    NUMBERS "-1) SELECT max(i) FROM n",
    "SELECT sum(length(json_patch(d, '{\"a\":1}'))) FROM doc, many",
    NULL,
};

static void stop_in_time(void *conn, const char *sql)
{
    apr_interval_time_t best = APR_INT64_MAX;

    /* A busy machine may stop us, too: some tries. */
    for (int i = 0; i < 4 && best >= LIMIT + MS(100); i++) {
        cp_clock_t begin = cp_clock_now();
        apr_interval_time_t took;
        cp_error_t err;

        cp_sqlite_set_deadline(conn, begin + LIMIT);
        run(conn, sql, &err);
        took = cp_clock_now() - begin;
        best = took < best ? took : best;
        cp_sqlite_set_deadline(conn, CP_CLOCK_NEVER);
        ck_assert_msg(err.cls == CP_ERR_DEADLINE, "%s: class %d (%s) in %d us",
                      sql, (int)err.cls, err.cls ? err.detail : "", (int)took);
    }
    ck_assert_msg(best >= LIMIT && best < LIMIT + patience(100), "%s: %d us",
                  sql, (int)best);
    run_ok(conn, "SELECT count(*) FROM big");
}

START_TEST(every_statement_ends_at_its_deadline)
{
    void *conn;

    make_db(LARGE);
    conn = open_with(&cp_sqlite_reader, make());
    for (const char *const *sql = long_ones; *sql; sql++) {
        stop_in_time(conn, *sql);
    }
    ck_assert_int_eq(cp_sqlite_reader.reset(NULL, conn), APR_SUCCESS);
    cp_sqlite_reader.close(NULL, conn);
}
END_TEST

/* One instruction that reads all pages, between two looks at the clock. */
START_TEST(single_instruction_ends_at_the_deadline)
{
    cp_error_t err;
    void *conn;

    make_db(LARGE);
    conn = open_with(&cp_sqlite_reader, make());
    for (int limit = 0; limit < 3; limit++) {
        cp_sqlite_set_deadline(conn, cp_clock_after(limit * 1000));
        run(conn, "SELECT count(*) FROM many", &err);
        ck_assert_int_eq(err.cls, CP_ERR_DEADLINE);
    }
    cp_sqlite_set_deadline(conn, CP_CLOCK_NEVER);
    run_ok(conn, "SELECT count(*) FROM many");
    cp_sqlite_reader.close(NULL, conn);
}
END_TEST

/* Not a deadline, for it is refused before it begins. */
START_TEST(patches_of_many_keys_are_too_large)
{
    cp_error_t err;
    void *conn;

    make_db(LARGE);
    conn = open_with(&cp_sqlite_reader, make());
    run(conn, "SELECT json_patch(d, d) FROM doc", &err);
    ck_assert_int_ne(err.cls, CP_ERR_NONE);
    ck_assert_ptr_nonnull(strstr(err.detail, "too big"));
    cp_sqlite_reader.close(NULL, conn);
}
END_TEST

static const char *const long_writes[] = {
    "DELETE FROM many",
    "UPDATE big SET x = trim(x, replace(hex(zeroblob(100000)), '0', 'b') "
    "|| 'a')",
    "INSERT INTO many SELECT a.b, b.b FROM many a, many b",
    "UPDATE many SET b = (SELECT count(*) FROM big WHERE x LIKE "
    "'%aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab')",
    NULL,
};

/* Nothing of it stays, and the file is whole. */
START_TEST(late_write_is_rolled_back)
{
    cp_sqlite_t *db;
    void *conn, *other;
    cp_error_t err;

    make_db(LARGE ";PRAGMA journal_mode=WAL");
    db = make();
    other = open_with(&cp_sqlite_reader, db);
    for (const char *const *sql = long_writes; *sql; sql++) {
        cp_clock_t begin = cp_clock_now();
        /* The first is quick where the disk is: it has no time at all. */
        apr_interval_time_t limit = sql == long_writes ? MS(2) : MS(100);

        conn = open_with(&cp_sqlite_writer, db);
        ck_assert_int_eq(cp_sqlite_begin(conn, begin + patience(1000), &err),
                         APR_SUCCESS);
        begin = cp_clock_now();
        cp_sqlite_set_deadline(conn, begin + limit);
        run(conn, *sql, &err);
        ck_assert_msg(err.cls == CP_ERR_DEADLINE, "%s: class %d", *sql,
                      (int)err.cls);
        ck_assert_msg(cp_clock_now() - begin < limit + patience(300), "%s: %d",
                      *sql, (int)(cp_clock_now() - begin));
        cp_sqlite_rollback(conn);
        cp_sqlite_writer.close(NULL, conn);
        run_ok(other, "SELECT abs(-9223372036854775807 - (count(*) <> 100000)) "
                      "FROM many");
    }
    cp_sqlite_reader.close(NULL, other);
    make_db("CREATE TEMP TABLE check_(x CHECK (x = 'ok'));"
            "INSERT INTO check_ SELECT * FROM pragma_integrity_check");
}
END_TEST

/* --- the same results --- */

static uint64_t seed = 88172645463325252;

static unsigned draw(unsigned below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed % below);
}

static sqlite3_stmt *prepare(sqlite3 *handle, const char *sql)
{
    sqlite3_stmt *stmt = NULL;

    ck_assert_msg(sqlite3_prepare_v2(handle, sql, -1, &stmt, NULL) == SQLITE_OK,
                  "%s: %s", sql, sqlite3_errmsg(handle));
    return stmt;
}

/* Text that wildcards, escapes, cases, characters of several bytes, and bytes
 * that are none have a part in. */
static size_t draw_text(char *text, size_t most)
{
    static const char *const parts[] = {"a",
                                        "A",
                                        "b",
                                        "B",
                                        "%",
                                        "_",
                                        "!",
                                        "ab",
                                        "aab",
                                        "\xc3\xa4",
                                        "\xc3\x84",
                                        "\xe2\x82\xac",
                                        "\xf0\x9f\x98\x80",
                                        "\x80",
                                        "\xc3",
                                        "\xff",
                                        "z",
                                        "@",
                                        "[",
                                        "`",
                                        "{",
                                        " ",
                                        "  ",
                                        "\\",
                                        "%%",
                                        "_%",
                                        "0",
                                        "\xed\xa0\x80"};
    size_t count = draw(12), size = 0;

    for (size_t i = 0; i < count; i++) {
        /* Mostly few different ones, or nothing would ever match. */
        const char
            *part = parts[draw(draw(3) ? 9 : sizeof(parts) / sizeof(parts[0]))];

        if (size + strlen(part) < most) {
            memcpy(text + size, part, strlen(part));
            size += strlen(part);
        }
    }
    return size;
}

static void bind_same(sqlite3_stmt *stmts[2], int i)
{
    static const char *const escapes[] = {"!", "%",  "_", "\xc3\xa4",
                                          "",  "!!", "a", "\\"};
    char text[128];
    size_t size = draw_text(text, sizeof(text));
    unsigned kind = draw(20);
    sqlite3_int64 number = (sqlite3_int64)draw(200) - 100;
    const char *escape = escapes[draw(8)];

    for (int s = 0; s < 2; s++) {
        if (i == 3 && kind > 3) {
            sqlite3_bind_text(stmts[s], i, escape, -1, SQLITE_TRANSIENT);
        }
        else if (kind == 0) {
            sqlite3_bind_null(stmts[s], i);
        }
        else if (kind == 1) {
            sqlite3_bind_int64(stmts[s], i, number);
        }
        else if (kind == 2) {
            sqlite3_bind_double(stmts[s], i, (double)number / 4);
        }
        else if (kind < 6) {
            sqlite3_bind_blob(stmts[s], i, text, (int)size, SQLITE_TRANSIENT);
        }
        else {
            sqlite3_bind_text(stmts[s], i, text, (int)size, SQLITE_TRANSIENT);
        }
    }
}

static void compare(sqlite3_stmt *stmts[2], const char *sql)
{
    int rc[2] = {sqlite3_step(stmts[0]), sqlite3_step(stmts[1])};

    ck_assert_msg(rc[0] == rc[1], "%s: %d %d %s", sql, rc[0], rc[1],
                  sqlite3_expanded_sql(stmts[0]));
    if (rc[0] == SQLITE_ROW) {
        const void *data[2] = {sqlite3_column_blob(stmts[0], 0),
                               sqlite3_column_blob(stmts[1], 0)};
        int size[2] = {sqlite3_column_bytes(stmts[0], 0),
                       sqlite3_column_bytes(stmts[1], 0)};

        ck_assert_msg(
            sqlite3_column_type(stmts[0], 0) == sqlite3_column_type(stmts[1], 0)
                && size[0] == size[1]
                && (size[0] == 0
                    || memcmp(data[0], data[1], (size_t)size[0]) == 0),
            "%s: '%s' '%s'", sqlite3_expanded_sql(stmts[0]),
            sqlite3_column_text(stmts[0], 0), sqlite3_column_text(stmts[1], 0));
    }
    sqlite3_reset(stmts[0]);
    sqlite3_reset(stmts[1]);
}

START_TEST(functions_give_what_those_of_sqlite_give)
{
    static const char *const calls[] = {
        "SELECT ?1 LIKE ?2",          "SELECT ?1 LIKE ?2 ESCAPE ?3",
        "SELECT ?1 NOT LIKE ?2",      "SELECT instr(?1, ?2)",
        "SELECT replace(?1, ?2, ?3)", "SELECT trim(?1)",
        "SELECT ltrim(?1)",           "SELECT rtrim(?1)",
        "SELECT trim(?1, ?2)",        "SELECT ltrim(?1, ?2)",
        "SELECT rtrim(?1, ?2)",       "SELECT hex(?1)",
        "SELECT upper(?1)",           "SELECT lower(?1)",
        "SELECT json_patch(?1, ?2)"};
    sqlite3 *raw;
    void *conn;

    make_db("CREATE TABLE t(x)");
    conn = open_with(&cp_sqlite_reader, make());
    ck_assert_int_eq(sqlite3_open(":memory:", &raw), SQLITE_OK);
    sqlite3_limit(raw, SQLITE_LIMIT_LENGTH, 1000000);
    sqlite3_limit(raw, SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50);
    sqlite3_extended_result_codes(raw, 1);
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        sqlite3_stmt *stmts[2] = {prepare(raw, calls[i]),
                                  prepare(cp_sqlite_handle(conn), calls[i])};

        for (int n = 0; n < 20000; n++) {
            for (int p = 1; p <= sqlite3_bind_parameter_count(stmts[0]); p++) {
                bind_same(stmts, p);
            }
            compare(stmts, calls[i]);
        }
        sqlite3_finalize(stmts[0]);
        sqlite3_finalize(stmts[1]);
    }
    sqlite3_close(raw);
    cp_sqlite_reader.close(NULL, conn);
}
END_TEST

static void plan(sqlite3 *handle, const char *sql, char text[512])
{
    sqlite3_stmt *stmt = prepare(
        handle, apr_pstrcat(pool, "EXPLAIN QUERY PLAN ", sql, NULL));

    text[0] = 0;
    while (sqlite3_step(stmt) == SQLITE_ROW) {
        strncat(text, (const char *)sqlite3_column_text(stmt, 3), 200);
    }
    sqlite3_finalize(stmt);
}

START_TEST(like_and_glob_still_use_an_index)
{
    static const char *const queries[] = {
        "SELECT * FROM t WHERE n LIKE 'abc%'",
        "SELECT * FROM t WHERE n LIKE 'abc!_%' ESCAPE '!'",
        "SELECT * FROM t WHERE b GLOB 'abc*'",
        "SELECT * FROM t WHERE upper(b) = 'ABC'",
    };
    char text[512];
    void *conn;

    make_db("CREATE TABLE t(n TEXT COLLATE NOCASE, b TEXT CHECK (b NOT LIKE "
            "'x%'), u TEXT GENERATED ALWAYS AS (upper(b)));"
            "CREATE INDEX tn ON t(n); CREATE INDEX tb ON t(b);"
            "CREATE INDEX tu ON t(upper(b));"
            "CREATE VIEW v AS SELECT replace(b, 'a', 'b') r FROM t "
            "WHERE instr(n, 'a')");
    conn = open_with(&cp_sqlite_reader, make());
    for (int i = 0; i < 4; i++) {
        plan(cp_sqlite_handle(conn), queries[i], text);
        ck_assert_msg(strstr(text, "SEARCH t USING INDEX"), "%s: %s",
                      queries[i], text);
    }
    run_ok(conn, "SELECT r FROM v, t WHERE u LIKE '%' AND trim(r) = 'a'");
    cp_sqlite_reader.close(NULL, conn);
}
END_TEST

/* --- locks of other programs --- */

/* A process that holds a lock on bytes of a file until it is killed. */
static pid_t hold_lock(const char *suffix, off_t from, off_t size, short kind)
{
    const char *name = apr_pstrcat(pool, path, suffix, NULL);
    int ready[2];
    char byte;
    pid_t pid;

    ck_assert_int_eq(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        struct flock lock = {.l_type = kind,
                             .l_whence = SEEK_SET,
                             .l_start = from,
                             .l_len = size};
        int fd = open(name, O_RDWR | O_CREAT, 0600);

        if (fd < 0 || fcntl(fd, F_SETLK, &lock) != 0) {
            _exit(1);
        }
        if (write(ready[1], "x", 1) != 1) {
            _exit(1);
        }
        pause();
        _exit(0);
    }
    close(ready[1]);
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

static void end_process(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static int calls;

static void count_call(void *baton)
{
    calls++;
}

/* How long the read took, and what it came to. */
static apr_interval_time_t read_locked(void *conn, apr_interval_time_t limit,
                                       cp_error_class_t *cls)
{
    cp_clock_t begin = cp_clock_now();
    cp_error_t err;

    cp_sqlite_set_deadline(conn, cp_clock_add(begin, limit));
    run(conn, "SELECT * FROM t", &err);
    cp_sqlite_set_deadline(conn, CP_CLOCK_NEVER);
    *cls = err.cls;
    return cp_clock_now() - begin;
}

START_TEST(lock_on_the_index_of_the_log_is_not_waited_for_in_vain)
{
    static const struct {
        off_t from, size;
    } locks[] = {{120, 8}, {123, 5}, {122, 6}};
    cp_error_class_t cls;
    apr_interval_time_t took;
    cp_sqlite_t *db;
    void *conn;

    make_db("PRAGMA journal_mode=WAL; CREATE TABLE t(a)");
    db = make();
    for (int i = 0; i < 3; i++) {
        pid_t pid;

        /* Nothing is pinned, or the lock could not be had. */
        config.busy = apr_time_from_sec(5);
        conn = open_with(&cp_sqlite_reader, db);
        pid = hold_lock("-shm", locks[i].from, locks[i].size, F_WRLCK);
        calls = 0;
        cp_meanwhile_set((cp_meanwhile_t){count_call, NULL});
        took = read_locked(conn, MS(200), &cls);
        cp_meanwhile_set((cp_meanwhile_t){NULL, NULL});
        ck_assert_int_eq(cls, CP_ERR_DEADLINE);
        ck_assert_msg(took >= MS(200) && took < MS(200) + patience(500),
                      "lock %d: %d us", i, (int)took);
        ck_assert_msg(calls > 5, "looked after what goes on %d times", calls);
        end_process(pid);
        ck_assert_int_eq(cp_sqlite_reader.reset(NULL, conn), APR_SUCCESS);
        run_ok(conn, "SELECT * FROM t");
        cp_sqlite_reader.close(NULL, conn);
    }
}
END_TEST

START_TEST(lock_on_the_index_of_the_log_ends_the_patience)
{
    cp_error_class_t cls;
    apr_interval_time_t took;
    void *conn;
    pid_t pid;

    config.busy = MS(150);
    make_db("PRAGMA journal_mode=WAL; CREATE TABLE t(a)");
    conn = open_with(&cp_sqlite_reader, make());
    pid = hold_lock("-shm", 120, 8, F_WRLCK);
    took = read_locked(conn, -1, &cls);
    end_process(pid);
    ck_assert_int_eq(cls, CP_ERR_STORAGE);
    ck_assert_msg(took >= MS(150) && took < MS(150) + patience(100), "%d us",
                  (int)took);
    run_ok(conn, "SELECT * FROM t");
    cp_sqlite_reader.close(NULL, conn);
}
END_TEST

static void open_in_time(off_t from, off_t size)
{
    cp_sqlite_t *db = make();
    void *conn = NULL;
    cp_error_t err = {0};
    pid_t pid = hold_lock("-shm", from, size, F_WRLCK);
    cp_clock_t begin = cp_clock_now();
    apr_interval_time_t took;

    ck_assert_int_ne(
        cp_sqlite_reader.open(db, cp_clock_after(MS(300)), &conn, &err),
        APR_SUCCESS);
    took = cp_clock_now() - begin;
    end_process(pid);
    ck_assert_int_eq(err.cls, CP_ERR_STORAGE);
    ck_assert_msg(took < MS(300) + patience(100), "%d us", (int)took);
}

START_TEST(opening_waits_no_longer_than_it_may)
{
    void *first;

    make_db("PRAGMA journal_mode=WAL; CREATE TABLE t(a)");
    open_in_time(128, 1); /* of whoever makes the index */
    first = open_with(&cp_sqlite_reader, make());
    open_in_time(120, 8);
    cp_sqlite_reader.close(NULL, first);
}
END_TEST

START_TEST(version_is_not_waited_for)
{
    cp_sentinel_t *sentinel;
    cp_version_t version;
    cp_sqlite_t *db;
    cp_error_t err;
    cp_clock_t begin;
    apr_interval_time_t took;
    pid_t pid;

    make_db("PRAGMA journal_mode=WAL; CREATE TABLE t(a)");
    db = make();
    ck_assert_int_eq(cp_sentinel_create(&sentinel, db, pool), APR_SUCCESS);
    ck_assert_int_eq(cp_sentinel_version(sentinel, &version, &err),
                     APR_SUCCESS);
    pid = hold_lock("-shm", 120, 8, F_WRLCK);
    begin = cp_clock_now();
    ck_assert_int_ne(cp_sentinel_version(sentinel, &version, &err),
                     APR_SUCCESS);
    took = cp_clock_now() - begin;
    end_process(pid);
    ck_assert_msg(took < patience(100), "%d us", (int)took);
    ck_assert_int_eq(cp_sentinel_version(sentinel, &version, &err),
                     APR_SUCCESS);
}
END_TEST

/* --- logs that were cut --- */

static apr_status_t insert(void *conn, cp_error_t *err)
{
    apr_status_t rv = cp_sqlite_begin(conn, cp_clock_after(patience(2000)),
                                      err);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    run(conn, "INSERT INTO t VALUES (hex(randomblob(3000)))", err);
    if (err->cls != CP_ERR_NONE) {
        cp_sqlite_rollback(conn);
        return APR_EGENERAL;
    }
    return cp_sqlite_commit(conn, err);
}

START_TEST(nothing_is_written_to_a_log_that_was_cut)
{
    static const int percents[] = {0, 30, 70, 99, 0, 50};
    struct stat st;

    for (int i = 0; i < 6; i++) {
        const char *log = apr_pstrcat(pool, path, "-wal", NULL);
        cp_sqlite_t *db;
        void *conn;
        cp_error_t err;

        make_db("PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS t(a);"
                "PRAGMA wal_checkpoint(TRUNCATE)");
        db = make();
        conn = open_with(&cp_sqlite_writer, db);
        for (int n = 0; n < 20; n++) {
            ck_assert_int_eq(insert(conn, &err), APR_SUCCESS);
        }
        ck_assert_int_eq(stat(log, &st), 0);
        ck_assert_int_eq(truncate(log, st.st_size * percents[i] / 100), 0);
        if (i >= 4) {
            /* And is as long as before. */
            ck_assert_int_eq(truncate(log, st.st_size), 0);
        }
        for (int n = 0; n < 3; n++) {
            ck_assert_int_ne(insert(conn, &err), APR_SUCCESS);
            ck_assert_int_eq(err.cls, CP_ERR_STORAGE);
            ck_assert_ptr_nonnull(strstr(err.cause, "cut"));
        }
        /* Maintenance moves nothing of it to the database, either. */
        for (int n = 0; n < 3; n++) {
            cp_sqlite_tidy(db);
        }
        cp_sqlite_writer.close(db, conn);
        make_db("CREATE TEMP TABLE check_(x CHECK (x = 'ok'));"
                "INSERT INTO check_ SELECT * FROM pragma_integrity_check");
    }
}
END_TEST

/* Between BEGIN and the pages of the write. */
START_TEST(log_cut_within_a_write_fails_the_write)
{
    const char *log = apr_pstrcat(pool, path, "-wal", NULL);
    cp_error_t err;
    void *conn;

    make_db("PRAGMA journal_mode=WAL; CREATE TABLE t(a)");
    conn = open_with(&cp_sqlite_writer, make());
    for (int n = 0; n < 20; n++) {
        ck_assert_int_eq(insert(conn, &err), APR_SUCCESS);
    }
    ck_assert_int_eq(
        cp_sqlite_begin(conn, cp_clock_after(patience(2000)), &err),
        APR_SUCCESS);
    run_ok(conn, "INSERT INTO t VALUES (1)");
    ck_assert_int_eq(truncate(log, 0), 0);
    ck_assert_int_ne(cp_sqlite_commit(conn, &err), APR_SUCCESS);
    ck_assert_int_eq(err.cls, CP_ERR_STORAGE);
    ck_assert_ptr_nonnull(strstr(err.cause, "cut"));
    cp_sqlite_writer.close(NULL, conn);
}
END_TEST

/* SQLite itself makes logs shorter, and begins them anew. */
START_TEST(log_that_sqlite_empties_is_none_that_was_cut)
{
    cp_error_t err;
    sqlite3 *raw;
    void *conn;

    make_db("PRAGMA journal_mode=WAL; CREATE TABLE t(a)");
    conn = open_with(&cp_sqlite_writer, make());
    ck_assert_int_eq(sqlite3_open(path, &raw), SQLITE_OK);
    for (int n = 0; n < 50; n++) {
        ck_assert_int_eq(insert(conn, &err), APR_SUCCESS);
        if (n % 5 == 0) {
            sqlite3_exec(raw,
                         n % 2 ? "PRAGMA wal_checkpoint(TRUNCATE)"
                               : "PRAGMA wal_checkpoint(RESTART)",
                         NULL, NULL, NULL);
        }
    }
    sqlite3_close(raw);
    cp_sqlite_writer.close(NULL, conn);
}
END_TEST

Suite *sqlite_time_suite(void)
{
    Suite *suite = suite_create("sqlite_time");
    TCase *tc = tcase_create("time");

    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, every_statement_ends_at_its_deadline);
    tcase_add_test(tc, single_instruction_ends_at_the_deadline);
    tcase_add_test(tc, patches_of_many_keys_are_too_large);
    tcase_add_test(tc, late_write_is_rolled_back);
    tcase_add_test(tc, functions_give_what_those_of_sqlite_give);
    tcase_add_test(tc, like_and_glob_still_use_an_index);
    tcase_add_test(tc, lock_on_the_index_of_the_log_is_not_waited_for_in_vain);
    tcase_add_test(tc, lock_on_the_index_of_the_log_ends_the_patience);
    tcase_add_test(tc, opening_waits_no_longer_than_it_may);
    tcase_add_test(tc, version_is_not_waited_for);
    tcase_add_test(tc, nothing_is_written_to_a_log_that_was_cut);
    tcase_add_test(tc, log_cut_within_a_write_fails_the_write);
    tcase_add_test(tc, log_that_sqlite_empties_is_none_that_was_cut);
    suite_add_tcase(suite, tc);
    return suite;
}
