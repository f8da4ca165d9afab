/* SPDX-License-Identifier: Apache-2.0
 * What changes without the data, by its name: functions, keywords, and words
 * that dates know. */
#include "database/pgsql/text/sql.h"
#include "database/pgsql/text/token.h"

#include <string.h>

#include <apr_cstr.h>

/* A name that ends in * stands for all that begin so. */
static const char *const calls[] = {"now",
                                    "random*",
                                    "setseed",
                                    "clock_timestamp",
                                    "statement_timestamp",
                                    "transaction_timestamp",
                                    "timeofday",
                                    "nextval",
                                    "currval",
                                    "lastval",
                                    "setval",
                                    "gen_random_*",
                                    "uuid_generate_*",
                                    "uuidv4",
                                    "uuidv7",
                                    "txid_*",
                                    "pg_*",
                                    "inet_*",
                                    "current_setting",
                                    "set_config",
                                    "dblink*",
                                    "lo_*",
                                    "age",
                                    NULL};
static const char *const words[] = {
    "current_date", "current_time",       "current_timestamp",
    "localtime",    "localtimestamp",     "tablesample",
    "pg_catalog",   "information_schema", NULL};
static const char *const dates[] = {"'now'", "'today'", "'tomorrow'",
                                    "'yesterday'", NULL};

static int matches(const char *start, apr_size_t size, const char *name)
{
    apr_size_t length = strlen(name);

    if (name[length - 1] == '*') {
        return size >= length - 1
               && apr_cstr_casecmpn(start, name, length - 1) == 0;
    }
    return size == length && apr_cstr_casecmpn(start, name, size) == 0;
}

static const char *match(const char *start, apr_size_t size,
                         const char *const *names)
{
    for (; *names; names++) {
        if (matches(start, size, *names)) {
            return *names;
        }
    }
    return NULL;
}

int cp_pg_is_volatile(const char *sql, const char **word)
{
    cp_pg_token_t token = {.sql = sql}, next;
    const char *found = NULL;

    for (cp_pg_next(&token); !found && token.kind != CP_PG_END;
         cp_pg_next(&token)) {
        int is_quoted = token.kind == CP_PG_QUOTED;

        if (token.kind == CP_PG_TEXT) {
            found = match(token.start, token.size, dates);
        }
        else if (token.kind == CP_PG_WORD || is_quoted) {
            next = token;
            cp_pg_next(&next);
            if (next.kind == CP_PG_LEFT) {
                found = match(token.start + is_quoted,
                              token.size - 2 * (apr_size_t)is_quoted, calls);
            }
            found = found || is_quoted ? found
                                       : match(token.start, token.size, words);
        }
    }
    *word = found;
    return found != NULL;
}
