/* SPDX-License-Identifier: Apache-2.0
 * What the page says of the processes: event loop, batches, memory, requests.
 */
#include "report/page/process.h"

#include "base/bytes/buffer.h"
#include "base/clock.h"
#include "cache/provider.h"
#include "report/lines/gather.h"
#include "report/lines/lately.h"
#include "report/page/html.h"
#include "stats/histogram.h"
#include "stats/segment.h"
#include "stats/stats.h"

#include <apr_strings.h>

static void html_loop(cp_buffer_t *buf, const connpool_status_t *report)
{
    static const char *const columns[] = {
        "Event loop", "In flight",      "Lag", "Last heartbeat", "Iterations",
        "Restarts",   "Run without it", NULL};
    const cp_loop_stats_t *loop = &report->loop;
    uint64_t now = (uint64_t)cp_clock_now();
    apr_pool_t *p = report->p;

    connpool_html_begin_table(
        buf, &(connpool_table_t){"loop", "Event loop",
                                 "What drives the fetches, one in each child.",
                                 columns});
    connpool_html_begin_row(
        buf, p,
        apr_psprintf(p, "running in %s of %s children",
                     connpool_number_text(p, loop->running),
                     connpool_number_text(p, (uint64_t)report->children)),
        NULL);
    connpool_html_number(buf, "In flight", loop->in_flight);
    connpool_html_duration(buf, p, "Lag", loop->lag_us);
    connpool_html_cell(
        buf, "Last heartbeat",
        loop->heartbeat == 0
            ? "\342\200\223"
            : apr_pstrcat(p,
                          connpool_duration_text(p, now > loop->heartbeat
                                                        ? now - loop->heartbeat
                                                        : 0),
                          " ago", NULL));
    connpool_html_number(buf, "Iterations", loop->iterations);
    connpool_html_number(buf, "Restarts", loop->restarts);
    connpool_html_number(buf, "Run without it", loop->inline_runs);
    connpool_html_end_row(buf);
    connpool_html_end_table(buf);
}

static void html_batch(cp_buffer_t *buf, const connpool_status_t *report)
{
    static const char *const columns[] = {"Batches",
                                          "Requests",
                                          "Items",
                                          "Item errors",
                                          "Queries at once",
                                          "Fetches at once",
                                          "Fetches one by one",
                                          NULL};
    const cp_batch_stats_t *batch = &report->batch;

    connpool_html_begin_table(
        buf,
        &(connpool_table_t){"batches", "Batches",
                            "All children together since the start.", columns});
    connpool_html_begin_row(buf, report->p, "all batches", NULL);
    connpool_html_number(buf, "Requests", batch->requests);
    connpool_html_number(buf, "Items", batch->items);
    connpool_html_number(buf, "Item errors", batch->errors);
    connpool_html_number(buf, "Queries at once", batch->pipelined);
    connpool_html_number(buf, "Fetches at once", batch->overlapped);
    connpool_html_number(buf, "Fetches one by one", batch->sequential);
    connpool_html_end_row(buf);
    connpool_html_end_table(buf);
}

static const char *growth_text(apr_pool_t *p, int64_t growth)
{
    return growth == 0
               ? "none"
               : apr_pstrcat(p, growth > 0 ? "+" : "\342\210\222",
                             connpool_bytes_text(
                                 p, (uint64_t)(growth > 0 ? growth : -growth)),
                             NULL);
}

static void html_children(cp_buffer_t *buf, const connpool_status_t *report)
{
    static const char *const columns[] = {"Process",
                                          "Resident memory",
                                          "Peak",
                                          "Growth since its first minute",
                                          "Within ConnPoolMemory",
                                          "Open descriptors",
                                          NULL};
    apr_pool_t *p = report->p;

    connpool_html_begin_table(
        buf,
        &(connpool_table_t){
            "children", "Children",
            "Processes that serve now, as measured once a second.", columns});
    EACH_LINE(report->processes, connpool_child_line_t, line)
    {
        connpool_html_begin_row(buf, p, apr_itoa(p, (int)line->pid), NULL);
        connpool_html_bytes(buf, p, "Resident memory", line->sum->rss_bytes);
        connpool_html_bytes(buf, p, "Peak", line->sum->rss_max_bytes);
        connpool_html_cell(buf, "Growth since its first minute",
                           growth_text(p, line->growth_bytes));
        connpool_html_cell(
            buf, "Within ConnPoolMemory",
            apr_pstrcat(p, connpool_bytes_text(p, line->sum->memory_bytes),
                        " of ", connpool_bytes_text(p, report->memory_bound),
                        NULL));
        connpool_html_number(buf, "Open descriptors", line->sum->descriptors);
        connpool_html_end_row(buf);
    }
    connpool_html_end_table(buf);
}

static void html_requests(cp_buffer_t *buf, const connpool_status_t *report)
{
    static const char *const columns[] = {"Requests",
                                          "Answered",
                                          "Time p50 / p99 / max",
                                          "Refused for memory",
                                          "Caches released for memory",
                                          NULL};
    connpool_whose_t whose = {CP_ROOM_SERVER, 0, &report->process};

    connpool_html_begin_table(
        buf,
        &(connpool_table_t){
            "requests", "Requests",
            "In the handlers of this module, from end to end, since the start.",
            columns});
    connpool_html_begin_row(buf, report->p, "all handlers", NULL);
    connpool_html_number(buf, "Answered", connpool_status_requests(report));
    connpool_html_lately(buf, report->p, "Time p50 / p99 / max", &whose,
                         &report->process.request_us);
    connpool_html_number(buf, "Refused for memory",
                         report->process.refused_memory);
    connpool_html_number(buf, "Caches released for memory",
                         report->process.shrunk);
    connpool_html_end_row(buf);
    connpool_html_end_table(buf);
}

void connpool_status_write_cache(cp_buffer_t *buf,
                                 const connpool_status_t *report)
{
    static const char *const columns[] = {
        "Cache",    "Kept in children", "Memory",  "Evictions", "Failures",
        "Timeouts", "Skipped",          "Dropped", "Too large", NULL};
    const cp_cache_stats_t *cache = &report->process.cache;
    const char *provider = connpool_provider_name();

    connpool_html_begin_table(
        buf, &(connpool_table_t){
                 "cache", "Cache",
                 "Where answers are kept, over all children since the start.",
                 columns});
    connpool_html_begin_row(buf, report->p, provider ? provider : "local",
                            NULL);
    connpool_html_number(buf, "Kept in children", cache->entries);
    connpool_html_bytes(buf, report->p, "Memory", cache->bytes);
    connpool_html_number(buf, "Evictions", cache->evictions);
    connpool_html_number(buf, "Failures", cache->failures);
    connpool_html_number(buf, "Timeouts", cache->timeouts);
    connpool_html_number(buf, "Skipped", cache->skipped);
    connpool_html_number(buf, "Dropped", cache->dropped);
    connpool_html_number(buf, "Too large", cache->too_large);
    connpool_html_end_row(buf);
    connpool_html_end_table(buf);
}

void connpool_status_write_processes(cp_buffer_t *buf,
                                     const connpool_status_t *report)
{
    if (report->upstreams->nelts > 0) {
        html_loop(buf, report);
    }
    if (report->batch.requests > 0) {
        html_batch(buf, report);
    }
    html_children(buf, report);
    html_requests(buf, report);
}
