/* SPDX-License-Identifier: Apache-2.0
 * What can be told of SQL text without its server, and what the server gets
 * instead of :names. */
#ifndef CP_PG_SQL_H
#define CP_PG_SQL_H

#include "base/bytes/buffer.h"
#include "database/shape.h"

#include <apr_pools.h>

/** Scan one statement (a trailing semicolon is allowed). WITH is resolved to
 * what follows; where that reads but an expression of it writes, to the verb
 * of that expression.
 * @return NULL, or a sentence */
const char *cp_pg_scan(apr_pool_t *p, const char *sql, cp_sql_shape_t *shape);

/** Does it use something whose value changes without the data? Sees names that
 * stand in the text.
 * @return 1, and in *word the name of it */
int cp_pg_is_volatile(const char *sql, const char **word);

/** Does the text write, as far as it tells? */
int cp_pg_writes(const char *sql);

/** A distinct :name, which points into the SQL. */
typedef struct cp_pg_param_t {
    const char *name;
    apr_size_t size;
} cp_pg_param_t;

/** How many the server takes. */
#define CP_PG_PARAMS 1000

/** Write the text with $1, $2, ... for :names into out, terminated, without a
 * semicolon at its end. *pparams is malloc'd, its places are the numbers.
 * @return how many, or -1: not one statement, or no memory */
int cp_pg_rewrite(const char *sql, cp_buffer_t *out, cp_pg_param_t **pparams);

#endif
