/* SPDX-License-Identifier: Apache-2.0
 * Conditions of a request that writes: who asks "only if" must not be told that
 * it was done by somebody who never looked. */
#ifndef CP_CONDITION_HEADERS_H
#define CP_CONDITION_HEADERS_H

#include <apr.h>

/** Headers that make a write conditional (RFC 9110, 13.1). If-Modified-Since
 * and If-Range are none: they speak of reads. */
typedef enum cp_precondition_t {
    CP_IF_MATCH = 1,
    CP_IF_NONE_MATCH = 2,
    CP_IF_UNMODIFIED_SINCE = 4,
} cp_precondition_t;

/** Which of them an expression of httpd (from="%{HTTP:If-Match}", req('...'))
 * reads: bits. */
unsigned cp_preconditions_read(const char *expression);

/** The names of all, with their bits; ends with {NULL}. */
typedef struct cp_precondition_name_t {
    const char *header;
    unsigned bit;
} cp_precondition_name_t;
extern const cp_precondition_name_t cp_precondition_names[];

#endif
