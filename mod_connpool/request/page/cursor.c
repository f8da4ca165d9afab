/* SPDX-License-Identifier: Apache-2.0
 * Cursors: the hash, then for each column its kind, and what that needs: eight
 * bytes of a number, the size and the bytes of a text or a blob. All in base64,
 * with the two characters that URLs like. */
#include "request/page/cursor.h"

#include "glue.h"
#include "answers/shared/key.h"
#include "base/bytes/buffer.h"
#include "base/bytes/hash.h"
#include "config/query.h"
#include "database/value.h"

#include <apr_base64.h>
#include <apr_strings.h>

/* With four bytes of text for three, within what "after" takes. */
#define BYTES_MAX 4000

/* The same on all machines and after restarts: cursors outlive both. What
 * nobody knows who might make one is the query's text. */
static const cp_hash_key_t hash_key = {UINT64_C(0x6b35c9d1402e87fa),
                                       UINT64_C(0x91d60fe7383bc254)};

typedef struct reader_t {
    const char *at;
    apr_size_t left;
} reader_t;

static uint64_t sign(const connpool_query_t *query, const cp_value_t *own,
                     const char *data, apr_size_t size)
{
    cp_key_t key = {{0}};
    uint64_t hash;

    cp_buffer_append(&key.bytes, query->caching.key.data,
                     query->caching.key.size);
    for (int i = 0; i < query->page->own; i++) {
        const connpool_param_t *param = APR_ARRAY_IDX(query->params, i,
                                                      connpool_param_t *);

        cp_key_add_param(&key, param->spec.name, param->spec.type, &own[i]);
    }
    cp_buffer_append(&key.bytes, data, size);
    hash = cp_hash(hash_key, key.bytes.data, key.bytes.size);
    cp_key_free(&key);
    return hash;
}

/* --- bytes --- */

static void put_number(cp_buffer_t *buf, uint64_t number, int bytes)
{
    while (bytes-- > 0) {
        char byte = (char)(number >> (8 * bytes));

        cp_buffer_append(buf, &byte, 1);
    }
}

static int get_number(reader_t *in, int bytes, uint64_t *pnumber)
{
    if (in->left < (apr_size_t)bytes) {
        return 0;
    }
    for (*pnumber = 0; bytes > 0; bytes--, in->at++, in->left--) {
        *pnumber = *pnumber << 8 | (unsigned char)*in->at;
    }
    return 1;
}

static void put_value(cp_buffer_t *buf, const cp_value_t *value)
{
    uint64_t bits;

    /* JSON is a number with more digits than others hold: text for its type. */
    put_number(buf, value->storage == CP_JSON ? CP_TEXT : value->storage, 1);
    switch (value->storage) {
    case CP_NULL:
        break;
    case CP_INTEGER:
        put_number(buf, (uint64_t)value->as.integer, 8);
        break;
    case CP_REAL:
        memcpy(&bits, &value->as.real, sizeof(bits));
        put_number(buf, bits, 8);
        break;
    case CP_TEXT:
    case CP_BLOB:
    case CP_JSON:
        put_number(buf, value->as.bytes.size, 4);
        cp_buffer_append(buf, value->as.bytes.data, value->as.bytes.size);
        break;
    }
}

static int get_value(reader_t *in, cp_value_t *value)
{
    uint64_t kind, bits;

    if (!get_number(in, 1, &kind) || kind > CP_BLOB) {
        return 0;
    }
    value->storage = (cp_storage_t)kind;
    if (kind == CP_NULL) {
        return 1;
    }
    if (!get_number(in, kind < CP_TEXT ? 8 : 4, &bits)) {
        return 0;
    }
    if (kind == CP_INTEGER) {
        value->as.integer = (apr_int64_t)bits;
        return 1;
    }
    if (kind == CP_REAL) {
        memcpy(&value->as.real, &bits, sizeof(bits));
        return 1;
    }
    if (bits > in->left) {
        return 0;
    }
    value->as.bytes.data = in->at;
    value->as.bytes.size = (apr_size_t)bits;
    in->at += bits;
    in->left -= (apr_size_t)bits;
    return 1;
}

/* --- text --- */

static void exchange(char *text, char a, char b)
{
    for (; *text; text++) {
        *text = *text == a ? b : *text;
    }
}

static const char *encode(apr_pool_t *p, const char *data, apr_size_t size)
{
    char *text = apr_palloc(p, (apr_size_t)apr_base64_encode_len((int)size));

    apr_base64_encode_binary(text, (const unsigned char *)data, (int)size);
    exchange(text, '+', '-');
    exchange(text, '/', '_');
    exchange(text, '=', '\0');
    return text;
}

/* Only what encode has made. */
static int decode(apr_pool_t *p, const cp_value_t *text, reader_t *in)
{
    char *copy = apr_pstrmemdup(p, text->as.bytes.data, text->as.bytes.size);
    unsigned char *data;
    const char *again;

    exchange(copy, '-', '+');
    exchange(copy, '_', '/');
    data = apr_palloc(p, (apr_size_t)apr_base64_decode_len(copy) + 1);
    in->left = (apr_size_t)apr_base64_decode_binary(data, copy);
    in->at = (const char *)data;
    again = encode(p, in->at, in->left);
    return strlen(again) == text->as.bytes.size
           && memcmp(again, text->as.bytes.data, text->as.bytes.size) == 0;
}

const char *connpool_cursor_write(apr_pool_t *p, const connpool_query_t *query,
                                  const cp_value_t *own,
                                  const cp_value_t *columns)
{
    cp_buffer_t values = {0}, all = {0};
    const char *text = NULL;
    apr_size_t size = 0;

    for (int i = 0; i < query->page->sort.count; i++) {
        size += columns[i].storage >= CP_TEXT ? columns[i].as.bytes.size : 8;
    }
    if (size > BYTES_MAX) {
        return NULL;
    }
    for (int i = 0; i < query->page->sort.count; i++) {
        put_value(&values, &columns[i]);
    }
    put_number(&all, sign(query, own, values.data, values.size), 8);
    cp_buffer_append(&all, values.data, values.size);
    text = encode(p, all.data, all.size);
    cp_buffer_free(&values);
    cp_buffer_free(&all);
    return text;
}

int connpool_cursor_read(apr_pool_t *p, const connpool_query_t *query,
                         const cp_value_t *own, const cp_value_t *text,
                         cp_value_t *columns)
{
    reader_t in;
    uint64_t hash;

    if (!decode(p, text, &in) || !get_number(&in, 8, &hash)
        || hash != sign(query, own, in.at, in.left)) {
        return 0;
    }
    for (int i = 0; i < query->page->sort.count; i++) {
        if (!get_value(&in, &columns[i])) {
            return 0;
        }
    }
    return in.left == 0;
}
