/* SPDX-License-Identifier: Apache-2.0
 * Nested JSON becomes text again: the same values, integers exact, reals with
 * the fewest digits that read back equal, nothing escaped that need not be. */
#include "request/param/nested.h"

#include "glue.h"
#include "answers/json.h"
#include "base/bytes/buffer.h"
#include "config/query.h"
#include "database/value.h"

#include <jansson.h>

#include <apr_strings.h>

#define REAL_BYTES 64

static int append(const char *data, size_t size, void *buf)
{
    cp_buffer_append(buf, data, size);
    return 0;
}

static int reads_back(const json_t *real, const char *text, size_t size)
{
    json_t *again = json_loadb(text, size, JSON_DECODE_ANY, NULL);
    int is_same = again && json_real_value(again) == json_real_value(real);

    json_decref(again);
    return is_same;
}

static void put_real(cp_buffer_t *buf, const json_t *real)
{
    char text[REAL_BYTES];
    size_t size = 0;

    for (size_t precision = 15; precision <= 17; precision++) {
        size = json_dumpb(real, text, sizeof(text),
                          JSON_ENCODE_ANY | JSON_REAL_PRECISION(precision));
        if (reads_back(real, text, size)) {
            break;
        }
    }
    cp_buffer_append(buf, text, size);
}

static void put(cp_buffer_t *buf, const json_t *json, int depth);

static void put_members(cp_buffer_t *buf, json_t *object, int depth)
{
    const char *separator = "{";
    void *i = json_object_iter(object);

    for (; i; i = json_object_iter_next(object, i)) {
        json_t *name = json_string(json_object_iter_key(i));

        cp_buffer_append(buf, separator, 1);
        json_dump_callback(name, append, buf, JSON_ENCODE_ANY);
        json_decref(name);
        cp_buffer_append(buf, ":", 1);
        put(buf, json_object_iter_value(i), depth);
        separator = ",";
    }
    cp_buffer_append(buf, json_object_size(object) ? "}" : "{}",
                     json_object_size(object) ? 1 : 2);
}

static void put_elements(cp_buffer_t *buf, const json_t *array, int depth)
{
    cp_buffer_append(buf, "[", 1);
    for (size_t i = 0; i < json_array_size(array); i++) {
        cp_buffer_append(buf, ",", i > 0);
        put(buf, json_array_get(array, i), depth);
    }
    cp_buffer_append(buf, "]", 1);
}

/* What is too deep makes a text that is refused. */
static void put(cp_buffer_t *buf, const json_t *json, int depth)
{
    int is_nest = json_is_object(json) || json_is_array(json);

    if (is_nest && depth > CP_JSON_DEPTH_MAX) {
        cp_buffer_append(buf, "[", 1);
        return;
    }
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        put_members(buf, (json_t *)json, depth + 1); /* only looked at */
        break;
    case JSON_ARRAY:
        put_elements(buf, json, depth + 1);
        break;
    case JSON_REAL:
        put_real(buf, json);
        break;
    default:
        json_dump_callback(json, append, buf, JSON_ENCODE_ANY);
    }
}

const char *connpool_nested_parse(apr_pool_t *p, const connpool_param_t *param,
                                  const json_t *json, cp_value_t *value)
{
    cp_buffer_t buf = CP_BUFFER_MAY_FAIL;
    const char *text;
    apr_size_t size;

    put(&buf, json, 1);
    if (buf.has_failed) {
        cp_buffer_free(&buf);
        return "needs more memory than there is";
    }
    size = buf.size;
    text = apr_pstrmemdup(p, buf.data ? buf.data : "", size);
    cp_buffer_free(&buf);
    return connpool_param_parse(p, param, text, size, value);
}
