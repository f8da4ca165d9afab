/* SPDX-License-Identifier: Apache-2.0
 * Typed values: what a parameter carries in, and a column carries out. */
#ifndef CP_VALUE_H
#define CP_VALUE_H

#include <apr_pools.h>
#include <apr_tables.h>

/** What a ConnPoolParam declares. */
typedef enum cp_type_t {
    CP_TYPE_INTEGER,
    CP_TYPE_REAL,
    CP_TYPE_TEXT,
    CP_TYPE_BOOLEAN,
    CP_TYPE_DATE,
    CP_TYPE_BLOB,
    CP_TYPE_JSON, /**< an array or an object, bound as its text */
    CP_TYPES
} cp_type_t;

/** "integer", ...; the array ends with NULL (for cp_params_choice). */
extern const char *const cp_type_names[CP_TYPES + 1];

typedef enum cp_storage_t {
    CP_NULL,
    CP_INTEGER,
    CP_REAL,
    CP_TEXT,
    CP_BLOB,
    CP_JSON, /**< text that is JSON already, and valid UTF-8; out only */
} cp_storage_t;

/** Text, blob and JSON point into storage of whoever made the value. */
typedef struct cp_value_t {
    cp_storage_t storage;
    union {
        apr_int64_t integer;
        double real;
        struct {
            const char *data;
            apr_size_t size;
        } bytes;
    } as;
} cp_value_t;

/** A declared parameter of a query, without its pattern (the glue's business).
 */
typedef struct cp_param_spec_t {
    const char *name;
    cp_type_t type;
    int is_required;
    int has_default;
    cp_value_t fallback; /**< bound when the request names no value */
    int has_min, has_max;
    cp_value_t min, max; /**< integer, real, or date as text */
    apr_size_t
        maxlen; /**< bytes of text, JSON or (decoded) blob; default 64K */
} cp_param_spec_t;

/** Turn the request's bytes into a value of the declared type and check its
 * range. Strict: "1e3", " 1", "0x10", "+1", "٣" are no integers; "nan", "inf"
 * no reals; booleans are true|false|1|0|on|off; a date is YYYY-MM-DD or RFC
 * 3339 / ISO 8601 date and time (T or space, optional seconds, fraction, Z or
 * offset) that exists in the calendar, kept as the text that came; a blob is
 * standard base64 with padding, decoded into p. Text must be valid UTF-8
 * without NUL; whether that of a JSON parameter is JSON is the caller's to ask.
 * @return NULL, or a short reason for the client ("is not an integer") */
const char *cp_value_parse(apr_pool_t *p, const cp_param_spec_t *spec,
                           const char *data, apr_size_t size,
                           cp_value_t *value);

/** Range check alone, for values that came typed (JSON). Same reasons. */
const char *cp_value_in_range(apr_pool_t *p, const cp_param_spec_t *spec,
                              const cp_value_t *value);

#endif
