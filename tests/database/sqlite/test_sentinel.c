/* SPDX-License-Identifier: Apache-2.0
 * Real files, and a writer in a process of its own. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apr_strings.h>
#include <sqlite3.h>

#include "database/sqlite/sqlite.h"
#include "scratch.h"
#include "suites.h"

enum {
    THREADS = 4,
    COMMITS = 1000,
};

static apr_pool_t *pool;
static char dir[SCRATCH_SIZE];
static const char *path;
static cp_sqlite_config_t config;
static cp_sqlite_t *db;
static cp_sentinel_t *sentinel;

/* --- another program --- */

static pid_t program;
static int to_program, from_program;

static void run_line(sqlite3 **handle, const char *name, const char *line)
{
    char answer = 'y';

    if (strcmp(line, "close") == 0) {
        sqlite3_close(*handle);
        *handle = NULL;
    }
    else if ((!*handle && sqlite3_open(name, handle) != SQLITE_OK)
             || sqlite3_exec(*handle, line, NULL, NULL, NULL) != SQLITE_OK) {
        answer = 'n';
    }
    if (write(from_program, &answer, 1) != 1) {
        _exit(1);
    }
}

static void be_program(int from, const char *name)
{
    FILE *lines = fdopen(from, "r");
    sqlite3 *handle = NULL;
    char line[1024];

    while (fgets(line, sizeof(line), lines)) {
        line[strcspn(line, "\n")] = '\0';
        run_line(&handle, name, line);
    }
    sqlite3_close(handle);
    _exit(0);
}

/* Before SQLite opens anything here: its locks do not survive a fork. */
static void start_program(const char *name)
{
    int in[2], out[2];

    ck_assert_int_eq(pipe(in) | pipe(out), 0);
    program = fork();
    ck_assert_int_ge(program, 0);
    if (program == 0) {
        close(in[1]);
        close(out[0]);
        from_program = out[1];
        be_program(in[0], name);
    }
    close(in[0]);
    close(out[1]);
    to_program = in[1];
    from_program = out[0];
}

static void end_program(void)
{
    close(to_program);
    waitpid(program, NULL, 0);
    close(from_program);
}

static int try_other(const char *sql)
{
    const char *line = apr_pstrcat(pool, sql, "\n", NULL);
    char answer = 0;

    ck_assert_int_eq(write(to_program, line, strlen(line)),
                     (ssize_t)strlen(line));
    ck_assert_int_eq(read(from_program, &answer, 1), 1);
    return answer == 'y';
}

/* Done, and committed, when it returns. */
static void other(const char *sql)
{
    ck_assert_msg(try_other(sql), "the other program failed: %s", sql);
}

/* --- fixture --- */

/* Deadlines and pauses pass when a test says so. */
static apr_time_t skipped; /* atomic */

static cp_clock_t shifted_clock(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (cp_clock_t)ts.tv_sec * APR_USEC_PER_SEC + ts.tv_nsec / 1000
           + __atomic_load_n(&skipped, __ATOMIC_RELAXED);
}

static void skip(apr_time_t time)
{
    __atomic_add_fetch(&skipped, time, __ATOMIC_RELAXED);
}

/* Connections to files that were opened in this process. */
static unsigned opened; /* atomic */

static int count_open(sqlite3 *handle, char **message, const void *api)
{
    const char *file = sqlite3_db_filename(handle, "main");

    if (file && *file) {
        __atomic_add_fetch(&opened, 1, __ATOMIC_RELAXED);
    }
    return SQLITE_OK;
}

static unsigned opened_here(void)
{
    return __atomic_load_n(&opened, __ATOMIC_RELAXED);
}

static void make_sentinel(void)
{
    ck_assert_int_eq(cp_sqlite_create(&db, &config, pool), APR_SUCCESS);
    ck_assert_int_eq(cp_sentinel_create(&sentinel, db, pool), APR_SUCCESS);
}

static void set_up(void)
{
    apr_pool_create(&pool, NULL);
    cp_clock_replace(shifted_clock);
    scratch_make(dir);
    path = apr_pstrcat(pool, dir, "/x.db", NULL);
    config = scratch_config(path);
    config.busy = apr_time_from_sec(5);
    config.synchronous = "off";
    start_program(path);
    opened = 0;
    sqlite3_auto_extension((void (*)(void))count_open);
    other("PRAGMA journal_mode=WAL; PRAGMA synchronous=off;"
          "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
    make_sentinel();
}

static void tear_down(void)
{
    apr_pool_destroy(pool);
    end_program();
    scratch_remove(dir);
    sqlite3_cancel_auto_extension((void (*)(void))count_open);
    cp_clock_replace(NULL);
}

/* --- what the tests ask --- */

static cp_version_t version(void)
{
    cp_version_t now = {0, 0};
    cp_error_t err = {0};
    apr_status_t rv = cp_sentinel_version(sentinel, &now, &err);

    ck_assert_msg(rv == APR_SUCCESS, "%s", err.detail);
    return now;
}

static void version_fails(cp_error_class_t cls)
{
    cp_version_t now;
    cp_error_t err = {0};

    ck_assert_int_ne(cp_sentinel_version(sentinel, &now, &err), APR_SUCCESS);
    ck_assert_msg(err.cls == cls, "%s", err.detail);
    ck_assert_ptr_null(strchr(err.cause, '/'));
}

static void same_as(cp_version_t before)
{
    cp_version_t now = version();

    ck_assert_uint_eq(now.epoch, before.epoch);
    ck_assert_uint_eq(now.number, before.number);
}

static cp_version_t changed_from(cp_version_t before)
{
    cp_version_t now = version();

    ck_assert(!cp_version_equals(now, before));
    return now;
}

static cp_version_t changed_within_epoch(cp_version_t before)
{
    cp_version_t now = changed_from(before);

    ck_assert_uint_eq(now.epoch, before.epoch);
    return now;
}

static cp_version_t changed_epoch(cp_version_t before)
{
    cp_version_t now = version();

    ck_assert_uint_ne(now.epoch, before.epoch);
    return now;
}

static void *open_conn(const cp_driver_t *driver)
{
    cp_error_t err = {0};
    void *conn = NULL;
    apr_status_t rv = driver->open(db, cp_clock_after(apr_time_from_sec(10)),
                                   &conn, &err);

    ck_assert_msg(rv == APR_SUCCESS, "%s", err.detail);
    return conn;
}

static void close_conn(void *conn)
{
    cp_sqlite_reader.close(NULL, conn);
}

static cp_statement_t *prepare(void *conn, const char *sql)
{
    cp_error_t err = {0};
    cp_statement_t *st;

    ck_assert_msg(cp_statement_prepare(conn, sql, &st, &err) == APR_SUCCESS,
                  "%s: %s", sql, err.detail);
    return st;
}

static apr_int64_t count_rows(void *conn)
{
    cp_statement_t *st = prepare(conn, "SELECT count(*) FROM t");
    cp_error_t err = {0};
    cp_value_t value;

    ck_assert_int_eq(cp_statement_step(st, &err), APR_SUCCESS);
    cp_statement_row(st, &value);
    cp_statement_finish(st);
    return value.as.integer;
}

static void insert_here(void *conn)
{
    cp_error_t err = {0};
    cp_clock_t deadline = cp_clock_after(apr_time_from_sec(10));
    cp_statement_t *st;

    ck_assert_int_eq(cp_sqlite_begin(conn, deadline, &err), APR_SUCCESS);
    st = prepare(conn, "INSERT INTO t VALUES(0)");
    ck_assert_int_eq(cp_statement_step(st, &err), APR_EOF);
    cp_statement_finish(st);
    ck_assert_int_eq(cp_sqlite_commit(conn, &err), APR_SUCCESS);
}

static const char *beside(const char *suffix)
{
    return apr_pstrcat(pool, path, suffix, NULL);
}

/* --- commits --- */

START_TEST(every_commit_of_another_program_changes_it)
{
    cp_version_t now = version();

    for (int i = 0; i < COMMITS; i++) {
        other("INSERT INTO t VALUES(1)");
        now = changed_within_epoch(now);
    }
    ck_assert_uint_eq(opened_here(), 1);
}
END_TEST

START_TEST(every_commit_of_this_process_changes_it)
{
    void *conn = open_conn(&cp_sqlite_writer);
    cp_version_t now = version();

    for (int i = 0; i < 50; i++) {
        insert_here(conn);
        now = changed_within_epoch(now);
    }
    close_conn(conn);
}
END_TEST

START_TEST(nothing_changes_it_while_nobody_commits)
{
    void *conn = open_conn(&cp_sqlite_reader);
    cp_version_t now = version();

    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(count_rows(conn), 1);
        same_as(now);
    }
    other("BEGIN; INSERT INTO t VALUES(2)");
    same_as(now);
    other("ROLLBACK");
    same_as(now);
    other("BEGIN; INSERT INTO t VALUES(2)");
    same_as(now);
    other("COMMIT");
    changed_within_epoch(now);
    close_conn(conn);
}
END_TEST

START_TEST(commits_around_checkpoints_change_it)
{
    static const char *const modes[] = {"PASSIVE", "FULL", "RESTART",
                                        "TRUNCATE"};
    cp_version_t now = version();

    for (int i = 0; i < 40; i++) {
        const char *checkpoint = apr_psprintf(pool, "PRAGMA wal_checkpoint(%s)",
                                              modes[i % 4]);

        other("UPDATE t SET a = a + 1");
        now = changed_within_epoch(now);
        other(checkpoint);
        other("UPDATE t SET a = a - 1");
        now = changed_within_epoch(now);
        other("UPDATE t SET a = a + 1");
        other(checkpoint);
        now = changed_within_epoch(now);
    }
}
END_TEST

START_TEST(schema_and_vacuum_change_it)
{
    static const char *const statements[] = {
        "CREATE TABLE u(b)",
        "ALTER TABLE u ADD COLUMN c",
        "CREATE INDEX i ON t(a)",
        "DROP TABLE u",
        "VACUUM",
        "PRAGMA user_version=7",
        "ANALYZE",
        "DELETE FROM t",
        "VACUUM",
    };
    cp_version_t now = version();

    for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
        other(statements[i]);
        now = changed_within_epoch(now);
    }
}
END_TEST

START_TEST(commit_between_version_and_query_is_a_miss)
{
    void *conn = open_conn(&cp_sqlite_reader);
    cp_version_t before = version();

    other("INSERT INTO t VALUES(2)");
    ck_assert(cp_sqlite_is_current(conn));
    ck_assert_int_eq(count_rows(conn), 2);
    changed_from(before);
    close_conn(conn);
}
END_TEST

/* --- journal modes --- */

START_TEST(rollback_journal_works_too)
{
    cp_version_t now;

    other("PRAGMA journal_mode=DELETE");
    now = version();
    for (int i = 0; i < 50; i++) {
        same_as(now);
        other("INSERT INTO t VALUES(1)");
        now = changed_within_epoch(now);
    }
}
END_TEST

START_TEST(switch_to_the_log_changes_it)
{
    cp_version_t now;

    other("PRAGMA journal_mode=DELETE");
    now = version();
    other("PRAGMA journal_mode=WAL");
    now = changed_from(now);
    for (int i = 0; i < 20; i++) {
        other("INSERT INTO t VALUES(1)");
        now = changed_from(now);
    }
}
END_TEST

START_TEST(switches_between_questions_change_it)
{
    cp_version_t now;

    other("PRAGMA journal_mode=DELETE");
    now = version();
    other("PRAGMA journal_mode=WAL; INSERT INTO t VALUES(1)");
    other("PRAGMA journal_mode=DELETE; PRAGMA journal_mode=WAL");
    now = changed_from(now);
    other("INSERT INTO t VALUES(1)");
    changed_from(now);
}
END_TEST

START_TEST(at_rest_it_lets_others_leave_the_log)
{
    cp_version_t now = version();

    ck_assert(!try_other("PRAGMA locking_mode=EXCLUSIVE;"
                         "PRAGMA journal_mode=DELETE"));
    other("close");
    cp_sentinel_rest(sentinel, apr_time_from_sec(3600));
    same_as(now);
    cp_sentinel_rest(sentinel, 0);
    other("PRAGMA journal_mode=DELETE");
    ck_assert_int_ne(access(beside("-wal"), F_OK), 0);
    changed_epoch(now);
}
END_TEST

START_TEST(lock_of_another_program_is_not_waited_for)
{
    cp_version_t now;

    other("PRAGMA journal_mode=DELETE");
    now = version();
    other("BEGIN EXCLUSIVE");
    for (int i = 0; i < 10; i++) {
        version_fails(CP_ERR_STORAGE);
    }
    other("ROLLBACK");
    same_as(now);
    ck_assert_uint_eq(opened_here(), 1);
}
END_TEST

START_TEST(it_does_not_pin_the_log)
{
    struct stat st;

    version();
    other("INSERT INTO t VALUES(1)");
    version();
    other("PRAGMA wal_checkpoint(TRUNCATE)");
    ck_assert_int_eq(stat(beside("-wal"), &st), 0);
    ck_assert_int_eq(st.st_size, 0);
}
END_TEST

START_TEST(closing_it_leaves_the_log_alone)
{
    struct stat before, after;

    version();
    other("INSERT INTO t VALUES(1)");
    version();
    ck_assert_int_eq(stat(beside("-wal"), &before), 0);
    cp_sentinel_rest(sentinel, 0);
    ck_assert_int_eq(stat(beside("-wal"), &after), 0);
    ck_assert_int_eq(before.st_ino, after.st_ino);
    ck_assert_int_eq(before.st_size, after.st_size);
    ck_assert_int_gt(after.st_size, 0);
}
END_TEST

/* --- other files --- */

static void copy_database(const char *to)
{
    other(apr_pstrcat(pool, "VACUUM INTO '", to, "'", NULL));
}

START_TEST(replaced_file_changes_the_epoch_and_outdates_readers)
{
    const char *copy = beside("-copy");
    void *old = open_conn(&cp_sqlite_reader), *new;
    cp_version_t now;

    for (int i = 0; i < 3; i++) {
        now = version();
        ck_assert_int_eq(i == 0, cp_sqlite_is_current(old));
        copy_database(copy);
        ck_assert_int_eq(rename(copy, path), 0);
        changed_epoch(now);
        ck_assert(!cp_sqlite_is_current(old));
    }
    new = open_conn(&cp_sqlite_reader);
    ck_assert(cp_sqlite_is_current(new));
    now = version();
    close_conn(old);
    other("close");
    other("INSERT INTO t VALUES(1)");
    changed_within_epoch(now);
    ck_assert(cp_sqlite_is_current(new));
    close_conn(new);
}
END_TEST

START_TEST(link_to_another_file_changes_the_epoch)
{
    const char *copy = apr_pstrcat(pool, dir, "/copy.db", NULL);
    const char *link = apr_pstrcat(pool, dir, "/link.db", NULL);
    cp_version_t now;
    void *conn;

    copy_database(copy);
    ck_assert_int_eq(symlink(path, link), 0);
    config.path = link;
    make_sentinel();
    conn = open_conn(&cp_sqlite_reader);
    now = version();
    other("INSERT INTO t VALUES(1)");
    now = changed_within_epoch(now);
    ck_assert(cp_sqlite_is_current(conn));
    remove(link);
    ck_assert_int_eq(symlink(copy, link), 0);
    ck_assert(!cp_sqlite_is_current(conn));
    changed_epoch(now);
    close_conn(conn);
}
END_TEST

START_TEST(lost_log_behind_a_link_changes_the_epoch)
{
    const char *link = apr_pstrcat(pool, dir, "/link.db", NULL);
    cp_version_t now;

    ck_assert_int_eq(symlink(path, link), 0);
    config.path = link;
    make_sentinel();
    now = version();
    other("close");
    ck_assert_int_eq(remove(beside("-wal")), 0);
    changed_epoch(now);
}
END_TEST

START_TEST(missing_file_is_an_error_until_it_comes_back)
{
    cp_version_t now = version();

    ck_assert_int_eq(rename(path, beside("-away")), 0);
    version_fails(CP_ERR_STORAGE);
    ck_assert_int_eq(rename(beside("-away"), path), 0);
    version_fails(CP_ERR_STORAGE);
    skip(apr_time_from_sec(2));
    changed_epoch(now);
}
END_TEST

START_TEST(broken_file_is_not_opened_for_every_question)
{
    FILE *file = fopen(path, "r+");

    other("close");
    ck_assert_ptr_nonnull(file);
    fputs("this was a database once", file);
    fclose(file);
    for (int i = 0; i < 100; i++) {
        version_fails(CP_ERR_STORAGE);
    }
    ck_assert_uint_eq(opened_here(), 1);
    skip(apr_time_from_sec(2));
    for (int i = 0; i < 100; i++) {
        version_fails(CP_ERR_STORAGE);
    }
    ck_assert_uint_eq(opened_here(), 2);
}
END_TEST

/* As long as any connection of the child has the lost log's index, a new one
 * gets it too, and hears nothing. */
START_TEST(lost_log_is_an_error_while_a_reader_has_it)
{
    void *conn = open_conn(&cp_sqlite_reader);
    cp_version_t now = version();

    other("PRAGMA wal_checkpoint(TRUNCATE)");
    other("close");
    ck_assert_int_eq(remove(beside("-wal")), 0);
    ck_assert_int_eq(remove(beside("-shm")), 0);
    version_fails(CP_ERR_STORAGE);
    other("INSERT INTO t VALUES(1)");
    skip(apr_time_from_sec(2));
    version_fails(CP_ERR_STORAGE);
    close_conn(conn);
    skip(apr_time_from_sec(2));
    now = changed_epoch(now);
    other("INSERT INTO t VALUES(1)");
    changed_within_epoch(now);
}
END_TEST

/* --- readers --- */

START_TEST(reader_within_an_older_state_is_not_current)
{
    void *conn = open_conn(&cp_sqlite_reader);
    cp_statement_t *st = prepare(conn, "SELECT a FROM t");
    cp_error_t err = {0};

    ck_assert(cp_sqlite_is_current(conn));
    ck_assert_int_eq(cp_statement_step(st, &err), APR_SUCCESS);
    ck_assert(!cp_sqlite_is_current(conn));
    cp_statement_finish(st);
    ck_assert(cp_sqlite_is_current(conn));
    close_conn(conn);

    conn = open_conn(&cp_sqlite_writer);
    ck_assert_int_eq(
        cp_sqlite_begin(conn, cp_clock_after(apr_time_from_sec(10)), &err),
        APR_SUCCESS);
    ck_assert(!cp_sqlite_is_current(conn));
    cp_sqlite_rollback(conn);
    ck_assert(cp_sqlite_is_current(conn));
    close_conn(conn);
}
END_TEST

START_TEST(readonly_database_has_a_version)
{
    cp_version_t now;

    config.is_readonly = 1;
    make_sentinel();
    now = version();
    other("INSERT INTO t VALUES(1)");
    changed_within_epoch(now);
}
END_TEST

START_TEST(its_memory_is_known)
{
    cp_sqlite_weight_t sum = {0};

    cp_sentinel_weigh(sentinel, &sum);
    ck_assert_uint_eq(sum.cache + sum.schema + sum.statements, 0);
    version();
    cp_sentinel_weigh(sentinel, &sum);
    ck_assert_uint_gt(sum.statements, 0);
    ck_assert_uint_lt(sum.cache + sum.schema + sum.statements, 100000);
}
END_TEST

/* --- threads --- */

typedef struct asker_t {
    pthread_t thread;
    int is_over; /* atomic */
    uint64_t failures;
    uint64_t steps_back;
} asker_t;

static void *ask_often(void *data)
{
    asker_t *asker = data;
    cp_version_t last = {0, 0}, now;
    cp_error_t err;

    while (!__atomic_load_n(&asker->is_over, __ATOMIC_RELAXED)) {
        if (cp_sentinel_version(sentinel, &now, &err) != APR_SUCCESS) {
            asker->failures++;
            continue;
        }
        asker->steps_back += now.epoch == last.epoch
                             && now.number < last.number;
        last = now;
    }
    return NULL;
}

START_TEST(many_threads_ask_while_another_program_writes)
{
    asker_t askers[THREADS];
    cp_version_t now = version();

    for (int i = 0; i < THREADS; i++) {
        askers[i] = (asker_t){0};
        ck_assert_int_eq(
            pthread_create(&askers[i].thread, NULL, ask_often, &askers[i]), 0);
    }
    for (int i = 0; i < 200; i++) {
        other("INSERT INTO t VALUES(1)");
        now = changed_within_epoch(now);
    }
    for (int i = 0; i < THREADS; i++) {
        __atomic_store_n(&askers[i].is_over, 1, __ATOMIC_RELAXED);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(askers[i].thread, NULL);
        ck_assert_uint_eq(askers[i].failures, 0);
        ck_assert_uint_eq(askers[i].steps_back, 0);
    }
}
END_TEST

/* What a cache does, against a program that writes all the time. */
START_TEST(equal_versions_mean_equal_data)
{
    static const char line[] = "INSERT INTO t VALUES(1)\n";
    void *conn = open_conn(&cp_sqlite_reader);
    int written = 0, answered = 0, hits = 0;
    apr_int64_t kept = -1;
    cp_version_t tag = {0, 0};
    char answers[64];

    while (answered < COMMITS) {
        cp_version_t now;

        if (written < COMMITS && written - answered < 3) {
            ck_assert_int_eq(write(to_program, line, sizeof(line) - 1),
                             (ssize_t)sizeof(line) - 1);
            written++;
        }
        for (int i = 0; i < 20; i++) {
            now = version();
            if (cp_version_equals(now, tag)) {
                hits++;
                continue;
            }
            kept = count_rows(conn);
            tag = now;
        }
        now = version();
        if (cp_version_equals(now, tag)) {
            apr_int64_t fresh = count_rows(conn);

            /* Somebody may have written since; then the version tells. */
            ck_assert(fresh == kept || !cp_version_equals(version(), tag));
        }
        if (written > answered) {
            ssize_t got = read(from_program, answers, 1);

            ck_assert_int_eq(got, 1);
            answered++;
        }
    }
    ck_assert_int_gt(hits, 0);
    close_conn(conn);
}
END_TEST

Suite *sentinel_suite(void)
{
    Suite *suite = suite_create("sentinel");
    TCase *tc = tcase_create("sentinel");

    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, every_commit_of_another_program_changes_it);
    tcase_add_test(tc, every_commit_of_this_process_changes_it);
    tcase_add_test(tc, nothing_changes_it_while_nobody_commits);
    tcase_add_test(tc, commits_around_checkpoints_change_it);
    tcase_add_test(tc, schema_and_vacuum_change_it);
    tcase_add_test(tc, commit_between_version_and_query_is_a_miss);
    tcase_add_test(tc, rollback_journal_works_too);
    tcase_add_test(tc, switch_to_the_log_changes_it);
    tcase_add_test(tc, switches_between_questions_change_it);
    tcase_add_test(tc, at_rest_it_lets_others_leave_the_log);
    tcase_add_test(tc, lock_of_another_program_is_not_waited_for);
    tcase_add_test(tc, it_does_not_pin_the_log);
    tcase_add_test(tc, closing_it_leaves_the_log_alone);
    tcase_add_test(tc, replaced_file_changes_the_epoch_and_outdates_readers);
    tcase_add_test(tc, link_to_another_file_changes_the_epoch);
    tcase_add_test(tc, lost_log_behind_a_link_changes_the_epoch);
    tcase_add_test(tc, missing_file_is_an_error_until_it_comes_back);
    tcase_add_test(tc, broken_file_is_not_opened_for_every_question);
    tcase_add_test(tc, lost_log_is_an_error_while_a_reader_has_it);
    tcase_add_test(tc, reader_within_an_older_state_is_not_current);
    tcase_add_test(tc, readonly_database_has_a_version);
    tcase_add_test(tc, its_memory_is_known);
    tcase_add_test(tc, many_threads_ask_while_another_program_writes);
    tcase_add_test(tc, equal_versions_mean_equal_data);
    suite_add_tcase(suite, tc);
    return suite;
}
