/* SPDX-License-Identifier: Apache-2.0
 * How long what runs on a connection may take, and what goes on meanwhile. */
#ifndef CP_LIMIT_H
#define CP_LIMIT_H

#include "base/clock.h"
#include "base/meanwhile.h"

/** What holds for all that runs on a connection, until the next or the
 * connection's release. */
typedef struct cp_limit_t {
    cp_clock_t deadline;       /**< what runs then fails: CP_ERR_DEADLINE */
    cp_meanwhile_fn meanwhile; /**< called every few milliseconds from within
                                    whatever works or waits on the connection,
                                    in its thread; must not touch it. NULL:
                                    nothing */
    void *baton;
    int (*is_gone)(void *baton); /**< asked now and then likewise: 1: nobody
                                      waits for what runs, it may fail with
                                      CP_ERR_CANCELLED. NULL: somebody does */
    void *gone_baton;
} cp_limit_t;

#define CP_NO_LIMIT (&(const cp_limit_t){.deadline = CP_CLOCK_NEVER})

#endif
