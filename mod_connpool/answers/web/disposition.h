/* SPDX-License-Identifier: Apache-2.0
 * File names in headers: Content-Disposition (RFC 6266). */
#ifndef CP_DISPOSITION_H
#define CP_DISPOSITION_H

#include <apr_pools.h>

/** "attachment" under the name, which may be any bytes: it is kept as UTF-8
 * (RFC 8187), with a name in ASCII beside it for old readers. Control
 * characters and marks of direction are left out, separators of paths
 * replaced, long names cut.
 * @return NULL: nothing is left of it */
const char *cp_disposition(apr_pool_t *p, const char *name, apr_size_t size);

#endif
