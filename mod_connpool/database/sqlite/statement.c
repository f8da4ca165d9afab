/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/error.h"
#include "database/sqlite/connection.h"
#include "database/sqlite/sqlite.h"
#include "database/value.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

/* Rows between looks at the clock: what takes long within a step is interrupted
 * in time, and this is about many that do not. */
#define LOOK_EVERY 16

static void statement_free(cp_statement_t *st)
{
    sqlite3_finalize(st->stmt);
    for (int i = 0; st->names && i < st->parameters; i++) {
        free(st->names[i]);
    }
    free(st->names);
    free(st->sql);
    free(st->bound);
    memset(st, 0, sizeof(*st));
}

void cp_statement_free_all(cp_sqlite_conn_t *conn)
{
    for (int i = 0; i < CP_SQLITE_STATEMENTS; i++) {
        statement_free(&conn->cache[i]);
    }
}

static int is_free_of(const cp_statement_t *st, const char *sql, size_t size)
{
    return st->stmt && !st->is_out && st->sql_size == size
           && memcmp(st->sql, sql, size) == 0;
}

/* The cached statement of this text that nobody uses, or NULL. A named query
 * comes with the same text at the same address each time, so where that was
 * found last is where to look first. */
static cp_statement_t *cache_find(cp_sqlite_conn_t *conn, const char *sql,
                                  size_t size)
{
    unsigned char
        *hint = &conn->hints[((uintptr_t)sql >> 4) % CP_SQLITE_STATEMENTS];

    if (is_free_of(&conn->cache[*hint], sql, size)) {
        return &conn->cache[*hint];
    }
    for (int i = 0; i < CP_SQLITE_STATEMENTS; i++) {
        if (is_free_of(&conn->cache[i], sql, size)) {
            *hint = (unsigned char)i;
            return &conn->cache[i];
        }
    }
    return NULL;
}

/* A free place, or that of the least recently used; NULL when all are out. */
static cp_statement_t *cache_place(cp_sqlite_conn_t *conn)
{
    cp_statement_t *oldest = NULL;

    for (int i = 0; i < CP_SQLITE_STATEMENTS; i++) {
        cp_statement_t *st = &conn->cache[i];

        if (!st->stmt) {
            return st;
        }
        if (!st->is_out && (!oldest || st->used_at < oldest->used_at)) {
            oldest = st;
        }
    }
    if (oldest) {
        statement_free(oldest);
    }
    return oldest;
}

/* Nothing but blanks, semicolons and comments; SQLite itself is asked. */
static int is_blank(sqlite3 *handle, const char *tail)
{
    while (*tail) {
        sqlite3_stmt *stmt = NULL;
        int rc = sqlite3_prepare_v3(handle, tail, -1, 0, &stmt, &tail);

        if (rc != SQLITE_OK || stmt) {
            sqlite3_finalize(stmt);
            return 0;
        }
    }
    return 1;
}

/* What SQLite compiled, but a pool does not run. */
static apr_status_t check_compiled(cp_sqlite_conn_t *conn, sqlite3_stmt *stmt,
                                   const char *sql, const char *tail,
                                   cp_error_t *err)
{
    if (!stmt || !is_blank(conn->handle, tail)) {
        return cp_error_set(err, CP_ERR_INTERNAL, APR_EINVAL,
                            "the query is not one statement",
                            "not exactly one statement: %.200s", sql);
    }
    if (!conn->is_writer && !sqlite3_stmt_readonly(stmt)) {
        return cp_error_set(
            err, CP_ERR_REFUSED, APR_EACCES, "the query would write",
            "a statement that writes needs a writer: %.200s", sql);
    }
    return APR_SUCCESS;
}

/* Modules that look behind the schema are not there to be denied. */
static int is_hidden_table(cp_sqlite_conn_t *conn)
{
    static const char *const hidden[] = {"dbstat", "sqlite_stmt",
                                         "sqlite_dbpage"};
    const char *message = sqlite3_errmsg(conn->handle);

    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++) {
        if (strncmp(message, "no such ", 8) == 0
            && strstr(message, hidden[i])) {
            return 1;
        }
    }
    return 0;
}

static apr_status_t compile(cp_sqlite_conn_t *conn, const char *sql,
                            sqlite3_stmt **pstmt, cp_error_t *err)
{
    cp_guard_scope_t outer;
    const char *tail = NULL;
    apr_status_t rv;
    int rc;

    cp_guard_enter(&conn->guard, &outer);
    conn->is_compiling = 1;
    conn->was_denied = 0;
    conn->has_refused = 0;
    rc = sqlite3_prepare_v3(conn->handle, sql, -1, SQLITE_PREPARE_PERSISTENT,
                            pstmt, &tail);
    conn->is_compiling = 0;
    cp_guard_leave(&outer);
    if (rc != SQLITE_OK) {
        rv = cp_sqlite_fail_late(conn, rc, "prepare", err);
        if (conn->was_denied || is_hidden_table(conn)) {
            /* SQLite has no code of its own for a function that is denied. */
            err->cls = CP_ERR_REFUSED;
            err->cause = "the query does what is not allowed";
            conn->has_refused = 0;
        }
        else if (err->cls == CP_ERR_INPUT) {
            /* Nothing of the request is in it yet: SQL and schema differ. */
            err->cls = CP_ERR_STORAGE;
            err->cause = "the query does not fit the database";
        }
        return rv;
    }
    rv = check_compiled(conn, *pstmt, sql, tail, err);
    if (rv != APR_SUCCESS) {
        sqlite3_finalize(*pstmt);
    }
    return rv;
}

/* What SQLite tells of them, which it would look for with each value: as many
 * as there are. */
static int take_names(cp_statement_t *st, sqlite3_stmt *stmt)
{
    st->names = calloc((size_t)st->parameters + 1, sizeof(*st->names));
    for (int i = 0; st->names && i < st->parameters; i++) {
        const char *name = sqlite3_bind_parameter_name(stmt, i + 1);

        if (name && *name == ':') {
            st->names[i] = strdup(name + 1);
            if (!st->names[i]) {
                return 0;
            }
        }
    }
    return st->names != NULL;
}

static apr_status_t cache_add(cp_sqlite_conn_t *conn, const char *sql,
                              size_t size, cp_statement_t **pst,
                              cp_error_t *err)
{
    sqlite3_stmt *stmt = NULL;
    cp_statement_t *st;
    apr_status_t rv;

    conn->volatile_call = NULL;
    conn->seen = 0;
    rv = compile(conn, sql, &stmt, err);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    st = cache_place(conn);
    if (st) {
        st->sql = strdup(sql);
        st->parameters = sqlite3_bind_parameter_count(stmt);
        st->bound = calloc((size_t)st->parameters + 1, sizeof(*st->bound));
    }
    if (!st || !st->sql || !st->bound || !take_names(st, stmt)) {
        sqlite3_finalize(stmt);
        if (st) {
            statement_free(st); /* it has no statement yet */
        }
        return cp_error_set(err, CP_ERR_CAPACITY, APR_ENOMEM,
                            st ? "out of memory" : "too many open statements",
                            "cannot keep: %.200s", sql);
    }
    st->conn = conn;
    st->stmt = stmt;
    st->sql_size = size;
    st->volatile_call = conn->volatile_call;
    st->seen = conn->seen;
    conn->is_heavier = 1;
    *pst = st;
    return APR_SUCCESS;
}

apr_status_t cp_statement_prepare(cp_connection_t *connection, const char *sql,
                                  cp_statement_t **pst, cp_error_t *err)
{
    cp_sqlite_conn_t *conn = connection;
    size_t size = strlen(sql);
    cp_statement_t *st = cache_find(conn, sql, size);
    apr_status_t rv = st ? APR_SUCCESS : cache_add(conn, sql, size, &st, err);

    *pst = st;
    if (rv == APR_SUCCESS) {
        st->is_out = 1;
        conn->statements_out++;
        st->used_at = ++conn->uses;
        st->steps = 0;
    }
    return rv;
}

int cp_statement_is_readonly(cp_statement_t *st)
{
    return sqlite3_stmt_readonly(st->stmt);
}

/* A null pointer would bind NULL, not an empty value. */
static const char *some(const cp_value_t *value)
{
    return value->as.bytes.data ? value->as.bytes.data : "";
}

/* From 1; 0: it has no such parameter. */
static int place_of(const cp_statement_t *st, const char *name)
{
    for (int i = 0; i < st->parameters; i++) {
        if (st->names[i] && strcmp(st->names[i], name) == 0) {
            return i + 1;
        }
    }
    return 0;
}

apr_status_t cp_statement_bind(cp_statement_t *st, const char *name,
                               const cp_value_t *value, cp_error_t *err)
{
    int i = place_of(st, name), rc = SQLITE_OK;

    if (i == 0) {
        cp_error_set(err, CP_ERR_INPUT, APR_NOTFOUND, "unknown parameter",
                     "the query has no parameter :%.64s", name);
        return APR_NOTFOUND;
    }
    switch (value->storage) {
    case CP_NULL:
        rc = sqlite3_bind_null(st->stmt, i);
        break;
    case CP_INTEGER:
        rc = sqlite3_bind_int64(st->stmt, i, value->as.integer);
        break;
    case CP_REAL:
        rc = sqlite3_bind_double(st->stmt, i, value->as.real);
        break;
    case CP_TEXT:
    case CP_JSON:
        rc = sqlite3_bind_text64(st->stmt, i, some(value), value->as.bytes.size,
                                 SQLITE_STATIC, SQLITE_UTF8);
        break;
    case CP_BLOB:
        rc = sqlite3_bind_blob64(st->stmt, i, some(value), value->as.bytes.size,
                                 SQLITE_STATIC);
        break;
    }
    st->bound[i - 1] = *value;
    return rc == SQLITE_OK ? APR_SUCCESS
                           : cp_sqlite_fail(st->conn, rc, "bind", err);
}

/* Would it still compile? The plain error of a step is the same whether the
 * values or a changed schema caused it. */
static int fits_schema(cp_statement_t *st)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v3(st->conn->handle, st->sql, -1, 0, &stmt, NULL);

    sqlite3_finalize(stmt);
    return rc == SQLITE_OK;
}

/* Within a transaction of several statements the row that another one has
 * inserted is not this one's, unless it asks for it. */
static void hide_rowid(cp_statement_t *st)
{
    sqlite3 *handle = st->conn->handle;

    if (!st->conn->is_writer || sqlite3_stmt_busy(st->stmt)
        || sqlite3_stmt_readonly(st->stmt)) {
        return;
    }
    st->hidden_rowid = strcasestr(st->sql, "last_insert_rowid")
                           ? 0
                           : sqlite3_last_insert_rowid(handle);
    if (st->hidden_rowid != 0) {
        sqlite3_set_last_insert_rowid(handle, 0);
    }
}

/* For those that follow, if it has inserted none itself. */
static void show_rowid(cp_statement_t *st)
{
    sqlite3 *handle = st->conn->handle;

    if (st->hidden_rowid != 0 && sqlite3_last_insert_rowid(handle) == 0) {
        sqlite3_set_last_insert_rowid(handle, st->hidden_rowid);
    }
    st->hidden_rowid = 0;
}

static apr_status_t fail_step(cp_statement_t *st, int rc, cp_error_t *err)
{
    apr_status_t rv = cp_sqlite_fail_run(st->conn, rc, err);
    char message[64]; /* how it begins */

    if (cp_sqlite_is_late(st->conn, rc, err) || err->constraint
        || (err->cls != CP_ERR_INPUT && err->cls != CP_ERR_SIZE)) {
        return rv;
    }
    apr_cpystrn(message, sqlite3_errmsg(st->conn->handle), sizeof(message));
    if ((rc & 0xff) == SQLITE_ERROR && !fits_schema(st)) {
        err->cls = CP_ERR_STORAGE;
        err->cause = "the query does not fit the database";
    }
    else {
        cp_statement_blame(st, rc, message, err);
    }
    return rv;
}

static int is_over(cp_statement_t *st, int rc)
{
    int is_look = rc == SQLITE_DONE || st->steps++ % LOOK_EVERY == 0;

    return cp_guard_is_over(&st->conn->guard, is_look ? cp_clock_recent() : 0);
}

apr_status_t cp_statement_step(cp_statement_t *st, cp_error_t *err)
{
    cp_guard_scope_t outer;
    int rc;

    cp_guard_enter(&st->conn->guard, &outer);
    hide_rowid(st);
    st->conn->volatile_call = NULL;
    st->conn->has_refused = 0;
    rc = sqlite3_step(st->stmt);
    cp_guard_leave(&outer);
    if (st->conn->volatile_call) {
        /* The schema has changed: SQLite compiled it anew. */
        st->volatile_call = st->conn->volatile_call;
    }
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
        return fail_step(st, rc, err);
    }
    if (is_over(st, rc)) {
        return fail_step(st, SQLITE_INTERRUPT, err);
    }
    return rc == SQLITE_ROW ? APR_SUCCESS : APR_EOF;
}

const char *cp_statement_volatile(cp_statement_t *st)
{
    return st->volatile_call;
}

int cp_statement_columns(cp_statement_t *st)
{
    return sqlite3_column_count(st->stmt);
}

const char *cp_statement_column_name(cp_statement_t *st, int i)
{
    const char *name = sqlite3_column_name(st->stmt, i);

    return name ? name : "";
}

const char *cp_statement_column_type(cp_statement_t *st, int i)
{
    return sqlite3_column_decltype(st->stmt, i);
}

static void take_bytes(cp_value_t *value, const void *data,
                       sqlite3_value *column)
{
    /* The size is asked after the data: asking may convert in place. */
    value->as.bytes.data = data ? data : "";
    value->as.bytes.size = data ? (apr_size_t)sqlite3_value_bytes(column) : 0;
}

/* Each sqlite3_column_ function looks the column up and leaves the statement
 * anew; the value is looked up once. It is safe to read, for no other thread
 * uses this connection (SQLITE_OPEN_NOMUTEX says the same). */
static void take_column(cp_value_t *value, sqlite3_value *column)
{
    switch (sqlite3_value_type(column)) {
    case SQLITE_INTEGER:
        value->storage = CP_INTEGER;
        value->as.integer = sqlite3_value_int64(column);
        break;
    case SQLITE_FLOAT:
        value->storage = CP_REAL;
        value->as.real = sqlite3_value_double(column);
        break;
    case SQLITE_TEXT:
        value->storage = CP_TEXT;
        take_bytes(value, sqlite3_value_text(column), column);
        break;
    case SQLITE_BLOB:
        value->storage = CP_BLOB;
        take_bytes(value, sqlite3_value_blob(column), column);
        break;
    default:
        value->storage = CP_NULL;
        break;
    }
}

void cp_statement_row(cp_statement_t *st, cp_value_t *values)
{
    int columns = sqlite3_data_count(st->stmt);

    for (int i = 0; i < columns; i++) {
        take_column(&values[i], sqlite3_column_value(st->stmt, i));
    }
}

void cp_statement_finish(cp_statement_t *st)
{
    cp_guard_scope_t outer;

    /* The connection's release may have come before. */
    if (!st->is_out) {
        return;
    }
    cp_guard_enter(&st->conn->guard, &outer);
    sqlite3_reset(st->stmt);
    cp_guard_leave(&outer);
    show_rowid(st);
    sqlite3_clear_bindings(st->stmt);
    memset(st->bound, 0, (size_t)st->parameters * sizeof(*st->bound));
    st->is_out = 0;
    st->conn->statements_out--;
}
