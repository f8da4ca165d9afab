/* SPDX-License-Identifier: Apache-2.0
 * SQL that SQLite itself cannot read, found without the database. */
#ifndef CP_CHECK_H
#define CP_CHECK_H

#include <apr_pools.h>

/** Would this one statement fail with any database? Read by SQLite, in memory,
 * with tables and columns made up where it asks for them: syntax and functions
 * are checked, names of tables and columns are not. Opens no file.
 * @param has_others functions of other modules may come with the connections
 * @return NULL, or a sentence; NULL, too, where nothing can be told */
const char *cp_sqlite_check_sql(apr_pool_t *p, const char *sql, int has_others);

#endif
