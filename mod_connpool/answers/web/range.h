/* SPDX-License-Identifier: Apache-2.0
 * Ranges that are asked for. httpd cuts bodies into them; but what it says when
 * there is nothing to cut is a page without the length. */
#ifndef CP_RANGE_H
#define CP_RANGE_H

#include <apr.h>

/** Is this header (NULL: none) a list of ranges, in bytes, each of which lies
 * beyond a body of that size? */
int cp_range_is_beyond(const char *header, apr_uint64_t size);

#endif
