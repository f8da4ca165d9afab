/* SPDX-License-Identifier: Apache-2.0
 * What every connection of ours is held to: time, other programs' locks, and
 * what SQL may do. */
#include "database/sqlite/connection.h"
#include "database/sqlite/sqlite.h"

#include <string.h>
#include <strings.h>

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

/* Tables of JSON hold what their arguments say. */
static unsigned seen_in(int action, const char *table)
{
    static const char *const made[] = {"json_each", "json_tree", NULL};

    switch (action) {
    case SQLITE_READ:
        return equals_any(table, made) ? 0 : CP_SEEN_READ;
    case SQLITE_SELECT:
        return CP_SEEN_SELECT;
    case SQLITE_UPDATE:
    case SQLITE_DELETE:
        return CP_SEEN_CHANGE;
    default:
        return 0;
    }
}

/* What nobody's SQL may do, whatever the lexical check let through. Temporary
 * objects would outlive their borrower (a trigger even acts for the next one);
 * transactions belong to cp_sqlite_begin. Full-text search asks for
 * data_version by itself, and like R-Trees for page_size. */
static int authorize(void *data, int action, const char *first,
                     const char *second, const char *database,
                     const char *trigger)
{
    static const char *const functions[] = {"load_extension", "fts3_tokenizer",
                                            NULL};
    static const char *const tables[] = {"sqlite_dbpage", "sqlite_stmt",
                                         "dbstat", NULL};
    static const char *const pragmas[] = {"data_version", "page_size", NULL};
    static const char *const temporary[] = {"temp", NULL};
    cp_sqlite_conn_t *conn = data;
    int is_denied = 0;

    conn->seen |= seen_in(action, first);
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
        if (cp_sqlite_is_refused(conn, second)) {
            conn->has_refused = is_denied = 1;
        }
        if (!conn->volatile_call) {
            conn->volatile_call = volatile_function(second, trigger);
        }
        break;
    case SQLITE_INSERT:
        /* Also into the schema of temp: CREATE TABLE temp.name. */
        is_denied = equals_any(first, tables)
                    || equals_any(database, temporary);
        conn->seen |= trigger ? 0 : CP_SEEN_INSERT;
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

void cp_sqlite_harden(cp_sqlite_conn_t *conn)
{
    const cp_sqlite_config_t *config = &conn->db->config;
    sqlite3 *handle = conn->handle;

    sqlite3_extended_result_codes(handle, 1);
    sqlite3_db_config(handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    cp_sqlite_confine(conn);
    sqlite3_db_config(handle, SQLITE_DBCONFIG_ENABLE_FKEY, config->foreign_keys,
                      NULL);
    sqlite3_db_config(handle, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
    sqlite3_db_config(handle, SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, 0, NULL);
    sqlite3_db_config(handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_limit(handle, SQLITE_LIMIT_ATTACHED, 0);
    sqlite3_limit(handle, SQLITE_LIMIT_LENGTH, (int)config->length);
    sqlite3_limit(handle, SQLITE_LIMIT_LIKE_PATTERN_LENGTH, config->like);
    sqlite3_limit(handle, SQLITE_LIMIT_WORKER_THREADS, 0);
    cp_guard_install(&conn->guard);
    sqlite3_set_authorizer(handle, authorize, conn);
}
