/* SPDX-License-Identifier: Apache-2.0
 * Origins of web pages: a scheme, a host and a port, as browsers send them and
 * administrators write them. */
#ifndef CP_ORIGIN_H
#define CP_ORIGIN_H

#include <apr.h>

#define CP_ORIGIN_HOST_MAX 254

/** Caller's storage; spellings of the same origin are equal. */
typedef struct cp_origin_t {
    int is_secure; /**< https, or else http */
    int port;
    /** Lower case, without the dot that may end a name; an address of IPv6 in
     * brackets and in its shortest form. */
    char host[CP_ORIGIN_HOST_MAX];
} cp_origin_t;

/** "https://app.example:8443", and nothing else around it.
 * @return NULL, or why it is none: the rest of a sentence about it, static */
const char *cp_origin_parse(cp_origin_t *origin, const char *text);

/** "app.example:8443", as in a Host header, spoken to by that scheme; a port of
 * its own is the scheme's where the text has none.
 * @return NULL, or a sentence as above */
const char *cp_origin_parse_host(cp_origin_t *origin, int is_secure,
                                 const char *text, apr_size_t size);

int cp_origin_equals(const cp_origin_t *a, const cp_origin_t *b);

#endif
