/* SPDX-License-Identifier: Apache-2.0
 * What a pool must know of one kind of connection. Drivers never see pools. */
#ifndef CP_DRIVER_H
#define CP_DRIVER_H

#include <apr_errno.h>

#include "base/clock.h"
#include "base/error.h"

/** All functions run in the thread that borrows (or maintains) the connection,
 * but for tend() never under a lock of the pool, and never at once on the same
 * connection. `ctx` is what the pool was created with. */
typedef struct cp_driver_t {
    const char *kind; /**< a word, as reports show it: "http" */

    /** Make a connection. On failure fill err and leave *pconn NULL. */
    apr_status_t (*open)(void *ctx, cp_clock_t deadline, void **pconn,
                         cp_error_t *err);

    /** Is it alive? Anything but APR_SUCCESS gets the connection closed. */
    apr_status_t (*check)(void *ctx, void *conn, cp_clock_t deadline);

    /** The same in a few microseconds, at each acquire: is it known to be dead,
     * without asking the other side? NULL: that is not to be known. */
    apr_status_t (*glance)(void *ctx, void *conn);

    /** Make it clean for the next borrower (roll back, clear). Anything but
     * APR_SUCCESS gets the connection closed. NULL: nothing to do. */
    apr_status_t (*reset)(void *ctx, void *conn);

    /** What it was lost by: an SQLSTATE, "" without one, NULL: it is not lost.
     * NULL: there is no such thing in connections of this kind. */
    const char *(*fault)(void *ctx, void *conn);

    /** Look after one that lies idle, every second or so, in a few
     * microseconds. NULL: nothing to do. */
    void (*tend)(void *ctx, void *conn);

    /** Close and free. Must not block for longer than about a second. */
    void (*close)(void *ctx, void *conn);
} cp_driver_t;

#endif
