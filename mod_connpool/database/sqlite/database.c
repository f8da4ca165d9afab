/* SPDX-License-Identifier: Apache-2.0
 * A database in a child, and the two kinds of connections that its pools have.
 */
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "database/sqlite/connection.h"
#include "database/sqlite/sqlite.h"
#include "pool/driver.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <apr_strings.h>

#define PREPARE_PATIENCE apr_time_from_msec(500)
#define PREPARE_PAUSE    apr_time_from_sec(3)

/* --- connections --- */

/* The mode is written in the file: look first, for setting it needs locks. */
static int switch_to_wal(cp_sqlite_conn_t *conn, cp_clock_t deadline)
{
    char mode[CP_SQLITE_MODE_SIZE] = "";
    cp_error_t err;
    int rc = cp_sqlite_journal_mode(conn, "PRAGMA journal_mode", mode);

    if (rc != SQLITE_OK || strcasecmp(mode, "wal") == 0) {
        return rc;
    }
    if (cp_sqlite_lock(conn, deadline, &err) != APR_SUCCESS) {
        return SQLITE_BUSY;
    }
    cp_guard_set_deadline(&conn->guard, deadline);
    rc = cp_sqlite_journal_mode(conn, "PRAGMA journal_mode=WAL", mode);
    cp_guard_set_deadline(&conn->guard, CP_CLOCK_NEVER);
    cp_sqlite_unlock(conn);
    if (rc == SQLITE_OK && strcasecmp(mode, "wal") != 0) {
        rc = SQLITE_READONLY;
    }
    return rc;
}

static void warn_not_wal(cp_sqlite_t *db, int rc)
{
    int error = (rc & 0xff) == SQLITE_BUSY
                    ? 0
                    : cp_sqlite_why_unwritable(db->config.path);
    uint64_t suppressed;

    if (cp_log_allowed(&db->prepare_limit, apr_time_from_sec(60),
                       &suppressed)) {
        cp_log(CP_LOG_MARK, CP_LOG_WARNING, 0,
               "database '%s': %s cannot be put in WAL mode (%s): readers "
               "and writers will block each other. The file and its "
               "directory must be writable for the server's user (uid %d), or "
               "the database be declared readonly=on",
               db->config.name, db->config.path,
               error ? strerror(error) : sqlite3_errstr(rc), (int)geteuid());
    }
}

/* Before the first connection of this child: put the file in WAL mode. Not
 * being able to is no reason to refuse readers, and one thread's try none to
 * keep the others waiting. */
static void prepare_file(cp_sqlite_t *db, cp_clock_t deadline)
{
    cp_clock_t patience = cp_clock_after(PREPARE_PATIENCE);
    cp_sqlite_conn_t *conn;
    cp_error_t err;
    int rc;

    if (db->config.is_readonly || pthread_mutex_trylock(&db->lock) != 0) {
        return;
    }
    if (deadline > patience) {
        deadline = patience;
    }
    if (!db->is_prepared && cp_clock_left(db->prepare_at) == 0
        && cp_sqlite_open(db, 1, deadline, &conn, &err) == APR_SUCCESS) {
        rc = switch_to_wal(conn, deadline);
        cp_sqlite_close(conn);
        db->is_prepared = rc == SQLITE_OK;
        if (rc != SQLITE_OK) {
            warn_not_wal(db, rc);
        }
        /* Somebody else's lock goes away soon, permissions are repaired. */
        db->prepare_at = rc == SQLITE_OK || (rc & 0xff) == SQLITE_BUSY
                             ? 0
                             : cp_clock_after(PREPARE_PAUSE);
    }
    pthread_mutex_unlock(&db->lock);
}

static apr_status_t driver_open(void *ctx, int is_writer, cp_clock_t deadline,
                                void **pconn, cp_error_t *err)
{
    cp_sqlite_conn_t *conn = NULL;
    apr_status_t rv;

    prepare_file(ctx, deadline);
    rv = cp_sqlite_open(ctx, is_writer, deadline, &conn, err);
    *pconn = conn;
    return rv;
}

static apr_status_t reader_open(void *ctx, cp_clock_t deadline, void **pconn,
                                cp_error_t *err)
{
    return driver_open(ctx, 0, deadline, pconn, err);
}

/* SQLite opens a file that it may not write for reading, without a word. */
static apr_status_t refuse_readonly_file(cp_sqlite_conn_t *conn,
                                         cp_error_t *err)
{
    const cp_sqlite_config_t *config = &conn->db->config;

    if (sqlite3_db_readonly(conn->handle, "main") != 1) {
        return APR_SUCCESS;
    }
    return cp_error_set(err, CP_ERR_STORAGE, APR_EACCES,
                        "the database cannot be written",
                        "database '%s': %s must be writable for the server's "
                        "user (uid %d), or be declared readonly=on: %s",
                        config->name, config->path, (int)geteuid(),
                        strerror(cp_sqlite_why_unwritable(config->path)));
}

static apr_status_t writer_open(void *ctx, cp_clock_t deadline, void **pconn,
                                cp_error_t *err)
{
    const cp_sqlite_t *db = ctx;
    apr_status_t rv;

    if (db->config.is_readonly) {
        *pconn = NULL;
        return cp_error_set(
            err, CP_ERR_REFUSED, APR_EACCES, "the database is read-only",
            "database '%s': readonly=on has no writer", db->config.name);
    }
    rv = driver_open(ctx, 1, deadline, pconn, err);
    if (rv == APR_SUCCESS) {
        rv = refuse_readonly_file(*pconn, err);
        if (rv != APR_SUCCESS) {
            cp_sqlite_close(*pconn);
            *pconn = NULL;
        }
    }
    return rv;
}

static apr_status_t driver_check(void *ctx, void *connection,
                                 cp_clock_t deadline)
{
    cp_sqlite_conn_t *conn = connection;
    int rc;

    cp_guard_set_deadline(&conn->guard, deadline);
    rc = cp_sqlite_exec(conn, CP_SQLITE_PROBE);
    cp_guard_set_deadline(&conn->guard, CP_CLOCK_NEVER);
    return rc == SQLITE_OK ? APR_SUCCESS : APR_EGENERAL;
}

/* A statement that was left running would pin the log and hold a lock; one
 * that was left bound would point into its borrower's memory. */
static void reset_statements(cp_sqlite_conn_t *conn)
{
    sqlite3_stmt *stmt = NULL;

    for (int i = 0; i < CP_SQLITE_STATEMENTS && conn->statements_out > 0; i++) {
        if (conn->cache[i].is_out) {
            cp_statement_finish(&conn->cache[i]);
        }
    }
    while (conn->is_exposed
           && (stmt = sqlite3_next_stmt(conn->handle, stmt)) != NULL) {
        if (sqlite3_stmt_busy(stmt)) {
            sqlite3_reset(stmt);
        }
    }
}

/* Whoever entered the lock how often: nobody holds the connection any more. */
static void abandon_writes(cp_sqlite_conn_t *conn)
{
    conn->locks = conn->locks > 0;
    cp_sqlite_rollback(conn);
}

static apr_status_t driver_reset(void *ctx, void *connection)
{
    cp_sqlite_conn_t *conn = connection;

    reset_statements(conn);
    abandon_writes(conn);
    cp_guard_set_deadline(&conn->guard, CP_CLOCK_NEVER);
    cp_guard_set_gone(&conn->guard, NULL, NULL);
    if (conn->is_exposed) {
        /* What its borrower has registered, too. */
        cp_sqlite_confine(conn);
    }
    cp_sqlite_weigh_now(conn, 0);
    return conn->is_broken || !sqlite3_get_autocommit(conn->handle)
               ? APR_EGENERAL
               : APR_SUCCESS;
}

static void driver_close(void *ctx, void *connection)
{
    cp_sqlite_conn_t *conn = connection;

    reset_statements(conn);
    abandon_writes(conn);
    if (conn->is_writer) {
        cp_sqlite_close_writer(conn);
    }
    else {
        cp_sqlite_close(conn);
    }
}

const cp_driver_t cp_sqlite_reader = {
    .kind = "sqlite",
    .open = reader_open,
    .check = driver_check,
    .reset = driver_reset,
    .close = driver_close,
};

const cp_driver_t cp_sqlite_writer = {
    .kind = "sqlite",
    .open = writer_open,
    .check = driver_check,
    .reset = driver_reset,
    .close = driver_close,
};

void cp_sqlite_set_deadline(cp_connection_t *conn, cp_clock_t deadline)
{
    cp_guard_set_deadline(&conn->guard, deadline);
}

struct sqlite3 *cp_sqlite_handle(cp_connection_t *connection)
{
    cp_sqlite_conn_t *conn = connection;

    conn->is_exposed = 1;
    return conn->handle;
}

/* Connections that are open go on with whatever mode the file is in. */
void cp_sqlite_prepare_repaired(cp_sqlite_t *db)
{
    int is_waiting;

    pthread_mutex_lock(&db->lock);
    is_waiting = !db->is_prepared && db->prepare_at != 0
                 && cp_clock_left(db->prepare_at) == 0;
    pthread_mutex_unlock(&db->lock);
    if (is_waiting && cp_sqlite_why_unwritable(db->config.path) == 0) {
        prepare_file(db, cp_clock_after(CP_SQLITE_TRUNCATE_PATIENCE));
    }
}

/* --- the database --- */

static apr_status_t db_cleanup(void *data)
{
    cp_sqlite_end_kept(data);
    pthread_mutex_destroy(&((cp_sqlite_t *)data)->lock);
    cp_guard_end();
    return APR_SUCCESS;
}

/* Beside the file itself, not beside a link to it. */
static const char *log_path_of(const char *path, apr_pool_t *p)
{
    char *real = realpath(path, NULL);
    const char *log_path = apr_pstrcat(p, real ? real : path, "-wal", NULL);

    free(real);
    return log_path;
}

apr_status_t cp_sqlite_create(cp_sqlite_t **pdb,
                              const cp_sqlite_config_t *config, apr_pool_t *p)
{
    cp_sqlite_t *db = apr_pcalloc(p, sizeof(*db));

    db->config = *config;
    db->log_path = log_path_of(config->path, p);
    db->guarded.name = config->name;
    db->guarded.log_path = db->log_path;
    db->guarded.busy = config->busy;
    db->file = cp_sqlite_identify(config->path);
    db->log = cp_sqlite_identify(db->log_path);
    pthread_mutex_init(&db->lock, NULL);
    cp_guard_begin();
    apr_pool_cleanup_register(p, db, db_cleanup, apr_pool_cleanup_null);
    *pdb = db;
    return APR_SUCCESS;
}

const cp_sqlite_config_t *cp_sqlite_config(const cp_sqlite_t *db)
{
    return &db->config;
}

int cp_sqlite_connections(const cp_sqlite_t *db)
{
    return __atomic_load_n(&db->connections, __ATOMIC_RELAXED);
}

void cp_sqlite_stop(cp_sqlite_t *db)
{
    __atomic_store_n(&db->guarded.is_stopping, 1, __ATOMIC_RELAXED);
}
