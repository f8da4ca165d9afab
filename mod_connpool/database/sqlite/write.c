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

    if (cp_guard_log_is_cut(&conn->guard)) {
        cp_guard_note_cut(&conn->db->guarded);
        return SQLITE_BUSY;
    }
    cp_guard_set_deadline(&conn->guard, CP_CLOCK_NEVER);
    outer = cp_guard_enter(&conn->guard);
    conn->guard.busy_until = cp_clock_after(CP_SQLITE_TRUNCATE_PATIENCE);
    conn->guard.is_checkpointing = 1;
    rc = sqlite3_wal_checkpoint_v2(conn->handle, NULL, mode, pin_log, pdone);
    conn->guard.is_checkpointing = 0;
    cp_guard_leave(outer);
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
    SAVED,    /* all that was committed is in the database itself */
    NOT_NOW,  /* somebody reads */
    HOPELESS, /* there is a new log, and the index speaks of that; or nobody
                 reads this database any more */
} saving_t;

/* Who has the log open goes on with a file that nobody else finds, and that
 * ends with the last of them: what it holds must come into the database.
 * Emptied, it misleads none of them. */
static saving_t save_log(cp_sqlite_conn_t *conn)
{
    cp_sqlite_identity_t file = cp_sqlite_identify(conn->db->config.path);
    int rc;

    if (cp_sqlite_identify(conn->db->log_path).is_there
        || !cp_sqlite_is_same(&conn->file, &file)) {
        return HOPELESS;
    }
    rc = cp_sqlite_checkpoint(conn, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    return rc == SQLITE_OK ? SAVED : NOT_NOW;
}

/* Under the lock: is the log that this connection has open the one that others
 * find? If not, *psaving says what became of its contents. */
static int has_log(cp_sqlite_conn_t *conn, saving_t *psaving)
{
    cp_sqlite_identity_t now = cp_sqlite_identify(conn->db->log_path);

    if (!conn->log.is_there) {
        conn->log = now;
        return 1;
    }
    if (cp_sqlite_is_same(&conn->log, &now)) {
        return 1;
    }
    *psaving = save_log(conn);
    if (*psaving != NOT_NOW) {
        conn->is_broken = 1;
        cp_log(CP_LOG_MARK, CP_LOG_WARNING, 0,
               "database '%s': the log %s was removed by another program while "
               "it was in use; what was %s",
               conn->db->config.name, conn->db->log_path,
               *psaving == SAVED ? "in it is in the database now"
                                 : "only in it is lost");
    }
    return 0;
}

static apr_status_t log_lost(cp_sqlite_conn_t *conn, cp_error_t *err)
{
    return cp_error_set(err, CP_ERR_STORAGE, APR_EGENERAL,
                        "the database's log was removed",
                        "database '%s': %s was removed by another program",
                        conn->db->config.name, conn->db->log_path);
}

void cp_sqlite_leave_log(cp_sqlite_conn_t *conn)
{
    cp_sqlite_identity_t now;
    saving_t saving;
    cp_error_t err;

    if (!conn->log.is_there || conn->is_broken) {
        return;
    }
    now = cp_sqlite_identify(conn->db->log_path);
    if (!cp_sqlite_is_same(&conn->log, &now)
        && cp_sqlite_lock(conn, cp_clock_after(CP_SQLITE_TRUNCATE_PATIENCE),
                          &err)
               == APR_SUCCESS) {
        has_log(conn, &saving);
        cp_sqlite_unlock(conn);
    }
}

/* --- transactions --- */

/* What was committed, and is not in the log any more, would be overwritten by
 * what is committed now. */
static apr_status_t refuse_cut_log(cp_sqlite_conn_t *conn, cp_error_t *err)
{
    if (cp_guard_log_is_cut(&conn->guard)) {
        cp_guard_note_cut(&conn->db->guarded);
    }
    if (!conn->db->guarded.is_log_cut) {
        return APR_SUCCESS;
    }
    cp_sqlite_rollback(conn);
    return cp_error_set(err, CP_ERR_STORAGE, APR_EGENERAL, CP_SQLITE_LOG_CUT,
                        "database '%s': %s is shorter than its index says",
                        conn->db->config.name, conn->db->log_path);
}

apr_status_t cp_sqlite_begin(cp_connection_t *connection, cp_clock_t deadline,
                             cp_error_t *err)
{
    cp_sqlite_conn_t *conn = connection;
    apr_status_t rv;
    saving_t saving;
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
    if (!has_log(conn, &saving)) {
        cp_sqlite_unlock(conn);
        return log_lost(conn, err);
    }
    rc = cp_sqlite_exec(conn, "BEGIN IMMEDIATE");
    if (rc != SQLITE_OK) {
        rv = cp_sqlite_fail_late(conn, rc, "begin to write", err);
        cp_sqlite_unlock(conn);
    }
    else {
        rv = refuse_cut_log(conn, err);
    }
    /* The row that the last borrower inserted is nobody else's business. */
    sqlite3_set_last_insert_rowid(conn->handle, 0);
    return rv;
}

apr_status_t cp_sqlite_commit(cp_connection_t *connection, cp_error_t *err)
{
    cp_sqlite_conn_t *conn = connection;
    apr_status_t rv;
    saving_t saving;
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
    rv = has_log(conn, &saving) || saving == SAVED ? APR_SUCCESS
                                                   : log_lost(conn, err);
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
