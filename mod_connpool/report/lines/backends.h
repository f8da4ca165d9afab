/* SPDX-License-Identifier: Apache-2.0
 * What a server's side of a pool looks like: its sessions by what they do, and
 * how many all children may have. */
#ifndef CONNPOOL_BACKENDS_H
#define CONNPOOL_BACKENDS_H

#include "pool/wait/permits.h"
#include "report/lines/gather.h"

#include <stdint.h>

typedef enum connpool_backend_state_t {
    CONNPOOL_BACKEND_ACTIVE,         /* lent, outside of a transaction */
    CONNPOOL_BACKEND_IDLE,           /* in the pool */
    CONNPOOL_BACKEND_IN_TRANSACTION, /* lent, between its begin and its end */
    CONNPOOL_BACKEND_OPENING,        /* not there yet */
    CONNPOOL_BACKEND_STATES
} connpool_backend_state_t;

/** "active", "idle", "in_transaction", "opening". */
const char *connpool_backend_state_name(connpool_backend_state_t state);

/** Are its connections sessions of a server, whose errors have SQLSTATEs? */
int connpool_has_backends(const connpool_pool_line_t *line);

/** How many are in that state, in all children. */
uint64_t connpool_backends_in(const connpool_pool_line_t *line,
                              connpool_backend_state_t state);

/** With server-max=: what of it is held and waited for, and by whom. @return
 * 0: it has none */
int connpool_server_permits(const connpool_pool_line_t *line,
                            cp_permits_state_t *state);

/** The processes that hold or wait: cp_permits_holder_t. */
apr_array_header_t *connpool_permit_holders(apr_pool_t *p,
                                            const connpool_pool_line_t *line);

#endif
