/* SPDX-License-Identifier: Apache-2.0
 * Outgoing HTTP: upstreams, and one fetch through a pooled easy handle, run by
 * the child's loop or, without it, in the calling thread. */
#ifndef CP_HTTP_H
#define CP_HTTP_H

#include <stdint.h>

#include <apr_pools.h>
#include <apr_tables.h>

#include "base/bell.h"
#include "base/clock.h"
#include "base/error.h"
#include "http/loop.h"
#include "pool/driver.h"
#include "stats/stats.h"

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
    apr_int64_t max_body;          /**< bytes after decompression */
    int redirects;                 /**< followed at most, same origin only */
    int retries;                   /**< after a failure before the first byte */
    int http2;
    int allow_private;   /**< names may resolve to non-public addresses */
    int allow_plaintext; /**< plain http: to public addresses */
    const char *ca;      /**< PEM file, NULL: the system's */
    const char *cert;    /**< client certificate and key, NULL: none */
    const char *key;
} cp_upstream_config_t;

typedef struct cp_upstream_t cp_upstream_t;

/** Check the URL lexically, for configtest: NULL or a sentence (no user info,
 * http or https, a host, a port in range, no fragment).
 * On success *porigin is "scheme://host:port" for the per-host limit. */
const char *cp_upstream_check_url(apr_pool_t *p, const char *url,
                                  const char **porigin);

/** curl_global_init, once per process, before threads start. */
apr_status_t cp_http_global_init(void);

/** "libcurl 7.88.1, OpenSSL/3.0.x, threaded resolver": for the start-up log. */
const char *cp_http_version(apr_pool_t *p);

apr_status_t cp_upstream_create(cp_upstream_t **pupstream,
                                const cp_upstream_config_t *config,
                                apr_pool_t *p);

/** Driver of pools of easy handles; its ctx is a cp_upstream_t. */
extern const cp_driver_t cp_http_driver;

typedef struct cp_http_header_t {
    const char *name;
    const char *value;
} cp_http_header_t;

/** What to ask for. What it points to is borrowed until the fetch is over. */
typedef struct cp_fetch_request_t {
    const char *method;    /**< "GET" or "HEAD" */
    const char *path_info; /**< appended to the URL's path, already encoded as
                                it came; NULL or "": none */
    const char *query;     /**< appended with ? or &; NULL or "": none */
    const cp_http_header_t *headers; /**< to send */
    int header_count;
    apr_interval_time_t total; /**< shorter total deadline, 0: the upstream's */
    int is_one_shot;           /**< a socket of its own, then closed */
} cp_fetch_request_t;

/** How the answer comes back: all in the thread that runs or advances the
 * fetch, which must not be ended from here. */
typedef struct cp_fetch_sink_t {
    /** Status line and headers are complete. headers are valid for the call.
     * Hop-by-hop headers, Set-Cookie, Content-Encoding and what speaks for our
     * own host (HSTS, Alt-Svc) are left out. Content-Length is there when it
     * was declared for the very bytes that go to body. Not APR_SUCCESS: stop.
     */
    apr_status_t (*head)(void *baton, int status,
                         const cp_http_header_t *headers, int count);
    /** Decompressed bytes of the body. Not APR_SUCCESS: stop. */
    apr_status_t (*body)(void *baton, const char *data, apr_size_t size);
    /** Asked about every 100 ms while waiting: nobody wants it any more? */
    int (*is_cancelled)(void *baton);
    void *baton;
} cp_fetch_sink_t;

typedef struct cp_fetch_result_t {
    int status;        /**< of the upstream, 0 before its head */
    apr_int64_t bytes; /**< of the body, decompressed */
    int answered;      /**< something came, if only what is not passed on */
    int reused;        /**< ran over a socket that was open already */
    int retries;
    int ran_inline; /**< without the loop */
    int handshakes; /**< of TLS */
    /** Of the last attempt; -1 for a phase that did not happen. The queue is
     * for the caller to fill in. */
    apr_interval_time_t span_us[CP_SPANS];
    apr_interval_time_t us;
} cp_fetch_result_t;

/** A fetch under way. It belongs to one thread, which may have several. */
typedef struct cp_transfer_t cp_transfer_t;

/** Begin a fetch through the easy handle `conn` (of cp_http_driver), in the
 * loop, or in the calling thread when loop is NULL or lost before the head.
 * Never waits. Nobody else may touch conn until the fetch is over. request and
 * sink are copied.
 * @param bell rings when the fetch has news; the caller's, and the same for all
 * that one thread waits for together. NULL: one of its own, for
 * cp_transfer_finish
 * @return APR_SUCCESS, whatever becomes of the fetch; APR_ENOMEM: nothing has
 * begun */
apr_status_t cp_transfer_start(cp_transfer_t **ptransfer,
                               cp_upstream_t *upstream, void *conn,
                               cp_loop_t *loop,
                               const cp_fetch_request_t *request,
                               const cp_fetch_sink_t *sink, cp_bell_t *bell);

/** Give what has come to the sink, follow redirects, try again, keep the limits
 * of time: to be called for every transfer of a bell whenever that rang, and at
 * the earliest of their *puntil. Between calls at most 256K of the body are
 * buffered, then the transfer is paused; that counts as our time, not as the
 * upstream's silence. A transfer that runs in the calling thread works for up
 * to 10 ms, shared with the others of its bell that do, and says *puntil = 0;
 * those go on side by side, a little later than in the loop.
 * @return APR_SUCCESS when the fetch is over: conn can be used again, a handle
 * that the loop still holds was left to it and replaced; APR_EAGAIN while it is
 * under way, with the time of the next call at the latest in *puntil */
apr_status_t cp_transfer_advance(cp_transfer_t *transfer, cp_clock_t *puntil);

/** Advance until the fetch is over, and sleep meanwhile: for a thread that
 * waits for nothing else. */
void cp_transfer_finish(cp_transfer_t *transfer);

/** Free the transfer; one that is still under way is given up first
 * (CP_ERR_CANCELLED), which takes up to 20 ms. conn can be used again.
 * @return what became of the fetch, see cp_fetch_run */
apr_status_t cp_transfer_end(cp_transfer_t *transfer, cp_fetch_result_t *result,
                             cp_error_t *err);

/** Run one fetch: cp_transfer_start, cp_transfer_finish, cp_transfer_end.
 * Returns when the body is complete, failed, cancelled, or the deadline passed
 * (at most 50 ms later).
 * Failures: CP_ERR_INPUT (path, query or header that must not be sent),
 * CP_ERR_REFUSED (address policy, redirect elsewhere), CP_ERR_UPSTREAM,
 * CP_ERR_SIZE, CP_ERR_DEADLINE, CP_ERR_CANCELLED, CP_ERR_INTERNAL (memory); a
 * failure after head() leaves the answer cut. */
apr_status_t cp_fetch_run(cp_upstream_t *upstream, void *conn, cp_loop_t *loop,
                          const cp_fetch_request_t *request,
                          const cp_fetch_sink_t *sink,
                          cp_fetch_result_t *result, cp_error_t *err);

/** The CURL * of a connection of cp_http_driver, reset and with the upstream's
 * URL, limits and safety options set, for the C API; for use in the calling
 * thread only, by curl_easy_perform, until the connection is given back. */
void *cp_http_easy(cp_upstream_t *upstream, void *conn);

#endif
