/* SPDX-License-Identifier: Apache-2.0
 * The settings in effect of what is defined. */
#include "report/lines/settings.h"

#include "base/option.h"
#include "config/database.h"
#include "config/method/method.h"
#include "config/query.h"
#include "config/setting.h"
#include "config/upstream.h"
#include "database/database.h"
#include "report/lines/gather.h"

#include <apr_strings.h>
#include <http_protocol.h>

static void add(apr_array_header_t *list, const char *key, const char *value)
{
    connpool_setting_line_t *line = apr_array_push(list);

    line->key = key;
    line->value = value;
}

/* Free text and files' names may be what only the log shows. */
static int is_private(const cp_option_t *option)
{
    return option->type == CP_OPTION_WORD || option->type == CP_OPTION_FILE;
}

static void add_keys(apr_array_header_t *list, const cp_option_t *options,
                     const void *target)
{
    for (; options->key; options++) {
        const char *value = cp_option_show(list->pool, options, target);

        if (value) {
            add(list, options->key, is_private(options) ? "set" : value);
        }
    }
}

static apr_array_header_t *make_list(apr_pool_t *p)
{
    return apr_array_make(p, 32, sizeof(connpool_setting_line_t));
}

apr_array_header_t *connpool_status_pool_settings(
    apr_pool_t *p, const connpool_pool_line_t *line)
{
    apr_array_header_t *list = make_list(p);

    add(list, "pooling", line->is_pooled ? "on" : "off");
    if (line->database) {
        add_keys(list, connpool_database_keys(), line->database);
        add_keys(list, line->database->driver->keys, line->database->config);
    }
    if (line->upstream) {
        add_keys(list, connpool_upstream_keys(), line->upstream);
        add(list, "max of all upstreams", apr_itoa(p, line->max_together));
    }
    return list;
}

static void add_params(apr_array_header_t *list, const connpool_query_t *query)
{
    for (int i = 0; i < query->params->nelts; i++) {
        const cp_param_spec_t
            *spec = &APR_ARRAY_IDX(query->params, i, connpool_param_t *)->spec;

        add(list, apr_pstrcat(list->pool, ":", spec->name, NULL),
            apr_pstrcat(list->pool, cp_type_names[spec->type],
                        spec->is_required   ? ", required"
                        : spec->has_default ? ", has a default"
                                            : "",
                        NULL));
    }
}

apr_array_header_t *connpool_status_query_settings(
    apr_pool_t *p, const connpool_query_line_t *line)
{
    apr_array_header_t *list = make_list(p);
    const connpool_query_t *query = line->query;

    add(list, "answers", connpool_methods_text(p, query->methods, ", "));
    add_keys(list, connpool_query_keys(), query);
    add_params(list, query);
    return list;
}
