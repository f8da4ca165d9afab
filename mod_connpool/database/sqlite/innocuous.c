/* SPDX-License-Identifier: Apache-2.0
 *
 * What a schema may call. SQLite's own switch for schemas that nobody vouches
 * for (TRUSTED_SCHEMA=0) depends on marks that came late: before 3.41 the JSON
 * functions have none, and full-text and R-Tree tables got theirs release by
 * release. With it, files of ordinary applications cannot be read, and are
 * called malformed. So the schema is trusted instead, and nothing is left on
 * the connection that could do harm: of functions and modules those that SQLite
 * itself brings, of others those that are marked innocuous. The result is the
 * same with every version. */
#include "base/log.h"
#include "database/sqlite/connection.h"
#include "database/sqlite/sqlite.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NAME_SIZE 64

/* As PRAGMA function_list tells it, whose flags are those of
 * sqlite3_create_function. */
typedef struct cp_refused_t {
    struct cp_refused_t *next;
    char name[NAME_SIZE];
    int arguments; /* -1: any number */
    int encoding;
} function_t;

/* SQLite registers these for each connection, as any module registers its own,
 * and without a mark. All they do is to read, or to fail where they stand
 * outside a full-text query. */
static const char *const own_functions[] = {
    "bm25",      "fts5",       "fts5_source_id", "geopoly_debug",
    "highlight", "match",      "matchinfo",      "offsets",
    "optimize",  "rtreecheck", "rtreenode",      "rtreedepth",
    "snippet",   NULL};

/* Tables that a schema may be made of; dbstat, sqlite_stmt, sqlite_dbpage and
 * the like look behind it. */
static const char *own_modules[] = {
    "fts3",  "fts4",    "fts4aux",   "fts3tokenize", "fts5",      "fts5vocab",
    "rtree", "geopoly", "rtree_i32", "json_each",    "json_tree", NULL};

static int is_among(const char *name, const char *const *names)
{
    for (; *names; names++) {
        if (strcasecmp(name, *names) == 0) {
            return 1;
        }
    }
    return 0;
}

static int encoding_of(const char *name)
{
    return strcmp(name, "utf16le") == 0   ? SQLITE_UTF16LE
           : strcmp(name, "utf16be") == 0 ? SQLITE_UTF16BE
                                          : SQLITE_UTF8;
}

/* Columns of PRAGMA function_list. */
enum {
    NAME,
    BUILTIN,
    KIND,
    ENCODING,
    ARGUMENTS,
    FLAGS,
    COLUMNS
};

/* Those that SQLite was built with are in a list of their own. Nonzero ends the
 * list with an error: what is not known is not opened to a schema. */
static int on_function(void *data, int columns, char **values, char **names)
{
    function_t **list = data;
    function_t *function;

    if (columns < COLUMNS) {
        return 1;
    }
    if (atoi(values[BUILTIN])
        || (atoi(values[FLAGS]) & (SQLITE_INNOCUOUS | SQLITE_DIRECTONLY))
        || is_among(values[NAME], own_functions)) {
        return 0;
    }
    function = calloc(1, sizeof(*function));
    if (!function || strlen(values[NAME]) >= sizeof(function->name)) {
        free(function);
        return 1;
    }
    strcpy(function->name, values[NAME]);
    function->encoding = encoding_of(values[ENCODING]);
    function->arguments = atoi(values[ARGUMENTS]);
    function->next = *list;
    *list = function;
    return 0;
}

static void refuse_call(sqlite3_context *context, int count,
                        sqlite3_value **values)
{
    sqlite3_result_error(context,
                         "this function is another module's; schema=trusted "
                         "would admit it",
                         -1);
}

/* Put a refusal in the place of each. The authorizer denies them to queries,
 * views and triggers; nobody asks it about checks, indexes and columns, which
 * compile, and fail when they call one. */
static int replace_all(cp_sqlite_conn_t *conn, const function_t *list)
{
    int rc = SQLITE_OK;

    for (; list && rc == SQLITE_OK; list = list->next) {
        rc = sqlite3_create_function_v2(
            conn->handle, list->name, list->arguments,
            list->encoding | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS, NULL,
            refuse_call, NULL, NULL, NULL);
        cp_log(CP_LOG_MARK, CP_LOG_DEBUG, 0,
               "database '%s': the function %s() of another module is not "
               "offered to it",
               conn->db->config.name, list->name);
    }
    return rc;
}

void cp_sqlite_forget_refused(cp_sqlite_conn_t *conn)
{
    while (conn->refused) {
        function_t *next = conn->refused->next;

        free(conn->refused);
        conn->refused = next;
    }
}

int cp_sqlite_is_refused(const cp_sqlite_conn_t *conn, const char *name)
{
    const function_t *function = conn->refused;

    while (function && strcasecmp(function->name, name) != 0) {
        function = function->next;
    }
    return function != NULL;
}

static int ask(cp_sqlite_conn_t *conn, const char *pragma,
               int (*fn)(void *, int, char **, char **), void *data)
{
    int rc;

    conn->is_internal = 1;
    rc = sqlite3_exec(conn->handle, pragma, fn, data, NULL);
    conn->is_internal = 0;
    return rc;
}

/* Those that were refused before are marked innocuous by now. */
static int refuse_functions(cp_sqlite_conn_t *conn)
{
    function_t *list = NULL, *last;
    int rc = ask(conn, "PRAGMA function_list", on_function, &list);

    if (!list) {
        return rc;
    }
    for (last = list; last->next;) {
        last = last->next;
    }
    last->next = conn->refused;
    conn->refused = list;
    return rc == SQLITE_OK ? replace_all(conn, list) : rc;
}

static int on_module(void *data, int columns, char **values, char **names)
{
    *(int *)data |= !is_among(values[0], own_modules);
    return 0;
}

static int drop_modules(cp_sqlite_conn_t *conn)
{
    int has_others = 0;
    int rc = ask(conn, "PRAGMA module_list", on_module, &has_others);

    return rc == SQLITE_OK && has_others
               ? sqlite3_drop_modules(conn->handle, own_modules)
               : rc;
}

int cp_sqlite_confine(cp_sqlite_conn_t *conn)
{
    int rc;

    sqlite3_db_config(conn->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 1, NULL);
    if (conn->db->config.is_trusted) {
        return SQLITE_OK;
    }
    rc = refuse_functions(conn);
    if (rc == SQLITE_OK) {
        rc = drop_modules(conn);
    }
    if (rc == SQLITE_OK) {
        return SQLITE_OK;
    }
    /* A library built without the list of its functions: then as strictly as
     * it knows how to. */
    sqlite3_db_config(conn->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    return SQLITE_OK;
}
