/* SPDX-License-Identifier: Apache-2.0
 * The report as JSON: members in the order of the structs of counters, and
 * between them what comes from no counter. */
#include "report/json.h"

#include "glue.h"
#include "answers/put.h"
#include "base/bytes/buffer.h"
#include "base/clock.h"
#include "base/gauge.h"
#include "cache/provider.h"
#include "config/database.h"
#include "config/setting.h"
#include "http/upstream/breaker.h"
#include "report/lines/backends.h"
#include "report/lines/gather.h"
#include "report/lines/judge.h"
#include "report/lines/lately.h"
#include "stats/cell.h"
#include "stats/histogram.h"
#include "stats/metric.h"
#include "stats/recent/recent.h"
#include "stats/segment.h"
#include "stats/state/state.h"
#include "stats/stats.h"
#include "stats/tables.h"

#include <stddef.h>

#include <apr_strings.h>

static void json_lately(cp_buffer_t *buf, const connpool_whose_t *whose,
                        const cp_histogram_t *h)
{
    cp_spread_t spread;

    for (int i = 0; i < CP_WINDOWS; i++) {
        if (!connpool_status_lately(whose, h, (cp_window_t)i, &spread)) {
            return;
        }
        connpool_json_key(buf, ",", cp_window_name((cp_window_t)i));
        connpool_json_put(buf, "{");
        connpool_json_number(buf, "", "count", spread.count);
        connpool_json_number(buf, ",", "p50", spread.p50);
        connpool_json_number(buf, ",", "p99", spread.p99);
        connpool_json_number(buf, ",", "max", spread.max);
        connpool_json_put(buf, "}");
    }
}

static void json_spread(cp_buffer_t *buf, const char *separator,
                        const char *key, const cp_histogram_t *h,
                        const connpool_whose_t *whose)
{
    cp_spread_t spread;

    cp_histogram_spread(h, &spread);
    connpool_json_key(buf, separator, key);
    connpool_json_put(buf, "{");
    connpool_json_number(buf, "", "count", spread.count);
    connpool_json_number(buf, ",", "sum", spread.sum);
    connpool_json_number(buf, ",", "p50", spread.p50);
    connpool_json_number(buf, ",", "p90", spread.p90);
    connpool_json_number(buf, ",", "p99", spread.p99);
    connpool_json_number(buf, ",", "max", spread.max);
    json_lately(buf, whose, h);
    connpool_json_put(buf, "}");
}

static void json_histograms(cp_buffer_t *buf, const char *separator,
                            const cp_metric_t *row,
                            const connpool_whose_t *whose)
{
    const cp_histogram_t *h = cp_metric_of(row, whose->sum);
    char key[32];

    if (!row->key) {
        json_spread(buf, separator, row->json, h, whose);
        return;
    }
    for (int i = row->first; i < cp_metric_cells(row); i++) {
        apr_snprintf(key, sizeof(key), "%s%s", row->key(i), row->json);
        json_spread(buf, i > row->first ? "," : separator, key, &h[i], whose);
    }
}

static void json_array(cp_buffer_t *buf, const char *separator,
                       const cp_metric_t *row, const void *stats)
{
    connpool_json_key(buf, separator, row->json);
    connpool_json_put(buf, "{");
    for (int i = row->first; i < cp_metric_cells(row); i++) {
        connpool_json_number(buf, i > row->first ? "," : "", row->key(i),
                             cp_metric_value(row, stats, i));
    }
    connpool_json_put(buf, "}");
}

/* A table, the struct that it describes, and how far its members are written.
 */
typedef struct members_t {
    const cp_metrics_t *metrics;
    connpool_whose_t of;
    size_t next;
} members_t;

#define ALL SIZE_MAX

/* The members of the struct up to the one at the offset `end`. */
static void json_until(cp_buffer_t *buf, const char *separator, members_t *m,
                       size_t end)
{
    const cp_metric_t *row;

    for (row = cp_metrics_from(m->metrics, m->next); row && row->offset < end;
         row = cp_metrics_from(m->metrics, row->offset + 1)) {
        if (!row->json) {
            continue;
        }
        if (row->type == CP_METRIC_HISTOGRAM) {
            json_histograms(buf, separator, row, &m->of);
        }
        else if (row->key) {
            json_array(buf, separator, row, m->of.sum);
        }
        else {
            connpool_json_number(buf, separator, row->json,
                                 cp_metric_value(row, m->of.sum, 0));
        }
        separator = ",";
    }
    m->next = end;
}

#define IS_FIRST(lines, line) ((const void *)(line) == (lines)->elts)

/* What each line begins with, after the comma between lines. */
static void json_begin_line(cp_buffer_t *buf, int is_first, const char *name,
                            const char *server)
{
    connpool_json_put(buf, is_first ? "\n{" : ",\n{");
    connpool_json_text(buf, "", "name", name);
    if (server) {
        connpool_json_text(buf, ",", "server", server);
    }
}

/* "cause" is null while all is well. */
static void json_verdict(cp_buffer_t *buf, const char *word,
                         const connpool_verdict_t *verdict, apr_pool_t *p)
{
    connpool_json_text(buf, ",", "state", word);
    if (verdict->state.level == CP_LEVEL_OK) {
        connpool_json_key(buf, ",", "cause");
        connpool_json_put(buf, "null");
    }
    else {
        connpool_json_text(buf, ",", "cause", verdict->state.cause);
    }
    connpool_json_text(buf, ",", "since",
                       connpool_status_time(p, verdict->since));
}

static const char *level_word(const connpool_verdict_t *verdict)
{
    return cp_level_name(verdict->state.level);
}

void connpool_json_causes(cp_buffer_t *buf, const connpool_status_t *report)
{
    connpool_json_key(buf, ",\n", "causes");
    connpool_json_put(buf, "[");
    EACH_LINE(report->causes, connpool_state_line_t, line)
    {
        connpool_json_put(buf, IS_FIRST(report->causes, line) ? "\n{" : ",\n{");
        connpool_json_text(buf, "", "kind", cp_subject_name(line->subject));
        connpool_json_text(buf, ",", "name", line->name);
        if (line->server) {
            connpool_json_text(buf, ",", "server", line->server);
        }
        json_verdict(buf, level_word(line->verdict), line->verdict, report->p);
        connpool_json_put(buf, "}");
    }
    connpool_json_put(buf, "]");
}

/* leaks: those who hold one for longer than leak=. */
static void json_holders(cp_buffer_t *buf, const char *key, int of_leaks,
                         const apr_array_header_t *holders)
{
    const char *separator = "";

    connpool_json_key(buf, ",", key);
    connpool_json_put(buf, "[");
    EACH_LINE(holders, connpool_holder_line_t, line)
    {
        if (of_leaks && !line->is_leak) {
            continue;
        }
        connpool_json_put(buf, separator);
        connpool_json_put(buf, "{");
        separator = ",";
        connpool_json_text(buf, "", "holder", line->holder);
        connpool_json_text(buf, ",", "request", line->request);
        connpool_json_number(buf, ",", "held_us", line->held_us);
        connpool_json_number(buf, ",", "child", (uint64_t)line->child);
        connpool_json_put(buf, "}");
    }
    connpool_json_put(buf, "]");
}

/* What a driver alone can name. */
static void json_gauges(cp_buffer_t *buf, const connpool_status_t *report,
                        const connpool_pool_line_t *line)
{
    EACH_LINE(report->gauges, cp_gauge_t, gauge)
    {
        connpool_json_number(buf, ",", gauge->name,
                             connpool_status_gauge(line, gauge));
    }
}

/* What is known of sessions with a server. */
static void json_backends(cp_buffer_t *buf, const connpool_pool_line_t *line)
{
    const char *separator = "";

    if (!connpool_has_backends(line)) {
        return;
    }
    connpool_json_key(buf, ",", "backends");
    connpool_json_put(buf, "{");
    for (connpool_backend_state_t i = 0; i < CONNPOOL_BACKEND_STATES; i++) {
        connpool_json_number(buf, separator, connpool_backend_state_name(i),
                             connpool_backends_in(line, i));
        separator = ",";
    }
    connpool_json_put(buf, "}");
    connpool_json_key(buf, ",", "reconnects");
    connpool_json_put(buf, "{");
    for (int i = 0; i < CP_SQLSTATES; i++) {
        connpool_json_number(buf, i > 0 ? "," : "", cp_sqlstate_name(i),
                             cp_stats_get(&line->sum->reconnects[i]));
    }
    connpool_json_put(buf, "}");
}

/* server-max=, who holds of it, and who waits. */
static void json_permits(cp_buffer_t *buf, apr_pool_t *p,
                         const connpool_pool_line_t *line)
{
    cp_permits_state_t state = {0};
    uint64_t now = (uint64_t)cp_clock_now();
    int is_capped = connpool_server_permits(line, &state);
    const apr_array_header_t *holders = connpool_permit_holders(p, line);

    connpool_json_number(buf, ",", "server_max", (uint64_t)state.max);
    if (!is_capped) {
        return;
    }
    connpool_json_number(buf, ",", "server_held", (uint64_t)state.held);
    connpool_json_number(buf, ",", "server_waiting", (uint64_t)state.waiting);
    connpool_json_key(buf, ",", "server_children");
    connpool_json_put(buf, "[");
    EACH_LINE(holders, cp_permits_holder_t, holder)
    {
        connpool_json_put(buf, IS_FIRST(holders, holder) ? "{" : ",{");
        connpool_json_number(buf, "", "child", (uint64_t)holder->pid);
        connpool_json_number(buf, ",", "held", (uint64_t)holder->held);
        connpool_json_number(buf, ",", "waits_us",
                             holder->since && now > (uint64_t)holder->since
                                 ? now - (uint64_t)holder->since
                                 : 0);
        connpool_json_put(buf, "}");
    }
    connpool_json_put(buf, "]");
}

static void json_pools(cp_buffer_t *buf, const connpool_status_t *report)
{
    connpool_json_key(buf, ",\n", "pools");
    connpool_json_put(buf, "[");
    EACH_LINE(report->pools, connpool_pool_line_t, line)
    {
        members_t members = {
            &cp_pool_metrics, {CP_ENTRY_POOL, line->entry, line->sum}, 0};

        json_begin_line(buf, IS_FIRST(report->pools, line), line->name,
                        line->server);
        connpool_json_text(buf, ",", "kind", line->kind);
        json_verdict(buf, connpool_status_word(line), &line->verdict,
                     report->p);
        connpool_json_number(buf, ",", "max", (uint64_t)line->max);
        json_permits(buf, report->p, line);
        connpool_json_number(buf, ",", "reachable", line->reachable);
        connpool_json_number(buf, ",", "busy_percent",
                             line->tight_busy * 100 / line->tight_limit);
        json_until(buf, ",", &members,
                   offsetof(cp_pool_stats_t, waiting_since));
        connpool_json_number(buf, ",", "oldest_wait_us", line->oldest_wait_us);
        json_gauges(buf, report, line);
        json_backends(buf, line);
        json_until(buf, ",", &members, ALL);
        json_holders(buf, "leaks", 1, line->holders);
        json_holders(buf, "holders", 0, line->holders);
        connpool_json_put(buf, "}");
    }
    connpool_json_put(buf, "]");
}

static void json_queries(cp_buffer_t *buf, const connpool_status_t *report)
{
    const apr_array_header_t *lines = report->queries;

    connpool_json_key(buf, ",\n", "queries");
    connpool_json_put(buf, "[");
    EACH_LINE(lines, connpool_query_line_t, line)
    {
        members_t members = {
            &cp_query_metrics, {CP_ENTRY_QUERY, line->entry, line->sum}, 0};

        json_begin_line(buf, IS_FIRST(lines, line), line->name, line->server);
        connpool_json_text(buf, ",", "database", line->database);
        json_verdict(buf, level_word(&line->verdict), &line->verdict,
                     report->p);
        json_until(buf, ",", &members, offsetof(cp_query_stats_t, lookups));
        /* Of a query that keeps or shares nothing all are 0. */
        connpool_json_key(buf, ",", "cache");
        connpool_json_put(buf, "{");
        json_until(buf, "", &members, offsetof(cp_query_stats_t, us));
        connpool_json_put(buf, "}");
        json_until(buf, ",", &members, ALL);
        connpool_json_put(buf, "}");
    }
    connpool_json_put(buf, "]");
}

static void json_upstreams(cp_buffer_t *buf, const connpool_status_t *report)
{
    const apr_array_header_t *lines = report->upstreams;

    connpool_json_key(buf, ",\n", "upstreams");
    connpool_json_put(buf, "[");
    EACH_LINE(lines, connpool_upstream_line_t, line)
    {
        members_t members = {&cp_upstream_metrics,
                             {CP_ENTRY_UPSTREAM, line->entry, line->sum},
                             0};

        json_begin_line(buf, IS_FIRST(lines, line), line->name, line->server);
        json_verdict(buf, level_word(&line->verdict), &line->verdict,
                     report->p);
        json_until(buf, ",", &members,
                   offsetof(cp_upstream_stats_t, breaker_until));
        connpool_json_text(buf, ",", "breaker",
                           cp_breaker_state_name(line->breaker));
        connpool_json_text(buf, ",", "transport",
                           line->is_socket ? "unix" : "tcp");
        json_until(buf, ",", &members, ALL);
        connpool_json_put(buf, "}");
    }
    connpool_json_put(buf, "]");
}

/* running: in any child; loops: in how many. */
static void json_loop(cp_buffer_t *buf, const cp_loop_stats_t *loop)
{
    members_t members = {&cp_loop_metrics, {CP_ROOM_SERVER, 0, loop}, 0};

    connpool_json_key(buf, ",\n", "event_loop");
    connpool_json_put(buf, "{");
    connpool_json_boolean(buf, "", "running", loop->running > 0);
    json_until(buf, ",", &members, ALL);
    connpool_json_number(
        buf, ",", "heartbeat_age_us",
        loop->heartbeat ? (uint64_t)cp_clock_now() - loop->heartbeat : 0);
    connpool_json_put(buf, "}");
}

static void json_batch(cp_buffer_t *buf, const cp_batch_stats_t *batch)
{
    members_t members = {&cp_batch_metrics, {CP_ROOM_SERVER, 0, batch}, 0};

    connpool_json_key(buf, ",\n", "batch");
    connpool_json_put(buf, "{");
    json_until(buf, "", &members, ALL);
    connpool_json_put(buf, "}");
}

static void json_cache(cp_buffer_t *buf, const cp_process_stats_t *process)
{
    members_t members = {&cp_process_metrics,
                         {CP_ROOM_SERVER, 0, process},
                         offsetof(cp_process_stats_t, cache)};
    const char *provider = connpool_provider_name();

    connpool_json_key(buf, ",\n", "cache");
    connpool_json_put(buf, "{");
    connpool_json_text(buf, "", "provider", provider ? provider : "");
    json_until(buf, ",", &members, ALL);
    connpool_json_put(buf, "}");
}

static void json_child(cp_buffer_t *buf, const connpool_child_line_t *line)
{
    members_t members = {
        &cp_process_metrics, {CP_ROOM_SERVER, 0, line->sum}, 0};
    char growth[32];

    connpool_json_number(buf, "", "pid", (uint64_t)line->pid);
    json_until(buf, ",", &members,
               offsetof(cp_process_stats_t, rss_base_bytes));
    apr_snprintf(growth, sizeof(growth), "%" APR_INT64_T_FMT,
                 (apr_int64_t)line->growth_bytes);
    connpool_json_key(buf, ",", "growth_bytes");
    connpool_json_put(buf, growth);
    json_until(buf, ",", &members, offsetof(cp_process_stats_t, request_us));
}

static void json_processes(cp_buffer_t *buf, const connpool_status_t *report)
{
    members_t members = {&cp_process_metrics,
                         {CP_ROOM_SERVER, 0, &report->process},
                         offsetof(cp_process_stats_t, request_us)};

    connpool_json_key(buf, ",\n", "processes");
    connpool_json_put(buf, "[");
    EACH_LINE(report->processes, connpool_child_line_t, line)
    {
        connpool_json_put(buf,
                          IS_FIRST(report->processes, line) ? "\n{" : ",\n{");
        json_child(buf, line);
        connpool_json_put(buf, "}");
    }
    connpool_json_put(buf, "]");
    json_until(buf, ",", &members, offsetof(cp_process_stats_t, shrunk));
    connpool_json_key(buf, ",", "memory");
    connpool_json_put(buf, "{");
    connpool_json_number(buf, "", "bound", report->memory_bound);
    connpool_json_number(buf, ",", "used", report->process.memory_bytes);
    connpool_json_put(buf, "}");
    json_until(buf, ",", &members, offsetof(cp_process_stats_t, cache));
}

void connpool_status_write_json(cp_buffer_t *buf,
                                const connpool_status_t *report)
{
    const connpool_server_t *viewer = report->viewer;

    connpool_json_put(buf, "{");
    connpool_json_text(buf, "", "version", CONNPOOL_VERSION);
    connpool_json_text(buf, ",", "state", cp_level_name(report->level));
    connpool_json_causes(buf, report);
    connpool_json_number(buf, ",\n", "children", (uint64_t)report->children);
    connpool_json_key(buf, ",\n", "features");
    connpool_json_put(buf, "{");
    connpool_json_boolean(buf, "", "engine", viewer->engine);
    connpool_json_boolean(buf, ",", "http_pool", viewer->http_pool);
    connpool_json_boolean(buf, ",", "db_pool", viewer->db_pool);
    connpool_json_boolean(buf, ",", "event_loop", connpool_status_loop_is_on());
    connpool_json_put(buf, "}");
    json_pools(buf, report);
    json_queries(buf, report);
    json_upstreams(buf, report);
    json_loop(buf, &report->loop);
    json_batch(buf, &report->batch);
    json_cache(buf, &report->process);
    json_processes(buf, report);
    connpool_json_put(buf, "}\n");
}
