/* SPDX-License-Identifier: Apache-2.0
 *
 * The report as a page. It has no script, and its style sheet is a resource of
 * its own, so that it lives under the strictest content security policy. */
#include "mod_connpool_status.h"

#include <apr_strings.h>

const char connpool_status_style[] =
    ":root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#1c2430;"
    "--soft:#66707f;--line:#e3e7ec;--good:#1a7f47;--bad:#c0362c;--off:#8a6d1d}"
    "\n@media(prefers-color-scheme:dark){:root{--page:#12161c;--card:#1a2028;"
    "--ink:#e6eaf0;--soft:#94a0b0;--line:#2b333f;--good:#55c98a;--bad:#ff8378;"
    "--off:#dcb64f}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0 auto;max-width:80rem;padding:1.5rem 1rem 3rem;"
    "background:var(--page);color:var(--ink);"
    "font:15px/1.45 system-ui,-apple-system,'Segoe UI',sans-serif}\n"
    "h1{font-size:1.5rem;margin:0}\n"
    "h2{font-size:1.05rem;margin:2rem 0 .6rem}\n"
    "p{margin:.3rem 0;color:var(--soft)}\n"
    "a{color:inherit}\n"
    ".card{background:var(--card);border:1px solid var(--line);"
    "border-radius:10px;overflow-x:auto}\n"
    "table{border-collapse:collapse;width:100%;"
    "font-variant-numeric:tabular-nums}\n"
    "th,td{padding:.5rem .7rem;text-align:right;white-space:nowrap;"
    "border-bottom:1px solid var(--line)}\n"
    "tbody tr:last-child>*{border-bottom:0}\n"
    "thead th{color:var(--soft);font-size:.8rem;font-weight:500}\n"
    "th:first-child,.text{text-align:left}\n"
    "tbody th{font-weight:600}\n"
    "small{color:var(--soft);font-weight:400;margin-left:.4em}\n"
    "meter{width:4.5rem;height:.7rem;margin-left:.5em;vertical-align:middle}\n"
    ".ok,.on{color:var(--good)}.exhausted{color:var(--bad);font-weight:600}"
    ".off{color:var(--off)}\n"
    "ul{list-style:none;display:flex;flex-wrap:wrap;gap:.5rem;margin:1rem 0 0;"
    "padding:0}\n"
    "li{background:var(--card);border:1px solid var(--line);"
    "border-radius:99px;padding:.2rem .8rem}\n"
    "@media(max-width:45rem){thead{display:none}"
    "tbody tr{display:block;padding:.5rem 0;"
    "border-bottom:1px solid var(--line)}"
    "tbody tr:last-child{border-bottom:0}"
    "th,td{display:flex;justify-content:space-between;gap:1rem;border:0;"
    "padding:.2rem .9rem;white-space:normal}"
    "tbody th{justify-content:flex-start;font-size:1.05rem}"
    "td::before{content:attr(data-label);color:var(--soft);text-align:left}}\n";

static void put(cp_buffer_t *buf, const char *text)
{
    cp_buffer_append(buf, text, strlen(text));
}

/* For numbers and constants; texts of any length go through put. */
static void putf(cp_buffer_t *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void putf(cp_buffer_t *buf, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    apr_vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    put(buf, text);
}

static const char *duration(apr_pool_t *p, uint64_t us)
{
    if (us < 1000) {
        return apr_psprintf(p, "%d \302\265s", (int)us);
    }
    if (us < 1000000) {
        return apr_psprintf(p, "%.*f ms", us < 100000 ? 1 : 0,
                            (double)us / 1e3);
    }
    return apr_psprintf(p, "%.*f s", us < 100000000 ? 1 : 0, (double)us / 1e6);
}

static const char *bytes(apr_pool_t *p, uint64_t size)
{
    static const char units[] = " KMGT";
    double value = (double)size;
    int unit = 0;

    while (value >= 1024 && unit < 4) {
        value /= 1024;
        unit++;
    }
    return unit == 0 ? apr_psprintf(p, "%d B", (int)size)
                     : apr_psprintf(p, "%.1f %ciB", value, units[unit]);
}

/* columns: labels, NULL at the end. */
static void html_begin_table(cp_buffer_t *buf, const char *title,
                             const char *const *columns)
{
    put(buf, "<h2>");
    put(buf, title);
    put(buf, "</h2>\n<div class=\"card\"><table>\n<thead><tr>");
    for (; *columns; columns++) {
        put(buf, "<th scope=\"col\">");
        put(buf, *columns);
        put(buf, "</th>");
    }
    put(buf, "</tr></thead>\n<tbody>\n");
}

static void html_end_table(cp_buffer_t *buf)
{
    put(buf, "</tbody></table></div>\n");
}

static void html_name(cp_buffer_t *buf, apr_pool_t *p, const char *name,
                      const char *note)
{
    put(buf, "<tr><th scope=\"row\">");
    put(buf, ap_escape_html(p, name));
    if (note) {
        put(buf, "<small>");
        put(buf, ap_escape_html(p, note));
        put(buf, "</small>");
    }
    put(buf, "</th>");
}

/* The label is for narrow screens, where the head of the table is hidden. */
static void html_cell(cp_buffer_t *buf, const char *label, const char *value)
{
    put(buf, "<td data-label=\"");
    put(buf, label);
    put(buf, "\">");
    put(buf, value);
    put(buf, "</td>");
}

static void html_number(cp_buffer_t *buf, const char *label, uint64_t value)
{
    char text[32];

    apr_snprintf(text, sizeof(text), "%" APR_UINT64_T_FMT, value);
    html_cell(buf, label, text);
}

static void html_spread(cp_buffer_t *buf, apr_pool_t *p, const char *label,
                        const connpool_spread_t *spread)
{
    html_cell(buf, label,
              spread->count == 0
                  ? "\342\200\223"
                  : apr_pstrcat(p, duration(p, spread->p50), " / ",
                                duration(p, spread->p99), " / ",
                                duration(p, spread->max), NULL));
}

static void html_busy(cp_buffer_t *buf, const connpool_status_t *report,
                      const connpool_pool_line_t *line)
{
    uint64_t busy = line->number[CONNPOOL_BUSY];
    uint64_t limit = (uint64_t)line->max
                     * (uint64_t)(report->children ? report->children : 1);

    putf(buf,
         "<td data-label=\"Busy\"><span>%" APR_UINT64_T_FMT
         " of %" APR_UINT64_T_FMT "<meter max=\"%" APR_UINT64_T_FMT
         "\" value=\"%" APR_UINT64_T_FMT "\"></meter></span></td>",
         busy, limit, limit, busy);
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
    static const char *const columns[] = {"Pool",      "State",
                                          "Busy",      "Idle",
                                          "Waiting",   "Acquired",
                                          "Fallbacks", "Timed out",
                                          "Rejected",  "Wait p50 / p99 / max",
                                          NULL};

    html_begin_table(buf, "Pools", columns);
    for (int i = 0; i < report->pools->nelts; i++) {
        const connpool_pool_line_t *line = &APR_ARRAY_IDX(report->pools, i,
                                                          connpool_pool_line_t);

        html_name(buf, report->p, line->name, kind_and_server(report, line));
        putf(buf, "<td data-label=\"State\"><span class=\"%s\">%s</span></td>",
             line->state, line->state);
        html_busy(buf, report, line);
        html_number(buf, "Idle", line->number[CONNPOOL_IDLE]);
        html_number(buf, "Waiting", line->number[CONNPOOL_WAITING]);
        html_number(buf, "Acquired", line->number[CONNPOOL_ACQUIRED]);
        html_number(buf, "Fallbacks", line->number[CONNPOOL_FALLBACKS]);
        html_number(buf, "Timed out", line->number[CONNPOOL_TIMEOUTS]);
        html_number(buf, "Rejected", line->number[CONNPOOL_REJECTED]);
        html_spread(buf, report->p, "Wait p50 / p99 / max", &line->acquire);
        put(buf, "</tr>\n");
    }
    html_end_table(buf);
}

/* "12", and small behind it "idle 9, lifetime 3". */
static const char *closed_text(apr_pool_t *p, const uint64_t *closed)
{
    const char *reasons = NULL;
    uint64_t total = 0;

    for (int i = 0; i < CP_CLOSE_REASONS; i++) {
        total += closed[i];
        if (closed[i] > 0) {
            reasons = apr_psprintf(
                p, "%s%s %" APR_UINT64_T_FMT,
                reasons ? apr_pstrcat(p, reasons, ", ", NULL) : "",
                cp_close_reason_name((cp_close_reason_t)i), closed[i]);
        }
    }
    return reasons ? apr_psprintf(
               p, "<span>%" APR_UINT64_T_FMT "<small>%s</small></span>", total,
               reasons)
                   : "0";
}

static void html_connections(cp_buffer_t *buf, const connpool_status_t *report)
{
    static const char *const columns[] = {"Pool",
                                          "Open",
                                          "Created",
                                          "Closed",
                                          "Failed to open",
                                          "Memory",
                                          "Held p50 / p99 / max",
                                          "Leaks suspected",
                                          "Abandoned",
                                          NULL};

    html_begin_table(buf, "Connections", columns);
    for (int i = 0; i < report->pools->nelts; i++) {
        const connpool_pool_line_t *line = &APR_ARRAY_IDX(report->pools, i,
                                                          connpool_pool_line_t);

        html_name(buf, report->p, line->name, line->server);
        html_number(buf, "Open", line->number[CONNPOOL_OPEN]);
        html_number(buf, "Created", line->number[CONNPOOL_CREATED]);
        html_cell(buf, "Closed", closed_text(report->p, line->closed));
        html_number(buf, "Failed to open",
                    line->number[CONNPOOL_CREATE_FAILURES]);
        html_cell(buf, "Memory",
                  bytes(report->p, line->number[CONNPOOL_MEMORY]));
        html_spread(buf, report->p, "Held p50 / p99 / max", &line->hold);
        html_number(buf, "Leaks suspected", line->number[CONNPOOL_LEAKS]);
        html_number(buf, "Abandoned", line->number[CONNPOOL_ABANDONED]);
        put(buf, "</tr>\n");
    }
    html_end_table(buf);
}

static void html_queries(cp_buffer_t *buf, const connpool_status_t *report)
{
    static const char *const columns[] = {
        "Query", "Runs", "Errors", "Rows", "Time p50 / p99 / max", NULL};

    html_begin_table(buf, "Queries", columns);
    for (int i = 0; i < report->queries->nelts; i++) {
        const connpool_query_line_t *line = &APR_ARRAY_IDX(
            report->queries, i, connpool_query_line_t);

        html_name(buf, report->p, line->name, line->server);
        html_number(buf, "Runs", line->count);
        html_number(buf, "Errors", line->errors);
        html_number(buf, "Rows", line->rows);
        html_spread(buf, report->p, "Time p50 / p99 / max", &line->us);
        put(buf, "</tr>\n");
    }
    html_end_table(buf);
}

static void html_upstreams(cp_buffer_t *buf, const connpool_status_t *report)
{
    static const char *const columns[] = {"Upstream", "Fetches",
                                          "Errors",   "Reused",
                                          "Retries",  "Time p50 / p99 / max",
                                          NULL};

    html_begin_table(buf, "Upstreams", columns);
    for (int i = 0; i < report->upstreams->nelts; i++) {
        const connpool_upstream_line_t *line = &APR_ARRAY_IDX(
            report->upstreams, i, connpool_upstream_line_t);

        html_name(buf, report->p, line->name, line->server);
        html_number(buf, "Fetches", line->count);
        html_number(buf, "Errors", line->errors);
        html_number(buf, "Reused", line->reused);
        html_number(buf, "Retries", line->retries);
        html_spread(buf, report->p, "Time p50 / p99 / max", &line->us);
        put(buf, "</tr>\n");
    }
    html_end_table(buf);
}

static void html_loop(cp_buffer_t *buf, const connpool_status_t *report)
{
    static const char *const columns[] = {"Event loop", "In flight",      "Lag",
                                          "Restarts",   "Run without it", NULL};
    const cp_loop_stats_t *loop = &report->loop;

    html_begin_table(buf, "Event loop", columns);
    putf(buf,
         "<tr><th scope=\"row\">running in %" APR_UINT64_T_FMT " of %d"
         " children</th>",
         loop->running, report->children);
    html_number(buf, "In flight", loop->in_flight);
    html_cell(buf, "Lag", duration(report->p, loop->lag_us));
    html_number(buf, "Restarts", loop->restarts);
    html_number(buf, "Run without it", loop->inline_runs);
    put(buf, "</tr>\n");
    html_end_table(buf);
}

static void html_feature(cp_buffer_t *buf, const char *name, int is_on)
{
    putf(buf, "<li>%s <b class=\"%s\">%s</b></li>\n", name,
         is_on ? "on" : "off", is_on ? "on" : "off");
}

static void html_head(cp_buffer_t *buf, const connpool_status_t *report,
                      int refresh)
{
    const connpool_server_t *viewer = report->viewer;

    put(buf, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n"
             "<meta charset=\"utf-8\">\n"
             "<meta name=\"viewport\" content=\"width=device-width, "
             "initial-scale=1\">\n");
    if (refresh > 0) {
        putf(buf, "<meta http-equiv=\"refresh\" content=\"%d\">\n", refresh);
    }
    put(buf, "<title>Connection pools</title>\n"
             "<link rel=\"stylesheet\" href=\"?asset=style.css\">\n"
             "</head>\n<body>\n<h1>Connection pools</h1>\n");
    putf(buf,
         "<p>mod_connpool " CONNPOOL_VERSION
         " \302\267 %d %s \302\267 <a href=\"?format=json\">JSON</a>"
         " \302\267 <a href=\"%s\">%s</a></p>\n<ul>\n",
         report->children, report->children == 1 ? "child" : "children",
         refresh > 0 ? "?" : "?refresh=5",
         refresh > 0 ? "stop refreshing" : "refresh every 5 s");
    html_feature(buf, "engine", viewer->engine);
    html_feature(buf, "HTTP pool", viewer->http_pool);
    html_feature(buf, "database pool", viewer->db_pool);
    html_feature(buf, "event loop", connpool_status_loop_is_on());
    put(buf, "</ul>\n");
}

void connpool_status_write_page(cp_buffer_t *buf,
                                const connpool_status_t *report, int refresh)
{
    html_head(buf, report, refresh);
    if (report->pools->nelts > 0) {
        html_pools(buf, report);
        html_connections(buf, report);
    }
    else {
        put(buf, "<p>No pool is configured here.</p>\n");
    }
    if (report->queries->nelts > 0) {
        html_queries(buf, report);
    }
    if (report->upstreams->nelts > 0) {
        html_upstreams(buf, report);
        html_loop(buf, report);
    }
    put(buf, "</body>\n</html>\n");
}
