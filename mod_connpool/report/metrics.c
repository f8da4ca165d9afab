/* SPDX-License-Identifier: Apache-2.0
 * The report for monitoring systems: the tables of all counters, and between
 * them what comes from no counter. Names end in their base unit; labels come
 * from the configuration alone, so that nobody can make new time series by
 * asking. */
#include "report/metrics.h"

#include "glue.h"
#include "base/bytes/buffer.h"
#include "base/gauge.h"
#include "http/upstream/breaker.h"
#include "pool/wait/permits.h"
#include "report/lines/backends.h"
#include "report/lines/gather.h"
#include "report/openmetrics.h"
#include "stats/metric.h"
#include "stats/state/state.h"
#include "stats/stats.h"
#include "stats/tables.h"

#include <stddef.h>
#include <string.h>

#include <apr_strings.h>

typedef connpool_metrics_writer_t writer_t;

#define ALL SIZE_MAX

static const connpool_subject_t whole_server;

static void put_one(writer_t *w, const cp_metric_t *family, uint64_t value)
{
    connpool_metrics_family(w, family);
    connpool_metrics_sample(w, family, &whole_server, value);
}

/* --- pools --- */

static connpool_families_t pool_families(const connpool_status_t *report)
{
    connpool_subject_t *subjects = apr_pcalloc(
        report->p, sizeof(*subjects) * (size_t)report->pools->nelts);
    connpool_families_t families = {&cp_pool_metrics, subjects, 0, 0};

    EACH_LINE(report->pools, connpool_pool_line_t, line)
    {
        subjects[families.count++] = (connpool_subject_t){
            .label = "pool",
            .name = line->name,
            .server = line->server,
            .kind = line->kind,
            .stats = line->sum};
    }
    return families;
}

/* Drivers' gauges of the family of the one at index `first`, which is the first
 * of them. */
static void put_gauge_family(writer_t *w, const connpool_status_t *report,
                             const connpool_subject_t *pools, int first)
{
    const cp_gauge_t *gauges = (const void *)report->gauges->elts;
    const connpool_pool_line_t *lines = (const void *)report->pools->elts;
    cp_metric_t family = {.type = CP_METRIC_GAUGE,
                          .family = gauges[first].metric,
                          .help = gauges[first].help,
                          .unit = gauges[first].unit,
                          .label = "part"};

    connpool_metrics_family(w, &family);
    for (int i = first; i < report->gauges->nelts; i++) {
        if (strcmp(gauges[i].metric, family.family) != 0) {
            continue;
        }
        family.value = gauges[i].label;
        for (int k = 0; k < report->pools->nelts; k++) {
            connpool_metrics_sample(
                w, &family, &pools[k],
                connpool_status_gauge(&lines[k], &gauges[i]));
        }
    }
}

static int is_first_of_family(const cp_gauge_t *gauges, int i)
{
    for (int k = 0; k < i; k++) {
        if (strcmp(gauges[k].metric, gauges[i].metric) == 0) {
            return 0;
        }
    }
    return 1;
}

static void put_gauges(writer_t *w, const connpool_status_t *report,
                       const connpool_subject_t *pools)
{
    const cp_gauge_t *gauges = (const void *)report->gauges->elts;

    for (int i = 0; i < report->gauges->nelts; i++) {
        if (is_first_of_family(gauges, i)) {
            put_gauge_family(w, report, pools, i);
        }
    }
}

/* The states that a connection can be in: together they are those that are
 * open. Between two of them it is for a moment in none. */
static uint64_t in_state(const cp_pool_stats_t *sum, int state)
{
    uint64_t left = sum->open;
    uint64_t in[4] = {sum->busy, sum->idle, sum->one_shots, UINT64_MAX};

    for (int i = 0; i < state; i++) {
        left -= in[i] < left ? in[i] : left;
    }
    return in[state] < left ? in[state] : left;
}

static void put_connections(writer_t *w, const connpool_status_t *report,
                            const connpool_subject_t *pools)
{
    static const char *const states[] = {"busy", "idle", "one_shot", "passing"};
    cp_metric_t family = {
        .type = CP_METRIC_GAUGE,
        .family = "connpool_connections",
        .help = "Open connections of all children by state; one_shot: beside "
                "an exhausted pool, passing: just opened, looked at or "
                "closed.",
        .label = "state",
        .is_kind = 1};
    const connpool_pool_line_t *lines = (const void *)report->pools->elts;

    connpool_metrics_family(w, &family);
    for (int i = 0; i < report->pools->nelts; i++) {
        for (int state = 0; state < 4; state++) {
            family.value = states[state];
            connpool_metrics_sample(w, &family, &pools[i],
                                    in_state(lines[i].sum, state));
        }
    }
}

static void put_utilisation(writer_t *w, const connpool_status_t *report,
                            const connpool_subject_t *pools)
{
    static const cp_metric_t reachable = {
        .type = CP_METRIC_GAUGE,
        .family = "connpool_connections_reachable",
        .help = "Connections of all children that can be busy at once.",
        .is_kind = 1};
    static const cp_metric_t utilisation = {
        .type = CP_METRIC_GAUGE,
        .family = "connpool_utilisation_ratio",
        .unit = "ratio",
        .help = "The part of them that is busy: of readers or of writers, or "
                "of the limit that upstreams share, where least is left.",
        .is_kind = 1};
    const connpool_pool_line_t *lines = (const void *)report->pools->elts;

    connpool_metrics_family(w, &reachable);
    for (int i = 0; i < report->pools->nelts; i++) {
        connpool_metrics_sample(w, &reachable, &pools[i], lines[i].reachable);
    }
    connpool_metrics_family(w, &utilisation);
    for (int i = 0; i < report->pools->nelts; i++) {
        connpool_metrics_sample(w, &utilisation, &pools[i],
                                lines[i].tight_busy * 1000000
                                    / lines[i].tight_limit);
    }
}

static void put_pool_limits(writer_t *w, const connpool_status_t *report,
                            const connpool_subject_t *pools)
{
    static const cp_metric_t max = {
        .type = CP_METRIC_GAUGE,
        .family = "connpool_connections_max",
        .help = "Connections that one child may have at the most.",
        .is_kind = 1};
    static const cp_metric_t oldest = {
        .type = CP_METRIC_GAUGE,
        .family = "connpool_oldest_waiter_seconds",
        .unit = "seconds",
        .help = "How long the one who waits longest has been waiting."};
    const connpool_pool_line_t *lines = (const void *)report->pools->elts;

    connpool_metrics_family(w, &max);
    for (int i = 0; i < report->pools->nelts; i++) {
        connpool_metrics_sample(w, &max, &pools[i], (uint64_t)lines[i].max);
    }
    connpool_metrics_family(w, &oldest);
    for (int i = 0; i < report->pools->nelts; i++) {
        connpool_metrics_sample(w, &oldest, &pools[i], lines[i].oldest_wait_us);
    }
}

/* Of those pools alone that have them. */
static void put_backends(writer_t *w, const connpool_status_t *report,
                         const connpool_subject_t *pools)
{
    cp_metric_t family = {
        .type = CP_METRIC_GAUGE,
        .family = "connpool_backends",
        .help = "Sessions with a database server by state, as its pool sees "
                "them.",
        .label = "state"};
    const connpool_pool_line_t *lines = (const void *)report->pools->elts;
    int is_begun = 0;

    for (int k = 0; k < report->pools->nelts; k++) {
        if (!connpool_has_backends(&lines[k])) {
            continue;
        }
        if (!is_begun++) {
            connpool_metrics_family(w, &family);
        }
        for (connpool_backend_state_t i = 0; i < CONNPOOL_BACKEND_STATES; i++) {
            family.value = connpool_backend_state_name(i);
            connpool_metrics_sample(w, &family, &pools[k],
                                    connpool_backends_in(&lines[k], i));
        }
    }
}

static void put_reconnects(writer_t *w, const connpool_status_t *report,
                           const connpool_subject_t *pools)
{
    cp_metric_t family = {
        .type = CP_METRIC_COUNTER,
        .family = "connpool_reconnects",
        .help = "Sessions with a database server that were lost, or could not "
                "be opened, by class of SQLSTATE.",
        .label = "sqlstate"};
    const connpool_pool_line_t *lines = (const void *)report->pools->elts;
    int is_begun = 0;

    for (int k = 0; k < report->pools->nelts; k++) {
        if (!connpool_has_backends(&lines[k])) {
            continue;
        }
        if (!is_begun++) {
            connpool_metrics_family(w, &family);
        }
        for (int i = 0; i < CP_SQLSTATES; i++) {
            family.value = cp_sqlstate_name(i);
            connpool_metrics_sample(w, &family, &pools[k],
                                    lines[k].sum->reconnects[i]);
        }
    }
}

/* Of those pools that have server-max=: one number of its state, which lies at
 * that offset. */
static void put_permits(writer_t *w, const connpool_status_t *report,
                        const connpool_subject_t *pools,
                        const cp_metric_t *family)
{
    const connpool_pool_line_t *lines = (const void *)report->pools->elts;
    int is_begun = 0;

    for (int k = 0; k < report->pools->nelts; k++) {
        cp_permits_state_t state;

        if (connpool_server_permits(&lines[k], &state)) {
            if (!is_begun++) {
                connpool_metrics_family(w, family);
            }
            connpool_metrics_sample(
                w, family, &pools[k],
                (uint64_t)
                    * (const int *)(const void *)((const char *)&state
                                                  + family->offset));
        }
    }
}

static void put_server_max(writer_t *w, const connpool_status_t *report,
                           const connpool_subject_t *pools)
{
    static const cp_metric_t families[] = {
        {.type = CP_METRIC_GAUGE,
         .offset = offsetof(cp_permits_state_t, max),
         .family = "connpool_server_max",
         .help = "Connections that all children may have open together."},
        {.type = CP_METRIC_GAUGE,
         .offset = offsetof(cp_permits_state_t, held),
         .family = "connpool_server_held",
         .help = "Permits of server-max= that children hold."},
        {.type = CP_METRIC_GAUGE,
         .offset = offsetof(cp_permits_state_t, waiting),
         .family = "connpool_server_waiters",
         .help = "Children that wait for a permit of server-max=."}};

    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        put_permits(w, report, pools, &families[i]);
    }
}

static void put_pools(writer_t *w, const connpool_status_t *report)
{
    connpool_families_t pools = pool_families(report);

    put_connections(w, report, pools.subjects);
    put_utilisation(w, report, pools.subjects);
    connpool_metrics_until(w, &pools, offsetof(cp_pool_stats_t, closed));
    put_gauges(w, report, pools.subjects);
    put_pool_limits(w, report, pools.subjects);
    put_backends(w, report, pools.subjects);
    put_reconnects(w, report, pools.subjects);
    put_server_max(w, report, pools.subjects);
    connpool_metrics_until(w, &pools, ALL);
}

/* --- queries and upstreams --- */

/* Of those queries alone whose answers may be kept or shared: what the others
 * have of it is 0 for ever, and a server may have a thousand. */
static void put_caching(writer_t *w, const connpool_status_t *report,
                        connpool_families_t *families)
{
    connpool_subject_t *subjects = apr_pcalloc(
        report->p, sizeof(*subjects) * (size_t)families->count);
    connpool_families_t caching = {families->metrics, subjects, 0,
                                   families->next};
    const connpool_query_line_t *lines = (const void *)report->queries->elts;

    for (int i = 0; i < families->count; i++) {
        if (lines[i].is_collected) {
            subjects[caching.count++] = families->subjects[i];
        }
    }
    if (caching.count > 0) {
        connpool_metrics_until(w, &caching, ALL);
    }
}

static void put_queries(writer_t *w, const connpool_status_t *report)
{
    connpool_subject_t *subjects = apr_pcalloc(
        report->p, sizeof(*subjects) * (size_t)report->queries->nelts);
    connpool_families_t families = {&cp_query_metrics, subjects, 0, 0};

    EACH_LINE(report->queries, connpool_query_line_t, line)
    {
        subjects[families.count++] = (connpool_subject_t){
            .label = "query",
            .name = line->name,
            .server = line->server,
            .stats = line->sum};
    }
    connpool_metrics_until(w, &families, offsetof(cp_query_stats_t, hits));
    put_caching(w, report, &families);
}

static void put_breakers(writer_t *w, const connpool_status_t *report,
                         const connpool_subject_t *upstreams)
{
    static const cp_breaker_state_t states[] = {
        CP_BREAKER_CLOSED, CP_BREAKER_HALF_OPEN, CP_BREAKER_OPEN};
    cp_metric_t family = {
        .type = CP_METRIC_GAUGE,
        .family = "connpool_http_breaker_state",
        .help = "Whether the breaker is in that state: closed, half-open, or "
                "open in some child.",
        .label = "state"};

    connpool_metrics_family(w, &family);
    EACH_LINE(report->upstreams, connpool_upstream_line_t, line)
    {
        for (int i = 0; i < 3; i++) {
            family.value = cp_breaker_state_name(states[i]);
            connpool_metrics_sample(w, &family, upstreams,
                                    line->breaker == states[i]);
        }
        upstreams++;
    }
}

static void put_upstreams(writer_t *w, const connpool_status_t *report)
{
    connpool_subject_t *subjects = apr_pcalloc(
        report->p, sizeof(*subjects) * (size_t)report->upstreams->nelts);
    connpool_families_t families = {&cp_upstream_metrics, subjects, 0, 0};

    EACH_LINE(report->upstreams, connpool_upstream_line_t, line)
    {
        subjects[families.count++] = (connpool_subject_t){
            .label = "pool",
            .name = line->name,
            .server = line->server,
            .stats = line->sum};
    }
    connpool_metrics_until(w, &families, offsetof(cp_upstream_stats_t, us));
    put_breakers(w, report, subjects);
    connpool_metrics_until(w, &families, ALL);
}

/* --- states --- */

/* One series for each state that something can be in: 1 for the one that it is
 * in, 0 for the others. OpenMetrics' own type for that wants the label to have
 * the family's name. */
static void put_states(writer_t *w, const connpool_status_t *report)
{
    cp_metric_t family = {
        .type = CP_METRIC_GAUGE,
        .family = "connpool_state",
        .help = "Whether it is in that state: ok, degraded or down.",
        .label = "state"};

    connpool_metrics_family(w, &family);
    EACH_LINE(report->states, connpool_state_line_t, line)
    {
        connpool_subject_t subject = {
            .label = "name",
            .name = line->name,
            .server = line->server,
            .group = cp_subject_name(line->subject),
        };

        for (cp_level_t level = CP_LEVEL_OK; level < CP_LEVELS; level++) {
            family.value = cp_level_name(level);
            connpool_metrics_sample(w, &family, &subject,
                                    line->verdict->state.level == level);
        }
    }
}

/* --- the whole server --- */

static void put_build(writer_t *w)
{
    const char *about = w->is_openmetrics
                            ? "# TYPE connpool_build info\n"
                              "# HELP connpool_build What is running.\n"
                            : "# TYPE connpool_build_info gauge\n"
                              "# HELP connpool_build_info What is running.\n";

    connpool_metrics_put(w, about);
    connpool_metrics_put(w, "connpool_build_info{version=\"" CONNPOOL_VERSION
                            "\"} 1\n");
}

static void put_processes(writer_t *w, const connpool_status_t *report)
{
    static const cp_metric_t children = {.type = CP_METRIC_GAUGE,
                                         .family = "connpool_children",
                                         .help = "Living children."};
    static const cp_metric_t bound = {
        .type = CP_METRIC_GAUGE,
        .family = "connpool_memory_bound_bytes",
        .unit = "bytes",
        .help = "ConnPoolMemory, the bound in each child."};
    connpool_subject_t subject = {.stats = &report->process};
    connpool_families_t families = {&cp_process_metrics, &subject, 1, 0};

    put_build(w);
    put_one(w, &children, (uint64_t)report->children);
    connpool_metrics_until(w, &families,
                           offsetof(cp_process_stats_t, memory_bytes));
    put_one(w, &bound, report->memory_bound);
    connpool_metrics_until(w, &families, offsetof(cp_process_stats_t, cache));
    put_pools(w, report);
    put_queries(w, report);
    connpool_metrics_until(w, &families, ALL);
}

static void put_table(writer_t *w, const cp_metrics_t *metrics,
                      const void *stats)
{
    connpool_subject_t subject = {.stats = stats};
    connpool_families_t families = {metrics, &subject, 1, 0};

    connpool_metrics_until(w, &families, ALL);
}

void connpool_status_write_metrics(cp_buffer_t *buf,
                                   const connpool_status_t *report,
                                   int is_openmetrics)
{
    writer_t w = {buf, is_openmetrics};

    put_processes(&w, report);
    put_states(&w, report);
    put_upstreams(&w, report);
    put_table(&w, &cp_loop_metrics, &report->loop);
    put_table(&w, &cp_batch_metrics, &report->batch);
    if (is_openmetrics) {
        connpool_metrics_put(&w, "# EOF\n");
    }
}
