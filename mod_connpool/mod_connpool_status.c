/* SPDX-License-Identifier: Apache-2.0
 *
 * The report: the handler connpool-status (a page for people, JSON for
 * programs) and a section of server-status. All show the same lines, gathered
 * once per request from the shared segment, so they cover all children. Only
 * names from the configuration appear: no path, SQL or URL. */
#include "mod_connpool_private.h"

#include <stddef.h>

#include <apr_lib.h>
#include <apr_optional_hooks.h>
#include <apr_strings.h>
#include <mod_status.h>
#include <util_script.h>

#include "cp_address.h"

/* --- gathering --------------------------------------------------------------
 */

/* The plain numbers of a pool, in the order in which they are shown. */
typedef enum pool_number_t {
    POOL_OPEN,
    POOL_BUSY,
    POOL_IDLE,
    POOL_WAITING,
    POOL_ACQUIRED,
    POOL_RELEASED,
    POOL_ABANDONED,
    POOL_TIMEOUTS,
    POOL_REJECTED,
    POOL_FALLBACKS,
    POOL_CREATED,
    POOL_CREATE_FAILURES,
    POOL_LEAKS,
    POOL_MEMORY,
    POOL_NUMBERS
} pool_number_t;

typedef struct number_field_t {
    const char *name; /* in JSON */
    size_t offset;    /* in cp_pool_stats_t */
} number_field_t;

#define POOL_FIELD(member)                                                     \
    {                                                                          \
#member, offsetof(cp_pool_stats_t, member)                             \
    }

static const number_field_t pool_fields[POOL_NUMBERS] = {
    [POOL_OPEN] = POOL_FIELD(open),
    [POOL_BUSY] = POOL_FIELD(busy),
    [POOL_IDLE] = POOL_FIELD(idle),
    [POOL_WAITING] = POOL_FIELD(waiting),
    [POOL_ACQUIRED] = POOL_FIELD(acquired),
    [POOL_RELEASED] = POOL_FIELD(released),
    [POOL_ABANDONED] = POOL_FIELD(abandoned),
    [POOL_TIMEOUTS] = POOL_FIELD(timeouts),
    [POOL_REJECTED] = POOL_FIELD(rejected),
    [POOL_FALLBACKS] = POOL_FIELD(fallbacks),
    [POOL_CREATED] = POOL_FIELD(created),
    [POOL_CREATE_FAILURES] = POOL_FIELD(create_failures),
    [POOL_LEAKS] = POOL_FIELD(leaks_suspected),
    [POOL_MEMORY] = POOL_FIELD(memory_bytes),
};

/* What is shown of a distribution, in microseconds. */
typedef struct spread_t {
    uint64_t count;
    uint64_t p50;
    uint64_t p99;
    uint64_t max;
} spread_t;

typedef struct pool_line_t {
    const char *name;
    const char *server; /* "host:port" of a virtual host, NULL: the main one */
    const char *kind;
    const char *state;
    int max; /* per child */
    uint64_t number[POOL_NUMBERS];
    uint64_t closed[CP_CLOSE_REASONS];
    spread_t acquire;
    spread_t hold;
} pool_line_t;

typedef struct query_line_t {
    const char *name;
    const char *server;
    uint64_t count;
    uint64_t errors;
    uint64_t rows;
    spread_t us;
} query_line_t;

typedef struct upstream_line_t {
    const char *name;
    const char *server;
    uint64_t count;
    uint64_t errors;
    uint64_t reused;
    uint64_t retries;
    spread_t us;
} upstream_line_t;

typedef struct report_t {
    apr_pool_t *p;
    const connpool_server_t *viewer; /* the server that answers */
    int is_main;
    int children;
    apr_array_header_t *pools;     /* pool_line_t */
    apr_array_header_t *queries;   /* query_line_t */
    apr_array_header_t *upstreams; /* upstream_line_t */
    cp_loop_stats_t loop;
} report_t;

/* A child that stops between two of its counters can leave a gauge below
 * zero; nobody shall see that as a number of twenty digits. */
static uint64_t not_negative(uint64_t value)
{
    return (int64_t)value < 0 ? 0 : value;
}

static spread_t spread_of(const cp_histogram_t *h)
{
    return (spread_t){
        .count = cp_histogram_count(h),
        .p50 = cp_histogram_quantile(h, 0.50),
        .p99 = cp_histogram_quantile(h, 0.99),
        .max = h->max,
    };
}

static const char *server_label(const report_t *report, const server_rec *s)
{
    if (s == connpool_child.main_server) {
        return NULL;
    }
    return apr_psprintf(report->p, "%s:%u",
                        s->server_hostname ? s->server_hostname : "*",
                        (unsigned)(s->addrs ? s->addrs->host_port : s->port));
}

/* The main server sees everything; a virtual host what it may use, which is
 * what its names lead to. */
static int is_visible(const report_t *report, apr_hash_t *names,
                      const char *name, const void *definition)
{
    return report->is_main
           || apr_hash_get(names, name, APR_HASH_KEY_STRING) == definition;
}

/* The flags that count for a pool: of the virtual host that looks at it, and
 * for the main server, which looks at everybody's, of where it was defined. */
static const connpool_server_t *flags_for(const report_t *report,
                                          server_rec *defined)
{
    return report->is_main ? connpool_server(defined) : report->viewer;
}

/* usable: how many connections of a child one kind of work can get, max less
 * what is set aside for other work. */
static const char *state_of(const report_t *report, const pool_line_t *line,
                            int is_pooled, int usable)
{
    apr_uint64_t limit = (apr_uint64_t)usable
                         * (apr_uint64_t)(report->children ? report->children
                                                           : 1);

    if (!is_pooled) {
        return "off";
    }
    return line->number[POOL_WAITING] > 0 && line->number[POOL_BUSY] >= limit
               ? "exhausted"
               : "ok";
}

static pool_line_t *add_pool(report_t *report, const char *name,
                             server_rec *server, int entry)
{
    pool_line_t *line = apr_array_push(report->pools);
    cp_pool_stats_t sum;

    cp_segment_sum_pool(connpool_child.segment, entry, &sum);
    line->name = name;
    line->server = server_label(report, server);
    for (int i = 0; i < POOL_NUMBERS; i++) {
        const char *cell = (const char *)&sum + pool_fields[i].offset;

        line->number[i] = not_negative(*(const uint64_t *)(const void *)cell);
    }
    memcpy(line->closed, sum.closed, sizeof(line->closed));
    line->acquire = spread_of(&sum.acquire_us);
    line->hold = spread_of(&sum.hold_us);
    return line;
}

static void add_database(report_t *report, const connpool_database_t *db)
{
    pool_line_t *line = add_pool(report, db->name, db->server, db->entry);
    const connpool_server_t *flags = flags_for(report, db->server);
    int has_writer_apart = db->pool.max > 1 && !db->sqlite.is_readonly;

    line->kind = "sqlite";
    line->max = db->pool.max;
    line->state = state_of(report, line, flags->engine && flags->db_pool,
                           db->pool.max - has_writer_apart);
}

static void add_upstream(report_t *report, const connpool_upstream_t *up)
{
    pool_line_t *pool = add_pool(report, up->name, up->server, up->pool_entry);
    const connpool_server_t *flags = flags_for(report, up->server);
    upstream_line_t *line = apr_array_push(report->upstreams);
    cp_upstream_stats_t sum;

    pool->kind = "http";
    pool->max = up->pool.max;
    pool->state = state_of(report, pool, flags->engine && flags->http_pool,
                           up->pool.max);

    cp_segment_sum_upstream(connpool_child.segment, up->entry, &sum);
    line->name = up->name;
    line->server = pool->server;
    line->count = sum.count;
    line->errors = sum.errors;
    line->reused = sum.reused;
    line->retries = sum.retries;
    line->us = spread_of(&sum.us);
}

static void add_query(report_t *report, const connpool_query_t *query)
{
    query_line_t *line = apr_array_push(report->queries);
    cp_query_stats_t sum;

    cp_segment_sum_query(connpool_child.segment, query->entry, &sum);
    line->name = query->name;
    line->server = server_label(report, query->server);
    line->count = sum.count;
    line->errors = sum.errors;
    line->rows = sum.rows;
    line->us = spread_of(&sum.us);
}

static void gather_server(report_t *report, const connpool_server_t *server)
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

static report_t *gather(request_rec *r)
{
    report_t *report = apr_pcalloc(r->pool, sizeof(*report));

    report->p = r->pool;
    report->viewer = connpool_server(r->server);
    report->is_main = r->server == connpool_child.main_server;
    report->children = cp_segment_children(connpool_child.segment);
    report->pools = apr_array_make(r->pool, 8, sizeof(pool_line_t));
    report->queries = apr_array_make(r->pool, 8, sizeof(query_line_t));
    report->upstreams = apr_array_make(r->pool, 8, sizeof(upstream_line_t));
    for (server_rec *s = connpool_child.main_server; s; s = s->next) {
        const connpool_server_t *server = connpool_server(s);

        /* A virtual host without a directive of ours has the main server's. */
        if (server->server == s) {
            gather_server(report, server);
        }
    }
    cp_segment_sum_loop(connpool_child.segment, &report->loop);
    report->loop.running = not_negative(report->loop.running);
    report->loop.in_flight = not_negative(report->loop.in_flight);
    return report;
}

/* --- writing ----------------------------------------------------------------
 */

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

/* --- JSON -------------------------------------------------------------------
 */

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
    json_key(buf, separator, key);
    putf(buf, "%" APR_UINT64_T_FMT, value);
}

static void json_boolean(cp_buffer_t *buf, const char *separator,
                         const char *key, int value)
{
    json_key(buf, separator, key);
    put(buf, value ? "true" : "false");
}

static void json_spread(cp_buffer_t *buf, const char *key,
                        const spread_t *spread)
{
    json_key(buf, ",", key);
    put(buf, "{");
    json_number(buf, "", "count", spread->count);
    json_number(buf, ",", "p50", spread->p50);
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

static void json_pools(cp_buffer_t *buf, const apr_array_header_t *lines)
{
    json_key(buf, ",\n", "pools");
    put(buf, "[");
    for (int i = 0; i < lines->nelts; i++) {
        const pool_line_t *line = &APR_ARRAY_IDX(lines, i, pool_line_t);

        json_begin_line(buf, i, line->name, line->server);
        json_text(buf, ",", "kind", line->kind);
        json_text(buf, ",", "state", line->state);
        json_number(buf, ",", "max", (uint64_t)line->max);
        for (int n = 0; n < POOL_NUMBERS; n++) {
            json_number(buf, ",", pool_fields[n].name, line->number[n]);
        }
        json_closed(buf, line->closed);
        json_spread(buf, "acquire_us", &line->acquire);
        json_spread(buf, "hold_us", &line->hold);
        put(buf, "}");
    }
    put(buf, "]");
}

static void json_queries(cp_buffer_t *buf, const apr_array_header_t *lines)
{
    json_key(buf, ",\n", "queries");
    put(buf, "[");
    for (int i = 0; i < lines->nelts; i++) {
        const query_line_t *line = &APR_ARRAY_IDX(lines, i, query_line_t);

        json_begin_line(buf, i, line->name, line->server);
        json_number(buf, ",", "count", line->count);
        json_number(buf, ",", "errors", line->errors);
        json_number(buf, ",", "rows", line->rows);
        json_spread(buf, "us", &line->us);
        put(buf, "}");
    }
    put(buf, "]");
}

static void json_upstreams(cp_buffer_t *buf, const apr_array_header_t *lines)
{
    json_key(buf, ",\n", "upstreams");
    put(buf, "[");
    for (int i = 0; i < lines->nelts; i++) {
        const upstream_line_t *line = &APR_ARRAY_IDX(lines, i, upstream_line_t);

        json_begin_line(buf, i, line->name, line->server);
        json_number(buf, ",", "count", line->count);
        json_number(buf, ",", "errors", line->errors);
        json_number(buf, ",", "reused", line->reused);
        json_number(buf, ",", "retries", line->retries);
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
    put(buf, "}");
}

/* The loop belongs to the process, whichever server asks. */
static int loop_is_on(void)
{
    return connpool_server(connpool_child.main_server)->event_loop;
}

static void write_json(cp_buffer_t *buf, const report_t *report)
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
    json_boolean(buf, ",", "event_loop", loop_is_on());
    put(buf, "}");
    json_pools(buf, report->pools);
    json_queries(buf, report->queries);
    json_upstreams(buf, report->upstreams);
    json_loop(buf, &report->loop);
    put(buf, "}\n");
}

/* --- the page ---------------------------------------------------------------
 *
 * No script, and the style sheet is a resource of its own, so that the page
 * lives under the strictest content security policy. */

static const char style_sheet[] =
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
    "td::before{content:attr(data-label);color:var(--soft)}}\n";

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
                        const spread_t *spread)
{
    html_cell(buf, label,
              spread->count == 0
                  ? "\342\200\223"
                  : apr_pstrcat(p, duration(p, spread->p50), " / ",
                                duration(p, spread->p99), " / ",
                                duration(p, spread->max), NULL));
}

static void html_busy(cp_buffer_t *buf, const report_t *report,
                      const pool_line_t *line)
{
    uint64_t busy = line->number[POOL_BUSY];
    uint64_t limit = (uint64_t)line->max
                     * (uint64_t)(report->children ? report->children : 1);

    putf(buf,
         "<td data-label=\"Busy\"><span>%" APR_UINT64_T_FMT
         " of %" APR_UINT64_T_FMT "<meter max=\"%" APR_UINT64_T_FMT
         "\" value=\"%" APR_UINT64_T_FMT "\"></meter></span></td>",
         busy, limit, limit, busy);
}

static const char *kind_and_server(const report_t *report,
                                   const pool_line_t *line)
{
    return line->server
               ? apr_pstrcat(report->p, line->kind, " on ", line->server, NULL)
               : line->kind;
}

static void html_pools(cp_buffer_t *buf, const report_t *report)
{
    static const char *const columns[] = {"Pool",
                                          "State",
                                          "Busy",
                                          "Idle",
                                          "Waiting",
                                          "Acquired",
                                          "Fallbacks",
                                          "Timed out",
                                          "Rejected",
                                          "Wait p50 / p99 / max",
                                          "Held p50 / p99 / max",
                                          NULL};

    html_begin_table(buf, "Pools", columns);
    for (int i = 0; i < report->pools->nelts; i++) {
        const pool_line_t *line = &APR_ARRAY_IDX(report->pools, i, pool_line_t);

        html_name(buf, report->p, line->name, kind_and_server(report, line));
        putf(buf, "<td data-label=\"State\"><span class=\"%s\">%s</span></td>",
             line->state, line->state);
        html_busy(buf, report, line);
        html_number(buf, "Idle", line->number[POOL_IDLE]);
        html_number(buf, "Waiting", line->number[POOL_WAITING]);
        html_number(buf, "Acquired", line->number[POOL_ACQUIRED]);
        html_number(buf, "Fallbacks", line->number[POOL_FALLBACKS]);
        html_number(buf, "Timed out", line->number[POOL_TIMEOUTS]);
        html_number(buf, "Rejected", line->number[POOL_REJECTED]);
        html_spread(buf, report->p, "Wait p50 / p99 / max", &line->acquire);
        html_spread(buf, report->p, "Held p50 / p99 / max", &line->hold);
        put(buf, "</tr>\n");
    }
    html_end_table(buf);
}

/* "12: idle 9, lifetime 3" */
static const char *closed_text(apr_pool_t *p, const uint64_t *closed)
{
    const char *reasons = "";
    uint64_t total = 0;

    for (int i = 0; i < CP_CLOSE_REASONS; i++) {
        total += closed[i];
        if (closed[i] > 0) {
            reasons = apr_psprintf(
                p, "%s%s%s %" APR_UINT64_T_FMT, reasons, *reasons ? ", " : "",
                cp_close_reason_name((cp_close_reason_t)i), closed[i]);
        }
    }
    return apr_psprintf(p,
                        "<span>%" APR_UINT64_T_FMT "<small>%s</small></span>",
                        total, reasons);
}

static void html_connections(cp_buffer_t *buf, const report_t *report)
{
    static const char *const columns[] = {
        "Pool",   "Open",     "Created",         "Closed",    "Failed to open",
        "Memory", "Released", "Leaks suspected", "Abandoned", NULL};

    html_begin_table(buf, "Connections", columns);
    for (int i = 0; i < report->pools->nelts; i++) {
        const pool_line_t *line = &APR_ARRAY_IDX(report->pools, i, pool_line_t);

        html_name(buf, report->p, line->name, line->server);
        html_number(buf, "Open", line->number[POOL_OPEN]);
        html_number(buf, "Created", line->number[POOL_CREATED]);
        html_cell(buf, "Closed", closed_text(report->p, line->closed));
        html_number(buf, "Failed to open", line->number[POOL_CREATE_FAILURES]);
        html_cell(buf, "Memory", bytes(report->p, line->number[POOL_MEMORY]));
        html_number(buf, "Released", line->number[POOL_RELEASED]);
        html_number(buf, "Leaks suspected", line->number[POOL_LEAKS]);
        html_number(buf, "Abandoned", line->number[POOL_ABANDONED]);
        put(buf, "</tr>\n");
    }
    html_end_table(buf);
}

static void html_queries(cp_buffer_t *buf, const report_t *report)
{
    static const char *const columns[] = {
        "Query", "Runs", "Errors", "Rows", "Time p50 / p99 / max", NULL};

    html_begin_table(buf, "Queries", columns);
    for (int i = 0; i < report->queries->nelts; i++) {
        const query_line_t *line = &APR_ARRAY_IDX(report->queries, i,
                                                  query_line_t);

        html_name(buf, report->p, line->name, line->server);
        html_number(buf, "Runs", line->count);
        html_number(buf, "Errors", line->errors);
        html_number(buf, "Rows", line->rows);
        html_spread(buf, report->p, "Time p50 / p99 / max", &line->us);
        put(buf, "</tr>\n");
    }
    html_end_table(buf);
}

static void html_upstreams(cp_buffer_t *buf, const report_t *report)
{
    static const char *const columns[] = {"Upstream", "Fetches",
                                          "Errors",   "Reused",
                                          "Retries",  "Time p50 / p99 / max",
                                          NULL};

    html_begin_table(buf, "Upstreams", columns);
    for (int i = 0; i < report->upstreams->nelts; i++) {
        const upstream_line_t *line = &APR_ARRAY_IDX(report->upstreams, i,
                                                     upstream_line_t);

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

static void html_loop(cp_buffer_t *buf, const report_t *report)
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

static void html_head(cp_buffer_t *buf, const report_t *report, int refresh)
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
    html_feature(buf, "event loop", loop_is_on());
    put(buf, "</ul>\n");
}

static void write_html(cp_buffer_t *buf, const report_t *report, int refresh)
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

/* --- who may see it ---------------------------------------------------------
 *
 * mod_authz_core keeps to itself whether a Require applied, and grants what
 * nobody restricted. So the module listens to Require: httpd hands a directive
 * to every module that knows its name, also inside <RequireAny> and the like.
 *
 * Not every Require speaks about the report. The usual "Require all granted"
 * of the document root says that its files are public, and the report's URL
 * lies there only because it must lie somewhere. It counts when it stands in a
 * <Location> (any that covers the URL, also "/"), which is about URLs, or in
 * the very section that sets the handler. One in a .htaccess file, or for
 * methods other than GET alone, does not count. */

static int names_report(apr_pool_t *p, const ap_directive_t *directive)
{
    const char *args = directive->args;

    return ap_cstr_casecmp(directive->directive, "SetHandler") == 0
           && strncmp(ap_getword_conf(p, &args), "connpool-", 9) == 0;
}

static int is_about_report(apr_pool_t *p, const ap_directive_t *require)
{
    for (const ap_directive_t *in = require->parent; in; in = in->parent) {
        if (ap_cstr_casecmpn(in->directive, "<Location", 9) == 0) {
            return 1;
        }
        for (const ap_directive_t *d = in->first_child; d; d = d->next) {
            if (names_report(p, d)) {
                return 1;
            }
        }
    }
    return 0;
}

const char *connpool_status_require(cmd_parms *cmd, void *dirv,
                                    const char *args)
{
    connpool_dir_t *dir = dirv;

    /* Nobody may believe in a Require that nobody enforces. */
    if (!ap_find_linked_module("mod_authz_core.c")) {
        return "Require needs mod_authz_core, which is not loaded";
    }
    if ((cmd->limited & (AP_METHOD_BIT << M_GET)) != 0
        && is_about_report(cmd->temp_pool, cmd->directive)) {
        dir->has_require = 1;
    }
    return NULL;
}

/* As "Require local" sees it: loopback, or both ends have one address. */
static int is_local(const request_rec *r)
{
    apr_sockaddr_t *client = r->useragent_addr;
    const struct sockaddr *address = (const struct sockaddr *)&client->sa;

    return cp_address_scope(address) == CP_ADDRESS_LOOPBACK
           || apr_sockaddr_equal(r->connection->local_addr, client);
}

int connpool_status_access(request_rec *r)
{
    return connpool_dir(r)->has_require || is_local(r) ? OK : HTTP_FORBIDDEN;
}

/* --- the handler ------------------------------------------------------------
 */

static int send_report(request_rec *r, const char *content_type,
                       cp_buffer_t *buf)
{
    ap_set_content_type(r, content_type);
    ap_set_content_length(r, (apr_off_t)buf->size);
    apr_table_setn(r->headers_out, "X-Content-Type-Options", "nosniff");
    apr_table_setn(r->headers_out, "Referrer-Policy", "no-referrer");
    apr_table_setn(r->headers_out, "Content-Security-Policy",
                   "default-src 'none'; style-src 'self'; base-uri 'none'; "
                   "form-action 'none'; frame-ancestors 'none'");
    if (!r->header_only) {
        ap_rwrite(buf->data, (int)buf->size, r);
    }
    cp_buffer_free(buf);
    return OK;
}

static int send_style_sheet(request_rec *r)
{
    cp_buffer_t buf = {0};

    put(&buf, style_sheet);
    apr_table_setn(r->headers_out, "Cache-Control", "private, max-age=300");
    return send_report(r, "text/css; charset=utf-8", &buf);
}

/* Without ?format= a program that asks for JSON, and not for a page, gets it.
 */
static const char *wanted_format(request_rec *r, const apr_table_t *args)
{
    const char *format = apr_table_get(args, "format");
    const char *accept = apr_table_get(r->headers_in, "Accept");

    if (format) {
        return format;
    }
    apr_table_mergen(r->headers_out, "Vary", "Accept");
    return accept && ap_strcasestr(accept, "application/json")
                   && !ap_strcasestr(accept, "text/html")
               ? "json"
               : "html";
}

/* Seconds, 0 for never, -1 for a value that is none. */
static int wanted_refresh(const apr_table_t *args)
{
    const char *text = apr_table_get(args, "refresh");
    char *end;
    apr_int64_t seconds;

    if (!text) {
        return 0;
    }
    seconds = apr_strtoi64(text, &end, 10);
    return apr_isdigit(*text) && *end == '\0' && seconds >= 1 && seconds <= 3600
               ? (int)seconds
               : -1;
}

static int answer(request_rec *r, const apr_table_t *args)
{
    const char *asset = apr_table_get(args, "asset");
    const char *format;
    int refresh = wanted_refresh(args);
    cp_buffer_t buf = {0};

    if (asset) {
        return strcmp(asset, "style.css") == 0
                   ? send_style_sheet(r)
                   : connpool_problem(r, HTTP_NOT_FOUND, "no such asset", NULL);
    }
    if (refresh < 0) {
        return connpool_problem(r, HTTP_BAD_REQUEST,
                                "refresh is a number of seconds, 1 to 3600",
                                NULL);
    }
    format = wanted_format(r, args);
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    if (strcmp(format, "json") == 0) {
        write_json(&buf, gather(r));
        return send_report(r, "application/json", &buf);
    }
    if (strcmp(format, "html") == 0) {
        write_html(&buf, gather(r), refresh);
        return send_report(r, "text/html; charset=utf-8", &buf);
    }
    return connpool_problem(r, HTTP_BAD_REQUEST, "format is html or json",
                            NULL);
}

int connpool_status_handler(request_rec *r)
{
    apr_table_t *args;
    int rv;

    if (!r->handler || strcmp(r->handler, "connpool-status") != 0) {
        return DECLINED;
    }
    r->allowed |= AP_METHOD_BIT << M_GET;
    if (r->method_number == M_OPTIONS) {
        return DECLINED; /* the server's own answer, from r->allowed */
    }
    rv = ap_discard_request_body(r);
    if (rv != OK) {
        return rv;
    }
    if (connpool_status_access(r) != OK) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                      "connpool-status: refused to a client that is not local; "
                      "a Require in its <Location> would decide instead");
        return connpool_problem(r, HTTP_FORBIDDEN,
                                "only local clients may see this", NULL);
    }
    if (r->method_number != M_GET) {
        apr_table_setn(r->headers_out, "Allow", "GET, HEAD, OPTIONS");
        return connpool_problem(r, HTTP_METHOD_NOT_ALLOWED, NULL, NULL);
    }
    ap_args_to_table(r, &args);
    return answer(r, args);
}

/* --- server-status ----------------------------------------------------------
 *
 * A guest in somebody else's page: HTML 4.01 in ISO-8859-1, so ASCII only, and
 * never an error. With ?auto one "Key: value" a line. */

static const char *guest_text(request_rec *r, const char *text)
{
    return ap_escape_html2(r->pool, text, 1);
}

/* What server-status shows of a pool, in this order, in both forms. */
static const struct {
    const char *label;
    pool_number_t number;
} guest_columns[] = {
    {"Open", POOL_OPEN},         {"Busy", POOL_BUSY},
    {"Idle", POOL_IDLE},         {"Waiting", POOL_WAITING},
    {"Acquired", POOL_ACQUIRED}, {"Released", POOL_RELEASED},
    {"Timeouts", POOL_TIMEOUTS}, {"Fallbacks", POOL_FALLBACKS},
};

#define GUEST_COLUMNS ((int)(sizeof(guest_columns) / sizeof(guest_columns[0])))

static void auto_pools(request_rec *r, const report_t *report)
{
    for (int i = 0; i < report->pools->nelts; i++) {
        const pool_line_t *line = &APR_ARRAY_IDX(report->pools, i, pool_line_t);

        ap_rprintf(r, "ConnPool[%d]Name: %s\n", i, line->name);
        ap_rprintf(r, "ConnPool[%d]Kind: %s\n", i, line->kind);
        ap_rprintf(r, "ConnPool[%d]Max: %d\n", i, line->max);
        for (int c = 0; c < GUEST_COLUMNS; c++) {
            ap_rprintf(r, "ConnPool[%d]%s: %" APR_UINT64_T_FMT "\n", i,
                       guest_columns[c].label,
                       line->number[guest_columns[c].number]);
        }
    }
}

static void auto_details(request_rec *r, const report_t *report)
{
    for (int i = 0; i < report->queries->nelts; i++) {
        const query_line_t *line = &APR_ARRAY_IDX(report->queries, i,
                                                  query_line_t);

        ap_rprintf(r,
                   "ConnPoolQuery[%d]Name: %s\n"
                   "ConnPoolQuery[%d]Count: %" APR_UINT64_T_FMT "\n"
                   "ConnPoolQuery[%d]Errors: %" APR_UINT64_T_FMT "\n"
                   "ConnPoolQuery[%d]Rows: %" APR_UINT64_T_FMT "\n",
                   i, line->name, i, line->count, i, line->errors, i,
                   line->rows);
    }
    for (int i = 0; i < report->upstreams->nelts; i++) {
        const upstream_line_t *line = &APR_ARRAY_IDX(report->upstreams, i,
                                                     upstream_line_t);

        ap_rprintf(r,
                   "ConnPoolUpstream[%d]Name: %s\n"
                   "ConnPoolUpstream[%d]Count: %" APR_UINT64_T_FMT "\n"
                   "ConnPoolUpstream[%d]Errors: %" APR_UINT64_T_FMT "\n"
                   "ConnPoolUpstream[%d]Reused: %" APR_UINT64_T_FMT "\n",
                   i, line->name, i, line->count, i, line->errors, i,
                   line->reused);
    }
}

/* One line of a table, or of plain paragraphs for ?notable. cells are texts,
 * NULL at the end; in the paragraphs the labels stand with them. */
static void guest_row(request_rec *r, int has_tables, const char *const *labels,
                      const char *const *cells)
{
    ap_rputs(has_tables ? "<tr>" : "<p>", r);
    for (int i = 0; cells[i]; i++) {
        if (has_tables) {
            ap_rvputs(r, "<td>", guest_text(r, cells[i]), "</td>", NULL);
        }
        else {
            ap_rvputs(r, i > 0 ? ", " : "", labels[i], " ",
                      guest_text(r, cells[i]), NULL);
        }
    }
    ap_rputs(has_tables ? "</tr>\n" : "</p>\n", r);
}

static void guest_begin(request_rec *r, int has_tables, const char *title,
                        const char *const *labels)
{
    ap_rvputs(r, "<h2>", title, "</h2>\n", NULL);
    if (has_tables) {
        ap_rputs("<table border=\"0\"><tr>", r);
        for (; *labels; labels++) {
            ap_rvputs(r, "<th>", *labels, "</th>", NULL);
        }
        ap_rputs("</tr>\n", r);
    }
}

static void guest_end(request_rec *r, int has_tables)
{
    ap_rputs(has_tables ? "</table>\n" : "", r);
}

static const char *number_text(request_rec *r, uint64_t value)
{
    return apr_psprintf(r->pool, "%" APR_UINT64_T_FMT, value);
}

static const char *name_text(request_rec *r, const char *name,
                             const char *server)
{
    return server ? apr_pstrcat(r->pool, name, " on ", server, NULL) : name;
}

static void guest_pools(request_rec *r, const report_t *report, int has_tables)
{
    const char *labels[GUEST_COLUMNS + 5] = {"Name", "Kind", "State", "Max"};
    const char *cells[GUEST_COLUMNS + 5] = {NULL};

    for (int c = 0; c < GUEST_COLUMNS; c++) {
        labels[4 + c] = guest_columns[c].label;
    }
    guest_begin(r, has_tables, "Connection pools", labels);
    for (int i = 0; i < report->pools->nelts; i++) {
        const pool_line_t *line = &APR_ARRAY_IDX(report->pools, i, pool_line_t);

        cells[0] = name_text(r, line->name, line->server);
        cells[1] = line->kind;
        cells[2] = line->state;
        cells[3] = apr_itoa(r->pool, line->max);
        for (int c = 0; c < GUEST_COLUMNS; c++) {
            cells[4 + c] = number_text(r,
                                       line->number[guest_columns[c].number]);
        }
        guest_row(r, has_tables, labels, cells);
    }
    guest_end(r, has_tables);
}

static void guest_queries(request_rec *r, const report_t *report,
                          int has_tables)
{
    static const char *const labels[] = {"Query", "Count", "Errors", "Rows",
                                         NULL};

    guest_begin(r, has_tables, "Queries", labels);
    for (int i = 0; i < report->queries->nelts; i++) {
        const query_line_t *line = &APR_ARRAY_IDX(report->queries, i,
                                                  query_line_t);
        const char *cells[] = {
            name_text(r, line->name, line->server),
            number_text(r, line->count),
            number_text(r, line->errors),
            number_text(r, line->rows),
            NULL,
        };

        guest_row(r, has_tables, labels, cells);
    }
    guest_end(r, has_tables);
}

static void guest_upstreams(request_rec *r, const report_t *report,
                            int has_tables)
{
    static const char *const labels[] = {"Upstream", "Count", "Errors",
                                         "Reused", NULL};

    guest_begin(r, has_tables, "Upstreams", labels);
    for (int i = 0; i < report->upstreams->nelts; i++) {
        const upstream_line_t *line = &APR_ARRAY_IDX(report->upstreams, i,
                                                     upstream_line_t);
        const char *cells[] = {
            name_text(r, line->name, line->server),
            number_text(r, line->count),
            number_text(r, line->errors),
            number_text(r, line->reused),
            NULL,
        };

        guest_row(r, has_tables, labels, cells);
    }
    guest_end(r, has_tables);
}

static int server_status(request_rec *r, int flags)
{
    int wanted = connpool_server(r->server)->server_status;
    int has_tables = !(flags & AP_STATUS_NOTABLE);
    const report_t *report;

    if (wanted == CONNPOOL_REPORT_OFF) {
        return OK;
    }
    report = gather(r);
    if (flags & AP_STATUS_SHORT) {
        auto_pools(r, report);
        if (wanted == CONNPOOL_REPORT_FULL) {
            auto_details(r, report);
        }
        return OK;
    }
    if (report->pools->nelts > 0) {
        ap_rputs("<hr>\n", r);
        guest_pools(r, report, has_tables);
    }
    if (wanted == CONNPOOL_REPORT_FULL && report->queries->nelts > 0) {
        guest_queries(r, report, has_tables);
    }
    if (wanted == CONNPOOL_REPORT_FULL && report->upstreams->nelts > 0) {
        guest_upstreams(r, report, has_tables);
    }
    return OK;
}

/* mod_status need not be loaded: then nobody calls. */
void connpool_status_register(apr_pool_t *p)
{
    APR_OPTIONAL_HOOK(ap, status_hook, server_status, NULL, NULL,
                      APR_HOOK_MIDDLE);
}
