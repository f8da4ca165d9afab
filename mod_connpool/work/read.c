/* SPDX-License-Identifier: Apache-2.0
 * A named query's whole answer: begun anew where that is safe, and as a thing
 * that can be kept. */
#include "work/rows.h"

#include "glue.h"
#include "answers/answer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/meanwhile.h"
#include "child/child.h"
#include "config/query.h"
#include "request/hold.h"
#include "stats/cell.h"
#include "stats/stats.h"
#include "work/group.h"

#define HEADER_BYTES 512 /* of those that a kept answer has */
#define TRIES        4   /* of what did nothing when it failed */

/* Nothing has happened, nothing has gone out, and there is time for a pause and
 * another try. */
static int may_begin_anew(connpool_rows_t *rows, int tries)
{
    static const apr_interval_time_t pauses[TRIES - 1] = {5000, 20000, 80000};
    apr_interval_time_t pause;
    cp_clock_t until;

    if (!rows->err.is_transient || rows->run.sent || rows->passed > 0
        || tries >= TRIES || !connpool_transaction_has(rows->r, NULL)) {
        return 0; /* one of several writes goes down with the others */
    }
    pause = pauses[tries - 1] / 2;
    until = cp_clock_after(pause + cp_clock_jitter(pause * 2, rows));
    if (until >= rows->run.limit.deadline) {
        return 0;
    }
    cp_meanwhile_sleep(until);
    cp_stats_add(&connpool_query_stats(rows->query)->retries, 1);
    rows->run = (connpool_run_t){.latest = rows->run.limit.deadline};
    rows->encoder = NULL;
    rows->truncated = NULL;
    return 1;
}

apr_status_t connpool_rows_read(connpool_rows_t *rows, request_rec *r,
                                connpool_query_t *query,
                                const cp_value_t *values)
{
    int tries = 0;
    apr_status_t rv;

    rows->r = r;
    rows->query = query;
    rows->status = HTTP_OK;
    rows->content_type = cp_format_content_type(query->format);
    do {
        rv = tries == 0 ? connpool_group_run(rows, values)
                        : connpool_rows_run(rows, values);
    } while (rv != APR_EOF && may_begin_anew(rows, ++tries));
    if (rv != APR_EOF) {
        return rv;
    }
    connpool_rows_end(rows);
    return APR_SUCCESS;
}

apr_status_t connpool_collect_query(request_rec *r, connpool_query_t *query,
                                    const cp_value_t *values,
                                    cp_answer_t **panswer, cp_error_t *err)
{
    int is_lasting;

    return connpool_collect_lasting(r, query, values, panswer, &is_lasting,
                                    err);
}

/* With room for its headers. */
static cp_answer_t *make_answer(void)
{
    cp_answer_t *answer = cp_answer_create(HTTP_OK);

    if (answer && !cp_buffer_reserve(&answer->headers, HEADER_BYTES)) {
        cp_answer_unref(answer);
        return NULL;
    }
    return answer;
}

static int add_header(void *answer, const char *name, const char *value)
{
    cp_answer_add(answer, name, value);
    return 1;
}

/* What is set of rows->run stays. */
static apr_status_t collect(connpool_rows_t *rows, request_rec *r,
                            connpool_query_t *query, const cp_value_t *values,
                            cp_answer_t **panswer)
{
    apr_time_t began = apr_time_now();
    cp_answer_t *answer = make_answer();
    apr_status_t rv;

    if (!answer) {
        return cp_error_memory(&rows->err, "the answer");
    }
    rv = connpool_rows_read(rows, r, query, values);
    if (rv != APR_SUCCESS) {
        cp_answer_unref(answer);
        return rv;
    }
    answer->status = rows->status;
    answer->made_at = began;
    cp_answer_add(answer, "Content-Type", rows->content_type);
    if (rows->truncated) {
        cp_answer_add(answer, "ConnPool-Truncated", rows->truncated);
    }
    if (rows->headers) {
        apr_table_do(add_header, answer, rows->headers, NULL);
    }
    if (rows->next) {
        cp_answer_add(answer, CONNPOOL_NEXT, rows->next);
    }
    answer->body = cp_buffer_take(&rows->buf);
    cp_answer_terminate(answer);
    connpool_rows_free(rows);
    *panswer = answer;
    return APR_SUCCESS;
}

apr_status_t connpool_collect_lasting(request_rec *r, connpool_query_t *query,
                                      const cp_value_t *values,
                                      cp_answer_t **panswer, int *pis_lasting,
                                      cp_error_t *err)
{
    connpool_rows_t rows = {0};
    apr_status_t rv = collect(&rows, r, query, values, panswer);

    if (rv != APR_SUCCESS) {
        *err = rows.err;
        return rv;
    }
    *pis_lasting = rows.run.is_lasting;
    return rv;
}

apr_status_t connpool_collect_sent(request_rec *r, connpool_query_t *query,
                                   const cp_value_t *values,
                                   cp_statement_t *sent, cp_answer_t **panswer,
                                   cp_error_t *err)
{
    connpool_rows_t rows = {.run.sent = sent};
    apr_status_t rv = collect(&rows, r, query, values, panswer);

    if (rv != APR_SUCCESS) {
        *err = rows.err;
    }
    return rv;
}
