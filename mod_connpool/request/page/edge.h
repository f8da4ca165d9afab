/* SPDX-License-Identifier: Apache-2.0
 * The edge of a page: the row with which it ends, in the columns of page=. */
#ifndef CONNPOOL_EDGE_H
#define CONNPOOL_EDGE_H

#include "glue.h"
#include "base/error.h"
#include "database/page.h"
#include "database/value.h"

struct connpool_query_t;

/** Caller's storage. */
typedef struct connpool_edge_t {
    request_rec *r;
    const struct connpool_query_t *page;
    int places[CP_PAGE_COLUMNS_MAX]; /* of the columns in a row */
    cp_value_t row[CP_PAGE_COLUMNS_MAX];
    char *bytes[CP_PAGE_COLUMNS_MAX];     /* where those of each are kept */
    apr_size_t room[CP_PAGE_COLUMNS_MAX]; /* how many there can be */
} connpool_edge_t;

/** @param names of the columns that rows have */
void connpool_edge_begin(connpool_edge_t *edge, request_rec *r,
                         const struct connpool_query_t *page,
                         const char *const *names, int columns);

/** This row is the last one so far. */
void connpool_edge_keep(connpool_edge_t *edge, const cp_value_t *row);

/** The page has ended although this row would follow: *pcursor leads to it.
 * @param own values of the query's parameters
 * @return or err: the row is no other than the last one for all that a cursor
 * can tell, and would be lost; or a cursor cannot hold it */
apr_status_t connpool_edge_end(const connpool_edge_t *edge,
                               const cp_value_t *own, const cp_value_t *row,
                               const char **pcursor, cp_error_t *err);

#endif
