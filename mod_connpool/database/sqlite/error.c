/* SPDX-License-Identifier: Apache-2.0
 * What SQLite's result codes mean for who asked, and for the connection. */
#include "base/error.h"
#include "base/log.h"
#include "database/sqlite/connection.h"

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
    {SQLITE_NOMEM, CP_ERR_MEMORY, "out of memory", 1},
    {SQLITE_AUTH, CP_ERR_REFUSED, "the query does what is not allowed", 0},
    {SQLITE_ERROR, CP_ERR_INPUT, "the database refused the values", 0},
};

/* Nobody would look for it: another module has bounded SQLite's memory. Said
 * once for each bound. */
static void tell_heap_limit(void)
{
    static sqlite3_int64 told; /* atomic */
    sqlite3_int64 limit = sqlite3_hard_heap_limit64(-1);

    if (limit > 0
        && __atomic_exchange_n(&told, limit, __ATOMIC_RELAXED) != limit) {
        cp_log(CP_LOG_MARK, CP_LOG_WARNING, 0,
               "SQLite is out of memory: another module of this process has "
               "set a hard heap limit (sqlite3_hard_heap_limit64, PRAGMA "
               "hard_heap_limit) of %lld bytes for all of it, and %lld are in "
               "use; queries are answered 503 until it is raised or removed",
               (long long)limit, (long long)sqlite3_memory_used());
    }
}

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
    if (outcome->cls == CP_ERR_DEADLINE && cp_sqlite_is_stopping(conn->db)) {
        outcome = &stopped;
    }
    conn->is_broken |= outcome->is_broken;
    if ((rc & 0xff) == SQLITE_NOMEM) {
        tell_heap_limit();
    }
    return cp_error_set(
        err, outcome->cls, APR_EGENERAL, outcome->cause,
        "database '%s': cannot %s: %s (SQLite %d, %s)", conn->db->config.name,
        doing, conn->handle ? sqlite3_errmsg(conn->handle) : sqlite3_errstr(rc),
        rc, conn->db->config.path);
}
