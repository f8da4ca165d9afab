/* SPDX-License-Identifier: Apache-2.0
 * Columns of an answer that nobody gave a name. SQLite calls them by their SQL,
 * and its releases differ in how. */
#include "database/sqlite/text/scan.h"

#include "database/sqlite/text/token.h"

#include <string.h>

#include <apr_lib.h>

/* One entry of the list behind SELECT or RETURNING. */
typedef struct entry_t {
    token_t first, last, before_last;
    int count;     /* of tokens */
    int is_dotted; /* a, t.a, s.t.a */
} entry_t;

static int is_name(const token_t *token)
{
    static const char *const values[] = {"null",
                                         "true",
                                         "false",
                                         "current_date",
                                         "current_time",
                                         "current_timestamp",
                                         NULL};

    return (token->kind == KIND_WORD && !apr_isdigit(*token->start)
            && !cp_sql_is_among(token, values))
           || (token->kind == KIND_QUOTED && *token->start != '\'');
}

static int is_sign(const token_t *token, char c)
{
    return token->kind == KIND_OTHER && *token->start == c;
}

/* count(*) n, but neither a COLLATE b nor CASE ... END. */
static int ends_with_alias(const entry_t *entry)
{
    static const char *const operators[] = {
        "and",   "or",     "not",      "is",      "in",     "like", "glob",
        "match", "regexp", "between",  "collate", "escape", "from", "when",
        "then",  "else",   "distinct", "over",    "case",   NULL};
    static const char *const ends[] = {"end", "isnull", "notnull", NULL};
    const token_t *before = &entry->before_last;

    if (entry->count < 2
        || (entry->last.kind != KIND_QUOTED && !is_name(&entry->last))
        || cp_sql_is_among(&entry->last, ends)) {
        return 0;
    }
    return before->kind == KIND_CLOSE || before->kind == KIND_QUOTED
           || before->kind == KIND_PARAMETER
           || (before->kind == KIND_WORD
               && !cp_sql_is_among(before, operators));
}

static int has_name(const entry_t *entry)
{
    return entry->count == 0 || is_sign(&entry->last, '*')
           || (entry->is_dotted && is_name(&entry->last))
           || cp_sql_is_word(&entry->before_last, "as")
           || ends_with_alias(entry);
}

static void extend(entry_t *entry, const token_t *token)
{
    if (entry->count == 0) {
        entry->first = *token;
        entry->is_dotted = 1;
    }
    entry->is_dotted &= entry->count % 2 == 0 ? is_name(token)
                                              : is_sign(token, '.');
    entry->before_last = entry->last;
    entry->last = *token;
    entry->count++;
}

/* The first token of the list behind this word, which stands outside all
 * parentheses. */
static token_t list_behind(const char *sql, const char *word)
{
    static const char *const quantities[] = {"distinct", "all", NULL};
    token_t token = cp_sql_next_token(sql);
    int depth = 0;

    while (token.kind != KIND_END && token.kind != KIND_OPEN_COMMENT
           && (depth > 0 || !cp_sql_is_word(&token, word))) {
        depth += (token.kind == KIND_OPEN) - (token.kind == KIND_CLOSE);
        token = cp_sql_token_behind(&token);
    }
    token = cp_sql_token_behind(&token);
    return cp_sql_is_among(&token, quantities) ? cp_sql_token_behind(&token)
                                               : token;
}

static int ends_list(const token_t *token)
{
    static const char *const words[] = {
        "from",  "where", "group",  "having",    "window", "order",
        "limit", "union", "except", "intersect", NULL};

    return token->kind == KIND_END || token->kind == KIND_SEMICOLON
           || token->kind == KIND_OPEN_COMMENT || cp_sql_is_among(token, words);
}

const char *cp_sql_nameless(const char *sql, const cp_sql_shape_t *shape,
                            apr_size_t *psize)
{
    int is_select = strcmp(shape->verb, "SELECT") == 0;
    entry_t entry = {.count = 0};
    token_t token;
    int depth = 0;

    if (!is_select && !shape->has_returning) {
        return NULL;
    }
    token = list_behind(sql, is_select ? "select" : "returning");
    for (;; token = cp_sql_token_behind(&token)) {
        int is_end = depth == 0 && ends_list(&token);

        if (is_end || (depth == 0 && is_sign(&token, ','))) {
            if (!has_name(&entry)) {
                *psize = (apr_size_t)(entry.last.start + entry.last.size
                                      - entry.first.start);
                return entry.first.start;
            }
            entry.count = 0;
        }
        else {
            depth += (token.kind == KIND_OPEN) - (token.kind == KIND_CLOSE);
            extend(&entry, &token);
        }
        if (is_end || token.kind == KIND_END) {
            return NULL;
        }
    }
}
