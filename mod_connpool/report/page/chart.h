/* SPDX-License-Identifier: Apache-2.0
 * The last ten minutes as charts. */
#ifndef CONNPOOL_CHART_H
#define CONNPOOL_CHART_H

#include <apr_pools.h>

#include "base/bytes/buffer.h"
#include "report/lines/gather.h"

void connpool_status_write_charts(cp_buffer_t *buf, apr_pool_t *p);

/** A cell of a pool's row: how busy it has been. */
void connpool_status_write_sparkline(cp_buffer_t *buf, apr_pool_t *p,
                                     const connpool_pool_line_t *line);

#endif
