/* SPDX-License-Identifier: Apache-2.0
 * Upstreams: where a fetch may go, as the administrator has written it. */
#ifndef CP_UPSTREAM_H
#define CP_UPSTREAM_H

#include <apr_pools.h>
#include <apr_time.h>

/** What the administrator wrote of an upstream. Strings are borrowed and must
 * outlive it. */
typedef struct cp_upstream_config_t {
    const char *name;
    const char *url;               /**< scheme://host[:port][/path][?query] */
    apr_interval_time_t connect;   /**< name look-up, TCP and TLS together */
    apr_interval_time_t read;      /**< longest silence, first byte included */
    apr_interval_time_t total;     /**< everything */
    apr_interval_time_t keepalive; /**< reuse only sockets idle for less;
                                        below a second: keep none */
    apr_interval_time_t lifetime;  /**< reuse only sockets younger; 0: all */
    int drops_dead;       /**< close idle sockets when the other side does */
    apr_int64_t max_body; /**< bytes after decompression */
    int redirects;        /**< followed at most, same origin only */
    int retries;          /**< after a failure before the first byte */
    int http2;
    int allow_private;   /**< names may resolve to non-public addresses */
    int allow_plaintext; /**< plain http: to public addresses */
    const char *ca;      /**< PEM file, NULL: the system's */
    const char *cert;    /**< client certificate and key, NULL: none */
    const char *key;
    const char *socket; /**< path of a Unix socket to connect to instead of the
                             URL's host; NULL: none */
    const struct cp_http_header_t *set_headers; /**< sent with each request,
                                                     whatever its own are */
    int set_header_count;
    const char *const *answer_headers; /**< handed to the sink although they
                                            speak for our own host; ends with
                                            NULL, which may be all */
} cp_upstream_config_t;

typedef struct cp_upstream_t cp_upstream_t;

/** Check the URL lexically, for configtest: NULL or a sentence (no user info,
 * http or https, a host, a port in range, no fragment).
 * On success *porigin is "scheme://host:port" for the per-host limit. */
const char *cp_upstream_check_url(apr_pool_t *p, const char *url,
                                  const char **porigin);

/** The host of a checked URL as it was written: curl's parser turns 127.1 into
 * 127.0.0.1. */
const char *cp_upstream_host(apr_pool_t *p, const char *url);

/** Is there any address that could be connected to (reach.c)? NULL, or a
 * sentence about one that cannot be. `origin`: of cp_upstream_check_url. */
const char *cp_upstream_check_reach(apr_pool_t *p,
                                    const cp_upstream_config_t *config,
                                    const char *origin);
/** The same of a name, which the machine's own tables may make sense of: NULL,
 * or a sentence for the log. */
const char *cp_upstream_warning(apr_pool_t *p,
                                const cp_upstream_config_t *config,
                                const char *origin);

/** A Location in the answer to a request with this path behind the upstream's
 * URL: what of it follows that URL, when it lies within; else NULL (inside.c).
 */
const char *cp_upstream_inside(apr_pool_t *p, const cp_upstream_t *upstream,
                               const char *path_info, const char *location);

/** Each address that its name has: `refusal` is NULL, or why a fetch would not
 * connect to it. */
typedef void (*cp_upstream_address_fn)(void *baton, const char *address,
                                       const char *refusal);

/** Look its name up, as a fetch would, for as long as that takes.
 * @return NULL, or a sentence: it has none */
const char *cp_upstream_resolve(apr_pool_t *p,
                                const cp_upstream_config_t *config,
                                const char *origin, cp_upstream_address_fn tell,
                                void *baton);

apr_status_t cp_upstream_create(cp_upstream_t **pupstream,
                                const cp_upstream_config_t *config,
                                apr_pool_t *p);

#endif
