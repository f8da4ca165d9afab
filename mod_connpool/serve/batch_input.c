/* SPDX-License-Identifier: Apache-2.0
 * What a request asks of connpool-batch: all that is served, with the query
 * string's parameters, or what a JSON array names, each with its own. */
#include "glue.h"
#include "config/query.h"
#include "config/setting.h"
#include "config/upstream.h"
#include "database/value.h"
#include "request/input.h"
#include "request/output.h"
#include "request/page/turn.h"
#include "serve/reply.h"
#include "serve/serve.h"
#include "work/batch/batch.h"

#include <jansson.h>

#include <apr_hash.h>
#include <apr_strings.h>
#include <http_protocol.h>

#define ERRORS_MAX 20 /* told of: the rest is more of the same */

typedef struct input_t {
    connpool_batch_t *batch;
    request_rec *r;
    connpool_batch_limits_t limits;
    apr_array_header_t *served; /* const char * */
    apr_array_header_t *raws;   /* connpool_raw_t: the query string */
    apr_array_header_t *errors; /* connpool_input_error_t, of the whole */
    const char *detail;
} input_t;

static int refuse(input_t *in, int status, const char *detail)
{
    in->detail = detail;
    return status;
}

static void add_error(input_t *in, const char *param, const char *reason)
{
    if (in->errors->nelts < ERRORS_MAX) {
        APR_ARRAY_PUSH(in->errors,
                       connpool_input_error_t) = (connpool_input_error_t){
            param, reason, 0};
    }
}

static int is_flag(const connpool_raw_t *raw)
{
    return strcmp(raw->name, "strict") == 0;
}

int connpool_batch_is_strict(request_rec *r)
{
    apr_array_header_t *errors;
    apr_array_header_t *raws = connpool_params_split(r, r->args, &errors);

    for (int i = 0; i < raws->nelts; i++) {
        const connpool_raw_t *raw = &APR_ARRAY_IDX(raws, i, connpool_raw_t);

        if (is_flag(raw)) {
            return strcmp(raw->data, "1") == 0;
        }
    }
    return 0;
}

/* --- what both ways have in common --- */

static void refuse_method(input_t *in, connpool_item_t *item, const char *kind,
                          const char *method)
{
    connpool_item_refuse(item, HTTP_METHOD_NOT_ALLOWED, APR_EACCES,
                         apr_psprintf(in->r->pool,
                                      "The %s '%s' does not answer %s.", kind,
                                      item->name, method),
                         NULL);
}

/* A batch GETs upstreams, whatever it is asked with. */
static void refuse_other_methods(input_t *in, connpool_item_t *item)
{
    if (item->upstream
        && !(item->upstream->methods & (AP_METHOD_BIT << M_GET))) {
        refuse_method(in, item, "upstream", "GET");
    }
}

/* Append an item for something that is served here. */
static connpool_item_t *add_item(input_t *in, const char *name)
{
    const connpool_server_t *sc = connpool_server(in->r->server);
    connpool_item_t *item = connpool_batch_push(in->batch);

    item->name = name;
    item->query = apr_hash_get(sc->all_queries, name, APR_HASH_KEY_STRING);
    if (!item->query) {
        item->upstream = apr_hash_get(sc->all_upstreams, name,
                                      APR_HASH_KEY_STRING);
        refuse_other_methods(in, item);
    }
    return item;
}

static void refuse_values(connpool_item_t *item, apr_array_header_t *errors)
{
    const char *detail;
    int status = connpool_input_status(errors, &detail);

    connpool_item_refuse(item, status, APR_EINVAL,
                         status == HTTP_BAD_REQUEST
                             ? "The item's parameters are not valid."
                             : detail,
                         errors);
}

/* Of a query with page= the page that the values name is what runs. */
static void turn_page(input_t *in, connpool_item_t *item)
{
    connpool_query_t *page;
    apr_array_header_t *errors;

    if (item->is_done || !item->query || !item->query->page) {
        return;
    }
    page = connpool_page_turn(in->r, item->query, &item->values);
    if (page) {
        item->query = page;
        return;
    }
    errors = apr_array_make(in->r->pool, 1, sizeof(connpool_input_error_t));
    APR_ARRAY_PUSH(errors, connpool_input_error_t) = connpool_cursor_error;
    refuse_values(item, errors);
}

/* --- GET --- */

static int is_wanted(const input_t *in, const char *name)
{
    for (int i = 0; i < connpool_batch_size(in->batch); i++) {
        const connpool_query_t *query = connpool_batch_item(in->batch, i)
                                            ->query;
        int place = query ? connpool_find_param(query, name) : -1;

        if (place >= 0
            && !APR_ARRAY_IDX(query->params, place, connpool_param_t *)
                    ->source) {
            return 1;
        }
    }
    return 0;
}

/* What nobody wants is a mistake. `strict` is ours. */
static int check_shared(input_t *in)
{
    for (int i = 0; i < in->raws->nelts; i++) {
        const connpool_raw_t *raw = &APR_ARRAY_IDX(in->raws, i, connpool_raw_t);

        if (!is_flag(raw) && !is_wanted(in, raw->name)) {
            add_error(in, connpool_shown_name(in->r, raw->name),
                      "is not a parameter here");
        }
    }
    return in->errors->nelts == 0
               ? OK
               : refuse(in, HTTP_BAD_REQUEST,
                        "The request's parameters are not valid.");
}

static int share_values(input_t *in, connpool_item_t *item)
{
    cp_value_t *values;
    apr_array_header_t *errors;

    if (!item->query) {
        return OK;
    }
    if (!(item->query->methods & (AP_METHOD_BIT << M_GET))) {
        apr_table_setn(in->r->headers_out, "Allow", "POST, OPTIONS");
        return refuse(in, HTTP_METHOD_NOT_ALLOWED,
                      apr_psprintf(in->r->pool,
                                   "The query '%s' does not answer GET: "
                                   "use POST.",
                                   item->name));
    }
    errors = connpool_params_share(in->r, item->query, in->raws, &values);
    item->values = values;
    if (errors->nelts > 0) {
        refuse_values(item, errors);
    }
    return OK;
}

static int read_get(input_t *in)
{
    int status = ap_discard_request_body(in->r);

    for (int i = 0; status == OK && i < in->served->nelts; i++) {
        status = share_values(
            in, add_item(in, APR_ARRAY_IDX(in->served, i, const char *)));
    }
    status = status == OK ? check_shared(in) : status;
    for (int i = 0; status == OK && i < connpool_batch_size(in->batch); i++) {
        turn_page(in, connpool_batch_item(in->batch, i));
    }
    return status;
}

/* --- POST --- */

static const char *find_served(const input_t *in, const char *name)
{
    for (int i = 0; i < in->served->nelts; i++) {
        const char *served = APR_ARRAY_IDX(in->served, i, const char *);

        if (strcmp(served, name) == 0) {
            return served;
        }
    }
    return NULL;
}

static const char *check_text(const json_t *json)
{
    if (!json_is_string(json)) {
        return "is not a string";
    }
    return strlen(json_string_value(json)) == json_string_length(json)
               ? NULL
               : "holds a NUL character";
}

/* One of the two members of an upstream's parameters. */
static const char *text_of(const json_t *json, apr_array_header_t *errors,
                           const char *key)
{
    const char *reason = check_text(json);

    if (reason) {
        APR_ARRAY_PUSH(errors,
                       connpool_input_error_t) = (connpool_input_error_t){
            key, reason, 0};
        return NULL;
    }
    return json_string_value(json);
}

static apr_array_header_t *take_path(input_t *in, connpool_item_t *item,
                                     json_t *params)
{
    apr_array_header_t *errors = apr_array_make(in->r->pool, 2,
                                                sizeof(connpool_input_error_t));
    const char *key;
    json_t *value;

    json_object_foreach(params, key, value)
    {
        if (strcmp(key, "path") == 0) {
            item->path = text_of(value, errors, key);
        }
        else if (strcmp(key, "query") == 0) {
            item->args = text_of(value, errors, key);
        }
        else {
            APR_ARRAY_PUSH(errors,
                           connpool_input_error_t) = (connpool_input_error_t){
                connpool_shown_name(in->r, key), "is not a parameter here", 0};
        }
    }
    return errors;
}

static void take_values(input_t *in, connpool_item_t *item, json_t *params)
{
    apr_array_header_t *errors;
    cp_value_t *values;

    if (item->query) {
        errors = connpool_params_take(in->r, item->query, params, &values);
        item->values = values;
    }
    else {
        errors = take_path(in, item, params);
    }
    if (errors->nelts > 0) {
        refuse_values(item, errors);
    }
    turn_page(in, item);
}

/* May this query run for a POST? */
static int is_allowed(input_t *in, connpool_item_t *item)
{
    apr_int64_t wanted = AP_METHOD_BIT
                         << (item->query->is_write ? M_POST : M_GET);
    const char *unread;

    if (!(item->query->methods & (wanted | (AP_METHOD_BIT << M_POST)))) {
        refuse_method(in, item, "query", "POST");
        return 0;
    }
    if (item->query->is_write && connpool_is_cross_site(in->r)) {
        connpool_item_refuse(item, HTTP_FORBIDDEN, APR_EACCES,
                             "Another site's page may not write here.", NULL);
        return 0;
    }
    unread = connpool_unread_condition(in->r, item->query);
    if (unread) {
        connpool_item_refuse(item, HTTP_PRECONDITION_FAILED, APR_EACCES, unread,
                             NULL);
        return 0;
    }
    return 1;
}

/* The shape of one element: its name, or NULL with entries in errors. */
static const char *check_element(input_t *in, int i, json_t *element)
{
    apr_pool_t *p = in->r->pool;
    const char *key;
    json_t *value;
    int count = in->errors->nelts;

    if (!json_is_object(element)) {
        add_error(in, apr_psprintf(p, "[%d]", i), "is not an object");
        return NULL;
    }
    json_object_foreach(element, key, value)
    {
        const char *reason = NULL;

        if (strcmp(key, "name") == 0) {
            reason = check_text(value);
        }
        else if (strcmp(key, "params") == 0) {
            reason = json_is_object(value) ? NULL : "is not an object";
        }
        else {
            reason = "is not known here";
        }
        if (reason) {
            add_error(
                in,
                apr_psprintf(p, "[%d].%s", i, connpool_shown_name(in->r, key)),
                reason);
        }
    }
    if (!json_object_get(element, "name")) {
        add_error(in, apr_psprintf(p, "[%d].name", i), "is required");
    }
    return in->errors->nelts == count
               ? json_string_value(json_object_get(element, "name"))
               : NULL;
}

static void add_element(input_t *in, const char *asked, json_t *element)
{
    const char *name = find_served(in, asked);
    connpool_item_t *item;

    if (!name) {
        item = connpool_batch_push(in->batch);
        item->name = connpool_shown_name(in->r, asked);
        connpool_item_refuse(item, HTTP_NOT_FOUND, APR_NOTFOUND,
                             "Nothing of that name is served here.", NULL);
        return;
    }
    item = add_item(in, name);
    if (!item->is_done && (!item->query || is_allowed(in, item))) {
        take_values(in, item, json_object_get(element, "params"));
    }
}

static int read_array(input_t *in, json_t *root)
{
    apr_size_t count = json_array_size(root);

    if (!json_is_array(root)) {
        return refuse(in, HTTP_BAD_REQUEST, "The JSON body is not an array.");
    }
    if (count == 0 || count > (apr_size_t)in->limits.max) {
        return refuse(in, HTTP_BAD_REQUEST,
                      apr_psprintf(in->r->pool,
                                   "The array has %" APR_SIZE_T_FMT
                                   " items: 1 to %d are allowed.",
                                   count, in->limits.max));
    }
    for (apr_size_t i = 0; i < count; i++) {
        json_t *element = json_array_get(root, i);
        const char *name = check_element(in, (int)i, element);

        if (name) {
            add_element(in, name, element);
        }
    }
    return in->errors->nelts == 0 ? OK
                                  : refuse(in, HTTP_BAD_REQUEST,
                                           "The array's items are not valid.");
}

static int read_post(input_t *in)
{
    request_rec *r = in->r;
    const char *type = apr_table_get(r->headers_in, "Content-Type");
    json_t *root;
    char *body;
    apr_size_t size;
    int status;

    if (!type || !connpool_is_media_type(type, "application/json")) {
        return refuse(in, HTTP_UNSUPPORTED_MEDIA_TYPE,
                      "Send application/json.");
    }
    status = connpool_read_body(r, in->limits.body, &body, &size, &in->detail);
    if (status != OK) {
        return status;
    }
    status = check_shared(in);
    if (status != OK) {
        return status;
    }
    status = connpool_json_load(r, body, size, &root, &in->detail);
    return status == OK ? read_array(in, root) : status;
}

int connpool_batch_read(connpool_batch_t *batch, request_rec *r,
                        const char **pdetail, apr_array_header_t **perrors)
{
    input_t in = {
        .batch = batch,
        .r = r,
        .limits = connpool_batch_limits(r),
        .served = connpool_dir(r)->serve,
    };
    int status;

    in.raws = connpool_params_split(r, r->args, &in.errors);
    status = in.errors->nelts > 0
                 ? refuse(&in, HTTP_BAD_REQUEST,
                          "The request's parameters are not valid.")
             : r->method_number == M_GET ? read_get(&in)
                                         : read_post(&in);
    *pdetail = in.detail;
    *perrors = in.errors;
    return status;
}
