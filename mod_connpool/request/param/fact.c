/* SPDX-License-Identifier: Apache-2.0
 * Facts of a request become values by the same rules as what clients send. */
#include "request/param/fact.h"

#include "glue.h"
#include "config/param/source.h"
#include "config/query.h"
#include "database/value.h"
#include "request/param/segment.h"

#include <apr_strings.h>
#include <http_log.h>
#include <http_protocol.h>

static int parse(request_rec *r, const connpool_param_t *param,
                 const char *text, cp_value_t *value, const char **preason)
{
    *preason = connpool_param_parse(r->pool, param, text, strlen(text), value);
    return *preason ? HTTP_BAD_REQUEST : OK;
}

static int read_segment(request_rec *r, const connpool_query_t *query,
                        const connpool_param_t *param, cp_value_t *value,
                        const char **preason)
{
    char **segments;

    if (!connpool_segments_read(r, connpool_source_count(query->segments),
                                &segments)) {
        *preason = "is not in the path";
        return HTTP_NOT_FOUND;
    }
    return parse(r, param, segments[param->source->segment - 1], value,
                 preason);
}

/* Empty is what httpd makes of all that is not there. */
static int read_nothing(request_rec *r, const connpool_query_t *query,
                        const connpool_param_t *param, cp_value_t *value,
                        const char **preason)
{
    if (param->spec.is_required) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                      "query '%s': refused: %s is required, and from=\"%s\" is "
                      "empty",
                      query->name, param->spec.name, param->source->text);
        *preason = "is missing";
        return HTTP_FORBIDDEN;
    }
    if (param->spec.has_default) {
        *value = param->spec.fallback;
    }
    return OK;
}

/* Headers that decide are told to caches, each once: httpd does so for
 * conditions, but not for texts. */
static void add_vary(request_rec *r, const char *headers)
{
    const char *told = apr_table_get(r->headers_out, "Vary");
    char *state, *list = apr_pstrdup(r->pool, headers);

    for (char *name = apr_strtok(list, ", ", &state); name;
         name = apr_strtok(NULL, ", ", &state)) {
        if (!told || !ap_find_token(r->pool, told, name)) {
            apr_table_mergen(r->headers_out, "Vary", name);
            told = apr_table_get(r->headers_out, "Vary");
        }
    }
}

/* As ap_expr_str_exec, and with the headers that it has looked at. */
static const char *evaluate(request_rec *r, const ap_expr_info_t *expression,
                            const char **perror)
{
    const char *text = NULL, *vary = NULL, *matched = NULL;
    ap_regmatch_t matches[AP_MAX_REG_MATCH] = {{0, 0}};
    ap_expr_eval_ctx_t ctx = {
        .r = r,
        .c = r->connection,
        .s = r->server,
        .p = r->pool,
        .err = perror,
        .info = expression,
        .re_pmatch = matches,
        .re_nmatch = AP_MAX_REG_MATCH,
        .re_source = &matched,
        .vary_this = &vary,
        .result_string = &text,
    };

    ap_expr_exec_ctx(&ctx);
    if (vary) {
        add_vary(r, vary);
    }
    return text;
}

static int read_expression(request_rec *r, const connpool_query_t *query,
                           const connpool_param_t *param, cp_value_t *value,
                           const char **preason)
{
    const char *error = NULL;
    const char *text = evaluate(r, param->source->from, &error);

    if (error) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      "query '%s': %s: from=\"%s\" cannot be evaluated: %s",
                      query->name, param->spec.name, param->source->text,
                      error);
        *preason = "cannot be evaluated";
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    if (!text || !*text) {
        return read_nothing(r, query, param, value, preason);
    }
    return parse(r, param, apr_pstrdup(r->pool, text), value, preason);
}

int connpool_fact_read(request_rec *r, const connpool_query_t *query,
                       const connpool_param_t *param, cp_value_t *value,
                       const char **preason)
{
    return param->source->from
               ? read_expression(r, query, param, value, preason)
               : read_segment(r, query, param, value, preason);
}
