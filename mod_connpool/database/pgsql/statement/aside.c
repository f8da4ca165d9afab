/* SPDX-License-Identifier: Apache-2.0 */
#include "database/pgsql/statement/aside.h"

#include "base/error.h"
#include "database/pgsql/session/pgsql.h"
#include "database/pgsql/statement/run.h"

#include <stdlib.h>
#include <string.h>

#define MOST_BYTES (4 * 1024 * 1024) /* libpq's: 2 KB a row at least */

struct cp_pg_aside_t {
    PGresult **rows;
    int count, capacity;
    int next;
    size_t bytes;
    int has_ended;
    apr_status_t rv; /* behind the last row, and its failure */
    cp_error_t err;
};

static apr_status_t refuse(const cp_connection_t *conn, const char *why,
                           cp_error_t *err)
{
    return cp_error_set(err, CP_ERR_REFUSED, APR_ENOTIMPL,
                        "a query within another one is not possible",
                        "database '%s': the request reads the rows of another "
                        "query on the same connection, %s",
                        conn->db->config.name, why);
}

static int push(struct cp_pg_aside_t *aside, PGresult *row)
{
    if (aside->count == aside->capacity) {
        int capacity = aside->capacity ? aside->capacity * 2 : 64;
        PGresult **rows = realloc(aside->rows,
                                  (size_t)capacity * sizeof(PGresult *));

        if (!rows) {
            return 0;
        }
        aside->rows = rows;
        aside->capacity = capacity;
    }
    aside->rows[aside->count++] = row;
    aside->bytes += PQresultMemorySize(row);
    return 1;
}

/* @return 1: all of it is kept */
static int keep_rest(cp_statement_t *st, struct cp_pg_aside_t *aside)
{
    unsigned flags;

    while (aside->bytes < MOST_BYTES) {
        aside->rv = cp_pg_read(st, &flags, &aside->err);
        if (aside->rv != APR_SUCCESS) {
            aside->has_ended = 1;
            return 1;
        }
        if (!push(aside, st->row)) {
            st->conn->is_broken = 1; /* a row is lost */
            return 0;
        }
        st->row = NULL;
    }
    return 0;
}

apr_status_t cp_pg_clear_way(cp_connection_t *conn, const cp_statement_t *st,
                             cp_error_t *err)
{
    cp_statement_t *other = conn->running;
    PGresult *current;
    int is_kept;

    if (!other || other == st || other->run != CP_PG_SENT) {
        return APR_SUCCESS;
    }
    if (conn->received < conn->queued) {
        return refuse(conn, "and more are on their way", err);
    }
    if (!other->aside) {
        other->aside = calloc(1, sizeof(*other->aside));
    }
    if (!other->aside) {
        return cp_error_memory(err, "rows");
    }
    /* Who reads it still has its values in his hands. */
    current = other->row;
    other->row = NULL;
    is_kept = keep_rest(other, other->aside);
    other->row = current;
    if (!is_kept) {
        return refuse(conn, "and they are too many to be kept meanwhile", err);
    }
    conn->running = NULL;
    return APR_SUCCESS;
}

apr_status_t cp_pg_take_aside(cp_statement_t *st, cp_error_t *err)
{
    struct cp_pg_aside_t *aside = st->aside;

    if (!aside) {
        return APR_EAGAIN;
    }
    if (aside->next < aside->count) {
        st->row = aside->rows[aside->next++];
        return APR_SUCCESS;
    }
    if (!aside->has_ended) {
        aside->next = aside->count = 0;
        aside->bytes = 0;
        return APR_EAGAIN;
    }
    if (aside->rv != APR_EOF) {
        *err = aside->err;
    }
    return aside->rv;
}

void cp_pg_free_aside(cp_statement_t *st)
{
    struct cp_pg_aside_t *aside = st->aside;

    if (!aside) {
        return;
    }
    for (int i = aside->next; i < aside->count; i++) {
        if (aside->rows[i] != st->columns) {
            PQclear(aside->rows[i]);
        }
    }
    free(aside->rows);
    free(aside);
    st->aside = NULL;
}
