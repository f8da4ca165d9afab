/* SPDX-License-Identifier: Apache-2.0
 * The report for monitoring systems: OpenMetrics 1.0, and the text format that
 * it grew out of. Names end in their base unit; labels come from the
 * configuration alone, so that nobody can make new time series by asking. */
#include "glue.h"
#include "answers/encode.h"
#include "base/error.h"
#include "report/status.h"
#include "stats/stats.h"

#include <stddef.h>

#include <apr_strings.h>

/* Where the text is going, and in which of the two dialects. */
typedef struct writer_t {
    cp_buffer_t *buf;
    int is_openmetrics;
} writer_t;

static void put(writer_t *w, const char *text)
{
    cp_buffer_append(w->buf, text, strlen(text));
}

static void put_number(writer_t *w, uint64_t value)
{
    char text[32];

    apr_snprintf(text, sizeof(text), " %" APR_UINT64_T_FMT "\n", value);
    put(w, text);
}

/* Microseconds as seconds, exact. */
static void put_seconds(writer_t *w, uint64_t us)
{
    char text[48];

    apr_snprintf(text, sizeof(text),
                 " %" APR_UINT64_T_FMT ".%06" APR_UINT64_T_FMT "\n",
                 us / 1000000, us % 1000000);
    put(w, text);
}

/* --- families --- */

typedef enum type_t {
    GAUGE,
    COUNTER,
    HISTOGRAM,
    INFO
} type_t;

typedef struct family_t {
    const char *name; /* without _total */
    type_t type;
    const char *unit; /* "", or what the name ends in */
    const char *help;
} family_t;

static const char *suffix_of(const family_t *family)
{
    return family->type == COUNTER ? "_total"
           : family->type == INFO  ? "_info"
                                   : "";
}

/* OpenMetrics names the family, the older format each counter's sample. */
static void put_family_name(writer_t *w, const family_t *family)
{
    put(w, family->name);
    if (!w->is_openmetrics) {
        put(w, suffix_of(family));
    }
}

static void begin_family(writer_t *w, const family_t *family)
{
    static const char *const types[] = {"gauge", "counter", "histogram",
                                        "info"};
    int is_plain_info = family->type == INFO && !w->is_openmetrics;

    put(w, "# TYPE ");
    put_family_name(w, family);
    put(w, " ");
    put(w, is_plain_info ? "gauge" : types[family->type]);
    if (w->is_openmetrics && *family->unit) {
        put(w, "\n# UNIT ");
        put(w, family->name);
        put(w, " ");
        put(w, family->unit);
    }
    put(w, "\n# HELP ");
    put_family_name(w, family);
    put(w, " ");
    put(w, family->help);
    put(w, "\n");
}

/* --- labels --- */

/* A label's value: backslash, quote and line break are escaped. */
static void put_escaped(writer_t *w, const char *value)
{
    for (; *value; value++) {
        if (*value == '\n') {
            put(w, "\\n");
            continue;
        }
        if (*value == '\\' || *value == '"') {
            put(w, "\\");
        }
        cp_buffer_append(w->buf, value, 1);
    }
}

typedef struct label_t {
    const char *name;
    const char *value; /* NULL: the label is left out */
} label_t;

#define LABELS_MAX 5 /* the last one ends them */

static void put_labels(writer_t *w, const label_t *labels, const char *le)
{
    const char *separator = "{";

    for (int i = 0; i < LABELS_MAX && labels[i].name; i++) {
        if (labels[i].value) {
            put(w, separator);
            put(w, labels[i].name);
            put(w, "=\"");
            put_escaped(w, labels[i].value);
            put(w, "\"");
            separator = ",";
        }
    }
    if (le) {
        put(w, separator);
        put(w, "le=\"");
        put(w, le);
        put(w, "\"");
        separator = ",";
    }
    if (*separator == ',') {
        put(w, "}");
    }
}

static void put_sample(writer_t *w, const family_t *family,
                       const label_t *labels, uint64_t value)
{
    put(w, family->name);
    put(w, suffix_of(family));
    put_labels(w, labels, NULL);
    put_number(w, value);
}

static void put_seconds_sample(writer_t *w, const family_t *family,
                               const label_t *labels, uint64_t us)
{
    put(w, family->name);
    put(w, suffix_of(family));
    put_labels(w, labels, NULL);
    put_seconds(w, us);
}

/* --- histograms --- */

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

static void put_bucket(writer_t *w, const family_t *family,
                       const label_t *labels, const char *le, uint64_t count)
{
    put(w, family->name);
    put(w, "_bucket");
    put_labels(w, labels, le);
    put_number(w, count);
}

static void put_histogram(writer_t *w, const family_t *family,
                          const label_t *labels, const cp_histogram_t *h)
{
    uint64_t count = cp_histogram_count(h);

    for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
        put_bucket(w, family, labels, bounds[i].le,
                   cp_histogram_below(h, bounds[i].us));
    }
    put_bucket(w, family, labels, "+Inf", count);
    put(w, family->name);
    put(w, "_count");
    put_labels(w, labels, NULL);
    put_number(w, count);
    put(w, family->name);
    put(w, "_sum");
    put_labels(w, labels, NULL);
    put_seconds(w, h->sum);
}

/* --- pools --- */

static void pool_labels(label_t *labels, const connpool_pool_line_t *line,
                        const char *name, const char *value)
{
    labels[0] = (label_t){"pool", line->name};
    labels[1] = (label_t){"server", line->server};
    labels[2] = (label_t){name, value};
    labels[3] = (label_t){NULL, NULL};
}

/* A number of cp_pool_stats_t as one sample a pool, with a fixed label. */
typedef struct pool_sample_t {
    int family; /* in pool_families */
    size_t offset;
    const char *label;
    const char *value;
} pool_sample_t;

enum {
    CONNECTIONS,
    CONNECTIONS_PEAK,
    WAITERS,
    WAITERS_PEAK,
    ACQUIRED,
    RELEASED,
    ABANDONED,
    TIMEOUTS,
    REJECTED,
    FALLBACKS,
    CREATED,
    LEAKS,
    MEMORY,
    WAL,
    POOL_FAMILIES
};

static const family_t pool_families[POOL_FAMILIES] = {
    [CONNECTIONS] = {"connpool_connections", GAUGE, "",
                     "Connections of all children by state."},
    [CONNECTIONS_PEAK] = {"connpool_connections_peak", GAUGE, "",
                          "Most connections ever at once in one child."},
    [WAITERS] = {"connpool_waiters", GAUGE, "",
                 "Requests that wait for a connection."},
    [WAITERS_PEAK] = {"connpool_waiters_peak", GAUGE, "",
                      "Most requests ever waiting at once in one child."},
    [ACQUIRED] = {"connpool_acquired", COUNTER, "", "Connections borrowed."},
    [RELEASED] = {"connpool_released", COUNTER, "", "Connections given back."},
    [ABANDONED] = {"connpool_abandoned", COUNTER, "",
                   "Connections that were out when their child was killed."},
    [TIMEOUTS] = {"connpool_acquire_timeouts", COUNTER, "",
                  "Requests refused at the deadline."},
    [REJECTED] = {"connpool_rejected", COUNTER, "",
                  "Requests refused at once, because the queue was full."},
    [FALLBACKS] = {"connpool_fallbacks", COUNTER, "",
                   "One-shot connections beside an exhausted pool."},
    [CREATED] = {"connpool_created", COUNTER, "", "Connections opened."},
    [LEAKS] = {"connpool_leaks_suspected", COUNTER, "",
               "Connections held for longer than leak=."},
    [MEMORY] = {"connpool_memory_bytes", GAUGE, "bytes",
                "Memory of idle connections by what it is for."},
    [WAL] = {"connpool_wal_bytes", GAUGE, "bytes",
             "Size of the database's write-ahead log."},
};

#define POOL(family, member, label, value)                                     \
    {                                                                          \
        family, offsetof(cp_pool_stats_t, member), label, value                \
    }

/* In the order of the families: samples of one stand together. */
static const pool_sample_t pool_samples[] = {
    POOL(CONNECTIONS, open, "state", "open"),
    POOL(CONNECTIONS, busy, "state", "busy"),
    POOL(CONNECTIONS, idle, "state", "idle"),
    POOL(CONNECTIONS_PEAK, open_max, "state", "open"),
    POOL(CONNECTIONS_PEAK, busy_max, "state", "busy"),
    POOL(WAITERS, waiting, NULL, NULL),
    POOL(WAITERS_PEAK, waiting_max, NULL, NULL),
    POOL(ACQUIRED, acquired, NULL, NULL),
    POOL(RELEASED, released, NULL, NULL),
    POOL(ABANDONED, abandoned, NULL, NULL),
    POOL(TIMEOUTS, timeouts, NULL, NULL),
    POOL(REJECTED, rejected, NULL, NULL),
    POOL(FALLBACKS, fallbacks, NULL, NULL),
    POOL(CREATED, created, NULL, NULL),
    POOL(LEAKS, leaks_suspected, NULL, NULL),
    POOL(MEMORY, cache_bytes, "part", "cache"),
    POOL(MEMORY, schema_bytes, "part", "schema"),
    POOL(MEMORY, statement_bytes, "part", "statements"),
    POOL(WAL, wal_bytes, NULL, NULL),
};

#define EACH_LINE(report, list, type, line)                                    \
    for (const type *line = (const type *)(const void *)(report)->list->elts,  \
                    *line##_end = line + (report)->list->nelts;                \
         line < line##_end; line++)

/* A gauge may be seen below zero, between two counts of a child that stops. */
static uint64_t cell_of(const void *stats, size_t offset, type_t type)
{
    uint64_t value;

    memcpy(&value, (const char *)stats + offset, sizeof(value));
    return type == GAUGE && (int64_t)value < 0 ? 0 : value;
}

static void put_pool_samples(writer_t *w, const connpool_status_t *report)
{
    int last = -1;

    for (size_t i = 0; i < sizeof(pool_samples) / sizeof(pool_samples[0]);
         i++) {
        const pool_sample_t *sample = &pool_samples[i];
        const family_t *family = &pool_families[sample->family];

        if (sample->family != last) {
            begin_family(w, family);
            last = sample->family;
        }
        EACH_LINE(report, pools, connpool_pool_line_t, line)
        {
            label_t labels[LABELS_MAX];

            pool_labels(labels, line, sample->label, sample->value);
            if (sample->family == CONNECTIONS) {
                labels[3] = (label_t){"kind", line->kind};
                labels[4] = (label_t){NULL, NULL};
            }
            put_sample(w, family, labels,
                       cell_of(line->sum, sample->offset, family->type));
        }
    }
}

static void put_pool_limits(writer_t *w, const connpool_status_t *report)
{
    static const family_t max = {
        "connpool_connections_max", GAUGE, "",
        "Connections that one child may have at the most."};
    static const family_t oldest = {
        "connpool_oldest_waiter_seconds", GAUGE, "seconds",
        "How long the one who waits longest has been waiting."};
    label_t labels[LABELS_MAX];

    begin_family(w, &max);
    EACH_LINE(report, pools, connpool_pool_line_t, line)
    {
        pool_labels(labels, line, "kind", line->kind);
        put_sample(w, &max, labels, (uint64_t)line->max);
    }
    begin_family(w, &oldest);
    EACH_LINE(report, pools, connpool_pool_line_t, line)
    {
        pool_labels(labels, line, NULL, NULL);
        put_seconds_sample(w, &oldest, labels, line->oldest_wait_us);
    }
}

static void put_pool_reasons(writer_t *w, const connpool_status_t *report)
{
    static const family_t closed = {"connpool_closed", COUNTER, "",
                                    "Connections closed, by reason."};
    static const family_t failures = {
        "connpool_create_failures", COUNTER, "",
        "Connections that could not be opened, by class of error."};
    label_t labels[LABELS_MAX];

    begin_family(w, &closed);
    EACH_LINE(report, pools, connpool_pool_line_t, line)
    {
        for (int i = 0; i < CP_CLOSE_REASONS; i++) {
            pool_labels(labels, line, "reason",
                        cp_close_reason_name((cp_close_reason_t)i));
            put_sample(w, &closed, labels, line->sum->closed[i]);
        }
    }
    begin_family(w, &failures);
    EACH_LINE(report, pools, connpool_pool_line_t, line)
    {
        for (int i = CP_ERR_NONE + 1; i < CP_ERR_CLASSES; i++) {
            pool_labels(labels, line, "class",
                        cp_error_class_name((cp_error_class_t)i));
            put_sample(w, &failures, labels, line->sum->failures[i]);
        }
    }
}

static void put_pool_histogram(writer_t *w, const connpool_status_t *report,
                               const family_t *family, size_t offset)
{
    begin_family(w, family);
    EACH_LINE(report, pools, connpool_pool_line_t, line)
    {
        label_t labels[LABELS_MAX];

        pool_labels(labels, line, NULL, NULL);
        put_histogram(w, family, labels,
                      (const void *)((const char *)line->sum + offset));
    }
}

static void put_pools(writer_t *w, const connpool_status_t *report)
{
    static const family_t acquire = {
        "connpool_acquire_seconds", HISTOGRAM, "seconds",
        "Time from asking for a connection to having it."};
    static const family_t hold = {"connpool_hold_seconds", HISTOGRAM, "seconds",
                                  "Time a connection was held."};
    static const family_t create = {
        "connpool_create_seconds", HISTOGRAM, "seconds",
        "Time to open a connection, failures included."};

    put_pool_samples(w, report);
    put_pool_limits(w, report);
    put_pool_reasons(w, report);
    put_pool_histogram(w, report, &acquire,
                       offsetof(cp_pool_stats_t, acquire_us));
    put_pool_histogram(w, report, &hold, offsetof(cp_pool_stats_t, hold_us));
    put_pool_histogram(w, report, &create,
                       offsetof(cp_pool_stats_t, create_us));
}

/* --- queries --- */

static void query_labels(label_t *labels, const connpool_query_line_t *line,
                         const char *name, const char *value)
{
    labels[0] = (label_t){"query", line->name};
    labels[1] = (label_t){"server", line->server};
    labels[2] = (label_t){name, value};
    labels[3] = (label_t){NULL, NULL};
}

static void put_queries(writer_t *w, const connpool_status_t *report)
{
    static const family_t seconds = {"connpool_query_seconds", HISTOGRAM,
                                     "seconds", "Time of named queries."};
    static const family_t rows = {"connpool_query_rows", COUNTER, "",
                                  "Rows that queries returned."};
    static const family_t slow = {
        "connpool_query_slow", COUNTER, "",
        "Queries that took longer than ConnPoolSlowLog."};
    static const family_t errors = {"connpool_query_errors", COUNTER, "",
                                    "Queries that failed, by class of error."};
    label_t labels[LABELS_MAX];

    begin_family(w, &seconds);
    EACH_LINE(report, queries, connpool_query_line_t, line)
    {
        query_labels(labels, line, NULL, NULL);
        put_histogram(w, &seconds, labels, &line->sum->us);
    }
    begin_family(w, &rows);
    EACH_LINE(report, queries, connpool_query_line_t, line)
    {
        query_labels(labels, line, NULL, NULL);
        put_sample(w, &rows, labels, line->rows);
    }
    begin_family(w, &slow);
    EACH_LINE(report, queries, connpool_query_line_t, line)
    {
        query_labels(labels, line, NULL, NULL);
        put_sample(w, &slow, labels, line->sum->slow);
    }
    begin_family(w, &errors);
    EACH_LINE(report, queries, connpool_query_line_t, line)
    {
        for (int i = CP_ERR_NONE + 1; i < CP_ERR_CLASSES; i++) {
            query_labels(labels, line, "class",
                         cp_error_class_name((cp_error_class_t)i));
            put_sample(w, &errors, labels, line->sum->failures[i]);
        }
    }
}

/* --- caches --- */

typedef struct cache_counter_t {
    int family; /* in cache_families */
    size_t offset;
    const char *label;
    const char *value;
} cache_counter_t;

enum {
    LOOKUPS,
    STORES,
    COALESCED,
    BYPASSED,
    CACHE_FAMILIES
};

static const family_t cache_families[CACHE_FAMILIES] = {
    [LOOKUPS] = {"connpool_cache_lookups", COUNTER, "",
                 "Requests that looked for a kept answer, by what they found; "
                 "those that another request answered are not among them."},
    [STORES] = {"connpool_cache_stores", COUNTER, "", "Answers kept."},
    [COALESCED] = {"connpool_query_coalesced", COUNTER, "",
                   "Requests answered by the run of another one."},
    [BYPASSED] = {"connpool_cache_bypassed", COUNTER, "",
                  "Requests that did not look, for they had credentials."},
};

#define CACHE(family, member, label, value)                                    \
    {                                                                          \
        family, offsetof(cp_query_stats_t, member), label, value               \
    }

/* In the order of the families. */
static const cache_counter_t cache_counters[] = {
    CACHE(LOOKUPS, hits, "result", "hit"),
    CACHE(LOOKUPS, misses, "result", "miss"),
    CACHE(LOOKUPS, stale, "result", "stale"),
    CACHE(STORES, stores, NULL, NULL),
    CACHE(COALESCED, coalesced, NULL, NULL),
    CACHE(BYPASSED, bypassed, NULL, NULL),
};

static void put_query_caches(writer_t *w, const connpool_status_t *report)
{
    int last = -1;

    for (size_t i = 0; i < sizeof(cache_counters) / sizeof(cache_counters[0]);
         i++) {
        const cache_counter_t *counter = &cache_counters[i];
        const family_t *family = &cache_families[counter->family];

        if (counter->family != last) {
            begin_family(w, family);
            last = counter->family;
        }
        EACH_LINE(report, queries, connpool_query_line_t, line)
        {
            label_t labels[LABELS_MAX];

            query_labels(labels, line, counter->label, counter->value);
            put_sample(w, family, labels,
                       cell_of(line->sum, counter->offset, family->type));
        }
    }
}

/* --- upstreams --- */

static void upstream_labels(label_t *labels,
                            const connpool_upstream_line_t *line,
                            const char *name, const char *value)
{
    labels[0] = (label_t){"pool", line->name};
    labels[1] = (label_t){"server", line->server};
    labels[2] = (label_t){name, value};
    labels[3] = (label_t){NULL, NULL};
}

typedef struct upstream_counter_t {
    family_t family;
    size_t offset;
    const char *label;
    const char *value;
} upstream_counter_t;

static const upstream_counter_t upstream_counters[] = {
    {{"connpool_http_errors", COUNTER, "",
      "Fetches that failed, or were answered with 5xx."},
     offsetof(cp_upstream_stats_t, errors),
     NULL,
     NULL},
    {{"connpool_http_reused", COUNTER, "",
      "Fetches over a socket that was open already."},
     offsetof(cp_upstream_stats_t, reused),
     NULL,
     NULL},
    {{"connpool_http_retries", COUNTER, "", "Attempts more than the first."},
     offsetof(cp_upstream_stats_t, retries),
     NULL,
     NULL},
    {{"connpool_http_coalesced", COUNTER, "",
      "Requests that got what an equal fetch of another brought."},
     offsetof(cp_upstream_stats_t, coalesced),
     NULL,
     NULL},
    {{"connpool_http_breaker_opened", COUNTER, "",
      "Times that a breaker opened."},
     offsetof(cp_upstream_stats_t, breaker_opened),
     NULL,
     NULL},
    {{"connpool_http_breaker_refused", COUNTER, "",
      "Fetches refused because a breaker was open."},
     offsetof(cp_upstream_stats_t, breaker_refused),
     NULL,
     NULL},
    {{"connpool_http_tls_handshakes", COUNTER, "", "TLS handshakes."},
     offsetof(cp_upstream_stats_t, handshakes),
     NULL,
     NULL},
    {{"connpool_http_bytes", COUNTER, "bytes",
      "Bytes of bodies, decompressed."},
     offsetof(cp_upstream_stats_t, bytes),
     "dir",
     "in"},
};

static void put_upstream_counters(writer_t *w, const connpool_status_t *report)
{
    for (size_t i = 0;
         i < sizeof(upstream_counters) / sizeof(upstream_counters[0]); i++) {
        const upstream_counter_t *counter = &upstream_counters[i];

        begin_family(w, &counter->family);
        EACH_LINE(report, upstreams, connpool_upstream_line_t, line)
        {
            label_t labels[LABELS_MAX];

            upstream_labels(labels, line, counter->label, counter->value);
            put_sample(
                w, &counter->family, labels,
                cell_of(line->sum, counter->offset, counter->family.type));
        }
    }
}

static void put_breakers(writer_t *w, const connpool_status_t *report)
{
    static const family_t state = {
        "connpool_http_breaker_state", GAUGE, "",
        "Breaker: 0 closed, 1 half-open, 2 open in some child."};

    begin_family(w, &state);
    EACH_LINE(report, upstreams, connpool_upstream_line_t, line)
    {
        label_t labels[LABELS_MAX];

        upstream_labels(labels, line, NULL, NULL);
        put_sample(w, &state, labels, (uint64_t)line->breaker);
    }
}

static void put_upstreams(writer_t *w, const connpool_status_t *report)
{
    static const char *const classes[] = {"none", "1xx", "2xx",
                                          "3xx",  "4xx", "5xx"};
    static const family_t requests = {
        "connpool_http_requests", COUNTER, "",
        "Fetches by class of status; none: without an answer."};
    static const family_t seconds = {"connpool_http_seconds", HISTOGRAM,
                                     "seconds", "Time of whole fetches."};
    static const family_t spans = {"connpool_http_phase_seconds", HISTOGRAM,
                                   "seconds", "Time of each phase of fetches."};
    label_t labels[LABELS_MAX];

    begin_family(w, &requests);
    EACH_LINE(report, upstreams, connpool_upstream_line_t, line)
    {
        for (int i = 0; i < 6; i++) {
            upstream_labels(labels, line, "code_class", classes[i]);
            put_sample(w, &requests, labels, line->sum->statuses[i]);
        }
    }
    put_upstream_counters(w, report);
    put_breakers(w, report);
    begin_family(w, &seconds);
    EACH_LINE(report, upstreams, connpool_upstream_line_t, line)
    {
        upstream_labels(labels, line, NULL, NULL);
        put_histogram(w, &seconds, labels, &line->sum->us);
    }
    begin_family(w, &spans);
    EACH_LINE(report, upstreams, connpool_upstream_line_t, line)
    {
        for (int i = 0; i < CP_SPANS; i++) {
            upstream_labels(labels, line, "phase", cp_span_name((cp_span_t)i));
            put_histogram(w, &spans, labels, &line->sum->span_us[i]);
        }
    }
}

/* --- the rest --- */

static void put_one(writer_t *w, const char *name, type_t type,
                    const char *unit, const char *help, uint64_t value)
{
    static const label_t none[LABELS_MAX];
    family_t family = {name, type, unit, help};

    begin_family(w, &family);
    put_sample(w, &family, none, value);
}

static void put_loop(writer_t *w, const cp_loop_stats_t *loop)
{
    static const label_t none[LABELS_MAX];
    static const family_t lag = {
        "connpool_loop_lag_seconds", GAUGE, "seconds",
        "How late the last wake-up was, in the worst child."};

    begin_family(w, &lag);
    put_seconds_sample(w, &lag, none, loop->lag_us);
    put_one(w, "connpool_loops", GAUGE, "", "Event loops that run.",
            loop->running);
    put_one(w, "connpool_loop_in_flight", GAUGE, "", "Fetches in the loops.",
            loop->in_flight);
    put_one(w, "connpool_loop_iterations", COUNTER, "",
            "Rounds of the event loops.", loop->iterations);
    put_one(w, "connpool_loop_restarts", COUNTER, "",
            "Event loops started anew.", loop->restarts);
    put_one(w, "connpool_loop_inline_runs", COUNTER, "",
            "Fetches run without the loop, because it was lost.",
            loop->inline_runs);
}

static void put_batch(writer_t *w, const cp_batch_stats_t *batch)
{
    put_one(w, "connpool_batch_requests", COUNTER, "", "Batches.",
            batch->requests);
    put_one(w, "connpool_batch_items", COUNTER, "", "Items of batches.",
            batch->items);
    put_one(w, "connpool_batch_item_errors", COUNTER, "",
            "Items of batches answered with 4xx or 5xx.", batch->errors);
    put_one(w, "connpool_batch_overlapped", COUNTER, "",
            "Batches that had several fetches at once.", batch->overlapped);
    put_one(w, "connpool_batch_sequential", COUNTER, "",
            "Batches whose fetches ran one after another, for lack of a loop.",
            batch->sequential);
}

static void put_cache(writer_t *w, const cp_cache_stats_t *cache)
{
    put_one(w, "connpool_cache_failures", COUNTER, "",
            "Errors of the cache, and entries that were none.",
            cache->failures);
    put_one(w, "connpool_cache_timeouts", COUNTER, "",
            "Calls of the cache that did not come back in time.",
            cache->timeouts);
    put_one(w, "connpool_cache_skipped", COUNTER, "",
            "Lookups and stores not tried, because the cache was away.",
            cache->skipped);
    put_one(w, "connpool_cache_dropped", COUNTER, "",
            "Stores for which the queue had no room.", cache->dropped);
    put_one(w, "connpool_cache_too_large", COUNTER, "",
            "Answers that the cache does not take.", cache->too_large);
    put_one(w, "connpool_cache_evictions", COUNTER, "",
            "Answers with ttl=data that went for lack of room.",
            cache->evictions);
    put_one(w, "connpool_cache_entries", GAUGE, "",
            "Answers with ttl=data, of all children.", cache->entries);
    put_one(w, "connpool_cache_bytes", GAUGE, "bytes",
            "Memory of answers with ttl=data, of all children.", cache->bytes);
}

static void put_processes(writer_t *w, const connpool_status_t *report)
{
    static const label_t none[LABELS_MAX];
    static const label_t version[LABELS_MAX] = {{"version", CONNPOOL_VERSION}};
    static const family_t info = {"connpool_build", INFO, "",
                                  "What is running."};
    static const family_t request = {
        "connpool_request_seconds", HISTOGRAM, "seconds",
        "Time of requests in our handlers, from end to end."};

    begin_family(w, &info);
    put_sample(w, &info, version, 1);
    put_one(w, "connpool_children", GAUGE, "", "Living children.",
            (uint64_t)report->children);
    put_one(w, "connpool_resident_bytes", GAUGE, "bytes",
            "Resident memory of all children.", report->process.rss_bytes);
    put_one(w, "connpool_resident_peak_bytes", GAUGE, "bytes",
            "Most resident memory that any of the children has had.",
            report->process.rss_max_bytes);
    put_one(w, "connpool_descriptors", GAUGE, "",
            "Open file descriptors of all children.",
            report->process.descriptors);
    put_one(w, "connpool_memory_bound_bytes", GAUGE, "bytes",
            "ConnPoolMemory, the bound in each child.", report->memory_bound);
    put_one(w, "connpool_memory_used_bytes", GAUGE, "bytes",
            "What ConnPoolMemory bounds, of all children.",
            report->process.memory_bytes);
    put_one(w, "connpool_memory_shrunk", COUNTER, "",
            "Times that ConnPoolMemory made caches shrink.",
            report->process.shrunk);
    put_one(w, "connpool_memory_refused", COUNTER, "",
            "Requests refused by ConnPoolMemory.",
            report->process.refused_memory);
    begin_family(w, &request);
    put_histogram(w, &request, none, &report->process.request_us);
}

void connpool_status_write_metrics(cp_buffer_t *buf,
                                   const connpool_status_t *report,
                                   int is_openmetrics)
{
    writer_t w = {buf, is_openmetrics};

    put_processes(&w, report);
    put_pools(&w, report);
    put_queries(&w, report);
    put_query_caches(&w, report);
    put_cache(&w, &report->process.cache);
    put_upstreams(&w, report);
    put_loop(&w, &report->loop);
    put_batch(&w, &report->batch);
    if (is_openmetrics) {
        put(&w, "# EOF\n");
    }
}
