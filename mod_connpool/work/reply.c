/* SPDX-License-Identifier: Apache-2.0 */
#include "work/reply.h"

#include "glue.h"
#include "answers/answer.h"
#include "answers/encode.h"
#include "answers/web/coding.h"
#include "answers/web/disposition.h"
#include "answers/web/location.h"
#include "answers/web/media.h"
#include "base/bytes/buffer.h"
#include "base/log.h"
#include "child/child.h"
#include "config/query.h"
#include "config/reply/columns.h"
#include "database/value.h"
#include "http/job/gunzip.h"
#include "request/output.h"
#include "stats/cell.h"
#include "stats/stats.h"
#include "work/rows.h"

#include <apr_strings.h>

#define COMPLAIN_EVERY apr_time_from_sec(10)
#define KEPT_BYTES     4096 /* of a value that goes into Location */
#define PIECE          16384

apr_status_t connpool_reply_begin(connpool_rows_t *rows)
{
    connpool_columns_t *columns = &rows->columns;
    apr_status_t rv;

    columns->driver = rows->run.driver;
    columns->statement = rows->run.statement;
    columns->reply = &rows->query->reply;
    rv = connpool_columns_find(columns, rows->r->pool, &rows->err);
    cp_encoder_set_kinds(rows->encoder, columns->kinds);
    return rv;
}

static void add_header(connpool_rows_t *rows, const char *name,
                       const char *value)
{
    if (!rows->headers) {
        rows->headers = apr_table_make(rows->r->pool, 2);
    }
    apr_table_setn(rows->headers, name, value);
}

/* --- raw bodies --- */

/* A copy as a string, numbers as they are written; NULL: there is none. */
static const char *text_of(apr_pool_t *p, const cp_value_t *value,
                           apr_size_t *psize)
{
    cp_buffer_t buf = CP_BUFFER_MAY_FAIL;
    const char *text = NULL;

    if (value->storage == CP_NULL) {
        return NULL;
    }
    cp_encode_text(&buf, value);
    *psize = buf.size;
    if (!buf.has_failed && buf.size <= KEPT_BYTES) {
        text = apr_pstrmemdup(p, buf.data ? buf.data : "", buf.size);
    }
    cp_buffer_free(&buf);
    return text;
}

/* Whoever fills the column may write anything there. */
static const char *type_of(connpool_rows_t *rows)
{
    apr_pool_t *p = rows->r->pool;
    apr_size_t size;
    const char *type = text_of(p, &rows->row[rows->columns.type], &size);

    return type && strlen(type) == size && cp_media_is_valid(type)
               ? cp_media_complete(p, type)
               : CP_MEDIA_UNKNOWN;
}

static void name_file(connpool_rows_t *rows)
{
    apr_pool_t *p = rows->r->pool;
    apr_size_t size;
    const char *name = text_of(p, &rows->row[rows->columns.name], &size);
    const char *disposition = name ? cp_disposition(p, name, size) : NULL;

    if (disposition) {
        add_header(rows, "Content-Disposition", disposition);
    }
}

static apr_status_t begin_raw(connpool_rows_t *rows)
{
    const connpool_reply_t *reply = &rows->query->reply;
    const cp_value_t *body = &rows->row[0];
    int has_bytes = body->storage == CP_TEXT || body->storage == CP_BLOB;

    rows->content_type = reply->type ? reply->type : type_of(rows);
    if (rows->columns.name >= 0) {
        name_file(rows);
    }
    rows->is_absent = body->storage == CP_NULL;
    if (!has_bytes) {
        return APR_SUCCESS;
    }
    /* Before it is copied. */
    if (body->as.bytes.size > (apr_size_t)rows->query->max_bytes) {
        return cp_error_set(&rows->err, CP_ERR_SIZE, APR_SUCCESS,
                            "the answer is too large",
                            "the body is larger than max-bytes");
    }
    if (reply->is_gzip
        && cp_coding_is_gzip(body->as.bytes.data, body->as.bytes.size)) {
        add_header(rows, "Content-Encoding", "gzip");
    }
    return APR_SUCCESS;
}

/* --- the place of what was made --- */

/* The row is gone when the write is committed. */
static void keep_columns(connpool_rows_t *rows)
{
    const apr_array_header_t *parts = rows->query->reply.created;
    apr_pool_t *p = rows->r->pool;

    rows->created = apr_pcalloc(p, (apr_size_t)parts->nelts
                                       * sizeof(*rows->created));
    for (int i = 0; i < parts->nelts; i++) {
        const cp_location_part_t *part = &APR_ARRAY_IDX(parts, i,
                                                        cp_location_part_t);
        int column = part->kind == CP_LOCATION_COLUMN
                         ? connpool_columns_named(&rows->columns, part->text)
                         : -1;
        apr_size_t size;
        const char *text = column >= 0 ? text_of(p, &rows->row[column], &size)
                                       : NULL;

        if (text) {
            rows->created[i] = (cp_value_t){.storage = CP_TEXT,
                                            .as.bytes = {text, size}};
        }
    }
}

apr_status_t connpool_reply_first(connpool_rows_t *rows)
{
    if (rows->query->reply.created) {
        keep_columns(rows);
    }
    return rows->query->format == CP_FORMAT_RAW ? begin_raw(rows) : APR_SUCCESS;
}

/* What a template is filled with. */
typedef struct filling_t {
    const connpool_rows_t *rows;
    cp_value_t number;
} filling_t;

static const cp_value_t *value_of(void *baton, const cp_location_part_t *part)
{
    filling_t *filling = baton;
    const connpool_rows_t *rows = filling->rows;
    const connpool_query_t *query = rows->query;
    const cp_result_t *result = &rows->run.result;
    int i;

    filling->number.storage = CP_INTEGER;
    switch (part->kind) {
    case CP_LOCATION_ROWID:
        /* An UPSERT that found its row has inserted none. */
        filling->number.as.integer = result->last_rowid;
        return result->last_rowid ? &filling->number : NULL;
    case CP_LOCATION_CHANGES:
        filling->number.as.integer = result->changes;
        return &filling->number;
    case CP_LOCATION_PARAM:
        i = connpool_find_param(query, part->text);
        return i >= 0 ? &rows->run.values[i] : NULL;
    default:
        i = (int)(part
                  - (const cp_location_part_t *)query->reply.created->elts);
        return rows->created ? &rows->created[i] : NULL;
    }
}

static void tell_place(connpool_rows_t *rows)
{
    filling_t filling = {.rows = rows};
    const char *location = cp_location_fill(
        rows->r->pool, rows->query->reply.created, value_of, &filling);

    if (location) {
        rows->status = HTTP_CREATED;
        add_header(rows, "Location", location);
    }
}

/* --- the end --- */

void connpool_reply_end(connpool_rows_t *rows)
{
    const connpool_query_t *query = rows->query;
    int is_lacking = cp_format_is_single(query->format) && rows->encoder
                     && rows->run.rows == 0;

    if (query->is_write && rows->run.is_idle && query->reply.none) {
        rows->status = query->reply.none;
    }
    else if (is_lacking || (rows->is_absent && !query->is_write)) {
        rows->status = HTTP_NOT_FOUND;
    }
    else if (query->reply.created && !rows->run.is_idle) {
        tell_place(rows);
    }
}

const char *connpool_reply_absence(const connpool_query_t *query)
{
    return query->is_write && query->reply.none
               ? "Nothing was changed: there is no such row, or none in the "
                 "state that was asked for."
               : "There is no such row.";
}

void connpool_reply_judge(const connpool_rows_t *rows)
{
    connpool_query_t *query = rows->query;
    uint64_t suppressed, misfits;
    int column;

    misfits = rows->encoder ? cp_encoder_misfits(rows->encoder, &column) : 0;
    if (misfits == 0) {
        return;
    }
    cp_stats_add(&connpool_query_stats(query)->misfits, (int64_t)misfits);
    if (cp_log_allowed(&query->reply.misfits, COMPLAIN_EVERY, &suppressed)) {
        ap_log_rerror(APLOG_MARK, APLOG_WARNING, 0, rows->r,
                      "query '%s': %" APR_UINT64_T_FMT
                      " values are not what their column says, as in column "
                      "%d: text that is no JSON is put out as a string%s",
                      query->name, misfits, column + 1,
                      connpool_suppressed(rows->r->pool, suppressed));
    }
}

/* --- bodies that are stored in gzip --- */

static apr_status_t damaged(cp_error_t *err)
{
    return cp_error_set(err, CP_ERR_INTERNAL, APR_EGENERAL,
                        "what is stored is damaged",
                        "encoding=gzip: the stored body cannot be decoded");
}

static apr_status_t gunzip(const cp_buffer_t *from, apr_int64_t max,
                           cp_buffer_t *to, cp_error_t *err)
{
    cp_gunzip_t *decoder = cp_gunzip_create();
    const char *data = from->data;
    size_t size = from->size, room;
    cp_gunzip_state_t state = CP_GUNZIP_NO_MEMORY;
    apr_status_t rv = APR_SUCCESS;

    do {
        if (!decoder || !cp_buffer_reserve(to, PIECE)) {
            break;
        }
        room = PIECE;
        state = cp_gunzip_run(decoder, &data, &size, to->data + to->size,
                              &room);
        to->size += room;
    } while (state == CP_GUNZIP_GOING && room == PIECE
             && (apr_int64_t)to->size <= max);
    if (state == CP_GUNZIP_NO_MEMORY) {
        rv = cp_error_memory(err, "the decoded answer");
    }
    else if ((apr_int64_t)to->size > max) {
        rv = cp_error_set(err, CP_ERR_SIZE, APR_SUCCESS,
                          "the answer is too large",
                          "decoded, the body is larger than max-bytes");
    }
    else if (state == CP_GUNZIP_DAMAGED || !cp_gunzip_is_complete(decoder)) {
        rv = damaged(err);
    }
    cp_gunzip_free(decoder);
    return rv;
}

/* Equal bytes in two codings are two things to a cache. */
static void copy_header(const char *name, const char *value, void *baton)
{
    cp_answer_t *plain = baton;

    if (strcasecmp(name, "ETag") == 0) {
        char tag[64];

        apr_snprintf(tag, sizeof(tag), "%.*s-plain\"", (int)strlen(value) - 1,
                     value);
        cp_answer_add(plain, name, tag);
    }
    else if (strcasecmp(name, "Content-Encoding") != 0) {
        cp_answer_add(plain, name, value);
    }
}

static cp_answer_t *decoded(const connpool_query_t *query,
                            const cp_answer_t *answer, cp_error_t *err)
{
    cp_answer_t *plain = cp_answer_create(answer->status);

    if (!plain) {
        cp_error_memory(err, "the decoded answer");
        return NULL;
    }
    plain->made_at = answer->made_at;
    cp_answer_each(answer, copy_header, plain);
    if (gunzip(&answer->body, query->max_bytes, &plain->body, err)
        != APR_SUCCESS) {
        cp_answer_unref(plain);
        return NULL;
    }
    if (cp_answer_has_failed(plain)) {
        cp_answer_unref(plain);
        cp_error_memory(err, "the decoded answer");
        return NULL;
    }
    return plain;
}

apr_status_t connpool_reply_decode(const connpool_query_t *query,
                                   cp_answer_t **panswer, cp_error_t *err)
{
    cp_answer_t *stored = *panswer;

    if (!query->reply.is_gzip
        || !cp_answer_header(stored, "Content-Encoding")) {
        return APR_SUCCESS;
    }
    *panswer = decoded(query, stored, err);
    cp_answer_unref(stored);
    return *panswer ? APR_SUCCESS : APR_EGENERAL;
}
