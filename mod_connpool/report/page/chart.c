/* SPDX-License-Identifier: Apache-2.0
 *
 * The last ten minutes as charts: inline SVG whose colours come from the style
 * sheet, so that the page needs neither script nor inline style. A chart is as
 * wide as its place; its own units are intervals across and HEIGHT down. */
#include "report/page/chart.h"

#include "base/bytes/buffer.h"
#include "base/clock.h"
#include "child/child.h"
#include "report/page/html.h"
#include "stats/segment.h"

#include <apr_strings.h>

#define INTERVALS 150
#define INTERVAL  (CP_HISTORY_SAMPLES * APR_USEC_PER_SEC / INTERVALS)
#define HEIGHT    100
#define MARGIN    3 /* above and below, lest the line be cut */
#define STALE     apr_time_from_sec(5)

typedef enum quantity_t {
    BUSY,
    WAITING,
    REQUESTS,
    ERRORS,
    QUANTITIES
} quantity_t;

static const struct {
    const char *id;
    const char *title;
    int is_rate;
} quantities[QUANTITIES] = {
    [BUSY] = {"busy", "Busy connections", 0},
    [WAITING] = {"waiting", "Waiting requests", 0},
    [REQUESTS] = {"requests", "Queries and fetches per second", 1},
    [ERRORS] = {"errors", "Errors per second", 1},
};

typedef struct series_t {
    double highest[INTERVALS]; /* within each interval; below 0: unknown */
    double max;                /* of all */
    double now;                /* below 0: unknown */
} series_t;

static void series_add(series_t *series, int interval, double value, int is_now)
{
    if (value > series->highest[interval]) {
        series->highest[interval] = value;
    }
    if (value > series->max) {
        series->max = value;
    }
    if (is_now) {
        series->now = value;
    }
}

static double per_second(uint64_t before, uint64_t after, uint64_t elapsed)
{
    return after > before ? (double)(after - before) * 1e6 / (double)elapsed
                          : 0;
}

/* Intervals begin at multiples of their length, so that what a chart shows
 * moves to the left from one page to the next and does not change meanwhile. */
static void fill(series_t *series, const cp_sample_t *samples, int count,
                 uint64_t now)
{
    for (int i = 0; i < count; i++) {
        const cp_sample_t *sample = &samples[i];
        int is_now = now - sample->at < STALE;
        uint64_t ago = now / INTERVAL - sample->at / INTERVAL;
        uint64_t elapsed = i > 0 ? sample->at - samples[i - 1].at : 0;
        int interval = INTERVALS - 1 - (int)ago;

        if (sample->at > now || ago >= INTERVALS) {
            continue;
        }
        series_add(&series[BUSY], interval, (double)sample->busy, is_now);
        series_add(&series[WAITING], interval, (double)sample->waiting, is_now);
        if (i > 0 && sample->at > samples[i - 1].at) {
            series_add(
                &series[REQUESTS], interval,
                per_second(samples[i - 1].requests, sample->requests, elapsed),
                is_now);
            series_add(
                &series[ERRORS], interval,
                per_second(samples[i - 1].errors, sample->errors, elapsed),
                is_now);
        }
    }
}

/* Whole numbers keep the page short: it is sent every few seconds. */
static int height_of(const series_t *series, double value)
{
    double share = series->max > 0 ? value / series->max : 0;

    return HEIGHT - MARGIN - (int)(share * (HEIGHT - 2 * MARGIN) + 0.5);
}

/* One line, or the area below it, for each stretch without a gap. */
static void put_path(cp_buffer_t *buf, const series_t *series, int is_area)
{
    int was_known = 0;

    connpool_html_putf(buf, "<path class=\"%s\" d=\"",
                       is_area ? "area" : "line");
    for (int i = 0; i <= INTERVALS; i++) {
        int is_known = i < INTERVALS && series->highest[i] >= 0;
        int y = is_known ? height_of(series, series->highest[i]) : HEIGHT;

        if (is_known && !was_known) {
            connpool_html_putf(buf, "M%d %d", i, is_area ? HEIGHT : y);
        }
        if (is_known) {
            connpool_html_putf(buf, "L%d %d", i, y);
        }
        if (is_area && was_known && !is_known) {
            connpool_html_putf(buf, "L%d %dZ", i - 1, HEIGHT);
        }
        was_known = is_known;
    }
    connpool_html_put(buf, "\"></path>");
}

static const char *value_text(apr_pool_t *p, double value, int is_rate)
{
    return value < 0 ? "\342\200\223"
                     : apr_psprintf(p, "%.*f",
                                    is_rate && value > 0 && value < 10, value);
}

static void put_chart(cp_buffer_t *buf, apr_pool_t *p, quantity_t which,
                      const series_t *series)
{
    const char *id = quantities[which].id;
    const char *title = quantities[which].title;
    int is_rate = quantities[which].is_rate;
    const char *now = value_text(p, series->now, is_rate);
    const char *max = value_text(p, series->max, is_rate);

    connpool_html_putf(buf,
                       "<figure class=\"card %s\"><figcaption>%s<span><b>%s</b>"
                       "<small>most %s</small></span></figcaption>\n",
                       id, title, now, max);
    connpool_html_putf(buf,
                       "<svg viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\""
                       " role=\"img\" aria-labelledby=\"%s-title %s-desc\">"
                       "<title id=\"%s-title\">%s</title>",
                       INTERVALS - 1, HEIGHT, id, id, id, title);
    connpool_html_putf(buf,
                       "<desc id=\"%s-desc\">now %s, at most %s in the last ten"
                       " minutes</desc>",
                       id, series->now < 0 ? "unknown" : now, max);
    put_path(buf, series, 1);
    put_path(buf, series, 0);
    connpool_html_put(buf, "</svg></figure>\n");
}

void connpool_status_write_charts(cp_buffer_t *buf, apr_pool_t *p)
{
    cp_sample_t *samples = apr_palloc(p, CP_HISTORY_SAMPLES * sizeof(*samples));
    series_t *series = apr_palloc(p, QUANTITIES * sizeof(*series));
    int count = cp_segment_history(connpool_child.segment, samples);

    for (int i = 0; i < QUANTITIES; i++) {
        series[i].max = 0;
        series[i].now = -1;
        for (int k = 0; k < INTERVALS; k++) {
            series[i].highest[k] = -1;
        }
    }
    fill(series, samples, count, (uint64_t)cp_clock_now());
    connpool_html_put(buf, "<h2>Last ten minutes<small>of the whole server"
                           "</small></h2>\n<div class=\"charts\">\n");
    for (int i = 0; i < QUANTITIES; i++) {
        put_chart(buf, p, (quantity_t)i, &series[i]);
    }
    connpool_html_put(buf, "</div>\n");
}
