/* SPDX-License-Identifier: Apache-2.0 */
#include "database/pgsql/statement/types.h"

#include "base/error.h"
#include "database/pgsql/session/pgsql.h"
#include "database/pgsql/session/wait.h"
#include "database/pgsql/statement/cache.h"
#include "database/pgsql/statement/run.h"
#include "database/pgsql/text/state.h"
#include "database/value.h"

#include <stdlib.h>
#include <string.h>

enum {
    BOOLEAN = 16,
    BYTES = 17,
    BIGINT = 20,
    SMALLINT = 21,
    INTEGER = 23,
    TEXT = 25,
    DOUBLE = 701,
    TIMESTAMPTZ = 1184,
    JSONB = 3802,
};

/* What was found out of a text, for all connections of this child. */
typedef struct cp_pg_types_t {
    uint64_t hash;
    int count;
    unsigned *types;
    cp_type_t *declared;
} cp_pg_types_t;

static int is_pooled(const cp_connection_t *conn)
{
    return conn->db->config.pooler == CP_PG_POOLER_TRANSACTION;
}

/* --- remembered --- */

static void free_types(cp_pg_types_t *it)
{
    if (it) {
        free(it->types);
        free(it->declared);
        free(it);
    }
}

void cp_pg_forget_types(cp_database_t *db)
{
    for (int i = 0; i < CP_PG_TYPED; i++) {
        free_types(db->types[i]);
        db->types[i] = NULL;
    }
}

static int recall(cp_statement_t *st)
{
    cp_database_t *db = st->conn->db;
    size_t count = (size_t)st->param_count;
    const cp_pg_types_t *it;
    int is_known;

    pthread_mutex_lock(&db->lock);
    it = db->types[st->hash % CP_PG_TYPED];
    is_known = it && it->hash == st->hash && it->count == st->param_count;
    if (is_known && count > 0) {
        memcpy(st->types, it->types, count * sizeof(*st->types));
        memcpy(st->settled, it->declared, count * sizeof(*st->settled));
    }
    pthread_mutex_unlock(&db->lock);
    return is_known;
}

static void remember(const cp_statement_t *st)
{
    cp_database_t *db = st->conn->db;
    size_t count = (size_t)st->param_count + 1;
    cp_pg_types_t *it = calloc(1, sizeof(*it)), *before;

    if (!it || !(it->types = malloc(count * sizeof(*it->types)))
        || !(it->declared = malloc(count * sizeof(*it->declared)))) {
        free_types(it);
        return;
    }
    it->hash = st->hash;
    it->count = st->param_count;
    memcpy(it->types, st->types, count * sizeof(*it->types));
    memcpy(it->declared, st->settled, count * sizeof(*it->declared));
    pthread_mutex_lock(&db->lock);
    before = db->types[st->hash % CP_PG_TYPED];
    db->types[st->hash % CP_PG_TYPED] = it;
    pthread_mutex_unlock(&db->lock);
    free_types(before);
}

/* --- found out --- */

static unsigned oid_of(cp_type_t type)
{
    switch (type) {
    case CP_TYPE_INTEGER:
        return BIGINT;
    case CP_TYPE_REAL:
        return DOUBLE;
    case CP_TYPE_BOOLEAN:
        return BOOLEAN;
    case CP_TYPE_DATE:
        return TIMESTAMPTZ;
    case CP_TYPE_BLOB:
        return BYTES;
    case CP_TYPE_JSON:
        return JSONB;
    default:
        return TEXT;
    }
}

/* Text is what the server takes for want of anything better; and of integers
 * the narrowest, which is narrower than ours. 0: its choice is good. */
static unsigned better(cp_type_t declared, unsigned inferred)
{
    int is_narrow = inferred == SMALLINT || inferred == INTEGER;

    switch (declared) {
    case CP_TYPE_INTEGER:
        return inferred == TEXT || is_narrow ? BIGINT : 0;
    case CP_TYPE_REAL:
        return inferred == TEXT || is_narrow || inferred == BIGINT ? DOUBLE : 0;
    case CP_TYPE_BOOLEAN:
        return inferred == TEXT ? BOOLEAN : 0;
    case CP_TYPE_BLOB:
        return inferred == TEXT ? BYTES : 0;
    default:
        return 0;
    }
}

/* @return 1: some of them differ from what the server would take */
static int choose(cp_statement_t *st, const unsigned *inferred)
{
    int differs = 0;

    for (int i = 0; i < st->param_count; i++) {
        st->types[i] = inferred[i] ? better(st->declared[i], inferred[i])
                                   : oid_of(st->declared[i]);
        differs |= st->types[i] != 0;
    }
    return differs;
}

/* What takes no bigint may take an integer. */
static int narrow(cp_statement_t *st)
{
    int differs = 0;

    for (int i = 0; i < st->param_count; i++) {
        if (st->types[i] == BIGINT) {
            st->types[i] = INTEGER;
            differs = 1;
        }
    }
    return differs;
}

/* A try may fail, and must not take a transaction with it. */
static apr_status_t try_parse(cp_statement_t *st, unsigned *pflags,
                              cp_error_t *err)
{
    cp_connection_t *conn = st->conn;
    int is_within = conn->transaction == CP_PG_OPEN;
    cp_error_t ignored;
    apr_status_t rv;

    *pflags = 0;
    rv = is_within ? cp_pg_command(conn, "SAVEPOINT connpool_types", err)
                   : APR_SUCCESS;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    rv = cp_pg_parse(st, pflags, err);
    if (is_within && !conn->is_broken) {
        cp_pg_command(conn,
                      rv == APR_SUCCESS
                          ? "RELEASE SAVEPOINT connpool_types"
                          : "ROLLBACK TO SAVEPOINT connpool_types",
                      rv == APR_SUCCESS ? err : &ignored);
    }
    return rv;
}

static int is_about_types(const cp_statement_t *st, unsigned flags)
{
    return flags & CP_PG_UNTYPED && st->param_count > 0;
}

apr_status_t cp_pg_parse_first(cp_statement_t *st, cp_error_t *err)
{
    unsigned flags;
    apr_status_t rv;

    st->is_settled = recall(st);
    if (st->is_settled && is_pooled(st->conn)) {
        return APR_SUCCESS; /* it is parsed each time */
    }
    rv = try_parse(st, &flags, err);
    if (rv == APR_SUCCESS || !is_about_types(st, flags)) {
        return rv;
    }
    /* With those that are declared, once they are known. */
    st->is_settled = 0;
    memset(st->types, 0, (size_t)st->param_count * sizeof(*st->types));
    return APR_SUCCESS;
}

int cp_pg_fits_declared(const cp_statement_t *st)
{
    return st->is_settled
           && memcmp(st->settled, st->declared,
                     (size_t)st->param_count * sizeof(*st->settled))
                  == 0;
}

/* From the widest to what the server would take by itself. */
static apr_status_t search(cp_statement_t *st, const unsigned *inferred,
                           int was_inferred, cp_error_t *err)
{
    unsigned flags;
    cp_error_t first;
    apr_status_t rv = try_parse(st, &flags, &first);

    if (rv != APR_SUCCESS && is_about_types(st, flags) && narrow(st)) {
        rv = try_parse(st, &flags, err);
    }
    if (rv != APR_SUCCESS && is_about_types(st, flags) && was_inferred) {
        memset(st->types, 0, (size_t)st->param_count * sizeof(*st->types));
        rv = try_parse(st, &flags, err);
    }
    if (rv != APR_SUCCESS) {
        *err = first;
    }
    return rv;
}

static apr_status_t infer_anew(cp_statement_t *st, cp_error_t *err)
{
    unsigned flags;
    apr_status_t rv;

    memset(st->types, 0, (size_t)st->param_count * sizeof(*st->types));
    rv = try_parse(st, &flags, err);
    return rv != APR_SUCCESS && is_about_types(st, flags) ? APR_SUCCESS : rv;
}

static apr_status_t settle(cp_statement_t *st, cp_error_t *err)
{
    char name[CP_PG_NAME];
    unsigned *inferred;
    int was_prepared;
    apr_status_t rv = st->is_settled ? infer_anew(st, err) : APR_SUCCESS;

    if (rv != APR_SUCCESS) {
        return rv;
    }
    was_prepared = st->is_prepared;
    memcpy(name, st->name, sizeof(name));
    inferred = malloc(((size_t)st->param_count + 1) * sizeof(*inferred));
    if (!inferred) {
        return cp_error_memory(err, "types of parameters");
    }
    memcpy(inferred, st->inferred, (size_t)st->param_count * sizeof(*inferred));
    if (choose(st, inferred) || !was_prepared) {
        rv = search(st, inferred, was_prepared, err);
        if (rv == APR_SUCCESS && was_prepared && strcmp(name, st->name) != 0
            && st->conn->transaction != CP_PG_OPEN) {
            cp_pg_deallocate(st->conn, name);
        }
    }
    free(inferred);
    return rv;
}

apr_status_t cp_pg_settle_types(cp_statement_t *st, cp_error_t *err)
{
    unsigned flags;
    apr_status_t rv;

    if (cp_pg_fits_declared(st)) {
        return st->is_prepared || is_pooled(st->conn)
                   ? APR_SUCCESS
                   : cp_pg_parse(st, &flags, err);
    }
    rv = settle(st, err);
    if (rv == APR_SUCCESS) {
        memcpy(st->settled, st->declared,
               (size_t)st->param_count * sizeof(*st->settled));
        st->is_settled = 1;
        remember(st);
    }
    return rv;
}
