/* SPDX-License-Identifier: Apache-2.0
 * What comes behind a row is cut into parts, each of which an index on the
 * columns can seek: rows that are equal in all columns but the last and behind
 * it in that one, those that are equal in all but the last two, and so on.
 * NULLs are parts of their own, for no comparison finds them. */
#include "database/page.h"

#include <string.h>

#include <apr_strings.h>

typedef struct page_t {
    apr_pool_t *p;
    const char *sql;
    const cp_page_sort_t *sort;
    const cp_page_dialect_t *dialect;
    const char *parts; /* so far; NULL: none */
    int count;         /* of them */
} page_t;

/* Without the semicolon that may end it. */
static const char *trimmed(apr_pool_t *p, const char *sql)
{
    apr_size_t n = strlen(sql);

    while (n > 0 && strchr("; \t\r\n", sql[n - 1])) {
        n--;
    }
    return apr_pstrmemdup(p, sql, n);
}

static const char *quoted(const page_t *page, int column)
{
    const char *name = page->sort->columns[column].name;
    char *text = apr_palloc(page->p, 2 * strlen(name) + 3);
    char *out = text;

    *out++ = page->dialect->quote;
    for (; *name; name++) {
        *out++ = *name;
        if (*name == page->dialect->quote) {
            *out++ = *name;
        }
    }
    *out++ = page->dialect->quote;
    *out = '\0';
    return text;
}

/* Of the column, not of what the SQL names like it. */
static const char *column(const page_t *page, int i)
{
    return apr_pstrcat(page->p, CP_PAGE_TABLE ".", quoted(page, i), NULL);
}

/* " ORDER BY a, b DESC", from a column on. */
static const char *order(const page_t *page, int from, int is_qualified)
{
    const char *text = " ORDER BY ";

    for (int i = from; i < page->sort->count; i++) {
        text = apr_pstrcat(page->p, text, i > from ? ", " : "",
                           is_qualified ? column(page, i) : quoted(page, i),
                           page->sort->columns[i].is_descending ? " DESC" : "",
                           NULL);
    }
    return text;
}

static const char *wrap(const page_t *page, const char *where, int from)
{
    return apr_pstrcat(page->p, "SELECT * FROM (\n", page->sql,
                       "\n) AS " CP_PAGE_TABLE, where, order(page, from, 1),
                       " LIMIT :" CP_PAGE_LIMIT, NULL);
}

static void add_part(page_t *page, const char *equal, const char *behind,
                     int from)
{
    const char *where = apr_pstrcat(page->p, " WHERE ", equal,
                                    column(page, from), behind, NULL);

    page->parts = apr_pstrcat(page->p, page->parts ? page->parts : "",
                              page->parts ? " UNION ALL " : "",
                              "SELECT * FROM (", wrap(page, where, from),
                              ") AS ", apr_psprintf(page->p, "part%d", from),
                              NULL);
    page->count++;
}

static const char *comparison(const page_t *page, int i, const char *how)
{
    return apr_psprintf(page->p, " %s :" CP_PAGE_PARAM "%d", how, i + 1);
}

/* Rows that are behind the cursor's in this column first. */
static void add_behind(page_t *page, const char *equal, int i, int is_null)
{
    int is_descending = page->sort->columns[i].is_descending;
    int nulls_come_first = page->dialect->nulls_are_small != is_descending;

    if (!is_null) {
        add_part(page, equal, comparison(page, i, is_descending ? "<" : ">"),
                 i);
    }
    else if (nulls_come_first) {
        add_part(page, equal, " IS NOT NULL", i);
    }
    if (!is_null && !nulls_come_first) {
        add_part(page, equal, " IS NULL", i);
    }
}

static page_t begin(apr_pool_t *p, const char *sql, const cp_page_sort_t *sort,
                    const cp_page_dialect_t *dialect)
{
    return (page_t){p, trimmed(p, sql), sort, dialect, NULL, 0};
}

const char *cp_page_first(apr_pool_t *p, const char *sql,
                          const cp_page_sort_t *sort,
                          const cp_page_dialect_t *dialect)
{
    page_t page = begin(p, sql, sort, dialect);

    return wrap(&page, "", 0);
}

const char *cp_page_next(apr_pool_t *p, const char *sql,
                         const cp_page_sort_t *sort, unsigned nulls,
                         const cp_page_dialect_t *dialect)
{
    page_t page = begin(p, sql, sort, dialect);
    const char *equal[CP_PAGE_COLUMNS_MAX + 1] = {""};

    for (int i = 0; i < sort->count; i++) {
        equal[i + 1] = apr_pstrcat(
            p, equal[i], column(&page, i),
            nulls & (1U << i) ? " IS NULL" : comparison(&page, i, "="), " AND ",
            NULL);
    }
    for (int i = sort->count - 1; i >= 0; i--) {
        add_behind(&page, equal[i], i, (nulls & (1U << i)) != 0);
    }
    if (page.count == 0) {
        return wrap(&page, " WHERE 1 = 0", 0);
    }
    return apr_pstrcat(p, page.parts, order(&page, 0, 0),
                       " LIMIT :" CP_PAGE_LIMIT, NULL);
}
