/* SPDX-License-Identifier: Apache-2.0
 * What is done at one place: a query, a fetch, or a batch of both. */
#include "openapi/parts.h"

#include "glue.h"
#include "answers/encode.h"
#include "openapi/description.h"
#include "config/param/source.h"
#include "config/query.h"
#include "config/setting.h"
#include "config/upstream.h"

#include <apr_hash.h>
#include <apr_strings.h>

#define BIT(method) (AP_METHOD_BIT << (method))

static const struct {
    int number;
    const char *key; /* of a path item */
    int has_body;    /* parameters come in it */
} methods[] = {
    {M_GET, "get", 0},     {M_POST, "post", 1},     {M_PUT, "put", 1},
    {M_PATCH, "patch", 1}, {M_DELETE, "delete", 0},
};

#define VERBS (sizeof(methods) / sizeof(methods[0]))

/* No status at all. */
static const int none[] = {0};

static const connpool_query_t *find_query(const connpool_openapi_t *doc,
                                          const char *name)
{
    return apr_hash_get(connpool_server(doc->server)->all_queries, name,
                        APR_HASH_KEY_STRING);
}

/* --- what every operation has --- */

/* Names of operations are names of functions in generated clients. */
static const char *operation_id(connpool_openapi_t *doc, const char *method,
                                const char *name)
{
    const char *id = apr_pstrcat(doc->p, method, "_", name, NULL);
    const char *unique = id;

    for (int i = 2; apr_hash_get(doc->ids, unique, APR_HASH_KEY_STRING); i++) {
        unique = apr_psprintf(doc->p, "%s_%d", id, i);
    }
    apr_hash_set(doc->ids, unique, APR_HASH_KEY_STRING, unique);
    return unique;
}

static json_t *begin_operation(connpool_openapi_t *doc, const char *method,
                               const char *name)
{
    const connpool_description_t *said = connpool_find_description(doc->server,
                                                                   name, NULL);
    json_t *operation = json_pack("{s:s,s:s}", "operationId",
                                  operation_id(doc, method, name), "summary",
                                  said && said->title ? said->title : name);

    if (said) {
        json_object_set_new(operation, "description", json_string(said->text));
    }
    return operation;
}

static json_t *media(const char *type, json_t *schema)
{
    return json_pack("{s:{s:o}}", type, "schema", schema);
}

static void finish_operation(connpool_openapi_t *doc,
                             const connpool_endpoint_t *endpoint,
                             const char *method, json_t *operation)
{
    json_t *item = json_object_get(doc->paths, endpoint->url);

    if (endpoint->is_rated) {
        connpool_openapi_problems(json_object_get(operation, "responses"),
                                  (const int[]){429, 0});
    }
    if (!item) {
        item = json_object();
        json_object_set_new(doc->paths, endpoint->url, item);
    }
    json_object_set_new(item, method, operation);
}

/* --- queries --- */

static json_t *url_param(const connpool_openapi_t *doc,
                         const connpool_query_t *query,
                         const connpool_param_t *param)
{
    const connpool_description_t *said = connpool_find_description(
        doc->server, query->name, param->spec.name);
    int is_segment = param->source != NULL;
    json_t *described = json_pack(
        "{s:s,s:s,s:b,s:o}", "name", param->spec.name, "in",
        is_segment ? "path" : "query", "required",
        is_segment || param->spec.is_required, "schema",
        connpool_openapi_value(doc->p, param, 0));

    if (said) {
        json_object_set_new(described, "description", json_string(said->text));
    }
    return described;
}

/* Segments of the path, and with is_query what the client gives in the URL. */
static json_t *url_params(const connpool_openapi_t *doc,
                          const connpool_query_t *query, int is_query)
{
    json_t *list = json_array();

    for (int i = 0; i < query->params->nelts; i++) {
        const connpool_param_t *param = APR_ARRAY_IDX(query->params, i,
                                                      connpool_param_t *);

        if (param->source ? !param->source->from : is_query) {
            json_array_append_new(list, url_param(doc, query, param));
        }
    }
    return list;
}

static int has_own_params(const connpool_query_t *query)
{
    for (int i = 0; i < query->params->nelts; i++) {
        if (!APR_ARRAY_IDX(query->params, i, connpool_param_t *)->source) {
            return 1;
        }
    }
    return 0;
}

/* "/notes/{id}" */
static const char *url_of(apr_pool_t *p, const char *place,
                          const connpool_query_t *query)
{
    int count = connpool_source_count(query->segments);
    const char **names = apr_pcalloc(p, (size_t)(count + 1) * sizeof(*names));
    apr_size_t n = strlen(place);
    const char *url = count > 0 && n > 0 && place[n - 1] == '/'
                          ? apr_pstrmemdup(p, place, n - 1)
                          : place;

    for (int i = 0; i < query->params->nelts; i++) {
        const connpool_param_t *param = APR_ARRAY_IDX(query->params, i,
                                                      connpool_param_t *);

        if (param->source && !param->source->from) {
            names[param->source->segment - 1] = param->spec.name;
        }
    }
    for (int i = 0; i < count; i++) {
        url = apr_pstrcat(p, url, "/{", names[i], "}", NULL);
    }
    return url;
}

static json_t *query_body(const connpool_openapi_t *doc,
                          const connpool_query_t *query)
{
    json_t *body = json_pack("{s:{s:{s:o},s:{s:o}}}", "content",
                             "application/json", "schema",
                             connpool_openapi_params(doc, query, 1),
                             "application/x-www-form-urlencoded", "schema",
                             connpool_openapi_params(doc, query, 0));
    json_t *content = json_object_get(body, "content");
    json_t *json = json_object_get(content, "application/json");

    if (json_object_get(json_object_get(json, "schema"), "required")) {
        json_object_set_new(body, "required", json_true());
    }
    return body;
}

static const char *type_of(const connpool_query_t *query)
{
    if (query->is_write && !query->shape.has_returning) {
        return "application/json";
    }
    if (query->format == CP_FORMAT_RAW) {
        return query->reply.type ? query->reply.type : "*/*";
    }
    return cp_format_content_type(query->format);
}

/* What a success may be beside 200. */
static void add_successes(json_t *responses, const connpool_query_t *query)
{
    json_t *created;

    if (query->format == CP_FORMAT_RAW && !query->is_write) {
        json_object_set_new(
            responses, "206",
            json_pack("{s:s}", "description", "The bytes that Range names."));
        connpool_openapi_problems(responses, (const int[]){416, 0});
    }
    if (query->reply.created) {
        created = json_deep_copy(json_object_get(responses, "200"));
        json_object_set_new(created, "description", json_string("It is made."));
        json_object_set_new(
            created, "headers",
            json_pack("{s:o}", "Location",
                      connpool_openapi_ref("headers", "Location")));
        json_object_set_new(responses, "201", created);
    }
}

static json_t *query_responses(const connpool_query_t *query)
{
    static const int reading[] = {400, 404, 405, 412, 413, 500, 503, 504, 0};
    static const int writing[] = {403, 409, 415, 0};
    json_t *done = json_pack(
        "{s:s,s:o}", "description",
        query->is_write ? "It is done." : "What was found.", "content",
        media(type_of(query), connpool_openapi_result(query)));
    json_t *responses = json_pack("{s:o}", "200", done);

    if (!query->is_write) {
        json_object_set_new(
            done, "headers",
            json_pack("{s:o,s:o}", "ETag",
                      connpool_openapi_ref("headers", "ETag"),
                      "ConnPool-Truncated",
                      connpool_openapi_ref("headers", "ConnPool-Truncated")));
        if (query->page) {
            json_object_set_new(json_object_get(done, "headers"), "Link",
                                connpool_openapi_ref("headers", "Link"));
        }
        json_object_set_new(
            responses, "304",
            json_pack("{s:s}", "description", "It is as If-None-Match says."));
    }
    add_successes(responses, query);
    connpool_openapi_problems(responses, reading);
    connpool_openapi_problems(responses,
                              query->has_facts ? (const int[]){403, 0} : none);
    connpool_openapi_problems(responses, query->is_write ? writing : none);
    return responses;
}

static void add_query(connpool_openapi_t *doc,
                      const connpool_endpoint_t *endpoint,
                      const connpool_query_t *query)
{
    connpool_endpoint_t at = *endpoint;

    at.url = url_of(doc->p, endpoint->url, query);
    for (size_t i = 0; i < VERBS; i++) {
        int has_body = methods[i].has_body && has_own_params(query);
        json_t *operation, *list;

        if (!(query->methods & BIT(methods[i].number))) {
            continue;
        }
        operation = begin_operation(doc, methods[i].key, query->name);
        if (has_body) {
            json_object_set_new(operation, "requestBody",
                                query_body(doc, query));
        }
        list = url_params(doc, query, !has_body);
        if (json_array_size(list) > 0) {
            json_object_set(operation, "parameters", list);
        }
        json_decref(list);
        json_object_set_new(operation, "responses", query_responses(query));
        finish_operation(doc, &at, methods[i].key, operation);
    }
}

/* --- fetches --- */

/* What the upstream answers is its own business. */
static json_t *fetch_responses(void)
{
    static const int failures[] = {405, 413, 502, 503, 504, 0};
    json_t *responses = json_pack("{s:{s:s,s:{s:{}}}}", "200", "description",
                                  "What the upstream answers.", "content",
                                  "*/*");

    connpool_openapi_problems(responses, failures);
    return responses;
}

static void add_fetch_by(connpool_openapi_t *doc,
                         const connpool_endpoint_t *endpoint,
                         const connpool_upstream_t *up, size_t method)
{
    static const int refusals[] = {403, 408, 0};
    const char *key = methods[method].key;
    json_t *operation = begin_operation(doc, key, up->name);
    json_t *responses = fetch_responses();

    json_object_set_new(
        operation, "parameters",
        json_pack("[{s:s,s:s,s:s,s:s,s:b,s:{s:s,s:{s:s}}}]", "name", "query",
                  "in", "query", "description",
                  "All parameters are handed on, and so is what follows this "
                  "path.",
                  "style", "form", "explode", 1, "schema", "type", "object",
                  "additionalProperties", "type", "string"));
    if (methods[method].has_body) {
        json_object_set_new(operation, "requestBody",
                            json_pack("{s:{s:{}}}", "content", "*/*"));
    }
    connpool_openapi_problems(
        responses, methods[method].number == M_GET ? none : refusals);
    json_object_set_new(operation, "responses", responses);
    finish_operation(doc, endpoint, key, operation);
}

static void add_fetch(connpool_openapi_t *doc,
                      const connpool_endpoint_t *endpoint,
                      const connpool_upstream_t *up)
{
    for (size_t i = 0; i < VERBS; i++) {
        if (up->methods & BIT(methods[i].number)) {
            add_fetch_by(doc, endpoint, up, i);
        }
    }
}

/* --- batches --- */

static json_t *item_schema(const connpool_openapi_t *doc, const char *name)
{
    const connpool_query_t *query = find_query(doc, name);
    json_t *params = query ? connpool_openapi_params(doc, query, 1)
                           : json_pack("{s:s,s:{s:{s:s},s:{s:s}},s:b}", "type",
                                       "object", "properties", "path", "type",
                                       "string", "query", "type", "string",
                                       "additionalProperties", 0);
    json_t *required = json_object_get(params, "required")
                           ? json_pack("[s,s]", "name", "params")
                           : json_pack("[s]", "name");

    return json_pack("{s:s,s:{s:{s:s},s:o},s:o,s:b}", "type", "object",
                     "properties", "name", "const", name, "params", params,
                     "required", required, "additionalProperties", 0);
}

static json_t *batch_body(const connpool_openapi_t *doc,
                          const connpool_endpoint_t *endpoint)
{
    const apr_array_header_t *names = endpoint->serving->dir->serve;
    json_t *items = json_array();

    for (int i = 0; i < names->nelts; i++) {
        json_array_append_new(
            items, item_schema(doc, APR_ARRAY_IDX(names, i, const char *)));
    }
    return json_pack("{s:b,s:o}", "required", 1, "content",
                     media("application/json",
                           json_pack("{s:s,s:i,s:{s:o}}", "type", "array",
                                     "minItems", 1, "items", "oneOf", items)));
}

static int has_param(json_t *list, const char *name)
{
    size_t i;
    json_t *param;

    json_array_foreach(list, i, param)
    {
        const char *other = json_string_value(json_object_get(param, "name"));

        if (other && strcmp(other, name) == 0) {
            return 1;
        }
    }
    return 0;
}

/* What several queries declare is given once. It is required of an item, not
 * of the batch, whose other items go on without it. */
static json_t *batch_params(const connpool_openapi_t *doc,
                            const apr_array_header_t *names)
{
    json_t *list = json_array();

    for (int i = 0; i < names->nelts; i++) {
        const connpool_query_t *query = find_query(
            doc, APR_ARRAY_IDX(names, i, const char *));

        for (int k = 0; query && k < query->params->nelts; k++) {
            const connpool_param_t *param = APR_ARRAY_IDX(query->params, k,
                                                          connpool_param_t *);
            json_t *described;

            if (param->source || has_param(list, param->spec.name)) {
                continue;
            }
            described = url_param(doc, query, param);
            json_object_set_new(described, "required", json_false());
            json_array_append_new(list, described);
        }
    }
    json_array_append_new(list,
                          json_pack("{s:s,s:s,s:s,s:{s:s,s:[s]}}", "name",
                                    "strict", "in", "query", "description",
                                    "1: the answer is 502 when an item failed.",
                                    "schema", "type", "string", "enum", "1"));
    return list;
}

static json_t *batch_responses(const connpool_endpoint_t *endpoint, int is_post)
{
    static const int failures[] = {400, 405, 413, 500, 502, 503, 0};
    static const int with_body[] = {403, 415, 0};
    json_t *responses = json_pack(
        "{s:{s:s,s:o}}", "200", "description",
        is_post && endpoint->serving->dir->batch.is_atomic == 1
            ? "What became of each item, in their order. Writes of one "
              "database are kept together or not at all: 424 is one that "
              "another one has undone."
            : "What became of each item, in their order.",
        "content",
        media("application/json",
              json_pack("{s:s,s:o}", "type", "array", "items",
                        connpool_openapi_ref("schemas", "BatchItem"))));

    connpool_openapi_problems(responses, failures);
    connpool_openapi_problems(responses, is_post ? with_body : none);
    return responses;
}

/* A GET runs all that is served, so all must answer it. */
static int answers_get(const connpool_openapi_t *doc,
                       const apr_array_header_t *names)
{
    for (int i = 0; i < names->nelts; i++) {
        const connpool_query_t *query = find_query(
            doc, APR_ARRAY_IDX(names, i, const char *));

        if (query && !(query->methods & BIT(M_GET))) {
            return 0;
        }
    }
    return 1;
}

static void add_batch(connpool_openapi_t *doc,
                      const connpool_endpoint_t *endpoint)
{
    const apr_array_header_t *names = endpoint->serving->dir->serve;
    json_t *operation;

    if (answers_get(doc, names)) {
        operation = begin_operation(doc, "get", "batch");
        json_object_set_new(operation, "parameters", batch_params(doc, names));
        json_object_set_new(operation, "responses",
                            batch_responses(endpoint, 0));
        finish_operation(doc, endpoint, "get", operation);
    }
    operation = begin_operation(doc, "post", "batch");
    json_object_set_new(operation, "requestBody", batch_body(doc, endpoint));
    json_object_set_new(operation, "responses", batch_responses(endpoint, 1));
    finish_operation(doc, endpoint, "post", operation);
}

void connpool_openapi_add(connpool_openapi_t *doc,
                          const connpool_endpoint_t *endpoint)
{
    const char *name = endpoint->serving->name;
    const connpool_query_t *query = find_query(doc, name);
    const connpool_upstream_t *up = apr_hash_get(
        connpool_server(doc->server)->all_upstreams, name, APR_HASH_KEY_STRING);

    if (strcmp(endpoint->handler, "connpool-batch") == 0) {
        add_batch(doc, endpoint);
    }
    else if (strcmp(endpoint->handler, "connpool-query") == 0 && query) {
        add_query(doc, endpoint, query);
    }
    else if (strcmp(endpoint->handler, "connpool-fetch") == 0 && up) {
        add_fetch(doc, endpoint, up);
    }
}
