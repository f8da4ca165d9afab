/* SPDX-License-Identifier: Apache-2.0 */
#include "database/pgsql/text/sql.h"

#include "base/bytes/buffer.h"
#include "database/pgsql/text/token.h"
#include "database/shape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_cstr.h>
#include <apr_lib.h>
#include <apr_strings.h>

enum {
    SHOWN_LENGTH = 40, /* of the SQL in a sentence */
};

static const char *const writing[] = {"INSERT", "UPDATE", "DELETE", "MERGE",
                                      NULL};
static const char *const reading[] = {"SELECT", "VALUES", "TABLE", NULL};

static const char *among(const cp_pg_token_t *token, const char *const *words)
{
    for (; *words; words++) {
        if (cp_pg_is_word(token, *words)) {
            return *words;
        }
    }
    return NULL;
}

/* --- the verb --- */

/* Finds the verb as the tokens come by. */
typedef struct verb_t {
    const char *verb;    /* NULL: not found yet */
    const char *written; /* by an expression of WITH */
    cp_pg_token_t other; /* the first word, when it is none that we know */
    int is_with;         /* between WITH and the verb */
    int depth;
    int is_at_name;  /* behind WITH, RECURSIVE, or a comma between them */
    int is_at_query; /* behind AS [NOT MATERIALIZED] ( */
    int was_as;
} verb_t;

static void note_within(verb_t *v, const cp_pg_token_t *token)
{
    const char *found = among(token, writing);

    if (found && v->is_at_query && v->depth == 1 && !v->written) {
        v->written = found;
    }
}

/* At the level of the statement, behind WITH. */
static void note_behind_with(verb_t *v, const cp_pg_token_t *token)
{
    const char *found = among(token, reading);

    found = found ? found : among(token, writing);
    if (found && !v->is_at_name) {
        v->verb = found;
    }
    v->was_as = cp_pg_is_word(token, "AS")
                || cp_pg_is_word(token, "MATERIALIZED")
                || (v->was_as && cp_pg_is_word(token, "NOT"));
    v->is_at_name = cp_pg_is_word(token, "RECURSIVE") && v->is_at_name;
}

static void note_first(verb_t *v, const cp_pg_token_t *token)
{
    if (cp_pg_is_word(token, "WITH")) {
        v->is_with = 1;
        v->depth = 0; /* parentheses around the whole do not count */
        v->is_at_name = 1;
        return;
    }
    v->verb = among(token, reading);
    v->verb = v->verb ? v->verb : among(token, writing);
    v->other = *token;
}

/* Until the verb is found. */
static void note(verb_t *v, const cp_pg_token_t *token)
{
    switch (token->kind) {
    case CP_PG_LEFT:
        v->depth++;
        v->is_at_query = v->is_with && v->depth == 1 && v->was_as;
        return;
    case CP_PG_RIGHT:
        v->depth--;
        break;
    case CP_PG_COMMA:
        v->is_at_name = v->is_with && v->depth == 0;
        break;
    case CP_PG_WORD:
        if (!v->is_with) {
            note_first(v, token);
        }
        else if (v->depth == 0) {
            note_behind_with(v, token);
        }
        else {
            note_within(v, token);
        }
        break;
    case CP_PG_QUOTED:
        v->is_at_name = v->is_at_name && v->depth > 0;
        break;
    default:
        break;
    }
    v->is_at_query = 0;
}

static int is_found(const verb_t *v)
{
    return v->verb != NULL || v->other.start != NULL;
}

/* What reads, but has a part that writes, writes. */
static const char *verb_of(const verb_t *v)
{
    const char *const *read = reading;

    while (v->verb && *read && strcmp(*read, v->verb) != 0) {
        read++;
    }
    return v->written && *read ? v->written : v->verb;
}

/* --- the shape --- */

typedef struct scan_t {
    apr_pool_t *pool;
    cp_sql_shape_t *shape;
    verb_t verb;
    int depth;   /* of parentheses */
    int is_over; /* a semicolon was seen */
} scan_t;

static const char *complain(scan_t *scan, const char *problem,
                            const cp_pg_token_t *token)
{
    int is_long = token->size > SHOWN_LENGTH;
    int size = is_long ? SHOWN_LENGTH : (int)token->size;

    return apr_psprintf(scan->pool, "the SQL has %s: %.*s%s", problem, size,
                        token->start, is_long ? "..." : "");
}

static const char *add_parameter(scan_t *scan, const cp_pg_token_t *token)
{
    apr_array_header_t *names = scan->shape->names;
    const char *name = apr_pstrmemdup(scan->pool, token->start + 1,
                                      token->size - 1);

    for (int i = 0; i < names->nelts; i++) {
        if (strcmp(name, APR_ARRAY_IDX(names, i, const char *)) == 0) {
            return NULL;
        }
    }
    if (names->nelts >= CP_PG_PARAMS) {
        return "the SQL has more parameters than the server takes";
    }
    APR_ARRAY_PUSH(names, const char *) = name;
    return NULL;
}

static const char *take(scan_t *scan, const cp_pg_token_t *token)
{
    switch (token->kind) {
    case CP_PG_WORD:
        if (scan->depth == 0 && cp_pg_is_word(token, "RETURNING")) {
            scan->shape->has_returning = 1;
        }
        return NULL;
    case CP_PG_PARAMETER:
        return add_parameter(scan, token);
    case CP_PG_GLUED:
        return complain(scan,
                        "a parameter right behind something else; write a "
                        "space before",
                        token);
    case CP_PG_POSITION:
        return complain(scan, "a parameter that is not a :name", token);
    case CP_PG_LEFT:
        scan->depth++;
        return NULL;
    case CP_PG_RIGHT:
        return scan->depth-- > 0
                   ? NULL
                   : complain(scan, "a ')' without its '('", token);
    case CP_PG_OPEN_QUOTE:
        return complain(scan, "a quote that is not closed", token);
    case CP_PG_OPEN_COMMENT:
        return complain(scan, "a comment that is not closed", token);
    default:
        return NULL;
    }
}

static const char *take_any(scan_t *scan, const cp_pg_token_t *token)
{
    if (token->kind == CP_PG_SEMICOLON) {
        scan->is_over = is_found(&scan->verb);
        return NULL;
    }
    if (scan->is_over) {
        return complain(scan, "more than one statement", token);
    }
    if (!is_found(&scan->verb)) {
        if (!scan->verb.is_with && token->kind != CP_PG_WORD
            && token->kind != CP_PG_LEFT) {
            return complain(scan, "no keyword at its beginning", token);
        }
        note(&scan->verb, token);
    }
    return take(scan, token);
}

/* What a "--" behind the last token, in a line that has no end, takes away. */
static const char *find_comment(const char *end)
{
    const char *found = NULL;

    while (*end) {
        if (strncmp(end, "--", 2) == 0) {
            const char *text = end + 2 + strspn(end + 2, " \t;");

            end += strcspn(end, "\r\n");
            found = *end || !*text ? NULL : text;
        }
        else {
            end++;
        }
    }
    return found;
}

static void name_verb(scan_t *scan)
{
    const verb_t *v = &scan->verb;

    scan->shape->verb = verb_of(v);
    if (v->written && scan->shape->verb == v->written) {
        scan->shape->has_returning = 1;
    }
    if (!v->verb && v->other.start) {
        char *word = apr_pstrmemdup(scan->pool, v->other.start, v->other.size);

        for (char *c = word; *c; c++) {
            *c = (char)apr_toupper(*c);
        }
        scan->shape->verb = word;
    }
}

const char *cp_pg_scan(apr_pool_t *p, const char *sql, cp_sql_shape_t *shape)
{
    scan_t scan = {.pool = p, .shape = shape};
    cp_pg_token_t token = {.sql = sql};
    const char *end = sql;

    memset(shape, 0, sizeof(*shape));
    shape->names = apr_array_make(p, 4, sizeof(const char *));
    for (cp_pg_next(&token); token.kind != CP_PG_END; cp_pg_next(&token)) {
        const char *error = take_any(&scan, &token);

        if (error) {
            return error;
        }
        end = token.start + token.size;
    }
    shape->comment = find_comment(end);
    name_verb(&scan);
    if (!shape->verb) {
        return scan.verb.is_with ? "the SQL has a WITH without its statement"
                                 : "the SQL is empty";
    }
    return scan.depth > 0 ? "the SQL has a '(' without its ')'" : NULL;
}

int cp_pg_writes(const char *sql)
{
    cp_pg_token_t token = {.sql = sql};
    verb_t v = {.verb = NULL};
    const char *verb;

    for (cp_pg_next(&token); token.kind != CP_PG_END && !is_found(&v);
         cp_pg_next(&token)) {
        note(&v, &token);
    }
    verb = verb_of(&v);
    for (const char *const *read = reading; verb && *read; read++) {
        if (strcmp(*read, verb) == 0) {
            return 0;
        }
    }
    return 1;
}

/* --- for the server --- */

static int find(const cp_pg_param_t *params, int count,
                const cp_pg_token_t *token)
{
    for (int i = 0; i < count; i++) {
        if (params[i].size == token->size - 1
            && memcmp(params[i].name, token->start + 1, params[i].size) == 0) {
            return i;
        }
    }
    return count;
}

static void append(cp_buffer_t *out, const char *from, const char *to)
{
    cp_buffer_append(out, from, (apr_size_t)(to - from));
}

int cp_pg_rewrite(const char *sql, cp_buffer_t *out, cp_pg_param_t **pparams)
{
    cp_pg_token_t token = {.sql = sql};
    cp_pg_param_t *params = calloc(CP_PG_PARAMS, sizeof(*params));
    const char *copied = sql;
    int count = 0, is_over = 0;

    for (cp_pg_next(&token); params && token.kind != CP_PG_END;
         cp_pg_next(&token)) {
        char number[16];
        int place;

        if (token.kind == CP_PG_SEMICOLON) {
            append(out, copied, token.start);
            copied = token.start + 1;
            is_over = 1;
            continue;
        }
        place = token.kind == CP_PG_PARAMETER ? find(params, count, &token)
                                              : -1;
        if (is_over || token.kind >= CP_PG_OPEN_QUOTE
            || token.kind == CP_PG_GLUED || token.kind == CP_PG_POSITION
            || place >= CP_PG_PARAMS) {
            free(params);
            return -1;
        }
        if (place < 0) {
            continue;
        }
        if (place == count) {
            params[count++] = (cp_pg_param_t){token.start + 1, token.size - 1};
        }
        append(out, copied, token.start);
        cp_buffer_append(
            out, number,
            (apr_size_t)snprintf(number, sizeof(number), "$%d", place + 1));
        copied = token.start + token.size;
    }
    if (!params) {
        return -1;
    }
    append(out, copied, token.start);
    cp_buffer_append(out, "", 1);
    if (out->has_failed) {
        free(params);
        return -1;
    }
    *pparams = realloc(params, ((size_t)count + 1) * sizeof(*params));
    return *pparams ? count : -1;
}
