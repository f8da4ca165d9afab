/* SPDX-License-Identifier: Apache-2.0
 * From the rows of a query to the bytes of an answer. */
#ifndef CONNPOOL_ROWS_H
#define CONNPOOL_ROWS_H

#include "glue.h"
#include "answers/encode.h"
#include "base/bytes/buffer.h"
#include "base/error.h"
#include "config/reply/columns.h"
#include "database/value.h"
#include "request/page/edge.h"
#include "work/query.h"

struct connpool_query_t;
struct cp_answer_t;

/** An answer in the making. Caller's storage, zeroed, with make_room set. */
typedef struct connpool_rows_t {
    /** After each row of a read: may move what buf holds elsewhere, add that to
     * passed, and empty buf. Failures go to err. NULL: all stays in buf. */
    apr_status_t (*make_room)(struct connpool_rows_t *rows);
    request_rec *r;
    struct connpool_query_t *query;
    connpool_run_t run;
    cp_encoder_t *encoder; /* NULL before the first row is asked for */
    cp_value_t *row;
    connpool_columns_t columns; /* once there is an encoder */
    cp_value_t *created;  /* of the first row: a value for each part of the
                             query's Location; NULL: there is none */
    int is_absent;        /* the raw body is NULL */
    apr_table_t *headers; /* beside the type; NULL: none */
    cp_buffer_t buf;
    apr_size_t counted; /* bytes of buf that the child's figures know of */
    apr_int64_t passed; /* bytes that make_room has taken */
    cp_error_t err;
    int status; /* 200 or 201, or without a body: 404, of a single row that is
                   not there, or what none= says of a write */
    const char *content_type;
    const char *truncated; /* "rows", "bytes", NULL */
    connpool_edge_t edge;  /* of a page */
    const char *next;      /* cursor of the page behind it; NULL: none */
} connpool_rows_t;

/** Run the query to its end; the connection is given back.
 * @return APR_SUCCESS: the rest of the answer is in buf; or err is set and buf
 * empty */
apr_status_t connpool_rows_read(connpool_rows_t *rows, request_rec *r,
                                struct connpool_query_t *query,
                                const cp_value_t *values);

/** The parts of it, for who runs it with others (group.c). */

/** By itself, once: APR_EOF, or err. */
apr_status_t connpool_rows_run(connpool_rows_t *rows, const cp_value_t *values);
/** Once the run is open: all of it but the end of its transaction. */
apr_status_t connpool_rows_work(connpool_rows_t *rows);
/** Close the run, judge what it gave. Says as connpool_run_close. */
apr_status_t connpool_rows_close(connpool_rows_t *rows, apr_status_t rv);
/** As before it was run, but for when it was asked for and is due. */
void connpool_rows_clear(connpool_rows_t *rows);
/** After APR_EOF: complete what is in buf. */
void connpool_rows_end(connpool_rows_t *rows);

/** Free buf. */
void connpool_rows_free(connpool_rows_t *rows);

/** The header of an answer that holds the cursor of the page behind it. */
#define CONNPOOL_NEXT "ConnPool-Next"

/** Run the query, its whole answer in memory (at most max-bytes): status 200
 * or 201 with Content-Type, ConnPool-Truncated if it is cut, and other headers
 * that go with it, or 400 and more without body. The caller has the one
 * reference. */
apr_status_t connpool_collect_query(request_rec *r,
                                    struct connpool_query_t *query,
                                    const cp_value_t *values,
                                    struct cp_answer_t **panswer,
                                    cp_error_t *err);

/** The same of a statement that was sent ahead, with `values`. Who gets an
 * error that is_transient may run it anew. */
apr_status_t connpool_collect_sent(
    request_rec *r, struct connpool_query_t *query, const cp_value_t *values,
    struct cp_statement_t *sent, struct cp_answer_t **panswer, cp_error_t *err);

/** The same, and whether the answer, of a query with ttl=data, is good as long
 * as the version that was read before: it is of the file's latest state, and
 * nothing but the data decides it. */
apr_status_t connpool_collect_lasting(request_rec *r,
                                      struct connpool_query_t *query,
                                      const cp_value_t *values,
                                      struct cp_answer_t **panswer,
                                      int *pis_lasting, cp_error_t *err);

#endif
