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

#define CONNPOOL_BASES_MAX 8

/** One of the URLs of an upstream. */
typedef struct connpool_base_t {
    const char *name;   /**< "app#1"; of the only one the upstream's */
    const char *origin; /**< scheme://host:port, or unix:PATH */
    cp_upstream_config_t http;
    int pool_entry; /**< of the first one the upstream's */
    int entry;      /**< of the only one the upstream's */
    struct connpool_up_child_t *child;
} connpool_base_t;

typedef struct connpool_upstream_t {
    const char *name;
    server_rec *server;
    const char *where;
    connpool_base_t *bases; /* in the order in which they are asked */
    int base_count;
    cp_upstream_config_t http; /* what they have in common */
    cp_pool_config_t pool;
    int perhost;
    apr_int64_t methods;     /* bits of httpd's numbers */
    apr_int64_t max_request; /* bytes of a request's body */
    int coalesces;           /* equal fetches at one time share one */
    int breaker;             /* failures in a row that open it, 0: never */
    int overflow_direct;
    cp_rate_limit_t rate; /* of all children together; count 0: none */
    cp_log_limit_t complaints[CP_ERR_CLASSES]; /* of this child */
    apr_array_header_t *headers; /* const char *: request headers to forward */
    int entry;
} connpool_upstream_t;

/** The table of its keys. Beside the struct there is what was read of words. */
const struct cp_option_t *connpool_upstream_keys(void);

/** Does it get this header of requests? */
int connpool_hands_on(const connpool_upstream_t *up, const char *header);

#endif
