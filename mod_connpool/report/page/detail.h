/* SPDX-License-Identifier: Apache-2.0
 * What is a click away: who holds, who waits, which settings are in effect. */
#ifndef CONNPOOL_DETAIL_H
#define CONNPOOL_DETAIL_H

#include "base/bytes/buffer.h"
#include "report/lines/gather.h"

/** Below the row of a pool, or of a query, in a table of so many columns. */
void connpool_status_write_pool_details(cp_buffer_t *buf,
                                        const connpool_status_t *report,
                                        const connpool_pool_line_t *line,
                                        int columns);
void connpool_status_write_query_details(cp_buffer_t *buf,
                                         const connpool_status_t *report,
                                         const connpool_query_line_t *line,
                                         int columns);

#endif
