/* SPDX-License-Identifier: Apache-2.0 */
#include "answers/column.h"

#include "answers/json.h"

#include <string.h>
#include <strings.h>

#include <apr_strings.h>

/* --- names --- */

static int is_taken(const char *name, const char *const *names, int count)
{
    for (int i = 0; i < count; i++) {
        if (!strcmp(name, names[i])) {
            return 1;
        }
    }
    return 0;
}

/* A number is drawn only for later twins, so it must avoid real names on both
 * sides: of a, a, a_2 the second is a_3. */
const char **cp_distinct_names(apr_pool_t *p, int columns,
                               const char *const *names)
{
    const char **given = apr_palloc(p,
                                    sizeof(*given) * (apr_size_t)(columns + 1));
    const char **distinct = apr_palloc(p, sizeof(*distinct)
                                              * (apr_size_t)(columns + 1));
    for (int i = 0; i < columns; i++) {
        given[i] = names[i] ? names[i] : "";
    }
    for (int i = 0; i < columns; i++) {
        distinct[i] = given[i];
        int is_twin = is_taken(given[i], given, i);
        for (int n = 2; is_twin; n++) {
            distinct[i] = apr_psprintf(p, "%s_%d", given[i], n);
            is_twin = is_taken(distinct[i], given, columns)
                      || is_taken(distinct[i], distinct, i);
        }
    }
    return distinct;
}

/* --- values --- */

cp_column_t cp_column_of(const char *declared)
{
    static const struct {
        const char *type;
        cp_column_t column;
    } known[] = {
        {"BOOLEAN", CP_COLUMN_BOOLEAN},
        {"BOOL", CP_COLUMN_BOOLEAN},
        {"JSON", CP_COLUMN_JSON},
    };

    for (size_t i = 0; declared && i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcasecmp(declared, known[i].type) == 0) {
            return known[i].column;
        }
    }
    return CP_COLUMN_PLAIN;
}

/* Control characters stand nowhere in valid JSON but between its tokens. */
static void append_line(cp_buffer_t *buf, const char *data, apr_size_t size)
{
    char *at;

    if (!cp_buffer_reserve(buf, size)) {
        return;
    }
    at = buf->data + buf->size;
    for (apr_size_t i = 0; i < size; i++) {
        at[i] = data[i] == '\n' || data[i] == '\r' ? ' ' : data[i];
    }
    buf->size += size;
}

static cp_column_fit_t encode_json(cp_buffer_t *buf, int is_line,
                                   const cp_value_t *value)
{
    const char *data = value->as.bytes.data;
    apr_size_t size;

    if (value->storage != CP_TEXT && value->storage != CP_BLOB) {
        return CP_COLUMN_AS_IS; /* a number, or null: JSON as it is */
    }
    size = value->as.bytes.size;
    if (!cp_json_is_valid(data, size)) {
        return CP_COLUMN_MISFIT;
    }
    if (is_line) {
        append_line(buf, data, size);
    }
    else {
        cp_buffer_append(buf, data, size);
    }
    return CP_COLUMN_WRITTEN;
}

/* -1: neither true nor false. */
static int truth_of(const cp_value_t *value)
{
    const char *data = value->as.bytes.data;

    switch (value->storage) {
    case CP_INTEGER:
        return value->as.integer == 0 || value->as.integer == 1
                   ? (int)value->as.integer
                   : -1;
    case CP_REAL:
        return value->as.real == 0.0 ? 0 : value->as.real == 1.0 ? 1 : -1;
    case CP_TEXT:
        return value->as.bytes.size == 4 && !strncasecmp(data, "true", 4) ? 1
               : value->as.bytes.size == 5 && !strncasecmp(data, "false", 5)
                   ? 0
                   : -1;
    default:
        return -1;
    }
}

static cp_column_fit_t encode_boolean(cp_buffer_t *buf, const cp_value_t *value)
{
    int truth = truth_of(value);

    if (value->storage == CP_NULL) {
        return CP_COLUMN_AS_IS;
    }
    if (truth < 0) {
        return CP_COLUMN_MISFIT;
    }
    cp_buffer_append(buf, truth ? "true" : "false", truth ? 4 : 5);
    return CP_COLUMN_WRITTEN;
}

cp_column_fit_t cp_column_encode(cp_buffer_t *buf, cp_column_t column,
                                 int is_line, const cp_value_t *value)
{
    switch (column) {
    case CP_COLUMN_JSON:
        return encode_json(buf, is_line, value);
    case CP_COLUMN_BOOLEAN:
        return encode_boolean(buf, value);
    default:
        return CP_COLUMN_AS_IS;
    }
}
