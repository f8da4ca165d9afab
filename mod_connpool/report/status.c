/* SPDX-License-Identifier: Apache-2.0
 * The handler connpool-status: which format a client gets. */
#include "glue.h"
#include "base/bytes/buffer.h"
#include "report/access.h"
#include "report/json.h"
#include "report/lines/gather.h"
#include "report/lines/judge.h"
#include "report/metrics.h"
#include "report/page/asset/asset.h"
#include "report/page/page.h"
#include "report/report.h"
#include "request/input.h"
#include "request/output.h"

#include <stdlib.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_protocol.h>
#include <util_script.h>

static int send_asset(request_rec *r, const char *name)
{
    static const struct {
        const char *name;
        const char *type;
        const char *content;
    } assets[] = {
        {"style.css", "text/css; charset=utf-8", connpool_status_style},
        {"page.js", "text/javascript; charset=utf-8", connpool_status_script},
    };
    cp_buffer_t buf = {0};

    for (size_t i = 0; i < sizeof(assets) / sizeof(assets[0]); i++) {
        if (strcmp(assets[i].name, name) == 0) {
            cp_buffer_append(&buf, assets[i].content,
                             strlen(assets[i].content));
            apr_table_setn(r->headers_out, "Cache-Control",
                           "private, max-age=300");
            return connpool_send_report(r, assets[i].type, &buf);
        }
    }
    return connpool_problem(r, HTTP_NOT_FOUND, "no such asset", NULL);
}

/* What a range of Accept is worth, 0 to 1; 1 when it does not say. */
static double quality(const char *range)
{
    const char *param = strchr(range, ';');

    while (param) {
        param++;
        param += strspn(param, " \t");
        if (strncasecmp(param, "q=", 2) == 0) {
            double q = atof(param + 2);

            return q > 1 ? 1 : q > 0 ? q : 0;
        }
        param = strchr(param, ';');
    }
    return 1;
}

/* The best of all ranges that name the type. */
static double acceptance(apr_pool_t *p, const char *accept, const char *type)
{
    double best = 0;

    while (*accept) {
        const char *range = ap_getword(p, &accept, ',');

        range += strspn(range, " \t");
        if (connpool_is_media_type(range, type) && quality(range) > best) {
            best = quality(range);
        }
    }
    return best;
}

/* The format that Accept names and likes best, the first of equals. Wildcards
 * name none. */
static const char *accepted_format(apr_pool_t *p, const char *accept)
{
    static const struct {
        const char *type;
        const char *format;
    } offers[] = {
        {"text/html", "html"},
        {"application/openmetrics-text", "openmetrics"},
        {"application/json", "json"},
        {"text/plain", "text"},
    };
    const char *format = "html";
    double best = 0;

    for (size_t i = 0; i < sizeof(offers) / sizeof(offers[0]); i++) {
        double q = acceptance(p, accept, offers[i].type);

        if (q > best) {
            best = q;
            format = offers[i].format;
        }
    }
    return format;
}

/* Without ?format= a program that asks for its own format, and not for a page,
 * gets it. */
static const char *wanted_format(request_rec *r, const apr_table_t *args)
{
    const char *format = apr_table_get(args, "format");
    const char *accept = apr_table_get(r->headers_in, "Accept");

    if (format) {
        return format;
    }
    apr_table_mergen(r->headers_out, "Vary", "Accept");
    return accept ? accepted_format(r->pool, accept) : "html";
}

/* Seconds, 0 for never, -1 for a value that is none. */
static int wanted_refresh(const apr_table_t *args)
{
    const char *text = apr_table_get(args, "refresh");
    char *end;
    apr_int64_t seconds;

    if (!text) {
        return CONNPOOL_STATUS_REFRESH;
    }
    seconds = apr_strtoi64(text, &end, 10);
    return apr_isdigit(*text) && *end == '\0' && seconds >= 0 && seconds <= 3600
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
        return send_asset(r, asset);
    }
    if (refresh < 0) {
        return connpool_problem(
            r, HTTP_BAD_REQUEST,
            "refresh is a number of seconds, 0 (off) to 3600", NULL);
    }
    format = wanted_format(r, args);
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    if (strcmp(format, "json") == 0) {
        connpool_status_write_json(&buf, connpool_status_gather(r));
        return connpool_send_report(r, "application/json", &buf);
    }
    if (strcmp(format, "html") == 0) {
        connpool_status_write_page(&buf, connpool_status_gather(r), refresh);
        return connpool_send_report(r, "text/html; charset=utf-8", &buf);
    }
    if (strcmp(format, "openmetrics") == 0) {
        connpool_status_write_metrics(&buf, connpool_status_gather(r), 1);
        return connpool_send_report(
            r,
            "application/openmetrics-text; version=1.0.0; "
            "charset=utf-8",
            &buf);
    }
    if (strcmp(format, "text") == 0) {
        connpool_status_write_metrics(&buf, connpool_status_gather(r), 0);
        return connpool_send_report(
            r, "text/plain; version=0.0.4; charset=utf-8", &buf);
    }
    return connpool_problem(r, HTTP_BAD_REQUEST,
                            "format is html, json, openmetrics or text", NULL);
}

int connpool_status_handler(request_rec *r)
{
    apr_table_t *args = NULL;
    int rv = connpool_report_guard(r, &args);

    return args ? answer(r, args) : rv;
}
