/* SPDX-License-Identifier: Apache-2.0
 * Tokens of SQL text as PostgreSQL's lexer cuts them, with
 * standard_conforming_strings on, and :names in the place of parameters. */
#ifndef CP_PG_TOKEN_H
#define CP_PG_TOKEN_H

#include <apr.h>

typedef enum cp_pg_kind_t {
    CP_PG_END,
    CP_PG_WORD, /**< keyword or identifier */
    CP_PG_NUMBER,
    CP_PG_TEXT,      /**< '..', E'..', $tag$..$tag$ */
    CP_PG_QUOTED,    /**< "name" */
    CP_PG_PARAMETER, /**< :name */
    CP_PG_GLUED,     /**< :name right behind something: no parameter */
    CP_PG_POSITION,  /**< $1 */
    CP_PG_LEFT,
    CP_PG_RIGHT,
    CP_PG_COMMA,
    CP_PG_SEMICOLON,
    CP_PG_OTHER,
    CP_PG_OPEN_QUOTE,   /**< not closed before the end */
    CP_PG_OPEN_COMMENT, /**< likewise */
} cp_pg_kind_t;

/** Begins as {.sql = text}: the first call of cp_pg_next fills the rest. */
typedef struct cp_pg_token_t {
    const char *sql; /**< the whole text */
    cp_pg_kind_t kind;
    const char *start;
    apr_size_t size;
    int brackets; /**< how many [ are open in front of it */
} cp_pg_token_t;

/** The token behind this one. */
void cp_pg_next(cp_pg_token_t *token);

/** Is it this keyword, in any case? */
int cp_pg_is_word(const cp_pg_token_t *token, const char *word);

#endif
