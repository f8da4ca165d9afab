/* SPDX-License-Identifier: Apache-2.0
 * What the page says of processes and caches. */
#ifndef CONNPOOL_PROCESS_H
#define CONNPOOL_PROCESS_H

#include "base/bytes/buffer.h"
#include "report/lines/gather.h"

/** Its last tables. */
void connpool_status_write_processes(cp_buffer_t *buf,
                                     const connpool_status_t *report);

/** How the caches of all children fare. */
void connpool_status_write_cache(cp_buffer_t *buf,
                                 const connpool_status_t *report);

#endif
