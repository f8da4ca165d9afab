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

#endif
