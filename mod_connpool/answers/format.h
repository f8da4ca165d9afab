/* SPDX-License-Identifier: Apache-2.0
 * The formats of answers: their names and types. */
#ifndef CP_FORMAT_H
#define CP_FORMAT_H

typedef enum cp_format_t {
    CP_FORMAT_OBJECTS, /**< [{"a":1,"b":2},...] */
    CP_FORMAT_ARRAYS,  /**< [[1,2],...] */
    CP_FORMAT_OBJECT,  /**< {"a":1,"b":2}: the first row */
    CP_FORMAT_VALUE,   /**< 1: the first column of the first row, as JSON */
    CP_FORMAT_NDJSON,  /**< {"a":1}\n{"a":2}\n */
    CP_FORMAT_CSV,     /**< RFC 4180 with a header line, CRLF */
    CP_FORMAT_JSON,    /**< the first column of the first row, which is JSON */
    CP_FORMAT_RAW,     /**< its bytes: text or a blob of any type */
    CP_FORMATS
} cp_format_t;

extern const char *const cp_format_names[CP_FORMATS + 1];
const char *cp_format_content_type(cp_format_t format);

/** Is the answer one row, or one value of it? */
int cp_format_is_single(cp_format_t format);
int cp_format_is_value(cp_format_t format);

#endif
