/* SPDX-License-Identifier: Apache-2.0
 *
 * PRAGMA data_version counts what others commit, for one connection: numbers
 * of two connections cannot be compared, so one connection answers for all. It
 * only knows of commits to the files that it has open itself; who takes their
 * place, or removes the log beside them, is found with stat(). */
#include "base/clock.h"
#include "base/error.h"
#include "base/meanwhile.h"
#include "database/sqlite/connection.h"
#include "database/sqlite/sqlite.h"
#include "database/version.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <strings.h>

#include <apr_general.h>

#define OPEN_PATIENCE apr_time_from_msec(50)
#define ASK_PATIENCE  apr_time_from_msec(20)
#define LOCK_PATIENCE apr_time_from_msec(500) /* of those beside them */
#define LOCK_SLICE    5000000                 /* nanoseconds */
#define REOPEN_PAUSE  apr_time_from_sec(1)

enum {
    DATABASE,
    LOG,
    LOG_INDEX,
    FILES
};

typedef struct files_t {
    cp_sqlite_identity_t at[FILES];
} files_t;

struct cp_sentinel_t {
    cp_sqlite_t *db;
    pid_t pid; /* whose it is */

    pthread_mutex_t lock; /* guards everything below */
    cp_sqlite_conn_t *conn;
    char *log_paths[2]; /* of the log and its index; SQLite has them beside the
                           file itself, not beside a link to it */
    sqlite3_stmt *stmt;
    files_t files; /* that it has open */
    int is_new;    /* not asked yet since it was opened */
    uint64_t epoch;
    cp_clock_t asked_at;
    cp_clock_t retry_at; /* after a failure */
    cp_error_t failure;
    int is_log_lost; /* the log was removed while it was open */
    unsigned waits;  /* atomic: for locks of others, in vain */
};

/* --- the files --- */

static files_t look(const cp_sentinel_t *sentinel)
{
    return (files_t){{
        cp_sqlite_identify(cp_sqlite_config(sentinel->db)->path),
        cp_sqlite_identify(sentinel->log_paths[0]),
        cp_sqlite_identify(sentinel->log_paths[1]),
    }};
}

static void forget_paths(cp_sentinel_t *sentinel)
{
    for (int i = 0; i < 2; i++) {
        free(sentinel->log_paths[i]);
        sentinel->log_paths[i] = NULL;
    }
}

/* 0 when there is no file, or no memory for its name. */
static int find_paths(cp_sentinel_t *sentinel)
{
    static const char *const suffixes[] = {"-wal", "-shm"};
    char *path = realpath(cp_sqlite_config(sentinel->db)->path, NULL);

    forget_paths(sentinel);
    for (int i = 0; path && i < 2; i++) {
        if (asprintf(&sentinel->log_paths[i], "%s%s", path, suffixes[i]) < 0) {
            sentinel->log_paths[i] = NULL;
            forget_paths(sentinel);
            break;
        }
    }
    free(path);
    return sentinel->log_paths[1] != NULL;
}

/* What was there once is still there. A log that has come into being is the
 * beginning of WAL mode, which changes the version by itself. */
static int is_in_place(const files_t *before, const files_t *now, int file)
{
    return !before->at[file].is_there
           || cp_sqlite_is_same(&before->at[file], &now->at[file]);
}

static int are_in_place(const files_t *before, const files_t *now)
{
    return is_in_place(before, now, DATABASE) && is_in_place(before, now, LOG)
           && is_in_place(before, now, LOG_INDEX);
}

static int are_all_there(const files_t *files)
{
    return files->at[LOG].is_there && files->at[LOG_INDEX].is_there;
}

/* --- opening and closing --- */

static void close_it(cp_sentinel_t *sentinel)
{
    if (sentinel->conn) {
        sqlite3_finalize(sentinel->stmt);
        cp_sqlite_close(sentinel->conn);
        sentinel->stmt = NULL;
        sentinel->conn = NULL;
    }
    forget_paths(sentinel);
}

/* Also for those who ask during the pause. */
static apr_status_t fail(cp_sentinel_t *sentinel, apr_status_t rv,
                         const cp_error_t *err)
{
    close_it(sentinel);
    sentinel->failure = *err;
    sentinel->failure.rv = rv;
    sentinel->retry_at = cp_clock_after(REOPEN_PAUSE);
    return rv;
}

static apr_status_t refuse(cp_sentinel_t *sentinel, const char *why,
                           cp_error_t *err)
{
    apr_status_t rv = cp_error_set(
        err, CP_ERR_STORAGE, APR_EGENERAL, "the database's version is unknown",
        "database '%s': %s", cp_sqlite_config(sentinel->db)->name, why);

    return fail(sentinel, rv, err);
}

static apr_status_t prepare(cp_sentinel_t *sentinel, cp_error_t *err)
{
    cp_sqlite_conn_t *conn = sentinel->conn;
    int rc;

    /* A lock is not waited for: the query itself would be no slower. */
    sqlite3_busy_handler(conn->handle, NULL, NULL);
    conn->is_internal = 1;
    rc = sqlite3_prepare_v3(conn->handle, "PRAGMA data_version", -1,
                            SQLITE_PREPARE_PERSISTENT, &sentinel->stmt, NULL);
    conn->is_internal = 0;
    return rc == SQLITE_OK
               ? APR_SUCCESS
               : cp_sqlite_fail(conn, rc, "ask the version of", err);
}

/* Within a process all connections to a file share one index of the log. While
 * any of them has the one of a log that was removed, a new one gets it too, and
 * hears nothing of what others write. */
static int may_have_lost_log(cp_sentinel_t *sentinel, int others)
{
    char mode[CP_SQLITE_MODE_SIZE] = "";

    if (!sentinel->is_log_lost) {
        return 0;
    }
    if (cp_sqlite_journal_mode(sentinel->conn, "PRAGMA journal_mode", mode)
        != SQLITE_OK) {
        return 1;
    }
    return strcasecmp(mode, "wal") == 0
           && (others > 0 || cp_sqlite_connections(sentinel->db) > 1);
}

static apr_status_t open_it(cp_sentinel_t *sentinel, cp_error_t *err)
{
    int others = cp_sqlite_connections(sentinel->db);
    apr_status_t rv;

    if (cp_clock_left(sentinel->retry_at) > 0) {
        *err = sentinel->failure;
        return err->rv;
    }
    if (!find_paths(sentinel)) {
        return refuse(sentinel, "there is no file", err);
    }
    sentinel->files = look(sentinel);
    rv = cp_sqlite_open(sentinel->db, 0, cp_clock_after(OPEN_PATIENCE),
                        &sentinel->conn, err);
    if (rv == APR_SUCCESS) {
        rv = prepare(sentinel, err);
    }
    if (rv != APR_SUCCESS) {
        return fail(sentinel, rv, err);
    }
    if (may_have_lost_log(sentinel, others)) {
        return refuse(sentinel,
                      "its log was removed by another program while "
                      "connections were open",
                      err);
    }
    if (apr_generate_random_bytes((unsigned char *)&sentinel->epoch,
                                  sizeof(sentinel->epoch))
        != APR_SUCCESS) {
        return refuse(sentinel, "no random number for its epoch", err);
    }
    sentinel->is_log_lost = 0;
    sentinel->is_new = 1;
    sentinel->files.at[DATABASE] = sentinel->conn->file;
    return APR_SUCCESS;
}

/* --- asking --- */

/* Another program's lock does not spoil the connection. */
static int is_passing(int rc)
{
    return (rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED
           || (rc & 0xff) == SQLITE_INTERRUPT;
}

/* The statement is reset in any case: one that is left running would pin the
 * log. */
static apr_status_t step(cp_sentinel_t *sentinel, uint64_t *number,
                         cp_error_t *err)
{
    cp_sqlite_conn_t *conn = sentinel->conn;
    cp_guard_scope_t outer;
    apr_status_t rv;
    int rc, end;

    /* SQLite sleeps and comes again, handler or not. */
    cp_guard_enter(&conn->guard, &outer);
    conn->guard.busy_until = cp_clock_after(ASK_PATIENCE);
    rc = sqlite3_step(sentinel->stmt);
    if (rc == SQLITE_ROW) {
        *number = (uint64_t)sqlite3_column_int64(sentinel->stmt, 0);
    }
    end = sqlite3_reset(sentinel->stmt);
    cp_guard_leave(&outer);
    if (rc == SQLITE_ROW && end == SQLITE_OK) {
        return APR_SUCCESS;
    }
    rc = end != SQLITE_OK ? end : SQLITE_INTERNAL;
    rv = cp_sqlite_fail(conn, rc, "ask the version of", err);
    if (!is_passing(rc)) {
        return fail(sentinel, rv, err);
    }
    sentinel->failure = *err;
    __atomic_add_fetch(&sentinel->waits, 1, __ATOMIC_RELEASE);
    return rv;
}

/* Asking may have opened the log, and made it. What was there before must be
 * there still. */
static apr_status_t look_again(cp_sentinel_t *sentinel, cp_error_t *err)
{
    files_t now = look(sentinel);

    if (!are_in_place(&sentinel->files, &now)) {
        return refuse(sentinel, "its files were replaced while it was opened",
                      err);
    }
    sentinel->files = now;
    sentinel->is_new = 0;
    return APR_SUCCESS;
}

static void close_if_replaced(cp_sentinel_t *sentinel)
{
    files_t now;

    if (!sentinel->conn) {
        return;
    }
    now = look(sentinel);
    if (!are_in_place(&sentinel->files, &now)) {
        sentinel->is_log_lost = is_in_place(&sentinel->files, &now, DATABASE);
        close_it(sentinel);
    }
}

static apr_status_t ask(cp_sentinel_t *sentinel, cp_version_t *version,
                        cp_error_t *err)
{
    apr_status_t rv = APR_SUCCESS;
    uint64_t number = 0;

    close_if_replaced(sentinel);
    if (!sentinel->conn) {
        rv = open_it(sentinel, err);
    }
    if (rv == APR_SUCCESS) {
        rv = step(sentinel, &number, err);
    }
    if (rv == APR_SUCCESS
        && (sentinel->is_new || !are_all_there(&sentinel->files))) {
        rv = look_again(sentinel, err);
    }
    if (rv == APR_SUCCESS) {
        version->epoch = sentinel->epoch;
        version->number = number;
    }
    return rv;
}

/* Whoever has it asks at another program's lock, perhaps. The wall clock that
 * pthread_mutex_timedlock goes by may jump: slices. */
static int lock_in_time(cp_sentinel_t *sentinel)
{
    cp_clock_t deadline = cp_clock_after(LOCK_PATIENCE);
    struct timespec until;
    cp_clock_t now;
    int rc = pthread_mutex_trylock(&sentinel->lock);

    while (rc != 0 && (now = cp_clock_now()) < deadline) {
        cp_meanwhile_tend(now);
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += LOCK_SLICE;
        if (until.tv_nsec >= 1000000000) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000;
        }
        rc = pthread_mutex_timedlock(&sentinel->lock, &until);
    }
    return rc == 0;
}

apr_status_t cp_sentinel_version(cp_sentinel_t *sentinel, cp_version_t *version,
                                 cp_error_t *err)
{
    unsigned waits = __atomic_load_n(&sentinel->waits, __ATOMIC_ACQUIRE);
    apr_status_t rv;

    if (!lock_in_time(sentinel)) {
        return cp_error_set(err, CP_ERR_STORAGE, APR_TIMEUP,
                            "the database's version is unknown",
                            "database '%s': others who ask for its version "
                            "wait",
                            cp_sqlite_config(sentinel->db)->name);
    }
    sentinel->asked_at = cp_clock_now();
    if (waits != __atomic_load_n(&sentinel->waits, __ATOMIC_RELAXED)) {
        /* Who waited for the one that waited in vain does not do so, too. */
        *err = sentinel->failure;
        rv = err->rv;
    }
    else {
        rv = ask(sentinel, version, err);
    }
    pthread_mutex_unlock(&sentinel->lock);
    return rv;
}

int cp_sqlite_is_current(cp_connection_t *connection)
{
    cp_sqlite_conn_t *conn = connection;
    cp_sqlite_identity_t now = cp_sqlite_identify(
        cp_sqlite_config(conn->db)->path);

    return cp_sqlite_is_same(&conn->file, &now)
           && sqlite3_txn_state(conn->handle, NULL) == SQLITE_TXN_NONE;
}

/* --- its life --- */

/* A thread that still asks at the child's end keeps it open: the end of the
 * process closes it. */
static apr_status_t sentinel_cleanup(void *data)
{
    cp_sentinel_t *sentinel = data;

    /* What a fork has inherited is its parent's to close. */
    if (sentinel->pid != getpid()) {
        return APR_SUCCESS;
    }
    if (pthread_mutex_trylock(&sentinel->lock) == 0) {
        close_it(sentinel);
        pthread_mutex_unlock(&sentinel->lock);
        pthread_mutex_destroy(&sentinel->lock);
    }
    return APR_SUCCESS;
}

apr_status_t cp_sentinel_create(cp_sentinel_t **psentinel, cp_sqlite_t *db,
                                apr_pool_t *p)
{
    cp_sentinel_t *sentinel = apr_pcalloc(p, sizeof(*sentinel));
    int rc = pthread_mutex_init(&sentinel->lock, NULL);

    if (rc != 0) {
        return rc;
    }
    sentinel->db = db;
    sentinel->pid = getpid();
    apr_pool_cleanup_register(p, sentinel, sentinel_cleanup,
                              apr_pool_cleanup_null);
    *psentinel = sentinel;
    return APR_SUCCESS;
}

void cp_sentinel_rest(cp_sentinel_t *sentinel, apr_interval_time_t idle)
{
    if (pthread_mutex_trylock(&sentinel->lock) != 0) {
        return;
    }
    if (sentinel->conn && cp_clock_now() - sentinel->asked_at >= idle) {
        close_it(sentinel);
    }
    pthread_mutex_unlock(&sentinel->lock);
}

void cp_sentinel_weigh(cp_sentinel_t *sentinel, cp_sqlite_weight_t *sum)
{
    if (pthread_mutex_trylock(&sentinel->lock) != 0) {
        return;
    }
    if (sentinel->conn) {
        cp_sqlite_weigh(sentinel->conn, sum);
    }
    pthread_mutex_unlock(&sentinel->lock);
}
