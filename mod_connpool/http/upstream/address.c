/* SPDX-License-Identifier: Apache-2.0 */
#include "http/upstream/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>

typedef struct net4_t {
    uint32_t net;
    int bits;
    cp_address_scope_t scope;
} net4_t;

typedef struct net6_t {
    uint8_t net[16];
    int bits;
    cp_address_scope_t scope;
} net6_t;

#define NET4(a, b, c, d)                                                       \
    ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (d))

/* The IANA special-purpose registries, as far as they are not global. */
static const net4_t nets4[] = {
    {NET4(0, 0, 0, 0), 8, CP_ADDRESS_RESERVED}, /* "this host": loopback */
    {NET4(10, 0, 0, 0), 8, CP_ADDRESS_PRIVATE},
    {NET4(100, 64, 0, 0), 10, CP_ADDRESS_PRIVATE}, /* carrier-grade NAT */
    {NET4(127, 0, 0, 0), 8, CP_ADDRESS_LOOPBACK},
    {NET4(169, 254, 0, 0), 16, CP_ADDRESS_LINK_LOCAL},
    {NET4(172, 16, 0, 0), 12, CP_ADDRESS_PRIVATE},
    {NET4(192, 0, 0, 0), 24, CP_ADDRESS_RESERVED},   /* protocols */
    {NET4(192, 0, 2, 0), 24, CP_ADDRESS_RESERVED},   /* documentation */
    {NET4(192, 88, 99, 0), 24, CP_ADDRESS_RESERVED}, /* 6to4 relays */
    {NET4(192, 168, 0, 0), 16, CP_ADDRESS_PRIVATE},
    {NET4(198, 18, 0, 0), 15, CP_ADDRESS_RESERVED},   /* benchmarks */
    {NET4(198, 51, 100, 0), 24, CP_ADDRESS_RESERVED}, /* documentation */
    {NET4(203, 0, 113, 0), 24, CP_ADDRESS_RESERVED},  /* documentation */
    {NET4(224, 0, 0, 0), 4, CP_ADDRESS_MULTICAST},
    {NET4(240, 0, 0, 0), 4, CP_ADDRESS_RESERVED}, /* and broadcast */
};

static const net6_t nets6[] = {
    {{0xfc}, 7, CP_ADDRESS_PRIVATE},
    {{0xfe, 0x80}, 10, CP_ADDRESS_LINK_LOCAL},
    {{0xfe, 0xc0}, 10, CP_ADDRESS_PRIVATE}, /* site-local, long deprecated */
    {{0xff}, 8, CP_ADDRESS_MULTICAST},
    /* Translation with a prefix that the operator chooses: where the IPv4
     * address stands in it cannot be known. */
    {{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, 48, CP_ADDRESS_PRIVATE},
    {{0x01, 0x00}, 64, CP_ADDRESS_RESERVED},             /* discard */
    {{0x20, 0x01, 0x00, 0x00}, 23, CP_ADDRESS_RESERVED}, /* Teredo, ORCHID */
    {{0x20, 0x01, 0x0d, 0xb8}, 32, CP_ADDRESS_RESERVED}, /* documentation */
    {{0x3f, 0xff}, 20, CP_ADDRESS_RESERVED},             /* documentation */
    {{0x5f, 0x00}, 16, CP_ADDRESS_RESERVED},             /* segment routing */
    {{0x00},
     8,
     CP_ADDRESS_RESERVED}, /* what ::/8 holds beside the forms above */
};

/* Prefixes in front of an IPv4 address, and where that begins. */
static const struct {
    uint8_t prefix[16];
    int bits;
    int offset;
} carriers[] = {
    {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96, 12}, /* mapped */
    {{0}, 96, 12},                                        /* compatible */
    {{0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96, 12},       /* SIIT */
    {{0x00, 0x64, 0xff, 0x9b}, 96, 12},                   /* NAT64 */
    {{0x20, 0x02}, 16, 2},                                /* 6to4 */
};

static int has_prefix(const uint8_t *addr, const uint8_t *prefix, int bits)
{
    int bytes = bits / 8;
    if (memcmp(addr, prefix, (size_t)bytes) != 0) {
        return 0;
    }
    int rest = bits % 8;
    return rest == 0 || (addr[bytes] ^ prefix[bytes]) >> (8 - rest) == 0;
}

static cp_address_scope_t scope4(uint32_t addr)
{
    for (size_t i = 0; i < sizeof(nets4) / sizeof(nets4[0]); i++) {
        if ((addr ^ nets4[i].net) >> (32 - nets4[i].bits) == 0) {
            return nets4[i].scope;
        }
    }
    return CP_ADDRESS_PUBLIC;
}

static cp_address_scope_t scope6(const uint8_t *addr)
{
    struct in6_addr loopback = IN6ADDR_LOOPBACK_INIT;
    if (memcmp(addr, &loopback, sizeof(loopback)) == 0) {
        return CP_ADDRESS_LOOPBACK;
    }
    for (size_t i = 0; i < sizeof(carriers) / sizeof(carriers[0]); i++) {
        if (has_prefix(addr, carriers[i].prefix, carriers[i].bits)) {
            const uint8_t *v4 = addr + carriers[i].offset;
            return scope4(NET4(v4[0], v4[1], v4[2], v4[3]));
        }
    }
    for (size_t i = 0; i < sizeof(nets6) / sizeof(nets6[0]); i++) {
        if (has_prefix(addr, nets6[i].net, nets6[i].bits)) {
            return nets6[i].scope;
        }
    }
    return CP_ADDRESS_PUBLIC;
}

cp_address_scope_t cp_address_scope(const struct sockaddr *addr)
{
    /* Copied: the caller's storage need not be aligned for the family. */
    if (addr->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, addr, sizeof(in));
        return scope4(ntohl(in.sin_addr.s_addr));
    }
    if (addr->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, addr, sizeof(in6));
        return scope6(in6.sin6_addr.s6_addr);
    }
    return CP_ADDRESS_RESERVED;
}

const char *cp_address_scope_name(cp_address_scope_t scope)
{
    static const char *const names[] = {
        [CP_ADDRESS_PUBLIC] = "public",
        [CP_ADDRESS_LOOPBACK] = "loopback",
        [CP_ADDRESS_PRIVATE] = "private",
        [CP_ADDRESS_LINK_LOCAL] = "link-local",
        [CP_ADDRESS_MULTICAST] = "multicast",
        [CP_ADDRESS_RESERVED] = "reserved",
    };
    return names[scope];
}

int cp_address_is_literal(const char *host)
{
    struct in6_addr addr; /* large enough for both families */
    if (inet_pton(AF_INET, host, &addr) == 1) {
        return 1;
    }
    char inner[INET6_ADDRSTRLEN];
    size_t length = strlen(host);
    if (host[0] == '[' && host[length - 1] == ']') {
        host++;
        length -= 2;
    }
    if (length >= sizeof(inner)) {
        return 0;
    }
    memcpy(inner, host, length);
    inner[length] = '\0';
    return inet_pton(AF_INET6, inner, &addr) == 1;
}
