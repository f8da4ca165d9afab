/* SPDX-License-Identifier: Apache-2.0
 * What is kept of a page's last row. */
#include "request/page/edge.h"

#include "glue.h"
#include "config/query.h"
#include "request/page/cursor.h"

#include <apr_strings.h>

/* The database takes names in any case. */
static int place_of(const char *name, const char *const *names, int columns)
{
    for (int i = 0; i < columns; i++) {
        if (strcasecmp(names[i], name) == 0) {
            return i;
        }
    }
    return 0; /* such a statement was not prepared */
}

void connpool_edge_begin(connpool_edge_t *edge, request_rec *r,
                         const connpool_query_t *page, const char *const *names,
                         int columns)
{
    const cp_page_sort_t *sort = &page->page->sort;

    memset(edge, 0, sizeof(*edge));
    edge->r = r;
    edge->page = page;
    for (int i = 0; i < sort->count; i++) {
        edge->places[i] = place_of(sort->columns[i].name, names, columns);
    }
}

/* Bytes are the connection's, until it steps on. */
static const char *keep_bytes(connpool_edge_t *edge, int i, const char *data,
                              apr_size_t size)
{
    if (!edge->bytes[i] || edge->room[i] < size) {
        edge->room[i] = 2 * size + 16;
        edge->bytes[i] = apr_palloc(edge->r->pool, edge->room[i]);
    }
    if (size > 0) {
        memcpy(edge->bytes[i], data, size);
    }
    return edge->bytes[i];
}

void connpool_edge_keep(connpool_edge_t *edge, const cp_value_t *row)
{
    for (int i = 0; i < edge->page->page->sort.count; i++) {
        cp_value_t *kept = &edge->row[i];

        *kept = row[edge->places[i]];
        if (kept->storage >= CP_TEXT) {
            kept->as.bytes.data = keep_bytes(edge, i, kept->as.bytes.data,
                                             kept->as.bytes.size);
        }
    }
}

static int is_equal(const cp_value_t *a, const cp_value_t *b)
{
    if (a->storage != b->storage) {
        return (a->storage == CP_INTEGER && b->storage == CP_REAL
                && (double)a->as.integer == b->as.real)
               || (a->storage == CP_REAL && b->storage == CP_INTEGER
                   && a->as.real == (double)b->as.integer);
    }
    switch (a->storage) {
    case CP_NULL:
        return 1;
    case CP_INTEGER:
        return a->as.integer == b->as.integer;
    case CP_REAL:
        return a->as.real == b->as.real;
    default:
        return a->as.bytes.size == b->as.bytes.size
               && (a->as.bytes.size == 0
                   || memcmp(a->as.bytes.data, b->as.bytes.data,
                             a->as.bytes.size)
                          == 0);
    }
}

static int is_tied(const connpool_edge_t *edge, const cp_value_t *row)
{
    for (int i = 0; i < edge->page->page->sort.count; i++) {
        if (!is_equal(&edge->row[i], &row[edge->places[i]])) {
            return 0;
        }
    }
    return 1;
}

apr_status_t connpool_edge_end(const connpool_edge_t *edge,
                               const cp_value_t *own, const cp_value_t *row,
                               const char **pcursor, cp_error_t *err)
{
    const connpool_query_t *page = edge->page;

    if (is_tied(edge, row)) {
        return cp_error_set(err, CP_ERR_INTERNAL, APR_EGENERAL,
                            "its pages cannot be told apart",
                            "page=%s: two rows are equal in all these columns: "
                            "name one more that is unique",
                            page->paged_by);
    }
    *pcursor = connpool_cursor_write(edge->r->pool, page, own, edge->row);
    return *pcursor ? APR_SUCCESS
                    : cp_error_set(err, CP_ERR_INTERNAL, APR_EGENERAL,
                                   "its pages cannot be told apart",
                                   "page=%s: the values in these columns are "
                                   "too long for a link",
                                   page->paged_by);
}
