/* SPDX-License-Identifier: Apache-2.0
 * ConnPoolQuery: SQL under a name, and how its answers are kept. */
#include "config/query.h"

#include "glue.h"
#include "answers/encode.h"
#include "base/number.h"
#include "base/option.h"
#include "config/config.h"
#include "config/option.h"
#include "config/setting.h"
#include "database/sqlite/scan.h"

#include <apr_strings.h>
#include <http_protocol.h>

typedef struct query_options_t {
    connpool_query_t query;
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
    {NULL},
};

int connpool_query_is_cached(const connpool_query_t *query)
{
    return query->caching.ttl > 0 || query->caching.is_by_data;
}

int connpool_query_is_collected(const connpool_query_t *query)
{
    return connpool_query_is_cached(query) || query->caching.coalesces;
}

static const char *read_methods(cmd_parms *cmd, connpool_query_t *query,
                                const char *list)
{
    static const char *const allowed[] = {"GET", "POST", "PUT", "DELETE", NULL};
    char *names, *name, *state;

    if (!list) {
        list = query->is_write ? "POST,PUT,DELETE" : "GET";
    }
    names = apr_pstrdup(cmd->pool, list);
    for (name = apr_strtok(names, ",", &state); name;
         name = apr_strtok(NULL, ",", &state)) {
        int place;
        const char *error = cp_params_choice(cmd->pool, name, allowed, &place);

        if (error) {
            return error;
        }
        if (place == 0 && query->is_write) {
            return "a query that writes cannot answer GET";
        }
        query->methods |= AP_METHOD_BIT << ap_method_number_of(allowed[place]);
    }
    return query->methods ? NULL : "no method is named";
}

/* The statement's kind must be what was declared. */
static const char *check_verb(cmd_parms *cmd, const connpool_query_t *query)
{
    static const char *const reads[] = {"SELECT", "VALUES", NULL};
    static const char *const writes[] = {"INSERT", "UPDATE", "DELETE",
                                         "REPLACE", NULL};
    const char *const *allowed = query->is_write ? writes : reads;

    for (; *allowed; allowed++) {
        if (strcmp(*allowed, query->shape.verb) == 0) {
            return NULL;
        }
    }
    return apr_psprintf(cmd->pool, "%s, not %s",
                        query->is_write
                            ? "with write=on the statement is an INSERT, "
                              "UPDATE, DELETE or REPLACE"
                            : "without write=on the statement is a SELECT or "
                              "VALUES",
                        query->shape.verb);
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
static const char *check_caching(cmd_parms *cmd, const connpool_query_t *query)
{
    const connpool_caching_t *caching = &query->caching;
    const char *word;

    if (query->is_write && connpool_query_is_collected(query)) {
        return "ttl= and coalesce= are for reads, not with write=on";
    }
    if (!caching->ttl && (caching->stale > 0 || caching->stale_if_error > 0)) {
        return "stale= and stale-if-error= need ttl=DURATION: they say for how "
               "long an answer may be used after it";
    }
    if (caching->is_shared && !connpool_query_is_cached(query)) {
        return "cache=shared needs ttl=";
    }
    if (caching->is_by_data && cp_sql_is_volatile(query->sql, &word)) {
        return apr_psprintf(cmd->pool,
                            "ttl=data cannot work: %s in the SQL gives "
                            "another value while the data stay the same; use "
                            "ttl=DURATION",
                            word);
    }
    return NULL;
}

/* What follows from the options, once all are read. */
static const char *complete_query(cmd_parms *cmd, query_options_t *options)
{
    connpool_query_t *query = &options->query;
    const char *error = check_verb(cmd, query);

    query->format = options->format;
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
    error = check_caching(cmd, query);
    return error ? connpool_complaint(cmd, query->name, NULL, error) : NULL;
}

const char *connpool_cmd_query(cmd_parms *cmd, void *dummy, const char *line)
{
    query_options_t *target = apr_pcalloc(cmd->pool, sizeof(*target));
    const connpool_keys_t keys[] = {{query_options, target}, {NULL}};
    connpool_query_t *query = &target->query;
    const char **words;
    const char *error = connpool_read_words(
        cmd, line, 3, "ConnPoolQuery NAME DATABASE \"SQL\" ...", &words);

    if (error) {
        return error;
    }
    cp_options_clear(query_options, target);
    cp_options_complete(query_options, target);
    query->name = words[0];
    query->database_name = words[1];
    query->sql = words[2];
    query->server = cmd->server;
    query->where = connpool_where(cmd);
    query->params = apr_array_make(cmd->pool, 4, sizeof(connpool_param_t *));
    error = cp_sql_scan(cmd->pool, query->sql, &query->shape);
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
