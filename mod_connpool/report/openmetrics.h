/* SPDX-License-Identifier: Apache-2.0
 * Writes tables of counters as OpenMetrics 1.0, or in the text format that it
 * grew out of. */
#ifndef CONNPOOL_OPENMETRICS_H
#define CONNPOOL_OPENMETRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes/buffer.h"
#include "stats/metric.h"

/** Where the text is going, and in which of the two dialects. */
typedef struct connpool_metrics_writer_t {
    cp_buffer_t *buf;
    int is_openmetrics;
} connpool_metrics_writer_t;

/** Whose numbers they are. */
typedef struct connpool_subject_t {
    const char *label; /**< "pool" or "query"; NULL: the whole server's */
    const char *name;
    const char *server; /**< NULL: no such label */
    const char *kind;   /**< for rows that want it */
    const char *group;  /**< of what kind the subjects are that have one row in
                             common: label kind=, before all; or NULL */
    const void *stats;
} connpool_subject_t;

/** A table, of whom it speaks, and the row that comes next. */
typedef struct connpool_families_t {
    const cp_metrics_t *metrics;
    const connpool_subject_t *subjects;
    int count;
    int next;
} connpool_families_t;

/** Text as it is. */
void connpool_metrics_put(connpool_metrics_writer_t *w, const char *text);

/** Write families, up to the row of the member at offset `end`; SIZE_MAX: the
 * rest. */
void connpool_metrics_until(connpool_metrics_writer_t *w,
                            connpool_families_t *families, size_t end);

/** For what is in no table: begin a family... */
void connpool_metrics_family(connpool_metrics_writer_t *w,
                             const cp_metric_t *family);

/** ...and write its samples, with the family's own label. */
void connpool_metrics_sample(connpool_metrics_writer_t *w,
                             const cp_metric_t *family,
                             const connpool_subject_t *subject, uint64_t value);

#endif
