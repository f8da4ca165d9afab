/* SPDX-License-Identifier: Apache-2.0
 * Where addresses lie: no address behind which a machine of ours may stand is
 * ever called public, in whatever clothes it comes. */
#include "fuzz.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "http/upstream/address.h"

/* A second opinion on those that matter most. */
static int is_inner(const uint8_t *v4)
{
    return v4[0] == 127 || v4[0] == 10 || v4[0] == 0 || v4[0] >= 224
           || (v4[0] == 172 && v4[1] >= 16 && v4[1] < 32)
           || (v4[0] == 192 && v4[1] == 168) || (v4[0] == 169 && v4[1] == 254)
           || (v4[0] == 100 && v4[1] >= 64 && v4[1] < 128);
}

static cp_address_scope_t scope_of_v4(const uint8_t *bytes)
{
    struct sockaddr_in in = {.sin_family = AF_INET};

    memcpy(&in.sin_addr, bytes, 4);
    return cp_address_scope((const struct sockaddr *)&in);
}

static cp_address_scope_t scope_of_v6(const uint8_t *bytes)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

    memcpy(&in6.sin6_addr, bytes, 16);
    return cp_address_scope((const struct sockaddr *)&in6);
}

static void check_clothes(const uint8_t *v4)
{
    cp_address_scope_t scope = scope_of_v4(v4);
    uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff};
    uint8_t nat64[16] = {0, 0x64, 0xff, 0x9b};
    uint8_t six_to_four[16] = {0x20, 0x02};

    memcpy(mapped + 12, v4, 4);
    memcpy(nat64 + 12, v4, 4);
    memcpy(six_to_four + 2, v4, 4);
    MUST(!is_inner(v4) || scope != CP_ADDRESS_PUBLIC);
    MUST(scope_of_v6(mapped) == scope);
    MUST(scope_of_v6(nat64) == scope);
    MUST(scope_of_v6(six_to_four) == scope);
}

static void check_v6(const uint8_t *v6)
{
    cp_address_scope_t scope = scope_of_v6(v6);
    struct in6_addr any;

    memcpy(&any, v6, 16);
    MUST(*cp_address_scope_name(scope));
    MUST(scope != CP_ADDRESS_PUBLIC
         || (!IN6_IS_ADDR_LOOPBACK(&any) && !IN6_IS_ADDR_LINKLOCAL(&any)
             && !IN6_IS_ADDR_MULTICAST(&any) && !IN6_IS_ADDR_SITELOCAL(&any)
             && !IN6_IS_ADDR_UNSPECIFIED(&any) && (v6[0] & 0xfe) != 0xfc));
}

static void check_literal(apr_pool_t *p, const uint8_t *data, size_t size)
{
    char *host = fuzz_text(p, data, size);
    size_t length = strlen(host);
    struct in6_addr address;

    if (!cp_address_is_literal(host)) {
        return;
    }
    if (host[0] == '[') {
        MUST(host[length - 1] == ']');
        host[length - 1] = '\0';
        host++;
    }
    MUST(inet_pton(AF_INET, host, &address) == 1
         || inet_pton(AF_INET6, host, &address) == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    union {
        struct sockaddr any;
        struct sockaddr_storage storage;
    } other = {0};

    check_literal(fuzz_pool(), data, size);
    if (size >= 4) {
        check_clothes(data);
    }
    if (size >= 16) {
        check_v6(data);
    }
    memcpy(&other, data, size < sizeof(other) ? size : sizeof(other));
    MUST(other.any.sa_family == AF_INET || other.any.sa_family == AF_INET6
         || cp_address_scope(&other.any) == CP_ADDRESS_RESERVED);
    return 0;
}
