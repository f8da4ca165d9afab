/* SPDX-License-Identifier: Apache-2.0 */
#include "answers/put.h"

#include "answers/encode.h"
#include "base/bytes/buffer.h"

#include <string.h>

#include <apr_strings.h>

void connpool_json_put(cp_buffer_t *buf, const char *text)
{
    cp_buffer_append(buf, text, strlen(text));
}

void connpool_json_key(cp_buffer_t *buf, const char *separator, const char *key)
{
    connpool_json_put(buf, separator);
    cp_encode_json_string(buf, key, strlen(key));
    connpool_json_put(buf, ":");
}

void connpool_json_text(cp_buffer_t *buf, const char *separator,
                        const char *key, const char *value)
{
    connpool_json_key(buf, separator, key);
    cp_encode_json_string(buf, value, strlen(value));
}

void connpool_json_number(cp_buffer_t *buf, const char *separator,
                          const char *key, uint64_t value)
{
    char text[32];

    apr_snprintf(text, sizeof(text), "%" APR_UINT64_T_FMT, value);
    connpool_json_key(buf, separator, key);
    connpool_json_put(buf, text);
}

void connpool_json_boolean(cp_buffer_t *buf, const char *separator,
                           const char *key, int value)
{
    connpool_json_key(buf, separator, key);
    connpool_json_put(buf, value ? "true" : "false");
}
