/* SPDX-License-Identifier: Apache-2.0
 * What the functions that stand in for SQLite's share. */
#ifndef CP_SQLITE_FUNCTIONS_H
#define CP_SQLITE_FUNCTIONS_H

#include "database/sqlite/guard/guard.h"

/* Indexes, views and checks may use it as they use the built-in one. */
#define CP_FUNCTION_FLAGS                                                      \
    (SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS)

#define STEPS (32 * 1024) /* of a loop between two looks at the clock */

/* What counts the steps of one call. */
typedef struct pace_t {
    sqlite3_context *context;
    int left;
} pace_t;

static inline pace_t pace_of(sqlite3_context *context)
{
    return (pace_t){context, STEPS};
}

/* True when the call has to end: its result is the error then. */
static inline int is_over(pace_t *pace)
{
    pace->left = STEPS;
    if (!cp_guard_look()) {
        return 0;
    }
    sqlite3_result_error(pace->context, "interrupted", -1);
    sqlite3_result_error_code(pace->context, SQLITE_INTERRUPT);
    return 1;
}

static inline int step_over(pace_t *pace)
{
    return --pace->left <= 0 && is_over(pace);
}

/* True, with the error set, when the statement's time is over already: a long
 * list of expressions has no other instruction between two calls. */
static inline int is_late(sqlite3_context *context)
{
    pace_t pace = pace_of(context);

    return is_over(&pace);
}

/* To the next character, as SQLite does it, also in what is no UTF-8. */
static inline void skip_char(const unsigned char **p)
{
    if (*(*p)++ >= 0xc0) {
        while ((**p & 0xc0) == 0x80) {
            (*p)++;
        }
    }
}

static inline int cp_function_add(sqlite3 *handle, const char *name, int count,
                                  const void *data,
                                  void (*run)(sqlite3_context *, int,
                                              sqlite3_value **))
{
    return sqlite3_create_function_v2(handle, name, count, CP_FUNCTION_FLAGS,
                                      (void *)data, run, NULL, NULL, NULL);
}

/* LIKE, if this library's planner goes on to find indexes for it. */
int cp_guard_add_like(sqlite3 *handle);

/* json_patch, if this library has one. */
int cp_guard_add_patch(sqlite3 *handle);

#endif
