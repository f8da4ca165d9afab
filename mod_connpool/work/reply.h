/* SPDX-License-Identifier: Apache-2.0
 * What a query's answer says beside its rows: types, names, places, and
 * whether a write did anything. */
#ifndef CONNPOOL_WORK_REPLY_H
#define CONNPOOL_WORK_REPLY_H

#include "glue.h"
#include "base/error.h"

struct connpool_query_t;
struct connpool_rows_t;
struct cp_answer_t;

/** Once the columns are known, with the encoder made: find those that the
 * query's keys speak of. */
apr_status_t connpool_reply_begin(struct connpool_rows_t *rows);

/** With the first row, before it is encoded. */
apr_status_t connpool_reply_first(struct connpool_rows_t *rows);

/** Once the run is closed and has not failed: status and headers. The status
 * of an answer without a body is 400 or more. */
void connpool_reply_end(struct connpool_rows_t *rows);

/** Count the values that were not what their columns say, and tell. */
void connpool_reply_judge(const struct connpool_rows_t *rows);

/** Why an answer of that status has no body, for the client. */
const char *connpool_reply_absence(const struct connpool_query_t *query);

/** Put an answer that decodes what is stored in gzip, with a tag of its own,
 * into the place of this one, whose reference it takes over. What is in no
 * coding stays.
 * @return APR_SUCCESS, or err, with NULL in its place: it is not gzip, or
 * larger than the query's max-bytes, or there is no memory */
apr_status_t connpool_reply_decode(const struct connpool_query_t *query,
                                   struct cp_answer_t **panswer,
                                   cp_error_t *err);

#endif
