/* SPDX-License-Identifier: Apache-2.0 */
#include "report/page/html.h"

#include "glue.h"
#include "base/bytes/buffer.h"
#include "base/number.h"
#include "report/lines/lately.h"
#include "stats/histogram.h"
#include "stats/recent/recent.h"

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

/* Nobody needs it finer. */
const char *connpool_age_text(apr_pool_t *p, apr_time_t at)
{
    apr_time_t now = apr_time_now();
    apr_time_t seconds = now > at ? apr_time_sec(now - at) : 0;

    if (seconds < 120) {
        return apr_psprintf(p, "%" APR_TIME_T_FMT " s", seconds);
    }
    return seconds < 7200
               ? apr_psprintf(p, "%" APR_TIME_T_FMT " min", seconds / 60)
               : apr_psprintf(p, "%" APR_TIME_T_FMT " h", seconds / 3600);
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

const char *connpool_number_text(apr_pool_t *p, uint64_t value)
{
    char text[CP_GROUPED_SIZE];

    return apr_pstrdup(p, cp_grouped(text, value));
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

void connpool_html_begin_section(cp_buffer_t *buf, const char *id,
                                 const char *title, const char *note)
{
    connpool_html_putf(buf, "<section id=\"%s\">\n<h2 id=\"%s-title\">%s", id,
                       id, title);
    if (note) {
        connpool_html_putf(buf, "<small>%s</small>", note);
    }
    connpool_html_put(buf, "</h2>\n");
}

void connpool_html_end_section(cp_buffer_t *buf)
{
    connpool_html_put(buf, "</section>\n");
}

/* What is wider than its place can be scrolled, by keys, too. */
void connpool_html_begin_table(cp_buffer_t *buf, const connpool_table_t *table)
{
    const char *const *columns = table->columns;

    connpool_html_begin_section(buf, table->id, table->title, NULL);
    connpool_html_putf(buf,
                       "<div class=\"card\" role=\"region\" tabindex=\"0\" "
                       "aria-labelledby=\"%s-title\"><table>\n<caption>",
                       table->id);
    connpool_html_put(buf, table->caption);
    connpool_html_put(buf, "</caption>\n<thead><tr>");
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
    connpool_html_end_section(buf);
}

/* The key tells the script which row of the page before it was. */
void connpool_html_begin_row(cp_buffer_t *buf, apr_pool_t *p, const char *name,
                             const char *note)
{
    const char *shown = connpool_html_escape(p, name);
    const char *beside = note ? connpool_html_escape(p, note) : "";

    connpool_html_put(buf, "<tr data-key=\"");
    connpool_html_put(buf, shown);
    connpool_html_put(buf, note ? " " : "");
    connpool_html_put(buf, beside);
    connpool_html_put(buf, "\"><th scope=\"row\"><bdi>");
    connpool_html_put(buf, shown);
    connpool_html_put(buf, "</bdi>");
    if (note) {
        connpool_html_put(buf, "<small>");
        connpool_html_put(buf, beside);
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
    char text[CP_GROUPED_SIZE];

    connpool_html_cell(buf, label, cp_grouped(text, value));
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

static const char *spread_text(apr_pool_t *p, const cp_spread_t *spread)
{
    return spread->count == 0
               ? "\342\200\223"
               : apr_pstrcat(p, connpool_duration_text(p, spread->p50), " / ",
                             connpool_duration_text(p, spread->p99), " / ",
                             connpool_duration_text(p, spread->max), NULL);
}

void connpool_html_spread(cp_buffer_t *buf, apr_pool_t *p, const char *label,
                          const cp_histogram_t *h)
{
    cp_spread_t spread;

    cp_histogram_spread(h, &spread);
    connpool_html_cell(buf, label, spread_text(p, &spread));
}

static const char *spread_line(apr_pool_t *p, const char *window,
                               const cp_spread_t *spread)
{
    return apr_pstrcat(p, "<small>", window, "</small><span>",
                       spread_text(p, spread), "</span>", NULL);
}

void connpool_html_lately(cp_buffer_t *buf, apr_pool_t *p, const char *label,
                          const connpool_whose_t *whose,
                          const cp_histogram_t *h)
{
    static const char *const words[CP_WINDOWS] = {"1 min", "10 min"};
    const char *lines = "";
    cp_spread_t spread;

    for (int i = 0; i < CP_WINDOWS; i++) {
        if (connpool_status_lately(whose, h, (cp_window_t)i, &spread)) {
            lines = apr_pstrcat(p, lines, spread_line(p, words[i], &spread),
                                NULL);
        }
    }
    cp_histogram_spread(h, &spread);
    connpool_html_cell(buf, label,
                       apr_pstrcat(p, "<span class=\"spread\">", lines,
                                   spread_line(p, "ever", &spread), "</span>",
                                   NULL));
}

void connpool_html_begin_details(cp_buffer_t *buf, int columns,
                                 const char *name, const char *summary)
{
    connpool_html_putf(buf, "<tr class=\"more\" data-key=\"more of ");
    connpool_html_put(buf, name);
    connpool_html_putf(buf, "\"><td colspan=\"%d\"><details>\n<summary>",
                       columns);
    connpool_html_put(buf, summary);
    connpool_html_put(buf, "<span class=\"unseen\"> of ");
    connpool_html_put(buf, name);
    connpool_html_put(buf, "</span></summary>\n");
}

void connpool_html_end_details(cp_buffer_t *buf)
{
    connpool_html_put(buf, "</details></td></tr>\n");
}

void connpool_html_detailed(cp_buffer_t *buf, apr_pool_t *p, const char *label,
                            const char *value, const char *details)
{
    connpool_html_cell(buf, label,
                       details ? apr_pstrcat(p, "<span>", value, "<small>",
                                             details, "</small></span>", NULL)
                               : value);
}
