/* SPDX-License-Identifier: Apache-2.0
 * What can be told of SQL text without a database. */
#ifndef CP_SHAPE_H
#define CP_SHAPE_H

#include <apr_tables.h>

typedef struct cp_sql_shape_t {
    const char *verb;          /**< first keyword, upper case; WITH is resolved
                                    to SELECT, INSERT, ... behind its CTEs */
    apr_array_header_t *names; /**< const char *: distinct :names, no colon, in
                                    order of appearance */
    const char *comment;       /**< text that a "--" takes away up to the end of
                                    the SQL, for want of a line's end; NULL */
    int has_returning;         /**< a RETURNING keyword outside parentheses */
} cp_sql_shape_t;

#endif
