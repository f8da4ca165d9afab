/* SPDX-License-Identifier: Apache-2.0
 * Addresses of databases: URIs, or key words with values, as libpq reads them.
 */
#ifndef CP_PG_ADDRESS_H
#define CP_PG_ADDRESS_H

#include "database/database.h"

struct cp_pg_config_t;

/** See `address` of the driver: text stands behind "postgresql:". Sentences
 * hold nothing of the text, which may hold a password. */
const char *cp_pg_take_address(apr_pool_t *p, void *config, const char *name,
                               const char *text, cp_resolve_fn resolve);

/** Do the keys and the address fit together?
 * @return a sentence */
const char *cp_pg_check_address(apr_pool_t *p, const void *config);

/** In a child, on its own copy: complete what is passed on to libpq. */
void cp_pg_complete_address(apr_pool_t *p, struct cp_pg_config_t *config);

/** A path of a socket's directory, or its abstract name. */
int cp_pg_is_socket(const char *host);

#endif
