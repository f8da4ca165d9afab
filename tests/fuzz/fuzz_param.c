/* SPDX-License-Identifier: Apache-2.0
 * Values of parameters: what is taken is in range, and says what the bytes
 * said. The first two bytes are the type and what is declared of it. */
#include "fuzz.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <apr_base64.h>

#include "base/bytes/utf8.h"
#include "database/value.h"

static void check_number(const cp_param_spec_t *spec, const cp_value_t *value,
                         const char *text)
{
    char *end;

    errno = 0;
    if (spec->type == CP_TYPE_INTEGER) {
        MUST(value->storage == CP_INTEGER);
        MUST(strtoll(text, &end, 10) == value->as.integer && !*end && !errno);
        MUST(!spec->has_min || value->as.integer >= spec->min.as.integer);
        MUST(!spec->has_max || value->as.integer <= spec->max.as.integer);
        return;
    }
    MUST(value->storage == CP_REAL && isfinite(value->as.real));
    MUST(strtod(text, &end) == value->as.real && !*end);
    MUST(!spec->has_min || value->as.real >= spec->min.as.real);
    MUST(!spec->has_max || value->as.real <= spec->max.as.real);
}

static void check_bytes(apr_pool_t *p, const cp_param_spec_t *spec,
                        const cp_value_t *value, const char *data, size_t size)
{
    apr_size_t n = value->as.bytes.size;

    MUST(spec->type == CP_TYPE_DATE || n <= spec->maxlen);
    if (spec->type == CP_TYPE_BLOB) {
        char *again = apr_palloc(p, (apr_size_t)apr_base64_encode_len((int)n));

        MUST(value->storage == CP_BLOB);
        apr_base64_encode_binary(
            again, (const unsigned char *)value->as.bytes.data, (int)n);
        MUST(strlen(again) == size && memcmp(again, data, size) == 0);
        return;
    }
    MUST(value->storage == CP_TEXT && n == size);
    MUST(n == 0 || memcmp(value->as.bytes.data, data, n) == 0);
    MUST(n == 0 || !memchr(data, '\0', n));
    MUST(cp_utf8_is_valid(value->as.bytes.data, n));
}

static void check(apr_pool_t *p, const cp_param_spec_t *spec,
                  const cp_value_t *value, const char *data, size_t size)
{
    switch (spec->type) {
    case CP_TYPE_INTEGER:
    case CP_TYPE_REAL:
        check_number(spec, value, fuzz_text(p, data, size));
        break;
    case CP_TYPE_BOOLEAN:
        MUST(value->storage == CP_INTEGER);
        MUST(value->as.integer == 0 || value->as.integer == 1);
        break;
    default:
        check_bytes(p, spec, value, data, size);
    }
}

static void declare(cp_param_spec_t *spec, unsigned how)
{
    spec->maxlen = how & 4 ? 16 : 65536;
    spec->has_min = how & 1;
    spec->has_max = (how & 2) != 0;
    if (spec->type == CP_TYPE_INTEGER) {
        spec->min = (cp_value_t){CP_INTEGER, {.integer = -1000}};
        spec->max = (cp_value_t){CP_INTEGER, {.integer = 1000}};
    }
    else if (spec->type == CP_TYPE_REAL) {
        spec->min = (cp_value_t){CP_REAL, {.real = -1.5}};
        spec->max = (cp_value_t){CP_REAL, {.real = 1e10}};
    }
    else if (spec->type == CP_TYPE_DATE) {
        spec->min = (cp_value_t){CP_TEXT, {.bytes = {"1970-01-01", 10}}};
        spec->max = (cp_value_t){CP_TEXT, {.bytes = {"2100-12-31", 10}}};
    }
    else {
        spec->has_min = spec->has_max = 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *p = fuzz_pool();
    cp_param_spec_t spec = {.name = "x"};
    cp_value_t value = {0};
    const char *reason;
    char *copy;

    spec.type = (cp_type_t)(fuzz_byte(&data, &size) % CP_TYPES);
    declare(&spec, fuzz_byte(&data, &size));
    copy = fuzz_copy(p, data, size);
    reason = cp_value_parse(p, &spec, copy, size, &value);
    MUST(!reason || *reason);
    if (!reason) {
        MUST(!cp_value_in_range(p, &spec, &value));
        check(p, &spec, &value, copy, size);
    }
    return 0;
}
