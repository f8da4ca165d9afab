/* SPDX-License-Identifier: Apache-2.0
 * The report as JSON. */
#include "mod_connpool_status.h"

#include <apr_strings.h>

static void put(cp_buffer_t *buf, const char *text)
{
    cp_buffer_append(buf, text, strlen(text));
}

/* A member's comma belongs to the one that follows: `separator` is "" for the
 * first. */
static void json_key(cp_buffer_t *buf, const char *separator, const char *key)
{
    put(buf, separator);
    cp_encode_json_string(buf, key, strlen(key));
    put(buf, ":");
}

static void json_text(cp_buffer_t *buf, const char *separator, const char *key,
                      const char *value)
{
    json_key(buf, separator, key);
    cp_encode_json_string(buf, value, strlen(value));
}

static void json_number(cp_buffer_t *buf, const char *separator,
                        const char *key, uint64_t value)
{
    char text[32];

    apr_snprintf(text, sizeof(text), "%" APR_UINT64_T_FMT, value);
    json_key(buf, separator, key);
    put(buf, text);
}

static void json_boolean(cp_buffer_t *buf, const char *separator,
                         const char *key, int value)
{
    json_key(buf, separator, key);
    put(buf, value ? "true" : "false");
}

static void json_spread(cp_buffer_t *buf, const char *key,
                        const connpool_spread_t *spread)
{
    json_key(buf, ",", key);
    put(buf, "{");
    json_number(buf, "", "count", spread->count);
    json_number(buf, ",", "sum", spread->sum);
    json_number(buf, ",", "p50", spread->p50);
    json_number(buf, ",", "p90", spread->p90);
    json_number(buf, ",", "p99", spread->p99);
    json_number(buf, ",", "max", spread->max);
    put(buf, "}");
}

/* What each line begins with, after the comma between lines. */
static void json_begin_line(cp_buffer_t *buf, int index, const char *name,
                            const char *server)
{
    put(buf, index > 0 ? ",\n{" : "\n{");
    json_text(buf, "", "name", name);
    if (server) {
        json_text(buf, ",", "server", server);
    }
}

static void json_closed(cp_buffer_t *buf, const uint64_t *closed)
{
    json_key(buf, ",", "closed");
    put(buf, "{");
    for (int i = 0; i < CP_CLOSE_REASONS; i++) {
        json_number(buf, i > 0 ? "," : "",
                    cp_close_reason_name((cp_close_reason_t)i), closed[i]);
    }
    put(buf, "}");
}

static void json_failures(cp_buffer_t *buf, const char *key,
                          const uint64_t *failures)
{
    json_key(buf, ",", key);
    put(buf, "{");
    for (int i = CP_ERR_NONE + 1; i < CP_ERR_CLASSES; i++) {
        json_number(buf, i > CP_ERR_NONE + 1 ? "," : "",
                    cp_error_class_name((cp_error_class_t)i), failures[i]);
    }
    put(buf, "}");
}

static void json_pool_details(cp_buffer_t *buf,
                              const connpool_pool_line_t *line)
{
    const cp_pool_stats_t *sum = line->sum;

    json_spread(buf, "create_us", &line->create);
    json_failures(buf, "failures", sum->failures);
    json_number(buf, ",", "busy_max", sum->busy_max);
    json_number(buf, ",", "open_max", sum->open_max);
    json_number(buf, ",", "waiting_max", sum->waiting_max);
    json_number(buf, ",", "oldest_wait_us", line->oldest_wait_us);
    json_number(buf, ",", "cache_bytes", sum->cache_bytes);
    json_number(buf, ",", "schema_bytes", sum->schema_bytes);
    json_number(buf, ",", "statement_bytes", sum->statement_bytes);
    json_number(buf, ",", "wal_bytes", sum->wal_bytes);
}

static void json_pools(cp_buffer_t *buf, const apr_array_header_t *lines)
{
    json_key(buf, ",\n", "pools");
    put(buf, "[");
    for (int i = 0; i < lines->nelts; i++) {
        const connpool_pool_line_t *line = &APR_ARRAY_IDX(lines, i,
                                                          connpool_pool_line_t);

        json_begin_line(buf, i, line->name, line->server);
        json_text(buf, ",", "kind", line->kind);
        json_text(buf, ",", "state", line->state);
        json_number(buf, ",", "max", (uint64_t)line->max);
        for (int n = 0; n < CONNPOOL_NUMBERS; n++) {
            json_number(buf, ",",
                        connpool_pool_number_name((connpool_pool_number_t)n),
                        line->number[n]);
        }
        json_closed(buf, line->closed);
        json_spread(buf, "acquire_us", &line->acquire);
        json_spread(buf, "hold_us", &line->hold);
        json_pool_details(buf, line);
        put(buf, "}");
    }
    put(buf, "]");
}

static void json_queries(cp_buffer_t *buf, const apr_array_header_t *lines)
{
    json_key(buf, ",\n", "queries");
    put(buf, "[");
    for (int i = 0; i < lines->nelts; i++) {
        const connpool_query_line_t *line = &APR_ARRAY_IDX(
            lines, i, connpool_query_line_t);

        json_begin_line(buf, i, line->name, line->server);
        json_number(buf, ",", "count", line->count);
        json_number(buf, ",", "errors", line->errors);
        json_number(buf, ",", "rows", line->rows);
        json_number(buf, ",", "slow", line->sum->slow);
        json_failures(buf, "failures", line->sum->failures);
        json_spread(buf, "us", &line->us);
        put(buf, "}");
    }
    put(buf, "]");
}

static void json_upstream_details(cp_buffer_t *buf,
                                  const cp_upstream_stats_t *sum)
{
    static const char *const classes[] = {"none", "1xx", "2xx",
                                          "3xx",  "4xx", "5xx"};

    json_number(buf, ",", "handshakes", sum->handshakes);
    json_number(buf, ",", "bytes", sum->bytes);
    json_key(buf, ",", "statuses");
    put(buf, "{");
    for (int i = 0; i < 6; i++) {
        json_number(buf, i > 0 ? "," : "", classes[i], sum->statuses[i]);
    }
    put(buf, "}");
    for (int i = 0; i < CP_SPANS; i++) {
        connpool_spread_t spread = connpool_spread_of(&sum->span_us[i]);
        char key[32];

        apr_snprintf(key, sizeof(key), "%s_us", cp_span_name((cp_span_t)i));
        json_spread(buf, key, &spread);
    }
}

static void json_upstreams(cp_buffer_t *buf, const apr_array_header_t *lines)
{
    json_key(buf, ",\n", "upstreams");
    put(buf, "[");
    for (int i = 0; i < lines->nelts; i++) {
        const connpool_upstream_line_t *line = &APR_ARRAY_IDX(
            lines, i, connpool_upstream_line_t);

        json_begin_line(buf, i, line->name, line->server);
        json_number(buf, ",", "count", line->count);
        json_number(buf, ",", "errors", line->errors);
        json_number(buf, ",", "reused", line->reused);
        json_number(buf, ",", "retries", line->retries);
        json_upstream_details(buf, line->sum);
        json_spread(buf, "us", &line->us);
        put(buf, "}");
    }
    put(buf, "]");
}

/* running: in any child; loops: in how many. */
static void json_loop(cp_buffer_t *buf, const cp_loop_stats_t *loop)
{
    json_key(buf, ",\n", "event_loop");
    put(buf, "{");
    json_boolean(buf, "", "running", loop->running > 0);
    json_number(buf, ",", "loops", loop->running);
    json_number(buf, ",", "restarts", loop->restarts);
    json_number(buf, ",", "in_flight", loop->in_flight);
    json_number(buf, ",", "lag_us", loop->lag_us);
    json_number(buf, ",", "inline_runs", loop->inline_runs);
    json_number(buf, ",", "iterations", loop->iterations);
    json_number(buf, ",", "heartbeat_age_us",
                loop->heartbeat ? (uint64_t)cp_clock_now() - loop->heartbeat
                                : 0);
    put(buf, "}");
}

static void json_processes(cp_buffer_t *buf, const connpool_status_t *report)
{
    json_key(buf, ",\n", "processes");
    put(buf, "[");
    for (int i = 0; i < report->processes->nelts; i++) {
        const connpool_child_line_t *line = &APR_ARRAY_IDX(
            report->processes, i, connpool_child_line_t);
        char growth[32];

        put(buf, i > 0 ? ",\n{" : "\n{");
        json_number(buf, "", "pid", (uint64_t)line->pid);
        json_number(buf, ",", "rss_bytes", line->rss_bytes);
        json_number(buf, ",", "rss_max_bytes", line->rss_max_bytes);
        apr_snprintf(growth, sizeof(growth), "%" APR_INT64_T_FMT,
                     (apr_int64_t)line->growth_bytes);
        json_key(buf, ",", "growth_bytes");
        put(buf, growth);
        json_number(buf, ",", "descriptors", line->descriptors);
        put(buf, "}");
    }
    put(buf, "]");
    json_spread(buf, "request_us", &report->request);
    json_number(buf, ",", "memory_shrunk", report->process.shrunk);
    json_number(buf, ",", "memory_refused", report->process.refused_memory);
}

void connpool_status_write_json(cp_buffer_t *buf,
                                const connpool_status_t *report)
{
    const connpool_server_t *viewer = report->viewer;

    put(buf, "{");
    json_text(buf, "", "version", CONNPOOL_VERSION);
    json_number(buf, ",", "children", (uint64_t)report->children);
    json_key(buf, ",\n", "features");
    put(buf, "{");
    json_boolean(buf, "", "engine", viewer->engine);
    json_boolean(buf, ",", "http_pool", viewer->http_pool);
    json_boolean(buf, ",", "db_pool", viewer->db_pool);
    json_boolean(buf, ",", "event_loop", connpool_status_loop_is_on());
    put(buf, "}");
    json_pools(buf, report->pools);
    json_queries(buf, report->queries);
    json_upstreams(buf, report->upstreams);
    json_loop(buf, &report->loop);
    json_processes(buf, report);
    put(buf, "}\n");
}
