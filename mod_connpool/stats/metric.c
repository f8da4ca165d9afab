/* SPDX-License-Identifier: Apache-2.0
 * Adds up and settles what a table describes. */
#include "stats/metric.h"

#include "stats/cell.h"
#include "stats/histogram.h"

#include <string.h>

/* More than any struct has of parts and wholes. */
#define FLOW_CELLS 32

#define EACH_ROW(metrics, row)                                                 \
    for (const cp_metric_t *row = (metrics)->rows;                             \
         row < (metrics)->rows + (metrics)->count; row++)

int cp_metric_cells(const cp_metric_t *metric)
{
    size_t each = metric->type == CP_METRIC_HISTOGRAM ? sizeof(cp_histogram_t)
                                                      : sizeof(uint64_t);

    return (int)(metric->size / each);
}

const void *cp_metric_of(const cp_metric_t *metric, const void *stats)
{
    return (const char *)stats + metric->offset;
}

static void *member_of(const cp_metric_t *metric, void *stats)
{
    return (char *)stats + metric->offset;
}

uint64_t cp_metric_value(const cp_metric_t *metric, const void *stats, int i)
{
    const uint64_t *cells = cp_metric_of(metric, stats);

    return cp_stats_get(&cells[i]);
}

const cp_metric_t *cp_metrics_from(const cp_metrics_t *metrics, size_t offset)
{
    const cp_metric_t *next = NULL;

    EACH_ROW(metrics, row)
    {
        if (row->offset >= offset && (!next || row->offset < next->offset)) {
            next = row;
        }
    }
    return next;
}

/* --- parts and wholes --- */

/* Read all of one flow into cells, and nothing that follows earlier; returns
 * how many. */
static int read_flow(const cp_metrics_t *metrics, const void *from,
                     cp_metric_flow_t flow, uint64_t *cells)
{
    int n = 0;

    EACH_ROW(metrics, row)
    {
        const uint64_t *cell = cp_metric_of(row, from);

        for (int i = 0; row->flow == flow && i < cp_metric_cells(row); i++) {
            cells[n++] = __atomic_load_n(&cell[i], __ATOMIC_ACQUIRE);
        }
    }
    return n;
}

static void add_flow(const cp_metrics_t *metrics, void *into,
                     cp_metric_flow_t flow, const uint64_t *cells)
{
    EACH_ROW(metrics, row)
    {
        uint64_t *cell = member_of(row, into);

        for (int i = 0; row->flow == flow && i < cp_metric_cells(row); i++) {
            cp_stats_accumulate(&cell[i], *cells++);
        }
    }
}

/* Were the reader interrupted between the two, all that came to the wholes
 * meanwhile would look as if it had not ended. When the parts are the same
 * after it, the numbers are of one moment. */
static void merge_flow(const cp_metrics_t *metrics, void *into,
                       const void *from)
{
    uint64_t parts[FLOW_CELLS], again[FLOW_CELLS], wholes[FLOW_CELLS];
    size_t size;

    size = sizeof(parts[0])
           * (size_t)read_flow(metrics, from, CP_FLOW_PART, parts);
    read_flow(metrics, from, CP_FLOW_WHOLE, wholes);
    for (int tries = 0; tries < 100; tries++) {
        read_flow(metrics, from, CP_FLOW_PART, again);
        if (memcmp(parts, again, size) == 0) {
            break;
        }
        memcpy(parts, again, size);
        read_flow(metrics, from, CP_FLOW_WHOLE, wholes);
    }
    add_flow(metrics, into, CP_FLOW_PART, parts);
    add_flow(metrics, into, CP_FLOW_WHOLE, wholes);
}

/* --- everything else --- */

/* The oldest of all: the smallest that is not 0. */
static void merge_since(uint64_t *into, uint64_t since)
{
    uint64_t oldest = cp_stats_get(into);

    if (since != 0 && (oldest == 0 || since < oldest)) {
        __atomic_store_n(into, since, __ATOMIC_RELAXED);
    }
}

static void merge_cell(cp_metric_type_t type, uint64_t *into, uint64_t value)
{
    if (type == CP_METRIC_MARK || type == CP_METRIC_LEVEL) {
        cp_stats_raise(into, value);
    }
    else if (type == CP_METRIC_SINCE) {
        merge_since(into, value);
    }
    else {
        cp_stats_accumulate(into, value);
    }
}

static void merge_row(const cp_metric_t *row, void *into, const void *from)
{
    int cells = cp_metric_cells(row);

    if (row->type == CP_METRIC_HISTOGRAM) {
        cp_histogram_t *sum = member_of(row, into);
        const cp_histogram_t *h = cp_metric_of(row, from);

        for (int i = 0; i < cells; i++) {
            cp_histogram_merge(&sum[i], &h[i]);
        }
    }
    else {
        uint64_t *sum = member_of(row, into);

        for (int i = 0; i < cells; i++) {
            merge_cell(row->type, &sum[i], cp_metric_value(row, from, i));
        }
    }
}

static void merge_rows(const cp_metrics_t *metrics, void *into,
                       const void *from, int of_histograms)
{
    EACH_ROW(metrics, row)
    {
        if (row->flow == CP_FLOW_NONE
            && (row->type == CP_METRIC_HISTOGRAM) == of_histograms) {
            merge_row(row, into, from);
        }
    }
}

void cp_metrics_merge_numbers(const cp_metrics_t *metrics, void *into,
                              const void *from)
{
    merge_flow(metrics, into, from);
    merge_rows(metrics, into, from, 0);
}

void cp_metrics_merge(const cp_metrics_t *metrics, void *into, const void *from)
{
    cp_metrics_merge_numbers(metrics, into, from);
    merge_rows(metrics, into, from, 1);
}

static int vanishes(const cp_metric_t *row)
{
    return row->type == CP_METRIC_GAUGE || row->type == CP_METRIC_LEVEL
           || row->type == CP_METRIC_SINCE;
}

void cp_metrics_settle(const cp_metrics_t *metrics, void *stats)
{
    EACH_ROW(metrics, row)
    {
        uint64_t *cell = member_of(row, stats);

        for (int i = 0; vanishes(row) && i < cp_metric_cells(row); i++) {
            __atomic_store_n(&cell[i], 0, __ATOMIC_RELAXED);
        }
    }
}

void cp_metrics_floor(const cp_metrics_t *metrics, void *sum)
{
    EACH_ROW(metrics, row)
    {
        uint64_t *cell = member_of(row, sum);

        for (int i = 0;
             row->type == CP_METRIC_GAUGE && i < cp_metric_cells(row); i++) {
            if ((int64_t)cell[i] < 0) {
                cell[i] = 0;
            }
        }
    }
}
