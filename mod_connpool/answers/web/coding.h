/* SPDX-License-Identifier: Apache-2.0
 * The coding gzip: is a body in it, and does a client take it? */
#ifndef CP_CODING_H
#define CP_CODING_H

#include <apr.h>

/** Does Accept-Encoding (NULL: none) name gzip, and not with q=0? Who says
 * nothing is taken for one who cannot decode. */
int cp_coding_accepts_gzip(const char *header);

/** By its first bytes. */
int cp_coding_is_gzip(const char *data, apr_size_t size);

#endif
