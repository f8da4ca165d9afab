/* SPDX-License-Identifier: Apache-2.0
 * Writes: the server-wide lock around them, transactions, checkpoints.
 *
 * Why a server-wide lock around writes and checkpoints: SQLite's own lock is
 * unfair and polled, and SQLite 3.7.0 to 3.51.2 can lose committed rows when a
 * write races a checkpoint (https://sqlite.org/wal.html#walresetbug). Among
 * processes that share the lock neither can happen. */
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/meanwhile.h"
#include "database/sqlite/connection.h"
#include "database/sqlite/sqlite.h"

#define TRUNCATE_PAGES 16000 /* the log outgrew passive checkpoints */
#define LAST_PATIENCE  apr_time_from_sec(2) /* of a process that ends */
#define LOCK_SLICE_MIN apr_time_from_msec(5)
#define LOCK_SLICE_MAX apr_time_from_sec(1)

/* APR waits on the wall clock, and may wait twice as long as it is told: for
 * the threads of this process, then for the other processes. */
static apr_status_t global_lock(const cp_sqlite_t *db, cp_clock_t deadline)
{
    apr_status_t rv;

    do {
        apr_interval_time_t left = cp_clock_left(deadline);
        apr_interval_time_t slice = left / 2;

        if (slice > LOCK_SLICE_MAX) {
            slice = LOCK_SLICE_MAX;
        }
        if (cp_meanwhile_until(deadline) != deadline) {
            slice = 0; /* there is something to look after */
        }
        if (left > 0 && slice < LOCK_SLICE_MIN) {
            slice = LOCK_SLICE_MIN;
        }
        cp_meanwhile_tend(cp_clock_now());
        rv = apr_global_mutex_timedlock(db->config.write_lock, slice);
    } while (APR_STATUS_IS_TIMEUP(rv) && cp_clock_left(deadline) > 0
             && !cp_sqlite_is_stopping(db));
    return rv;
}

apr_status_t cp_sqlite_lock(cp_connection_t *connection, cp_clock_t deadline,
                            cp_error_t *err)
{
    cp_sqlite_conn_t *conn = connection;
    const cp_sqlite_config_t *config = &conn->db->config;
    cp_clock_t patience = cp_clock_after(config->busy);
    apr_status_t rv;

    if (conn->locks > 0 || !config->write_lock) {
        conn->locks++;
        return APR_SUCCESS;
    }
    rv = global_lock(conn->db, deadline < patience ? deadline : patience);
    if (rv != APR_SUCCESS) {
        return cp_error_set(err, CP_ERR_CAPACITY, rv,
                            "the database is busy with other writes",
                            "database '%s': the server-wide write lock was "
                            "not free in time",
                            config->name);
    }
    conn->locks = 1;
    return APR_SUCCESS;
}

/* Never from a log that was cut: of what is left only a part may be newer than
 * the database. */
int cp_sqlite_checkpoint(cp_sqlite_conn_t *conn, int mode, int *pin_log,
                         int *pdone)
{
    cp_clock_t deadline = conn->guard.deadline;
    cp_guard_scope_t outer;
    int rc;

    if (cp_guard_log_is_lacking(&conn->guard)) {
        return SQLITE_BUSY;
    }
    cp_guard_set_deadline(&conn->guard, CP_CLOCK_NEVER);
    cp_guard_enter(&conn->guard, &outer);
    conn->guard.busy_until = cp_clock_after(CP_SQLITE_TRUNCATE_PATIENCE);
    conn->guard.is_checkpointing = 1;
    rc = sqlite3_wal_checkpoint_v2(conn->handle, NULL, mode, pin_log, pdone);
    conn->guard.is_checkpointing = 0;
    cp_guard_leave(&outer);
    cp_guard_set_deadline(&conn->guard, deadline);
    return rc;
}

/* Only here, and so only under the lock. What a reader pins is tried again
 * when the log has grown as much once more, not at every commit. */
static void checkpoint_if_due(cp_sqlite_conn_t *conn)
{
    int mode = SQLITE_CHECKPOINT_PASSIVE;
    int in_log = 0, done = 0, rc;

    if (conn->wal_pages < conn->checkpoint_at) {
        return;
    }
    if (conn->wal_pages >= TRUNCATE_PAGES) {
        /* A reader pins the log: wait a moment for it, not for long. */
        mode = SQLITE_CHECKPOINT_TRUNCATE;
    }
    rc = cp_sqlite_checkpoint(conn, mode, &in_log, &done);
    conn->checkpoint_at = conn->wal_pages + CP_SQLITE_CHECKPOINT_PAGES;
    if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY
        && (rc & 0xff) != SQLITE_LOCKED && rc != SQLITE_INTERRUPT) {
        cp_error_t err;

        cp_sqlite_fail(conn, rc, "checkpoint", &err);
        cp_log(CP_LOG_MARK, CP_LOG_ERROR, 0, "%s", err.detail);
        return;
    }
    cp_log(CP_LOG_MARK, CP_LOG_DEBUG, 0,
           "database '%s': checkpoint moved %d of %d pages",
           conn->db->config.name, done, in_log);
}

void cp_sqlite_unlock(cp_connection_t *connection)
{
    cp_sqlite_conn_t *conn = connection;

    if (conn->locks == 0 || --conn->locks > 0) {
        return;
    }
    checkpoint_if_due(conn);
    if (conn->db->config.write_lock) {
        apr_global_mutex_unlock(conn->db->config.write_lock);
    }
}

/* --- a log that another program has removed --- */

typedef enum saving_t {
    SAVED,   /* all that was committed is in the database itself */
    NOT_NOW, /* somebody reads what was before */
    HOPELESS /* the database itself is another one, or others are at work with
                a log and an index that we do not see */
} saving_t;

/* Who has the log open goes on with a file that nobody else finds, and that
 * ends with the last of them: what it holds must come into the database. New
 * connections find an empty log meanwhile, and wait: they have the same
 * index, which speaks of this one. Emptied, it misleads none of those that
 * have it open; else their reads find it out (cp_log_read). */
static saving_t save_log(cp_sqlite_conn_t *conn)
{
    cp_sqlite_identity_t file = cp_sqlite_identify(conn->db->config.path);
    int in_log = -1, done = -2, rc;

    if (!cp_sqlite_is_same(&conn->file, &file)) {
        return HOPELESS;
    }
    switch (cp_guard_log_need(&conn->guard)) {
    case CP_LOG_NOT_NEEDED:
        return SAVED;
    case CP_LOG_UNKNOWN:
        return HOPELESS;
    case CP_LOG_NEEDED:
        break;
    }
    conn->guard.is_saving = 1;
    rc = cp_sqlite_checkpoint(conn, SQLITE_CHECKPOINT_TRUNCATE, &in_log, &done);
    conn->guard.is_saving = 0;
    return rc == SQLITE_OK || (rc == SQLITE_BUSY && in_log == done) ? SAVED
                                                                    : NOT_NOW;
}

/* Under the lock, with a log that others do not find. */
static saving_t leave_log(cp_sqlite_conn_t *conn)
{
    saving_t saving = save_log(conn);

    if (saving != NOT_NOW && !conn->has_left_log) {
        conn->is_broken = 1;
        conn->has_left_log = 1;
        cp_log(CP_LOG_MARK, CP_LOG_WARNING, 0,
               "database '%s': the log %s was removed by another program while "
               "it was in use; what was %s",
               conn->db->config.name, conn->db->log_path,
               saving == SAVED ? "in it is in the database now"
                               : "only in it is lost");
    }
    return saving;
}

/* True when it may be closed. */
static int may_close(cp_sqlite_conn_t *conn, cp_clock_t patience)
{
    saving_t saving = NOT_NOW;
    cp_error_t err;

    if (conn->has_left_log || !cp_guard_log_is_removed(&conn->guard)) {
        return 1;
    }
    if (cp_sqlite_lock(conn, patience, &err) == APR_SUCCESS) {
        saving = leave_log(conn);
        cp_sqlite_unlock(conn);
    }
    return saving != NOT_NOW;
}

void cp_sqlite_close_writer(cp_sqlite_conn_t *conn)
{
    cp_sqlite_t *db = conn->db;

    if (!may_close(conn, cp_clock_after(CP_SQLITE_TRUNCATE_PATIENCE))) {
        pthread_mutex_lock(&db->lock);
        if (!db->kept) {
            db->kept = conn;
            conn = NULL;
        }
        pthread_mutex_unlock(&db->lock);
    }
    if (conn) {
        cp_sqlite_close(conn);
    }
}

void cp_sqlite_retry_kept(cp_sqlite_t *db)
{
    cp_sqlite_conn_t *conn;

    pthread_mutex_lock(&db->lock);
    conn = db->kept;
    db->kept = NULL;
    pthread_mutex_unlock(&db->lock);
    if (conn) {
        cp_sqlite_close_writer(conn);
    }
}

void cp_sqlite_end_kept(cp_sqlite_t *db)
{
    cp_clock_t deadline = cp_clock_after(LAST_PATIENCE);

    while (db->kept && cp_clock_left(deadline) > 0) {
        cp_sqlite_retry_kept(db);
    }
    if (db->kept) {
        cp_log(CP_LOG_MARK, CP_LOG_ERROR, 0,
               "database '%s': the log %s was removed by another program, and "
               "cannot be copied into the database before this process ends, "
               "for somebody reads: if no other has it open, what was only in "
               "it is lost",
               db->config.name, db->log_path);
        cp_sqlite_close(db->kept);
        db->kept = NULL;
    }
}

/* --- transactions --- */

/* Nobody else writes now: is what was committed in the log, and will others
 * find there what is committed now? */
static apr_status_t refuse_bad_log(cp_sqlite_conn_t *conn, cp_error_t *err)
{
    cp_guarded_t *guarded = &conn->db->guarded;
    int is_removed = cp_guard_log_is_removed(&conn->guard);

    if (!is_removed && !cp_guard_log_is_lacking(&conn->guard)
        && !guarded->is_log_cut) {
        __atomic_store_n(&guarded->is_log_lost, 0, __ATOMIC_RELAXED);
        return APR_SUCCESS;
    }
    cp_sqlite_exec(conn, "ROLLBACK");
    if (is_removed) {
        leave_log(conn);
        if (cp_guard_index_is_removed(&conn->guard)) {
            __atomic_store_n(&conn->db->is_draining, 1, __ATOMIC_RELAXED);
        }
    }
    cp_sqlite_unlock(conn);
    if (is_removed || !guarded->is_log_cut) {
        return cp_sqlite_log_lost(conn->db, err);
    }
    return cp_error_set(err, CP_ERR_STORAGE, APR_EGENERAL, CP_SQLITE_LOG_CUT,
                        "database '%s': %s is shorter than its index says",
                        conn->db->config.name, conn->db->log_path);
}

apr_status_t cp_sqlite_begin(cp_connection_t *connection, cp_clock_t deadline,
                             cp_error_t *err)
{
    cp_sqlite_conn_t *conn = connection;
    apr_status_t rv;
    int rc;

    if (!conn->is_writer || !sqlite3_get_autocommit(conn->handle)) {
        return cp_error_set(err, CP_ERR_INTERNAL, APR_EINVAL,
                            "the connection cannot begin to write",
                            "database '%s': a reader, or in a transaction",
                            conn->db->config.name);
    }
    rv = cp_sqlite_lock(conn, deadline, err);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    cp_guard_set_deadline(&conn->guard, deadline);
    rc = cp_sqlite_exec(conn, "BEGIN IMMEDIATE");
    if (rc != SQLITE_OK) {
        rv = cp_sqlite_fail_late(conn, rc, "begin to write", err);
        cp_sqlite_unlock(conn);
    }
    else {
        rv = refuse_bad_log(conn, err);
    }
    /* The row that the last borrower inserted is nobody else's business. */
    sqlite3_set_last_insert_rowid(conn->handle, 0);
    return rv;
}

apr_status_t cp_sqlite_commit(cp_connection_t *connection, cp_error_t *err)
{
    cp_sqlite_conn_t *conn = connection;
    apr_status_t rv;
    int rc;

    if (sqlite3_get_autocommit(conn->handle)) {
        /* An interrupted write, a full disk: SQLite gave all of it up. */
        cp_sqlite_unlock(conn);
        return cp_error_set(
            err, CP_ERR_STORAGE, APR_EGENERAL, "the write was rolled back",
            "database '%s': no transaction to commit", conn->db->config.name);
    }
    rc = cp_guard_is_over(&conn->guard, cp_clock_now())
             ? SQLITE_INTERRUPT
             : cp_sqlite_exec(conn, "COMMIT");
    if (rc != SQLITE_OK) {
        rv = cp_sqlite_fail_late(conn, rc, "commit", err);
        cp_sqlite_rollback(conn);
        return rv;
    }
    rv = !cp_guard_log_is_removed(&conn->guard) || leave_log(conn) == SAVED
             ? APR_SUCCESS
             : cp_sqlite_log_lost(conn->db, err);
    cp_sqlite_unlock(conn);
    return rv;
}

void cp_sqlite_rollback(cp_connection_t *connection)
{
    cp_sqlite_conn_t *conn = connection;
    cp_clock_t deadline = conn->guard.deadline;

    if (!sqlite3_get_autocommit(conn->handle)) {
        cp_guard_set_deadline(&conn->guard, CP_CLOCK_NEVER);
        cp_sqlite_exec(conn, "ROLLBACK");
        cp_guard_set_deadline(&conn->guard, deadline);
    }
    cp_sqlite_unlock(conn);
}

int cp_sqlite_in_transaction(cp_connection_t *connection)
{
    return !sqlite3_get_autocommit(((cp_sqlite_conn_t *)connection)->handle);
}

apr_status_t cp_sqlite_nest(cp_connection_t *connection, cp_clock_t deadline,
                            cp_error_t *err)
{
    cp_sqlite_conn_t *conn = connection;
    apr_status_t rv = cp_sqlite_lock(conn, deadline, err);
    int rc;

    if (rv != APR_SUCCESS) {
        return rv;
    }
    rc = cp_sqlite_exec(conn, "SAVEPOINT connpool");
    if (rc != SQLITE_OK) {
        rv = cp_sqlite_fail(conn, rc, "begin to write", err);
        cp_sqlite_unlock(conn);
    }
    return rv;
}

apr_status_t cp_sqlite_unnest(cp_connection_t *connection, int is_kept,
                              cp_error_t *err)
{
    cp_sqlite_conn_t *conn = connection;
    apr_status_t rv = APR_SUCCESS;
    int rc = SQLITE_OK;

    if (!is_kept) {
        cp_guard_set_deadline(&conn->guard, CP_CLOCK_NEVER);
        rc = cp_sqlite_exec(conn, "ROLLBACK TO connpool");
    }
    if (rc == SQLITE_OK) {
        rc = cp_sqlite_exec(conn, "RELEASE connpool");
    }
    if (rc != SQLITE_OK) {
        /* The outer transaction has ended, and everything in it. */
        rv = cp_sqlite_fail(conn, rc, "end a write within another", err);
    }
    cp_sqlite_unlock(conn);
    return rv;
}

/* What is deferred fails when the transaction ends, and all of it with it. The
 * row that another one has inserted is nobody else's business. */
int cp_sqlite_settle(cp_connection_t *connection)
{
    cp_sqlite_conn_t *conn = connection;
    int deferred = 0, most;

    sqlite3_db_status(conn->handle, SQLITE_DBSTATUS_DEFERRED_FKS, &deferred,
                      &most, 0);
    sqlite3_set_last_insert_rowid(conn->handle, 0);
    return deferred == 0;
}

apr_int64_t cp_sqlite_changes(cp_connection_t *connection)
{
    return sqlite3_changes(((cp_sqlite_conn_t *)connection)->handle);
}

apr_int64_t cp_sqlite_last_rowid(cp_connection_t *connection)
{
    return sqlite3_last_insert_rowid(((cp_sqlite_conn_t *)connection)->handle);
}
