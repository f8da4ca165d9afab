/* SPDX-License-Identifier: Apache-2.0
 * The HTTP client as a whole, and easy handles as the connections of a pool. */
#ifndef CP_CLIENT_H
#define CP_CLIENT_H

#include <apr_pools.h>

#include "http/upstream/upstream.h"
#include "pool/driver.h"

/** curl_global_init, once per process, before threads start. */
apr_status_t cp_http_global_init(void);

/** "libcurl 7.88.1, OpenSSL/3.0.x, threaded resolver": for the start-up log. */
const char *cp_http_version(apr_pool_t *p);

/** @return NULL, or a sentence: this libcurl would ignore what keeps fetches
 * safe */
const char *cp_http_too_old(apr_pool_t *p);

/** Driver of pools of easy handles; its ctx is a cp_upstream_t. */
extern const cp_driver_t cp_http_driver;

/** The CURL * of a connection of cp_http_driver, reset and with the upstream's
 * URL, limits and safety options set, for the C API; for use in the calling
 * thread only, by curl_easy_perform, until the connection is given back. */
void *cp_http_easy(cp_upstream_t *upstream, void *conn);

#endif
