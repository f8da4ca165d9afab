/* SPDX-License-Identifier: Apache-2.0
 * The handler connpool-openapi: what a server serves, as OpenAPI 3.1. */
#include "openapi/openapi.h"

#include "glue.h"
#include "base/bytes/buffer.h"
#include "openapi/description.h"
#include "config/handler.h"
#include "config/setting.h"
#include "openapi/parts.h"
#include "request/output.h"

#include <stdlib.h>

#include <apr_hash.h>
#include <apr_strings.h>
#include <http_core.h>

/* --- places and their URLs --- */

/* A directory's URL, when the DocumentRoot leads to it; NULL: who knows. */
static const char *below_root(apr_pool_t *p, server_rec *s, const char *path)
{
    const core_server_config *core = ap_get_core_module_config(
        s->module_config);
    const char *root = core->ap_document_root;
    apr_size_t size = root ? strlen(root) : 0;

    while (size > 0 && root[size - 1] == '/') {
        size--;
    }
    if (size == 0 || strncmp(path, root, size) != 0
        || (path[size] != '/' && path[size] != '\0')) {
        return NULL;
    }
    return path[size] ? apr_pstrdup(p, path + size) : "/";
}

static const char *url_of(apr_pool_t *p, server_rec *s,
                          const connpool_place_t *place)
{
    if (!place->path) {
        return NULL;
    }
    if (place->kind == CONNPOOL_PLACE_DIRECTORY) {
        return below_root(p, s, place->path);
    }
    return place->kind == CONNPOOL_PLACE_LOCATION ? place->path : NULL;
}

/* Of the names of one place the first stands for all. */
static int is_first(const connpool_serving_t *serving)
{
    return APR_ARRAY_IDX(serving->dir->serve, 0, const char *) == serving->name;
}

static void add_serving(connpool_openapi_t *doc,
                        const connpool_serving_t *serving)
{
    const connpool_dir_t *defaults = ap_get_module_config(
        doc->server->lookup_defaults, connpool_self);
    const connpool_rate_t *rate = serving->dir->rate ? serving->dir->rate
                                                     : defaults->rate;
    connpool_endpoint_t endpoint = {
        .serving = serving,
        .handler = connpool_handler_of(serving),
        .url = url_of(doc->p, doc->server, &serving->place),
        .is_rated = rate && rate->limit.count > 0,
    };

    if (endpoint.handler && endpoint.url && is_first(serving)) {
        endpoint.url = ap_os_escape_path(doc->p, endpoint.url, 1);
        json_object_del(doc->paths, endpoint.url); /* the last one holds */
        connpool_openapi_add(doc, &endpoint);
    }
}

/* Places of the main server hold in its virtual hosts, too, unless they say
 * otherwise: theirs come last. */
static void add_servings(connpool_openapi_t *doc)
{
    const apr_array_header_t *servings = connpool_servings();

    for (int own = 0; own <= 1; own++) {
        for (int i = 0; i < servings->nelts; i++) {
            const connpool_serving_t *serving = &APR_ARRAY_IDX(
                servings, i, connpool_serving_t);
            int is_own = serving->server == doc->server;

            if (is_own ? own : !own && !serving->server->is_virtual) {
                add_serving(doc, serving);
            }
        }
    }
}

/* Does this virtual host serve something that the main server does not? */
static int serves_own(server_rec *s)
{
    const apr_array_header_t *servings = connpool_servings();

    for (int i = 0; i < servings->nelts; i++) {
        if (APR_ARRAY_IDX(servings, i, connpool_serving_t).server == s) {
            return 1;
        }
    }
    return 0;
}

/* --- the document --- */

static json_t *make_info(server_rec *s)
{
    const connpool_description_t *said = connpool_find_description(s, "*",
                                                                   NULL);
    json_t *info = json_pack(
        "{s:s,s:s}", "title",
        said && said->title ? said->title
                            : (s->server_hostname ? s->server_hostname : "-"),
        "version", said && said->version ? said->version : "1");

    if (said) {
        json_object_set_new(info, "description", json_string(said->text));
    }
    return info;
}

const char *connpool_openapi_document(apr_pool_t *p, server_rec *s)
{
    connpool_openapi_t doc = {
        .p = p, .server = s, .paths = json_object(), .ids = apr_hash_make(p)};
    const char *copy = NULL;
    json_t *root;
    char *text;

    add_servings(&doc);
    root = json_pack(
        "{s:s,s:o,s:[{s:s}],s:o,s:{s:o,s:o,s:o}}", "openapi", "3.1.0", "info",
        make_info(s), "servers", "url", "/", "paths", doc.paths, "components",
        "schemas", connpool_openapi_schemas(), "responses",
        connpool_openapi_responses(), "headers", connpool_openapi_headers());
    text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    if (text) {
        copy = apr_pstrcat(p, text, "\n", NULL);
        free(text);
    }
    json_decref(root);
    return copy;
}

int connpool_openapi_dump(apr_pool_t *p, server_rec *main_server,
                          apr_file_t *out)
{
    for (server_rec *s = main_server; s; s = s->next) {
        const char *text;

        if (s != main_server && !serves_own(s)) {
            continue;
        }
        text = connpool_openapi_document(p, s);
        if (!text || apr_file_puts(text, out) != APR_SUCCESS) {
            return 1;
        }
    }
    return 0;
}

int connpool_openapi_handler(request_rec *r)
{
    const char *text;
    cp_buffer_t buf = CP_BUFFER_MAY_FAIL;

    if (connpool_answer_method(r, AP_METHOD_BIT << M_GET)) {
        return OK;
    }
    text = connpool_openapi_document(r->pool, r->server);
    if (text) {
        cp_buffer_append(&buf, text, strlen(text));
    }
    if (!text || buf.has_failed) {
        cp_buffer_free(&buf);
        return connpool_problem(r, HTTP_SERVICE_UNAVAILABLE,
                                "There is no memory for the description.",
                                NULL);
    }
    return connpool_send_whole(r, "application/json", &buf);
}
