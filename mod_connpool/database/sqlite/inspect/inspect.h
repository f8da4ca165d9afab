/* SPDX-License-Identifier: Apache-2.0
 * What can be told of a file and of a statement before anybody is served. */
#ifndef CP_SQLITE_INSPECT_H
#define CP_SQLITE_INSPECT_H

#include "database/finding.h"

struct sqlite3;

/** A table is large from so many rows on. */
#define CP_SQLITE_LARGE 10000

/** The file, its directory, and what lies beside it: sizes, modes, owners. */
void cp_sqlite_tell_files(const char *path, const cp_findings_t *to);

/** The plan of a statement that can be prepared, a row a step; and a warning
 * for each large table of which it reads all. Nothing of the statement is run;
 * rows are counted up to CP_SQLITE_LARGE. */
void cp_sqlite_tell_plan(struct sqlite3 *handle, const char *sql,
                         const cp_findings_t *to);

/** A table, or the index of one, that a statement walks through. */
typedef struct cp_walked_t {
    char table[128];
} cp_walked_t;

/** What of the statement's byte code cannot be told from its plan. */
typedef struct cp_walks_t {
    cp_walked_t walked[32]; /**< tables, each once */
    int count;
    int stops_early; /**< the first rows are the answer: nothing is sorted,
                          grouped or left out, and there is a LIMIT */
} cp_walks_t;

/** Read the byte code; one that is not understood walks through nothing. */
void cp_sqlite_find_walks(struct sqlite3 *handle, const char *sql,
                          cp_walks_t *walks);

#endif
