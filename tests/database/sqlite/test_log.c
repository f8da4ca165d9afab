/* SPDX-License-Identifier: Apache-2.0
 * A write-ahead log that another program removes while it is in use: what was
 * acknowledged is there afterwards, for everybody. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_strings.h>
#include <sqlite3.h>

#include "database/sqlite/sqlite.h"
#include "scratch.h"
#include "suites.h"

static apr_pool_t *pool;
static char dir[SCRATCH_SIZE];
static const char *path, *log_path, *index_path;
static cp_sqlite_config_t config;
static cp_database_t *db;

/* --- what another program does --- */

static sqlite3 *raw_open(void)
{
    sqlite3 *raw;

    ck_assert_int_eq(sqlite3_open(path, &raw), SQLITE_OK);
    return raw;
}

/* It cannot copy a log itself. */
static sqlite3 *raw_reader(void)
{
    sqlite3 *raw;

    ck_assert_int_eq(sqlite3_open_v2(path, &raw, SQLITE_OPEN_READONLY, NULL),
                     SQLITE_OK);
    return raw;
}

static void raw_exec(sqlite3 *raw, const char *sql)
{
    int rc = sqlite3_exec(raw, sql, NULL, NULL, NULL);

    ck_assert_msg(rc == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(raw));
}

static int raw_count(void)
{
    sqlite3 *raw = raw_open();
    sqlite3_stmt *stmt;
    int count = -1;

    ck_assert_int_eq(
        sqlite3_prepare_v2(raw, "SELECT count(*) FROM t", -1, &stmt, NULL),
        SQLITE_OK);
    if (sqlite3_step(stmt) == SQLITE_ROW) {
        count = sqlite3_column_int(stmt, 0);
    }
    sqlite3_finalize(stmt);
    sqlite3_close(raw);
    return count;
}

static void remove_log(void)
{
    ck_assert_int_eq(unlink(log_path), 0);
}

/* --- what the module does --- */

static cp_clock_t soon(void)
{
    return cp_clock_after(apr_time_from_sec(20));
}

/* NULL if it cannot be. */
static void *try_open(const cp_driver_t *driver)
{
    cp_error_t err = {0};
    void *conn = NULL;

    driver->open(db, soon(), &conn, &err);
    return conn;
}

static void *writer(void)
{
    void *conn = try_open(&cp_sqlite_writer);

    ck_assert_ptr_nonnull(conn);
    return conn;
}

static void leave(void *conn)
{
    cp_sqlite_writer.reset(db, conn);
    cp_sqlite_writer.close(db, conn);
}

static apr_status_t run(void *conn, const char *sql)
{
    cp_error_t err = {0};
    cp_statement_t *st;
    apr_status_t rv = cp_statement_prepare(conn, sql, &st, &err);

    if (rv == APR_SUCCESS) {
        while ((rv = cp_statement_step(st, &err)) == APR_SUCCESS) {
        }
        cp_statement_finish(st);
    }
    return rv == APR_EOF ? APR_SUCCESS : rv;
}

#define INSERT "INSERT INTO t VALUES(randomblob(300))"

/* True when it is acknowledged. */
static int insert(void *conn)
{
    cp_error_t err = {0};

    if (cp_sqlite_begin(conn, soon(), &err) != APR_SUCCESS) {
        return 0;
    }
    if (run(conn, INSERT) != APR_SUCCESS) {
        cp_sqlite_rollback(conn);
        return 0;
    }
    return cp_sqlite_commit(conn, &err) == APR_SUCCESS;
}

/* -1: refused. */
static int count(void *conn)
{
    cp_error_t err = {0};
    cp_statement_t *st;
    cp_value_t value;
    int number = -1;

    if (cp_statement_prepare(conn, "SELECT count(*) FROM t", &st, &err)
        != APR_SUCCESS) {
        return -1;
    }
    if (cp_statement_step(st, &err) == APR_SUCCESS) {
        cp_statement_row(st, &value);
        number = (int)value.as.integer;
    }
    cp_statement_finish(st);
    return number;
}

static void set_up(void)
{
    sqlite3 *raw;

    apr_pool_create(&pool, NULL);
    scratch_make(dir);
    path = apr_pstrcat(pool, dir, "/x.db", NULL);
    log_path = apr_pstrcat(pool, path, "-wal", NULL);
    index_path = apr_pstrcat(pool, path, "-shm", NULL);
    config = scratch_config(path);
    raw = raw_open();
    raw_exec(raw, "PRAGMA journal_mode=WAL; CREATE TABLE t(a)");
    sqlite3_close(raw);
    ck_assert_int_eq(cp_sqlite_driver.create(&db, &config, NULL, pool),
                     APR_SUCCESS);
}

static void tear_down(void)
{
    apr_pool_destroy(pool);
    scratch_remove(dir);
}

/* The child ends. */
static void end(void)
{
    apr_pool_t *mine;

    apr_pool_create(&mine, NULL);
    path = apr_pstrdup(mine, path);
    apr_pool_destroy(pool);
    pool = mine;
}

START_TEST(removed_between_commit_and_close_is_copied)
{
    void *conn = writer();

    for (int i = 0; i < 5; i++) {
        ck_assert(insert(conn));
    }
    remove_log();
    leave(conn);
    ck_assert_int_eq(raw_count(), 5);
}
END_TEST

START_TEST(removed_before_the_commit_is_acknowledged_and_copied)
{
    cp_error_t err = {0};
    void *conn = writer();

    ck_assert(insert(conn));
    ck_assert_int_eq(cp_sqlite_begin(conn, soon(), &err), APR_SUCCESS);
    ck_assert_int_eq(run(conn, INSERT), APR_SUCCESS);
    remove_log();
    ck_assert_int_eq(cp_sqlite_commit(conn, &err), APR_SUCCESS);
    ck_assert_int_eq(raw_count(), 2);
    leave(conn);
    ck_assert_int_eq(raw_count(), 2);
}
END_TEST

/* Whoever comes new makes an empty log, and must not end the old one's. */
START_TEST(new_connections_do_not_end_what_the_old_log_has)
{
    void *conn = writer(), *other;

    for (int i = 0; i < 5; i++) {
        ck_assert(insert(conn));
    }
    remove_log();
    other = try_open(&cp_sqlite_reader);
    ck_assert_int_eq(access(log_path, F_OK), 0);
    if (other) {
        leave(other);
    }
    other = try_open(&cp_sqlite_writer);
    if (other) {
        ck_assert(!insert(other));
        leave(other);
    }
    ck_assert(!insert(conn));
    leave(conn);
    ck_assert_int_eq(raw_count(), 5);
    conn = writer();
    ck_assert(insert(conn));
    ck_assert_int_eq(count(conn), 6);
    leave(conn);
}
END_TEST

/* What it has open is told from the opening, not from the first write. */
START_TEST(replaced_before_the_first_write_is_noticed)
{
    void *early = writer(), *conn = writer();
    int acknowledged;

    ck_assert(insert(conn));
    remove_log();
    leave(conn);
    conn = writer();
    ck_assert(insert(conn));
    acknowledged = 2 + insert(early);
    ck_assert_int_eq(raw_count(), acknowledged);
    leave(early);
    leave(conn);
    ck_assert_int_eq(raw_count(), acknowledged);
}
END_TEST

START_TEST(others_who_have_the_old_log_give_it_up)
{
    void *conn = writer(), *second = writer();

    ck_assert(insert(second));
    ck_assert(insert(conn));
    remove_log();
    leave(conn);
    conn = writer();
    ck_assert(insert(conn));
    ck_assert(!insert(second));
    leave(second);
    ck_assert_int_eq(raw_count(), 3);
    ck_assert(insert(conn));
    leave(conn);
    ck_assert_int_eq(raw_count(), 4);
}
END_TEST

/* While somebody reads what was before, nothing newer may come into the
 * database. */
START_TEST(a_reader_only_delays_the_copy)
{
    void *conn = writer();
    sqlite3 *raw = raw_reader();
    sqlite3_stmt *stmt;

    ck_assert(insert(conn));
    ck_assert(insert(conn));
    ck_assert_int_eq(
        sqlite3_prepare_v2(raw, "SELECT a FROM t", -1, &stmt, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
    ck_assert(insert(conn));
    remove_log();
    leave(conn);
    cp_sqlite_driver.tend(db);
    ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
    ck_assert_int_eq(sqlite3_step(stmt), SQLITE_DONE);
    sqlite3_finalize(stmt);
    sqlite3_close(raw);
    cp_sqlite_driver.tend(db);
    ck_assert_int_eq(raw_count(), 3);
    conn = writer();
    ck_assert(insert(conn));
    leave(conn);
    ck_assert_int_eq(raw_count(), 4);
}
END_TEST

START_TEST(the_end_of_the_child_copies_what_was_kept)
{
    void *conn = writer();
    sqlite3 *raw = raw_reader();
    sqlite3_stmt *stmt;

    ck_assert(insert(conn));
    ck_assert_int_eq(
        sqlite3_prepare_v2(raw, "SELECT a FROM t", -1, &stmt, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
    ck_assert(insert(conn));
    remove_log();
    cp_sqlite_stop(db);
    leave(conn);
    sqlite3_finalize(stmt);
    sqlite3_close(raw);
    end();
    ck_assert_int_eq(raw_count(), 2);
}
END_TEST

/* A log that was emptied, and begun anew by others at its path, must not pass
 * for what the index speaks of. */
START_TEST(readers_of_the_old_log_do_not_take_it_for_the_new_one)
{
    void *conn = writer(), *old;
    sqlite3 *raw;
    int seen;

    for (int i = 0; i < 40; i++) {
        ck_assert(insert(conn));
    }
    old = try_open(&cp_sqlite_reader);
    ck_assert_int_eq(count(old), 40);
    raw = raw_open();
    raw_exec(raw, "PRAGMA wal_checkpoint(PASSIVE)");
    sqlite3_close(raw);
    remove_log();
    raw = raw_open();
    raw_exec(raw, "DELETE FROM t WHERE rowid > 10");
    for (int i = 0; i < 3; i++) {
        seen = count(old);
        ck_assert_msg(seen == 10 || seen == -1, "%d", seen);
    }
    sqlite3_close(raw);
    leave(old);
    leave(conn);
    ck_assert_int_eq(raw_count(), 10);
}
END_TEST

/* SQLite has the log beside the file itself. */
START_TEST(behind_a_link_a_removed_log_is_noticed)
{
    const char *link = apr_pstrcat(pool, dir, "/link.db", NULL);
    void *conn;

    ck_assert_int_eq(symlink(path, link), 0);
    config.path = link;
    ck_assert_int_eq(cp_sqlite_driver.create(&db, &config, NULL, pool),
                     APR_SUCCESS);
    conn = writer();
    ck_assert(insert(conn));
    ck_assert(insert(conn));
    remove_log();
    leave(conn);
    ck_assert_int_eq(raw_count(), 2);
}
END_TEST

/* Both go: there is nobody yet with another index. */
START_TEST(removed_with_its_index_is_copied)
{
    void *conn = writer();

    ck_assert(insert(conn));
    ck_assert(insert(conn));
    remove_log();
    ck_assert_int_eq(unlink(index_path), 0);
    leave(conn);
    ck_assert_int_eq(raw_count(), 2);
}
END_TEST

/* Two programs with an index each would write over each other's frames: those
 * of us that have the old one write nothing, and end. */
START_TEST(nobody_writes_by_an_index_that_others_do_not_find)
{
    void *conn = writer(), *other = writer();
    pid_t pid;
    int status;

    ck_assert(insert(conn));
    ck_assert(insert(other));
    remove_log();
    ck_assert_int_eq(unlink(index_path), 0);
    leave(conn);
    pid = fork();
    if (pid == 0) {
        /* As another program does. */
        execlp("sqlite3", "sqlite3", path, "INSERT INTO t VALUES(1)", NULL);
        _exit(127);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    ck_assert(!insert(other));
    ck_assert_ptr_null(try_open(&cp_sqlite_writer));
    leave(other);
    conn = writer();
    ck_assert(insert(conn));
    ck_assert_int_eq(count(conn), 4);
    leave(conn);
    ck_assert_int_eq(raw_count(), 4);
}
END_TEST

/* It came, was opened, and went between two looks. */
START_TEST(a_short_lived_log_is_noticed)
{
    void *conn;

    cp_sqlite_file_changed(db);
    conn = writer();
    ck_assert(insert(conn));
    remove_log();
    ck_assert_int_eq(cp_sqlite_file_changed(db), 1);
    ck_assert_int_eq(cp_sqlite_file_changed(db), 0);
    leave(conn);
    ck_assert_int_eq(raw_count(), 1);
}
END_TEST

Suite *log_suite(void)
{
    Suite *suite = suite_create("log");
    TCase *tc = tcase_create("removed");

    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, removed_between_commit_and_close_is_copied);
    tcase_add_test(tc, removed_before_the_commit_is_acknowledged_and_copied);
    tcase_add_test(tc, new_connections_do_not_end_what_the_old_log_has);
    tcase_add_test(tc, replaced_before_the_first_write_is_noticed);
    tcase_add_test(tc, others_who_have_the_old_log_give_it_up);
    tcase_add_test(tc, a_reader_only_delays_the_copy);
    tcase_add_test(tc, the_end_of_the_child_copies_what_was_kept);
    tcase_add_test(tc, readers_of_the_old_log_do_not_take_it_for_the_new_one);
    tcase_add_test(tc, behind_a_link_a_removed_log_is_noticed);
    tcase_add_test(tc, removed_with_its_index_is_copied);
    tcase_add_test(tc, nobody_writes_by_an_index_that_others_do_not_find);
    tcase_add_test(tc, a_short_lived_log_is_noticed);
    suite_add_tcase(suite, tc);
    return suite;
}
