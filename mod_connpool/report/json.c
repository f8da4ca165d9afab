/* SPDX-License-Identifier: Apache-2.0
 * The report as JSON. */
#include "glue.h"
#include "answers/encode.h"
#include "answers/put.h"
#include "base/clock.h"
#include "base/error.h"
#include "config/definitions.h"
#include "http/breaker.h"
#include "report/status.h"
#include "stats/stats.h"
#include "cache/provider.h"

#include <apr_strings.h>

static void json_spread(cp_buffer_t *buf, const char *key,
                        const connpool_spread_t *spread)
{
    connpool_json_key(buf, ",", key);
    connpool_json_put(buf, "{");
    connpool_json_number(buf, "", "count", spread->count);
    connpool_json_number(buf, ",", "sum", spread->sum);
    connpool_json_number(buf, ",", "p50", spread->p50);
    connpool_json_number(buf, ",", "p90", spread->p90);
    connpool_json_number(buf, ",", "p99", spread->p99);
    connpool_json_number(buf, ",", "max", spread->max);
    connpool_json_put(buf, "}");
}

/* What each line begins with, after the comma between lines. */
static void json_begin_line(cp_buffer_t *buf, int index, const char *name,
                            const char *server)
{
    connpool_json_put(buf, index > 0 ? ",\n{" : "\n{");
    connpool_json_text(buf, "", "name", name);
    if (server) {
        connpool_json_text(buf, ",", "server", server);
    }
}

static void json_closed(cp_buffer_t *buf, const uint64_t *closed)
{
    connpool_json_key(buf, ",", "closed");
    connpool_json_put(buf, "{");
    for (int i = 0; i < CP_CLOSE_REASONS; i++) {
        connpool_json_number(buf, i > 0 ? "," : "",
                             cp_close_reason_name((cp_close_reason_t)i),
                             closed[i]);
    }
    connpool_json_put(buf, "}");
}

static void json_failures(cp_buffer_t *buf, const char *key,
                          const uint64_t *failures)
{
    connpool_json_key(buf, ",", key);
    connpool_json_put(buf, "{");
    for (int i = CP_ERR_NONE + 1; i < CP_ERR_CLASSES; i++) {
        connpool_json_number(buf, i > CP_ERR_NONE + 1 ? "," : "",
                             cp_error_class_name((cp_error_class_t)i),
                             failures[i]);
    }
    connpool_json_put(buf, "}");
}

static void json_leaks(cp_buffer_t *buf, const apr_array_header_t *leaks)
{
    connpool_json_key(buf, ",", "leaks");
    connpool_json_put(buf, "[");
    for (int i = 0; i < leaks->nelts; i++) {
        const connpool_leak_line_t *line = &APR_ARRAY_IDX(leaks, i,
                                                          connpool_leak_line_t);

        connpool_json_put(buf, i > 0 ? ",{" : "{");
        connpool_json_text(buf, "", "holder", line->holder);
        connpool_json_number(buf, ",", "held_us", line->held_us);
        connpool_json_number(buf, ",", "child", (uint64_t)line->child);
        connpool_json_put(buf, "}");
    }
    connpool_json_put(buf, "]");
}

static void json_pool_details(cp_buffer_t *buf,
                              const connpool_pool_line_t *line)
{
    const cp_pool_stats_t *sum = line->sum;

    json_spread(buf, "create_us", &line->create);
    json_failures(buf, "failures", sum->failures);
    connpool_json_number(buf, ",", "busy_max", sum->busy_max);
    connpool_json_number(buf, ",", "open_max", sum->open_max);
    connpool_json_number(buf, ",", "waiting_max", sum->waiting_max);
    connpool_json_number(buf, ",", "oldest_wait_us", line->oldest_wait_us);
    connpool_json_number(buf, ",", "cache_bytes", sum->cache_bytes);
    connpool_json_number(buf, ",", "schema_bytes", sum->schema_bytes);
    connpool_json_number(buf, ",", "statement_bytes", sum->statement_bytes);
    connpool_json_number(buf, ",", "wal_bytes", sum->wal_bytes);
    json_leaks(buf, line->leaks);
}

static void json_pools(cp_buffer_t *buf, const apr_array_header_t *lines)
{
    connpool_json_key(buf, ",\n", "pools");
    connpool_json_put(buf, "[");
    for (int i = 0; i < lines->nelts; i++) {
        const connpool_pool_line_t *line = &APR_ARRAY_IDX(lines, i,
                                                          connpool_pool_line_t);

        json_begin_line(buf, i, line->name, line->server);
        connpool_json_text(buf, ",", "kind", line->kind);
        connpool_json_text(buf, ",", "state", line->state);
        connpool_json_number(buf, ",", "max", (uint64_t)line->max);
        for (int n = 0; n < CONNPOOL_NUMBERS; n++) {
            connpool_json_number(
                buf, ",", connpool_pool_number_name((connpool_pool_number_t)n),
                line->number[n]);
        }
        json_closed(buf, line->closed);
        json_spread(buf, "acquire_us", &line->acquire);
        json_spread(buf, "hold_us", &line->hold);
        json_pool_details(buf, line);
        connpool_json_put(buf, "}");
    }
    connpool_json_put(buf, "]");
}

/* Of a query that keeps or shares nothing all are 0. */
static void json_query_cache(cp_buffer_t *buf, const cp_query_stats_t *sum)
{
    connpool_json_key(buf, ",", "cache");
    connpool_json_put(buf, "{");
    connpool_json_number(buf, "", "lookups", sum->lookups);
    connpool_json_number(buf, ",", "hits", sum->hits);
    connpool_json_number(buf, ",", "misses", sum->misses);
    connpool_json_number(buf, ",", "stale", sum->stale);
    connpool_json_number(buf, ",", "coalesced", sum->coalesced);
    connpool_json_number(buf, ",", "stores", sum->stores);
    connpool_json_number(buf, ",", "bypassed", sum->bypassed);
    connpool_json_put(buf, "}");
}

static void json_queries(cp_buffer_t *buf, const apr_array_header_t *lines)
{
    connpool_json_key(buf, ",\n", "queries");
    connpool_json_put(buf, "[");
    for (int i = 0; i < lines->nelts; i++) {
        const connpool_query_line_t *line = &APR_ARRAY_IDX(
            lines, i, connpool_query_line_t);

        json_begin_line(buf, i, line->name, line->server);
        connpool_json_number(buf, ",", "count", line->count);
        connpool_json_number(buf, ",", "errors", line->errors);
        connpool_json_number(buf, ",", "rows", line->rows);
        connpool_json_number(buf, ",", "slow", line->sum->slow);
        json_failures(buf, "failures", line->sum->failures);
        json_query_cache(buf, line->sum);
        json_spread(buf, "us", &line->us);
        connpool_json_put(buf, "}");
    }
    connpool_json_put(buf, "]");
}

static void json_upstream_details(cp_buffer_t *buf,
                                  const cp_upstream_stats_t *sum)
{
    static const char *const classes[] = {"none", "1xx", "2xx",
                                          "3xx",  "4xx", "5xx"};

    connpool_json_number(buf, ",", "handshakes", sum->handshakes);
    connpool_json_number(buf, ",", "bytes", sum->bytes);
    connpool_json_key(buf, ",", "statuses");
    connpool_json_put(buf, "{");
    for (int i = 0; i < 6; i++) {
        connpool_json_number(buf, i > 0 ? "," : "", classes[i],
                             sum->statuses[i]);
    }
    connpool_json_put(buf, "}");
    for (int i = 0; i < CP_SPANS; i++) {
        connpool_spread_t spread = connpool_spread_of(&sum->span_us[i]);
        char key[32];

        apr_snprintf(key, sizeof(key), "%s_us", cp_span_name((cp_span_t)i));
        json_spread(buf, key, &spread);
    }
}

static void json_upstreams(cp_buffer_t *buf, const apr_array_header_t *lines)
{
    connpool_json_key(buf, ",\n", "upstreams");
    connpool_json_put(buf, "[");
    for (int i = 0; i < lines->nelts; i++) {
        const connpool_upstream_line_t *line = &APR_ARRAY_IDX(
            lines, i, connpool_upstream_line_t);

        json_begin_line(buf, i, line->name, line->server);
        connpool_json_number(buf, ",", "count", line->count);
        connpool_json_number(buf, ",", "errors", line->errors);
        connpool_json_number(buf, ",", "reused", line->reused);
        connpool_json_number(buf, ",", "retries", line->retries);
        connpool_json_number(buf, ",", "coalesced", line->sum->coalesced);
        connpool_json_text(buf, ",", "breaker",
                           cp_breaker_state_name(line->breaker));
        connpool_json_number(buf, ",", "breaker_opened",
                             line->sum->breaker_opened);
        connpool_json_number(buf, ",", "breaker_refused",
                             line->sum->breaker_refused);
        json_upstream_details(buf, line->sum);
        json_spread(buf, "us", &line->us);
        connpool_json_put(buf, "}");
    }
    connpool_json_put(buf, "]");
}

/* running: in any child; loops: in how many. */
static void json_loop(cp_buffer_t *buf, const cp_loop_stats_t *loop)
{
    connpool_json_key(buf, ",\n", "event_loop");
    connpool_json_put(buf, "{");
    connpool_json_boolean(buf, "", "running", loop->running > 0);
    connpool_json_number(buf, ",", "loops", loop->running);
    connpool_json_number(buf, ",", "restarts", loop->restarts);
    connpool_json_number(buf, ",", "in_flight", loop->in_flight);
    connpool_json_number(buf, ",", "lag_us", loop->lag_us);
    connpool_json_number(buf, ",", "inline_runs", loop->inline_runs);
    connpool_json_number(buf, ",", "iterations", loop->iterations);
    connpool_json_number(
        buf, ",", "heartbeat_age_us",
        loop->heartbeat ? (uint64_t)cp_clock_now() - loop->heartbeat : 0);
    connpool_json_put(buf, "}");
}

static void json_batch(cp_buffer_t *buf, const cp_batch_stats_t *batch)
{
    connpool_json_key(buf, ",\n", "batch");
    connpool_json_put(buf, "{");
    connpool_json_number(buf, "", "requests", batch->requests);
    connpool_json_number(buf, ",", "items", batch->items);
    connpool_json_number(buf, ",", "errors", batch->errors);
    connpool_json_number(buf, ",", "overlapped", batch->overlapped);
    connpool_json_number(buf, ",", "sequential", batch->sequential);
    connpool_json_put(buf, "}");
}

static void json_cache(cp_buffer_t *buf, const cp_cache_stats_t *cache)
{
    const char *provider = connpool_provider_name();

    connpool_json_key(buf, ",\n", "cache");
    connpool_json_put(buf, "{");
    connpool_json_text(buf, "", "provider", provider ? provider : "");
    connpool_json_number(buf, ",", "failures", cache->failures);
    connpool_json_number(buf, ",", "timeouts", cache->timeouts);
    connpool_json_number(buf, ",", "skipped", cache->skipped);
    connpool_json_number(buf, ",", "dropped", cache->dropped);
    connpool_json_number(buf, ",", "too_large", cache->too_large);
    connpool_json_number(buf, ",", "evictions", cache->evictions);
    connpool_json_number(buf, ",", "bytes", cache->bytes);
    connpool_json_number(buf, ",", "entries", cache->entries);
    connpool_json_put(buf, "}");
}

static void json_processes(cp_buffer_t *buf, const connpool_status_t *report)
{
    connpool_json_key(buf, ",\n", "processes");
    connpool_json_put(buf, "[");
    for (int i = 0; i < report->processes->nelts; i++) {
        const connpool_child_line_t *line = &APR_ARRAY_IDX(
            report->processes, i, connpool_child_line_t);
        char growth[32];

        connpool_json_put(buf, i > 0 ? ",\n{" : "\n{");
        connpool_json_number(buf, "", "pid", (uint64_t)line->pid);
        connpool_json_number(buf, ",", "rss_bytes", line->rss_bytes);
        connpool_json_number(buf, ",", "rss_max_bytes", line->rss_max_bytes);
        connpool_json_number(buf, ",", "memory_bytes", line->memory_bytes);
        apr_snprintf(growth, sizeof(growth), "%" APR_INT64_T_FMT,
                     (apr_int64_t)line->growth_bytes);
        connpool_json_key(buf, ",", "growth_bytes");
        connpool_json_put(buf, growth);
        connpool_json_number(buf, ",", "descriptors", line->descriptors);
        connpool_json_put(buf, "}");
    }
    connpool_json_put(buf, "]");
    json_spread(buf, "request_us", &report->request);
    connpool_json_key(buf, ",", "memory");
    connpool_json_put(buf, "{");
    connpool_json_number(buf, "", "bound", report->memory_bound);
    connpool_json_number(buf, ",", "used", report->process.memory_bytes);
    connpool_json_put(buf, "}");
    connpool_json_number(buf, ",", "memory_shrunk", report->process.shrunk);
    connpool_json_number(buf, ",", "memory_refused",
                         report->process.refused_memory);
}

void connpool_status_write_json(cp_buffer_t *buf,
                                const connpool_status_t *report)
{
    const connpool_server_t *viewer = report->viewer;

    connpool_json_put(buf, "{");
    connpool_json_text(buf, "", "version", CONNPOOL_VERSION);
    connpool_json_number(buf, ",", "children", (uint64_t)report->children);
    connpool_json_key(buf, ",\n", "features");
    connpool_json_put(buf, "{");
    connpool_json_boolean(buf, "", "engine", viewer->engine);
    connpool_json_boolean(buf, ",", "http_pool", viewer->http_pool);
    connpool_json_boolean(buf, ",", "db_pool", viewer->db_pool);
    connpool_json_boolean(buf, ",", "event_loop", connpool_status_loop_is_on());
    connpool_json_put(buf, "}");
    json_pools(buf, report->pools);
    json_queries(buf, report->queries);
    json_upstreams(buf, report->upstreams);
    json_loop(buf, &report->loop);
    json_batch(buf, &report->batch);
    json_cache(buf, &report->process.cache);
    json_processes(buf, report);
    connpool_json_put(buf, "}\n");
}
