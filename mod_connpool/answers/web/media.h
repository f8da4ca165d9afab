/* SPDX-License-Identifier: Apache-2.0
 * Media types: what may stand in Content-Type. */
#ifndef CP_MEDIA_H
#define CP_MEDIA_H

#include <apr_pools.h>

#define CP_MEDIA_UNKNOWN "application/octet-stream"

/** Is this one media type with its parameters (RFC 9110, 8.3.1), short and
 * without wildcards? */
int cp_media_is_valid(const char *text);

/** The type as it is to be sent: text without a charset is UTF-8. */
const char *cp_media_complete(apr_pool_t *p, const char *type);

#endif
