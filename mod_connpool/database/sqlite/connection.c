/* SPDX-License-Identifier: Apache-2.0
 * Opening and closing: a connection that is hardened and has read the header.
 */
#include "database/sqlite/connection.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "database/sqlite/sqlite.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <apr_strings.h>

#define JOURNAL_SIZE_LIMIT (64 * 1024 * 1024)

int cp_sqlite_exec(cp_sqlite_conn_t *conn, const char *sql)
{
    cp_guard_scope_t outer;
    int rc;

    cp_guard_enter(&conn->guard, &outer);
    conn->is_internal = 1;
    rc = sqlite3_exec(conn->handle, sql, NULL, NULL, NULL);
    conn->is_internal = 0;
    cp_guard_leave(&outer);
    return rc;
}

/* SQLite tells the length of the log after each commit; having a hook of our
 * own also turns automatic checkpoints off. A shorter log was begun anew. */
static int on_wal_commit(void *data, sqlite3 *handle, const char *database,
                         int pages)
{
    cp_sqlite_conn_t *conn = data;

    if (pages < conn->wal_pages) {
        conn->checkpoint_at = CP_SQLITE_CHECKPOINT_PAGES;
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
                 "PRAGMA recursive_triggers=%d;"
                 "PRAGMA journal_size_limit=%d",
                 (int)(config->cache / 1024), config->synchronous,
                 config->recursive_triggers, JOURNAL_SIZE_LIMIT);
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
    cp_sqlite_weigh_nothing(conn);
    cp_sqlite_forget_refused(conn);
    cp_guard_unwatch(&conn->guard);
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

    if (stat(conn->db->config.path, &st) != 0) {
        conn->system_error = errno;
        return SQLITE_CANTOPEN;
    }
    if (!S_ISREG(st.st_mode)) {
        conn->system_error = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
        return SQLITE_CANTOPEN;
    }
    conn->file = cp_sqlite_identity_of(&st);
    __atomic_store_n(&conn->db->opened, st.st_ino, __ATOMIC_RELAXED);
    return st.st_size == 0 ? SQLITE_NOTADB : SQLITE_OK;
}

/* "immutable" can only be said in a URI. */
static const char *immutable_uri(char *uri, size_t size, const char *path)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t used = 5;

    memcpy(uri, "file:", used);
    for (; *path && used + 20 < size; path++) {
        if (strchr("%?#", *path)) {
            uri[used++] = '%';
            uri[used++] = hex[(unsigned char)*path >> 4];
            uri[used++] = hex[*path & 15];
        }
        else {
            uri[used++] = *path;
        }
    }
    memcpy(uri + used, "?immutable=1", 13);
    return *path ? NULL : uri;
}

static int open_handle(cp_sqlite_conn_t *conn)
{
    const cp_sqlite_config_t *config = &conn->db->config;
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
    char uri[3 * APR_PATH_MAX];
    const char *name = config->path;

    flags |= conn->is_writer ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY;
    if (config->is_immutable) {
        flags |= SQLITE_OPEN_URI;
        name = immutable_uri(uri, sizeof(uri), config->path);
    }
    return name ? sqlite3_open_v2(name, &conn->handle, flags, cp_guard_vfs())
                : SQLITE_CANTOPEN;
}

/* SQLite may read the schema for it. */
static int add_functions(cp_sqlite_conn_t *conn)
{
    cp_guard_scope_t outer;
    int rc;

    cp_guard_enter(&conn->guard, &outer);
    conn->is_internal = 1;
    rc = cp_guard_add_functions(conn->handle);
    conn->is_internal = 0;
    cp_guard_leave(&outer);
    return rc;
}

static int conn_connect(cp_sqlite_conn_t *conn)
{
    int rc = look_at_file(conn);

    if (rc == SQLITE_OK) {
        rc = open_handle(conn);
    }
    if (rc == SQLITE_OK) {
        conn->guard.handle = conn->handle;
        cp_guard_watch(&conn->guard);
        cp_sqlite_harden(conn);
        rc = add_functions(conn);
    }
    if (rc == SQLITE_OK) {
        sqlite3_wal_hook(conn->handle, on_wal_commit, conn);
        rc = set_pragmas(conn);
    }
    if (rc == SQLITE_OK) {
        /* Reads the header and the schema: a file that is none, or that may
         * not be read, fails here and not in somebody's query. */
        rc = cp_sqlite_exec(conn, CP_SQLITE_PROBE);
    }
    return rc;
}

/* A statement that grows is heavier before it ends. */
static void weigh_if_due(void *owner, cp_clock_t now)
{
    cp_sqlite_conn_t *conn = owner;

    if (now >= conn->weigh_at) {
        cp_sqlite_weigh_now(conn, 1);
    }
}

apr_status_t cp_sqlite_log_lost(const cp_sqlite_t *db, cp_error_t *err)
{
    return cp_error_set(err, CP_ERR_STORAGE, APR_EGENERAL, CP_SQLITE_LOG_LOST,
                        "database '%s': %s, or its index, was removed by "
                        "another program",
                        db->config.name, db->log_path);
}

/* While an index is used that others do not find, another connection would get
 * it, too, and write what they overwrite. */
apr_status_t cp_sqlite_open(cp_sqlite_t *db, int is_writer, cp_clock_t deadline,
                            cp_sqlite_conn_t **pconn, cp_error_t *err)
{
    cp_sqlite_conn_t *conn = calloc(1, sizeof(*conn));
    apr_status_t rv;
    int rc;

    if (!conn) {
        return cp_error_memory(err, "a connection to a database");
    }
    conn->db = db;
    conn->guard.common = &db->guarded;
    conn->guard.is_writer = is_writer;
    conn->guard.look = weigh_if_due;
    conn->guard.owner = conn;
    conn->is_writer = is_writer;
    conn->checkpoint_at = CP_SQLITE_CHECKPOINT_PAGES;
    conn->is_heavier = 1;
    cp_guard_set_deadline(&conn->guard, deadline);
    if (__atomic_fetch_add(&db->connections, 1, __ATOMIC_RELAXED) == 0) {
        __atomic_store_n(&db->was_unused, 1, __ATOMIC_RELAXED);
        __atomic_store_n(&db->is_draining, 0, __ATOMIC_RELAXED);
    }
    if (__atomic_load_n(&db->is_draining, __ATOMIC_RELAXED)) {
        cp_sqlite_close(conn);
        return cp_sqlite_log_lost(db, err);
    }
    rc = conn_connect(conn);
    if (rc == SQLITE_INTERRUPT && !cp_sqlite_is_stopping(db)) {
        rc = SQLITE_BUSY; /* it was waiting for somebody else's lock */
    }
    if (rc != SQLITE_OK) {
        rv = cp_sqlite_fail(conn, rc, "open", err);
        cp_sqlite_close(conn);
        return rv;
    }
    cp_guard_set_deadline(&conn->guard, CP_CLOCK_NEVER);
    cp_sqlite_weigh_now(conn, 0);
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
    cp_guard_scope_t outer;
    int rc;

    cp_guard_enter(&conn->guard, &outer);
    conn->is_internal = 1;
    rc = sqlite3_exec(conn->handle, sql, on_journal_mode, mode, NULL);
    conn->is_internal = 0;
    cp_guard_leave(&outer);
    return rc;
}
