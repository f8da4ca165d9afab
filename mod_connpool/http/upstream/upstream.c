/* SPDX-License-Identifier: Apache-2.0 */
#include "http/upstream/upstream.h"

#include "http/upstream/address.h"
#include "http/upstream/guard.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

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

const char *cp_upstream_host(apr_pool_t *p, const char *url)
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

int cp_upstream_gains_from_loop(const cp_upstream_t *upstream)
{
    return upstream->config.http2 || !upstream->is_plaintext;
}

static apr_status_t upstream_cleanup(void *data)
{
    cp_upstream_t *upstream = data;

    curl_url_cleanup(upstream->url);
    return APR_SUCCESS;
}

/* The scheme's own port is not said. Names that are sent in another form than
 * they are written in are curl's to translate. */
static const char *authority_of(const cp_upstream_t *upstream, apr_pool_t *p)
{
    const char *host = url_part(p, upstream->url, CURLUPART_HOST);
    const char *port = url_part(p, upstream->url, CURLUPART_PORT);

    for (const char *c = host; *c; c++) {
        if ((unsigned char)*c >= 0x7f || *c == '%') {
            return NULL;
        }
    }
    if (!upstream->is_plaintext || !*host) {
        return NULL;
    }
    return strcmp(port, "80") == 0 ? host
                                   : apr_pstrcat(p, host, ":", port, NULL);
}

/* As curl writes them. */
static void note_parts(cp_upstream_t *upstream, apr_pool_t *p)
{
    CURLU *root = curl_url_dup(upstream->url);
    char *text = NULL;
    size_t size;

    upstream->path = url_part(p, upstream->url, CURLUPART_PATH);
    upstream->query = url_part(p, upstream->url, CURLUPART_QUERY);
    if (root && curl_url_set(root, CURLUPART_QUERY, NULL, 0) == CURLUE_OK
        && curl_url_set(root, CURLUPART_PATH, "/", 0) == CURLUE_OK
        && curl_url_get(root, CURLUPART_URL, &text, 0) == CURLUE_OK) {
        size = strlen(text);
        upstream->root = apr_pstrmemdup(p, text, size - 1);
    }
    curl_free(text);
    curl_url_cleanup(root);
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
    note_parts(upstream, p);
    if (!upstream->root) {
        return APR_ENOMEM;
    }
    upstream->is_plaintext = strncasecmp(config->url, "http://", 7) == 0;
    upstream->authority = authority_of(upstream, p);
    upstream->is_literal = cp_address_is_literal(
        cp_upstream_host(p, config->url));
    *pupstream = upstream;
    return APR_SUCCESS;
}
