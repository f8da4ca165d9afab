/* SPDX-License-Identifier: Apache-2.0
 * ConnPoolQuery: SQL under a name, and how its answers are kept. */
#include "config/query.h"

#include "glue.h"
#include "answers/encode.h"
#include "base/number.h"
#include "base/option.h"
#include "config/config.h"
#include "config/database.h"
#include "config/line/option.h"
#include "config/method/method.h"
#include "config/setting.h"
#include "database/database.h"

#include <apr_strings.h>
#include <http_protocol.h>

typedef struct query_options_t {
    connpool_query_t query;
    connpool_reply_options_t reply;
    const char *methods;
    const char *ttl;
    int format;
} query_options_t;

static const char *const cache_names[] = {"private", "shared", NULL};

#define QUERY(field) APR_OFFSETOF(query_options_t, query.field)
#define TEXT(field)  APR_OFFSETOF(query_options_t, field)

static const cp_option_t query_options[] = {
    {CP_FLAG("write", QUERY(is_write), 0)},
    {CP_WORD("methods", TEXT(methods))},
    {CP_INT("max-rows", QUERY(max_rows), CONNPOOL_MAX_ROWS, 1, 1000000000)},
    {CP_SIZE("max-bytes", QUERY(max_bytes), CONNPOOL_MAX_BYTES, 1, CP_TIB)},
    {CP_DURATION("timeout", QUERY(timeout), CP_UNSET, CP_MILLISECOND, CP_HOUR)},
    {CP_CHOICE("format", TEXT(format), 0, cp_format_names)},
    {CP_WORD("ttl", TEXT(ttl))},
    {CP_DURATION("stale", QUERY(caching.stale), 0, 0, CP_WEEK)},
    {CP_DURATION("stale-if-error", QUERY(caching.stale_if_error), 0, 0,
                 CP_WEEK)},
    {CP_CHOICE("cache", QUERY(caching.is_shared), 0, cache_names)},
    {CP_FLAG("coalesce", QUERY(caching.coalesces), 0)},
    {CP_WORD("page", QUERY(paged_by))},
    {NULL},
};

const cp_option_t *connpool_query_keys(void)
{
    return query_options;
}

int connpool_query_is_cached(const connpool_query_t *query)
{
    return query->caching.ttl > 0 || query->caching.is_by_data;
}

int connpool_query_is_collected(const connpool_query_t *query)
{
    return connpool_query_is_cached(query) || query->caching.coalesces
           || query->paged_by;
}

int connpool_query_bound(const connpool_query_t *query)
{
    return query->page && !query->limit_place ? query->page->own
                                              : query->params->nelts;
}

static const char *read_methods(cmd_parms *cmd, connpool_query_t *query,
                                const char *list)
{
    const char *error;

    if (!list) {
        list = query->is_write ? "POST,PUT,PATCH,DELETE" : "GET";
    }
    error = connpool_methods_read(cmd->pool, list, 0, &query->methods);
    return !error && query->is_write
                   && (query->methods & (AP_METHOD_BIT << M_GET))
               ? "a query that writes cannot answer GET"
               : error;
}

/* "INSERT, UPDATE or DELETE" */
static const char *list_verbs(apr_pool_t *p, const char *const *verbs)
{
    const char *list = *verbs++;

    for (; *verbs; verbs++) {
        list = apr_pstrcat(p, list, verbs[1] ? ", " : " or ", *verbs, NULL);
    }
    return list;
}

/* The statement's kind must be what was declared. */
static const char *check_verb(apr_pool_t *p, const connpool_query_t *query,
                              const cp_database_driver_t *driver)
{
    const char *const *allowed = query->is_write ? driver->write_verbs
                                                 : driver->read_verbs;
    const char *const *verb = allowed;

    for (; *verb; verb++) {
        if (strcmp(*verb, query->shape.verb) == 0) {
            return NULL;
        }
    }
    return apr_psprintf(p, "%s write=on the statement is %s %s, not %s",
                        query->is_write ? "with" : "without",
                        strchr("AEIOU", **allowed) ? "an" : "a",
                        list_verbs(p, allowed), query->shape.verb);
}

/* httpd makes one line of lines that are continued. */
static const char *check_comment(apr_pool_t *p, const connpool_query_t *query)
{
    const char *lost = query->shape.comment;

    return lost ? apr_psprintf(p,
                               "the SQL has a comment that takes away the rest "
                               "of it: -- %.40s%s (continued lines are one "
                               "line; write /* comment */ )",
                               lost, strlen(lost) > 40 ? "..." : "")
                : NULL;
}

/* All that can be told of it without the database. */
static const char *check_sql(apr_pool_t *p, const connpool_query_t *query,
                             const connpool_database_t *db)
{
    const cp_database_driver_t *driver = db->driver;
    const char *error = check_comment(p, query);

    if (!error) {
        error = check_verb(p, query, driver);
    }
    if (!error) {
        error = connpool_reply_check(p, &query->reply, &query->shape,
                                     driver->can);
    }
    return error || !driver->check_sql
               ? error
               : driver->check_sql(p, db->config, query->sql);
}

static const char *check_by_data(apr_pool_t *p, const connpool_query_t *query,
                                 const connpool_database_t *db)
{
    const cp_database_driver_t *driver = db->driver;
    const char *word;

    if (!query->caching.is_by_data) {
        return NULL;
    }
    if (!(driver->can & CP_CAN_VERSION)) {
        return apr_psprintf(p, "ttl=data cannot work with %s: use ttl=DURATION",
                            driver->scheme);
    }
    if (db->facts.no_version) {
        return apr_psprintf(p, "ttl=data cannot work: %s; use ttl=DURATION",
                            db->facts.no_version);
    }
    return driver->is_volatile(query->sql, &word)
               ? apr_psprintf(p,
                              "ttl=data cannot work: %s in the SQL gives "
                              "another value while the data stay the same; use "
                              "ttl=DURATION",
                              word)
               : NULL;
}

int connpool_query_takes(const connpool_query_t *query, const char *name)
{
    const apr_array_header_t *names = query->shape.names;

    for (int i = 0; names && i < names->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(names, i, const char *), name) == 0) {
            return 1;
        }
    }
    return !names;
}

/* Parameters that were declared before the SQL could be read. */
static const char *check_params(apr_pool_t *p, const connpool_query_t *query)
{
    for (int i = 0; i < query->params->nelts; i++) {
        const connpool_param_t *param = APR_ARRAY_IDX(query->params, i,
                                                      connpool_param_t *);

        if (!connpool_query_takes(query, param->spec.name)) {
            return apr_psprintf(p, "the SQL has no parameter :%s",
                                param->spec.name);
        }
    }
    return NULL;
}

const char *connpool_query_resolve(apr_pool_t *p, connpool_query_t *query,
                                   connpool_database_t *db)
{
    const connpool_database_t *before = query->database;
    const char *error;

    query->database = db;
    if (before && before->driver == db->driver) {
        return NULL;
    }
    error = db->driver->scan(p, query->sql, &query->shape);
    if (!error) {
        error = check_sql(p, query, db);
    }
    if (!error) {
        error = check_by_data(p, query, db);
    }
    if (!error) {
        error = check_params(p, query);
    }
    return error ? apr_psprintf(p, "ConnPoolQuery %s: %s", query->name, error)
                 : NULL;
}

static const char *read_ttl(cmd_parms *cmd, const char *text,
                            connpool_caching_t *caching)
{
    const char *error;

    if (!text) {
        return NULL;
    }
    if (strcasecmp(text, "data") == 0) {
        caching->is_by_data = 1;
        return NULL;
    }
    error = cp_params_duration(cmd->pool, text, CP_MILLISECOND, CP_WEEK,
                               &caching->ttl);
    return error ? apr_pstrcat(cmd->pool, error, ", or data", NULL) : NULL;
}

/* What would have no effect, or a wrong one, is a mistake. */
static const char *check_caching(const connpool_query_t *query)
{
    const connpool_caching_t *caching = &query->caching;

    if (query->is_write
        && (connpool_query_is_cached(query) || caching->coalesces)) {
        return "ttl= and coalesce= are for reads, not with write=on";
    }
    if (!caching->ttl && (caching->stale > 0 || caching->stale_if_error > 0)) {
        return "stale= and stale-if-error= need ttl=DURATION: they say for how "
               "long an answer may be used after it";
    }
    if (caching->is_shared && !connpool_query_is_cached(query)) {
        return "cache=shared needs ttl=";
    }
    return NULL;
}

static const char *read_reply(cmd_parms *cmd, query_options_t *options)
{
    connpool_query_t *query = &options->query;
    const char *key;
    const char *error;

    query->format = options->format;
    query->reply.format = query->format;
    query->reply.is_write = query->is_write;
    error = connpool_reply_read(cmd->pool, &options->reply, &query->reply,
                                &key);
    return error ? connpool_complaint(cmd, query->name, key, error) : NULL;
}

/* What follows from the options, once all are read. */
static const char *complete_query(cmd_parms *cmd, query_options_t *options)
{
    connpool_query_t *query = &options->query;
    const cp_database_driver_t *driver = query->database
                                             ? query->database->driver
                                             : NULL;
    const char *error = read_reply(cmd, options);

    if (error) {
        return error;
    }
    error = driver ? check_sql(cmd->pool, query, query->database) : NULL;
    if (error) {
        return connpool_complaint(cmd, query->name, NULL, error);
    }
    error = read_methods(cmd, query, options->methods);
    if (error) {
        return connpool_complaint(cmd, query->name, "methods", error);
    }
    error = read_ttl(cmd, options->ttl, &query->caching);
    if (error) {
        return connpool_complaint(cmd, query->name, "ttl", error);
    }
    error = check_caching(query);
    if (!error && driver) {
        error = check_by_data(cmd->pool, query, query->database);
    }
    return error ? connpool_complaint(cmd, query->name, NULL, error) : NULL;
}

const char *connpool_cmd_query(cmd_parms *cmd, void *dummy, const char *line)
{
    query_options_t *target = apr_pcalloc(cmd->pool, sizeof(*target));
    const connpool_keys_t keys[] = {{query_options, target},
                                    {connpool_reply_options, &target->reply},
                                    {NULL}};
    connpool_query_t *query = &target->query;
    const char **words;
    const char *error = connpool_read_words(
        cmd, line, 3, "ConnPoolQuery NAME DATABASE \"SQL\" ...", &words);

    if (error) {
        return error;
    }
    cp_options_clear(query_options, target);
    cp_options_complete(query_options, target);
    cp_options_clear(connpool_reply_options, &target->reply);
    cp_options_complete(connpool_reply_options, &target->reply);
    query->name = words[0];
    query->holder = apr_pstrcat(cmd->pool, "query '", query->name, "'", NULL);
    query->database_name = words[1];
    query->sql = words[2];
    query->server = cmd->server;
    query->where = connpool_where(cmd);
    query->params = apr_array_make(cmd->pool, 4, sizeof(connpool_param_t *));
    query->database = connpool_find_database(cmd, query->database_name);
    error = query->database ? query->database->driver->scan(
                cmd->pool, query->sql, &query->shape)
                            : NULL;
    if (error) {
        return connpool_complaint(cmd, query->name, NULL, error);
    }
    error = connpool_read_options(cmd, query->name, words + 3, keys);
    if (!error) {
        error = complete_query(cmd, target);
    }
    return error ? error
                 : connpool_define(cmd, CONNPOOL_QUERY, query->name, query);
}
