/* SPDX-License-Identifier: Apache-2.0 */
#include "report/page/html.h"

#include "glue.h"
#include "base/bytes/buffer.h"
#include "stats/histogram.h"

#include <apr_lib.h>
#include <apr_strings.h>

void connpool_html_put(cp_buffer_t *buf, const char *html)
{
    cp_buffer_append(buf, html, strlen(html));
}

void connpool_html_putf(cp_buffer_t *buf, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    apr_vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    connpool_html_put(buf, text);
}

const char *connpool_html_escape(apr_pool_t *p, const char *text)
{
    char *shown = apr_palloc(p, 3 * strlen(text) + 1);
    char *end = shown;

    for (; *text; text++) {
        if (apr_iscntrl(*text)) {
            end += apr_snprintf(end, 4, "%%%02X", (unsigned char)*text);
        }
        else {
            *end++ = *text;
        }
    }
    *end = '\0';
    return ap_escape_html(p, shown);
}

const char *connpool_duration_text(apr_pool_t *p, uint64_t us)
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

/* Digits in threes, from the right; 2^64 has 26 of them and commas. */
static const char *grouped(char *end, uint64_t value)
{
    int digits = 0;

    *--end = '\0';
    do {
        if (digits > 0 && digits % 3 == 0) {
            *--end = ',';
        }
        *--end = (char)('0' + value % 10);
        value /= 10;
        digits++;
    } while (value > 0);
    return end;
}

const char *connpool_number_text(apr_pool_t *p, uint64_t value)
{
    char text[32];

    return apr_pstrdup(p, grouped(text + sizeof(text), value));
}

const char *connpool_bytes_text(apr_pool_t *p, uint64_t size)
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

void connpool_html_begin_table(cp_buffer_t *buf, const char *title,
                               const char *const *columns)
{
    connpool_html_put(buf, "<h2>");
    connpool_html_put(buf, title);
    connpool_html_put(buf, "</h2>\n<div class=\"card\"><table>\n<thead><tr>");
    for (; *columns; columns++) {
        connpool_html_put(buf, "<th scope=\"col\">");
        connpool_html_put(buf, *columns);
        connpool_html_put(buf, "</th>");
    }
    connpool_html_put(buf, "</tr></thead>\n<tbody>\n");
}

void connpool_html_end_table(cp_buffer_t *buf)
{
    connpool_html_put(buf, "</tbody></table></div>\n");
}

void connpool_html_begin_row(cp_buffer_t *buf, apr_pool_t *p, const char *name,
                             const char *note)
{
    connpool_html_put(buf, "<tr><th scope=\"row\"><bdi>");
    connpool_html_put(buf, connpool_html_escape(p, name));
    connpool_html_put(buf, "</bdi>");
    if (note) {
        connpool_html_put(buf, "<small>");
        connpool_html_put(buf, connpool_html_escape(p, note));
        connpool_html_put(buf, "</small>");
    }
    connpool_html_put(buf, "</th>");
}

void connpool_html_end_row(cp_buffer_t *buf)
{
    connpool_html_put(buf, "</tr>\n");
}

void connpool_html_cell(cp_buffer_t *buf, const char *label, const char *html)
{
    connpool_html_put(buf, "<td data-label=\"");
    connpool_html_put(buf, label);
    connpool_html_put(buf, "\">");
    connpool_html_put(buf, html);
    connpool_html_put(buf, "</td>");
}

void connpool_html_number(cp_buffer_t *buf, const char *label, uint64_t value)
{
    char text[32];

    connpool_html_cell(buf, label, grouped(text + sizeof(text), value));
}

void connpool_html_duration(cp_buffer_t *buf, apr_pool_t *p, const char *label,
                            uint64_t us)
{
    connpool_html_cell(buf, label, connpool_duration_text(p, us));
}

void connpool_html_bytes(cp_buffer_t *buf, apr_pool_t *p, const char *label,
                         uint64_t size)
{
    connpool_html_cell(buf, label, connpool_bytes_text(p, size));
}

void connpool_html_spread(cp_buffer_t *buf, apr_pool_t *p, const char *label,
                          const cp_histogram_t *h)
{
    cp_spread_t spread;

    cp_histogram_spread(h, &spread);
    connpool_html_cell(
        buf, label,
        spread.count == 0
            ? "\342\200\223"
            : apr_pstrcat(p, connpool_duration_text(p, spread.p50), " / ",
                          connpool_duration_text(p, spread.p99), " / ",
                          connpool_duration_text(p, spread.max), NULL));
}

void connpool_html_detailed(cp_buffer_t *buf, apr_pool_t *p, const char *label,
                            const char *value, const char *details)
{
    connpool_html_cell(buf, label,
                       details ? apr_pstrcat(p, "<span>", value, "<small>",
                                             details, "</small></span>", NULL)
                               : value);
}
