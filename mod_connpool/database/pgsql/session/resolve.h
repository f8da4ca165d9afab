/* SPDX-License-Identifier: Apache-2.0
 * Addresses of names, without waiting for longer than one may: whoever looks
 * one up is a thread of its own, which is left behind. */
#ifndef CP_PG_RESOLVE_H
#define CP_PG_RESOLVE_H

#include "base/clock.h"

#include <apr_errno.h>

#define CP_PG_ADDRESSES    8
#define CP_PG_ADDRESS_SIZE 64

typedef struct cp_pg_addresses_t {
    int count;
    char text[CP_PG_ADDRESSES][CP_PG_ADDRESS_SIZE];
} cp_pg_addresses_t;

/** The host's addresses: as it stands when it is one, or as they were found at
 * most half a minute ago; older ones while nothing better is known.
 * @return APR_TIMEUP, or APR_ENOENT: there is no such host */
apr_status_t cp_pg_resolve(const char *host, cp_clock_t deadline,
                           cp_pg_addresses_t *addresses);

#endif
