/* SPDX-License-Identifier: Apache-2.0
 * What can be told of SQL text without a database: its statements, its verb,
 * its parameters. Agrees with SQLite's tokenizer on strings ('' and doubled
 * quotes), "identifiers", [identifiers], `identifiers`, -- and block comments,
 * blob literals, :names, @names, $names and ?NNN. */
#ifndef CP_SQL_H
#define CP_SQL_H

#include "database/shape.h"

#include <apr_pools.h>

/** Scan one statement (a trailing semicolon is allowed).
 * @return NULL, or a sentence: empty, several statements, unterminated string,
 * quoted identifier or comment, a parameter that is not a :name, unbalanced
 * parentheses */
const char *cp_sql_scan(apr_pool_t *p, const char *sql, cp_sql_shape_t *shape);

/** Does it use something whose value changes without the data: the time, random
 * numbers, what the connection did before? Sees names and literals only: not
 * into views, and not what a parameter or a column holds.
 * @return 1, and in *word (may be NULL) the name of it, lower case, static */
int cp_sql_is_volatile(const char *sql, const char **word);

/** What a parameter is there for. */
typedef enum cp_sql_role_t {
    CP_SQL_PLAIN,
    CP_SQL_STORED,   /**< in VALUES or SET */
    CP_SQL_LIMIT,    /**< of LIMIT, OFFSET */
    CP_SQL_MATCHED,  /**< right of MATCH */
    CP_SQL_PATTERN,  /**< right of LIKE, GLOB */
    CP_SQL_DOCUMENT, /**< left of ->, ->> */
    CP_SQL_PATH,     /**< right of them */
} cp_sql_role_t;

/** One appearance of a parameter. The texts are not terminated. */
typedef struct cp_sql_place_t {
    const char *name; /**< without the colon */
    apr_size_t size;
    const char *call;     /**< the innermost function around it */
    apr_size_t call_size; /**< 0: there is none */
    int argument;         /**< which, from 0 */
    int is_alone;         /**< it is all of the argument */
    cp_sql_role_t role;
} cp_sql_place_t;

typedef void (*cp_sql_place_fn)(const cp_sql_place_t *place, void *baton);

/** The first expression in the list of a SELECT, or behind RETURNING, that has
 * no name, and its size; NULL: all have one, as far as the text tells. */
const char *cp_sql_nameless(const char *sql, const cp_sql_shape_t *shape,
                            apr_size_t *psize);

/** Call fn for each appearance of a parameter in SQL that cp_sql_scan takes. */
void cp_sql_places(const char *sql, cp_sql_place_fn fn, void *baton);

/** Is it within the arguments of this function? */
int cp_sql_place_is_in(const cp_sql_place_t *place, const char *call);

#endif
