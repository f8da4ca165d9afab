/* SPDX-License-Identifier: Apache-2.0
 * ConnPoolParam: what a value must be that goes into a query. */
#include "glue.h"
#include "answers/json.h"
#include "answers/web/condition.h"
#include "base/number.h"
#include "base/option.h"
#include "config/config.h"
#include "config/line/option.h"
#include "config/param/source.h"
#include "config/query.h"
#include "config/setting.h"
#include "database/value.h"

#include <apr_strings.h>

typedef struct param_options_t {
    const char *fallback, *min, *max, *match, *from, *path;
    apr_int64_t maxlen;
} param_options_t;

#define MAXLEN_DEFAULT (64 * 1024)
#define PARAM(field)   APR_OFFSETOF(param_options_t, field)

static const cp_option_t param_options[] = {
    {CP_WORD("default", PARAM(fallback))},
    {CP_WORD("min", PARAM(min))},
    {CP_WORD("max", PARAM(max))},
    {CP_SIZE("maxlen", PARAM(maxlen), CP_UNSET, 1, CP_MIB)},
    {CP_WORD("match", PARAM(match))},
    {CP_WORD("from", PARAM(from))},
    {CP_WORD("path", PARAM(path))},
    {NULL},
};

int connpool_find_param(const connpool_query_t *query, const char *name)
{
    for (int i = 0; i < query->params->nelts; i++) {
        const connpool_param_t *param = APR_ARRAY_IDX(query->params, i,
                                                      connpool_param_t *);

        if (strcmp(param->spec.name, name) == 0) {
            return i;
        }
    }
    return -1;
}

/* An escaped NUL would end a text of the database in its middle. */
static int has_escaped_nul(const char *data, apr_size_t size)
{
    const char *end = data + size;

    while ((data = memchr(data, '\\', (apr_size_t)(end - data)))) {
        if (end - data >= 6 && memcmp(data, "\\u0000", 6) == 0) {
            return 1;
        }
        data += 2; /* a backslash stands never last in JSON */
    }
    return 0;
}

_Static_assert(CP_JSON_DEPTH_MAX == 128, "as the text says");
static const char too_deep[] = "is not JSON, or too deep (128 levels)";

static const char *check_json(const char *data, apr_size_t size)
{
    apr_size_t blank = 0;

    if (!cp_json_is_valid(data, size)) {
        return too_deep;
    }
    while (strchr(" \t\r\n", data[blank])) {
        blank++;
    }
    if (data[blank] != '[' && data[blank] != '{') {
        return "is not a JSON array or object";
    }
    return has_escaped_nul(data, size) ? "contains a NUL character" : NULL;
}

const char *connpool_param_parse(apr_pool_t *p, const connpool_param_t *param,
                                 const char *data, apr_size_t size,
                                 cp_value_t *value)
{
    const char *reason = cp_value_parse(p, &param->spec, data, size, value);

    if (!reason && param->spec.type == CP_TYPE_JSON) {
        reason = check_json(data, size);
    }
    if (!reason && param->match
        && ap_regexec_len(param->match, data, size, 0, NULL, 0) != 0) {
        reason = "does not have the form that is asked for";
    }
    return reason;
}

static const char *param_bound(cmd_parms *cmd, connpool_param_t *param,
                               const char *text, int *phas, cp_value_t *value)
{
    const char *error;

    if (!text) {
        return NULL;
    }
    if (param->spec.type != CP_TYPE_INTEGER && param->spec.type != CP_TYPE_REAL
        && param->spec.type != CP_TYPE_DATE) {
        return "min and max are for integer, real and date; text, blob and "
               "json "
               "have maxlen";
    }
    error = cp_value_parse(cmd->pool, &param->spec, text, strlen(text), value);
    if (error) {
        return apr_psprintf(cmd->pool, "the bound '%s' %s", text, error);
    }
    *phas = 1;
    return NULL;
}

/* A key that would have no effect is a mistake. */
static const char *check_param_keys(const connpool_param_t *param,
                                    const param_options_t *options)
{
    cp_type_t type = param->spec.type;

    if (options->match && type != CP_TYPE_TEXT && type != CP_TYPE_DATE) {
        return "match= is for text and date";
    }
    if (options->match && !*options->match) {
        return "match= is empty, which everything matches";
    }
    if (options->maxlen != CP_UNSET && type != CP_TYPE_TEXT
        && type != CP_TYPE_BLOB && type != CP_TYPE_JSON) {
        return "maxlen= is for text, blob and json";
    }
    return NULL;
}

static const char *read_bounds(cmd_parms *cmd, connpool_param_t *param,
                               const param_options_t *options)
{
    cp_param_spec_t *spec = &param->spec;
    cp_value_t min = {0}, max = {0};
    int has_min = 0, has_max = 0;
    const char *error;

    /* Both bounds are parsed before either is in force. */
    error = param_bound(cmd, param, options->min, &has_min, &min);
    if (!error) {
        error = param_bound(cmd, param, options->max, &has_max, &max);
    }
    if (error) {
        return error;
    }
    spec->has_max = has_max;
    spec->max = max;
    if (has_min && has_max && cp_value_in_range(cmd->pool, spec, &min)) {
        return apr_psprintf(cmd->pool, "min=%s is above max=%s", options->min,
                            options->max);
    }
    spec->has_min = has_min;
    spec->min = min;
    return NULL;
}

static const char *read_default(cmd_parms *cmd, connpool_param_t *param,
                                const char *text)
{
    cp_param_spec_t *spec = &param->spec;
    const char *error;

    if (!text) {
        return NULL;
    }
    if (spec->is_required) {
        return "a required parameter needs no default";
    }
    error = connpool_param_parse(cmd->pool, param, text, strlen(text),
                                 &spec->fallback);
    spec->has_default = !error;
    return error ? apr_psprintf(cmd->pool, "the default '%s' %s", text, error)
                 : NULL;
}

/* Who reads the value, if not the client gives it. */
static const char *read_source(cmd_parms *cmd, connpool_query_t *query,
                               connpool_param_t *param,
                               const param_options_t *options)
{
    connpool_source_t *source;
    const char *error = connpool_source_read(cmd, options->from, options->path,
                                             &source);
    unsigned bit;

    if (error || !source) {
        return error;
    }
    param->source = source;
    if (source->from) {
        query->has_facts = 1;
        query->reply.conditions |= cp_preconditions_read(options->from);
        return NULL;
    }
    bit = 1U << (source->segment - 1);
    if (query->segments & bit) {
        return apr_psprintf(cmd->pool, "another parameter has path=%s",
                            options->path);
    }
    query->segments |= bit;
    return options->fallback
               ? "default= has no effect: without its segments a path is 404"
               : NULL;
}

static const char *complete_param(cmd_parms *cmd, connpool_param_t *param,
                                  const param_options_t *options)
{
    const char *error = check_param_keys(param, options);

    if (error) {
        return error;
    }
    param->spec.maxlen = options->maxlen == CP_UNSET
                             ? MAXLEN_DEFAULT
                             : (apr_size_t)options->maxlen;
    error = read_bounds(cmd, param, options);
    if (error) {
        return error;
    }
    if (options->match) {
        param->pattern = options->match;
        param->match = ap_pregcomp(cmd->pool, options->match, AP_REG_EXTENDED);
        if (!param->match) {
            return apr_psprintf(cmd->pool,
                                "match='%s' is not a regular expression",
                                options->match);
        }
    }
    return read_default(cmd, param, options->fallback);
}

/* [TYPE] [required]: from *pwords on, which then is behind them. */
static const char *read_type(cmd_parms *cmd, const char ***pwords,
                             cp_param_spec_t *spec)
{
    const char **words = *pwords;
    int type = CP_TYPE_TEXT;

    if (*words && !strchr(*words, '=') && strcasecmp(*words, "required") != 0) {
        const char *error = cp_params_choice(cmd->pool, *words, cp_type_names,
                                             &type);

        if (error) {
            return error;
        }
        words++;
    }
    spec->type = type;
    if (*words && strcasecmp(*words, "required") == 0) {
        spec->is_required = 1;
        words++;
    }
    *pwords = words;
    while (*words) {
        if (strcasecmp(*words++, "required") == 0) {
            return "write required in front of the keys";
        }
    }
    return NULL;
}

/* The query; the parameter must be in its SQL, and not be declared yet. */
static const char *find_query(cmd_parms *cmd, const char *const *words,
                              connpool_query_t **pquery)
{
    connpool_query_t *query = apr_hash_get(
        connpool_server(cmd->server)->all_queries, words[0],
        APR_HASH_KEY_STRING);

    if (!query || query->server != cmd->server) {
        return connpool_complaint(
            cmd, words[0], NULL,
            "no such query is defined above in this server");
    }
    if (!connpool_query_takes(query, words[1])) {
        return connpool_complaint(
            cmd, words[0], words[1],
            apr_psprintf(cmd->pool, "the SQL has no parameter :%s", words[1]));
    }
    if (connpool_find_param(query, words[1]) >= 0) {
        return connpool_complaint(cmd, words[0], words[1], "declared twice");
    }
    *pquery = query;
    return NULL;
}

const char *connpool_cmd_param(cmd_parms *cmd, void *dummy, const char *line)
{
    connpool_param_t *param = apr_pcalloc(cmd->pool, sizeof(*param));
    param_options_t options;
    const connpool_keys_t keys[] = {{param_options, &options}, {NULL}};
    connpool_query_t *query = NULL;
    const char **words;
    const char *error = connpool_read_words(
        cmd, line, 2, "ConnPoolParam QUERY PARAM [TYPE] ...", &words);

    if (error) {
        return error;
    }
    error = find_query(cmd, words, &query);
    if (error) {
        return error;
    }
    param->spec.name = words[1];
    words += 2;
    error = read_type(cmd, &words, &param->spec);
    if (error) {
        return connpool_complaint(cmd, query->name, param->spec.name, error);
    }
    cp_options_clear(param_options, &options);
    error = connpool_read_options(cmd, query->name, words, keys);
    if (error) {
        return error;
    }
    error = read_source(cmd, query, param, &options);
    if (!error) {
        error = complete_param(cmd, param, &options);
    }
    if (error) {
        return connpool_complaint(cmd, query->name, param->spec.name, error);
    }
    APR_ARRAY_PUSH(query->params, connpool_param_t *) = param;
    return NULL;
}
