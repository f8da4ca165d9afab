/* SPDX-License-Identifier: Apache-2.0
 * Gathers the report from the shared segment, so that it covers all children.
 * Only names from the configuration come into it: no path, SQL or URL. */
#include "report/lines/gather.h"

#include "glue.h"
#include "base/clock.h"
#include "base/gauge.h"
#include "child/child.h"
#include "config/database.h"
#include "config/query.h"
#include "config/setting.h"
#include "config/upstream.h"
#include "database/database.h"
#include "http/upstream/breaker.h"
#include "report/lines/reach.h"
#include "stats/histogram.h"
#include "stats/metric.h"
#include "stats/segment.h"
#include "stats/stats.h"
#include "stats/tables.h"

#include <limits.h>
#include <stdlib.h>

#include <apr_hash.h>
#include <apr_strings.h>

static int is_named(const cp_gauge_t *gauge, const char *name)
{
    return gauge->name && strcmp(gauge->name, name) == 0;
}

/* All drivers' gauges, by whatever is configured: a series does not come and go
 * with a database. What two drivers have is there once. */
static void gather_gauges(connpool_status_t *report)
{
    const apr_array_header_t *drivers = connpool_drivers(report->p);

    for (int i = 0; i < drivers->nelts * CP_GAUGES; i++) {
        const cp_database_driver_t *driver = APR_ARRAY_IDX(
            drivers, i / CP_GAUGES, const cp_database_driver_t *);
        const cp_gauge_t *gauge = &driver->gauges[i % CP_GAUGES];
        int is_new = gauge->name != NULL;

        EACH_LINE(report->gauges, cp_gauge_t, seen)
        {
            is_new = is_new && !is_named(gauge, seen->name);
        }
        if (is_new) {
            APR_ARRAY_PUSH(report->gauges, cp_gauge_t) = *gauge;
        }
    }
}

uint64_t connpool_status_gauge(const connpool_pool_line_t *line,
                               const cp_gauge_t *gauge)
{
    for (int i = 0; line->database && i < CP_GAUGES; i++) {
        if (is_named(&line->database->driver->gauges[i], gauge->name)) {
            return line->sum->driver_gauges[i];
        }
    }
    return 0;
}

static const char *server_label(const connpool_status_t *report,
                                const server_rec *s)
{
    const char *key = connpool_server_key(report->p, s);

    return *key ? key : NULL;
}

/* The main server sees everything; a virtual host what it may use, which is
 * what its names lead to. */
static int is_visible(const connpool_status_t *report, apr_hash_t *names,
                      const char *name, const void *definition)
{
    return report->is_main
           || apr_hash_get(names, name, APR_HASH_KEY_STRING) == definition;
}

/* The flags that count for a pool: of the virtual host that looks at it, and
 * for the main server, which looks at everybody's, of where it was defined. */
static const connpool_server_t *flags_for(const connpool_status_t *report,
                                          server_rec *defined)
{
    return report->is_main ? connpool_server(defined) : report->viewer;
}

const char *connpool_status_word(const connpool_pool_line_t *line)
{
    cp_level_t level = line->verdict.state.level;

    return level == CP_LEVEL_OK && !line->is_pooled ? "off"
                                                    : cp_level_name(level);
}

static void add_holders(apr_array_header_t *holders,
                        const cp_pool_stats_t *stats, pid_t child,
                        apr_pool_t *p)
{
    uint64_t now = (uint64_t)cp_clock_now();
    cp_holder_t holder;

    for (int part = 0; part < CP_POOL_PARTS; part++) {
        for (int i = 0; i < CP_HOLDERS_LISTED; i++) {
            if (cp_holder_read(&stats->holders[part][i], &holder)) {
                connpool_holder_line_t *line = apr_array_push(holders);

                line->holder = apr_pstrdup(p, holder.holder);
                line->request = apr_pstrdup(p, holder.request);
                line->is_leak = holder.is_leak != 0;
                line->held_us = now > holder.since ? now - holder.since : 0;
                line->child = child;
            }
        }
    }
}

static int by_age(const void *a, const void *b)
{
    const connpool_holder_line_t *first = a, *second = b;

    return (first->held_us < second->held_us)
           - (first->held_us > second->held_us);
}

static apr_array_header_t *gather_holders(const connpool_status_t *report,
                                          int entry)
{
    cp_segment_t *seg = connpool_child.segment;
    apr_array_header_t *holders = apr_array_make(
        report->p, 0, sizeof(connpool_holder_line_t));

    for (int i = 0;
         !report->is_glance && entry >= 0 && i < cp_segment_slots(seg); i++) {
        pid_t child = cp_segment_owner(seg, i);

        if (child != 0) {
            add_holders(holders, cp_segment_pool(seg, i, entry), child,
                        report->p);
        }
    }
    if (holders->nelts > 1) {
        qsort(holders->elts, (size_t)holders->nelts, (size_t)holders->elt_size,
              by_age);
    }
    return holders;
}

static void sum_up(const connpool_status_t *report, cp_entry_kind_t kind,
                   int entry, void *sum)
{
    cp_segment_t *seg = connpool_child.segment;

    if (report->is_glance) {
        cp_segment_glance(seg, kind, entry, sum);
    }
    else if (kind == CP_ENTRY_POOL) {
        cp_segment_sum_pool(seg, entry, sum);
    }
    else if (kind == CP_ENTRY_QUERY) {
        cp_segment_sum_query(seg, entry, sum);
    }
    else {
        cp_segment_sum_upstream(seg, entry, sum);
    }
}

static void note_oldest_wait(connpool_pool_line_t *line)
{
    uint64_t now = (uint64_t)cp_clock_now();

    for (int i = 0; i < CP_WAITS; i++) {
        uint64_t since = line->sum->waiting_since[i];

        if (since != 0 && now > since && now - since > line->oldest_wait_us) {
            line->oldest_wait_us = now - since;
        }
    }
}

static connpool_pool_line_t *add_pool(connpool_status_t *report,
                                      const char *name, server_rec *server,
                                      int entry)
{
    connpool_pool_line_t *line = apr_array_push(report->pools);
    cp_pool_stats_t *sum = apr_palloc(report->p, sizeof(*sum));

    sum_up(report, CP_ENTRY_POOL, entry, sum);
    line->sum = sum;
    line->entry = entry;
    line->name = name;
    line->server = server_label(report, server);
    line->owner = connpool_server(server);
    line->holders = gather_holders(report, entry);
    note_oldest_wait(line);
    return line;
}

static void add_database(connpool_status_t *report,
                         const connpool_database_t *db)
{
    connpool_pool_line_t *line = add_pool(report, db->name, db->server,
                                          db->entry);
    const connpool_server_t *flags = flags_for(report, db->server);
    line->database = db;
    line->kind = db->driver->scheme;
    line->max = db->pool.max;
    line->max_together = INT_MAX;
    line->is_pooled = flags->engine && flags->db_pool;
}

/* The connections of an upstream's other URLs are its own. */
static void add_to_pool(connpool_status_t *report, connpool_pool_line_t *line,
                        int entry)
{
    cp_pool_stats_t *sum = (cp_pool_stats_t *)line->sum;
    cp_pool_stats_t *more = apr_palloc(report->p, sizeof(*more));

    sum_up(report, CP_ENTRY_POOL, entry, more);
    if (report->is_glance) {
        cp_metrics_merge_numbers(&cp_pool_metrics, sum, more);
    }
    else {
        cp_metrics_merge(&cp_pool_metrics, sum, more);
    }
    apr_array_cat(line->holders, gather_holders(report, entry));
    note_oldest_wait(line);
}

static cp_upstream_stats_t *add_upstream_line(connpool_status_t *report,
                                              const connpool_upstream_t *up,
                                              const char *name, int entry)
{
    connpool_upstream_line_t *line = apr_array_push(report->upstreams);
    cp_upstream_stats_t *sum = apr_palloc(report->p, sizeof(*sum));

    sum_up(report, CP_ENTRY_UPSTREAM, entry, sum);
    line->sum = sum;
    line->name = name;
    line->server = server_label(report, up->server);
    line->is_socket = up->http.socket != NULL;
    line->entry = entry;
    line->breaker = cp_breaker_state(sum, cp_clock_now());
    return sum;
}

/* A line for each URL behind the upstream's own, which is left alone only when
 * all of them are. */
static void add_bases(connpool_status_t *report, const connpool_upstream_t *up,
                      int own, cp_upstream_stats_t *sum)
{
    cp_breaker_state_t best = CP_BREAKER_OPEN;

    for (int i = 0; i < up->base_count; i++) {
        const cp_upstream_stats_t *part = add_upstream_line(
            report, up, up->bases[i].name, up->bases[i].entry);
        cp_breaker_state_t state = cp_breaker_state(part, cp_clock_now());

        best = state < best ? state : best;
        sum->breaker_opened += part->breaker_opened;
        sum->breaker_probes += part->breaker_probes;
    }
    APR_ARRAY_IDX(report->upstreams, own, connpool_upstream_line_t)
        .breaker = best;
}

static void add_upstream(connpool_status_t *report,
                         const connpool_upstream_t *up)
{
    connpool_pool_line_t *pool = add_pool(report, up->name, up->server,
                                          up->bases[0].pool_entry);
    const connpool_server_t *flags = flags_for(report, up->server);
    cp_upstream_stats_t *sum;

    pool->upstream = up;
    pool->kind = "http";
    pool->max = up->pool.max * up->base_count;
    pool->max_together = pool->owner->http_max;
    pool->is_pooled = flags->engine && flags->http_pool;
    for (int i = 1; i < up->base_count; i++) {
        add_to_pool(report, pool, up->bases[i].pool_entry);
    }
    sum = add_upstream_line(report, up, up->name, up->entry);
    if (up->base_count > 1) {
        add_bases(report, up, report->upstreams->nelts - 1, sum);
    }
}

static void add_query(connpool_status_t *report, const connpool_query_t *query)
{
    connpool_query_line_t *line = apr_array_push(report->queries);
    cp_query_stats_t *sum = apr_palloc(report->p, sizeof(*sum));

    sum_up(report, CP_ENTRY_QUERY, query->entry, sum);
    line->sum = sum;
    line->name = query->name;
    line->server = server_label(report, query->server);
    line->database = query->database_name;
    line->query = query;
    line->is_collected = connpool_query_is_collected(query);
    line->entry = query->entry;
}

static void gather_server(connpool_status_t *report,
                          const connpool_server_t *server)
{
    const connpool_server_t *viewer = report->viewer;

    for (int i = 0; i < server->databases->nelts; i++) {
        const connpool_database_t *db = APR_ARRAY_IDX(server->databases, i,
                                                      connpool_database_t *);

        if (is_visible(report, viewer->all_databases, db->name, db)) {
            add_database(report, db);
        }
    }
    for (int i = 0; i < server->upstreams->nelts; i++) {
        const connpool_upstream_t *up = APR_ARRAY_IDX(server->upstreams, i,
                                                      connpool_upstream_t *);

        if (is_visible(report, viewer->all_upstreams, up->name, up)) {
            add_upstream(report, up);
        }
    }
    for (int i = 0; i < server->queries->nelts; i++) {
        const connpool_query_t *query = APR_ARRAY_IDX(server->queries, i,
                                                      connpool_query_t *);

        if (is_visible(report, viewer->all_queries, query->name, query)) {
            add_query(report, query);
        }
    }
}

static void gather_processes(connpool_status_t *report)
{
    cp_segment_t *seg = connpool_child.segment;
    int slots = cp_segment_slots(seg);

    for (int i = 0; i < slots; i++) {
        pid_t pid = cp_segment_owner(seg, i);

        if (pid != 0) {
            connpool_child_line_t *line = apr_array_push(report->processes);
            cp_process_stats_t *sum = apr_pcalloc(report->p, sizeof(*sum));

            cp_metrics_merge(&cp_process_metrics, sum,
                             cp_segment_process(seg, i));
            line->pid = pid;
            line->growth_bytes = sum->rss_base_bytes
                                     ? (int64_t)(sum->rss_bytes
                                                 - sum->rss_base_bytes)
                                     : 0;
            line->sum = sum;
        }
    }
    cp_segment_sum_process(seg, &report->process);
}

connpool_status_t *connpool_status_collect(apr_pool_t *p, server_rec *viewer,
                                           int is_glance)
{
    connpool_status_t *report = apr_pcalloc(p, sizeof(*report));

    report->p = p;
    report->viewer = connpool_server(viewer);
    report->is_glance = is_glance;
    report->is_main = viewer == connpool_child.main_server;
    report->memory_bound = (uint64_t)connpool_server(connpool_child.main_server)
                               ->memory;
    report->children = cp_segment_children(connpool_child.segment);
    report->gauges = apr_array_make(p, CP_GAUGES, sizeof(cp_gauge_t));
    gather_gauges(report);
    report->pools = apr_array_make(p, 8, sizeof(connpool_pool_line_t));
    report->queries = apr_array_make(p, 8, sizeof(connpool_query_line_t));
    report->upstreams = apr_array_make(p, 8, sizeof(connpool_upstream_line_t));
    for (server_rec *s = connpool_child.main_server; s; s = s->next) {
        const connpool_server_t *server = connpool_server(s);

        /* A virtual host without a directive of ours has the main server's. */
        if (server->server == s) {
            gather_server(report, server);
        }
    }
    report->processes = apr_array_make(p, 8, sizeof(connpool_child_line_t));
    gather_processes(report);
    connpool_status_reach(report);
    cp_segment_sum_loop(connpool_child.segment, &report->loop);
    cp_segment_sum_batch(connpool_child.segment, &report->batch);
    return report;
}

uint64_t connpool_status_requests(const connpool_status_t *report)
{
    return cp_histogram_count(&report->process.request_us)
           + cp_histogram_count(&report->process.request_failed_us);
}

int connpool_status_loop_is_on(void)
{
    return connpool_server(connpool_child.main_server)->event_loop;
}
