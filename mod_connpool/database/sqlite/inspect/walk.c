/* SPDX-License-Identifier: Apache-2.0
 * The byte code of a statement, as EXPLAIN lists it: the plan calls a table by
 * its alias, and does not tell where a LIMIT ends the walk. */
#include "database/sqlite/inspect/inspect.h"

#include <string.h>

#include <sqlite3.h>

#include <apr_strings.h>

#define CURSORS 64

/* Which b-tree a cursor stands on. */
typedef struct cursors_t {
    int root[CURSORS]; /* 0: none of the database's */
} cursors_t;

/* Columns of EXPLAIN. */
enum {
    OPCODE = 1,
    P1,
    P2,
    P3
};

static int is_any(const char *word, const char *const *words)
{
    while (*words && strcmp(*words, word) != 0) {
        words++;
    }
    return *words != NULL;
}

static void add_walked(cp_walks_t *walks, const char *table)
{
    size_t most = sizeof(walks->walked) / sizeof(walks->walked[0]);

    for (int i = 0; i < walks->count; i++) {
        if (strcmp(walks->walked[i].table, table) == 0) {
            return;
        }
    }
    if ((size_t)walks->count < most) {
        apr_cpystrn(walks->walked[walks->count++].table, table,
                    sizeof(walks->walked[0].table));
    }
}

/* Whose b-tree that is, an index's being its table's. */
static void note_walk(sqlite3 *handle, int root, cp_walks_t *walks)
{
    sqlite3_stmt *stmt = NULL;

    if (root > 0
        && sqlite3_prepare_v2(handle,
                              "SELECT tbl_name FROM sqlite_schema "
                              "WHERE rootpage = ?1",
                              -1, &stmt, NULL)
               == SQLITE_OK) {
        sqlite3_bind_int(stmt, 1, root);
        if (sqlite3_step(stmt) == SQLITE_ROW) {
            add_walked(walks, (const char *)sqlite3_column_text(stmt, 0));
        }
    }
    sqlite3_finalize(stmt);
}

/* What has to see all rows, or looks for some: its first rows are not its
 * answer. */
static int needs_more(const char *opcode)
{
    static const char *const others[] = {
        "Count",      "If",    "IfNot",    "IsNull", "NotNull", "Eq",
        "Ne",         "Lt",    "Le",       "Gt",     "Ge",      "Filter",
        "SorterOpen", "Found", "NotFound", "Once",   "VFilter", "OpenEphemeral",
        NULL};

    return strncmp(opcode, "Agg", 3) == 0 || is_any(opcode, others);
}

typedef struct reading_t {
    sqlite3 *handle;
    cursors_t cursors;
    cp_walks_t *walks;
    int has_begun; /* to walk: what was before is about LIMIT itself */
    int has_limit;
    int needs_more;
} reading_t;

static void read_row(reading_t *reading, sqlite3_stmt *row)
{
    static const char *const opens[] = {"OpenRead", "OpenWrite", "ReopenIdx",
                                        NULL};
    static const char *const walks[] = {"Rewind", "Last", "Count", NULL};
    const char *opcode = (const char *)sqlite3_column_text(row, OPCODE);
    int cursor = sqlite3_column_int(row, P1);

    if (!opcode) {
        return;
    }
    reading->has_limit |= strcmp(opcode, "DecrJumpZero") == 0;
    reading->has_begun |= is_any(opcode, walks);
    reading->needs_more |= reading->has_begun && needs_more(opcode);
    if (cursor < 0 || cursor >= CURSORS) {
        return;
    }
    if (is_any(opcode, opens)) {
        reading->cursors.root[cursor] = sqlite3_column_int(row, P3) == 0
                                            ? sqlite3_column_int(row, P2)
                                            : 0;
    }
    else if (is_any(opcode, walks)) {
        note_walk(reading->handle, reading->cursors.root[cursor],
                  reading->walks);
    }
}

void cp_sqlite_find_walks(sqlite3 *handle, const char *sql, cp_walks_t *walks)
{
    reading_t reading = {.handle = handle, .walks = walks};
    char *text = sqlite3_mprintf("EXPLAIN %s", sql);
    sqlite3_stmt *stmt = NULL;

    memset(walks, 0, sizeof(*walks));
    if (text
        && sqlite3_prepare_v2(handle, text, -1, &stmt, NULL) == SQLITE_OK) {
        while (sqlite3_step(stmt) == SQLITE_ROW) {
            read_row(&reading, stmt);
        }
    }
    sqlite3_finalize(stmt);
    sqlite3_free(text);
    walks->stops_early = reading.has_limit && !reading.needs_more;
}
