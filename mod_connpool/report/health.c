/* SPDX-License-Identifier: Apache-2.0
 * The handler connpool-health, for load balancers: can the pools serve? What
 * it knows of the past, the one child that takes this second's sample keeps. */
#include "glue.h"
#include "answers/put.h"
#include "base/bytes/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "child/child.h"
#include "config/database.h"
#include "config/setting.h"
#include "config/upstream.h"
#include "database/database.h"
#include "database/limit.h"
#include "http/job/fetch.h"
#include "http/upstream/breaker.h"
#include "report/access.h"
#include "report/lines/gather.h"
#include "report/report.h"
#include "request/hold.h"
#include "stats/condition.h"
#include "stats/metric.h"
#include "stats/segment.h"
#include "stats/stats.h"
#include "stats/tables.h"
#include "work/fetch.h"

#include <stddef.h>

#include <apr_hash.h>
#include <apr_strings.h>

typedef enum health_t {
    HEALTH_OK,
    HEALTH_DEGRADED,
    HEALTH_DOWN
} health_t;

static const char *const health_names[] = {"ok", "degraded", "down"};

static health_t worse(health_t a, health_t b)
{
    return a > b ? a : b;
}

/* --- the sample --- */

static const connpool_upstream_t *upstream_at(const connpool_server_t *server,
                                              int i)
{
    return APR_ARRAY_IDX(server->upstreams, i, connpool_upstream_t *);
}

static uint64_t in_all_children(int limit)
{
    int children = cp_segment_children(connpool_child.segment);

    return (uint64_t)limit * (uint64_t)(children > 0 ? children : 1);
}

/* usable: how many connections of a child one kind of work can get. */
static cp_observation_t look_at(int entry, int usable)
{
    cp_pool_stats_t sum;

    cp_segment_sum_pool(connpool_child.segment, entry, &sum);
    return (cp_observation_t){
        .busy = sum.busy,
        .limit = in_all_children(usable),
        .fallbacks = sum.fallbacks,
    };
}

static void observe_database(connpool_database_t *db, void *baton)
{
    cp_observation_t seen = look_at(db->entry, connpool_status_usable(db));

    cp_condition_observe(
        cp_segment_condition(connpool_child.segment, db->entry), &seen,
        *(cp_clock_t *)baton);
}

/* Upstreams of a server share its limit: each is as busy as the busier of that
 * and its own. */
static void observe_upstreams(const connpool_server_t *server, cp_clock_t now)
{
    uint64_t limit = in_all_children(server->http_max);
    uint64_t busy = 0;

    for (int i = 0; i < server->upstreams->nelts; i++) {
        busy += look_at(upstream_at(server, i)->pool_entry, 0).busy;
    }
    for (int i = 0; i < server->upstreams->nelts; i++) {
        const connpool_upstream_t *up = upstream_at(server, i);
        cp_observation_t seen = look_at(up->pool_entry, up->pool.max);

        if (busy * seen.limit > seen.busy * limit) {
            seen.busy = busy;
            seen.limit = limit;
        }
        cp_condition_observe(
            cp_segment_condition(connpool_child.segment, up->pool_entry), &seen,
            now);
    }
}

void connpool_health_sample(void)
{
    cp_clock_t now = cp_clock_now();
    cp_sample_t sample;

    if (!cp_segment_sample_due(connpool_child.segment, (uint64_t)now)) {
        return;
    }
    cp_segment_total(connpool_child.segment, &sample);
    sample.at = (uint64_t)now;
    cp_segment_record(connpool_child.segment, &sample);
    connpool_each_database(observe_database, &now);
    for (server_rec *s = connpool_child.main_server; s; s = s->next) {
        if (connpool_server(s)->server == s) {
            observe_upstreams(connpool_server(s), now);
        }
    }
}

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

/* --- the verdict --- */

typedef struct verdict_t {
    health_t health;
    const char *reason;
} verdict_t;

static verdict_t judge_pool(const connpool_pool_line_t *line, cp_clock_t now)
{
    const cp_condition_t *condition = cp_segment_condition(
        connpool_child.segment, line->entry);
    const uint64_t *down = line->sum->down;

    if (connpool_status_is_down(line->sum)) {
        return (verdict_t){HEALTH_DOWN, "no connection can be opened"};
    }
    if (down[0] + down[1] + down[2] + down[3] > 0) {
        return (verdict_t){HEALTH_DEGRADED, "a connection could not be opened"};
    }
    if (cp_condition_is_strained(condition, now)) {
        return (verdict_t){HEALTH_DEGRADED, "over 90 % busy for 30 seconds"};
    }
    if (cp_condition_fell_back(condition, now)) {
        return (verdict_t){HEALTH_DEGRADED, "one-shot connections were used"};
    }
    return (verdict_t){HEALTH_OK, NULL};
}

/* For a while only: nobody may ask again, and the upstream may be back. For the
 * same reason a breaker whose pause is over counts no more, unless the fetch
 * that finds out is under way. */
static verdict_t judge_upstream(const connpool_upstream_line_t *line,
                                cp_clock_t now)
{
    if (line->breaker == CP_BREAKER_OPEN
        || (line->breaker == CP_BREAKER_HALF_OPEN
            && line->sum->breaker_probes > 0)) {
        return (verdict_t){HEALTH_DEGRADED, "the breaker is open"};
    }
    return line->sum->failed_at > line->sum->answered_at
                   && cp_condition_is_recent(line->sum->failed_at, now)
               ? (verdict_t){HEALTH_DEGRADED, "the last fetch got no answer"}
               : (verdict_t){HEALTH_OK, NULL};
}

/* Lines of upstreams stand in the order of their pools. */
static const connpool_upstream_line_t *upstream_of(
    const connpool_status_t *report, const connpool_pool_line_t *pool)
{
    EACH_LINE(report->upstreams, connpool_upstream_line_t, line)
    {

        if (line->server == pool->server
            && strcmp(line->name, pool->name) == 0) {
            return line;
        }
    }
    return NULL;
}

static verdict_t judge(const connpool_status_t *report,
                       const connpool_pool_line_t *line, cp_clock_t now)
{
    verdict_t verdict = judge_pool(line, now);
    const connpool_upstream_line_t *up = upstream_of(report, line);

    if (verdict.health == HEALTH_OK && up && !line->database) {
        verdict = judge_upstream(up, now);
    }
    return verdict;
}

/* --- the answer --- */

static void put_pool(cp_buffer_t *buf, const char *separator,
                     const connpool_pool_line_t *line, verdict_t verdict)
{
    connpool_json_put(buf, separator);
    connpool_json_put(buf, "{");
    connpool_json_text(buf, "", "name", line->name);
    if (line->server) {
        connpool_json_text(buf, ",", "server", line->server);
    }
    connpool_json_text(buf, ",", "status", health_names[verdict.health]);
    if (verdict.reason) {
        connpool_json_text(buf, ",", "reason", verdict.reason);
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
static health_t put_pools(cp_buffer_t *buf, const char *key, int of_databases,
                          const connpool_status_t *report)
{
    cp_pool_stats_t total = {0};
    uint64_t max = limit_of(report, of_databases), oldest = 0;
    health_t health = HEALTH_OK;
    cp_clock_t now = cp_clock_now();
    const char *separator = "";

    connpool_json_key(buf, ",\n", key);
    connpool_json_put(buf, "{\"pools\":[");
    EACH_LINE(report->pools, connpool_pool_line_t, line)
    {
        verdict_t verdict;

        if ((line->database != NULL) != of_databases) {
            continue;
        }
        verdict = judge(report, line, now);
        put_pool(buf, separator, line, verdict);
        separator = ",";
        health = worse(health, verdict.health);
        oldest = line->oldest_wait_us > oldest ? line->oldest_wait_us : oldest;
        cp_metrics_merge(&cp_pool_metrics, &total, line->sum);
    }
    connpool_json_put(buf, "]");
    connpool_json_text(buf, ",", "status", health_names[health]);
    connpool_json_number(buf, ",", "max", max);
    for (size_t i = 0; i < SUMMED; i++) {
        const cp_metric_t *row = cp_metrics_from(&cp_pool_metrics, summed[i]);

        connpool_json_number(buf, ",", row->json,
                             cp_metric_value(row, &total, 0));
    }
    connpool_json_number(buf, ",", "busy_percent",
                         max ? total.busy * 100 / max : 0);
    connpool_json_number(buf, ",", "oldest_wait_us", oldest);
    connpool_json_put(buf, "}");
    return health;
}

/* A child without its loop still serves, a little slower. */
static health_t put_loop(cp_buffer_t *buf, const connpool_status_t *report)
{
    int is_wanted = connpool_wants_loop();
    health_t health = is_wanted
                              && report->loop.running
                                     < (uint64_t)report->children
                          ? HEALTH_DEGRADED
                          : HEALTH_OK;

    connpool_json_key(buf, ",\n", "shared_event_loop");
    connpool_json_put(buf, "{");
    connpool_json_text(buf, "", "status", health_names[health]);
    connpool_json_boolean(buf, ",", "enabled", is_wanted);
    connpool_json_boolean(buf, ",", "running", report->loop.running > 0);
    connpool_json_number(buf, ",", "loops", report->loop.running);
    connpool_json_number(buf, ",", "restarts", report->loop.restarts);
    connpool_json_number(buf, ",", "in_flight", report->loop.in_flight);
    connpool_json_number(buf, ",", "lag_us", report->loop.lag_us);
    connpool_json_put(buf, "}");
    return health;
}

static int answer(request_rec *r)
{
    const connpool_status_t *report = connpool_status_gather(r);
    cp_buffer_t details = {0}, buf = {0};
    health_t health = put_pools(&details, "http_pool", 0, report);

    health = worse(health, put_pools(&details, "db_pool", 1, report));
    health = worse(health, put_loop(&details, report));
    connpool_json_put(&buf, "{");
    connpool_json_text(&buf, "", "status", health_names[health]);
    cp_buffer_append(&buf, details.data, details.size);
    cp_buffer_free(&details);
    connpool_json_put(&buf, "}\n");
    if (health == HEALTH_DOWN) {
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
