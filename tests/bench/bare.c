/* SPDX-License-Identifier: Apache-2.0
 * The bare way to a database: apr_reslist, connections that keep their one
 * prepared statement, rows written as JSON, one bucket out. No deadlines, no
 * limits, no counters, no healing: what is faster than this does less. */
#include "bare.h"

#include <apr_reslist.h>
#include <apr_strings.h>
#include <http_protocol.h>
#include <sqlite3.h>

#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX 16

struct bench_bare_t {
    const char *path;
    const char *sql;
    int max;
    apr_reslist_t *list; /* of this child; locks itself */
    bench_bare_t *next;
};

/* All that were defined; the configuration is read by one thread. */
static bench_bare_t *defined;

typedef struct connection_t {
    sqlite3 *handle;
    sqlite3_stmt *statement;
    const char *keys[COLUMNS_MAX]; /* "{\"id\":", then ",\"title\":" */
    size_t sizes[COLUMNS_MAX];     /* of the keys */
    int columns;
} connection_t;

/* --- connections --- */

static apr_status_t close_connection(void *resource, void *params,
                                     apr_pool_t *p)
{
    connection_t *conn = resource;

    sqlite3_finalize(conn->statement);
    sqlite3_close(conn->handle);
    return APR_SUCCESS;
}

static apr_status_t open_connection(void **resource, void *params,
                                    apr_pool_t *p)
{
    const bench_bare_t *bare = params;
    connection_t *conn = apr_pcalloc(p, sizeof(*conn));

    if (sqlite3_open_v2(bare->path, &conn->handle,
                        SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL)
            != SQLITE_OK
        || sqlite3_prepare_v3(conn->handle, bare->sql, -1,
                              SQLITE_PREPARE_PERSISTENT, &conn->statement, NULL)
               != SQLITE_OK
        || sqlite3_column_count(conn->statement) > COLUMNS_MAX) {
        close_connection(conn, params, p);
        return APR_EGENERAL;
    }
    conn->columns = sqlite3_column_count(conn->statement);
    for (int i = 0; i < conn->columns; i++) {
        conn->keys[i] = apr_pstrcat(p, i == 0 ? "{\"" : ",\"",
                                    sqlite3_column_name(conn->statement, i),
                                    "\":", NULL);
        conn->sizes[i] = strlen(conn->keys[i]);
    }
    *resource = conn;
    return APR_SUCCESS;
}

bench_bare_t *bench_bare_define(apr_pool_t *p, const char *path,
                                const char *sql, int max)
{
    bench_bare_t *bare = apr_pcalloc(p, sizeof(*bare));

    bare->path = path;
    bare->sql = sql;
    bare->max = max;
    bare->next = defined;
    defined = bare;
    return bare;
}

void bench_bare_forget(void)
{
    defined = NULL;
}

void bench_bare_child_init(apr_pool_t *p)
{
    for (bench_bare_t *bare = defined; bare; bare = bare->next) {
        if (apr_reslist_create(&bare->list, 0, bare->max, bare->max, 0,
                               open_connection, close_connection, bare, p)
            != APR_SUCCESS) {
            bare->list = NULL;
        }
    }
}

/* --- JSON --- */

/* Freed by the bucket that it becomes. */
typedef struct text_t {
    char *data;
    size_t size;
    size_t room;
} text_t;

static inline char *make_room(text_t *text, size_t more)
{
    if (text->room - text->size < more) {
        text->room = (text->room + more) * 2;
        text->data = realloc(text->data, text->room);
        if (!text->data) {
            abort();
        }
    }
    return text->data + text->size;
}

static inline void put(text_t *text, const char *data, size_t size)
{
    memcpy(make_room(text, size), data, size);
    text->size += size;
}

static void put_integer(text_t *text, sqlite3_int64 value)
{
    char digits[24];
    char *at = digits + sizeof(digits);
    sqlite3_uint64 rest = value < 0 ? 0 - (sqlite3_uint64)value
                                    : (sqlite3_uint64)value;

    do {
        *--at = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (value < 0) {
        *--at = '-';
    }
    put(text, at, (size_t)(digits + sizeof(digits) - at));
}

static void put_real(text_t *text, double value)
{
    char digits[32];

    sqlite3_snprintf(sizeof(digits), digits, "%!.15g", value);
    put(text, digits, strlen(digits));
}

static inline int is_plain(unsigned char c)
{
    return c >= 0x20 && c != '"' && c != '\\';
}

static void put_string(text_t *text, const unsigned char *data, size_t size)
{
    static const char hex[] = "0123456789abcdef";
    char *to = make_room(text, size * 6 + 2);

    *to++ = '"';
    for (size_t i = 0; i < size; i++) {
        unsigned char c = data[i];

        if (is_plain(c)) {
            *to++ = (char)c;
        }
        else if (c < 0x20) {
            memcpy(to, "\\u00", 4);
            to[4] = hex[c >> 4];
            to[5] = hex[c & 15];
            to += 6;
        }
        else {
            *to++ = '\\';
            *to++ = (char)c;
        }
    }
    *to++ = '"';
    text->size = (size_t)(to - text->data);
}

static void put_column(text_t *text, sqlite3_stmt *statement, int i)
{
    /* Looked up once: the connection is this thread's alone. */
    sqlite3_value *value = sqlite3_column_value(statement, i);

    switch (sqlite3_value_type(value)) {
    case SQLITE_INTEGER:
        put_integer(text, sqlite3_value_int64(value));
        break;
    case SQLITE_FLOAT:
        put_real(text, sqlite3_value_double(value));
        break;
    case SQLITE_NULL:
        put(text, "null", 4);
        break;
    default:
        put_string(text, sqlite3_value_text(value),
                   (size_t)sqlite3_value_bytes(value));
        break;
    }
}

static void put_row(text_t *text, const connection_t *conn, int is_first)
{
    if (!is_first) {
        put(text, ",", 1);
    }
    for (int i = 0; i < conn->columns; i++) {
        put(text, conn->keys[i], conn->sizes[i]);
        put_column(text, conn->statement, i);
    }
    put(text, "}", 1);
}

/* --- requests --- */

static void bind_argument(request_rec *r, connection_t *conn, int i,
                          const char *name)
{
    const char *found = r->args ? strstr(r->args, name) : NULL;

    if (found) {
        sqlite3_bind_int64(conn->statement, i,
                           apr_atoi64(found + strlen(name)));
    }
}

static int read_rows(request_rec *r, connection_t *conn, text_t *text)
{
    int rc;

    bind_argument(r, conn, 1, "first=");
    bind_argument(r, conn, 2, "last=");
    put(text, "[", 1);
    for (int n = 0; (rc = sqlite3_step(conn->statement)) == SQLITE_ROW; n++) {
        put_row(text, conn, n == 0);
    }
    put(text, "]", 1);
    sqlite3_reset(conn->statement);
    return rc == SQLITE_DONE ? OK : HTTP_INTERNAL_SERVER_ERROR;
}

int bench_bare_answer(request_rec *r, bench_bare_t *bare)
{
    apr_bucket_alloc_t *ba = r->connection->bucket_alloc;
    apr_bucket_brigade *bb;
    text_t text = {0};
    void *conn;
    int status;

    if (!bare->list || apr_reslist_acquire(bare->list, &conn) != APR_SUCCESS) {
        return HTTP_SERVICE_UNAVAILABLE;
    }
    make_room(&text, 2048);
    status = read_rows(r, conn, &text);
    apr_reslist_release(bare->list, conn);
    if (status != OK) {
        free(text.data);
        return status;
    }
    ap_set_content_type(r, "application/json");
    ap_set_content_length(r, (apr_off_t)text.size);
    bb = apr_brigade_create(r->pool, ba);
    APR_BRIGADE_INSERT_TAIL(
        bb, apr_bucket_heap_create(text.data, text.size, free, ba));
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_eos_create(ba));
    return ap_pass_brigade(r->output_filters, bb) == APR_SUCCESS
               ? OK
               : AP_FILTER_ERROR;
}
