/* SPDX-License-Identifier: Apache-2.0
 * Easy handles: what is set on each, and how a pool opens and closes them. */
#include "http/job/handle.h"

#include "base/clock.h"
#include "base/error.h"
#include "http/job/client.h"
#include "http/upstream/guard.h"
#include "http/upstream/upstream.h"
#include "pool/driver.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <apr_strings.h>

/* Not less: for HTTP/2 libcurl 7.88 writes a whole frame of 16 KB into the
 * buffer, even over its end. */
#define RECEIVE_BUFFER 16384L

/* How long a parsed CA file is kept: a replaced one takes effect after it. */
#define CA_CACHE_SECONDS 3600L

/* The first one that does not wait for the lookup of a name when a transfer is
 * cancelled. */
#define OLDEST      0x075700
#define OLDEST_NAME "7.87"

#if LIBCURL_VERSION_NUM < OLDEST
#error "mod_connpool needs libcurl 7.87 or newer"
#endif

apr_status_t cp_http_global_init(void)
{
    /* Counted by curl, and never undone: other modules use it as well. */
    return curl_global_init(CURL_GLOBAL_ALL) == CURLE_OK ? APR_SUCCESS
                                                         : APR_EGENERAL;
}

/* c-ares asks DNS alone: neither nsswitch.conf nor mDNS. */
static const char *resolver(const curl_version_info_data *info)
{
    return info->age >= CURLVERSION_SECOND && info->ares ? "c-ares"
           : info->features & CURL_VERSION_ASYNCHDNS     ? "threaded"
                                                         : "blocking";
}

const char *cp_http_version(apr_pool_t *p)
{
    const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);

    return apr_psprintf(
        p, "libcurl %s%s, %s, %s resolver", info->version,
        info->version_num < LIBCURL_VERSION_NUM
            ? " (older than " LIBCURL_VERSION ", with which this was built)"
            : "",
        info->ssl_version ? info->ssl_version : "no TLS", resolver(info));
}

/* Not the one that this was built with: an option that it does not know is an
 * error of curl_easy_setopt, at which nobody looks. */
const char *cp_http_too_old(apr_pool_t *p)
{
    const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);

    return info->version_num < OLDEST
               ? apr_psprintf(p,
                              "libcurl %s is installed, and " OLDEST_NAME
                              " or newer is needed",
                              info->version)
               : NULL;
}

static void configure_tls(CURL *easy, const cp_upstream_config_t *config)
{
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, CA_CACHE_SECONDS);
    if (config->ca) {
        /* This file instead of the system's authorities, not beside them. */
        curl_easy_setopt(easy, CURLOPT_CAINFO, config->ca);
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    }
    if (config->cert) {
        curl_easy_setopt(easy, CURLOPT_SSLCERT, config->cert);
        curl_easy_setopt(easy, CURLOPT_SSLKEY,
                         config->key ? config->key : config->cert);
    }
}

static long whole_seconds(apr_interval_time_t interval)
{
    return interval < APR_USEC_PER_SEC ? 1 : (long)apr_time_sec(interval);
}

static void configure_reuse(CURL *easy, const cp_upstream_config_t *config)
{
    /* curl counts whole seconds: less than one is no reuse at all, neither of
     * our own sockets nor of those that another upstream has kept. */
    long is_single = config->keepalive < APR_USEC_PER_SEC;

    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, is_single);
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, is_single);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN,
                     whole_seconds(config->keepalive));
    curl_easy_setopt(easy, CURLOPT_MAXLIFETIME_CONN,
                     config->lifetime > 0 ? whole_seconds(config->lifetime)
                                          : 0L /* no limit */);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
                     config->http2 ? (long)CURL_HTTP_VERSION_2TLS
                                   : (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_PIPEWAIT, (long)config->http2);
}

static void configure(CURL *easy, const cp_upstream_t *upstream)
{
    /* Cookies, HSTS and Alt-Svc stay off: each would need to be switched on. */
    curl_easy_reset(easy);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, CP_HTTP_AGENT);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, RECEIVE_BUFFER);
    if (upstream->config.socket) {
        curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH,
                         upstream->config.socket);
    }
    configure_tls(easy, &upstream->config);
    configure_reuse(easy, &upstream->config);
}

void cp_http_prepare(cp_conn_t *conn, const cp_upstream_t *upstream)
{
    if (!conn->is_ready) {
        configure(conn->easy, upstream);
        conn->is_ready = 1;
    }
}

void cp_http_settle(cp_conn_t *conn, int is_clean)
{
    if (!is_clean || !conn->is_ready) {
        curl_easy_reset(conn->easy);
        conn->is_ready = 0;
        return;
    }
    /* Other pointers are looked at during a transfer only, and each sets them.
     */
    curl_easy_setopt(conn->easy, CURLOPT_ERRORBUFFER, NULL);
    curl_easy_setopt(conn->easy, CURLOPT_HTTPHEADER, NULL);
}

/* What a fetch does itself, curl must do for who calls curl_easy_perform. */
static void configure_lent(CURL *easy, const cp_upstream_config_t *config,
                           cp_guard_t *guard)
{
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, cp_http_open_socket);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, guard);
    curl_easy_setopt(easy, CURLOPT_URL, config->url);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)apr_time_as_msec(config->connect));
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS,
                     (long)apr_time_as_msec(config->total));
    curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE,
                     (curl_off_t)config->max_body);
}

void *cp_http_easy(cp_upstream_t *upstream, void *conn)
{
    cp_conn_t *c = conn;

    if (!c->easy) {
        c->easy = curl_easy_init();
    }
    if (c->easy) {
        c->guard = (cp_guard_t){.upstream = upstream};
        configure(c->easy, upstream);
        configure_lent(c->easy, &upstream->config, &c->guard);
        c->is_lent = 1;
        c->is_ready = 0;
    }
    return c->easy;
}

static apr_status_t http_open(void *ctx, cp_clock_t deadline, void **pconn,
                              cp_error_t *err)
{
    cp_conn_t *conn = calloc(1, sizeof(*conn));

    *pconn = NULL;
    if (!conn || !(conn->easy = curl_easy_init())) {
        free(conn);
        return cp_error_memory(err, "an HTTP handle");
    }
    conn->own_fd = -1;
    *pconn = conn;
    return APR_SUCCESS;
}

/* A socket that died is noticed, and replaced, by curl when it is reused. */
static apr_status_t http_check(void *ctx, void *conn, cp_clock_t deadline)
{
    return APR_SUCCESS;
}

/* What curl_easy_reset leaves in place, and a stranger may have set. */
static apr_status_t http_reset(void *ctx, void *data)
{
    cp_conn_t *conn = data;

    if (conn->is_lent && conn->easy) {
        curl_easy_setopt(conn->easy, CURLOPT_SHARE, NULL);
        curl_easy_setopt(conn->easy, CURLOPT_COOKIELIST, "ALL");
        curl_easy_reset(conn->easy);
    }
    conn->is_lent = 0;
    return APR_SUCCESS;
}

/* The other side has said that nothing more comes: so do we, and the connection
 * is no more. curl finds that out when it wants to use it. */
static void http_tend(void *ctx, void *data)
{
    const cp_upstream_t *upstream = ctx;
    const cp_conn_t *conn = data;
    struct pollfd probe = {.fd = conn->own_fd, .events = POLLRDHUP};

    if (upstream->config.drops_dead && probe.fd >= 0
        && poll(&probe, 1, 0) > 0) {
        shutdown(probe.fd, SHUT_RDWR);
    }
}

static void http_close(void *ctx, void *data)
{
    cp_conn_t *conn = data;

    if (conn->easy) {
        curl_easy_cleanup(conn->easy);
    }
    if (conn->own) {
        curl_multi_cleanup(conn->own);
    }
    free(conn);
}

const cp_driver_t cp_http_driver = {
    .kind = "http",
    .open = http_open,
    .check = http_check,
    .reset = http_reset,
    .tend = http_tend,
    .close = http_close,
};
