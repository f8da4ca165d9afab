/* SPDX-License-Identifier: Apache-2.0 */
#include "database/pgsql/text/token.h"

#include <string.h>

#include <apr_cstr.h>
#include <apr_lib.h>

static int is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int begins_name(char c)
{
    return (unsigned char)c >= 0x80 || apr_isalpha(c) || c == '_';
}

static int is_name(char c)
{
    return begins_name(c) || apr_isdigit(c) || c == '$';
}

/* Behind the comment at c, in which others may lie; NULL: it is not closed. */
static const char *skip_comment(const char *c)
{
    int depth = 0;

    do {
        if (c[0] == '/' && c[1] == '*') {
            depth++;
            c += 2;
        }
        else if (c[0] == '*' && c[1] == '/') {
            depth--;
            c += 2;
        }
        else if (!*c++) {
            return NULL;
        }
    } while (depth > 0);
    return c;
}

/* Past spaces and comments; stops in front of a comment that is not closed. */
static const char *skip_blanks(const char *c)
{
    for (;;) {
        if (is_space(*c)) {
            c++;
        }
        else if (strncmp(c, "--", 2) == 0) {
            c += strcspn(c, "\r\n");
        }
        else if (strncmp(c, "/*", 2) == 0) {
            const char *end = skip_comment(c);

            if (!end) {
                return c;
            }
            c = end;
        }
        else {
            return c;
        }
    }
}

/* Behind the quote that closes; NULL: none does. Twice the quote is itself. */
static const char *skip_quoted(const char *c, char quote, int has_escapes)
{
    for (; *c; c++) {
        if (has_escapes && *c == '\\' && c[1]) {
            c++;
        }
        else if (*c == quote) {
            if (c[1] != quote) {
                return c + 1;
            }
            c++;
        }
    }
    return NULL;
}

/* A string goes on behind a line's end: 'a'<newline>'b', with the rules of its
 * beginning. */
static const char *skip_string(const char *c, int has_escapes)
{
    const char *end = skip_quoted(c, '\'', has_escapes);

    while (end) {
        const char *next = end + strspn(end, " \t\v\f");

        if (*next != '\n' && *next != '\r') {
            return end;
        }
        while (is_space(*next)) {
            next++;
        }
        if (*next != '\'') {
            return end;
        }
        end = skip_quoted(next + 1, '\'', has_escapes);
    }
    return NULL;
}

/* Of $$ or $tag$, the size; 0: it is none. */
static apr_size_t dollar_tag(const char *c)
{
    apr_size_t size = 1;

    if (begins_name(c[1])) {
        while (begins_name(c[size]) || apr_isdigit(c[size])) {
            size++;
        }
    }
    return c[size] == '$' ? size + 1 : 0;
}

static const char *skip_dollars(const char *c, apr_size_t tag)
{
    for (const char *at = c + tag; (at = strchr(at, '$')) != NULL; at++) {
        if (strncmp(at, c, tag) == 0) {
            return at + tag;
        }
    }
    return NULL;
}

static void take(cp_pg_token_t *token, cp_pg_kind_t kind, const char *end)
{
    token->kind = kind;
    token->size = (apr_size_t)(end - token->start);
}

static void take_quoted(cp_pg_token_t *token, cp_pg_kind_t kind,
                        const char *end)
{
    if (end) {
        take(token, kind, end);
    }
    else {
        take(token, CP_PG_OPEN_QUOTE, token->start + strlen(token->start));
    }
}

static void take_word(cp_pg_token_t *token)
{
    const char *c = token->start;

    if ((*c == 'e' || *c == 'E') && c[1] == '\'') {
        take_quoted(token, CP_PG_TEXT, skip_string(c + 2, 1));
        return;
    }
    while (is_name(*c)) {
        c++;
    }
    take(token, CP_PG_WORD, c);
}

static void take_number(cp_pg_token_t *token)
{
    const char *c = token->start;

    while (apr_isalnum(*c) || *c == '_' || (*c == '.' && apr_isdigit(c[1]))
           || ((*c == '+' || *c == '-') && (c[-1] == 'e' || c[-1] == 'E')
               && apr_isdigit(c[1]))) {
        c++;
    }
    take(token, CP_PG_NUMBER, c);
}

static void take_dollar(cp_pg_token_t *token)
{
    const char *c = token->start;
    apr_size_t tag = dollar_tag(c);

    if (tag) {
        take_quoted(token, CP_PG_TEXT, skip_dollars(c, tag));
        return;
    }
    c++;
    while (apr_isdigit(*c)) {
        c++;
    }
    take(token, c > token->start + 1 ? CP_PG_POSITION : CP_PG_OTHER, c);
}

/* Something stands right in front, so that the colon would divide. */
static int is_glued(const cp_pg_token_t *token)
{
    char before = token->start > token->sql ? token->start[-1] : ' ';

    return is_name(before) || strchr(")]\"'", before) != NULL;
}

/* :: is a cast, := an assignment of arguments; right behind something, a slice:
 * v[lo:hi]. */
static void take_colon(cp_pg_token_t *token)
{
    const char *c = token->start + 1;

    if (*c == ':' || *c == '=') {
        take(token, CP_PG_OTHER, c + 1);
        return;
    }
    if (!begins_name(*c) || (is_glued(token) && token->brackets > 0)) {
        take(token, CP_PG_OTHER, c);
        return;
    }
    while (is_name(*c)) {
        c++;
    }
    take(token, is_glued(token) ? CP_PG_GLUED : CP_PG_PARAMETER, c);
}

static void take_sign(cp_pg_token_t *token)
{
    static const struct {
        char c;
        cp_pg_kind_t kind;
    } signs[] = {{'(', CP_PG_LEFT},
                 {')', CP_PG_RIGHT},
                 {',', CP_PG_COMMA},
                 {';', CP_PG_SEMICOLON}};
    cp_pg_kind_t kind = CP_PG_OTHER;

    for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
        if (*token->start == signs[i].c) {
            kind = signs[i].kind;
        }
    }
    take(token, kind, token->start + 1);
}

void cp_pg_next(cp_pg_token_t *token)
{
    const char *c = token->start ? token->start + token->size : token->sql;

    if (token->kind == CP_PG_OTHER && token->start) {
        token->brackets += *token->start == '[';
        token->brackets -= *token->start == ']' && token->brackets > 0;
    }
    if (c == token->sql && strncmp(c, "\xef\xbb\xbf", 3) == 0) {
        c += 3;
    }
    token->start = c = skip_blanks(c);
    if (!*c) {
        take(token, CP_PG_END, c);
    }
    else if (strncmp(c, "/*", 2) == 0) {
        take(token, CP_PG_OPEN_COMMENT, c + strlen(c));
    }
    else if (*c == '\'') {
        take_quoted(token, CP_PG_TEXT, skip_string(c + 1, 0));
    }
    else if (*c == '"') {
        take_quoted(token, CP_PG_QUOTED, skip_quoted(c + 1, '"', 0));
    }
    else if (*c == '$') {
        take_dollar(token);
    }
    else if (*c == ':') {
        take_colon(token);
    }
    else if (begins_name(*c)) {
        take_word(token);
    }
    else if (apr_isdigit(*c)) {
        take_number(token);
    }
    else {
        take_sign(token);
    }
}

int cp_pg_is_word(const cp_pg_token_t *token, const char *word)
{
    return token->kind == CP_PG_WORD && token->size == strlen(word)
           && apr_cstr_casecmpn(token->start, word, token->size) == 0;
}
