/* SPDX-License-Identifier: Apache-2.0
 * Parameters and answers as JSON Schema, in the dialect of OpenAPI 3.1. */
#include "openapi/parts.h"

#include "glue.h"
#include "answers/encode.h"
#include "openapi/description.h"
#include "config/query.h"
#include "database/shape.h"
#include "database/value.h"

#include <apr_strings.h>

/* What each type is, apart from what its declaration adds. */
static const struct {
    const char *type;
    const char *format; /* NULL: none */
} kinds[CP_TYPES] = {
    [CP_TYPE_INTEGER] = {"integer", "int64"},
    [CP_TYPE_REAL] = {"number", "double"},
    [CP_TYPE_TEXT] = {"string", NULL},
    [CP_TYPE_BOOLEAN] = {"boolean", NULL},
    [CP_TYPE_DATE] = {"string", NULL},
    [CP_TYPE_BLOB] = {"string", NULL},
    [CP_TYPE_JSON] = {"string", NULL}, /* in URLs; see add_nested */
};

static json_t *value_of(const cp_value_t *value)
{
    switch (value->storage) {
    case CP_INTEGER:
        return json_integer(value->as.integer);
    case CP_REAL:
        return json_real(value->as.real);
    case CP_TEXT:
        return json_stringn(value->as.bytes.data, value->as.bytes.size);
    default:
        return json_null();
    }
}

static json_t *default_of(apr_pool_t *p, const cp_param_spec_t *spec)
{
    cp_buffer_t buf = {0};
    json_t *text;

    if (spec->type == CP_TYPE_BOOLEAN) {
        return json_boolean(spec->fallback.as.integer);
    }
    if (spec->type != CP_TYPE_BLOB) {
        return value_of(&spec->fallback);
    }
    cp_encode_json_blob(&buf, spec->fallback.as.bytes.data,
                        spec->fallback.as.bytes.size);
    text = json_loadb(buf.data, buf.size, 0, NULL);
    cp_buffer_free(&buf);
    return text ? json_incref(json_object_get(text, "$base64")) : NULL;
}

/* Bounds of dates are text, for which JSON Schema has no order. */
static void add_bounds(json_t *schema, const cp_param_spec_t *spec)
{
    int is_date = spec->type == CP_TYPE_DATE;

    if (spec->has_min) {
        json_object_set_new(schema, is_date ? "formatMinimum" : "minimum",
                            value_of(&spec->min));
    }
    if (spec->has_max) {
        json_object_set_new(schema, is_date ? "formatMaximum" : "maximum",
                            value_of(&spec->max));
    }
}

/* Bytes are counted here, and characters by JSON Schema: no text that has more
 * of these has fewer of those. */
static void add_length(json_t *schema, const cp_param_spec_t *spec)
{
    if (spec->type == CP_TYPE_TEXT) {
        json_object_set_new(schema, "maxLength",
                            json_integer((json_int_t)spec->maxlen));
    }
    if (spec->type == CP_TYPE_BLOB) {
        json_object_set_new(schema, "contentEncoding", json_string("base64"));
        json_object_set_new(
            schema, "maxLength",
            json_integer((json_int_t)((spec->maxlen + 2) / 3 * 4)));
    }
}

/* An array or an object: text of it in a URL or a form, itself in a JSON body.
 */
static void add_nested(json_t *schema, const cp_param_spec_t *spec, int is_json)
{
    if (spec->type != CP_TYPE_JSON) {
        return;
    }
    if (is_json) {
        json_object_set_new(
            schema, "type",
            spec->is_required
                ? json_pack("[s,s]", "array", "object")
                : json_pack("[s,s,s]", "array", "object", "null"));
        if (spec->has_default) {
            json_object_set_new(schema, "default",
                                json_loadb(spec->fallback.as.bytes.data,
                                           spec->fallback.as.bytes.size, 0,
                                           NULL));
        }
        return;
    }
    json_object_set_new(schema, "contentMediaType",
                        json_string("application/json"));
    json_object_set_new(schema, "maxLength",
                        json_integer((json_int_t)spec->maxlen));
}

json_t *connpool_openapi_value(apr_pool_t *p, const connpool_param_t *param,
                               int is_json)
{
    const cp_param_spec_t *spec = &param->spec;
    const char *type = kinds[spec->type].type;
    json_t *schema = is_json && !spec->is_required
                         ? json_pack("{s:[s,s]}", "type", type, "null")
                         : json_pack("{s:s}", "type", type);

    if (kinds[spec->type].format) {
        json_object_set_new(schema, "format",
                            json_string(kinds[spec->type].format));
    }
    if (spec->type == CP_TYPE_DATE) {
        json_object_set_new(schema, "anyOf",
                            json_pack("[{s:s},{s:s}]", "format", "date",
                                      "format", "date-time"));
    }
    add_bounds(schema, spec);
    add_length(schema, spec);
    if (param->pattern) {
        json_object_set_new(schema, "pattern", json_string(param->pattern));
    }
    if (spec->has_default) {
        json_object_set_new(schema, "default", default_of(p, spec));
    }
    add_nested(schema, spec, is_json);
    return schema;
}

json_t *connpool_openapi_params(const connpool_openapi_t *doc,
                                const connpool_query_t *query, int is_json)
{
    json_t *properties = json_object();
    json_t *required = json_array();
    json_t *schema = json_pack("{s:s,s:o,s:b}", "type", "object", "properties",
                               properties, "additionalProperties", 0);

    for (int i = 0; i < query->params->nelts; i++) {
        const connpool_param_t *param = APR_ARRAY_IDX(query->params, i,
                                                      connpool_param_t *);
        const connpool_description_t *said = connpool_find_description(
            doc->server, query->name, param->spec.name);
        json_t *value;

        if (param->source) {
            continue; /* not the client's to give, or in the path */
        }
        value = connpool_openapi_value(doc->p, param, is_json);
        if (said) {
            json_object_set_new(value, "description", json_string(said->text));
        }
        json_object_set_new(properties, param->spec.name, value);
        if (param->spec.is_required) {
            json_array_append_new(required, json_string(param->spec.name));
        }
    }
    if (json_array_size(required) > 0) {
        json_object_set(schema, "required", required);
    }
    json_decref(required);
    return schema;
}

/* --- answers --- */

static json_t *list_of(json_t *items, int max)
{
    return json_pack("{s:s,s:i,s:o}", "type", "array", "maxItems", max, "items",
                     items);
}

/* A column of JSON holds anything. */
static json_t *cell(const connpool_query_t *query)
{
    return query->reply.json || query->reply.has_declared_types
               ? json_object()
               : connpool_openapi_ref("schemas", "Value");
}

static json_t *row_object(const connpool_query_t *query)
{
    return json_pack("{s:s,s:o}", "type", "object", "additionalProperties",
                     cell(query));
}

json_t *connpool_openapi_result(const connpool_query_t *query)
{
    if (query->is_write && !query->shape.has_returning) {
        return connpool_openapi_ref("schemas", "Written");
    }
    switch (query->format) {
    case CP_FORMAT_OBJECTS:
        return list_of(row_object(query), query->max_rows);
    case CP_FORMAT_ARRAYS:
        return list_of(
            json_pack("{s:s,s:o}", "type", "array", "items", cell(query)),
            query->max_rows);
    case CP_FORMAT_OBJECT:
        return row_object(query);
    case CP_FORMAT_VALUE:
        return cell(query);
    case CP_FORMAT_JSON:
    case CP_FORMAT_RAW:
        return json_object();
    default:
        return json_pack("{s:s}", "type", "string");
    }
}

json_t *connpool_openapi_schemas(void)
{
    json_t *value = json_pack(
        "{s:s,s:[{s:[s,s,s,s]},{s:s,s:{s:{s:s,s:s}},s:[s],s:b}]}",
        "description", "What a column holds; a blob is an object.", "oneOf",
        "type", "null", "boolean", "number", "string", "type", "object",
        "properties", "$base64", "type", "string", "contentEncoding", "base64",
        "required", "$base64", "additionalProperties", 0);
    json_t *written = json_pack("{s:s,s:{s:{s:s,s:s,s:i},s:{s:s,s:s}},s:[s]}",
                                "type", "object", "properties", "changes",
                                "type", "integer", "format", "int64", "minimum",
                                0, "last_insert_rowid", "type", "integer",
                                "format", "int64", "required", "changes");
    json_t *error = json_pack("{s:s,s:{s:{s:s},s:{s:s}},s:[s,s]}", "type",
                              "object", "properties", "param", "type", "string",
                              "reason", "type", "string", "required", "param",
                              "reason");
    json_t *problem = json_pack(
        "{s:s,s:s,s:{s:{s:s},s:{s:s},s:{s:s},s:{s:s},s:{s:s,s:o},s:{s:s},"
        "s:{s:s},s:{s:s,s:{s:s}}},s:[s,s,s,s]}",
        "description", "What went wrong, as RFC 9457 has it.", "type", "object",
        "properties", "type", "type", "string", "title", "type", "string",
        "status", "type", "integer", "detail", "type", "string", "errors",
        "type", "array", "items", error, "constraint", "type", "string", "name",
        "type", "string", "columns", "type", "array", "items", "type", "string",
        "required", "type", "title", "status", "detail");
    json_t *item = json_pack(
        "{s:s,s:{s:{s:s},s:{s:s},s:{s:s},s:{},s:o},s:[s,s,s]}", "type",
        "object", "properties", "name", "type", "string", "status", "type",
        "integer", "ms", "type", "number", "body", "error",
        connpool_openapi_ref("schemas", "Problem"), "required", "name",
        "status", "ms");

    return json_pack("{s:o,s:o,s:o,s:o}", "Value", value, "Written", written,
                     "Problem", problem, "BatchItem", item);
}
