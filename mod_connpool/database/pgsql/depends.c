/* SPDX-License-Identifier: Apache-2.0
 *
 * Names are looked for without their schemas, and words that are none are
 * looked for, too: what is found in vain costs a kept answer, what is
 * overlooked would cost a right one. */
#include "database/pgsql/depends.h"

#include "base/bytes/buffer.h"
#include "base/error.h"
#include "database/pgsql/session/pgsql.h"
#include "database/pgsql/session/wait.h"
#include "database/pgsql/text/sql.h"
#include "database/pgsql/text/token.h"

#include <string.h>

#define LEVELS 8 /* of views of views */

/* Of the names: what is volatile; and the text of all that has one. */
#define ABOUT                                                                  \
    "WITH n AS (SELECT DISTINCT pg_catalog.unnest($1::text[]) AS name) "       \
    "SELECT 1, NULL FROM pg_catalog.pg_proc p, n WHERE p.proname = n.name "    \
    "AND p.provolatile = 'v' AND p.prokind = 'f' "                             \
    "AND p.prorettype <> 'pg_catalog.trigger'::pg_catalog.regtype "            \
    "UNION ALL SELECT 1, NULL FROM pg_catalog.pg_class c, n "                  \
    "WHERE c.relname = n.name AND (c.relkind IN ('f', 'S') "                   \
    "OR c.relrowsecurity OR c.relnamespace = "                                 \
    "'pg_catalog'::pg_catalog.regnamespace) "                                  \
    "UNION ALL SELECT 0, pg_catalog.pg_get_viewdef(c.oid) "                    \
    "FROM pg_catalog.pg_class c, n "                                           \
    "WHERE c.relname = n.name AND c.relkind = 'v' "                            \
    "UNION ALL SELECT 0, coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), " \
    "p.prosrc) FROM pg_catalog.pg_proc p, pg_catalog.pg_language l, n "        \
    "WHERE p.proname = n.name AND l.oid = p.prolang "                          \
    "AND l.lanname NOT IN ('internal', 'c') "                                  \
    "UNION ALL SELECT 1, NULL FROM pg_catalog.pg_inherits i, "                 \
    "pg_catalog.pg_class c, pg_catalog.pg_class f, n "                         \
    "WHERE c.relname = n.name AND i.inhparent = c.oid "                        \
    "AND f.oid = i.inhrelid AND f.relkind = 'f'"

static const char changes[] = "a function, or a view, whose value changes "
                              "without the data";
static const char unknown[] = "something that could not be found out";

/* Into an array's text: each in quotes. */
static void add_name(cp_buffer_t *names, const char *start, apr_size_t size,
                     int folds)
{
    cp_buffer_append(names, names->size > 1 ? ",\"" : "\"",
                     names->size > 1 ? 2 : 1);
    for (apr_size_t i = 0; i < size; i++) {
        char c = start[i];

        if (c == '"' || c == '\\') {
            cp_buffer_append(names, "\\", 1);
        }
        if (folds && c >= 'A' && c <= 'Z') {
            c = (char)(c - 'A' + 'a');
        }
        cp_buffer_append(names, &c, 1);
    }
    cp_buffer_append(names, "\"", 1);
}

/* All words and quoted names of the text. */
static void add_names(cp_buffer_t *names, const char *text)
{
    cp_pg_token_t token = {.sql = text};

    for (cp_pg_next(&token);
         token.kind != CP_PG_END && token.kind < CP_PG_OPEN_QUOTE;
         cp_pg_next(&token)) {
        if (token.kind == CP_PG_WORD) {
            add_name(names, token.start, token.size, 1);
        }
        else if (token.kind == CP_PG_QUOTED) {
            add_name(names, token.start + 1, token.size - 2, 0);
        }
    }
}

/* What the server knows of these names; those of the next level take their
 * place. */
static const char *look(cp_connection_t *conn, cp_buffer_t *names)
{
    const char *values[] = {names->data};
    const char *found = NULL, *word;
    PGresult *result;
    cp_error_t ignored;

    if (cp_pg_ask(conn, ABOUT, values, 1, &result, &ignored) != APR_SUCCESS) {
        return unknown;
    }
    names->size = 0;
    cp_buffer_append(names, "{", 1);
    for (int i = 0; i < PQntuples(result) && !found; i++) {
        const char *text = PQgetvalue(result, i, 1);

        if (strcmp(PQgetvalue(result, i, 0), "1") == 0
            || cp_pg_is_volatile(text, &word)) {
            found = changes;
        }
        add_names(names, text);
    }
    PQclear(result);
    return found;
}

const char *cp_pg_depends(cp_statement_t *st)
{
    cp_connection_t *conn = st->conn;
    cp_buffer_t names = CP_BUFFER_MAY_FAIL;
    const char *found = NULL;
    int level = 0;

    if (st->run != CP_PG_FINISHED || conn->is_broken
        || conn->transaction != CP_PG_NONE) {
        return unknown;
    }
    cp_buffer_append(&names, "{", 1);
    add_names(&names, st->sql);
    while (!found && names.size > 1 && level++ < LEVELS) {
        cp_buffer_append(&names, "}", 2); /* its NUL, too */
        found = names.has_failed ? unknown : look(conn, &names);
    }
    if (!found && names.size > 1) {
        found = unknown;
    }
    cp_buffer_free(&names);
    return found;
}
