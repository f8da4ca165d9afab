/* SPDX-License-Identifier: Apache-2.0
 * From a request to typed values: query string, form, or JSON object. Nothing
 * of a request goes further than this without a declared type. */
#include "request/input.h"

#include "glue.h"
#include "base/bytes/utf8.h"
#include "child/child.h"
#include "config/query.h"
#include "database/value.h"
#include "request/account.h"
#include "request/param/fact.h"
#include "request/param/nested.h"
#include "stats/cell.h"
#include "stats/stats.h"

#include <jansson.h>

#include <apr_base64.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <http_protocol.h>

#define BODY_MAX       (1024 * 1024)
#define NAME_MAX_SHOWN 64
#define ERRORS_MAX     20 /* told of: the rest is more of the same */

/* Of a parameter: what the request says of it. */
enum {
    UNSEEN,
    SEEN,
    SEEN_EMPTY, /* named, but without a value */
};

typedef struct input_t {
    request_rec *r;
    const connpool_query_t *query;
    int is_shared;              /* others may want what this query does not */
    apr_array_header_t *raws;   /* connpool_raw_t */
    apr_array_header_t *errors; /* connpool_input_error_t */
    const char *detail;
    int is_forbidden; /* a fact that the query requires is missing */
} input_t;

void connpool_count_forbidden(const connpool_query_t *query)
{
    cp_stats_add(&connpool_query_stats(query)->forbidden, 1);
}

static void add_error_of(input_t *in, const char *param, const char *reason,
                         int status)
{
    if (in->errors->nelts < ERRORS_MAX) {
        APR_ARRAY_PUSH(in->errors,
                       connpool_input_error_t) = (connpool_input_error_t){
            param, reason, status};
    }
}

static void add_error(input_t *in, const char *param, const char *reason)
{
    add_error_of(in, param, reason, HTTP_BAD_REQUEST);
}

int connpool_input_status(const apr_array_header_t *errors,
                          const char **pdetail)
{
    static const struct {
        int status;
        const char *detail;
    } grave[] = {
        {HTTP_INTERNAL_SERVER_ERROR,
         "The query's parameters cannot be evaluated."},
        {HTTP_NOT_FOUND, "Nothing is served at this path."},
        {HTTP_FORBIDDEN, "The request lacks what this query needs to know."},
    };

    for (size_t i = 0; i < sizeof(grave) / sizeof(grave[0]); i++) {
        for (int j = 0; j < errors->nelts; j++) {
            if (APR_ARRAY_IDX(errors, j, connpool_input_error_t).status
                == grave[i].status) {
                *pdetail = grave[i].detail;
                return grave[i].status;
            }
        }
    }
    *pdetail = "The request's parameters are not valid.";
    return HTTP_BAD_REQUEST;
}

const char *connpool_shown_name(request_rec *r, const char *name)
{
    apr_size_t size = strlen(name), shown = 0;

    if (!cp_utf8_is_valid(name, size)) {
        return "?";
    }
    if (size <= NAME_MAX_SHOWN) {
        return name;
    }
    /* Not in the middle of a character. */
    for (int next = 0; shown + (apr_size_t)next <= NAME_MAX_SHOWN;) {
        shown += (apr_size_t)next;
        next = cp_utf8_next(name + shown, size - shown);
    }
    return apr_pstrndup(r->pool, name, shown);
}

/* --- query string and form --- */

/* "a=1&b=2", as a query string or as a form's body. */
static void read_pairs(input_t *in, const char *text)
{
    apr_pool_t *p = in->r->pool;

    while (*text) {
        char *name = ap_getword(p, &text, '&');
        char *value = strchr(name, '=');

        if (!*name) {
            continue;
        }
        if (value) {
            *value++ = '\0';
        }
        else {
            value = name + strlen(name);
        }
        if (ap_unescape_urlencoded(name) != OK
            || ap_unescape_urlencoded(value) != OK) {
            add_error(in, connpool_shown_name(in->r, name),
                      "is not valid URL encoding, or holds a NUL byte");
            continue;
        }
        APR_ARRAY_PUSH(in->raws, connpool_raw_t) = (connpool_raw_t){
            name, value, strlen(value), NULL};
    }
}

/* --- bodies --- */

static int read_form(input_t *in)
{
    char *body;
    apr_size_t size;
    int status = connpool_read_body(in->r, BODY_MAX, &body, &size, &in->detail);

    if (status == OK && strlen(body) != size) {
        in->detail = "The form holds a NUL byte.";
        return HTTP_BAD_REQUEST;
    }
    if (status == OK) {
        read_pairs(in, body);
    }
    return status;
}

static void add_members(input_t *in, const json_t *object)
{
    json_t *members = (json_t *)object; /* only looked at */
    void *i = json_object_iter(members);

    for (; i; i = json_object_iter_next(members, i)) {
        APR_ARRAY_PUSH(in->raws, connpool_raw_t) = (connpool_raw_t){
            json_object_iter_key(i), NULL, 0, json_object_iter_value(i)};
    }
}

static int read_json(input_t *in)
{
    char *body;
    apr_size_t size;
    json_t *root;
    int status = connpool_read_body(in->r, BODY_MAX, &body, &size, &in->detail);

    if (status == OK) {
        status = connpool_json_load(in->r, body, size, &root, &in->detail);
    }
    if (status != OK) {
        return status;
    }
    if (!json_is_object(root)) {
        in->detail = "The JSON body is not an object.";
        return HTTP_BAD_REQUEST;
    }
    add_members(in, root);
    return OK;
}

static int read_request(input_t *in)
{
    request_rec *r = in->r;
    const char *type = apr_table_get(r->headers_in, "Content-Type");
    int status = OK;

    if (r->args) {
        read_pairs(in, r->args);
    }
    if (!connpool_has_body(r)) {
        return OK;
    }
    if (r->method_number == M_GET) {
        return ap_discard_request_body(r);
    }
    if (type
        && connpool_is_media_type(type, "application/x-www-form-urlencoded")) {
        status = read_form(in);
    }
    else if (type && connpool_is_media_type(type, "application/json")) {
        status = read_json(in);
    }
    else {
        in->detail = "Send application/x-www-form-urlencoded or "
                     "application/json.";
        status = HTTP_UNSUPPORTED_MEDIA_TYPE;
    }
    return status;
}

/* --- values --- */

static const char *parse_json_string(apr_pool_t *p,
                                     const connpool_param_t *param,
                                     const json_t *json, cp_value_t *value)
{
    switch (param->spec.type) {
    case CP_TYPE_TEXT:
    case CP_TYPE_DATE:
    case CP_TYPE_BLOB:
        return connpool_param_parse(p, param, json_string_value(json),
                                    json_string_length(json), value);
    case CP_TYPE_BOOLEAN:
        return "is not a JSON boolean";
    default:
        return "is not a JSON number";
    }
}

/* A value that JSON has given a type must have the declared one: nothing is
 * cast silently. */
static const char *parse_json(apr_pool_t *p, const connpool_param_t *param,
                              const json_t *json, cp_value_t *value)
{
    cp_type_t type = param->spec.type;
    const json_t *base64;

    if (type == CP_TYPE_JSON && !json_is_null(json)) {
        return json_is_object(json) || json_is_array(json)
                   ? connpool_nested_parse(p, param, json, value)
                   : "is not a JSON array or object";
    }
    switch (json_typeof(json)) {
    case JSON_NULL:
        value->storage = CP_NULL;
        return param->spec.is_required ? "is required" : NULL;
    case JSON_STRING:
        return parse_json_string(p, param, json, value);
    case JSON_TRUE:
    case JSON_FALSE:
        value->storage = CP_INTEGER;
        value->as.integer = json_is_true(json);
        return type == CP_TYPE_BOOLEAN ? NULL : "is a JSON boolean";
    case JSON_INTEGER:
        if (type == CP_TYPE_REAL) {
            value->storage = CP_REAL;
            value->as.real = (double)json_integer_value(json);
        }
        else if (type == CP_TYPE_INTEGER) {
            value->storage = CP_INTEGER;
            value->as.integer = json_integer_value(json);
        }
        else {
            return "is a JSON number";
        }
        return cp_value_in_range(p, &param->spec, value);
    case JSON_REAL:
        if (type != CP_TYPE_REAL) {
            return type == CP_TYPE_INTEGER ? "is not an integer"
                                           : "is a JSON number";
        }
        value->storage = CP_REAL;
        value->as.real = json_real_value(json);
        return cp_value_in_range(p, &param->spec, value);
    case JSON_OBJECT:
        base64 = json_object_get(json, "$base64");
        if (type == CP_TYPE_BLOB && json_is_string(base64)) {
            return parse_json_string(p, param, base64, value);
        }
        return "is a JSON object";
    default:
        return "is a JSON array";
    }
}

/* A form sends every field, also those that nobody filled in. Only text and
 * blobs have an empty value; JSON says null. */
static int is_left_empty(const connpool_param_t *param,
                         const connpool_raw_t *raw)
{
    cp_type_t type = param->spec.type;

    return raw->data && raw->size == 0 && type != CP_TYPE_TEXT
           && type != CP_TYPE_BLOB;
}

/* Would it do with '+' for these blanks? In URLs and forms a '+' is one. */
static int has_lost_plus(apr_pool_t *p, const connpool_param_t *param,
                         const connpool_raw_t *raw, const char *blank)
{
    char *text = apr_pstrmemdup(p, raw->data, raw->size);
    cp_value_t ignored;

    for (char *c = text + (blank - raw->data); *c; c++) {
        *c = *c == ' ' ? '+' : *c;
    }
    return !connpool_param_parse(p, param, text, raw->size, &ignored);
}

static const char *parse_text(apr_pool_t *p, const connpool_param_t *param,
                              const connpool_raw_t *raw, cp_value_t *value)
{
    const char *reason = connpool_param_parse(p, param, raw->data, raw->size,
                                              value);
    const char *first = reason ? strchr(raw->data, ' ') : NULL;

    /* Between date and time a blank may stand for itself. */
    if (first
        && (has_lost_plus(p, param, raw, first)
            || has_lost_plus(p, param, raw, strrchr(raw->data, ' ')))) {
        return apr_pstrcat(p, reason,
                           "; a '+' in a URL or a form is written %2B", NULL);
    }
    return reason;
}

static void convert(input_t *in, const connpool_raw_t *raw, cp_value_t *values,
                    char *seen)
{
    int i = connpool_find_param(in->query, raw->name);
    const connpool_param_t *param;
    const char *reason;

    if (i >= 0) {
        param = APR_ARRAY_IDX(in->query->params, i, connpool_param_t *);
        i = param->source ? -1 : i; /* no client's */
    }
    if (i < 0 && in->is_shared) {
        return;
    }
    if (i < 0) {
        add_error(in, connpool_shown_name(in->r, raw->name),
                  "is not a parameter here");
        return;
    }
    if (seen[i]) {
        add_error(in, raw->name, "is given more than once");
        return;
    }
    if (is_left_empty(param, raw)) {
        seen[i] = SEEN_EMPTY;
        return;
    }
    seen[i] = SEEN;
    reason = raw->data ? parse_text(in->r->pool, param, raw, &values[i])
                       : parse_json(in->r->pool, param, raw->typed, &values[i]);
    if (reason) {
        add_error(in, param->spec.name, reason);
    }
}

static void fill_fact(input_t *in, const connpool_param_t *param,
                      cp_value_t *value)
{
    const char *reason;
    int status = connpool_fact_read(in->r, in->query, param, value, &reason);

    if (status == HTTP_FORBIDDEN) {
        in->is_forbidden = 1;
    }
    if (status != OK) {
        add_error_of(in, param->spec.name, reason, status);
    }
}

static void fill_absent(input_t *in, cp_value_t *values, const char *seen)
{
    for (int i = 0; i < in->query->params->nelts; i++) {
        const connpool_param_t *param = APR_ARRAY_IDX(in->query->params, i,
                                                      connpool_param_t *);

        if (seen[i] == SEEN) {
            continue;
        }
        if (param->source) {
            fill_fact(in, param, &values[i]);
        }
        else if (param->spec.is_required) {
            add_error(in, param->spec.name, "is required");
        }
        else if (param->spec.has_default) {
            values[i] = param->spec.fallback;
        }
    }
}

static void init(input_t *in, request_rec *r, const connpool_query_t *query)
{
    in->r = r;
    in->query = query;
    in->raws = apr_array_make(r->pool, 8, sizeof(connpool_raw_t));
    in->errors = apr_array_make(r->pool, 2, sizeof(connpool_input_error_t));
}

static cp_value_t *values_of(input_t *in)
{
    apr_size_t count = (apr_size_t)in->query->params->nelts + 1;
    apr_pool_t *p = in->r->pool;
    cp_value_t *values = apr_pcalloc(p, count * sizeof(*values));
    char *seen = apr_pcalloc(p, count);

    for (int i = 0; i < in->raws->nelts; i++) {
        convert(in, &APR_ARRAY_IDX(in->raws, i, connpool_raw_t), values, seen);
    }
    fill_absent(in, values, seen);
    if (in->is_forbidden) {
        connpool_count_forbidden(in->query);
    }
    if (in->query->has_facts) {
        connpool_state(in->r)->is_private = 1;
    }
    return values;
}

int connpool_params_read(request_rec *r, const connpool_query_t *query,
                         cp_value_t **pvalues, apr_array_header_t **perrors,
                         const char **pdetail)
{
    input_t in = {0};
    int status;

    init(&in, r, query);
    status = read_request(&in);
    *perrors = in.errors;
    *pdetail = in.detail;
    if (status != OK) {
        return status;
    }
    *pvalues = values_of(&in);
    return in.errors->nelts > 0 ? connpool_input_status(in.errors, pdetail)
                                : OK;
}

apr_array_header_t *connpool_params_split(request_rec *r, const char *args,
                                          apr_array_header_t **perrors)
{
    input_t in = {0};

    init(&in, r, NULL);
    *perrors = in.errors;
    if (args) {
        read_pairs(&in, args);
    }
    return in.raws;
}

apr_array_header_t *connpool_params_share(request_rec *r,
                                          const connpool_query_t *query,
                                          apr_array_header_t *raws,
                                          cp_value_t **pvalues)
{
    input_t in = {.is_shared = 1};

    init(&in, r, query);
    in.raws = raws;
    *pvalues = values_of(&in);
    return in.errors;
}

apr_array_header_t *connpool_params_take(request_rec *r,
                                         const connpool_query_t *query,
                                         const json_t *object,
                                         cp_value_t **pvalues)
{
    input_t in = {0};

    init(&in, r, query);
    if (object) {
        add_members(&in, object);
    }
    *pvalues = values_of(&in);
    return in.errors;
}
