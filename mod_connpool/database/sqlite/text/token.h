/* SPDX-License-Identifier: Apache-2.0
 * Tokens of SQL text, as scan.c reads them. */
#ifndef CP_SQL_TOKEN_H
#define CP_SQL_TOKEN_H

#include <apr.h>

typedef enum kind_t {
    KIND_END,
    KIND_WORD,      /* keyword, identifier or number */
    KIND_QUOTED,    /* 'text', "name", [name], `name` */
    KIND_PARAMETER, /* whatever SQLite takes for one */
    KIND_OPEN,
    KIND_CLOSE,
    KIND_SEMICOLON,
    KIND_OTHER,
    KIND_OPEN_QUOTE,   /* not closed before the end */
    KIND_OPEN_COMMENT, /* likewise */
} kind_t;

typedef struct token_t {
    kind_t kind;
    const char *start;
    apr_size_t size;
} token_t;

/* The first token at or after c. */
token_t cp_sql_next_token(const char *c);

/* The one behind a token. */
token_t cp_sql_token_behind(const token_t *token);

/* An unquoted word, in any case. */
int cp_sql_is_word(const token_t *token, const char *word);
int cp_sql_is_among(const token_t *token, const char *const *words);

#endif
