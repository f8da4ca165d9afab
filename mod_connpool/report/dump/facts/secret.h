/* SPDX-License-Identifier: Apache-2.0
 * What a dry run must not print: it ends up in terminals, mails and logs. */
#ifndef CONNPOOL_SECRET_H
#define CONNPOOL_SECRET_H

#include <apr_pools.h>

/** The value of this key without passwords: of URLs neither the user nor the
 * query, of headers only the names, of what is called a secret nothing. */
const char *connpool_hide_secrets(apr_pool_t *p, const char *key,
                                  const char *value);

#endif
