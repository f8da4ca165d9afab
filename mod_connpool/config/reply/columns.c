/* SPDX-License-Identifier: Apache-2.0 */
#include "config/reply/columns.h"

#include "answers/web/location.h"

#include <strings.h>

#include <apr_strings.h>

static const char *name_of(const connpool_columns_t *columns, int i)
{
    return columns->driver->column_name(columns->statement, i);
}

static int count_of(const connpool_columns_t *columns)
{
    return columns->driver->columns(columns->statement);
}

int connpool_columns_named(const connpool_columns_t *columns, const char *name)
{
    int count = count_of(columns);

    for (int i = 0; i < count; i++) {
        if (strcasecmp(name_of(columns, i), name) == 0) {
            return i;
        }
    }
    return -1;
}

static apr_status_t misfit(const char *key, const char *what, cp_error_t *err)
{
    return cp_error_set(err, CP_ERR_STORAGE, APR_EINVAL,
                        "the query does not fit the database", "%s: %.200s",
                        key, what);
}

static apr_status_t check_json(const connpool_columns_t *columns,
                               cp_error_t *err)
{
    const apr_array_header_t *names = columns->reply->json;

    for (int i = 0; names && i < names->nelts; i++) {
        const char *name = APR_ARRAY_IDX(names, i, const char *);

        if (connpool_columns_named(columns, name) < 0) {
            return cp_error_set(err, CP_ERR_STORAGE, APR_EINVAL,
                                "the query does not fit the database",
                                "json=: its answer has no column '%.200s'",
                                name);
        }
    }
    return APR_SUCCESS;
}

static apr_status_t check_created(const connpool_columns_t *columns,
                                  cp_error_t *err)
{
    const apr_array_header_t *parts = columns->reply->created;

    for (int i = 0; parts && i < parts->nelts; i++) {
        const cp_location_part_t *part = &APR_ARRAY_IDX(parts, i,
                                                        cp_location_part_t);

        if (part->kind == CP_LOCATION_COLUMN
            && connpool_columns_named(columns, part->text) < 0) {
            return cp_error_set(err, CP_ERR_STORAGE, APR_EINVAL,
                                "the query does not fit the database",
                                "created=: its answer has no column '%.200s'",
                                part->text);
        }
    }
    return APR_SUCCESS;
}

static apr_status_t check_raw(const connpool_columns_t *columns,
                              cp_error_t *err)
{
    int most = columns->reply->type ? 2 : 3;

    if (count_of(columns) > most) {
        return misfit("format=raw",
                      columns->reply->type
                          ? "more columns than the body and a file name"
                          : "more columns than the body, its type and a file "
                            "name",
                      err);
    }
    return columns->reply->type || count_of(columns) > 1
               ? APR_SUCCESS
               : misfit("type=column", "there is no second column", err);
}

apr_status_t connpool_columns_check(const connpool_columns_t *columns,
                                    cp_error_t *err)
{
    apr_status_t rv = check_json(columns, err);

    if (rv == APR_SUCCESS) {
        rv = check_created(columns, err);
    }
    if (rv == APR_SUCCESS && columns->reply->format == CP_FORMAT_RAW) {
        rv = check_raw(columns, err);
    }
    return rv;
}

/* --- which is which --- */

static int is_json_named(const connpool_reply_t *reply, const char *name)
{
    for (int i = 0; reply->json && i < reply->json->nelts; i++) {
        if (strcasecmp(APR_ARRAY_IDX(reply->json, i, const char *), name)
            == 0) {
            return 1;
        }
    }
    return 0;
}

static cp_column_t kind_of(const connpool_columns_t *columns, int i)
{
    const connpool_reply_t *reply = columns->reply;
    cp_column_t kind = CP_COLUMN_PLAIN;

    if (reply->format == CP_FORMAT_JSON
        || is_json_named(reply, name_of(columns, i))) {
        return CP_COLUMN_JSON;
    }
    if (reply->has_declared_types && columns->driver->column_type) {
        kind = cp_column_of(
            columns->driver->column_type(columns->statement, i));
    }
    /* In a list of text a document is text. */
    return kind == CP_COLUMN_JSON && reply->format == CP_FORMAT_CSV
               ? CP_COLUMN_PLAIN
               : kind;
}

static void find_kinds(connpool_columns_t *columns, apr_pool_t *p)
{
    const connpool_reply_t *reply = columns->reply;
    int count = count_of(columns);
    cp_column_t *kinds;

    if (!reply->json && !reply->has_declared_types
        && reply->format != CP_FORMAT_JSON) {
        return;
    }
    kinds = apr_palloc(p, (apr_size_t)(count + 1) * sizeof(*kinds));
    for (int i = 0; i < count; i++) {
        kinds[i] = kind_of(columns, i);
    }
    columns->kinds = kinds;
}

/* By its name, or else the last one. */
static int type_column(const connpool_columns_t *columns)
{
    static const char *const names[] = {"type", "content_type", "mime_type",
                                        "media_type", "mime"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        int found = connpool_columns_named(columns, names[i]);

        if (found > 0) {
            return found;
        }
    }
    return count_of(columns) - 1;
}

apr_status_t connpool_columns_find(connpool_columns_t *columns, apr_pool_t *p,
                                   cp_error_t *err)
{
    apr_status_t rv = connpool_columns_check(columns, err);

    columns->kinds = NULL;
    columns->type = columns->name = -1;
    if (rv != APR_SUCCESS) {
        return rv;
    }
    find_kinds(columns, p);
    if (columns->reply->format == CP_FORMAT_RAW) {
        columns->type = columns->reply->type ? -1 : type_column(columns);
        columns->name = columns->type == 1 ? 2 : 1;
        if (columns->name >= count_of(columns)) {
            columns->name = -1;
        }
    }
    return APR_SUCCESS;
}
