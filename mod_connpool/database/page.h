/* SPDX-License-Identifier: Apache-2.0
 * Pages of a sorted query: SQL around the SQL that an administrator wrote,
 * which goes on behind the row where the page before has ended. */
#ifndef CP_PAGE_H
#define CP_PAGE_H

#include <apr_pools.h>

#define CP_PAGE_COLUMNS_MAX 4

/** Columns of the answer by which it is sorted, most significant first;
 * together they are different in each row. */
typedef struct cp_page_sort_t {
    struct {
        const char *name;
        int is_descending;
    } columns[CP_PAGE_COLUMNS_MAX];
    int count;
} cp_page_sort_t;

/** Parameters of a page: CP_PAGE_PARAM "1", "2", ... are the values that the
 * row before it has in the columns (none of those that are NULL there),
 * CP_PAGE_LIMIT is how many rows it has. */
#define CP_PAGE_PARAM "connpool_"
#define CP_PAGE_LIMIT CP_PAGE_PARAM "limit"

/** The table that the SQL is in a page. */
#define CP_PAGE_TABLE "connpool_page"

/** What differs among databases. */
typedef struct cp_page_dialect_t {
    char quote;          /**< around names; doubled within */
    int nulls_are_small; /**< they sort before all values, else behind */
} cp_page_dialect_t;

/** The first page of it. */
const char *cp_page_first(apr_pool_t *p, const char *sql,
                          const cp_page_sort_t *sort,
                          const cp_page_dialect_t *dialect);

/** The page behind a row.
 * @param nulls bits: columns that are NULL in that row; the lowest is the first
 */
const char *cp_page_next(apr_pool_t *p, const char *sql,
                         const cp_page_sort_t *sort, unsigned nulls,
                         const cp_page_dialect_t *dialect);

#endif
