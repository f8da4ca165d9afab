/* SPDX-License-Identifier: Apache-2.0
 * The report for monitoring systems. */
#ifndef CONNPOOL_METRICS_H
#define CONNPOOL_METRICS_H

#include "base/bytes/buffer.h"
#include "report/lines/gather.h"

/** The text format of Prometheus, or its successor OpenMetrics 1.0. */
void connpool_status_write_metrics(cp_buffer_t *buf,
                                   const connpool_status_t *report,
                                   int is_openmetrics);

#endif
