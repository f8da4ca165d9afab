/* SPDX-License-Identifier: Apache-2.0
 * Methods of requests: those that may be configured, as people write them. */
#ifndef CONNPOOL_METHOD_H
#define CONNPOOL_METHOD_H

#include "glue.h"

/** "GET,POST": bits of httpd's numbers. HEAD, which has no number of its own,
 * may be named beside GET if has_head.
 * @return NULL, or a sentence that names the value and what is allowed */
const char *connpool_methods_read(apr_pool_t *p, const char *list, int has_head,
                                  apr_int64_t *pmethods);

/** They as a list; "" for none. */
const char *connpool_methods_text(apr_pool_t *p, apr_int64_t methods,
                                  const char *separator);

/** What a client may use: HEAD wherever GET is. */
const char *connpool_methods_allowed(apr_pool_t *p, apr_int64_t methods);

#endif
