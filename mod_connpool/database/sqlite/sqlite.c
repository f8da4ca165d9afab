/* SPDX-License-Identifier: Apache-2.0
 *
 * Why a server-wide lock around writes and checkpoints: SQLite's own lock is
 * unfair and polled, and SQLite 3.7.0 to 3.51.2 can lose committed rows when a
 * write races a checkpoint (https://sqlite.org/wal.html#walresetbug). Among
 * processes that share the lock neither can happen. */
#include "database/sqlite/sqlite.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "database/sqlite/connection.h"
#include "pool/driver.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_strings.h>

#define PROGRESS_OPS       1000 /* virtual machine steps between clock looks */
#define MEANWHILE_EVERY    apr_time_from_msec(5)
#define CHECKPOINT_PAGES   1000
#define TRUNCATE_PAGES     16000 /* the log outgrew passive checkpoints */
#define TIDY_PAUSE         10    /* rounds of maintenance after a vain try */
#define TRUNCATE_PATIENCE  apr_time_from_msec(50)
#define LOCK_SLICE_MIN     apr_time_from_msec(5)
#define LOCK_SLICE_MAX     apr_time_from_sec(1)
#define PREPARE_PATIENCE   apr_time_from_msec(500)
#define JOURNAL_SIZE_LIMIT (64 * 1024 * 1024)
#define PROBE              "SELECT 1 FROM sqlite_schema LIMIT 1"

struct cp_sqlite_t {
    cp_sqlite_config_t config;
    pthread_mutex_t lock; /* guards is_prepared; held while preparing */
    int is_prepared;      /* the journal mode was looked at */
    cp_sqlite_identity_t file, log; /* last seen; maintenance thread only */
    ino_t opened;         /* atomic: file of the last connection, 0: none */
    int connections;      /* atomic: open ones */
    int was_unused;       /* atomic: there were none since the last look */
    int is_stopping;      /* atomic: interrupt whatever runs */
    const char *log_path; /* of the write-ahead log */
    struct stat last_log; /* at the last tidying; maintenance thread only */
    int tidy_pause;       /* rounds to wait after a vain try; likewise */
    cp_log_limit_t prepare_limit;
};

/* --- the child's end --- */

static int is_stopping(const cp_sqlite_t *db)
{
    return __atomic_load_n(&db->is_stopping, __ATOMIC_RELAXED);
}

void cp_sqlite_stop(cp_sqlite_t *db)
{
    __atomic_store_n(&db->is_stopping, 1, __ATOMIC_RELAXED);
}

/* --- errors --- */

typedef struct outcome_t {
    int code; /* primary result code */
    cp_error_class_t cls;
    const char *cause;
    int is_broken; /* this connection must not be reused */
} outcome_t;

static const outcome_t outcomes[] = {
    {SQLITE_BUSY, CP_ERR_STORAGE, "the database is locked by another program",
     0},
    {SQLITE_LOCKED, CP_ERR_STORAGE, "the database is locked", 0},
    {SQLITE_INTERRUPT, CP_ERR_DEADLINE, "the query took longer than its limit",
     0},
    {SQLITE_CONSTRAINT, CP_ERR_INPUT,
     "the values violate a constraint of the database", 0},
    {SQLITE_MISMATCH, CP_ERR_INPUT, "a value has the wrong type", 0},
    {SQLITE_TOOBIG, CP_ERR_SIZE, "a value is too large", 0},
    {SQLITE_RANGE, CP_ERR_INTERNAL, "a parameter does not exist", 0},
    {SQLITE_CORRUPT, CP_ERR_STORAGE, "the database file is damaged", 1},
    {SQLITE_NOTADB, CP_ERR_STORAGE, "the file is not a database", 1},
    {SQLITE_CANTOPEN, CP_ERR_STORAGE, "the database cannot be opened", 1},
    {SQLITE_FULL, CP_ERR_STORAGE, "the disk is full", 0},
    {SQLITE_READONLY, CP_ERR_STORAGE, "the database cannot be written", 1},
    {SQLITE_PERM, CP_ERR_STORAGE, "the database may not be accessed", 1},
    {SQLITE_IOERR, CP_ERR_STORAGE, "the disk failed", 1},
    {SQLITE_PROTOCOL, CP_ERR_STORAGE, "the database is locked", 1},
    {SQLITE_SCHEMA, CP_ERR_STORAGE, "the schema changed", 0},
    {SQLITE_NOMEM, CP_ERR_CAPACITY, "out of memory", 1},
    {SQLITE_AUTH, CP_ERR_REFUSED, "the query does what is not allowed", 0},
    {SQLITE_ERROR, CP_ERR_INPUT, "the database refused the values", 0},
};

apr_status_t cp_sqlite_fail(cp_sqlite_conn_t *conn, int rc, const char *doing,
                            cp_error_t *err)
{
    static const outcome_t other = {0, CP_ERR_INTERNAL, "the database failed",
                                    1};
    static const outcome_t stopped = {0, CP_ERR_CANCELLED,
                                      "the server is stopping", 0};
    const outcome_t *outcome = &other;

    for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++) {
        if (outcomes[i].code == (rc & 0xff)) {
            outcome = &outcomes[i];
        }
    }
    if (outcome->cls == CP_ERR_DEADLINE && is_stopping(conn->db)) {
        outcome = &stopped;
    }
    conn->is_broken |= outcome->is_broken;
    return cp_error_set(
        err, outcome->cls, APR_EGENERAL, outcome->cause,
        "database '%s': cannot %s: %s (SQLite %d, %s)", conn->db->config.name,
        doing, conn->handle ? sqlite3_errmsg(conn->handle) : sqlite3_errstr(rc),
        rc, conn->db->config.path);
}

/* --- deadlines --- */

/* Called by SQLite every PROGRESS_OPS steps; true interrupts. */
static int on_progress(void *data)
{
    cp_sqlite_conn_t *conn = data;
    cp_clock_t now = cp_clock_now();

    if (conn->meanwhile && now >= conn->meanwhile_at) {
        conn->meanwhile_at = now + MEANWHILE_EVERY;
        conn->meanwhile(conn->meanwhile_baton);
    }
    return is_stopping(conn->db) || now >= conn->deadline;
}

/* Called by SQLite when another program holds a lock; false gives up. A flat,
 * short pause: the default's growing steps make tails of seconds. */
static int on_busy(void *data, int count)
{
    cp_sqlite_conn_t *conn = data;
    cp_clock_t now = cp_clock_now();

    if (count == 0) {
        conn->busy_until = cp_clock_after(conn->db->config.busy);
    }
    if (now >= conn->busy_until || now >= conn->deadline
        || is_stopping(conn->db)) {
        return 0;
    }
    sqlite3_sleep(count < 10 ? 1 : 5);
    return 1;
}

void cp_sqlite_set_deadline(void *connection, cp_clock_t deadline)
{
    cp_sqlite_conn_t *conn = connection;

    conn->deadline = deadline;
}

void cp_sqlite_set_meanwhile(void *connection, cp_meanwhile_fn fn, void *baton)
{
    cp_sqlite_conn_t *conn = connection;

    conn->meanwhile = fn;
    conn->meanwhile_baton = baton;
}

/* --- hardening --- */

static int equals_any(const char *word, const char *const *list)
{
    for (; word && *list; list++) {
        if (strcasecmp(word, *list) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Functions whose values change without the data. A date's may, if it is asked
 * for now: of what a view says nobody else sees the arguments. */
static const char *volatile_function(const char *name, const char *view)
{
    static const char *const always[] = {"random",       "randomblob",
                                         "changes",      "total_changes",
                                         "current_date", "last_insert_rowid",
                                         "current_time", "current_timestamp"};
    static const char *const dates[] = {"date",      "time",     "datetime",
                                        "julianday", "strftime", "unixepoch"};

    for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++) {
        if (strcasecmp(name, always[i]) == 0) {
            return always[i];
        }
    }
    for (size_t i = 0; view && i < sizeof(dates) / sizeof(dates[0]); i++) {
        if (strcasecmp(name, dates[i]) == 0) {
            return dates[i];
        }
    }
    return NULL;
}

/* What nobody's SQL may do, whatever the lexical check let through. Temporary
 * objects would outlive their borrower (a trigger even acts for the next one);
 * transactions belong to cp_sqlite_begin. Full-text search asks for
 * data_version by itself. */
static int authorize(void *data, int action, const char *first,
                     const char *second, const char *database,
                     const char *trigger)
{
    static const char *const functions[] = {"load_extension", "fts3_tokenizer",
                                            NULL};
    static const char *const tables[] = {"sqlite_dbpage", "sqlite_stmt",
                                         "dbstat", NULL};
    static const char *const pragmas[] = {"data_version", NULL};
    static const char *const temporary[] = {"temp", NULL};
    cp_sqlite_conn_t *conn = data;
    int is_denied = 0;

    switch (action) {
    case SQLITE_ATTACH:
    case SQLITE_DETACH:
    case SQLITE_CREATE_TEMP_INDEX:
    case SQLITE_CREATE_TEMP_TABLE:
    case SQLITE_CREATE_TEMP_TRIGGER:
    case SQLITE_CREATE_TEMP_VIEW:
        is_denied = 1;
        break;
    case SQLITE_TRANSACTION:
    case SQLITE_SAVEPOINT:
        is_denied = conn->is_compiling;
        break;
    case SQLITE_PRAGMA:
        is_denied = second || !equals_any(first, pragmas);
        break;
    case SQLITE_FUNCTION:
        is_denied = equals_any(second, functions);
        if (!conn->volatile_call) {
            conn->volatile_call = volatile_function(second, trigger);
        }
        break;
    case SQLITE_INSERT:
        /* Also into the schema of temp: CREATE TABLE temp.name. */
        is_denied = equals_any(first, tables)
                    || equals_any(database, temporary);
        break;
    case SQLITE_READ:
    case SQLITE_UPDATE:
    case SQLITE_DELETE:
        is_denied = equals_any(first, tables);
        break;
    case SQLITE_CREATE_VTABLE:
        is_denied = equals_any(second, tables); /* the module */
        break;
    default:
        break;
    }
    if (!is_denied || conn->is_internal) {
        return SQLITE_OK;
    }
    conn->was_denied = 1;
    return SQLITE_DENY;
}

static void harden(cp_sqlite_conn_t *conn)
{
    const cp_sqlite_config_t *config = &conn->db->config;
    sqlite3 *handle = conn->handle;

    sqlite3_extended_result_codes(handle, 1);
    sqlite3_db_config(handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(handle, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
    sqlite3_db_config(handle, SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, 0, NULL);
    sqlite3_db_config(handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_limit(handle, SQLITE_LIMIT_ATTACHED, 0);
    sqlite3_limit(handle, SQLITE_LIMIT_LENGTH, (int)config->length);
    sqlite3_limit(handle, SQLITE_LIMIT_LIKE_PATTERN_LENGTH, config->like);
    sqlite3_limit(handle, SQLITE_LIMIT_WORKER_THREADS, 0);
    sqlite3_progress_handler(handle, PROGRESS_OPS, on_progress, conn);
    sqlite3_busy_handler(handle, on_busy, conn);
    sqlite3_set_authorizer(handle, authorize, conn);
}

/* --- opening --- */

static cp_sqlite_identity_t identity_of(const struct stat *st)
{
    return (cp_sqlite_identity_t){1, st->st_dev, st->st_ino};
}

cp_sqlite_identity_t cp_sqlite_identify(const char *path)
{
    cp_sqlite_identity_t nothing = {0};
    struct stat st;

    return stat(path, &st) == 0 ? identity_of(&st) : nothing;
}

int cp_sqlite_is_same(const cp_sqlite_identity_t *a,
                      const cp_sqlite_identity_t *b)
{
    return a->is_there && b->is_there && a->device == b->device
           && a->inode == b->inode;
}

int cp_sqlite_exec(cp_sqlite_conn_t *conn, const char *sql)
{
    int rc;

    conn->is_internal = 1;
    rc = sqlite3_exec(conn->handle, sql, NULL, NULL, NULL);
    conn->is_internal = 0;
    return rc;
}

/* SQLite tells the length of the log after each commit; having a hook of our
 * own also turns automatic checkpoints off. A shorter log was begun anew. */
static int on_wal_commit(void *data, sqlite3 *handle, const char *database,
                         int pages)
{
    cp_sqlite_conn_t *conn = data;

    if (pages < conn->wal_pages) {
        conn->checkpoint_at = CHECKPOINT_PAGES;
    }
    conn->wal_pages = pages;
    return SQLITE_OK;
}

static int set_pragmas(cp_sqlite_conn_t *conn)
{
    const cp_sqlite_config_t *config = &conn->db->config;
    char sql[256];

    apr_snprintf(sql, sizeof(sql),
                 "PRAGMA cache_size=-%d; PRAGMA synchronous=%s;"
                 "PRAGMA cell_size_check=1; PRAGMA mmap_size=0;"
                 "PRAGMA journal_size_limit=%d",
                 (int)(config->cache / 1024), config->synchronous,
                 JOURNAL_SIZE_LIMIT);
    return cp_sqlite_exec(conn, sql);
}

/* A handle that outlives its connection must not call back into it. */
static void close_later(cp_sqlite_conn_t *conn)
{
    cp_log(CP_LOG_MARK, CP_LOG_WARNING, 0,
           "database '%s': a connection was closed with statements of its "
           "user left open",
           conn->db->config.name);
    sqlite3_progress_handler(conn->handle, 0, NULL, NULL);
    sqlite3_busy_handler(conn->handle, NULL, NULL);
    sqlite3_wal_hook(conn->handle, NULL, NULL);
    sqlite3_set_authorizer(conn->handle, NULL, NULL);
    sqlite3_close_v2(conn->handle);
}

void cp_sqlite_close(cp_sqlite_conn_t *conn)
{
    __atomic_sub_fetch(&conn->db->connections, 1, __ATOMIC_RELAXED);
    cp_statement_free_all(conn);
    if (sqlite3_close(conn->handle) != SQLITE_OK) {
        close_later(conn);
    }
    free(conn);
}

/* SQLite takes an empty file for a new database, and waits for ever at a named
 * pipe. Only a look: opening the file here would drop SQLite's locks. */
static int look_at_file(cp_sqlite_conn_t *conn)
{
    struct stat st;

    if (stat(conn->db->config.path, &st) != 0 || !S_ISREG(st.st_mode)) {
        return SQLITE_CANTOPEN;
    }
    conn->file = identity_of(&st);
    __atomic_store_n(&conn->db->opened, st.st_ino, __ATOMIC_RELAXED);
    return st.st_size == 0 ? SQLITE_NOTADB : SQLITE_OK;
}

static int conn_connect(cp_sqlite_conn_t *conn)
{
    int access = conn->is_writer ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY;
    int rc = look_at_file(conn);

    if (rc == SQLITE_OK) {
        rc = sqlite3_open_v2(
            conn->db->config.path, &conn->handle,
            access | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE, NULL);
    }
    if (rc == SQLITE_OK) {
        harden(conn);
        sqlite3_wal_hook(conn->handle, on_wal_commit, conn);
        rc = set_pragmas(conn);
    }
    if (rc == SQLITE_OK) {
        /* Reads the header and the schema: a file that is none, or that may
         * not be read, fails here and not in somebody's query. */
        rc = cp_sqlite_exec(conn, PROBE);
    }
    return rc;
}

apr_status_t cp_sqlite_open(cp_sqlite_t *db, int is_writer, cp_clock_t deadline,
                            cp_sqlite_conn_t **pconn, cp_error_t *err)
{
    cp_sqlite_conn_t *conn = calloc(1, sizeof(*conn));
    apr_status_t rv;
    int rc;

    if (!conn) {
        return cp_error_set(err, CP_ERR_CAPACITY, APR_ENOMEM, "out of memory",
                            "database '%s'", db->config.name);
    }
    conn->db = db;
    conn->is_writer = is_writer;
    conn->checkpoint_at = CHECKPOINT_PAGES;
    conn->deadline = deadline;
    if (__atomic_fetch_add(&db->connections, 1, __ATOMIC_RELAXED) == 0) {
        __atomic_store_n(&db->was_unused, 1, __ATOMIC_RELAXED);
    }
    rc = conn_connect(conn);
    if (rc != SQLITE_OK) {
        rv = cp_sqlite_fail(conn, rc, "open", err);
        cp_sqlite_close(conn);
        return rv;
    }
    conn->deadline = CP_CLOCK_NEVER;
    *pconn = conn;
    return APR_SUCCESS;
}

static int on_journal_mode(void *data, int columns, char **values, char **names)
{
    apr_cpystrn(data, columns > 0 && values[0] ? values[0] : "",
                CP_SQLITE_MODE_SIZE);
    return 0;
}

int cp_sqlite_journal_mode(cp_sqlite_conn_t *conn, const char *sql,
                           char mode[CP_SQLITE_MODE_SIZE])
{
    int rc;

    conn->is_internal = 1;
    rc = sqlite3_exec(conn->handle, sql, on_journal_mode, mode, NULL);
    conn->is_internal = 0;
    return rc;
}

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
    conn->deadline = deadline;
    rc = cp_sqlite_journal_mode(conn, "PRAGMA journal_mode=WAL", mode);
    conn->deadline = CP_CLOCK_NEVER;
    cp_sqlite_unlock(conn);
    if (rc == SQLITE_OK && strcasecmp(mode, "wal") != 0) {
        rc = SQLITE_READONLY;
    }
    return rc;
}

static void warn_not_wal(cp_sqlite_t *db, int rc)
{
    uint64_t suppressed;

    if (cp_log_allowed(&db->prepare_limit, apr_time_from_sec(60),
                       &suppressed)) {
        cp_log(CP_LOG_MARK, CP_LOG_WARNING, 0,
               "database '%s': %s cannot be put in WAL mode (%s): readers "
               "and writers will block each other. The file and its "
               "directory must be writable for the server's user, or the "
               "database be declared readonly=on",
               db->config.name, db->config.path, sqlite3_errstr(rc));
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
    if (!db->is_prepared
        && cp_sqlite_open(db, 1, deadline, &conn, &err) == APR_SUCCESS) {
        rc = switch_to_wal(conn, deadline);
        cp_sqlite_close(conn);
        /* Somebody else's lock will go away; other reasons stay. */
        db->is_prepared = (rc & 0xff) != SQLITE_BUSY;
        if (rc != SQLITE_OK) {
            warn_not_wal(db, rc);
        }
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
                        "user (uid %d), or be declared readonly=on",
                        config->name, config->path, (int)geteuid());
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

    conn->deadline = deadline;
    rc = cp_sqlite_exec(conn, PROBE);
    conn->deadline = CP_CLOCK_NEVER;
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
    conn->deadline = CP_CLOCK_NEVER;
    return conn->is_broken || !sqlite3_get_autocommit(conn->handle)
               ? APR_EGENERAL
               : APR_SUCCESS;
}

static void driver_close(void *ctx, void *connection)
{
    cp_sqlite_conn_t *conn = connection;

    reset_statements(conn);
    abandon_writes(conn);
    cp_sqlite_close(conn);
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

/* --- writes --- */

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
        if (left > 0 && slice < LOCK_SLICE_MIN) {
            slice = LOCK_SLICE_MIN;
        }
        rv = apr_global_mutex_timedlock(db->config.write_lock, slice);
    } while (APR_STATUS_IS_TIMEUP(rv) && cp_clock_left(deadline) > 0
             && !is_stopping(db));
    return rv;
}

apr_status_t cp_sqlite_lock(void *connection, cp_clock_t deadline,
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

/* Only here, and so only under the lock. What a reader pins is tried again
 * when the log has grown as much once more, not at every commit. */
static void checkpoint_if_due(cp_sqlite_conn_t *conn)
{
    cp_clock_t deadline = conn->deadline;
    int mode = SQLITE_CHECKPOINT_PASSIVE;
    int in_log = 0, done = 0, rc;

    if (conn->wal_pages < conn->checkpoint_at) {
        return;
    }
    conn->deadline = CP_CLOCK_NEVER;
    if (conn->wal_pages >= TRUNCATE_PAGES) {
        /* A reader pins the log: wait a moment for it, not for long. */
        mode = SQLITE_CHECKPOINT_TRUNCATE;
        conn->deadline = cp_clock_after(TRUNCATE_PATIENCE);
    }
    rc = sqlite3_wal_checkpoint_v2(conn->handle, NULL, mode, &in_log, &done);
    conn->deadline = deadline;
    conn->checkpoint_at = conn->wal_pages + CHECKPOINT_PAGES;
    if (rc != SQLITE_OK && (rc & 0xff) != SQLITE_BUSY
        && (rc & 0xff) != SQLITE_LOCKED) {
        cp_error_t err;

        cp_sqlite_fail(conn, rc, "checkpoint", &err);
        cp_log(CP_LOG_MARK, CP_LOG_ERROR, 0, "%s", err.detail);
        return;
    }
    cp_log(CP_LOG_MARK, CP_LOG_DEBUG, 0,
           "database '%s': checkpoint moved %d of %d pages",
           conn->db->config.name, done, in_log);
}

void cp_sqlite_unlock(void *connection)
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

apr_status_t cp_sqlite_begin(void *connection, cp_clock_t deadline,
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
    conn->deadline = deadline;
    rc = cp_sqlite_exec(conn, "BEGIN IMMEDIATE");
    if (rc != SQLITE_OK) {
        rv = cp_sqlite_fail(conn, rc, "begin to write", err);
        cp_sqlite_unlock(conn);
    }
    /* The row that the last borrower inserted is nobody else's business. */
    sqlite3_set_last_insert_rowid(conn->handle, 0);
    return rv;
}

apr_status_t cp_sqlite_commit(void *connection, cp_error_t *err)
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
    rc = cp_sqlite_exec(conn, "COMMIT");
    if (rc != SQLITE_OK) {
        rv = cp_sqlite_fail(conn, rc, "commit", err);
        cp_sqlite_rollback(conn);
        return rv;
    }
    cp_sqlite_unlock(conn);
    return APR_SUCCESS;
}

void cp_sqlite_rollback(void *connection)
{
    cp_sqlite_conn_t *conn = connection;
    cp_clock_t deadline = conn->deadline;

    if (!sqlite3_get_autocommit(conn->handle)) {
        conn->deadline = CP_CLOCK_NEVER;
        cp_sqlite_exec(conn, "ROLLBACK");
        conn->deadline = deadline;
    }
    cp_sqlite_unlock(conn);
}

int cp_sqlite_in_transaction(void *connection)
{
    return !sqlite3_get_autocommit(((cp_sqlite_conn_t *)connection)->handle);
}

apr_status_t cp_sqlite_nest(void *connection, cp_clock_t deadline,
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

apr_status_t cp_sqlite_unnest(void *connection, int is_kept, cp_error_t *err)
{
    cp_sqlite_conn_t *conn = connection;
    apr_status_t rv = APR_SUCCESS;
    int rc = SQLITE_OK;

    if (!is_kept) {
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

apr_int64_t cp_sqlite_changes(void *connection)
{
    return sqlite3_changes(((cp_sqlite_conn_t *)connection)->handle);
}

apr_int64_t cp_sqlite_last_rowid(void *connection)
{
    return sqlite3_last_insert_rowid(((cp_sqlite_conn_t *)connection)->handle);
}

struct sqlite3 *cp_sqlite_handle(void *connection)
{
    cp_sqlite_conn_t *conn = connection;

    conn->is_exposed = 1;
    return conn->handle;
}

/* --- the database --- */

static apr_status_t db_cleanup(void *data)
{
    pthread_mutex_destroy(&((cp_sqlite_t *)data)->lock);
    return APR_SUCCESS;
}

/* Remember what is at path now; was it another file, or is it gone? A file
 * that is new there changed nothing for anybody. */
static int is_replaced(cp_sqlite_identity_t *last, const char *path)
{
    cp_sqlite_identity_t before = *last;

    *last = cp_sqlite_identify(path);
    return before.is_there && !cp_sqlite_is_same(&before, last);
}

apr_status_t cp_sqlite_create(cp_sqlite_t **pdb,
                              const cp_sqlite_config_t *config, apr_pool_t *p)
{
    cp_sqlite_t *db = apr_pcalloc(p, sizeof(*db));

    db->config = *config;
    db->log_path = apr_pstrcat(p, config->path, "-wal", NULL);
    db->file = cp_sqlite_identify(config->path);
    db->log = cp_sqlite_identify(db->log_path);
    pthread_mutex_init(&db->lock, NULL);
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

int cp_sqlite_file_changed(cp_sqlite_t *db)
{
    ino_t opened = __atomic_exchange_n(&db->opened, 0, __ATOMIC_RELAXED);
    /* A file may have come, been opened, and gone between two looks. */
    int is_file_other = is_replaced(&db->file, db->config.path)
                        || (opened != 0 && opened != db->file.inode);
    int is_log_other = is_replaced(&db->log, db->log_path);
    /* A log that nobody has open is removed by the next program to close the
     * database: that is as it should be. */
    int was_unused = __atomic_exchange_n(&db->was_unused, 0, __ATOMIC_RELAXED)
                     || cp_sqlite_connections(db) == 0;

    if (is_log_other && !is_file_other && !was_unused) {
        cp_log(CP_LOG_MARK, CP_LOG_WARNING, 0,
               "database '%s': the log %s was removed by another program; "
               "if it was in use, what was only in it is lost",
               db->config.name, db->log_path);
    }
    if (is_file_other) {
        pthread_mutex_lock(&db->lock);
        db->is_prepared = 0;
        pthread_mutex_unlock(&db->lock);
    }
    return is_file_other || is_log_other;
}

const char *cp_sqlite_version(void)
{
    return sqlite3_libversion();
}

const char *cp_sqlite_version_risk(apr_pool_t *p)
{
    int v = sqlite3_libversion_number();

    if (v < 3007000 || v >= 3051003 || (v >= 3050007 && v < 3051000)
        || (v >= 3044006 && v < 3045000)) {
        return NULL;
    }
    return apr_psprintf(
        p,
        "SQLite %s can lose committed rows when a write races a checkpoint "
        "(fixed in 3.51.3, 3.50.7 and 3.44.6). Writes through this server are "
        "safe: they take turns. Let no other program write the same file, or "
        "update SQLite",
        sqlite3_libversion());
}

static apr_size_t db_status(sqlite3 *handle, int what)
{
    int now = 0, high = 0;

    return sqlite3_db_status(handle, what, &now, &high, 0) == SQLITE_OK
               ? (apr_size_t)now
               : 0;
}

void cp_sqlite_weigh(void *connection, cp_sqlite_weight_t *sum)
{
    sqlite3 *handle = ((cp_sqlite_conn_t *)connection)->handle;

    sum->cache += db_status(handle, SQLITE_DBSTATUS_CACHE_USED);
    sum->schema += db_status(handle, SQLITE_DBSTATUS_SCHEMA_USED);
    sum->statements += db_status(handle, SQLITE_DBSTATUS_STMT_USED);
}

void cp_sqlite_shrink(void *connection)
{
    cp_sqlite_conn_t *conn = connection;

    cp_statement_free_all(conn);
    sqlite3_db_release_memory(conn->handle);
}

uint64_t cp_sqlite_memory_used(void)
{
    return (uint64_t)sqlite3_memory_used();
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

    if (cp_sqlite_open(db, 1, cp_clock_after(TRUNCATE_PATIENCE), &conn, &err)
            != APR_SUCCESS
        || !conn) {
        return 0;
    }
    if (cp_sqlite_lock(conn, cp_clock_now(), &err) == APR_SUCCESS) {
        conn->deadline = cp_clock_after(TRUNCATE_PATIENCE);
        rc = sqlite3_wal_checkpoint_v2(conn->handle, NULL,
                                       SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
        conn->deadline = CP_CLOCK_NEVER;
        cp_sqlite_unlock(conn);
    }
    cp_sqlite_close(conn);
    return rc == SQLITE_OK;
}

void cp_sqlite_tidy(cp_sqlite_t *db)
{
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
