/* SPDX-License-Identifier: Apache-2.0
 * What a struct of counters is made of, as a table: how each member is added
 * up, what becomes of it when its child ends, and what it is called. */
#ifndef CP_METRIC_H
#define CP_METRIC_H

#include <stddef.h>
#include <stdint.h>

typedef enum cp_metric_type_t {
    CP_METRIC_COUNTER,  /**< added up; stays when its child ends */
    CP_METRIC_MARK,     /**< the largest of all children; stays */
    CP_METRIC_GAUGE,    /**< added up; vanishes with its child */
    CP_METRIC_LEVEL,    /**< the largest of all children; vanishes */
    CP_METRIC_SINCE,    /**< a time, 0: none; the oldest of all; vanishes */
    CP_METRIC_HISTOGRAM /**< cp_histogram_t of microseconds; added up; stays */
} cp_metric_type_t;

/** What is counted in another number, too, is read before that, lest a sum has
 * more of the part than of the whole. */
typedef enum cp_metric_flow_t {
    CP_FLOW_NONE,
    CP_FLOW_PART,
    CP_FLOW_WHOLE
} cp_metric_flow_t;

/** One member: uint64_t or cp_histogram_t, or an array of them. */
typedef struct cp_metric_t {
    size_t offset;
    size_t size;
    cp_metric_type_t type;
    cp_metric_flow_t flow;
    const char *json;   /**< NULL: not shown; of an array of histograms what
                             follows each one's key */
    const char *family; /**< of OpenMetrics, without _total; NULL: not shown.
                             Rows of one family stand together */
    const char *help;   /**< the first of a family says it */
    const char *unit;   /**< "seconds" (kept as us), "bytes", or NULL */
    const char *label;  /**< beside whose number it is, or NULL */
    const char *value;  /**< the label's, of what is no array */
    const char *(*key)(int i); /**< an array's: name of each in JSON, and value
                                    of the label */
    int first;   /**< of an array: those before it are not shown */
    int is_kind; /**< has a label kind=, too */
} cp_metric_t;

/** In the order of OpenMetrics. JSON has the order of the struct. */
typedef struct cp_metrics_t {
    const cp_metric_t *rows;
    int count;
    size_t size; /**< of the struct */
} cp_metrics_t;

/** How many numbers or histograms: 1, or more for an array. */
int cp_metric_cells(const cp_metric_t *metric);

/** The first of them. */
const void *cp_metric_of(const cp_metric_t *metric, const void *stats);

/** The value of cell i of what is no histogram. */
uint64_t cp_metric_value(const cp_metric_t *metric, const void *stats, int i);

/** The row that begins at this offset or, if none does, the next one of the
 * struct; NULL: no more. */
const cp_metric_t *cp_metrics_from(const cp_metrics_t *metrics, size_t offset);

/** into += from, by each member's rule. from may be written meanwhile, into
 * only by this thread. */
void cp_metrics_merge(const cp_metrics_t *metrics, void *into,
                      const void *from);

/** The same without histograms, which are most of the bytes. */
void cp_metrics_merge_numbers(const cp_metrics_t *metrics, void *into,
                              const void *from);

/** A child has ended: what vanishes becomes 0. */
void cp_metrics_settle(const cp_metrics_t *metrics, void *stats);

/** In a sum: a child that stops between two of its counts can leave a gauge
 * below zero; nobody shall see that as a number of twenty digits. */
void cp_metrics_floor(const cp_metrics_t *metrics, void *sum);

#endif
