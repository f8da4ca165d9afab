/* SPDX-License-Identifier: Apache-2.0
 *
 * json_patch compares each key of the one object with each of the other, and
 * never looks at the clock: it is run for objects that are small enough. */
#include "database/sqlite/guard/functions.h"

#include <pthread.h>

#define PAIRS 20000000

/* What runs SQLite's own function: a database without a file, opened when it is
 * first needed. */
typedef struct aside_t {
    sqlite3 *handle;
    sqlite3_stmt *stmt;
} aside_t;

static void close_aside(void *data)
{
    aside_t *aside = data;

    sqlite3_finalize(aside->stmt);
    sqlite3_close(aside->handle);
    sqlite3_free(aside);
}

static int open_aside(aside_t *aside, int length)
{
    int rc;

    if (aside->stmt) {
        return SQLITE_OK;
    }
    sqlite3_close(aside->handle);
    rc = sqlite3_open_v2(":memory:", &aside->handle,
                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_limit(aside->handle, SQLITE_LIMIT_LENGTH, length);
        rc = sqlite3_prepare_v3(aside->handle, "SELECT json_patch(?1, ?2)", -1,
                                SQLITE_PREPARE_PERSISTENT, &aside->stmt, NULL);
    }
    return rc;
}

/* At least as many keys as there are. */
static sqlite3_int64 count_keys(sqlite3_value *value)
{
    const unsigned char *text;
    int size;
    sqlite3_int64 count = 1;

    if (sqlite3_value_type(value) == SQLITE_BLOB) {
        return 1 + sqlite3_value_bytes(value) / 2;
    }
    text = sqlite3_value_text(value);
    size = text ? sqlite3_value_bytes(value) : 0;
    for (int i = 0; i < size; i++) {
        count += text[i] == ':';
    }
    return count;
}

static void run_patch(sqlite3_context *context, int count,
                      sqlite3_value **values)
{
    aside_t *aside = sqlite3_user_data(context);
    sqlite3 *handle = sqlite3_context_db_handle(context);
    int rc;

    if (is_late(context)) {
        return;
    }
    if (count_keys(values[0]) * count_keys(values[1]) > PAIRS) {
        sqlite3_result_error_toobig(context);
        return;
    }
    rc = open_aside(aside, sqlite3_limit(handle, SQLITE_LIMIT_LENGTH, -1));
    for (int i = 0; i < 2 && rc == SQLITE_OK; i++) {
        rc = sqlite3_bind_value(aside->stmt, i + 1, values[i]);
    }
    if (rc == SQLITE_OK && sqlite3_step(aside->stmt) == SQLITE_ROW) {
        sqlite3_result_value(context, sqlite3_column_value(aside->stmt, 0));
        sqlite3_result_subtype(context, 'J');
    }
    else {
        rc = rc == SQLITE_OK ? sqlite3_errcode(aside->handle) : rc;
        sqlite3_result_error(context, sqlite3_errmsg(aside->handle), -1);
        sqlite3_result_error_code(context, rc);
    }
    sqlite3_reset(aside->stmt);
    sqlite3_clear_bindings(aside->stmt);
}

#ifdef SQLITE_RESULT_SUBTYPE
#define PATCH_FLAGS (CP_FUNCTION_FLAGS | SQLITE_RESULT_SUBTYPE)
#else
#define PATCH_FLAGS CP_FUNCTION_FLAGS
#endif

static int has_json_patch; /* set once */

static void decide(void)
{
    sqlite3 *handle = NULL;

    has_json_patch = sqlite3_open(":memory:", &handle) == SQLITE_OK
                     && sqlite3_exec(handle, "SELECT json_patch('{}', '{}')",
                                     NULL, NULL, NULL)
                            == SQLITE_OK;
    sqlite3_close(handle);
}

int cp_guard_add_patch(sqlite3 *handle)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    aside_t *aside;

    pthread_once(&once, decide);
    if (!has_json_patch) {
        return SQLITE_OK;
    }
    aside = sqlite3_malloc(sizeof(*aside));
    if (!aside) {
        return SQLITE_NOMEM;
    }
    *aside = (aside_t){0};
    return sqlite3_create_function_v2(handle, "json_patch", 2, PATCH_FLAGS,
                                      aside, run_patch, NULL, NULL,
                                      close_aside);
}
