/* SPDX-License-Identifier: Apache-2.0 */
#include "database/pgsql/statement/cache.h"

#include "base/bytes/buffer.h"
#include "base/bytes/hash.h"
#include "base/error.h"
#include "database/pgsql/session/pgsql.h"
#include "database/pgsql/text/sql.h"
#include "database/pgsql/session/wait.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The same in all processes, for servers that poolers share among them. */
static const cp_hash_key_t hash_key = {0x636f6e6e706f6f6cULL,
                                       0x706f737467726573ULL};

cp_statement_t *cp_pg_cache_find(cp_connection_t *conn, const char *sql,
                                 size_t size)
{
    for (int i = 0; i < CP_PG_STATEMENTS; i++) {
        cp_statement_t *st = &conn->cache[i];

        if (st->sql && !st->is_out && st->sql_size == size
            && memcmp(st->sql, sql, size) == 0) {
            return st;
        }
    }
    return NULL;
}

void cp_pg_cache_free(cp_statement_t *st)
{
    PQclear(st->row);
    PQclear(st->columns);
    cp_buffer_free(&st->text);
    cp_buffer_free(&st->terminated);
    cp_buffer_free(&st->scratch);
    free(st->params);
    free(st->types);
    free(st->inferred);
    free(st->declared);
    free(st->settled);
    free(st->values);
    free(st->lengths);
    free(st->formats);
    free(st->numbers);
    free(st->sql);
    memset(st, 0, sizeof(*st));
}

void cp_pg_deallocate(cp_connection_t *conn, const char *name)
{
    char command[CP_PG_NAME + 16];
    cp_error_t ignored;

    if (conn->db->config.pooler == CP_PG_POOLER_NONE) {
        snprintf(command, sizeof(command), "DEALLOCATE %s", name);
        cp_pg_command(conn, command, &ignored);
    }
}

/* The server keeps some 17 KB of each, until it is told not to. */
static void deallocate(cp_connection_t *conn, const cp_statement_t *st)
{
    if (st->is_prepared && !conn->running && !conn->is_broken) {
        cp_pg_deallocate(conn, st->name);
    }
}

static cp_statement_t *find_place(cp_connection_t *conn)
{
    cp_statement_t *oldest = NULL;

    for (int i = 0; i < CP_PG_STATEMENTS; i++) {
        cp_statement_t *st = &conn->cache[i];

        if (!st->sql) {
            return st;
        }
        if (!st->is_out && (!oldest || st->used_at < oldest->used_at)) {
            oldest = st;
        }
    }
    if (oldest) {
        deallocate(conn, oldest);
        cp_pg_cache_free(oldest);
    }
    return oldest;
}

static int has_all(const cp_statement_t *st)
{
    return st->sql && st->types && st->inferred && st->declared && st->settled
           && st->values && st->lengths && st->formats && st->numbers;
}

static void make_room(cp_statement_t *st, const char *sql)
{
    size_t count = (size_t)st->param_count + 1;

    st->sql = strdup(sql);
    st->types = calloc(count, sizeof(*st->types));
    st->inferred = calloc(count, sizeof(*st->inferred));
    st->declared = calloc(count, sizeof(*st->declared));
    st->settled = calloc(count, sizeof(*st->settled));
    st->values = calloc(count, sizeof(*st->values));
    st->lengths = calloc(count, sizeof(*st->lengths));
    st->formats = calloc(count, sizeof(*st->formats));
    st->numbers = calloc(count, sizeof(*st->numbers));
}

apr_status_t cp_pg_cache_add(cp_connection_t *conn, const char *sql,
                             size_t size, cp_statement_t **pst, cp_error_t *err)
{
    cp_statement_t *st = find_place(conn);

    if (!st) {
        return cp_error_set(err, CP_ERR_CAPACITY, APR_ENOMEM,
                            "too many open statements", "database '%s'",
                            conn->db->config.name);
    }
    st->text.may_fail = st->terminated.may_fail = st->scratch.may_fail = 1;
    st->param_count = cp_pg_rewrite(sql, &st->text, &st->params);
    if (st->param_count < 0) {
        cp_pg_cache_free(st);
        return cp_error_set(err, CP_ERR_INTERNAL, APR_EINVAL,
                            "the query is not one statement",
                            "database '%s': not exactly one statement: %.200s",
                            conn->db->config.name, sql);
    }
    make_room(st, sql);
    if (!has_all(st)) {
        cp_pg_cache_free(st);
        return cp_error_memory(err, "a statement");
    }
    /* The places of names are in the copy, which stays. */
    for (int i = 0; i < st->param_count; i++) {
        st->params[i].name = st->sql + (st->params[i].name - sql);
    }
    st->conn = conn;
    st->sql_size = size;
    st->writes = cp_pg_writes(sql);
    st->hash = cp_hash(hash_key, st->text.data, st->text.size);
    *pst = st;
    return APR_SUCCESS;
}

void cp_pg_name_statement(cp_statement_t *st)
{
    uint64_t types = cp_hash(hash_key, st->types,
                             (size_t)st->param_count * sizeof(*st->types));

    snprintf(st->name, sizeof(st->name), "cp_%016" PRIx64, st->hash ^ types);
}
