/* SPDX-License-Identifier: Apache-2.0
 *
 * LIKE, with the same results as SQLite's, and a look at the clock.
 * GLOB stays SQLite's own: without the mark that it has (see add_like) no index
 * would be used for it. Only like= bounds a call of it: at its default to less
 * than half a second for a value of 1 MB. */
#include "database/sqlite/guard/functions.h"

#include <pthread.h>

/* The planner copies the first three bytes from the user data of a function
 * that has the place of LIKE. */
typedef struct wildcards_t {
    unsigned char all, one, set;
} wildcards_t;

static const wildcards_t like_wildcards = {'%', '_', 0};

/* What the library is like; set once. */
static int replaces_like, like_ignores_blobs;

typedef struct matcher_t {
    wildcards_t wild;
    uint32_t escape; /* 0: none */
    pace_t pace;
    const unsigned char *rest; /* of the pattern, behind what matched */
} matcher_t;

/* A character as SQLite reads it, also from bytes that are no UTF-8. */
static inline uint32_t read_char(const unsigned char **p)
{
    uint32_t c = *(*p)++;

    if (c < 0xc0) {
        return c;
    }
    c = c < 0xe0   ? c & 0x1f
        : c < 0xf0 ? c & 0x0f
        : c < 0xf8 ? c & 0x07
        : c < 0xfc ? c & 0x03
        : c < 0xfe ? c & 0x01
                   : 0;
    while ((**p & 0xc0) == 0x80) {
        c = (c << 6) + (*(*p)++ & 0x3f);
    }
    return c < 0x80 || (c & 0xfffff800) == 0xd800 || (c & 0xfffffffe) == 0xfffe
               ? 0xfffd
               : c;
}

static inline uint32_t fold(uint32_t c)
{
    return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
}

static int equals(uint32_t a, uint32_t b)
{
    return a == b || fold(a) == fold(b);
}

/* Does the character of the text match the first of the pattern, which is not
 * the wildcard for many? m->rest is behind it then. */
static inline int matches_one(matcher_t *m, const unsigned char *pattern,
                              uint32_t c)
{
    uint32_t wanted;

    m->rest = pattern;
    wanted = read_char(&m->rest);
    if (wanted == m->escape && wanted) {
        wanted = read_char(&m->rest);
        return wanted && equals(wanted, c);
    }
    return (m->wild.one && wanted == m->wild.one) || equals(wanted, c);
}

/* The next place where what follows a wildcard for many can begin. */
static const unsigned char *next_start(const matcher_t *m,
                                       const unsigned char *pattern,
                                       const unsigned char *text)
{
    unsigned char c = *pattern, other;

    if (c == 0 || c >= 0x80 || c == m->wild.one || c == m->escape) {
        return text;
    }
    other = (unsigned char)fold(c);
    if (other == c && c >= 'a' && c <= 'z') {
        other = (unsigned char)(c - ('a' - 'A'));
    }
    while (*text && *text != c && *text != other) {
        text++;
    }
    return text;
}

/* What stands between two wildcards for many is taken where it first matches:
 * the last wildcard makes good for all before it. -1: the time is over. */
static int matches(matcher_t *m, const unsigned char *pattern,
                   const unsigned char *text)
{
    const unsigned char *retry = NULL, *from = NULL;

    for (;;) {
        if (*pattern == m->wild.all && m->wild.all) {
            while (*++pattern == m->wild.all) {
                /* Several are as good as one. */
            }
            retry = pattern;
            if (!*retry) {
                return 1;
            }
            from = text = next_start(m, retry, text);
        }
        if (step_over(&m->pace)) {
            return -1;
        }
        if (*text && *pattern) {
            const unsigned char *next = text;

            if (*pattern == m->wild.all && m->wild.all) {
                continue;
            }
            if (matches_one(m, pattern, read_char(&next))) {
                pattern = m->rest;
                text = next;
                continue;
            }
        }
        else if (!*text) {
            /* Nothing is left: only wildcards for many match that. */
            while (m->wild.all && *pattern == m->wild.all) {
                pattern++;
            }
            return !*pattern;
        }
        if (!retry) {
            return 0;
        }
        skip_char(&from);
        from = text = next_start(m, retry, from);
        pattern = retry;
    }
}

/* The character of ESCAPE, 0 when it is none and the call is over. */
static uint32_t read_escape(sqlite3_context *context, sqlite3_value *value)
{
    const unsigned char *text = sqlite3_value_text(value);
    const unsigned char *end = text;
    uint32_t escape;

    if (!text) {
        return 0;
    }
    escape = *end ? read_char(&end) : 0;
    if (!escape || *end) {
        sqlite3_result_error(
            context, "ESCAPE expression must be a single character", -1);
        return 0;
    }
    return escape;
}

static int ignores_blobs(sqlite3_context *context, sqlite3_value **values)
{
    if (!like_ignores_blobs
        || (sqlite3_value_type(values[0]) != SQLITE_BLOB
            && sqlite3_value_type(values[1]) != SQLITE_BLOB)) {
        return 0;
    }
    sqlite3_result_int(context, 0);
    return 1;
}

static void run_match(sqlite3_context *context, int count,
                      sqlite3_value **values)
{
    sqlite3 *handle = sqlite3_context_db_handle(context);
    matcher_t m = {*(const wildcards_t *)sqlite3_user_data(context), 0,
                   pace_of(context), NULL};
    const unsigned char *pattern, *text;
    int found;

    if (ignores_blobs(context, values)) {
        return;
    }
    if (sqlite3_value_bytes(values[0])
        > sqlite3_limit(handle, SQLITE_LIMIT_LIKE_PATTERN_LENGTH, -1)) {
        sqlite3_result_error(context, "LIKE or GLOB pattern too complex", -1);
        return;
    }
    if (count == 3) {
        m.escape = read_escape(context, values[2]);
        if (!m.escape) {
            return;
        }
        m.wild.all = m.escape == m.wild.all ? 0 : m.wild.all;
        m.wild.one = m.escape == m.wild.one ? 0 : m.wild.one;
    }
    pattern = sqlite3_value_text(values[0]);
    text = sqlite3_value_text(values[1]);
    if (pattern && text) {
        found = matches(&m, pattern, text);
        if (found >= 0) {
            sqlite3_result_int(context, found);
        }
    }
}

/* --- its registration --- */

/* SQLite looks for an index for LIKE only when the function has a mark that
 * PRAGMA case_sensitive_like sets. While a statement runs the pragma cannot
 * put back the built-in function, and marks the one that is there. */
static int add_marked(sqlite3 *handle)
{
    sqlite3_stmt *stmt = NULL;
    int rc = cp_function_add(handle, "like", 2, &like_wildcards, run_match);

    if (rc == SQLITE_OK) {
        rc = cp_function_add(handle, "like", 3, &like_wildcards, run_match);
    }
    if (rc == SQLITE_OK) {
        /* Not VALUES (1), (2): from 3.46 on it reads the schema. */
        rc = sqlite3_prepare_v2(handle, "SELECT 1", -1, &stmt, NULL);
    }
    if (rc == SQLITE_OK && sqlite3_step(stmt) == SQLITE_ROW) {
        rc = sqlite3_exec(handle, "PRAGMA case_sensitive_like=OFF", NULL, NULL,
                          NULL);
    }
    sqlite3_finalize(stmt);
    return rc;
}

static int uses_index(void *data, int columns, char **values, char **names)
{
    *(int *)data |= columns > 3 && values[3] && strstr(values[3], ">? AND ");
    return 0;
}

/* Does this library's planner still find the index? */
static int can_replace_like(void)
{
    sqlite3 *handle = NULL;
    int is_found = 0;

    if (!sqlite3_compileoption_used("ENABLE_ICU")
        && !sqlite3_compileoption_used("CASE_SENSITIVE_LIKE")
        && sqlite3_open(":memory:", &handle) == SQLITE_OK
        && add_marked(handle) == SQLITE_OK) {
        sqlite3_exec(handle,
                     "CREATE TABLE t(x TEXT COLLATE NOCASE);"
                     "CREATE INDEX i ON t(x);"
                     "EXPLAIN QUERY PLAN SELECT * FROM t WHERE x LIKE 'a%'",
                     uses_index, &is_found, NULL);
    }
    sqlite3_close(handle);
    return is_found;
}

static void decide(void)
{
    like_ignores_blobs = sqlite3_compileoption_used("LIKE_DOESNT_MATCH_BLOBS");
    replaces_like = can_replace_like();
}

int cp_guard_add_like(sqlite3 *handle)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, decide);
    return replaces_like ? add_marked(handle) : SQLITE_OK;
}
