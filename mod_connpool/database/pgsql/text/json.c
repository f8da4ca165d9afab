/* SPDX-License-Identifier: Apache-2.0 */
#include "database/pgsql/text/json.h"

#include "base/bytes/buffer.h"
#include "base/bytes/utf8.h"
#include "database/value.h"

#include <stdlib.h>
#include <string.h>

#include <apr_lib.h>

/* What becomes of a type's text. */
typedef enum kind_t {
    AS_TEXT,
    AS_INTEGER,
    AS_NUMBER,
    AS_BOOLEAN,
    AS_BYTES,
    AS_DATE,
    AS_TIME, /* a timestamp */
    AS_JSON,
} kind_t;

/* Types as the catalogue numbers them, with the type of their arrays. */
static const struct {
    unsigned oid, array;
    kind_t kind;
} types[] = {
    {16, 1000, AS_BOOLEAN}, {17, 1001, AS_BYTES},   {20, 1016, AS_INTEGER},
    {21, 1005, AS_INTEGER}, {23, 1007, AS_INTEGER}, {26, 1028, AS_INTEGER},
    {700, 1021, AS_NUMBER}, {701, 1022, AS_NUMBER}, {1700, 1231, AS_NUMBER},
    {114, 199, AS_JSON},    {3802, 3807, AS_JSON},  {1082, 1182, AS_DATE},
    {1114, 1115, AS_TIME},  {1184, 1185, AS_TIME},  {18, 1002, AS_TEXT},
    {19, 1003, AS_TEXT},    {25, 1009, AS_TEXT},    {1042, 1014, AS_TEXT},
    {1043, 1015, AS_TEXT},  {1083, 1183, AS_TEXT},  {1186, 1187, AS_TEXT},
    {1266, 1270, AS_TEXT},  {2950, 2951, AS_TEXT},  {869, 1041, AS_TEXT},
    {650, 651, AS_TEXT},    {829, 1040, AS_TEXT},   {1560, 1561, AS_TEXT},
    {1562, 1563, AS_TEXT},  {790, 791, AS_TEXT},    {3614, 3643, AS_TEXT},
    {3904, 3905, AS_TEXT},  {3906, 3907, AS_TEXT},  {3926, 3927, AS_TEXT},
    {3908, 3909, AS_TEXT},  {3910, 3911, AS_TEXT},  {3912, 3913, AS_TEXT},
};

static kind_t kind_of(unsigned oid, int *pis_array)
{
    *pis_array = 0;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (types[i].oid == oid) {
            return types[i].kind;
        }
        if (types[i].array == oid) {
            *pis_array = 1;
            return types[i].kind;
        }
    }
    return AS_TEXT;
}

/* --- scalars --- */

/* NaN and infinities have no place in JSON. */
static int is_number(const char *text, apr_size_t size)
{
    return size > 0
           && (apr_isdigit(text[0])
               || (text[0] == '-' && size > 1 && apr_isdigit(text[1])));
}

/* 0: it does not fit, or is none. */
static int parse_integer(const char *text, apr_size_t size,
                         apr_int64_t *pinteger)
{
    int is_negative = size > 0 && text[0] == '-';
    uint64_t n = 0;

    for (apr_size_t i = (apr_size_t)is_negative; i < size; i++) {
        if (!apr_isdigit(text[i]) || i > 19) {
            return 0;
        }
        n = n * 10 + (uint64_t)(text[i] - '0');
    }
    *pinteger = (apr_int64_t)(is_negative ? -n : n);
    return size > (apr_size_t)is_negative;
}

static int hex_digit(char c)
{
    if (apr_isdigit(c)) {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int is_octal(const char *c)
{
    return c[0] >= '0' && c[0] <= '3' && c[1] >= '0' && c[1] <= '7'
           && c[2] >= '0' && c[2] <= '7';
}

/* Either form of bytea_output: the server's, or the role's, decides. */
static void put_bytes(cp_buffer_t *out, const char *text, apr_size_t size)
{
    if (!cp_buffer_reserve(out, size)) {
        return;
    }
    if (size >= 2 && text[0] == '\\' && text[1] == 'x') {
        for (apr_size_t i = 2; i + 1 < size; i += 2) {
            cp_buffer_put_char(
                out, (char)(hex_digit(text[i]) << 4 | hex_digit(text[i + 1])));
        }
        return;
    }
    for (apr_size_t i = 0; i < size; i++) {
        if (text[i] == '\\' && i + 3 < size && is_octal(text + i + 1)) {
            cp_buffer_put_char(out, (char)((text[i + 1] - '0') << 6
                                           | (text[i + 2] - '0') << 3
                                           | (text[i + 3] - '0')));
            i += 3;
            continue;
        }
        i += text[i] == '\\' && i + 1 < size;
        cp_buffer_put_char(out, text[i]);
    }
}

/* 2026-01-31 10:00:00.5+02 -> 2026-01-31T10:00:00.5+02:00; what has another
 * form (infinity, BC) stays as it is.
 * @return 0: it stays */
static int put_time(cp_buffer_t *out, const char *text, apr_size_t size)
{
    const char *space = memchr(text, ' ', size);
    const char *end = text + size;

    if (!space || memchr(space + 1, ' ', (apr_size_t)(end - space - 1))
        || !cp_buffer_reserve(out, size + 3)) {
        return 0;
    }
    cp_buffer_put(out, text, size);
    out->data[out->size - size + (apr_size_t)(space - text)] = 'T';
    if (size > 3 && (end[-3] == '+' || end[-3] == '-')) {
        cp_buffer_put(out, ":00", 3);
    }
    return 1;
}

/* In text of JSON a line's end is but a blank. */
static void put_json(cp_buffer_t *out, const char *text, apr_size_t size)
{
    if (!cp_buffer_reserve(out, size)) {
        return;
    }
    for (apr_size_t i = 0; i < size; i++) {
        cp_buffer_put_char(out,
                           text[i] == '\n' || text[i] == '\r' ? ' ' : text[i]);
    }
}

/* --- elements of arrays: JSON --- */

static const char hex[] = "0123456789abcdef";

static void put_string(cp_buffer_t *out, const char *text, apr_size_t size)
{
    if (!cp_buffer_reserve(out, 6 * size + 2)) {
        return;
    }
    cp_buffer_put_char(out, '"');
    for (apr_size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c == '"' || c == '\\') {
            cp_buffer_put_char(out, '\\');
            cp_buffer_put_char(out, (char)c);
        }
        else if (c < 0x20 || c == '<' || c == '>') {
            cp_buffer_put(out, "\\u00", 4);
            cp_buffer_put_char(out, hex[c >> 4]);
            cp_buffer_put_char(out, hex[c & 15]);
        }
        else {
            cp_buffer_put_char(out, (char)c);
        }
    }
    cp_buffer_put_char(out, '"');
}

static void put_base64(cp_buffer_t *out, const char *bytes, apr_size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrs"
                                 "tuvwxyz0123456789+/";

    if (!cp_buffer_reserve(out, size / 3 * 4 + 24)) {
        return;
    }
    cp_buffer_put(out, "{\"$base64\":\"", 12);
    for (apr_size_t i = 0; i < size; i += 3) {
        apr_size_t left = size - i;
        unsigned long n = (unsigned long)(unsigned char)bytes[i] << 16;

        n |= left > 1 ? (unsigned long)(unsigned char)bytes[i + 1] << 8 : 0;
        n |= left > 2 ? (unsigned long)(unsigned char)bytes[i + 2] : 0;
        cp_buffer_put_char(out, digits[n >> 18]);
        cp_buffer_put_char(out, digits[n >> 12 & 63]);
        cp_buffer_put_char(out, left > 1 ? digits[n >> 6 & 63] : '=');
        cp_buffer_put_char(out, left > 2 ? digits[n & 63] : '=');
    }
    cp_buffer_put(out, "\"}", 2);
}

static void put_element(cp_buffer_t *out, kind_t kind, const char *text,
                        apr_size_t size)
{
    cp_buffer_t scratch = {.may_fail = out->may_fail};

    switch (kind) {
    case AS_INTEGER:
    case AS_NUMBER:
        if (is_number(text, size)) {
            cp_buffer_append(out, text, size);
        }
        else {
            cp_buffer_append(out, "null", 4);
        }
        return;
    case AS_BOOLEAN:
        cp_buffer_append(out, *text == 't' ? "true" : "false",
                         *text == 't' ? 4 : 5);
        return;
    case AS_JSON:
        put_json(out, text, size);
        return;
    case AS_BYTES:
        put_bytes(&scratch, text, size);
        put_base64(out, scratch.data, scratch.size);
        break;
    case AS_TIME:
        if (put_time(&scratch, text, size)) {
            put_string(out, scratch.data, scratch.size);
            break;
        }
        put_string(out, text, size);
        break;
    default:
        put_string(out, text, size);
        break;
    }
    out->has_failed |= scratch.has_failed;
    cp_buffer_free(&scratch);
}

/* Reads one element, quoted or not, up to its delimiter.
 * @return behind it, or NULL */
static const char *take_element(cp_buffer_t *out, kind_t kind, const char *c,
                                const char *end)
{
    cp_buffer_t word = {.may_fail = out->may_fail};
    int is_quoted = *c == '"';

    for (c += is_quoted; c < end; c++) {
        if (is_quoted ? *c == '"' : *c == ',' || *c == '}') {
            break;
        }
        c += *c == '\\' && c + 1 < end;
        cp_buffer_append(&word, c, 1);
    }
    if (c < end) {
        if (!is_quoted && word.size == 4
            && strncasecmp(word.data, "NULL", 4) == 0) {
            cp_buffer_append(out, "null", 4);
        }
        else {
            put_element(out, kind, word.data ? word.data : "", word.size);
        }
    }
    out->has_failed |= word.has_failed;
    cp_buffer_free(&word);
    return c < end ? c + is_quoted : NULL;
}

/* {1,NULL,{"a b"}}, perhaps with [0:1]= in front.
 * @return 0: it has another form */
static int put_array(cp_buffer_t *out, kind_t kind, const char *text,
                     apr_size_t size)
{
    const char *c = text, *end = text + size;
    int depth = 0;

    if (size > 0 && *c == '[') {
        c = memchr(text, '=', size);
        c = c ? c + 1 : end;
    }
    while (c && c < end) {
        if (*c == '{') {
            cp_buffer_append(out, "[", 1);
            depth++;
            c++;
        }
        else if (*c == '}') {
            cp_buffer_append(out, "]", 1);
            c++;
            if (--depth == 0) {
                return c == end;
            }
        }
        else if (depth == 0) {
            return 0;
        }
        else if (*c == ',') {
            cp_buffer_append(out, ",", 1);
            c++;
        }
        else {
            c = take_element(out, kind, c, end);
        }
    }
    return 0;
}

/* --- a column's value --- */

static void set_bytes(cp_value_t *value, cp_storage_t storage, const char *data,
                      apr_size_t size)
{
    value->storage = storage;
    value->as.bytes.data = data;
    value->as.bytes.size = size;
}

static int from_scratch(cp_value_t *value, cp_storage_t storage,
                        const cp_buffer_t *scratch, apr_size_t from)
{
    set_bytes(value, storage, NULL, scratch->size - from);
    return 1;
}

static int decode_json(const char *text, apr_size_t size, cp_buffer_t *scratch,
                       cp_value_t *value)
{
    apr_size_t from = scratch->size;

    /* A database in SQL_ASCII holds whatever bytes came. */
    if (!cp_utf8_is_valid(text, size)) {
        return 0;
    }
    if (!memchr(text, '\n', size) && !memchr(text, '\r', size)) {
        set_bytes(value, CP_JSON, text, size);
        return 0;
    }
    put_json(scratch, text, size);
    return from_scratch(value, CP_JSON, scratch, from);
}

static int decode_array(kind_t kind, const char *text, apr_size_t size,
                        cp_buffer_t *scratch, cp_value_t *value)
{
    apr_size_t from = scratch->size;

    if (!cp_utf8_is_valid(text, size)) {
        return 0;
    }
    if (!put_array(scratch, kind, text, size)) {
        scratch->size = from;
        return 0;
    }
    return from_scratch(value, CP_JSON, scratch, from);
}

int cp_pg_decode(unsigned oid, const char *text, apr_size_t size,
                 cp_buffer_t *scratch, cp_value_t *value)
{
    apr_size_t from = scratch->size;
    int is_array;
    kind_t kind = kind_of(oid, &is_array);

    set_bytes(value, CP_TEXT, text, size);
    if (is_array) {
        return decode_array(kind, text, size, scratch, value);
    }
    switch (kind) {
    case AS_INTEGER:
        if (parse_integer(text, size, &value->as.integer)) {
            value->storage = CP_INTEGER;
        }
        return 0;
    case AS_NUMBER:
        value->storage = is_number(text, size) ? CP_JSON : CP_NULL;
        return 0;
    case AS_BOOLEAN:
        set_bytes(value, CP_JSON, *text == 't' ? "true" : "false",
                  *text == 't' ? 4 : 5);
        return 0;
    case AS_BYTES:
        put_bytes(scratch, text, size);
        return from_scratch(value, CP_BLOB, scratch, from);
    case AS_TIME:
        return put_time(scratch, text, size)
                   ? from_scratch(value, CP_TEXT, scratch, from)
                   : 0;
    case AS_JSON:
        return decode_json(text, size, scratch, value);
    default:
        return 0;
    }
}
