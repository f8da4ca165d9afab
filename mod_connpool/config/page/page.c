/* SPDX-License-Identifier: Apache-2.0
 * A query with page= is read page by page. Each page is a query of its own,
 * with SQL around the administrator's: the first one, and one for each set of
 * columns that can be NULL where the page before has ended, so that all are
 * prepared once like any other. */
#include "config/page/page.h"

#include "glue.h"
#include "answers/encode.h"
#include "config/database.h"
#include "config/line/option.h"
#include "config/query.h"
#include "config/setting.h"
#include "database/database.h"
#include "database/page.h"

#include <apr_strings.h>

/* A cursor holds the values of the columns, a request line 8190 bytes. */
#define CURSOR_BYTES 6000

static const char *add_column(apr_pool_t *p, cp_page_sort_t *sort, char *word)
{
    char *direction = strrchr(word, ':');
    int is_descending = direction && strcasecmp(direction, ":desc") == 0;

    if (direction && (is_descending || strcasecmp(direction, ":asc") == 0)) {
        *direction = '\0';
    }
    if (!*word) {
        return "a column has no name";
    }
    for (int i = 0; i < sort->count; i++) {
        if (strcasecmp(sort->columns[i].name, word) == 0) {
            return apr_psprintf(p, "column '%s' is named twice", word);
        }
    }
    if (sort->count == CP_PAGE_COLUMNS_MAX) {
        return apr_psprintf(p, "more than %d columns", CP_PAGE_COLUMNS_MAX);
    }
    sort->columns[sort->count].name = word;
    sort->columns[sort->count++].is_descending = is_descending;
    return NULL;
}

/* "day:desc,id" */
static const char *read_columns(apr_pool_t *p, const char *text,
                                cp_page_sort_t *sort)
{
    char *word = apr_pstrdup(p, text);
    const char *error = NULL;

    while (word && !error) {
        char *end = strchr(word, ',');

        if (end) {
            *end++ = '\0';
        }
        error = add_column(p, sort, word);
        word = end;
    }
    return error;
}

static const char *check_query(apr_pool_t *p, const connpool_query_t *query)
{
    const cp_database_driver_t *driver = query->database->driver;

    if (query->is_write) {
        return "is for reads, not with write=on";
    }
    if (!driver->pages) {
        return apr_psprintf(p, "cannot be used with %s", driver->scheme);
    }
    if (query->format != CP_FORMAT_OBJECTS && query->format != CP_FORMAT_ARRAYS
        && query->format != CP_FORMAT_NDJSON
        && query->format != CP_FORMAT_CSV) {
        return apr_psprintf(p, "is for answers of many rows, not for format=%s",
                            cp_format_names[query->format]);
    }
    for (int i = 0; i < query->params->nelts; i++) {
        const char *name = APR_ARRAY_IDX(query->params, i, connpool_param_t *)
                               ->spec.name;

        if (strcmp(name, "limit") == 0 || strcmp(name, "after") == 0
            || strncmp(name, CP_PAGE_PARAM, strlen(CP_PAGE_PARAM)) == 0) {
            return apr_psprintf(p, "needs the name of parameter :%s for itself",
                                name);
        }
    }
    return NULL;
}

static connpool_param_t *add_param(apr_pool_t *p, connpool_query_t *query,
                                   const char *name, cp_type_t type)
{
    connpool_param_t *param = apr_pcalloc(p, sizeof(*param));

    param->spec.name = name;
    param->spec.type = type;
    APR_ARRAY_PUSH(query->params, connpool_param_t *) = param;
    return param;
}

/* nulls < 0: the first page */
static connpool_query_t *make_page(apr_pool_t *p, const connpool_query_t *query,
                                   int nulls)
{
    connpool_query_t *page = apr_pmemdup(p, query, sizeof(*query));
    const cp_page_sort_t *sort = &query->page->sort;
    const cp_page_dialect_t *dialect = query->database->driver->pages;

    page->params = apr_array_copy(p, query->params);
    page->sql = nulls < 0 ? cp_page_first(p, query->sql, sort, dialect)
                          : cp_page_next(p, query->sql, sort, (unsigned)nulls,
                                         dialect);
    for (int i = 0; nulls >= 0 && i < sort->count; i++) {
        if (!(nulls & (1 << i))) {
            add_param(p, page, apr_psprintf(p, CP_PAGE_PARAM "%d", i + 1),
                      CP_TYPE_TEXT);
        }
    }
    add_param(p, page, CP_PAGE_LIMIT, CP_TYPE_INTEGER);
    page->limit_place = page->params->nelts;
    return page;
}

static void make_pages(apr_pool_t *p, connpool_query_t *query)
{
    connpool_page_t *page = query->page;
    cp_param_spec_t *spec;

    page->own = query->params->nelts;
    page->first = make_page(p, query, -1);
    for (int i = 0; i < 1 << page->sort.count; i++) {
        page->next[i] = make_page(p, query, i);
    }
    spec = &add_param(p, query, "limit", CP_TYPE_INTEGER)->spec;
    spec->has_min = spec->has_max = spec->has_default = 1;
    spec->min = (cp_value_t){.storage = CP_INTEGER, .as.integer = 1};
    spec->max = spec->fallback = (cp_value_t){.storage = CP_INTEGER,
                                              .as.integer = query->max_rows};
    spec = &add_param(p, query, "after", CP_TYPE_TEXT)->spec;
    spec->maxlen = CURSOR_BYTES;
}

static const char *complete(apr_pool_t *p, connpool_query_t *query)
{
    const cp_database_driver_t *driver = query->database->driver;
    const char *error = check_query(p, query);

    query->page = apr_pcalloc(p, sizeof(*query->page));
    if (!error) {
        error = read_columns(p, query->paged_by, &query->page->sort);
    }
    if (error) {
        return error;
    }
    make_pages(p, query);
    return driver->check_sql ? driver->check_sql(p, query->database->config,
                                                 query->page->next[0]->sql)
                             : NULL;
}

int connpool_check_pages(apr_pool_t *p, server_rec *main_server)
{
    for (server_rec *s = main_server; s; s = s->next) {
        const connpool_server_t *sc = connpool_server(s);

        for (int i = 0; i < sc->queries->nelts; i++) {
            connpool_query_t *query = APR_ARRAY_IDX(sc->queries, i,
                                                    connpool_query_t *);
            const char *error = query->paged_by && !query->page
                                    ? complete(p, query)
                                    : NULL;

            if (error) {
                return connpool_refuse(
                    s, query->where,
                    apr_psprintf(p, "ConnPoolQuery %s: page=%s: %s",
                                 query->name, query->paged_by, error));
            }
        }
    }
    return OK;
}
