/* SPDX-License-Identifier: Apache-2.0 */
#include "database/sqlite/text/scan.h"

#include "database/shape.h"
#include "database/sqlite/text/token.h"

#include <string.h>

#include <apr_cstr.h>
#include <apr_lib.h>
#include <apr_strings.h>

enum {
    SHOWN_LENGTH = 40
}; /* of the SQL in a sentence */

static int is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* A byte of a name. SQLite takes any byte beyond ASCII for a letter. */
static int is_name(char c)
{
    return (unsigned char)c >= 0x80 || apr_isalnum(c) || c == '_' || c == '$';
}

/*** Tokens ***/

/* Past spaces, byte order marks and comments; stops in front of a comment that
 * is not closed. */
static const char *skip_blanks(const char *c)
{
    for (;;) {
        if (is_space(*c)) {
            c++;
        }
        else if (!strncmp(c, "\xef\xbb\xbf", 3)) {
            c += 3;
        }
        else if (!strncmp(c, "--", 2)) {
            c += strcspn(c, "\n");
        }
        else if (!strncmp(c, "/*", 2) && strstr(c + 2, "*/")) {
            c = strstr(c + 2, "*/") + 2;
        }
        else {
            return c;
        }
    }
}

/* Behind the closing quote at or after c; NULL if there is none. Twice the
 * quote means itself; brackets know no such thing. */
static const char *skip_quoted(const char *c, char quote)
{
    while ((c = strchr(c, quote)) != NULL) {
        if (quote == ']' || c[1] != quote) {
            return c + 1;
        }
        c += 2;
    }
    return NULL;
}

/* Behind a parameter. SQLite knows Tcl's variables in all forms, so that
 * :a::b and :a(b) are single names. */
static const char *skip_parameter(const char *c)
{
    const char *start = c++;
    for (;;) {
        if (is_name(*c)) {
            c++;
        }
        else if (c[0] == ':' && c[1] == ':') {
            c += 2;
        }
        else {
            break;
        }
    }
    if (*c == '(' && c > start + 1 && *start != '?') {
        while (*c && !is_space(*c) && *c != ')') {
            c++;
        }
        c += *c == ')';
    }
    return c;
}

static token_t quoted_token(const char *start)
{
    token_t token = {KIND_QUOTED, start, 0};
    const char *end = skip_quoted(start + 1, *start == '[' ? ']' : *start);
    if (!end) {
        token.kind = KIND_OPEN_QUOTE;
        end = start + strlen(start);
    }
    token.size = (apr_size_t)(end - start);
    return token;
}

static kind_t kind_of(const char *c)
{
    switch (*c) {
    case '\0':
        return KIND_END;
    case '\'':
    case '"':
    case '`':
    case '[':
        return KIND_QUOTED;
    case '?':
    case ':':
    case '@':
    case '$':
    case '#':
        return KIND_PARAMETER;
    case '(':
        return KIND_OPEN;
    case ')':
        return KIND_CLOSE;
    case ';':
        return KIND_SEMICOLON;
    case '/':
        return c[1] == '*' ? KIND_OPEN_COMMENT : KIND_OTHER;
    default:
        return is_name(*c) ? KIND_WORD : KIND_OTHER;
    }
}

static token_t next_token(const char *c)
{
    c = skip_blanks(c);
    token_t token = {kind_of(c), c, *c ? 1 : 0};
    if (token.kind == KIND_QUOTED) {
        return quoted_token(c);
    }
    if (token.kind == KIND_PARAMETER) {
        token.size = (apr_size_t)(skip_parameter(c) - c);
    }
    if (token.kind == KIND_WORD) {
        while (is_name(c[token.size])) {
            token.size++;
        }
    }
    return token;
}

static int is_word(const token_t *token, const char *word)
{
    return token->kind == KIND_WORD && token->size == strlen(word)
           && !apr_cstr_casecmpn(token->start, word, token->size);
}

/*** The shape ***/

typedef struct scan_t {
    apr_pool_t *pool;
    cp_sql_shape_t *shape;
    int depth;        /* of parentheses */
    int is_over;      /* a semicolon was seen */
    int seeks_verb;   /* behind WITH */
    kind_t last_kind; /* of the token before */
} scan_t;

static const char *complain(scan_t *scan, const char *problem,
                            const token_t *token)
{
    int is_long = token->size > SHOWN_LENGTH;
    int size = is_long ? SHOWN_LENGTH : (int)token->size;
    return apr_psprintf(scan->pool, "the SQL has %s: %.*s%s", problem, size,
                        token->start, is_long ? "..." : "");
}

static const char *add_parameter(scan_t *scan, const token_t *token)
{
    apr_array_header_t *names = scan->shape->names;
    int is_plain = token->start[0] == ':' && token->size > 1;
    for (apr_size_t i = 1; i < token->size; i++) {
        is_plain = is_plain && is_name(token->start[i]);
    }
    if (!is_plain) {
        return complain(scan, "a parameter that is not a :name", token);
    }
    const char *name = apr_pstrmemdup(scan->pool, token->start + 1,
                                      token->size - 1);
    for (int i = 0; i < names->nelts; i++) {
        if (!strcmp(name, APR_ARRAY_IDX(names, i, const char *))) {
            return NULL;
        }
    }
    APR_ARRAY_PUSH(names, const char *) = name;
    return NULL;
}

static const char *upper_case(apr_pool_t *p, const token_t *token)
{
    char *word = apr_pstrmemdup(p, token->start, token->size);
    for (char *c = word; *c; c++) {
        *c = (char)apr_toupper(*c);
    }
    return word;
}

/* "replace" may also be the name of a table expression; as the verb it stands
 * behind the parenthesis that closes the last of them. */
static int is_verb_behind_with(const scan_t *scan, const token_t *token)
{
    static const char *const verbs[] = {"SELECT", "INSERT",  "UPDATE",
                                        "DELETE", "REPLACE", "VALUES"};
    if (scan->depth > 0 || scan->last_kind != KIND_CLOSE) {
        return 0;
    }
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (is_word(token, verbs[i])) {
            return 1;
        }
    }
    return 0;
}

static void note_word(scan_t *scan, const token_t *token)
{
    cp_sql_shape_t *shape = scan->shape;
    if (!shape->verb
        || (scan->seeks_verb && is_verb_behind_with(scan, token))) {
        scan->seeks_verb = !shape->verb && is_word(token, "WITH");
        shape->verb = upper_case(scan->pool, token);
    }
    else if (scan->depth == 0 && is_word(token, "RETURNING")) {
        shape->has_returning = 1;
    }
}

/* What a "--" between c and the end of the SQL takes away: up to the end of its
 * line, and where there is none, all that follows. */
static const char *find_comment(const char *c)
{
    while (*c) {
        if (strncmp(c, "--", 2) == 0) {
            const char *end = strchr(c, '\n');

            if (!end) {
                c += 2;
                while (is_space(*c) || *c == ';') {
                    c++;
                }
                return *c ? c : NULL;
            }
            c = end;
        }
        else if (strncmp(c, "/*", 2) == 0 && strstr(c + 2, "*/")) {
            c = strstr(c + 2, "*/") + 1;
        }
        c++;
    }
    return NULL;
}

static const char *take(scan_t *scan, const token_t *token)
{
    if (token->kind == KIND_OPEN_COMMENT) {
        return complain(scan, "a comment that is not closed", token);
    }
    if (token->kind == KIND_SEMICOLON) {
        scan->is_over = scan->shape->verb != NULL;
        return NULL;
    }
    if (scan->is_over) {
        return complain(scan, "more than one statement", token);
    }
    if (!scan->shape->verb && token->kind != KIND_WORD) {
        return complain(scan, "no keyword at its beginning", token);
    }
    switch (token->kind) {
    case KIND_WORD:
        note_word(scan, token);
        return NULL;
    case KIND_PARAMETER:
        return add_parameter(scan, token);
    case KIND_OPEN:
        scan->depth++;
        return NULL;
    case KIND_CLOSE:
        return scan->depth-- > 0
                   ? NULL
                   : complain(scan, "a ')' without its '('", token);
    case KIND_OPEN_QUOTE:
        return complain(scan, "a quote that is not closed", token);
    default:
        return NULL;
    }
}

const char *cp_sql_scan(apr_pool_t *p, const char *sql, cp_sql_shape_t *shape)
{
    scan_t scan = {.pool = p, .shape = shape};
    memset(shape, 0, sizeof(*shape));
    shape->names = apr_array_make(p, 4, sizeof(const char *));

    const char *end = sql; /* of the last token */
    token_t token = next_token(sql);
    while (token.kind != KIND_END) {
        const char *error = take(&scan, &token);
        if (error) {
            return error;
        }
        scan.last_kind = token.kind;
        end = token.start + token.size;
        token = next_token(end);
    }
    shape->comment = find_comment(end);
    if (!shape->verb) {
        return "the SQL is empty";
    }
    if (scan.depth > 0) {
        return "the SQL has a '(' without its ')'";
    }
    return NULL;
}

/*** What changes without the data ***/

static token_t token_behind(const token_t *token)
{
    return next_token(token->start + token->size);
}

/* A name as SQLite reads it, in any of its quotes; 'text' is none. */
static int is_called(const token_t *token, const char *name)
{
    token_t inner = *token;

    if (token->kind == KIND_QUOTED && *token->start != '\'') {
        inner.kind = KIND_WORD;
        inner.start++;
        inner.size -= 2;
    }
    return is_word(&inner, name);
}

static const char *match(const token_t *token, const char *const *names)
{
    for (; *names; names++) {
        if (is_called(token, *names)) {
            return *names;
        }
    }
    return NULL;
}

/* What SQLite would compare with 'now': text, and also "now" where no column
 * has that name. */
static int is_now(const token_t *token)
{
    return token->kind == KIND_QUOTED && token->size == 5
           && (*token->start == '\'' || *token->start == '"')
           && !apr_cstr_casecmpn(token->start + 1, "now", 3);
}

/* Behind the parenthesis that opens a call: how many arguments, up to two. */
static int count_arguments(token_t token)
{
    int depth = 0, commas = 0;

    if (token.kind == KIND_CLOSE) {
        return 0;
    }
    while (token.kind != KIND_END && (depth > 0 || token.kind != KIND_CLOSE)) {
        depth += (token.kind == KIND_OPEN) - (token.kind == KIND_CLOSE);
        if (depth == 0 && token.size == 1 && *token.start == ',') {
            commas++;
        }
        token = token_behind(&token);
    }
    return commas + 1;
}

/* Does a call of this name take its value from somewhere else? */
static const char *volatile_call(const token_t *name, token_t arguments)
{
    static const char *const always[] = {
        "random",        "randomblob",        "changes",
        "total_changes", "last_insert_rowid", NULL};
    static const char *const without_time[] = {
        "date", "time", "datetime", "julianday", "unixepoch", NULL};
    static const char *const without_second[] = {"strftime", NULL};
    const char *found = match(name, always);

    if (!found && arguments.kind == KIND_CLOSE) {
        found = match(name, without_time);
    }
    if (!found && count_arguments(arguments) < 2) {
        found = match(name, without_second);
    }
    return found;
}

static const char *volatile_at(const token_t *token)
{
    static const char *const words[] = {"current_date", "current_time",
                                        "current_timestamp", NULL};
    token_t next;

    if (is_now(token)) {
        return "'now'";
    }
    if (token->kind != KIND_WORD && token->kind != KIND_QUOTED) {
        return NULL;
    }
    next = token_behind(token);
    if (next.kind == KIND_OPEN) {
        return volatile_call(token, token_behind(&next));
    }
    return token->kind == KIND_WORD ? match(token, words) : NULL;
}

int cp_sql_is_volatile(const char *sql, const char **word)
{
    const char *found = NULL;
    token_t token = next_token(sql);

    while (!found && token.kind != KIND_END
           && token.kind != KIND_OPEN_COMMENT) {
        found = volatile_at(&token);
        token = token_behind(&token);
    }
    if (word) {
        *word = found;
    }
    return found != NULL;
}

/*** For those who look closer ***/

token_t cp_sql_next_token(const char *c)
{
    return next_token(c);
}

token_t cp_sql_token_behind(const token_t *token)
{
    return token_behind(token);
}

int cp_sql_is_word(const token_t *token, const char *word)
{
    return is_word(token, word);
}

int cp_sql_is_among(const token_t *token, const char *const *words)
{
    return token->kind == KIND_WORD && match(token, words);
}
