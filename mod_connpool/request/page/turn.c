/* SPDX-License-Identifier: Apache-2.0
 * Pages: which one is asked for, and the link to the next. */
#include "request/page/turn.h"

#include "glue.h"
#include "base/bytes/buffer.h"
#include "config/query.h"
#include "database/value.h"
#include "request/page/cursor.h"

#include <apr_base64.h>
#include <apr_lib.h>
#include <apr_strings.h>

connpool_query_t *connpool_page_turn(request_rec *r,
                                     const connpool_query_t *query,
                                     const cp_value_t **pvalues)
{
    const connpool_page_t *page = query->page;
    const cp_value_t *asked = *pvalues;
    const cp_value_t *limit = &asked[page->own], *after = &asked[page->own + 1];
    cp_value_t columns[CP_PAGE_COLUMNS_MAX];
    cp_value_t *values = apr_pcalloc(
        r->pool,
        (size_t)(page->own + CP_PAGE_COLUMNS_MAX + 2) * sizeof(*values));
    int count = page->own, nulls = 0;

    memcpy(values, asked, (size_t)count * sizeof(*values));
    if (after->storage == CP_TEXT) {
        if (!connpool_cursor_read(r->pool, query, asked, after, columns)) {
            return NULL;
        }
        for (int i = 0; i < page->sort.count; i++) {
            if (columns[i].storage == CP_NULL) {
                nulls |= 1 << i;
            }
            else {
                values[count++] = columns[i];
            }
        }
    }
    /* One more than are shown tells whether there are more. JSON's null is the
     * default here. */
    values[count].storage = CP_INTEGER;
    values[count].as.integer = limit->storage == CP_INTEGER
                                   ? limit->as.integer + 1
                                   : query->max_rows + 1;
    *pvalues = values;
    return after->storage == CP_TEXT ? page->next[nulls] : page->first;
}

/* --- the link --- */

static void put_encoded(cp_buffer_t *buf, const char *data, apr_size_t size)
{
    static const char digits[] = "0123456789ABCDEF";

    for (apr_size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)data[i];
        char escape[] = {'%', digits[c >> 4], digits[c & 15]};

        if (c < 128 && (apr_isalnum(c) || strchr("-._~", c)) && c) {
            cp_buffer_append(buf, data + i, 1);
        }
        else {
            cp_buffer_append(buf, escape, 3);
        }
    }
}

/* As it would be written in a query string, for the same value. */
static const char *show(apr_pool_t *p, const cp_value_t *value, cp_type_t type,
                        apr_size_t *psize)
{
    const char *text = NULL;
    char *base64;

    switch (value->storage) {
    case CP_INTEGER:
        text = apr_psprintf(p, "%" APR_INT64_T_FMT, value->as.integer);
        break;
    case CP_REAL:
        /* apr_psprintf has no such precision. */
        base64 = apr_palloc(p, 32);
        snprintf(base64, 32, "%.17g", value->as.real);
        text = base64;
        break;
    case CP_BLOB:
        base64 = apr_palloc(
            p, (apr_size_t)apr_base64_encode_len((int)value->as.bytes.size));
        apr_base64_encode_binary(base64,
                                 (const unsigned char *)value->as.bytes.data,
                                 (int)value->as.bytes.size);
        text = base64;
        break;
    case CP_TEXT:
    case CP_JSON:
        *psize = value->as.bytes.size;
        return value->as.bytes.data;
    case CP_NULL:
        return NULL;
    }
    *psize = strlen(text);
    return text;
}

static void put_param(cp_buffer_t *buf, const char *name, const char *data,
                      apr_size_t size)
{
    put_encoded(buf, name, strlen(name));
    cp_buffer_append(buf, "=", 1);
    put_encoded(buf, data, size);
    cp_buffer_append(buf, "&", 1);
}

/* The path as the client has sent it; what a header could not hold is encoded.
 */
static void put_path(cp_buffer_t *buf, request_rec *r)
{
    const char *path;

    while (r->main || r->prev) {
        r = r->main ? r->main : r->prev;
    }
    path = r->unparsed_uri ? r->unparsed_uri : r->uri;
    if (*path != '/') {
        path = strstr(path, "://") ? strstr(path, "://") + 3 : path;
        path += strcspn(path, "/?#");
    }
    for (; *path && !strchr("?#", *path); path++) {
        if (apr_isgraph(*path) && !strchr("<>\"\\^`{|}", *path)) {
            cp_buffer_append(buf, path, 1);
        }
        else {
            put_encoded(buf, path, 1);
        }
    }
}

void connpool_page_link(request_rec *r, const connpool_query_t *query,
                        const cp_value_t *values, const char *cursor)
{
    cp_buffer_t buf = {0};

    cp_buffer_append(&buf, "<", 1);
    put_path(&buf, r);
    cp_buffer_append(&buf, "?", 1);
    for (int i = 0; i <= query->page->own; i++) { /* with limit */
        const connpool_param_t *param = APR_ARRAY_IDX(query->params, i,
                                                      connpool_param_t *);
        apr_size_t size = 0;
        const char *text = param->source ? NULL
                                         : show(r->pool, &values[i],
                                                param->spec.type, &size);

        if (text) {
            put_param(&buf, param->spec.name, text, size);
        }
    }
    put_param(&buf, "after", cursor, strlen(cursor));
    buf.size--; /* the last & */
    cp_buffer_append(&buf, ">; rel=\"next\"", 13);
    apr_table_setn(r->headers_out, "Link",
                   apr_pstrmemdup(r->pool, buf.data, buf.size));
    cp_buffer_free(&buf);
}
