/* SPDX-License-Identifier: Apache-2.0
 *
 * Whose fault is it that a statement failed while it ran? SQLite says
 * "malformed JSON" of a value that was sent and of one that is stored. The
 * rule, as docs/handlers.md has it: a statement without parameters fails by itself.
 * One that reads nothing stored fails by its values. Of any other a value is to
 * blame where it is wrong by itself, for what it stands for in the SQL. */
#include "base/error.h"
#include "database/sqlite/connection.h"
#include "database/sqlite/sqlite.h"
#include "database/sqlite/text/scan.h"
#include "database/value.h"

#include <string.h>
#include <strings.h>

typedef struct blame_t {
    cp_statement_t *st;
    int rc;
    const char *message;
    int (*is_wrong)(const struct blame_t *blame, const cp_sql_place_t *place,
                    const cp_value_t *value);
    int is_clients;
} blame_t;

typedef int (*is_wrong_fn)(const blame_t *blame, const cp_sql_place_t *place,
                           const cp_value_t *value);

static int is_bytes(const cp_value_t *value)
{
    return value->storage == CP_TEXT || value->storage == CP_BLOB;
}

static int is_in_json(const cp_sql_place_t *place)
{
    return place->call_size >= 4 && strncasecmp(place->call, "json", 4) == 0;
}

/* These take what they get, or say what is wrong with it. */
static int reads_json(const cp_sql_place_t *place)
{
    static const char *const others[] = {
        "json_valid",        "json_error_position", "json_quote",
        "json_array",        "json_object",         "jsonb_array",
        "jsonb_object",      "json_group_array",    "json_group_object",
        "jsonb_group_array", "jsonb_group_object"};

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (cp_sql_place_is_in(place, others[i])) {
            return 0;
        }
    }
    return is_in_json(place);
}

/* SQLite is asked. */
static int is_json(const blame_t *blame, const cp_value_t *value)
{
    cp_sqlite_conn_t *conn = blame->st->conn;
    sqlite3_stmt *stmt = NULL;
    int is_valid = 1;

    if (sqlite3_prepare_v3(conn->handle, "SELECT json_valid(?1)", -1, 0, &stmt,
                           NULL)
        == SQLITE_OK) {
        sqlite3_bind_text64(stmt, 1, value->as.bytes.data, value->as.bytes.size,
                            SQLITE_STATIC, SQLITE_UTF8);
        is_valid = sqlite3_step(stmt) != SQLITE_ROW
                   || sqlite3_column_int(stmt, 0) != 0;
    }
    sqlite3_finalize(stmt);
    return is_valid;
}

/* --- what is wrong with a value --- */

static int is_wrong_document(const blame_t *blame, const cp_sql_place_t *place,
                             const cp_value_t *value)
{
    int is_document = place->role == CP_SQL_DOCUMENT
                      || (reads_json(place) && place->is_alone
                          && (place->argument == 0
                              || cp_sql_place_is_in(place, "json_patch")))
                      || (place->role == CP_SQL_STORED && !is_in_json(place));

    return is_document && is_bytes(value) && !is_json(blame, value);
}

static int is_wrong_path(const blame_t *blame, const cp_sql_place_t *place,
                         const cp_value_t *value)
{
    return place->role == CP_SQL_PATH
           || (is_in_json(place) && place->argument > 0);
}

static int is_wrong_member(const blame_t *blame, const cp_sql_place_t *place,
                           const cp_value_t *value)
{
    return is_in_json(place) && value->storage == CP_BLOB;
}

static int is_wrong_pattern(const blame_t *blame, const cp_sql_place_t *place,
                            const cp_value_t *value)
{
    int most = sqlite3_limit(blame->st->conn->handle,
                             SQLITE_LIMIT_LIKE_PATTERN_LENGTH, -1);

    return (place->role == CP_SQL_PATTERN || cp_sql_place_is_in(place, "like")
            || cp_sql_place_is_in(place, "glob"))
           && is_bytes(value) && value->as.bytes.size > (apr_size_t)most - 2;
}

static int is_wrong_number(const blame_t *blame, const cp_sql_place_t *place,
                           const cp_value_t *value)
{
    return cp_sql_place_is_in(place, "abs") && place->is_alone
           && value->storage == CP_INTEGER && value->as.integer == INT64_MIN;
}

static int is_wrong_kind(const blame_t *blame, const cp_sql_place_t *place,
                         const cp_value_t *value)
{
    return (place->role == CP_SQL_STORED || place->role == CP_SQL_LIMIT)
           && value->storage != CP_INTEGER;
}

static int is_wrong_search(const blame_t *blame, const cp_sql_place_t *place,
                           const cp_value_t *value)
{
    return place->role == CP_SQL_MATCHED;
}

/* f(:text) and f = :text search as well. */
static int is_wrong_table_search(const blame_t *blame,
                                 const cp_sql_place_t *place,
                                 const cp_value_t *value)
{
    return place->role == CP_SQL_MATCHED
           || (place->role == CP_SQL_PLAIN && value->storage == CP_TEXT);
}

/* Values are to blame only where there is nothing else. */
static int is_never_wrong(const blame_t *blame, const cp_sql_place_t *place,
                          const cp_value_t *value)
{
    return 0;
}

/* --- the rule --- */

typedef struct fault_t {
    const char *message;  /* how it begins */
    is_wrong_fn is_wrong; /* NULL: whatever the values are */
} fault_t;

static const fault_t faults[] = {
    {"malformed JSON", is_wrong_document},
    {"JSON path error", is_wrong_path},
    {"bad JSON path", is_wrong_path},
    {"JSON cannot hold BLOB", is_wrong_member},
    {"LIKE or GLOB pattern", is_wrong_pattern},
    {"integer overflow", is_wrong_number},
    {"fts5: ", is_wrong_table_search},
    {"malformed MATCH", is_wrong_table_search},
    {"unknown special query", is_wrong_table_search},
    {"unterminated string", is_wrong_table_search},
    {"no such column", is_wrong_table_search},
    {"unable to use function", NULL},
    {"this function is another", NULL},
    {"string or blob too big", is_never_wrong},
};

static is_wrong_fn fault_of(int rc, const char *message)
{
    if ((rc & 0xff) == SQLITE_MISMATCH) {
        return is_wrong_kind;
    }
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        if (strncasecmp(message, faults[i].message, strlen(faults[i].message))
            == 0) {
            return faults[i].is_wrong;
        }
    }
    return is_wrong_search;
}

static const cp_value_t *value_at(const blame_t *blame,
                                  const cp_sql_place_t *place)
{
    for (int i = 0; i < blame->st->parameters; i++) {
        const char *name = sqlite3_bind_parameter_name(blame->st->stmt, i + 1);

        if (name && strlen(name) == place->size + 1
            && memcmp(name + 1, place->name, place->size) == 0) {
            return &blame->st->bound[i];
        }
    }
    return NULL;
}

static void look_at_place(const cp_sql_place_t *place, void *baton)
{
    blame_t *blame = baton;
    const cp_value_t *value = value_at(blame, place);

    if (value && value->storage != CP_NULL) {
        blame->is_clients |= blame->is_wrong(blame, place, value);
    }
}

/* Nothing stored decides what it does. */
static int reads_nothing(const cp_statement_t *st)
{
    return !(st->seen & CP_SEEN_READ)
           || !(st->seen & (CP_SEEN_SELECT | CP_SEEN_CHANGE));
}

static int has_values(const cp_statement_t *st)
{
    for (int i = 0; i < st->parameters; i++) {
        if (st->bound[i].storage != CP_NULL) {
            return 1;
        }
    }
    return 0;
}

void cp_statement_blame(cp_statement_t *st, int rc, const char *message,
                        cp_error_t *err)
{
    blame_t blame = {.st = st, .rc = rc, .message = message};

    blame.is_wrong = fault_of(rc, message);
    if (!blame.is_wrong || !has_values(st)) {
        blame.is_clients = 0;
    }
    else if (reads_nothing(st)) {
        blame.is_clients = 1;
    }
    else {
        cp_sql_places(st->sql, look_at_place, &blame);
    }
    if (!blame.is_clients) {
        err->cls = CP_ERR_INTERNAL;
        err->cause = "the query fails on what is stored";
    }
}
