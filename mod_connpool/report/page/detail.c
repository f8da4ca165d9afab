/* SPDX-License-Identifier: Apache-2.0
 * What is a click away: who holds, who waits, which settings are in effect. */
#include "report/page/detail.h"

#include "base/bytes/buffer.h"
#include "base/clock.h"
#include "pool/wait/permits.h"
#include "report/lines/backends.h"
#include "report/lines/gather.h"
#include "report/lines/settings.h"
#include "report/page/html.h"
#include "stats/stats.h"

#include <apr_strings.h>

static const char *name_at(apr_pool_t *p, const char *name, const char *server)
{
    return connpool_html_escape(
        p, server ? apr_pstrcat(p, name, " on ", server, NULL) : name);
}

/* --- who holds --- */

/* A query is named beside the request that runs it. */
static void write_holder(cp_buffer_t *buf, apr_pool_t *p,
                         const connpool_holder_line_t *line)
{
    const char *request = connpool_html_escape(p, line->request);
    const char *holder = connpool_html_escape(p, line->holder);
    const char *path = strchr(line->request, ' ');
    int is_same = path && strcmp(path + 1, line->holder) == 0;

    connpool_html_put(buf, "<li><code>");
    connpool_html_put(buf, *request ? request : holder);
    connpool_html_put(buf, "</code>");
    if (*request && !is_same) {
        connpool_html_put(buf, " for ");
        connpool_html_put(buf, holder);
    }
    connpool_html_put(buf,
                      apr_psprintf(p, ", held for %s in child %d",
                                   connpool_duration_text(p, line->held_us),
                                   (int)line->child));
    if (line->is_leak) {
        connpool_html_put(buf, " <b class=\"down\">suspected leak</b>");
    }
    connpool_html_put(buf, "</li>\n");
}

static void write_holders(cp_buffer_t *buf, apr_pool_t *p,
                          const connpool_pool_line_t *line)
{
    uint64_t listed = (uint64_t)line->holders->nelts;

    connpool_html_put(buf, "<h3>Who holds a connection</h3>\n");
    if (listed > 0) {
        connpool_html_put(buf, "<ol class=\"holders\">\n");
        EACH_LINE(line->holders, connpool_holder_line_t, holder)
        {
            write_holder(buf, p, holder);
        }
        connpool_html_put(buf, "</ol>\n");
    }
    if (line->sum->busy > listed) {
        connpool_html_put(
            buf, apr_pstrcat(p, "<p>",
                             connpool_number_text(p, line->sum->busy - listed),
                             listed ? " more" : "",
                             ", for less than a second or less than these.</p>"
                             "\n",
                             NULL));
    }
    else if (listed == 0) {
        connpool_html_put(buf, "<p>Nobody.</p>\n");
    }
}

/* --- who waits --- */

static void write_waiters(cp_buffer_t *buf, apr_pool_t *p,
                          const connpool_pool_line_t *line)
{
    uint64_t waiting = line->sum->waiting;
    uint64_t most = line->sum->waiting_max;
    const char *text = "Nobody";

    if (waiting > 0) {
        text = apr_pstrcat(p, connpool_number_text(p, waiting),
                           waiting == 1 ? " request" : " requests",
                           line->oldest_wait_us ? ", the oldest for " : "",
                           line->oldest_wait_us
                               ? connpool_duration_text(p, line->oldest_wait_us)
                               : "",
                           NULL);
    }
    if (most > 0) {
        text = apr_pstrcat(p, text, "; at most ", connpool_number_text(p, most),
                           " at once in one child so far", NULL);
    }
    connpool_html_put(buf, apr_pstrcat(p, "<h3>Who waits for one</h3>\n<p>",
                                       text, ".</p>\n", NULL));
}

/* --- the server's side --- */

static void write_backends(cp_buffer_t *buf, apr_pool_t *p,
                           const connpool_pool_line_t *line)
{
    const char *text = "", *lost = "";

    if (!connpool_has_backends(line)) {
        return;
    }
    for (connpool_backend_state_t i = 0; i < CONNPOOL_BACKEND_STATES; i++) {
        text = apr_pstrcat(
            p, text, *text ? ", " : "",
            connpool_number_text(p, connpool_backends_in(line, i)),
            i == CONNPOOL_BACKEND_IN_TRANSACTION
                ? " in a transaction"
                : apr_pstrcat(p, " ", connpool_backend_state_name(i), NULL),
            NULL);
    }
    for (int i = 0; i < CP_SQLSTATES; i++) {
        if (line->sum->reconnects[i] > 0) {
            lost = apr_pstrcat(
                p, lost, *lost ? ", " : "", cp_sqlstate_name(i), " ",
                connpool_number_text(p, line->sum->reconnects[i]), NULL);
        }
    }
    connpool_html_put(buf,
                      apr_pstrcat(p, "<h3>Sessions with the server</h3>\n<p>",
                                  text, ". Lost or refused, by SQLSTATE: ",
                                  *lost ? lost : "none", ".</p>\n", NULL));
}

static const char *permit_text(apr_pool_t *p, const cp_permits_holder_t *it)
{
    const char *wait = it->since ? apr_pstrcat(
                           p, ", waits for ",
                           connpool_duration_text(
                               p, (uint64_t)(cp_clock_now() - it->since)),
                           NULL)
                                 : "";

    return apr_psprintf(p, "<li>child %d holds %d%s</li>\n", (int)it->pid,
                        it->held, wait);
}

static void write_permits(cp_buffer_t *buf, apr_pool_t *p,
                          const connpool_pool_line_t *line)
{
    const apr_array_header_t *holders;
    cp_permits_state_t state;

    if (!connpool_server_permits(line, &state)) {
        return;
    }
    connpool_html_put(
        buf,
        apr_psprintf(p,
                     "<h3>Connections of all children (server-max)</h3>\n"
                     "<p>%d of %d held; %d %s.</p>\n<ul>\n",
                     state.held, state.max, state.waiting,
                     state.waiting == 1 ? "child waits" : "children wait"));
    holders = connpool_permit_holders(p, line);
    EACH_LINE(holders, cp_permits_holder_t, holder)
    {
        connpool_html_put(buf, permit_text(p, holder));
    }
    connpool_html_put(buf, "</ul>\n");
}

/* --- settings --- */

static void write_settings(cp_buffer_t *buf, apr_pool_t *p,
                           const apr_array_header_t *settings)
{
    connpool_html_put(buf, "<h3>Settings in effect, per child</h3>\n"
                           "<dl class=\"settings\">\n");
    EACH_LINE(settings, connpool_setting_line_t, line)
    {
        connpool_html_put(
            buf, apr_pstrcat(p, "<div><dt>", connpool_html_escape(p, line->key),
                             "</dt><dd>", connpool_html_escape(p, line->value),
                             "</dd></div>\n", NULL));
    }
    connpool_html_put(buf, "</dl>\n");
}

void connpool_status_write_pool_details(cp_buffer_t *buf,
                                        const connpool_status_t *report,
                                        const connpool_pool_line_t *line,
                                        int columns)
{
    apr_pool_t *p = report->p;

    connpool_html_begin_details(
        buf, columns, name_at(p, line->name, line->server),
        apr_pstrcat(p, "Who holds (", connpool_number_text(p, line->sum->busy),
                    "), who waits (",
                    connpool_number_text(p, line->sum->waiting), "), settings",
                    NULL));
    write_holders(buf, p, line);
    write_waiters(buf, p, line);
    write_backends(buf, p, line);
    write_permits(buf, p, line);
    write_settings(buf, p, connpool_status_pool_settings(p, line));
    connpool_html_end_details(buf);
}

/* What has no column of its own, for it should not be. */
static const char *oddities(apr_pool_t *p, const cp_query_stats_t *sum)
{
    const struct {
        uint64_t count;
        const char *what;
    } all[] = {
        {sum->misfits, "values that are not what json= or types= says"},
        {sum->forbidden, "requests without a fact that is required"},
        {sum->retries, "begun anew"},
    };
    const char *text = "";

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (all[i].count > 0) {
            text = apr_pstrcat(p, text, "; ",
                               connpool_number_text(p, all[i].count), " ",
                               all[i].what, NULL);
        }
    }
    return text;
}

void connpool_status_write_query_details(cp_buffer_t *buf,
                                         const connpool_status_t *report,
                                         const connpool_query_line_t *line,
                                         int columns)
{
    apr_pool_t *p = report->p;

    connpool_html_begin_details(buf, columns,
                                name_at(p, line->name, line->server),
                                apr_pstrcat(p, "Settings and parameters",
                                            oddities(p, line->sum), NULL));
    write_settings(buf, p, connpool_status_query_settings(p, line));
    connpool_html_end_details(buf);
}
