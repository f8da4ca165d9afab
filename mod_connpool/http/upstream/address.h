/* SPDX-License-Identifier: Apache-2.0
 * Where an address lies, for the check against server-side request forgery. */
#ifndef CP_ADDRESS_H
#define CP_ADDRESS_H

#include <sys/socket.h>

typedef enum cp_address_scope_t {
    CP_ADDRESS_PUBLIC,
    CP_ADDRESS_LOOPBACK,
    CP_ADDRESS_PRIVATE,    /**< RFC 1918, fc00::/7, 100.64/10 */
    CP_ADDRESS_LINK_LOCAL, /**< 169.254/16 (metadata services), fe80::/10 */
    CP_ADDRESS_MULTICAST,
    CP_ADDRESS_RESERVED, /**< 0/8, 240/4, broadcast, documentation, ::, ... */
} cp_address_scope_t;

/** Looks through v4-mapped, v4-compatible, NAT64 (64:ff9b::/96) and 6to4
 * addresses at the v4 address inside. Families other than INET(6) are
 * RESERVED. */
cp_address_scope_t cp_address_scope(const struct sockaddr *addr);

const char *cp_address_scope_name(cp_address_scope_t scope);

/** 1 if host is an address written literally: dotted quad as inet_pton reads
 * it, or v6 with or without brackets. "127.1", "0x7f.1", "2130706433" are not.
 */
int cp_address_is_literal(const char *host);

#endif
