/* SPDX-License-Identifier: Apache-2.0
 * The columns of a prepared statement that the keys of its query speak of. */
#ifndef CONNPOOL_COLUMNS_H
#define CONNPOOL_COLUMNS_H

#include "answers/column.h"
#include "base/error.h"
#include "config/reply/reply.h"
#include "database/database.h"

typedef struct connpool_columns_t {
    const cp_database_driver_t *driver; /* set by the caller, */
    cp_statement_t *statement;          /* so */
    const connpool_reply_t *reply;      /* and so */
    const cp_column_t *kinds; /* of all columns; NULL: all are plain */
    int type;                 /* of raw: the columns of the media type... */
    int name;                 /* ...and of the file's name, -1: none */
} connpool_columns_t;

/** Are all there that the reply names? Needs no memory.
 * @return APR_SUCCESS, or err, as if the query did not fit its database */
apr_status_t connpool_columns_check(const connpool_columns_t *columns,
                                    cp_error_t *err);

/** The same, and find them. */
apr_status_t connpool_columns_find(connpool_columns_t *columns, apr_pool_t *p,
                                   cp_error_t *err);

/** The column of a name, whatever its case; -1: there is none. */
int connpool_columns_named(const connpool_columns_t *columns, const char *name);

#endif
