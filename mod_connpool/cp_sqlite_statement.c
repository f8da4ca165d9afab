/* SPDX-License-Identifier: Apache-2.0 */
#include "cp_sqlite_private.h"

#include <stdlib.h>
#include <string.h>

static void statement_free(cp_statement_t *st)
{
    sqlite3_finalize(st->stmt);
    free(st->sql);
    memset(st, 0, sizeof(*st));
}

void cp_statement_free_all(cp_sqlite_conn_t *conn)
{
    for (int i = 0; i < CP_SQLITE_STATEMENTS; i++) {
        statement_free(&conn->cache[i]);
    }
}

/* The cached statement of this text that nobody uses, or NULL. */
static cp_statement_t *cache_find(cp_sqlite_conn_t *conn, const char *sql,
                                  size_t size)
{
    for (int i = 0; i < CP_SQLITE_STATEMENTS; i++) {
        cp_statement_t *st = &conn->cache[i];

        if (st->stmt && !st->is_out && st->sql_size == size
            && memcmp(st->sql, sql, size) == 0) {
            return st;
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

static apr_status_t compile(cp_sqlite_conn_t *conn, const char *sql,
                            size_t size, sqlite3_stmt **pstmt, cp_error_t *err)
{
    const char *tail = NULL;
    int rc = sqlite3_prepare_v3(conn->handle, sql, (int)size + 1,
                                SQLITE_PREPARE_PERSISTENT, pstmt, &tail);

    if (rc != SQLITE_OK) {
        apr_status_t rv = cp_sqlite_fail(conn, rc, "prepare", err);

        if (err->cls == CP_ERR_INPUT) {
            /* Nothing of the request is in it yet: SQL and schema differ. */
            err->cls = CP_ERR_STORAGE;
            err->cause = "the query does not fit the database";
        }
        return rv;
    }
    tail += strspn(tail, " \t\r\n;");
    if (!*pstmt || *tail) {
        sqlite3_finalize(*pstmt);
        return cp_error_set(err, CP_ERR_INTERNAL, APR_EINVAL,
                            "the query is not one statement",
                            "not exactly one statement: %.200s", sql);
    }
    if (!conn->is_writer && !sqlite3_stmt_readonly(*pstmt)) {
        sqlite3_finalize(*pstmt);
        return cp_error_set(
            err, CP_ERR_REFUSED, APR_EACCES, "the query would write",
            "a statement that writes needs a writer: %.200s", sql);
    }
    return APR_SUCCESS;
}

apr_status_t cp_statement_prepare(void *connection, const char *sql,
                                  cp_statement_t **pst, cp_error_t *err)
{
    cp_sqlite_conn_t *conn = connection;
    size_t size = strlen(sql);
    cp_statement_t *st = cache_find(conn, sql, size);
    sqlite3_stmt *stmt;
    apr_status_t rv;

    *pst = NULL;
    if (!st) {
        rv = compile(conn, sql, size, &stmt, err);
        if (rv != APR_SUCCESS) {
            return rv;
        }
        st = cache_place(conn);
        if (st) {
            st->is_cached = 1;
        }
        else {
            st = calloc(1, sizeof(*st));
        }
        st->conn = conn;
        st->stmt = stmt;
        st->sql = strdup(sql);
        st->sql_size = size;
    }
    st->is_out = 1;
    st->used_at = ++conn->uses;
    *pst = st;
    return APR_SUCCESS;
}

int cp_statement_is_readonly(cp_statement_t *st)
{
    return sqlite3_stmt_readonly(st->stmt);
}

apr_status_t cp_statement_bind(cp_statement_t *st, const char *name,
                               const cp_value_t *value, cp_error_t *err)
{
    char parameter[80] = ":";
    int i, rc = SQLITE_OK;

    strncat(parameter, name, sizeof(parameter) - 2);
    i = sqlite3_bind_parameter_index(st->stmt, parameter);
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
        rc = sqlite3_bind_text64(st->stmt, i, value->as.bytes.data,
                                 value->as.bytes.size, SQLITE_STATIC,
                                 SQLITE_UTF8);
        break;
    case CP_BLOB:
        rc = sqlite3_bind_blob64(st->stmt, i, value->as.bytes.data,
                                 value->as.bytes.size, SQLITE_STATIC);
        break;
    }
    return rc == SQLITE_OK ? APR_SUCCESS
                           : cp_sqlite_fail(st->conn, rc, "bind", err);
}

apr_status_t cp_statement_step(cp_statement_t *st, cp_error_t *err)
{
    int rc = sqlite3_step(st->stmt);

    if (rc == SQLITE_ROW) {
        return APR_SUCCESS;
    }
    if (rc == SQLITE_DONE) {
        return APR_EOF;
    }
    return cp_sqlite_fail(st->conn, rc, "run", err);
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

static void column_bytes(sqlite3_stmt *stmt, int i, const void *data,
                         cp_value_t *value)
{
    /* The size is asked after the data: asking may convert in place. */
    value->as.bytes.data = data ? data : "";
    value->as.bytes.size = data ? (apr_size_t)sqlite3_column_bytes(stmt, i) : 0;
}

void cp_statement_row(cp_statement_t *st, cp_value_t *values)
{
    sqlite3_stmt *stmt = st->stmt;
    int columns = sqlite3_data_count(stmt);

    for (int i = 0; i < columns; i++) {
        switch (sqlite3_column_type(stmt, i)) {
        case SQLITE_INTEGER:
            values[i].storage = CP_INTEGER;
            values[i].as.integer = sqlite3_column_int64(stmt, i);
            break;
        case SQLITE_FLOAT:
            values[i].storage = CP_REAL;
            values[i].as.real = sqlite3_column_double(stmt, i);
            break;
        case SQLITE_TEXT:
            values[i].storage = CP_TEXT;
            column_bytes(stmt, i, sqlite3_column_text(stmt, i), &values[i]);
            break;
        case SQLITE_BLOB:
            values[i].storage = CP_BLOB;
            column_bytes(stmt, i, sqlite3_column_blob(stmt, i), &values[i]);
            break;
        default:
            values[i].storage = CP_NULL;
            break;
        }
    }
}

void cp_statement_finish(cp_statement_t *st)
{
    sqlite3_reset(st->stmt);
    sqlite3_clear_bindings(st->stmt);
    st->is_out = 0;
    if (!st->is_cached) {
        statement_free(st);
        free(st);
    }
}
