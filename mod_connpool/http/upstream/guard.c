/* SPDX-License-Identifier: Apache-2.0 */
#include "http/upstream/guard.h"

#include "http/upstream/address.h"

#include <arpa/inet.h>

#include <apr_strings.h>

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

    if (upstream->config.socket) {
        return addr->sa_family == AF_UNIX
               || refuse(guard, addr, "not its socket");
    }
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

    if (guard->upstream->config.socket) {
        return 1; /* curl keeps such connections apart, by their paths */
    }
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
