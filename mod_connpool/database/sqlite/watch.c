/* SPDX-License-Identifier: Apache-2.0
 * The files of a database: whether others took their place, and that no log is
 * left lying beside them. */
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "database/sqlite/connection.h"
#include "database/sqlite/sqlite.h"

#include <sys/stat.h>

#define TIDY_PAUSE 10 /* rounds of maintenance after a vain try */

/* Remember what is at path now; was it another file, or is it gone? A file
 * that is new there changed nothing for anybody. */
static int is_replaced(cp_sqlite_identity_t *last, const char *path)
{
    cp_sqlite_identity_t before = *last;

    *last = cp_sqlite_identify(path);
    return before.is_there && !cp_sqlite_is_same(&before, last);
}

int cp_sqlite_file_changed(cp_sqlite_t *db)
{
    ino_t opened = __atomic_exchange_n(&db->opened, 0, __ATOMIC_RELAXED);
    ino_t opened_log = __atomic_exchange_n(&db->guarded.opened_log, 0,
                                           __ATOMIC_RELAXED);
    /* A file may have come, been opened, and gone between two looks. */
    int is_file_other = is_replaced(&db->file, db->config.path)
                        || (opened != 0 && opened != db->file.inode);
    int is_log_other = is_replaced(&db->log, db->log_path)
                       || (opened_log != 0 && opened_log != db->log.inode);
    /* A log that nobody has open is removed by the next program to close the
     * database: that is as it should be. */
    int was_unused = __atomic_exchange_n(&db->was_unused, 0, __ATOMIC_RELAXED)
                     || cp_sqlite_connections(db) == 0;

    if (is_log_other && !is_file_other && !was_unused) {
        cp_log(CP_LOG_MARK, CP_LOG_WARNING, 0,
               "database '%s': the log %s was removed by another program; "
               "whoever has it open copies it into the database",
               db->config.name, db->log_path);
    }
    if (is_file_other) {
        pthread_mutex_lock(&db->lock);
        db->is_prepared = 0;
        db->prepare_at = 0;
        pthread_mutex_unlock(&db->lock);
    }
    if (is_file_other || is_log_other) {
        __atomic_store_n(&db->guarded.is_log_cut, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&db->guarded.is_log_lost, 0, __ATOMIC_RELAXED);
    }
    return is_file_other || is_log_other
           || __atomic_load_n(&db->is_draining, __ATOMIC_RELAXED);
}

apr_off_t cp_sqlite_wal_bytes(cp_sqlite_t *db)
{
    struct stat st;

    return stat(db->log_path, &st) == 0 ? st.st_size : 0;
}

/* True when there is a log, and it is as it was a round ago. */
static int is_log_quiet(cp_sqlite_t *db)
{
    struct stat now;
    int is_quiet;

    if (stat(db->log_path, &now) != 0) {
        return 0;
    }
    is_quiet = now.st_size > 0 && now.st_size == db->last_log.st_size
               && now.st_mtim.tv_sec == db->last_log.st_mtim.tv_sec
               && now.st_mtim.tv_nsec == db->last_log.st_mtim.tv_nsec;
    db->last_log = now;
    return is_quiet;
}

/* False when others were busy with the file. */
static int empty_log(cp_sqlite_t *db)
{
    cp_sqlite_conn_t *conn = NULL;
    cp_error_t err;
    int rc = SQLITE_BUSY;

    if (cp_sqlite_open(db, 1, cp_clock_after(CP_SQLITE_TRUNCATE_PATIENCE),
                       &conn, &err)
            != APR_SUCCESS
        || !conn) {
        return 0;
    }
    if (cp_sqlite_lock(conn, cp_clock_now(), &err) == APR_SUCCESS) {
        rc = cp_sqlite_checkpoint(conn, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
        cp_sqlite_unlock(conn);
    }
    cp_sqlite_close(conn);
    return rc == SQLITE_OK;
}

/* Read without its log, a file is as it was at the last checkpoint. */
static void warn_unseen_log(cp_sqlite_t *db)
{
    uint64_t suppressed;

    if (db->config.is_immutable && cp_sqlite_wal_bytes(db) > 0
        && cp_log_allowed(&db->prepare_limit, apr_time_from_sec(60),
                          &suppressed)) {
        cp_log(CP_LOG_MARK, CP_LOG_WARNING, 0,
               "database '%s': immutable=on, but there is a log: what %s holds "
               "is not seen",
               db->config.name, db->log_path);
    }
}

void cp_sqlite_tidy(cp_sqlite_t *db)
{
    warn_unseen_log(db);
    if (db->config.is_readonly || !is_log_quiet(db)) {
        return;
    }
    if (db->tidy_pause > 0) {
        db->tidy_pause--;
        return;
    }
    if (!empty_log(db)) {
        db->tidy_pause = TIDY_PAUSE;
    }
}
