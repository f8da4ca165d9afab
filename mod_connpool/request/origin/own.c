/* SPDX-License-Identifier: Apache-2.0 */
#include "request/origin/own.h"

#include "glue.h"
#include "base/origin/origin.h"
#include "config/setting.h"

#include <apr_lib.h>
#include <apr_network_io.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>

static int is_secure(request_rec *r)
{
    return strcmp(ap_http_scheme(r), "https") == 0;
}

static int is_host(const cp_origin_t *origin, int secure, const char *host,
                   apr_size_t size)
{
    cp_origin_t own;

    return !cp_origin_parse_host(&own, secure, host, size)
           && cp_origin_equals(origin, &own);
}

/* As ServerName says. */
static int is_canonical(request_rec *r, const cp_origin_t *origin)
{
    const char *name = r->server->server_hostname;
    const char *port = "";

    if (!name) {
        return 0;
    }
    if (r->server->port) {
        port = apr_psprintf(r->pool, ":%d", (int)r->server->port);
    }
    name = apr_pstrcat(r->pool, name, port, NULL);
    return is_host(origin, is_secure(r), name, strlen(name));
}

/* --- proxies --- */

/* Who has made the connection, whoever it is for. */
static int is_proxy_trusted(request_rec *r)
{
    const apr_array_header_t *proxies = connpool_dir(r)->proxies;

    for (int i = 0; proxies && i < proxies->nelts; i++) {
        if (apr_ipsubnet_test(APR_ARRAY_IDX(proxies, i, apr_ipsubnet_t *),
                              r->connection->client_addr)) {
            return 1;
        }
    }
    return 0;
}

/* Each proxy adds what it was told at the end of the list; what stands before
 * may be anybody's word. NULL: there is no such header. */
static const char *last_of(request_rec *r, const char *header,
                           apr_size_t *psize)
{
    const char *list = apr_table_get(r->headers_in, header);
    const char *word, *end;

    if (!list) {
        return NULL;
    }
    word = ap_strrchr_c(list, ',');
    word = word ? word + 1 : list;
    end = list + strlen(list);
    while (apr_isspace(*word)) {
        word++;
    }
    while (end > word && apr_isspace(end[-1])) {
        end--;
    }
    *psize = (apr_size_t)(end - word);
    return word;
}

static int is_forwarded(request_rec *r, const cp_origin_t *origin)
{
    apr_size_t size = 0;
    const char *host = last_of(r, "X-Forwarded-Host", &size);
    apr_size_t proto_size = 0;
    const char *proto = last_of(r, "X-Forwarded-Proto", &proto_size);
    int secure = is_secure(r);

    if (proto) {
        secure = proto_size == 5 && strncasecmp(proto, "https", 5) == 0;
    }
    if (!host) {
        host = apr_table_get(r->headers_in, "Host");
        size = host ? strlen(host) : 0;
    }
    return host && is_host(origin, secure, host, size);
}

int connpool_origin_is_own(request_rec *r, const cp_origin_t *origin)
{
    const char *host = apr_table_get(r->headers_in, "Host");

    return (host && is_host(origin, is_secure(r), host, strlen(host)))
           || is_canonical(r, origin)
           || (is_proxy_trusted(r) && is_forwarded(r, origin));
}
