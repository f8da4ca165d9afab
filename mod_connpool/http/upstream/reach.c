/* SPDX-License-Identifier: Apache-2.0
 * Upstreams that no address can satisfy: what the check at the moment of
 * connecting would refuse each time is told before anybody asks. */
#include "http/upstream/address.h"
#include "http/upstream/upstream.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

#include <apr_strings.h>

/* Names that lead to the machine itself wherever they are looked up. */
static int is_local_name(const char *host)
{
    static const char *const names[] = {"localhost",
                                        "localhost.localdomain",
                                        "localhost4",
                                        "localhost6",
                                        "ip6-localhost",
                                        "ip6-loopback",
                                        "localhost4.localdomain4",
                                        "localhost6.localdomain6"};
    size_t size = strlen(host);

    if (size > 0 && host[size - 1] == '.') {
        size--;
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (size == strlen(names[i]) && !strncasecmp(host, names[i], size)) {
            return 1;
        }
    }
    return size > 10 && !strncasecmp(host + size - 10, ".localhost", 10);
}

/* An address in whatever spelling the resolver takes for one: 127.1, 0x7f.1,
 * [::1]. */
static int read_address(const char *host, struct sockaddr_storage *addr)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)addr;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)addr;
    char inner[INET6_ADDRSTRLEN] = "";
    size_t size = strlen(host);

    memset(addr, 0, sizeof(*addr));
    if (inet_aton(host, &v4->sin_addr)) {
        v4->sin_family = AF_INET;
        return 1;
    }
    if (*host != '[' || size - 2 >= sizeof(inner)) {
        return 0;
    }
    memcpy(inner, host + 1, size - 2);
    v6->sin6_family = AF_INET6;
    return inet_pton(AF_INET6, inner, &v6->sin6_addr) == 1;
}

/* Addresses that nobody has. */
static const char *useless(const struct sockaddr *addr)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)addr;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)addr;
    int is_v4 = addr->sa_family == AF_INET;

    if (is_v4 ? ntohl(v4->sin_addr.s_addr) >> 24 == 0
              : IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr)) {
        return "is no host's address: write 127.0.0.1 for this machine";
    }
    if (cp_address_scope(addr) == CP_ADDRESS_MULTICAST
        || (is_v4 && v4->sin_addr.s_addr == INADDR_BROADCAST)) {
        return "is the address of many, and HTTP goes to one";
    }
    return NULL;
}

/* The host in the origin, as curl has read it; and as it was written, which
 * decides whether it is taken for an address. */
static char *host_of(apr_pool_t *p, const char *origin)
{
    const char *host = strstr(origin, "://") + 3;

    return apr_pstrmemdup(p, host, (apr_size_t)(strrchr(host, ':') - host));
}

static const char *check_address(const cp_upstream_config_t *config,
                                 const struct sockaddr *addr, int is_literal)
{
    cp_address_scope_t scope = cp_address_scope(addr);
    const char *problem = useless(addr);

    if (problem) {
        return problem;
    }
    if (scope == CP_ADDRESS_PUBLIC) {
        return strncasecmp(config->url, "http:", 5) || config->allow_plaintext
                   ? NULL
                   : "is a public address, and http: would go there in the "
                     "clear: write https:, or plaintext=allow";
    }
    return is_literal || config->allow_private
               ? NULL
               : "is an address that is not public, in an unusual spelling: "
                 "write it out (127.0.0.1), or private=allow";
}

const char *cp_upstream_check_reach(apr_pool_t *p,
                                    const cp_upstream_config_t *config,
                                    const char *origin)
{
    const char *host = host_of(p, origin);
    int is_literal = cp_address_is_literal(cp_upstream_host(p, config->url));
    struct sockaddr_storage addr;
    const char *problem = NULL;

    if (read_address(host, &addr)) {
        problem = check_address(config, (struct sockaddr *)&addr, is_literal);
    }
    else if (is_local_name(host) && !config->allow_private) {
        problem = "leads to this machine, and a name may do so with "
                  "private=allow only: add it, or write 127.0.0.1";
    }
    return problem ? apr_psprintf(p, "the host %s %s", host, problem) : NULL;
}

const char *cp_upstream_warning(apr_pool_t *p,
                                const cp_upstream_config_t *config,
                                const char *origin)
{
    struct sockaddr_storage addr;

    if (strncasecmp(config->url, "http:", 5) || config->allow_plaintext
        || config->allow_private || read_address(host_of(p, origin), &addr)) {
        return NULL;
    }
    return "http: to a name without private=allow and plaintext=allow: neither "
           "a private nor a public address of it would be connected to";
}
