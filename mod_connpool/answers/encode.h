/* SPDX-License-Identifier: Apache-2.0
 * From rows to bytes: JSON in five shapes, and CSV. The hot path. */
#ifndef CP_ENCODE_H
#define CP_ENCODE_H

#include <apr_pools.h>

#include "base/bytes/buffer.h"
#include "database/value.h"

typedef enum cp_format_t {
    CP_FORMAT_OBJECTS, /**< [{"a":1,"b":2},...] */
    CP_FORMAT_ARRAYS,  /**< [[1,2],...] */
    CP_FORMAT_OBJECT,  /**< {"a":1,"b":2}: the first row */
    CP_FORMAT_VALUE,   /**< 1: the first column of the first row, as JSON */
    CP_FORMAT_NDJSON,  /**< {"a":1}\n{"a":2}\n */
    CP_FORMAT_CSV,     /**< RFC 4180 with a header line, CRLF */
    CP_FORMATS
} cp_format_t;

extern const char *const cp_format_names[CP_FORMATS + 1];
const char *cp_format_content_type(cp_format_t format);

typedef struct cp_encoder_t cp_encoder_t;

/** Names of columns are encoded once. Equal names get "_2", "_3", ... so that
 * JSON objects have no duplicate keys. Names are copied into p. */
cp_encoder_t *cp_encoder_create(apr_pool_t *p, cp_format_t format, int columns,
                                const char *const *names);

/** What stands before the first row ("[", CSV's header line). */
void cp_encode_begin(cp_encoder_t *enc, cp_buffer_t *buf);

/** One row of `columns` values; knows by itself whether a comma is due. REAL:
 * shortest digits that read back equal, with ".0" kept; NaN and infinities are
 * null. Blobs {"$base64":".."} (CSV: the base64 text). Invalid UTF-8 becomes
 * U+FFFD. Control characters, <, > and U+2028/9 are escaped in JSON. NULL is
 * null (CSV: an empty field; the empty text is ""). */
void cp_encode_row(cp_encoder_t *enc, cp_buffer_t *buf,
                   const cp_value_t *values);

/** What stands behind the last row. */
void cp_encode_end(cp_encoder_t *enc, cp_buffer_t *buf);

/** A JSON string with quotes, appended to buf. */
void cp_encode_json_string(cp_buffer_t *buf, const char *data, apr_size_t size);

/** {"$base64":".."}, appended to buf. */
void cp_encode_json_blob(cp_buffer_t *buf, const char *data, apr_size_t size);

#endif
