/* SPDX-License-Identifier: Apache-2.0
 * Upstreams, easy handles, and which addresses they may connect to. */
#include "base/clock.h"
#include "base/error.h"
#include "http/address.h"
#include "http/http.h"
#include "http/job.h"
#include "pool/driver.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apr_strings.h>

#define USER_AGENT "mod_connpool/0.1"

/* A compressed chunk can grow a thousandfold while a transfer is paused, and
 * curl keeps the result: this bounds it to about 8 MB. Not for HTTP/2, where
 * libcurl 7.88 writes a whole frame of 16 KB into the buffer, even over its
 * end.
 */
#define RECEIVE_BUFFER       8192L
#define RECEIVE_BUFFER_HTTP2 16384L

/* How long a parsed CA file is kept: a replaced one takes effect after it. */
#define CA_CACHE_SECONDS 3600L

apr_status_t cp_http_global_init(void)
{
    /* Counted by curl, and never undone: other modules use it as well. */
    return curl_global_init(CURL_GLOBAL_ALL) == CURLE_OK ? APR_SUCCESS
                                                         : APR_EGENERAL;
}

const char *cp_http_version(apr_pool_t *p)
{
    const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);

    return apr_psprintf(p, "libcurl %s, %s, %s resolver", info->version,
                        info->ssl_version ? info->ssl_version : "no TLS",
                        info->features & CURL_VERSION_ASYNCHDNS ? "threaded"
                                                                : "blocking");
}

/* ---- URLs ---- */

static const char *url_problem(CURLUcode code)
{
    switch (code) {
    case CURLUE_USER_NOT_ALLOWED:
        return "must not carry a user name or password";
    case CURLUE_UNSUPPORTED_SCHEME:
    case CURLUE_BAD_SCHEME:
        return "must begin with http:// or https://";
    case CURLUE_BAD_PORT_NUMBER:
        return "must have a port between 1 and 65535";
    case CURLUE_NO_HOST:
    case CURLUE_BAD_HOSTNAME:
    case CURLUE_BAD_IPV6:
        return "must name a host";
    default:
        return "must have the form scheme://host[:port][/path][?query]";
    }
}

static const char *parse_url(CURLU *parsed, const char *url)
{
    CURLUcode code;
    char *port;

    if (strncasecmp(url, "http://", 7) != 0
        && strncasecmp(url, "https://", 8) != 0) {
        return "must begin with http:// or https://";
    }
    if (strchr(url, '#')) {
        return "must not carry a fragment";
    }
    if (strstr(url, ":///")) {
        return url_problem(CURLUE_NO_HOST); /* curl forgives it */
    }
    code = curl_url_set(parsed, CURLUPART_URL, url,
                        CURLU_DISALLOW_USER | CURLU_PATH_AS_IS);
    if (code != CURLUE_OK) {
        return url_problem(code);
    }
    if (curl_url_get(parsed, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT)) {
        return url_problem(CURLUE_BAD_PORT_NUMBER);
    }
    code = atoi(port) > 0 ? CURLUE_OK : CURLUE_BAD_PORT_NUMBER;
    curl_free(port);
    return code == CURLUE_OK ? NULL : url_problem(code);
}

static const char *url_part(apr_pool_t *p, CURLU *url, CURLUPart part)
{
    char *value;
    char *copy;

    if (curl_url_get(url, part, &value, CURLU_DEFAULT_PORT) != CURLUE_OK) {
        return "";
    }
    copy = apr_pstrdup(p, value);
    curl_free(value);
    return copy;
}

const char *cp_upstream_check_url(apr_pool_t *p, const char *url,
                                  const char **porigin)
{
    CURLU *parsed = curl_url();
    const char *problem;
    char *origin;

    if (!parsed) {
        return "cannot be checked: out of memory";
    }
    problem = parse_url(parsed, url);
    if (!problem) {
        origin = apr_pstrcat(p, url_part(p, parsed, CURLUPART_SCHEME), "://",
                             url_part(p, parsed, CURLUPART_HOST), ":",
                             url_part(p, parsed, CURLUPART_PORT), NULL);
        for (char *c = origin; *c; c++) {
            *c = (char)tolower((unsigned char)*c);
        }
        *porigin = origin;
    }
    curl_url_cleanup(parsed);
    return problem;
}

/* The host as it was written: curl's parser turns 127.1 into 127.0.0.1. */
static const char *written_host(apr_pool_t *p, const char *url)
{
    const char *host = strstr(url, "://") + 3;
    size_t size = strcspn(host, "/?#");

    if (*host == '[') {
        size = strcspn(host, "]") + 1;
    }
    else if (memchr(host, ':', size)) {
        size = strcspn(host, ":");
    }
    return apr_pstrmemdup(p, host, size);
}

static apr_status_t upstream_cleanup(void *data)
{
    cp_upstream_t *upstream = data;

    curl_url_cleanup(upstream->url);
    return APR_SUCCESS;
}

apr_status_t cp_upstream_create(cp_upstream_t **pupstream,
                                const cp_upstream_config_t *config,
                                apr_pool_t *p)
{
    cp_upstream_t *upstream = apr_pcalloc(p, sizeof(*upstream));

    upstream->config = *config;
    upstream->url = curl_url();
    if (!upstream->url) {
        return APR_ENOMEM;
    }
    apr_pool_cleanup_register(p, upstream, upstream_cleanup,
                              apr_pool_cleanup_null);
    if (parse_url(upstream->url, config->url)) {
        return APR_EINVAL;
    }
    upstream->is_plaintext = strncasecmp(config->url, "http://", 7) == 0;
    upstream->is_literal = cp_address_is_literal(written_host(p, config->url));
    *pupstream = upstream;
    return APR_SUCCESS;
}

/* ---- Addresses ---- */

static int refuse(cp_guard_t *guard, const struct sockaddr *addr,
                  const char *why)
{
    char text[INET6_ADDRSTRLEN] = "?";

    if (addr->sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)addr)->sin6_addr,
                  text, sizeof(text));
    }
    else if (addr->sa_family == AF_INET) {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)addr)->sin_addr, text,
                  sizeof(text));
    }
    guard->is_refused = 1;
    apr_snprintf(guard->address, sizeof(guard->address), "%s (%s)", text, why);
    return 0;
}

static int may_connect(cp_guard_t *guard, const struct sockaddr *addr)
{
    const cp_upstream_t *upstream = guard->upstream;
    cp_address_scope_t scope = cp_address_scope(addr);

    if (scope == CP_ADDRESS_PUBLIC) {
        return !upstream->is_plaintext || upstream->config.allow_plaintext
               || refuse(guard, addr, "plaintext");
    }
    return upstream->is_literal || upstream->config.allow_private
           || refuse(guard, addr, cp_address_scope_name(scope));
}

int cp_http_may_use(cp_guard_t *guard, const char *address)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    struct sockaddr unknown = {.sa_family = AF_UNSPEC};

    if (inet_pton(AF_INET, address, &v4.sin_addr) == 1) {
        return may_connect(guard, (struct sockaddr *)&v4);
    }
    if (inet_pton(AF_INET6, address, &v6.sin6_addr) == 1) {
        return may_connect(guard, (struct sockaddr *)&v6);
    }
    return refuse(guard, &unknown, "unknown");
}

curl_socket_t cp_http_open_socket(void *baton, curlsocktype purpose,
                                  struct curl_sockaddr *address)
{
    if (!may_connect(baton, &address->addr)) {
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC,
                  address->protocol);
}

/* ---- Handles ---- */

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

void cp_http_configure(CURL *easy, const cp_upstream_t *upstream,
                       cp_guard_t *guard)
{
    memset(guard, 0, sizeof(*guard));
    guard->upstream = upstream;
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
    curl_easy_setopt(easy, CURLOPT_USERAGENT, USER_AGENT);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE,
                     upstream->config.http2 ? RECEIVE_BUFFER_HTTP2
                                            : RECEIVE_BUFFER);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, cp_http_open_socket);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, guard);
    configure_tls(easy, &upstream->config);
    configure_reuse(easy, &upstream->config);
}

/* What a fetch does itself, curl must do for who calls curl_easy_perform. */
static void configure_lent(CURL *easy, const cp_upstream_config_t *config)
{
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
        cp_http_configure(c->easy, upstream, &c->guard);
        configure_lent(c->easy, &upstream->config);
        c->is_lent = 1;
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
        return cp_error_set(err, CP_ERR_INTERNAL, APR_ENOMEM, "out of memory",
                            "no memory for an HTTP handle");
    }
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
    .close = http_close,
};
