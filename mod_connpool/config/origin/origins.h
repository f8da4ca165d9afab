/* SPDX-License-Identifier: Apache-2.0
 * ConnPoolOrigins and ConnPoolTrustedProxies. */
#ifndef CONNPOOL_ORIGINS_H
#define CONNPOOL_ORIGINS_H

#include "glue.h"

/** Whose pages may ask at a place, beside its own. */
typedef struct connpool_origins_t {
    int is_any;
    apr_array_header_t *named; /* cp_origin_t */
} connpool_origins_t;

/** "ConnPoolOrigins" (ITERATE): one more into the field of the place's
 * configuration, a connpool_origins_t *, whose offset is the command's info. */
const char *connpool_cmd_origins(cmd_parms *cmd, void *dir, const char *word);

/** "ConnPoolTrustedProxies" (ITERATE): likewise an array of apr_ipsubnet_t *.
 */
const char *connpool_cmd_proxies(cmd_parms *cmd, void *dir, const char *word);

#endif
