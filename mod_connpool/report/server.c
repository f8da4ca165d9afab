/* SPDX-License-Identifier: Apache-2.0
 *
 * The section of server-status.
 *
 * A guest in somebody else's page: HTML 4.01 in ISO-8859-1, so ASCII only, and
 * never an error. With ?auto one "Key: value" a line. */
#include "glue.h"
#include "config/setting.h"
#include "report/lines/gather.h"
#include "report/lines/judge.h"
#include "report/report.h"
#include "stats/state/state.h"
#include "stats/stats.h"

#include <stddef.h>

#include <apr_optional_hooks.h>
#include <apr_strings.h>
#include <http_protocol.h>
#include <mod_status.h>

static const char *guest_text(request_rec *r, const char *text)
{
    return ap_escape_html2(r->pool, text, 1);
}

/* What server-status shows of a pool, in this order, in both forms. */
static const struct {
    const char *label;
    size_t offset; /* in cp_pool_stats_t */
} guest_columns[] = {
    {"Open", offsetof(cp_pool_stats_t, open)},
    {"Busy", offsetof(cp_pool_stats_t, busy)},
    {"Idle", offsetof(cp_pool_stats_t, idle)},
    {"Waiting", offsetof(cp_pool_stats_t, waiting)},
    {"Acquired", offsetof(cp_pool_stats_t, acquired)},
    {"Released", offsetof(cp_pool_stats_t, released)},
    {"Timeouts", offsetof(cp_pool_stats_t, timeouts)},
    {"Fallbacks", offsetof(cp_pool_stats_t, fallbacks)},
};

#define GUEST_COLUMNS ((int)(sizeof(guest_columns) / sizeof(guest_columns[0])))

static uint64_t guest_number(const connpool_pool_line_t *line, int column)
{
    const char *sum = (const char *)line->sum;

    return *(const uint64_t *)(const void *)(sum
                                             + guest_columns[column].offset);
}

static void auto_states(request_rec *r, const connpool_status_t *report)
{
    int i = 0;

    ap_rprintf(r, "ConnPoolState: %s\n", cp_level_name(report->level));
    EACH_LINE(report->causes, connpool_state_line_t, line)
    {
        ap_rprintf(r,
                   "ConnPoolCause[%d]Kind: %s\n"
                   "ConnPoolCause[%d]Name: %s\n"
                   "ConnPoolCause[%d]State: %s\n"
                   "ConnPoolCause[%d]Cause: %s\n"
                   "ConnPoolCause[%d]Since: %s\n",
                   i, cp_subject_name(line->subject), i, line->name, i,
                   cp_level_name(line->verdict->state.level), i,
                   line->verdict->state.cause, i,
                   connpool_status_time(r->pool, line->verdict->since));
        i++;
    }
}

static void auto_pools(request_rec *r, const connpool_status_t *report)
{
    for (int i = 0; i < report->pools->nelts; i++) {
        const connpool_pool_line_t *line = &APR_ARRAY_IDX(report->pools, i,
                                                          connpool_pool_line_t);

        ap_rprintf(r, "ConnPool[%d]Name: %s\n", i, line->name);
        ap_rprintf(r, "ConnPool[%d]Kind: %s\n", i, line->kind);
        ap_rprintf(r, "ConnPool[%d]Max: %d\n", i, line->max);
        for (int c = 0; c < GUEST_COLUMNS; c++) {
            ap_rprintf(r, "ConnPool[%d]%s: %" APR_UINT64_T_FMT "\n", i,
                       guest_columns[c].label, guest_number(line, c));
        }
        ap_rprintf(r, "ConnPool[%d]State: %s\n", i, connpool_status_word(line));
    }
}

static void auto_details(request_rec *r, const connpool_status_t *report)
{
    for (int i = 0; i < report->queries->nelts; i++) {
        const connpool_query_line_t *line = &APR_ARRAY_IDX(
            report->queries, i, connpool_query_line_t);

        ap_rprintf(r,
                   "ConnPoolQuery[%d]Name: %s\n"
                   "ConnPoolQuery[%d]State: %s\n"
                   "ConnPoolQuery[%d]Count: %" APR_UINT64_T_FMT "\n"
                   "ConnPoolQuery[%d]Errors: %" APR_UINT64_T_FMT "\n"
                   "ConnPoolQuery[%d]Rows: %" APR_UINT64_T_FMT "\n",
                   i, line->name, i, cp_level_name(line->verdict.state.level),
                   i, line->sum->count, i, line->sum->errors, i,
                   line->sum->rows);
    }
    for (int i = 0; i < report->upstreams->nelts; i++) {
        const connpool_upstream_line_t *line = &APR_ARRAY_IDX(
            report->upstreams, i, connpool_upstream_line_t);

        ap_rprintf(r,
                   "ConnPoolUpstream[%d]Name: %s\n"
                   "ConnPoolUpstream[%d]State: %s\n"
                   "ConnPoolUpstream[%d]Count: %" APR_UINT64_T_FMT "\n"
                   "ConnPoolUpstream[%d]Errors: %" APR_UINT64_T_FMT "\n"
                   "ConnPoolUpstream[%d]Reused: %" APR_UINT64_T_FMT "\n",
                   i, line->name, i, cp_level_name(line->verdict.state.level),
                   i, line->sum->count, i, line->sum->errors, i,
                   line->sum->reused);
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

static void guest_pools(request_rec *r, const connpool_status_t *report,
                        int has_tables)
{
    const char *labels[GUEST_COLUMNS + 5] = {"Name", "Kind", "State", "Max"};
    const char *cells[GUEST_COLUMNS + 5] = {NULL};

    for (int c = 0; c < GUEST_COLUMNS; c++) {
        labels[4 + c] = guest_columns[c].label;
    }
    guest_begin(r, has_tables, "Connection pools", labels);
    for (int i = 0; i < report->pools->nelts; i++) {
        const connpool_pool_line_t *line = &APR_ARRAY_IDX(report->pools, i,
                                                          connpool_pool_line_t);

        cells[0] = name_text(r, line->name, line->server);
        cells[1] = line->kind;
        cells[2] = connpool_status_word(line);
        cells[3] = apr_itoa(r->pool, line->max);
        for (int c = 0; c < GUEST_COLUMNS; c++) {
            cells[4 + c] = number_text(r, guest_number(line, c));
        }
        guest_row(r, has_tables, labels, cells);
    }
    guest_end(r, has_tables);
}

static void guest_queries(request_rec *r, const connpool_status_t *report,
                          int has_tables)
{
    static const char *const labels[] = {"Query",  "State", "Count",
                                         "Errors", "Rows",  NULL};

    guest_begin(r, has_tables, "Queries", labels);
    for (int i = 0; i < report->queries->nelts; i++) {
        const connpool_query_line_t *line = &APR_ARRAY_IDX(
            report->queries, i, connpool_query_line_t);
        const char *cells[] = {
            name_text(r, line->name, line->server),
            cp_level_name(line->verdict.state.level),
            number_text(r, line->sum->count),
            number_text(r, line->sum->errors),
            number_text(r, line->sum->rows),
            NULL,
        };

        guest_row(r, has_tables, labels, cells);
    }
    guest_end(r, has_tables);
}

static void guest_upstreams(request_rec *r, const connpool_status_t *report,
                            int has_tables)
{
    static const char *const labels[] = {"Upstream", "State",  "Count",
                                         "Errors",   "Reused", NULL};

    guest_begin(r, has_tables, "Upstreams", labels);
    for (int i = 0; i < report->upstreams->nelts; i++) {
        const connpool_upstream_line_t *line = &APR_ARRAY_IDX(
            report->upstreams, i, connpool_upstream_line_t);
        const char *cells[] = {
            name_text(r, line->name, line->server),
            cp_level_name(line->verdict.state.level),
            number_text(r, line->sum->count),
            number_text(r, line->sum->errors),
            number_text(r, line->sum->reused),
            NULL,
        };

        guest_row(r, has_tables, labels, cells);
    }
    guest_end(r, has_tables);
}

/* What is wrong, before the numbers. */
static void guest_verdict(request_rec *r, const connpool_status_t *report)
{
    ap_rvputs(r, "<p>mod_connpool: <strong>",
              guest_text(r, connpool_status_verdict(report)), "</strong></p>\n",
              NULL);
    EACH_LINE(report->causes, connpool_state_line_t, line)
    {
        ap_rvputs(r, "<p>", cp_subject_name(line->subject), " ",
                  guest_text(r, name_text(r, line->name, line->server)), ": ",
                  cp_level_name(line->verdict->state.level), ", ",
                  line->verdict->state.cause, ", since ",
                  connpool_status_time(r->pool, line->verdict->since), "</p>\n",
                  NULL);
    }
}

static int server_status(request_rec *r, int flags)
{
    int wanted = connpool_server(r->server)->server_status;
    int has_tables = !(flags & AP_STATUS_NOTABLE);
    const connpool_status_t *report;

    if (wanted == CONNPOOL_REPORT_OFF) {
        return OK;
    }
    report = connpool_status_gather(r);
    if (flags & AP_STATUS_SHORT) {
        auto_states(r, report);
        auto_pools(r, report);
        if (wanted == CONNPOOL_REPORT_FULL) {
            auto_details(r, report);
        }
        return OK;
    }
    if (report->pools->nelts > 0) {
        ap_rputs("<hr>\n", r);
        guest_verdict(r, report);
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
