/* SPDX-License-Identifier: Apache-2.0
 * Texts that are to become a part of ours: what we call JSON jansson reads,
 * and what it reads is JSON to us unless it is too deep or ends in a way that
 * we never see. And any text and row becomes JSON when we write it. */
#include "fuzz.h"

#include <string.h>

#include <jansson.h>

#include "answers/encode.h"
#include "answers/json.h"
#include "base/bytes/buffer.h"
#include "base/bytes/utf8.h"

/* Well-formed, but jansson cannot hold it. */
static int is_excused(const json_error_t *why)
{
    return json_error_code(why) == json_error_numeric_overflow
           || json_error_code(why) == json_error_null_byte_in_key;
}

static void compare(const char *text, size_t size)
{
    json_error_t why;
    int is_valid = cp_json_is_valid(text, size);
    json_t *root = json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL,
                              &why);

    MUST(!is_valid || root || is_excused(&why));
    json_decref(root);
}

static void write_string(const char *text, size_t size)
{
    cp_buffer_t buf = {0};
    json_t *string;

    cp_encode_json_string(&buf, text, size);
    MUST(cp_json_is_valid(buf.data, buf.size));
    MUST(!memchr(buf.data, '<', buf.size));
    string = json_loadb(buf.data, buf.size, JSON_DECODE_ANY | JSON_ALLOW_NUL,
                        NULL);
    MUST(string);
    MUST(!cp_utf8_is_valid(text, size)
         || (json_string_length(string) == size
             && memcmp(json_string_value(string), text, size) == 0));
    json_decref(string);
    cp_buffer_free(&buf);
}

static void write_rows(apr_pool_t *p, const char *text, size_t size,
                       unsigned how)
{
    const char *names[] = {fuzz_text(p, text, size < 20 ? size : 20), "a", "a"};
    cp_value_t row[3] = {{.storage = CP_TEXT}, {.storage = CP_BLOB}};
    cp_encoder_t *encoder = cp_encoder_create(p, (cp_format_t)(how % 4), 3,
                                              names);
    cp_buffer_t buf = {0};

    row[0].as.bytes.data = row[1].as.bytes.data = text;
    row[0].as.bytes.size = row[1].as.bytes.size = size;
    row[2].storage = how & 16 ? CP_REAL : CP_INTEGER;
    memcpy(&row[2].as, text, size < 8 ? size : 8);
    cp_encode_begin(encoder, &buf);
    cp_encode_row(encoder, &buf, row);
    cp_encode_row(encoder, &buf, row);
    cp_encode_end(encoder, &buf);
    MUST(cp_json_is_valid(buf.data, buf.size));
    cp_buffer_free(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *p = fuzz_pool();
    unsigned how = fuzz_byte(&data, &size);
    char *text = fuzz_copy(p, data, size);

    compare(text, size);
    write_string(text, size);
    write_rows(p, text, size, how);
    return 0;
}
