/* SPDX-License-Identifier: Apache-2.0
 *
 * The report as a page. Its style sheet and its script, without which it works,
 * too, are resources of their own, so that it lives under a strict content
 * security policy. */
#include "report/page/page.h"

#include "glue.h"
#include "base/bytes/buffer.h"
#include "base/error.h"
#include "base/gauge.h"
#include "config/setting.h"
#include "http/upstream/breaker.h"
#include "report/lines/gather.h"
#include "report/lines/judge.h"
#include "report/lines/lately.h"
#include "report/page/chart.h"
#include "report/page/detail.h"
#include "report/page/html.h"
#include "report/page/process.h"
#include "report/page/verdict.h"
#include "stats/segment.h"
#include "stats/state/state.h"
#include "stats/stats.h"

#include <apr_strings.h>

/* "idle 9, lifetime 3": one more of these, unless there is none. */
static void add_detail(apr_pool_t *p, const char **details, const char *word,
                       uint64_t count)
{
    if (count > 0) {
        *details = apr_pstrcat(p, *details ? *details : "",
                               *details ? ", " : "", word, " ",
                               connpool_number_text(p, count), NULL);
    }
}

static const char *failures_text(apr_pool_t *p, const uint64_t *failures)
{
    const char *details = NULL;

    for (int i = CP_ERR_NONE + 1; i < CP_ERR_CLASSES; i++) {
        add_detail(p, &details, cp_error_class_name((cp_error_class_t)i),
                   failures[i]);
    }
    return details;
}

/* --- pools --- */

static void html_busy(cp_buffer_t *buf, const connpool_status_t *report,
                      const connpool_pool_line_t *line)
{
    uint64_t busy = line->sum->busy;
    uint64_t limit = line->reachable;

    connpool_html_put(buf, "<td data-label=\"Busy\"><span>");
    connpool_html_put(
        buf, apr_pstrcat(report->p, connpool_number_text(report->p, busy),
                         " of ", connpool_number_text(report->p, limit), NULL));
    connpool_html_putf(buf,
                       "<meter max=\"%" APR_UINT64_T_FMT
                       "\" value=\"%" APR_UINT64_T_FMT
                       "\"></meter></span></td>",
                       limit, busy);
}

static void html_waiting(cp_buffer_t *buf, apr_pool_t *p,
                         const connpool_pool_line_t *line)
{
    const char *oldest = NULL;

    if (line->oldest_wait_us > 0) {
        oldest = apr_pstrcat(p, "the oldest ",
                             connpool_duration_text(p, line->oldest_wait_us),
                             NULL);
    }
    connpool_html_detailed(buf, p, "Waiting",
                           connpool_number_text(p, line->sum->waiting), oldest);
}

static const char *kind_and_server(const connpool_status_t *report,
                                   const connpool_pool_line_t *line)
{
    return line->server
               ? apr_pstrcat(report->p, line->kind, " on ", line->server, NULL)
               : line->kind;
}

static void html_pools(cp_buffer_t *buf, const connpool_status_t *report)
{
    static const char *const columns[] = {"Pool",
                                          "State",
                                          "Busy",
                                          "Last 10 min",
                                          "Peaks in a child",
                                          "Waiting",
                                          "Acquired",
                                          "Fallbacks",
                                          "Timed out",
                                          "Rejected",
                                          "Wait p50 / p99 / max",
                                          NULL};
    apr_pool_t *p = report->p;

    connpool_html_begin_table(
        buf,
        &(connpool_table_t){
            "pools", "Pools",
            "All children together since the start; peaks are of one child.",
            columns});
    EACH_LINE(report->pools, connpool_pool_line_t, line)
    {
        connpool_whose_t whose = {CP_ENTRY_POOL, line->entry, line->sum};

        connpool_html_begin_row(buf, p, line->name,
                                kind_and_server(report, line));
        connpool_status_write_state(buf, connpool_status_word(line));
        html_busy(buf, report, line);
        connpool_status_write_sparkline(buf, p, line);
        connpool_html_detailed(
            buf, p, "Peaks in a child",
            apr_pstrcat(p, "busy ",
                        connpool_number_text(p, line->sum->busy_max), NULL),
            apr_pstrcat(p, "open ",
                        connpool_number_text(p, line->sum->open_max),
                        ", waiting ",
                        connpool_number_text(p, line->sum->waiting_max), NULL));
        html_waiting(buf, p, line);
        connpool_html_number(buf, "Acquired", line->sum->acquired);
        connpool_html_number(buf, "Fallbacks", line->sum->fallbacks);
        connpool_html_number(buf, "Timed out", line->sum->timeouts);
        connpool_html_number(buf, "Rejected", line->sum->rejected);
        connpool_html_lately(buf, p, "Wait p50 / p99 / max", &whose,
                             &line->sum->acquire_us);
        connpool_html_end_row(buf);
        connpool_status_write_pool_details(buf, report, line, 11);
    }
    connpool_html_end_table(buf);
}

/* Who holds a connection for too long, of the pools that are seen here. */
static void html_leaks(cp_buffer_t *buf, const connpool_status_t *report)
{
    static const char *const columns[] = {"Held too long by", "Pool", "Child",
                                          "Held for", NULL};
    int is_open = 0;

    EACH_LINE(report->pools, connpool_pool_line_t, pool)
    {
        EACH_LINE(pool->holders, connpool_holder_line_t, line)
        {
            if (!line->is_leak) {
                continue;
            }
            if (!is_open) {
                connpool_html_begin_table(
                    buf, &(connpool_table_t){"leaks", "Suspected leaks",
                                             "Connections that are held for "
                                             "longer than leak= allows.",
                                             columns});
                is_open = 1;
            }
            connpool_html_begin_row(buf, report->p, line->holder, NULL);
            connpool_html_cell(buf, "Pool",
                               connpool_html_escape(report->p, pool->name));
            connpool_html_cell(buf, "Child",
                               apr_itoa(report->p, (int)line->child));
            connpool_html_duration(buf, report->p, "Held for", line->held_us);
            connpool_html_end_row(buf);
        }
    }
    if (is_open) {
        connpool_html_end_table(buf);
    }
}

/* --- connections --- */

static void html_closed(cp_buffer_t *buf, apr_pool_t *p, const uint64_t *closed)
{
    const char *details = NULL;
    uint64_t total = 0;

    for (int i = 0; i < CP_CLOSE_REASONS; i++) {
        total += closed[i];
        add_detail(p, &details, cp_close_reason_name((cp_close_reason_t)i),
                   closed[i]);
    }
    connpool_html_detailed(buf, p, "Closed", connpool_number_text(p, total),
                           details);
}

static void html_connections(cp_buffer_t *buf, const connpool_status_t *report)
{
    static const char *const columns[] = {"Pool",
                                          "Open",
                                          "Idle",
                                          "Created",
                                          "Closed",
                                          "Failed to open",
                                          "Opened in p50 / p99 / max",
                                          "Held p50 / p99 / max",
                                          "Leaks suspected",
                                          "Abandoned",
                                          NULL};
    apr_pool_t *p = report->p;

    connpool_html_begin_table(
        buf, &(connpool_table_t){"connections", "Connections",
                                 "How they were opened, held and closed, in "
                                 "all children since the start.",
                                 columns});
    EACH_LINE(report->pools, connpool_pool_line_t, line)
    {
        connpool_whose_t whose = {CP_ENTRY_POOL, line->entry, line->sum};

        connpool_html_begin_row(buf, p, line->name, line->server);
        connpool_html_number(buf, "Open", line->sum->open);
        connpool_html_number(buf, "Idle", line->sum->idle);
        connpool_html_number(buf, "Created", line->sum->created);
        html_closed(buf, p, line->sum->closed);
        connpool_html_detailed(
            buf, p, "Failed to open",
            connpool_number_text(p, line->sum->create_failures),
            failures_text(p, line->sum->failures));
        connpool_html_lately(buf, p, "Opened in p50 / p99 / max", &whose,
                             &line->sum->create_us);
        connpool_html_lately(buf, p, "Held p50 / p99 / max", &whose,
                             &line->sum->hold_us);
        connpool_html_number(buf, "Leaks suspected",
                             line->sum->leaks_suspected);
        connpool_html_number(buf, "Abandoned", line->sum->abandoned);
        connpool_html_end_row(buf);
    }
    connpool_html_end_table(buf);
}

static const char *gauge_text(apr_pool_t *p, const cp_gauge_t *gauge,
                              uint64_t value)
{
    return strcmp(gauge->unit, "bytes") == 0 ? connpool_bytes_text(p, value)
                                             : connpool_number_text(p, value);
}

/* With what only drivers can name. */
static void html_memory(cp_buffer_t *buf, const connpool_status_t *report)
{
    apr_pool_t *p = report->p;
    const apr_array_header_t *gauges = report->gauges;
    const char **columns = apr_pcalloc(p, sizeof(*columns)
                                              * (size_t)(gauges->nelts + 3));

    columns[0] = "Pool";
    columns[1] = "Memory";
    for (int i = 0; i < gauges->nelts; i++) {
        columns[2 + i] = APR_ARRAY_IDX(gauges, i, cp_gauge_t).title;
    }
    connpool_html_begin_table(
        buf, &(connpool_table_t){"memory", "Memory of idle connections",
                                 "As measured once a second, in all children.",
                                 columns});
    EACH_LINE(report->pools, connpool_pool_line_t, line)
    {
        connpool_html_begin_row(buf, p, line->name, line->server);
        connpool_html_bytes(buf, p, "Memory", line->sum->memory_bytes);
        EACH_LINE(gauges, cp_gauge_t, gauge)
        {
            connpool_html_cell(
                buf, gauge->title,
                gauge_text(p, gauge, connpool_status_gauge(line, gauge)));
        }
        connpool_html_end_row(buf);
    }
    connpool_html_end_table(buf);
}

/* --- queries and upstreams --- */

static void html_queries(cp_buffer_t *buf, const connpool_status_t *report)
{
    static const char *const columns[] = {
        "Query",  "State", "Database", "Runs",
        "Errors", "Rows",  "Slow",     "Time p50 / p99 / max",
        NULL};
    apr_pool_t *p = report->p;

    connpool_html_begin_table(
        buf, &(connpool_table_t){"queries", "Queries",
                                 "All children together since the start. Slow "
                                 "is what takes longer than ConnPoolSlowLog.",
                                 columns});
    EACH_LINE(report->queries, connpool_query_line_t, line)
    {
        connpool_whose_t whose = {CP_ENTRY_QUERY, line->entry, line->sum};

        connpool_html_begin_row(buf, p, line->name, line->server);
        connpool_status_write_state(buf,
                                    cp_level_name(line->verdict.state.level));
        connpool_html_cell(buf, "Database",
                           connpool_html_escape(p, line->database));
        connpool_html_number(buf, "Runs", line->sum->count);
        connpool_html_detailed(buf, p, "Errors",
                               connpool_number_text(p, line->sum->errors),
                               failures_text(p, line->sum->failures));
        connpool_html_number(buf, "Rows", line->sum->rows);
        connpool_html_number(buf, "Slow", line->sum->slow);
        connpool_html_lately(buf, p, "Time p50 / p99 / max", &whose,
                             &line->sum->us);
        connpool_html_end_row(buf);
        connpool_status_write_query_details(buf, report, line, 8);
    }
    connpool_html_end_table(buf);
}

static int is_caching(const cp_query_stats_t *sum)
{
    return sum->lookups + sum->coalesced + sum->bypassed > 0;
}

/* Of those queries only that keep or share answers, and were asked. */
static void html_caches(cp_buffer_t *buf, const connpool_status_t *report)
{
    static const char *const columns[] = {"Cached query", "Lookups",  "Hits",
                                          "Misses",       "Stale",    "Stores",
                                          "Coalesced",    "Bypassed", NULL};
    int lines = 0;

    EACH_LINE(report->queries, connpool_query_line_t, line)
    {
        if (!is_caching(line->sum)) {
            continue;
        }
        if (lines++ == 0) {
            connpool_html_begin_table(
                buf, &(connpool_table_t){"cached", "Cached queries",
                                         "Requests for answers that may be "
                                         "kept or shared, since the start.",
                                         columns});
        }
        connpool_html_begin_row(buf, report->p, line->name, line->server);
        connpool_html_number(buf, "Lookups", line->sum->lookups);
        connpool_html_number(buf, "Hits", line->sum->hits);
        connpool_html_number(buf, "Misses", line->sum->misses);
        connpool_html_number(buf, "Stale", line->sum->stale);
        connpool_html_number(buf, "Stores", line->sum->stores);
        connpool_html_number(buf, "Coalesced", line->sum->coalesced);
        connpool_html_number(buf, "Bypassed", line->sum->bypassed);
        connpool_html_end_row(buf);
    }
    if (lines > 0) {
        connpool_html_end_table(buf);
        connpool_status_write_cache(buf, report);
    }
}

static const char *statuses_text(apr_pool_t *p, const uint64_t *statuses)
{
    const char *details = NULL;

    add_detail(p, &details, "no answer", statuses[0]);
    for (int i = 1; i < 6; i++) {
        add_detail(p, &details, cp_status_class_name(i), statuses[i]);
    }
    return details;
}

static void html_breaker(cp_buffer_t *buf, apr_pool_t *p,
                         const connpool_upstream_line_t *line)
{
    const char *details = NULL;

    add_detail(p, &details, "opened", line->sum->breaker_opened);
    add_detail(p, &details, "refused", line->sum->breaker_refused);
    connpool_html_detailed(buf, p, "Breaker",
                           cp_breaker_state_name(line->breaker), details);
}

static void html_upstreams(cp_buffer_t *buf, const connpool_status_t *report)
{
    static const char *const columns[] = {"Upstream",
                                          "State",
                                          "Breaker",
                                          "Fetches",
                                          "Errors",
                                          "Retries",
                                          "Reused",
                                          "Coalesced",
                                          "TLS handshakes",
                                          "Received",
                                          "Time p50 / p99 / max",
                                          NULL};
    apr_pool_t *p = report->p;

    connpool_html_begin_table(
        buf, &(connpool_table_t){
                 "upstreams", "Upstreams",
                 "Fetches of all children together since the start.", columns});
    EACH_LINE(report->upstreams, connpool_upstream_line_t, line)
    {
        connpool_whose_t whose = {CP_ENTRY_UPSTREAM, line->entry, line->sum};

        connpool_html_begin_row(
            buf, p,
            line->is_socket ? apr_pstrcat(p, line->name, " (Unix socket)", NULL)
                            : line->name,
            line->server);
        connpool_status_write_state(buf,
                                    cp_level_name(line->verdict.state.level));
        html_breaker(buf, p, line);
        connpool_html_detailed(buf, p, "Fetches",
                               connpool_number_text(p, line->sum->count),
                               statuses_text(p, line->sum->statuses));
        connpool_html_number(buf, "Errors", line->sum->errors);
        connpool_html_number(buf, "Retries", line->sum->retries);
        connpool_html_number(buf, "Reused", line->sum->reused);
        connpool_html_number(buf, "Coalesced", line->sum->coalesced);
        connpool_html_number(buf, "TLS handshakes", line->sum->handshakes);
        connpool_html_bytes(buf, p, "Received", line->sum->bytes);
        connpool_html_lately(buf, p, "Time p50 / p99 / max", &whose,
                             &line->sum->us);
        connpool_html_end_row(buf);
    }
    connpool_html_end_table(buf);
}

static void html_phases(cp_buffer_t *buf, const connpool_status_t *report)
{
    static const char *const columns[] = {
        "Upstream", "Queue", "Look-up", "Connect", "TLS", "First byte", NULL};

    connpool_html_begin_table(
        buf, &(connpool_table_t){
                 "phases", "Phases of fetches",
                 "p50 / p99 / max of each phase since the start.", columns});
    EACH_LINE(report->upstreams, connpool_upstream_line_t, line)
    {
        connpool_html_begin_row(buf, report->p, line->name, line->server);
        for (int k = 0; k < CP_SPANS; k++) {
            connpool_html_spread(buf, report->p, columns[1 + k],
                                 &line->sum->span_us[k]);
        }
        connpool_html_end_row(buf);
    }
    connpool_html_end_table(buf);
}

/* --- the page --- */

static void html_feature(cp_buffer_t *buf, const char *name, int is_on)
{
    connpool_html_putf(buf, "<li>%s configured <b class=\"%s\">%s</b></li>\n",
                       name, is_on ? "on" : "off", is_on ? "on" : "off");
}

/* With its script the page takes over what has changed; without it is loaded
 * again. */
static void html_head(cp_buffer_t *buf, const connpool_status_t *report,
                      int refresh)
{
    connpool_html_putf(buf,
                       "<!DOCTYPE html>\n"
                       "<html lang=\"en\" data-refresh=\"%d\">\n<head>\n"
                       "<meta charset=\"utf-8\">\n"
                       "<meta name=\"viewport\" content=\"width=device-"
                       "width, initial-scale=1\">\n",
                       refresh);
    if (refresh > 0) {
        connpool_html_putf(buf,
                           "<noscript><meta http-equiv=\"refresh\" "
                           "content=\"%d\"></noscript>\n",
                           refresh);
    }
    connpool_html_put(buf, "<title>");
    connpool_html_put(
        buf, connpool_html_escape(report->p, connpool_status_verdict(report)));
    connpool_html_put(buf,
                      "</title>\n"
                      "<link rel=\"stylesheet\" href=\"?asset=style.css\">\n"
                      "<script src=\"?asset=page.js\" defer></script>\n"
                      "</head>\n<body>\n<main>\n");
}

static void html_link(cp_buffer_t *buf, const char *id, const char *title)
{
    connpool_html_putf(buf, "<a href=\"#%s\">%s</a>\n", id, title);
}

/* To what is there always, or if anything is defined. */
static void html_links(cp_buffer_t *buf, const connpool_status_t *report)
{
    connpool_html_put(buf, "<nav aria-label=\"On this page\">\n");
    html_link(buf, "charts", "Last ten minutes");
    if (report->pools->nelts > 0) {
        html_link(buf, "pools", "Pools");
        html_link(buf, "connections", "Connections");
        html_link(buf, "memory", "Memory");
    }
    if (report->queries->nelts > 0) {
        html_link(buf, "queries", "Queries");
    }
    if (report->upstreams->nelts > 0) {
        html_link(buf, "upstreams", "Upstreams");
    }
    html_link(buf, "children", "Children");
    html_link(buf, "requests", "Requests");
    connpool_html_put(buf, "</nav>\n");
}

/* Whose report it is, what it is made of, and how to get it otherwise. */
static void html_about(cp_buffer_t *buf, const connpool_status_t *report,
                       int refresh)
{
    const connpool_server_t *viewer = report->viewer;

    connpool_html_begin_section(buf, "about", "This report", NULL);
    connpool_html_putf(
        buf,
        "<p>mod_connpool " CONNPOOL_VERSION " \302\267 %s %s \302\267 %s</p>\n",
        connpool_number_text(report->p, (uint64_t)report->children),
        report->children == 1 ? "child" : "children",
        connpool_status_time(report->p, apr_time_now()));
    if (refresh > 0) {
        connpool_html_putf(buf,
                           "<p>refreshes every %d s \302\267 "
                           "<a href=\"?refresh=0\">stop</a>",
                           refresh);
    }
    else {
        connpool_html_putf(buf, "<p><a href=\"?\">refresh every %d s</a>",
                           CONNPOOL_STATUS_REFRESH);
    }
    connpool_html_put(buf,
                      " \302\267 <a href=\"?format=json\">JSON</a>"
                      " \302\267 <a href=\"?format=text\">metrics</a></p>\n"
                      "<ul>\n");
    html_feature(buf, "engine", viewer->engine);
    html_feature(buf, "HTTP pool", viewer->http_pool);
    html_feature(buf, "database pool", viewer->db_pool);
    html_feature(buf, "event loop", connpool_status_loop_is_on());
    connpool_html_put(buf, "</ul>\n");
    html_links(buf, report);
    connpool_html_end_section(buf);
}

void connpool_status_write_page(cp_buffer_t *buf,
                                const connpool_status_t *report, int refresh)
{
    html_head(buf, report, refresh);
    connpool_status_write_verdict(buf, report);
    connpool_html_put(buf, "<p id=\"stale\" role=\"status\" hidden></p>\n");
    html_about(buf, report, refresh);
    connpool_status_write_charts(buf, report->p);
    if (report->pools->nelts > 0) {
        html_leaks(buf, report);
        html_pools(buf, report);
        html_connections(buf, report);
        html_memory(buf, report);
    }
    else {
        connpool_html_put(buf, "<p>No pool is configured here.</p>\n");
    }
    if (report->queries->nelts > 0) {
        html_queries(buf, report);
        html_caches(buf, report);
    }
    if (report->upstreams->nelts > 0) {
        html_upstreams(buf, report);
        html_phases(buf, report);
    }
    connpool_status_write_processes(buf, report);
    connpool_html_put(buf, "</main>\n</body>\n</html>\n");
}
