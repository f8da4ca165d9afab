/* SPDX-License-Identifier: Apache-2.0
 * From rows to bytes: JSON in six shapes, CSV, and bytes as they are. The hot
 * path. */
#ifndef CP_ENCODE_H
#define CP_ENCODE_H

#include <apr_pools.h>

#include "answers/column.h"
#include "answers/format.h"
#include "base/bytes/buffer.h"
#include "database/value.h"

typedef struct cp_encoder_t cp_encoder_t;

/** Names of columns are encoded once. Equal names get "_2", "_3", ... so that
 * JSON objects have no duplicate keys. Names are copied into p. */
cp_encoder_t *cp_encoder_create(apr_pool_t *p, cp_format_t format, int columns,
                                const char *const *names);

/** What the columns are; kinds must outlive the encoder. */
void cp_encoder_set_kinds(cp_encoder_t *enc, const cp_column_t *kinds);

/** How many values were not what their columns say: those are written as their
 * storage is. *pcolumn: where the last one was. */
apr_uint64_t cp_encoder_misfits(const cp_encoder_t *enc, int *pcolumn);

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

/** Text and blobs as they are, numbers as anywhere, NULL as nothing. */
void cp_encode_text(cp_buffer_t *buf, const cp_value_t *value);

/** {"$base64":".."}, appended to buf. */
void cp_encode_json_blob(cp_buffer_t *buf, const char *data, apr_size_t size);

#endif
