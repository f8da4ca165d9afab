/* SPDX-License-Identifier: Apache-2.0
 * From a named query to the bytes of its answer. Who asks decides, with
 * make_room, what becomes of bytes that should not be kept in memory. */
#include "work/rows.h"

#include "glue.h"
#include "answers/encode.h"
#include "base/bytes/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "child/child.h"
#include "config/database.h"
#include "config/query.h"
#include "database/database.h"
#include "database/value.h"
#include "request/output.h"
#include "work/query.h"
#include "work/reply.h"

#include <apr_strings.h>

#define END_BYTES 128 /* of what ends an answer, or is all of a write's */

/* So long may work what goes with writes of others. */
#define SLOW_WORK apr_time_from_msec(10)

static apr_status_t begin_rows(connpool_rows_t *rows)
{
    const cp_database_driver_t *driver = rows->run.driver;
    cp_statement_t *st = rows->run.statement;
    int columns = driver->columns(st);
    apr_pool_t *p = rows->r->pool;
    const char **names = apr_palloc(p, (apr_size_t)columns * sizeof(*names));

    for (int i = 0; i < columns; i++) {
        names[i] = driver->column_name(st, i);
    }
    if (rows->query->limit_place) {
        connpool_edge_begin(&rows->edge, rows->r, rows->query, names, columns);
    }
    rows->encoder = cp_encoder_create(p, rows->query->format, columns, names);
    rows->row = apr_palloc(p, (apr_size_t)columns * sizeof(*rows->row));
    cp_encode_begin(rows->encoder, &rows->buf);
    return connpool_reply_begin(rows);
}

static apr_status_t make_room(connpool_rows_t *rows)
{
    connpool_count_buffer(&rows->buf, &rows->counted);
    return rows->make_room && !rows->query->is_write ? rows->make_room(rows)
                                                     : APR_SUCCESS;
}

/* Append the current row, or undo it and say that the answer is cut. */
static apr_status_t add_row(connpool_rows_t *rows)
{
    apr_size_t before = rows->buf.size;

    rows->run.driver->row(rows->run.statement, rows->row);
    if (rows->run.rows == 1) {
        apr_status_t rv = connpool_reply_first(rows);

        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    cp_encode_row(rows->encoder, &rows->buf, rows->row);
    if (rows->buf.has_failed) {
        return cp_error_memory(&rows->err, "the answer");
    }
    if (rows->passed + (apr_int64_t)rows->buf.size <= rows->query->max_bytes) {
        if (rows->query->limit_place) {
            connpool_edge_keep(&rows->edge, rows->row);
        }
        return make_room(rows);
    }
    rows->buf.size = before;
    if (cp_format_is_single(rows->query->format)
        || (rows->query->limit_place && rows->run.rows == 1)) {
        return cp_error_set(&rows->err, CP_ERR_SIZE, APR_SUCCESS,
                            "the answer is too large",
                            "the row is larger than max-bytes");
    }
    if (rows->query->is_write) {
        return cp_error_set(&rows->err, CP_ERR_SIZE, APR_SUCCESS,
                            "the answer is too large",
                            "RETURNING gives more than max-bytes; the write "
                            "is rolled back");
    }
    rows->truncated = "bytes";
    return APR_EOF;
}

/* A page asks for one row more than it shows. */
static apr_int64_t row_limit(const connpool_rows_t *rows)
{
    const connpool_query_t *query = rows->query;

    if (query->limit_place) {
        return rows->run.values[query->limit_place - 1].as.integer - 1;
    }
    return cp_format_is_single(query->format) ? 1 : query->max_rows;
}

/* The statement stands on the row that did not come in. What is cut off a page
 * is on the next one: nothing is missing. */
static apr_status_t end_page(connpool_rows_t *rows)
{
    apr_status_t rv;

    rows->run.driver->row(rows->run.statement, rows->row);
    rv = connpool_edge_end(&rows->edge, rows->run.values, rows->row,
                           &rows->next, &rows->err);
    rows->truncated = NULL;
    return rv == APR_SUCCESS ? APR_EOF : rv;
}

/* Read all rows, or the first `max-rows` of them: one more is asked for to
 * know whether something is left. A write's statement must run to its end. */
static apr_status_t read_all(connpool_rows_t *rows)
{
    int is_single = cp_format_is_single(rows->query->format);
    apr_int64_t limit = row_limit(rows);
    apr_status_t rv;

    while ((rv = connpool_run_next(&rows->run, &rows->err)) == APR_SUCCESS) {
        if (!rows->encoder && (rv = begin_rows(rows)) != APR_SUCCESS) {
            return rv;
        }
        if (rows->run.rows > limit) {
            rows->run.rows--;
            if (!is_single) {
                rows->truncated = "rows";
            }
            if (!rows->query->is_write) {
                return APR_EOF;
            }
            continue;
        }
        rv = add_row(rows);
        if (rv != APR_SUCCESS) {
            return rv;
        }
    }
    return rv;
}

static void end_write(connpool_rows_t *rows)
{
    apr_pool_t *p = rows->r->pool;
    const cp_result_t *result = &rows->run.result;
    const char *rowid = rows->run.driver->can & CP_CAN_ROWID ? apr_psprintf(
                            p, ",\"last_insert_rowid\":%" APR_INT64_T_FMT,
                            result->last_rowid)
                                                             : "";
    const char *text = apr_psprintf(p, "{\"changes\":%" APR_INT64_T_FMT "%s}",
                                    result->changes, rowid);

    cp_buffer_append(&rows->buf, text, strlen(text));
    rows->content_type = "application/json";
}

void connpool_rows_end(connpool_rows_t *rows)
{
    connpool_reply_end(rows);
    if (rows->status >= 400) {
        cp_buffer_free(&rows->buf);
    }
    else if (!rows->encoder) {
        end_write(rows);
    }
    else {
        cp_encode_end(rows->encoder, &rows->buf);
    }
    connpool_count_buffer(&rows->buf, &rows->counted);
}

/* An answer without rows has its columns' names still. */
static apr_status_t begin_without_rows(connpool_rows_t *rows, apr_status_t rv)
{
    apr_status_t begun = APR_SUCCESS;

    if (rv == APR_EOF && !rows->encoder
        && rows->run.driver->columns(rows->run.statement) > 0) {
        begun = begin_rows(rows);
    }
    return begun == APR_SUCCESS ? rv : begun;
}

void connpool_rows_clear(connpool_rows_t *rows)
{
    connpool_rows_free(rows);
    *rows = (connpool_rows_t){
        .make_room = rows->make_room,
        .r = rows->r,
        .query = rows->query,
        .run = {.asked = rows->run.asked, .latest = rows->run.due},
        .buf = CP_BUFFER_MAY_FAIL,
        .status = HTTP_OK,
        .content_type = cp_format_content_type(rows->query->format),
    };
    cp_error_clear(&rows->err);
}

apr_status_t connpool_rows_work(connpool_rows_t *rows)
{
    const connpool_query_t *query = rows->query;
    cp_clock_t began = query->is_write && query->database->child->group
                           ? cp_clock_now()
                           : 0;
    apr_status_t rv = read_all(rows);

    if (rv == APR_EOF && rows->truncated && query->limit_place) {
        rv = end_page(rows);
    }
    rv = begin_without_rows(rows, rv);
    /* Now, for a write is committed before its answer ends. */
    if (rv == APR_EOF && !cp_buffer_reserve(&rows->buf, END_BYTES)) {
        rv = cp_error_memory(&rows->err, "the answer");
    }
    if (began) {
        cp_pace_note(&rows->query->pace, cp_clock_now() - began > SLOW_WORK);
    }
    return rv;
}

apr_status_t connpool_rows_close(connpool_rows_t *rows, apr_status_t rv)
{
    rv = connpool_run_close(&rows->run, rv, &rows->err);
    connpool_reply_judge(rows);
    if (rv != APR_EOF) {
        connpool_rows_free(rows);
    }
    return rv;
}

apr_status_t connpool_rows_run(connpool_rows_t *rows, const cp_value_t *values)
{
    apr_status_t rv;

    rows->buf = CP_BUFFER_MAY_FAIL;
    cp_error_clear(&rows->err);
    rv = connpool_run_open(&rows->run, rows->r, rows->query, values,
                           &rows->err);
    if (rv != APR_SUCCESS) {
        connpool_rows_free(rows);
        return rv;
    }
    return connpool_rows_close(rows, connpool_rows_work(rows));
}

void connpool_rows_free(connpool_rows_t *rows)
{
    cp_buffer_free(&rows->buf);
    connpool_count_buffer(&rows->buf, &rows->counted);
}
