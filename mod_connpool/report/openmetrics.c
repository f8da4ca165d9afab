/* SPDX-License-Identifier: Apache-2.0
 * Writes tables of counters as OpenMetrics 1.0, or in the text format that it
 * grew out of. */
#include "report/openmetrics.h"

#include "base/bytes/buffer.h"
#include "stats/histogram.h"
#include "stats/metric.h"

#include <string.h>

#include <apr_strings.h>

void connpool_metrics_put(connpool_metrics_writer_t *w, const char *text)
{
    cp_buffer_append(w->buf, text, strlen(text));
}

/* The value of a sample, and the line's end. */
static void put_number(connpool_metrics_writer_t *w, uint64_t value)
{
    char text[32];

    apr_snprintf(text, sizeof(text), " %" APR_UINT64_T_FMT "\n", value);
    connpool_metrics_put(w, text);
}

/* Microseconds as seconds, exact; ratios are kept in millionths, too. */
static void put_seconds(connpool_metrics_writer_t *w, uint64_t us)
{
    char text[48];

    apr_snprintf(text, sizeof(text),
                 " %" APR_UINT64_T_FMT ".%06" APR_UINT64_T_FMT "\n",
                 us / 1000000, us % 1000000);
    connpool_metrics_put(w, text);
}

/* --- families --- */

static int is_counter(const cp_metric_t *family)
{
    return family->type == CP_METRIC_COUNTER;
}

static const char *type_of(const cp_metric_t *family)
{
    return is_counter(family)                    ? "counter"
           : family->type == CP_METRIC_HISTOGRAM ? "histogram"
                                                 : "gauge";
}

/* OpenMetrics names the family, the older format each counter's sample. */
static void put_about(connpool_metrics_writer_t *w, const char *what,
                      const cp_metric_t *family, const char *text)
{
    connpool_metrics_put(w, what);
    connpool_metrics_put(w, family->family);
    if (is_counter(family) && !w->is_openmetrics) {
        connpool_metrics_put(w, "_total");
    }
    connpool_metrics_put(w, " ");
    connpool_metrics_put(w, text);
    connpool_metrics_put(w, "\n");
}

void connpool_metrics_family(connpool_metrics_writer_t *w,
                             const cp_metric_t *family)
{
    put_about(w, "# TYPE ", family, type_of(family));
    if (w->is_openmetrics && family->unit && *family->unit) {
        put_about(w, "# UNIT ", family, family->unit);
    }
    put_about(w, "# HELP ", family, family->help);
}

/* --- labels --- */

/* A label's value: backslash, quote and line break are escaped. */
static void put_escaped(connpool_metrics_writer_t *w, const char *value)
{
    for (; *value; value++) {
        if (*value == '\n') {
            connpool_metrics_put(w, "\\n");
            continue;
        }
        if (*value == '\\' || *value == '"') {
            connpool_metrics_put(w, "\\");
        }
        cp_buffer_append(w->buf, value, 1);
    }
}

/* One sample's labels, as far as they are written. */
typedef struct labels_t {
    connpool_metrics_writer_t *w;
    int is_open;
} labels_t;

static void put_label(labels_t *labels, const char *name, const char *value)
{
    if (name && value) {
        connpool_metrics_put(labels->w, labels->is_open ? "," : "{");
        connpool_metrics_put(labels->w, name);
        connpool_metrics_put(labels->w, "=\"");
        put_escaped(labels->w, value);
        connpool_metrics_put(labels->w, "\"");
        labels->is_open = 1;
    }
}

/* A sample as far as its value: of whom it is, and which of the row's numbers.
 */
typedef struct sample_t {
    const cp_metric_t *row;
    const connpool_subject_t *subject;
    const char *value; /* of the row's label */
} sample_t;

static void begin_sample(connpool_metrics_writer_t *w, const sample_t *sample,
                         const char *suffix, const char *le)
{
    const connpool_subject_t *subject = sample->subject;
    labels_t labels = {w, 0};

    connpool_metrics_put(w, sample->row->family);
    connpool_metrics_put(w, suffix);
    put_label(&labels, "kind", subject->group);
    put_label(&labels, subject->label, subject->name);
    put_label(&labels, "server", subject->server);
    put_label(&labels, sample->row->label, sample->value);
    put_label(&labels, "kind", sample->row->is_kind ? subject->kind : NULL);
    put_label(&labels, "le", le);
    if (labels.is_open) {
        connpool_metrics_put(w, "}");
    }
}

/* --- samples --- */

typedef struct bound_t {
    uint64_t us;
    const char *le;
} bound_t;

static const bound_t bounds[] = {
    {100, "0.0001"},    {250, "0.00025"},   {500, "0.0005"},
    {1000, "0.001"},    {2500, "0.0025"},   {5000, "0.005"},
    {10000, "0.01"},    {25000, "0.025"},   {50000, "0.05"},
    {100000, "0.1"},    {250000, "0.25"},   {500000, "0.5"},
    {1000000, "1.0"},   {2500000, "2.5"},   {5000000, "5.0"},
    {10000000, "10.0"}, {30000000, "30.0"}, {60000000, "60.0"},
};

static void put_histogram(connpool_metrics_writer_t *w, const sample_t *sample,
                          const cp_histogram_t *h)
{
    uint64_t count = cp_histogram_count(h);

    for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
        begin_sample(w, sample, "_bucket", bounds[i].le);
        put_number(w, cp_histogram_below(h, bounds[i].us));
    }
    begin_sample(w, sample, "_bucket", "+Inf");
    put_number(w, count);
    begin_sample(w, sample, "_count", NULL);
    put_number(w, count);
    begin_sample(w, sample, "_sum", NULL);
    put_seconds(w, h->sum);
}

static void put_value(connpool_metrics_writer_t *w, const sample_t *sample,
                      uint64_t value)
{
    const char *unit = sample->row->unit;

    begin_sample(w, sample, is_counter(sample->row) ? "_total" : "", NULL);
    if (unit && (strcmp(unit, "seconds") == 0 || strcmp(unit, "ratio") == 0)) {
        put_seconds(w, value);
    }
    else {
        put_number(w, value);
    }
}

void connpool_metrics_sample(connpool_metrics_writer_t *w,
                             const cp_metric_t *family,
                             const connpool_subject_t *subject, uint64_t value)
{
    sample_t sample = {family, subject, family->value};

    put_value(w, &sample, value);
}

/* All numbers of a row that one subject has. */
static void put_row(connpool_metrics_writer_t *w, const cp_metric_t *row,
                    const connpool_subject_t *subject)
{
    for (int i = row->first; i < cp_metric_cells(row); i++) {
        sample_t sample = {row, subject, row->key ? row->key(i) : row->value};

        if (row->type == CP_METRIC_HISTOGRAM) {
            const cp_histogram_t *h = cp_metric_of(row, subject->stats);

            put_histogram(w, &sample, &h[i]);
        }
        else {
            put_value(w, &sample, cp_metric_value(row, subject->stats, i));
        }
    }
}

static int is_same_family(const cp_metric_t *row, const cp_metric_t *before)
{
    return before->family && strcmp(row->family, before->family) == 0;
}

void connpool_metrics_until(connpool_metrics_writer_t *w,
                            connpool_families_t *families, size_t end)
{
    const cp_metrics_t *metrics = families->metrics;

    for (; families->next < metrics->count; families->next++) {
        const cp_metric_t *row = &metrics->rows[families->next];

        if (row->offset == end) {
            return;
        }
        if (!row->family) {
            continue;
        }
        if (families->next == 0 || !is_same_family(row, row - 1)) {
            connpool_metrics_family(w, row);
        }
        for (int i = 0; i < families->count; i++) {
            put_row(w, row, &families->subjects[i]);
        }
    }
}
