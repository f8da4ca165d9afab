/* SPDX-License-Identifier: Apache-2.0
 * The runner without a loop: the calling thread drives the transfer itself. */
#ifndef CP_INLINE_H
#define CP_INLINE_H

#include <apr_time.h>

#include "http/job/handle.h"
#include "http/job/job.h"

int cp_inline_start(cp_conn_t *conn, cp_job_t *job);

/** Take the handle out, unless the job has ended. */
void cp_inline_stop(cp_conn_t *conn, cp_job_t *job);

void cp_inline_unpause(cp_conn_t *conn, cp_job_t *job);

/** Work on the transfer until there is news, or something can be read from fd
 * (-1: from none), or for so long. */
void cp_inline_work(cp_conn_t *conn, cp_job_t *job, int fd,
                    apr_interval_time_t wait);

#endif
