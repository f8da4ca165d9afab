/* SPDX-License-Identifier: Apache-2.0
 * The table of each struct of counters. */
#ifndef CP_TABLES_H
#define CP_TABLES_H

#include "stats/metric.h"

extern const cp_metrics_t cp_pool_metrics; /**< but for leaks */
extern const cp_metrics_t cp_query_metrics;
extern const cp_metrics_t cp_upstream_metrics;
extern const cp_metrics_t cp_loop_metrics;
extern const cp_metrics_t cp_process_metrics; /**< with its caches */
extern const cp_metrics_t cp_batch_metrics;

#endif
