/* SPDX-License-Identifier: Apache-2.0
 * The handler connpool-health, for load balancers: can the pools serve? */
#include "glue.h"
#include "answers/put.h"
#include "base/bytes/buffer.h"
#include "base/clock.h"
#include "child/child.h"
#include "config/setting.h"
#include "report/access.h"
#include "report/json.h"
#include "report/lines/gather.h"
#include "report/lines/judge.h"
#include "report/lines/reach.h"
#include "report/report.h"
#include "stats/metric.h"
#include "stats/segment.h"
#include "stats/state/state.h"
#include "stats/stats.h"
#include "stats/tables.h"

#include <stddef.h>

#include <apr_hash.h>
#include <apr_strings.h>

/* --- probes --- */

/* ?live=1: at most once a second in the whole server, however often it is
 * asked. */
static void probe_all(request_rec *r)
{
    if (cp_segment_probe_due(connpool_child.segment,
                             (uint64_t)cp_clock_now())) {
        connpool_probe_all(r);
    }
}

/* --- the answer --- */

static void put_pool(cp_buffer_t *buf, const char *separator,
                     const connpool_pool_line_t *line)
{
    const cp_state_t *state = &line->verdict.state;

    connpool_json_put(buf, separator);
    connpool_json_put(buf, "{");
    connpool_json_text(buf, "", "name", line->name);
    if (line->server) {
        connpool_json_text(buf, ",", "server", line->server);
    }
    connpool_json_text(buf, ",", "status", cp_level_name(state->level));
    if (state->level != CP_LEVEL_OK) {
        connpool_json_text(buf, ",", "reason", state->cause);
    }
    connpool_json_put(buf, "}");
}

/* How many connections all pools can have, of databases or of upstreams. Those
 * of one server, which may share a limit, stand side by side. */
static uint64_t limit_of(const connpool_status_t *report, int of_databases)
{
    const connpool_server_t *owner = NULL;
    uint64_t limit = 0;
    int room = 0;

    EACH_LINE(report->pools, connpool_pool_line_t, line)
    {
        int share;

        if ((line->database != NULL) != of_databases) {
            continue;
        }
        if (line->owner != owner) {
            owner = line->owner;
            room = line->max_together;
        }
        share = line->max < room ? line->max : room;
        room -= share;
        limit += (uint64_t)share;
    }
    return limit * (uint64_t)report->children;
}

/* What is summed over pools: counters, by their names in JSON. */
static const size_t summed[] = {
    offsetof(cp_pool_stats_t, open),     offsetof(cp_pool_stats_t, busy),
    offsetof(cp_pool_stats_t, idle),     offsetof(cp_pool_stats_t, waiting),
    offsetof(cp_pool_stats_t, timeouts), offsetof(cp_pool_stats_t, fallbacks)};

#define SUMMED (sizeof(summed) / sizeof(summed[0]))

/* All pools of databases, or of upstreams: sums, the worst status, and each by
 * name. */
static void put_pools(cp_buffer_t *buf, const char *key, int of_databases,
                      const connpool_status_t *report)
{
    cp_pool_stats_t total = {0};
    uint64_t max = limit_of(report, of_databases), oldest = 0;
    uint64_t reachable = connpool_status_reachable(report, of_databases);
    cp_level_t worst = CP_LEVEL_OK;
    const char *separator = "";

    connpool_json_key(buf, ",\n", key);
    connpool_json_put(buf, "{\"pools\":[");
    EACH_LINE(report->pools, connpool_pool_line_t, line)
    {
        if ((line->database != NULL) != of_databases) {
            continue;
        }
        put_pool(buf, separator, line);
        separator = ",";
        worst = line->verdict.state.level > worst ? line->verdict.state.level
                                                  : worst;
        oldest = line->oldest_wait_us > oldest ? line->oldest_wait_us : oldest;
        cp_metrics_merge(&cp_pool_metrics, &total, line->sum);
    }
    connpool_json_put(buf, "]");
    connpool_json_text(buf, ",", "status", cp_level_name(worst));
    connpool_json_number(buf, ",", "max", max);
    for (size_t i = 0; i < SUMMED; i++) {
        const cp_metric_t *row = cp_metrics_from(&cp_pool_metrics, summed[i]);

        connpool_json_number(buf, ",", row->json,
                             cp_metric_value(row, &total, 0));
    }
    connpool_json_number(buf, ",", "busy_percent",
                         reachable ? total.busy * 100 / reachable : 0);
    connpool_json_number(buf, ",", "oldest_wait_us", oldest);
    connpool_json_put(buf, "}");
}

/* A child without its loop still serves, a little slower. */
static void put_loop(cp_buffer_t *buf, const connpool_status_t *report)
{
    connpool_json_key(buf, ",\n", "shared_event_loop");
    connpool_json_put(buf, "{");
    connpool_json_text(buf, "", "status",
                       cp_level_name(report->loop_verdict.state.level));
    connpool_json_boolean(buf, ",", "enabled", connpool_wants_loop());
    connpool_json_boolean(buf, ",", "running", report->loop.running > 0);
    connpool_json_number(buf, ",", "loops", report->loop.running);
    connpool_json_number(buf, ",", "restarts", report->loop.restarts);
    connpool_json_number(buf, ",", "in_flight", report->loop.in_flight);
    connpool_json_number(buf, ",", "lag_us", report->loop.lag_us);
    connpool_json_put(buf, "}");
}

static int answer(request_rec *r)
{
    const connpool_status_t *report = connpool_status_gather(r);
    cp_buffer_t buf = {0};

    connpool_json_put(&buf, "{");
    connpool_json_text(&buf, "", "status", cp_level_name(report->level));
    put_pools(&buf, "http_pool", 0, report);
    put_pools(&buf, "db_pool", 1, report);
    put_loop(&buf, report);
    connpool_json_causes(&buf, report);
    connpool_json_put(&buf, "}\n");
    if (report->level == CP_LEVEL_DOWN) {
        r->status = HTTP_SERVICE_UNAVAILABLE;
        apr_table_setn(r->headers_out, "Retry-After", "1");
    }
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    return connpool_send_report(r, "application/json", &buf);
}

int connpool_health_handler(request_rec *r)
{
    apr_table_t *args = NULL;
    int rv = connpool_report_guard(r, &args);
    const char *live;

    if (!args) {
        return rv;
    }
    live = apr_table_get(args, "live");
    if (live && strcmp(live, "1") == 0) {
        probe_all(r);
    }
    return answer(r);
}
