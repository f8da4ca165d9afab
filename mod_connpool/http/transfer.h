/* SPDX-License-Identifier: Apache-2.0
 * A fetch under way: started, advanced and ended by the thread that wants it.
 */
#ifndef CP_TRANSFER_H
#define CP_TRANSFER_H

#include <apr_errno.h>

#include "base/clock.h"
#include "base/error.h"

struct cp_bell_t;
struct cp_fetch_request_t;
struct cp_fetch_result_t;
struct cp_fetch_sink_t;
struct cp_loop_t;
struct cp_upstream_t;

/** A fetch under way. It belongs to one thread, which may have several. */
typedef struct cp_transfer_t cp_transfer_t;

/** Begin a fetch through the easy handle `conn` (of cp_http_driver), in the
 * loop, or in the calling thread when loop is NULL or lost before the head.
 * Never waits. Nobody else may touch conn until the fetch is over. request and
 * sink are copied.
 * @param bell rings when the fetch has news; the caller's, and the same for all
 * that one thread waits for together. NULL: one of its own, for
 * cp_transfer_finish
 * @return APR_SUCCESS, whatever becomes of the fetch; APR_ENOMEM: nothing has
 * begun */
apr_status_t cp_transfer_start(cp_transfer_t **ptransfer,
                               struct cp_upstream_t *upstream, void *conn,
                               struct cp_loop_t *loop,
                               const struct cp_fetch_request_t *request,
                               const struct cp_fetch_sink_t *sink,
                               struct cp_bell_t *bell);

/** Give what has come to the sink, follow redirects, try again, keep the limits
 * of time: to be called for every transfer of a bell whenever that rang, and at
 * the earliest of their *puntil. Between calls at most 256K of the body are
 * buffered, then the transfer is paused; that counts as our time, not as the
 * upstream's silence. A transfer that runs in the calling thread works for up
 * to 10 ms, shared with the others of its bell that do, and says *puntil = 0;
 * those go on side by side, a little later than in the loop.
 * @return APR_SUCCESS when the fetch is over: conn can be used again, a handle
 * that the loop still holds was left to it and replaced; APR_EAGAIN while it is
 * under way, with the time of the next call at the latest in *puntil */
apr_status_t cp_transfer_advance(cp_transfer_t *transfer, cp_clock_t *puntil);

/** Advance until the fetch is over, and sleep meanwhile: for a thread that
 * waits for nothing else. It returns 50 ms after the deadline
 * at the latest. */
void cp_transfer_finish(cp_transfer_t *transfer);

/** It is over without an answer, and nothing speaks against asking another
 * upstream the same: nothing was sent, or what may be sent twice. */
int cp_transfer_may_repeat(const cp_transfer_t *transfer);

/** Free the transfer; one that is still under way is given up first
 * (CP_ERR_CANCELLED), which takes up to 20 ms. conn can be used again.
 * @return APR_SUCCESS when the body is complete, or why not: CP_ERR_INPUT
 * (path, query or header that must not be sent), CP_ERR_REFUSED (address
 * policy, redirect elsewhere), CP_ERR_UPSTREAM, CP_ERR_SIZE, CP_ERR_DEADLINE,
 * CP_ERR_CANCELLED, CP_ERR_INTERNAL (memory). A failure after head() leaves the
 * answer cut. */
apr_status_t cp_transfer_end(cp_transfer_t *transfer,
                             struct cp_fetch_result_t *result, cp_error_t *err);

#endif
