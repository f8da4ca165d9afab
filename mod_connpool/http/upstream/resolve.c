/* SPDX-License-Identifier: Apache-2.0
 * The addresses of an upstream's name, before anybody connects to them. */
#include "http/upstream/guard.h"
#include "http/upstream/upstream.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>

#include <apr_strings.h>

/* Host and port of "scheme://host:port", a literal one without brackets. */
static void split_origin(apr_pool_t *p, const char *origin, const char **phost,
                         const char **pport)
{
    const char *host = strstr(origin, "://") + 3;
    const char *colon = strrchr(host, ':');
    apr_size_t size = (apr_size_t)(colon - host);

    if (*host == '[') {
        host++;
        size -= 2;
    }
    *phost = apr_pstrmemdup(p, host, size);
    *pport = colon + 1;
}

static void tell_address(cp_guard_t *guard, const struct addrinfo *info,
                         cp_upstream_address_fn tell, void *baton)
{
    char address[NI_MAXHOST] = "?";

    guard->address[0] = '\0';
    getnameinfo(info->ai_addr, info->ai_addrlen, address, sizeof(address), NULL,
                0, NI_NUMERICHOST);
    tell(baton, address,
         cp_http_may_use(guard, address) ? NULL : guard->address);
}

const char *cp_upstream_resolve(apr_pool_t *p,
                                const cp_upstream_config_t *config,
                                const char *origin, cp_upstream_address_fn tell,
                                void *baton)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    cp_guard_t guard = {NULL, 0, ""};
    cp_upstream_t *upstream;
    const char *host, *port;
    int rc;

    if (cp_upstream_create(&upstream, config, p) != APR_SUCCESS) {
        return "the URL cannot be read";
    }
    guard.upstream = upstream;
    split_origin(p, origin, &host, &port);
    rc = getaddrinfo(host, port, &hints, &found);
    if (rc != 0) {
        return apr_psprintf(p, "the name %s has no address: %s", host,
                            rc == EAI_SYSTEM ? strerror(errno)
                                             : gai_strerror(rc));
    }
    for (const struct addrinfo *info = found; info; info = info->ai_next) {
        tell_address(&guard, info, tell, baton);
    }
    freeaddrinfo(found);
    return NULL;
}
