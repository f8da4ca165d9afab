/* SPDX-License-Identifier: Apache-2.0
 * Locks in a process that was forked while a connection was open. */
#include "suites.h"

#include "database/sqlite/guard/fork.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define SHARED_FIRST 0x40000002 /* SQLite's file format: the shared lock */
#define SHARED_SIZE  510

static char path[64];

static void setup(void)
{
    snprintf(path, sizeof(path), "/tmp/connpool-fork-%d.db", (int)getpid());
}

static void teardown(void)
{
    char name[80];

    unlink(path);
    snprintf(name, sizeof(name), "%s-wal", path);
    unlink(name);
    snprintf(name, sizeof(name), "%s-shm", path);
    unlink(name);
}

static sqlite3 *open_and_read(void)
{
    sqlite3 *db = NULL;

    if (sqlite3_open(path, &db) != SQLITE_OK
        || sqlite3_exec(db, "SELECT count(*) FROM sqlite_master", NULL, NULL,
                        NULL)
               != SQLITE_OK) {
        return NULL;
    }
    return db;
}

/* Does a process hold SQLite's shared lock? Asked by another one, for who
 * closes the file loses its own locks on it. */
static int is_locked(void)
{
    struct flock lock = {.l_type = F_WRLCK,
                         .l_whence = SEEK_SET,
                         .l_start = SHARED_FIRST,
                         .l_len = SHARED_SIZE};
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        int fd = open(path, O_RDWR);

        _exit(fd < 0 || fcntl(fd, F_GETLK, &lock) != 0 ? 2
              : lock.l_type != F_UNLCK                 ? 1
                                                       : 0);
    }
    waitpid(pid, &status, 0);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) < 2);
    return WEXITSTATUS(status);
}

START_TEST(a_forked_process_has_the_locks_that_it_believes_in)
{
    sqlite3 *db;
    int told[2], go[2], status = 0;
    char byte = 'x';
    pid_t pid;

    ck_assert(pipe(told) == 0 && pipe(go) == 0);
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db,
                                  "PRAGMA journal_mode=wal;"
                                  "CREATE TABLE t(a)",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    ck_assert(is_locked());
    cp_sqlite_fork(CP_FORK_COMES);
    pid = fork();
    cp_sqlite_fork(CP_FORK_IS_DONE);
    if (pid == 0) {
        sqlite3 *own;

        cp_sqlite_fork(CP_FORK_BEGINS);
        own = open_and_read();
        if (!own || write(told[1], &byte, 1) != 1
            || read(go[0], &byte, 1) != 1) {
            _exit(1);
        }
        _exit(sqlite3_exec(own, "INSERT INTO t VALUES (1)", NULL, NULL, NULL)
                          == SQLITE_OK
                      && sqlite3_close(own) == SQLITE_OK
                  ? 0
                  : 1);
    }
    ck_assert_int_eq(read(told[0], &byte, 1), 1);
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
    ck_assert_msg(is_locked(), "only the forked process believes in its lock");
    ck_assert_int_eq(write(go[1], &byte, 1), 1);
    waitpid(pid, &status, 0);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "DELETE FROM t", NULL, NULL, NULL),
                     SQLITE_OK);
    ck_assert_int_eq(sqlite3_changes(db), 1);
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}
END_TEST

Suite *fork_suite(void)
{
    Suite *s = suite_create("fork");
    TCase *tc = tcase_create("fork");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_forked_process_has_the_locks_that_it_believes_in);
    suite_add_tcase(s, tc);
    return s;
}
