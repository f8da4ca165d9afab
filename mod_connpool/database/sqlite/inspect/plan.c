/* SPDX-License-Identifier: Apache-2.0
 * The plan of a statement, and which of its tables are too large to be read
 * from end to end each time. */
#include "database/sqlite/inspect/inspect.h"

#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include <apr_strings.h>

#define STEPS     256 /* more are not told */
#define NAME_SIZE 128

typedef struct step_t {
    int id;
    int depth;
} step_t;

typedef struct plan_t {
    sqlite3 *handle;
    const cp_findings_t *to;
    cp_walks_t walks;
    step_t steps[STEPS];
    int count;
    int scans;
    char scanned[STEPS][NAME_SIZE]; /* as the plan calls them */
} plan_t;

/* --- how large --- */

/* The first column of the first row, or -1. */
static sqlite3_int64 ask(sqlite3 *handle, char *sql, const char *bound)
{
    sqlite3_stmt *stmt = NULL;
    sqlite3_int64 number = -1;

    if (sql && sqlite3_prepare_v2(handle, sql, -1, &stmt, NULL) == SQLITE_OK) {
        if (bound) {
            sqlite3_bind_text(stmt, 1, bound, -1, SQLITE_STATIC);
        }
        if (sqlite3_step(stmt) == SQLITE_ROW
            && sqlite3_column_type(stmt, 0) == SQLITE_INTEGER) {
            number = sqlite3_column_int64(stmt, 0);
        }
    }
    sqlite3_finalize(stmt);
    sqlite3_free(sql);
    return number;
}

/* What ANALYZE has found may be old, and keys have gaps: rows are counted, but
 * not on and on. */
static int is_large(sqlite3 *handle, const char *table)
{
    return ask(handle,
               sqlite3_mprintf("SELECT count(*) FROM "
                               "(SELECT 1 FROM main.\"%w\" LIMIT %d)",
                               table, CP_SQLITE_LARGE),
               NULL)
           >= CP_SQLITE_LARGE;
}

/* "about 120000 rows", for who has to decide. */
static const char *describe_size(sqlite3 *handle, const char *table,
                                 char text[NAME_SIZE])
{
    sqlite3_int64 rows = ask(
        handle,
        sqlite3_mprintf("SELECT max(CAST(stat AS INTEGER)) FROM "
                        "main.sqlite_stat1 WHERE tbl = ?1 "
                        "COLLATE NOCASE"),
        table);

    if (rows < CP_SQLITE_LARGE) {
        rows = ask(handle,
                   sqlite3_mprintf("SELECT max(rowid) FROM main.\"%w\"", table),
                   NULL);
    }
    if (rows < CP_SQLITE_LARGE) {
        apr_snprintf(text, NAME_SIZE, "%d rows or more", CP_SQLITE_LARGE);
    }
    else {
        apr_snprintf(text, NAME_SIZE, "about %" APR_INT64_T_FMT " rows",
                     (apr_int64_t)rows);
    }
    return text;
}

/* --- what is read from end to end --- */

static const char *behind(const char *text, const char *beginning)
{
    size_t size = strlen(beginning);

    return strncmp(text, beginning, size) == 0 ? text + size : NULL;
}

/* "SCAN big", "SCAN TABLE big AS b USING INDEX i" (before 3.36), "SEARCH b
 * USING AUTOMATIC COVERING INDEX (a=?)", which is made anew each time. What a
 * scan of a virtual table costs nobody knows. */
static const char *scanned_name(const char *detail)
{
    const char *name = behind(detail, "SCAN ");

    if (!name && strstr(detail, " USING AUTOMATIC ")) {
        name = behind(detail, "SEARCH ");
    }
    if (!name || *name == '(' || strstr(detail, " VIRTUAL TABLE ")
        || strstr(detail, " CONSTANT ROW") || behind(name, "SUBQUERY ")) {
        return NULL;
    }
    return behind(name, "TABLE ") ? behind(name, "TABLE ") : name;
}

/* Without what else the plan says of it. */
static size_t name_size(const char *name, int is_old)
{
    static const char *const ends[] = {" USING ", " LEFT-JOIN", " AS ", NULL};
    size_t size = strlen(name);

    for (const char *const *end = ends; *end; end++) {
        const char *at = strstr(name, *end);

        if (at && (is_old || strcmp(*end, " AS ") != 0)
            && (size_t)(at - name) < size) {
            size = (size_t)(at - name);
        }
    }
    return size;
}

static void note_scan(plan_t *plan, const char *detail)
{
    const char *name = scanned_name(detail);
    size_t size;

    if (!name || plan->scans == STEPS) {
        return;
    }
    size = name_size(name, behind(detail, "SCAN TABLE ") != NULL);
    apr_cpystrn(plan->scanned[plan->scans++], name,
                size < NAME_SIZE ? size + 1 : NAME_SIZE);
}

static int depth_of(const plan_t *plan, int parent)
{
    for (int i = plan->count - 1; i >= 0; i--) {
        if (plan->steps[i].id == parent) {
            return plan->steps[i].depth + 1;
        }
    }
    return 0;
}

static void tell_step(plan_t *plan, sqlite3_stmt *row)
{
    const char *detail = (const char *)sqlite3_column_text(row, 3);
    int depth = depth_of(plan, sqlite3_column_int(row, 1));

    if (!detail || plan->count == STEPS) {
        return;
    }
    plan->steps[plan->count++] = (step_t){sqlite3_column_int(row, 0), depth};
    cp_finding_add(plan->to, CP_SEVERITY_INFO, "plan", "%*s%s", 2 * depth, "",
                   detail);
    note_scan(plan, detail);
}

/* --- warnings --- */

static int is_table(sqlite3 *handle, const char *name)
{
    return ask(handle,
               sqlite3_mprintf("SELECT rootpage > 0 FROM main.sqlite_schema "
                               "WHERE type = 'table' AND name = ?1 "
                               "COLLATE NOCASE"),
               name)
           == 1;
}

static int is_scanned(const plan_t *plan, const char *name)
{
    for (int i = 0; i < plan->scans; i++) {
        if (sqlite3_stricmp(plan->scanned[i], name) == 0) {
            return 1;
        }
    }
    return 0;
}

static void warn_if_large(const plan_t *plan, const char *table,
                          const char *alias)
{
    char size[NAME_SIZE];

    if (is_large(plan->handle, table)) {
        cp_finding_add(plan->to, CP_SEVERITY_WARNING, "full scan",
                       "each run reads all of table %s%s%s (%s): it wants an "
                       "index",
                       table, alias ? ", here called " : "", alias ? alias : "",
                       describe_size(plan->handle, table, size));
    }
}

static int is_told(const plan_t *plan, int i)
{
    int before = 0;

    while (sqlite3_stricmp(plan->scanned[before], plan->scanned[i]) != 0) {
        before++;
    }
    return before < i;
}

/* An alias tells no table: it is one of those that are walked through and that
 * the plan does not name. */
static void warn_of_aliases(const plan_t *plan, int count, const char *alias)
{
    for (int i = 0; count > 0 && i < plan->walks.count; i++) {
        const char *table = plan->walks.walked[i].table;

        if (!is_scanned(plan, table)) {
            warn_if_large(plan, table, count == 1 ? alias : NULL);
        }
    }
}

static void warn_of_scans(const plan_t *plan)
{
    const char *alias = NULL;
    int aliases = 0;

    if (plan->walks.stops_early && plan->count == 1) {
        return;
    }
    for (int i = 0; i < plan->scans; i++) {
        const char *name = plan->scanned[i];

        if (is_told(plan, i)) {
            continue;
        }
        if (is_table(plan->handle, name)) {
            warn_if_large(plan, name, NULL);
        }
        else {
            alias = name;
            aliases++;
        }
    }
    warn_of_aliases(plan, aliases, alias);
}

void cp_sqlite_tell_plan(sqlite3 *handle, const char *sql,
                         const cp_findings_t *to)
{
    plan_t *plan = calloc(1, sizeof(*plan));
    char *text = sqlite3_mprintf("EXPLAIN QUERY PLAN %s", sql);
    sqlite3_stmt *stmt = NULL;

    if (plan && text
        && sqlite3_prepare_v2(handle, text, -1, &stmt, NULL) == SQLITE_OK) {
        plan->handle = handle;
        plan->to = to;
        while (sqlite3_step(stmt) == SQLITE_ROW) {
            tell_step(plan, stmt);
        }
        if (plan->scans > 0) {
            cp_sqlite_find_walks(handle, sql, &plan->walks);
            warn_of_scans(plan);
        }
    }
    sqlite3_finalize(stmt);
    sqlite3_free(text);
    free(plan);
}
