/* SPDX-License-Identifier: Apache-2.0
 * A plain request over the socket that curl has kept for its connection. */
#ifndef CP_KEPT_H
#define CP_KEPT_H

#include <apr_time.h>

#include "http/job/handle.h"
#include "http/job/job.h"

/** One exchange of the thread that waits for it. */
typedef struct cp_kept_t cp_kept_t;

/** Ask over the connection's own socket, when that is open, idle, young enough,
 * and the request one without a body.
 * @return NULL: let curl do it */
cp_kept_t *cp_kept_start(cp_conn_t *conn, cp_job_t *job);

/** Work until there is news, or for so long.
 * @return 0: the socket was closed, and nothing came: stop, and let curl ask
 * anew */
int cp_kept_work(cp_kept_t *kept, apr_interval_time_t wait);

/** From the request to the first byte of the answer. */
apr_interval_time_t cp_kept_first_byte(const cp_kept_t *kept);

/** End the exchange, and with it the connection unless it was complete. */
void cp_kept_stop(cp_kept_t *kept);

#endif
