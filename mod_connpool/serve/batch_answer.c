/* SPDX-License-Identifier: Apache-2.0
 * From the items of a batch to the array that tells what became of each. */
#include "glue.h"
#include "answers/answer.h"
#include "answers/encode.h"
#include "answers/etag.h"
#include "answers/json.h"
#include "answers/put.h"
#include "base/bytes/buffer.h"
#include "base/bytes/utf8.h"
#include "request/output.h"
#include "serve/serve.h"
#include "work/batch/batch.h"
#include "work/reply.h"
#include "work/rows.h"

#include <apr_strings.h>

/* Escapes make texts longer: the array's own bound. */
#define ARRAY_BYTES (2 * CONNPOOL_BATCH_BYTES)

#define NO_MEMORY "There is no memory for this answer."
#define TOO_LARGE "The answers of this batch are too large together."

static int is_json(const char *type)
{
    apr_size_t n = type ? strcspn(type, "; \t") : 0;

    return (n == 16 && strncasecmp(type, "application/json", n) == 0)
           || (n > 5 && strncasecmp(type + n - 5, "+json", 5) == 0);
}

/* What queries answer is ours and needs no check, unless it is what somebody
 * stored. */
static int is_ours(const connpool_item_t *item)
{
    return item->query && item->query->format != CP_FORMAT_RAW;
}

/* JSON as JSON, other text as a string, binary as base64. */
static void write_body(cp_buffer_t *buf, const connpool_item_t *item)
{
    const cp_buffer_t *body = &item->answer->body;
    const char *data = body->data ? body->data : "";

    if (is_json(cp_answer_header(item->answer, "Content-Type"))
        && (is_ours(item) || cp_json_is_valid(data, body->size))) {
        cp_buffer_append(buf, data, body->size);
    }
    else if (cp_utf8_is_valid(data, body->size)
             && !memchr(data, '\0', body->size)) {
        cp_encode_json_string(buf, data, body->size);
    }
    else {
        cp_encode_json_blob(buf, data, body->size);
    }
}

/* A query that finds no row, or changes none, has answered, but has no body. */
static int has_body(const connpool_item_t *item)
{
    return item->answer && !(item->query && item->answer->status >= 400);
}

static void replace_body(cp_buffer_t *buf, connpool_item_t *item, int status,
                         const char *detail)
{
    cp_buffer_free(buf);
    item->status = status;
    connpool_json_key(buf, ",", "error");
    connpool_problem_write(buf, status, detail, 0, NULL, NULL);
}

static void write_outcome(cp_buffer_t *buf, connpool_item_t *item,
                          apr_size_t room)
{
    const char *truncated, *location, *next;

    if (!has_body(item)) {
        connpool_json_key(buf, ",", "error");
        connpool_problem_write(
            buf, item->status,
            item->answer ? connpool_reply_absence(item->query) : item->detail,
            item->retry_after, item->errors, &item->violation);
        return;
    }
    truncated = cp_answer_header(item->answer, "ConnPool-Truncated");
    next = cp_answer_header(item->answer, CONNPOOL_NEXT);
    if (truncated) {
        connpool_json_text(buf, ",", "truncated", truncated);
    }
    location = item->query ? cp_answer_header(item->answer, "Location") : NULL;
    if (location) {
        connpool_json_text(buf, ",", "location", location);
    }
    if (item->query && next) {
        connpool_json_text(buf, ",", "next", next);
    }
    connpool_json_key(buf, ",", "body");
    write_body(buf, item);
    if (buf->has_failed) {
        replace_body(buf, item, HTTP_SERVICE_UNAVAILABLE, NO_MEMORY);
    }
    else if (buf->size > room) {
        replace_body(buf, item, HTTP_REQUEST_ENTITY_TOO_LARGE, TOO_LARGE);
    }
}

static void add_to_hash(apr_uint64_t *phash, const cp_buffer_t *buf,
                        apr_size_t start)
{
    if (!buf->has_failed) {
        *phash = connpool_hash(*phash, buf->data + start, buf->size - start);
    }
}

/* The status stands before the body, and the body may not fit. */
static void write_item(cp_buffer_t *buf, connpool_item_t *item,
                       apr_uint64_t *phash)
{
    apr_size_t start = buf->size;
    cp_buffer_t outcome = CP_BUFFER_MAY_FAIL;
    char ms[32];

    write_outcome(&outcome, item,
                  ARRAY_BYTES > start ? ARRAY_BYTES - start : 0);
    connpool_json_put(buf, "{");
    connpool_json_text(buf, "", "name", item->name);
    connpool_json_number(buf, ",", "status", (uint64_t)item->status);
    add_to_hash(phash, buf, start);
    apr_snprintf(ms, sizeof(ms), "%" APR_TIME_T_FMT ".%03d", item->us / 1000,
                 (int)(item->us % 1000));
    connpool_json_key(buf, ",", "ms");
    connpool_json_put(buf, ms);
    start = buf->size;
    cp_buffer_append(buf, outcome.data, outcome.size);
    connpool_json_put(buf, "}");
    add_to_hash(phash, buf, start);
    buf->has_failed |= outcome.has_failed;
    cp_buffer_free(&outcome);
}

const char *connpool_batch_write(connpool_batch_t *batch, request_rec *r,
                                 cp_buffer_t *buf, int *pfailed)
{
    int count = connpool_batch_size(batch);
    apr_uint64_t hash = 0;

    *pfailed = 0;
    connpool_json_put(buf, "[");
    for (int i = 0; i < count; i++) {
        connpool_item_t *item = connpool_batch_item(batch, i);

        connpool_json_put(buf, i > 0 ? ",\n" : "");
        write_item(buf, item, &hash);
        *pfailed += item->status >= 400;
        connpool_item_forget(item);
    }
    connpool_json_put(buf, "]\n");
    return connpool_etag(r->pool, "W/", hash);
}
