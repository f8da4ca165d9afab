/* SPDX-License-Identifier: Apache-2.0
 * An upstream, as ConnPoolUpstream defines it. */
#ifndef CONNPOOL_UPSTREAM_H
#define CONNPOOL_UPSTREAM_H

#include "glue.h"
#include "base/error.h"
#include "base/log.h"
#include "http/upstream/upstream.h"
#include "pool/pool.h"
#include "pool/rate/rate.h"

typedef struct connpool_upstream_t {
    const char *name;
    server_rec *server;
    const char *where;
    const char *origin; /* scheme://host:port */
    cp_upstream_config_t http;
    cp_pool_config_t pool;
    int perhost;
    int coalesces; /* equal fetches at one time share one */
    int breaker;   /* failures in a row that open it, 0: never */
    int overflow_direct;
    cp_rate_limit_t rate; /* of all children together; count 0: none */
    cp_log_limit_t complaints[CP_ERR_CLASSES]; /* of this child */
    apr_array_header_t *headers; /* const char *: request headers to forward */
    int pool_entry;
    int entry;
    struct connpool_up_child_t *child;
} connpool_upstream_t;

/** The table of its keys. Beside the struct there is what was read of words. */
const struct cp_option_t *connpool_upstream_keys(void);

#endif
