/* SPDX-License-Identifier: Apache-2.0
 * Columns of an answer: their names, as keys, and those whose values are more
 * than their storage says: JSON that lies in text, booleans in numbers. */
#ifndef CP_COLUMN_H
#define CP_COLUMN_H

#include <apr_pools.h>

#include "base/bytes/buffer.h"
#include "database/value.h"

/** The names (NULL: "") with "_2", "_3", ... behind those that are there
 * already, in p. */
const char **cp_distinct_names(apr_pool_t *p, int columns,
                               const char *const *names);

typedef enum cp_column_t {
    CP_COLUMN_PLAIN, /**< each value as its storage is */
    CP_COLUMN_JSON,
    CP_COLUMN_BOOLEAN,
} cp_column_t;

/** What a column is by its declared type: "BOOLEAN", "BOOL" and "JSON" in any
 * case, others (and NULL) are plain. */
cp_column_t cp_column_of(const char *declared);

/** What became of a value. */
typedef enum cp_column_fit_t {
    CP_COLUMN_WRITTEN,
    CP_COLUMN_AS_IS, /**< to be written as its storage is */
    CP_COLUMN_MISFIT /**< likewise: it is not what the column says */
} cp_column_fit_t;

/** Append a value, if it needs to be written otherwise than its storage is.
 * Bytes of JSON are kept, but for the line breaks between its tokens where the
 * document must be one line. */
cp_column_fit_t cp_column_encode(cp_buffer_t *buf, cp_column_t column,
                                 int is_line, const cp_value_t *value);

#endif
