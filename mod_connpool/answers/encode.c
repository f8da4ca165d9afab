/* SPDX-License-Identifier: Apache-2.0 */
#include "answers/encode.h"

#include "answers/column.h"
#include "base/bytes/buffer.h"
#include "base/bytes/utf8.h"
#include "database/value.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_base64.h>
#include <apr_strings.h>

enum {
    SCALAR_MAX = 40,      /* the longest number, literal or escape, with room */
    BLOB_CHUNK = 3 << 20, /* apr_base64 counts in int; a multiple of 3 */
};

/* The put_ functions write into room that was reserved. */

/*** Numbers ***/

static const char digit_pairs[] = "00010203040506070809"
                                  "10111213141516171819"
                                  "20212223242526272829"
                                  "30313233343536373839"
                                  "40414243444546474849"
                                  "50515253545556575859"
                                  "60616263646566676869"
                                  "70717273747576777879"
                                  "80818283848586878889"
                                  "90919293949596979899";

/* Digits of n in front of `end`; returns the first. */
static char *digits_before(char *end, uint64_t n)
{
    while (n >= 100) {
        end -= 2;
        memcpy(end, digit_pairs + n % 100 * 2, 2);
        n /= 100;
    }
    if (n >= 10) {
        end -= 2;
        memcpy(end, digit_pairs + n * 2, 2);
        return end;
    }
    *--end = (char)('0' + n);
    return end;
}

static void put_digits(cp_buffer_t *buf, uint64_t n)
{
    char digits[20];
    char *end = digits + sizeof(digits);
    char *start = digits_before(end, n);
    cp_buffer_put(buf, start, (apr_size_t)(end - start));
}

static void put_integer(cp_buffer_t *buf, apr_int64_t integer)
{
    uint64_t n = (uint64_t)integer;
    if (integer < 0) {
        cp_buffer_put_char(buf, '-');
        n = -n; /* unsigned: exact for -2^63, too */
    }
    put_digits(buf, n);
}

/* Writes n / 10^decimals. */
static void put_decimal(cp_buffer_t *buf, uint64_t n, uint64_t power,
                        int decimals)
{
    put_digits(buf, n / power);
    cp_buffer_put_char(buf, '.');
    /* The 1 in front keeps the zeros that begin the fraction. */
    char digits[20];
    char *end = digits + sizeof(digits);
    digits_before(end, power + n % power);
    cp_buffer_put(buf, end - decimals, (apr_size_t)decimals);
}

/* Prices, coordinates, measurements: at most six decimals and 15 digits. A
 * double holds any 15 digits apart, and a quotient of two exact doubles is
 * rounded correctly: if n / 10^k is the number, its digits are the shortest
 * that read back as it. */
static int put_short_decimal(cp_buffer_t *buf, double magnitude)
{
    static const uint64_t powers[] = {10, 100, 1000, 10000, 100000, 1000000};
    for (int i = 0; i < 6; i++) {
        double scaled = magnitude * (double)powers[i];
        if (scaled >= 1e15) {
            return 0;
        }
        uint64_t n = (uint64_t)(scaled + 0.5);
        if ((double)n / (double)powers[i] == magnitude) {
            put_decimal(buf, n, powers[i], i + 1);
            return 1;
        }
    }
    return 0;
}

/* snprintf and strtod follow the locale, which any module may have set: what
 * is no digit, sign or exponent is its decimal point. */
static void put_any_real(cp_buffer_t *buf, double real)
{
    char text[SCALAR_MAX];
    /* 15 digits are safe in every normal number, and %g drops zeros behind;
     * subnormal ones hold fewer. */
    int precision = fabs(real) < DBL_MIN ? 1 : 15;
    do {
        snprintf(text, sizeof(text), "%.*g", precision, real);
    } while (precision++ < 17 && strtod(text, NULL) != real);

    int is_whole = 1;
    for (const char *c = text; *c;) {
        apr_size_t run = strspn(c, "0123456789+-");
        cp_buffer_put(buf, c, run);
        c += run;
        if (*c) {
            is_whole = 0;
            cp_buffer_put_char(buf, *c == 'e' ? 'e' : '.');
            c += strcspn(c, "0123456789+-");
        }
    }
    if (is_whole) {
        cp_buffer_put(buf, ".0", 2);
    }
}

static void put_real(cp_buffer_t *buf, double real)
{
    double magnitude = fabs(real);
    if (magnitude >= 9007199254740992.0) { /* 2^53 */
        put_any_real(buf, real);
        return;
    }
    apr_size_t start = buf->size;
    if (signbit(real)) {
        cp_buffer_put_char(buf, '-');
    }
    uint64_t whole = (uint64_t)magnitude;
    if ((double)whole == magnitude) {
        put_digits(buf, whole);
        cp_buffer_put(buf, ".0", 2);
    }
    else if (!put_short_decimal(buf, magnitude)) {
        buf->size = start;
        put_any_real(buf, real);
    }
}

/*** Text ***/

/* 1: a byte that JSON text carries as it is: ASCII without control characters
 * and without " < > and the backslash. */
static const unsigned char json_clean[256] = {
    [0x20 ... 0x21] = 1, [0x23 ... 0x3b] = 1, [0x3d] = 1,
    [0x3f ... 0x5b] = 1, [0x5d ... 0x7f] = 1,
};

/* 1: a byte because of which a CSV field is quoted. */
static const unsigned char csv_quoted[256] = {
    ['"'] = 1, [','] = 1, ['\r'] = 1, ['\n'] = 1};

#define EACH_BYTE(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Non-zero if any of eight bytes is not in json_clean. */
static inline uint64_t is_dirty(uint64_t word)
{
    uint64_t quote = word ^ EACH_BYTE('"');
    uint64_t backslash = word ^ EACH_BYTE('\\');
    uint64_t angle = (word | EACH_BYTE('<' ^ '>')) ^ EACH_BYTE('>');
    /* A byte below n borrows into its top bit when n is subtracted. */
    uint64_t below = (word - EACH_BYTE(0x20)) | (quote - EACH_BYTE(1))
                     | (backslash - EACH_BYTE(1)) | (angle - EACH_BYTE(1));
    return (below | word) & EACH_BYTE(0x80);
}

static int is_line_separator(const unsigned char *c)
{
    return c[0] == 0xe2 && c[1] == 0x80 && (c[2] == 0xa8 || c[2] == 0xa9);
}

/* Copies up to the next byte that needs an escape; returns its place. */
static const unsigned char *put_clean_run(cp_buffer_t *buf,
                                          const unsigned char *c,
                                          const unsigned char *end)
{
    char *at = buf->data + buf->size;
    while (c < end) {
        uint64_t word;
        if ((apr_size_t)(end - c) >= sizeof(word)) {
            memcpy(&word, c, sizeof(word));
            if (!is_dirty(word)) {
                memcpy(at, &word, sizeof(word));
                at += sizeof(word);
                c += sizeof(word);
                continue;
            }
        }
        while (c < end && json_clean[*c]) {
            *at++ = (char)*c++;
        }
        if (c == end || *c < 0x80) {
            break;
        }
        int length = cp_utf8_next((const char *)c, (apr_size_t)(end - c));
        if (length < 0 || (length == 3 && is_line_separator(c))) {
            break;
        }
        for (; length > 0; length--) {
            *at++ = (char)*c++;
        }
    }
    buf->size = (apr_size_t)(at - buf->data);
    return c;
}

/* Writes what stands for the byte or sequence at c; returns what follows. */
static const unsigned char *put_escape(cp_buffer_t *buf, const unsigned char *c,
                                       const unsigned char *end)
{
    static const char short_escapes[256] = {
        ['"'] = '"',  ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f',
        ['\n'] = 'n', ['\r'] = 'r',  ['\t'] = 't'};
    static const char hex[] = "0123456789abcdef";
    if (*c >= 0x80) {
        int length = cp_utf8_next((const char *)c, (apr_size_t)(end - c));
        if (length < 0) {
            cp_buffer_put(buf, "\xef\xbf\xbd", 3); /* U+FFFD */
            return c - length;
        }
        cp_buffer_put(buf, c[2] == 0xa8 ? "\\u2028" : "\\u2029", 6);
        return c + length;
    }
    cp_buffer_put_char(buf, '\\');
    if (short_escapes[*c]) {
        cp_buffer_put_char(buf, short_escapes[*c]);
    }
    else {
        cp_buffer_put(buf, "u00", 3);
        cp_buffer_put_char(buf, hex[*c >> 4]);
        cp_buffer_put_char(buf, hex[*c & 15]);
    }
    return c + 1;
}

void cp_encode_json_string(cp_buffer_t *buf, const char *data, apr_size_t size)
{
    const unsigned char *c = (const unsigned char *)data;
    const unsigned char *end = c + size;
    if (!cp_buffer_reserve(buf, size + 2)) {
        return;
    }
    cp_buffer_put_char(buf, '"');
    while ((c = put_clean_run(buf, c, end)) < end) {
        if (!cp_buffer_reserve(buf, SCALAR_MAX + (apr_size_t)(end - c))) {
            return;
        }
        c = put_escape(buf, c, end);
    }
    cp_buffer_put_char(buf, '"');
}

static int needs_quotes(const char *data, apr_size_t size)
{
    /* Unquoted, the empty text would be NULL; and spaces at the ends are
     * dropped by many readers. */
    if (size == 0 || data[0] == ' ' || data[size - 1] == ' ') {
        return 1;
    }
    for (apr_size_t i = 0; i < size; i++) {
        if (csv_quoted[(unsigned char)data[i]]) {
            return 1;
        }
    }
    return 0;
}

static void encode_csv_text(cp_buffer_t *buf, const char *data, apr_size_t size)
{
    int is_quoted = needs_quotes(data, size);
    const char *end = data + size;
    if (!cp_buffer_reserve(buf, size + 2)) {
        return;
    }
    if (is_quoted) {
        cp_buffer_put_char(buf, '"');
    }
    while (data < end) {
        int length = cp_utf8_next(data, (apr_size_t)(end - data));
        if (length > 0 && *data != '"') {
            cp_buffer_put(buf, data, (apr_size_t)length);
            data += length;
            continue;
        }
        if (!cp_buffer_reserve(buf, SCALAR_MAX + (apr_size_t)(end - data))) {
            return;
        }
        cp_buffer_put(buf, length < 0 ? "\xef\xbf\xbd" : "\"\"",
                      length < 0 ? 3 : 2);
        data += abs(length);
    }
    if (is_quoted) {
        cp_buffer_put_char(buf, '"');
    }
}

/*** Blobs ***/
static void encode_base64(cp_buffer_t *buf, const char *data, apr_size_t size)
{
    while (size > 0) {
        int chunk = size < BLOB_CHUNK ? (int)size : BLOB_CHUNK;
        if (!cp_buffer_reserve(buf, (apr_size_t)chunk / 3 * 4
                                        + 5)) { /* its NUL included */
            return;
        }
        buf->size += (apr_size_t)apr_base64_encode_binary(
                         buf->data + buf->size, (const unsigned char *)data,
                         chunk)
                     - 1;
        data += chunk;
        size -= (apr_size_t)chunk;
    }
}

void cp_encode_json_blob(cp_buffer_t *buf, const char *data, apr_size_t size)
{
    cp_buffer_append(buf, "{\"$base64\":\"", 12);
    encode_base64(buf, data, size);
    cp_buffer_append(buf, "\"}", 2);
}

/*** Values ***/

/* SCALAR_MAX bytes are reserved. */
static inline void encode_json(cp_buffer_t *buf, const cp_value_t *value)
{
    switch (value->storage) {
    case CP_INTEGER:
        put_integer(buf, value->as.integer);
        return;
    case CP_REAL:
        if (!isfinite(value->as.real)) {
            break;
        }
        put_real(buf, value->as.real);
        return;
    case CP_TEXT:
        cp_encode_json_string(buf, value->as.bytes.data, value->as.bytes.size);
        return;
    case CP_BLOB:
        cp_encode_json_blob(buf, value->as.bytes.data, value->as.bytes.size);
        return;
    case CP_JSON:
        cp_buffer_append(buf, value->as.bytes.data, value->as.bytes.size);
        return;
    case CP_NULL:
        break;
    }
    cp_buffer_put(buf, "null", 4);
}

static void encode_csv(cp_buffer_t *buf, const cp_value_t *value)
{
    if (!cp_buffer_reserve(buf, SCALAR_MAX)) {
        return;
    }
    switch (value->storage) {
    case CP_INTEGER:
        put_integer(buf, value->as.integer);
        break;
    case CP_REAL:
        if (isfinite(value->as.real)) {
            put_real(buf, value->as.real);
        }
        break;
    case CP_TEXT:
    case CP_JSON:
        encode_csv_text(buf, value->as.bytes.data, value->as.bytes.size);
        break;
    case CP_BLOB:
        encode_base64(buf, value->as.bytes.data, value->as.bytes.size);
        break;
    case CP_NULL:
        break;
    }
}

/*** Rows ***/

/* What stands in front of a cell: {"a": in the first, ,"b": in others; of an
 * array only the bracket or the comma. */
typedef struct lead_t {
    const char *data;
    apr_size_t size;
} lead_t;

struct cp_encoder_t {
    cp_format_t format;
    int columns;
    int has_rows;
    const cp_column_t *kinds; /* one a column; NULL: all are plain */
    apr_uint64_t misfits;
    int misfit_column;   /* of the last one */
    const lead_t *leads; /* one a column */
    lead_t close;        /* behind the last cell of a row */
    lead_t head;         /* before the first row */
};

/* A buffer in p that holds all names in any encoding without growing: each
 * byte becomes six at most. */
static cp_buffer_t names_buffer(apr_pool_t *p, int columns,
                                const char *const *names)
{
    cp_buffer_t buf = {0};
    apr_size_t sum = 0;
    for (int i = 0; i < columns; i++) {
        sum += strlen(names[i]);
    }
    buf.capacity = 6 * sum + SCALAR_MAX * (apr_size_t)(columns + 1);
    buf.data = apr_palloc(p, buf.capacity);
    return buf;
}

/* What was appended behind `start`. */
static lead_t lead_from(const cp_buffer_t *buf, apr_size_t start)
{
    return (lead_t){buf->data + start, buf->size - start};
}

static lead_t make_lead(cp_buffer_t *buf, cp_format_t format, int is_first,
                        const char *name)
{
    apr_size_t start = buf->size;
    switch (format) {
    case CP_FORMAT_VALUE:
    case CP_FORMAT_JSON:
    case CP_FORMAT_RAW:
        break;
    case CP_FORMAT_CSV:
        cp_buffer_append(buf, ",", !is_first);
        break;
    case CP_FORMAT_ARRAYS:
        cp_buffer_append(buf, is_first ? "[" : ",", 1);
        break;
    default:
        cp_buffer_append(buf, is_first ? "{" : ",", 1);
        cp_encode_json_string(buf, name, strlen(name));
        cp_buffer_append(buf, ":", 1);
    }
    return lead_from(buf, start);
}

static lead_t make_head(cp_buffer_t *buf, cp_format_t format, int columns,
                        const char *const *names)
{
    apr_size_t start = buf->size;
    if (format == CP_FORMAT_OBJECTS || format == CP_FORMAT_ARRAYS) {
        cp_buffer_append(buf, "[", 1);
    }
    if (format == CP_FORMAT_CSV) {
        for (int i = 0; i < columns; i++) {
            cp_buffer_append(buf, ",", i > 0);
            encode_csv_text(buf, names[i], strlen(names[i]));
        }
        cp_buffer_append(buf, "\r\n", 2);
    }
    return lead_from(buf, start);
}

cp_encoder_t *cp_encoder_create(apr_pool_t *p, cp_format_t format, int columns,
                                const char *const *names)
{
    static const lead_t closes[CP_FORMATS] = {
        [CP_FORMAT_OBJECTS] = {"}", 1},  [CP_FORMAT_ARRAYS] = {"]", 1},
        [CP_FORMAT_OBJECT] = {"}", 1},   [CP_FORMAT_VALUE] = {"", 0},
        [CP_FORMAT_NDJSON] = {"}\n", 2}, [CP_FORMAT_CSV] = {"\r\n", 2},
        [CP_FORMAT_JSON] = {"", 0},      [CP_FORMAT_RAW] = {"", 0},
    };
    cp_encoder_t *enc = apr_pcalloc(p, sizeof(*enc));
    lead_t *leads = apr_palloc(p, sizeof(*leads) * (apr_size_t)(columns + 1));
    const char **distinct = cp_distinct_names(p, columns, names);
    cp_buffer_t buf = names_buffer(p, columns, distinct);
    for (int i = 0; i < columns; i++) {
        leads[i] = make_lead(&buf, format, i == 0, distinct[i]);
    }
    enc->format = format;
    enc->columns = columns;
    enc->leads = leads;
    enc->close = closes[format];
    enc->head = make_head(&buf, format, columns, distinct);
    return enc;
}

void cp_encode_begin(cp_encoder_t *enc, cp_buffer_t *buf)
{
    enc->has_rows = 0;
    cp_buffer_append(buf, enc->head.data, enc->head.size);
}

void cp_encoder_set_kinds(cp_encoder_t *enc, const cp_column_t *kinds)
{
    enc->kinds = kinds;
}

apr_uint64_t cp_encoder_misfits(const cp_encoder_t *enc, int *pcolumn)
{
    *pcolumn = enc->misfit_column;
    return enc->misfits;
}

void cp_encode_text(cp_buffer_t *buf, const cp_value_t *value)
{
    if (value->storage == CP_TEXT || value->storage == CP_BLOB) {
        cp_buffer_append(buf, value->as.bytes.data, value->as.bytes.size);
    }
    else {
        encode_csv(buf, value);
    }
}

/* Behind its lead; false: the value is to be written as its storage is. */
static int encode_kind(cp_encoder_t *enc, cp_buffer_t *buf, int i,
                       const cp_value_t *value)
{
    cp_column_fit_t fit = cp_column_encode(
        buf, enc->kinds[i], enc->format == CP_FORMAT_NDJSON, value);

    if (fit == CP_COLUMN_MISFIT) {
        enc->misfits++;
        enc->misfit_column = i;
    }
    return fit == CP_COLUMN_WRITTEN;
}

static void encode_cell(const cp_encoder_t *enc, cp_buffer_t *buf,
                        const cp_value_t *value)
{
    switch (enc->format) {
    case CP_FORMAT_CSV:
        encode_csv(buf, value);
        break;
    case CP_FORMAT_RAW:
        cp_encode_text(buf, value);
        break;
    default:
        encode_json(buf, value);
    }
}

void cp_encode_row(cp_encoder_t *enc, cp_buffer_t *buf,
                   const cp_value_t *values)
{
    cp_format_t format = enc->format;
    if (enc->has_rows) {
        if (cp_format_is_single(format)) {
            return;
        }
        if (format == CP_FORMAT_OBJECTS || format == CP_FORMAT_ARRAYS) {
            cp_buffer_append(buf, ",", 1);
        }
    }
    enc->has_rows = 1;
    int cells = cp_format_is_value(format) ? enc->columns > 0 : enc->columns;
    for (int i = 0; i < cells; i++) {
        const lead_t *lead = &enc->leads[i];
        if (!cp_buffer_reserve(buf, lead->size + SCALAR_MAX)) {
            return;
        }
        cp_buffer_put(buf, lead->data, lead->size);
        if (!enc->kinds || !encode_kind(enc, buf, i, &values[i])) {
            encode_cell(enc, buf, &values[i]);
        }
    }
    cp_buffer_append(buf, enc->close.data, enc->close.size);
}

void cp_encode_end(cp_encoder_t *enc, cp_buffer_t *buf)
{
    if (enc->format == CP_FORMAT_OBJECTS || enc->format == CP_FORMAT_ARRAYS) {
        cp_buffer_append(buf, "]", 1);
    }
    else if (cp_format_is_single(enc->format) && !enc->has_rows
             && enc->format != CP_FORMAT_RAW) {
        cp_buffer_append(buf, "null", 4);
    }
}
