/* SPDX-License-Identifier: Apache-2.0
 *
 * The last ten minutes as charts: inline SVG whose colours come from the style
 * sheet, so that the page needs no inline style. A chart is as wide as its
 * place; its own units are intervals across and HEIGHT down. What its axes say
 * stands beside it, lest letters be stretched. */
#include "report/page/chart.h"

#include "base/bytes/buffer.h"
#include "base/clock.h"
#include "child/child.h"
#include "report/lines/gather.h"
#include "report/page/html.h"
#include "stats/recent/room.h"
#include "stats/recent/trend.h"
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
    const char *unit;
    int is_rate;
} quantities[QUANTITIES] = {
    [BUSY] = {"busy", "Busy connections", "connections", 0},
    [WAITING] = {"waiting", "Waiting requests", "requests", 0},
    [REQUESTS] = {"requests", "Queries and fetches per second", "per second",
                  1},
    [ERRORS] = {"errors", "Errors per second", "errors per second", 1},
};

typedef struct series_t {
    double highest[INTERVALS]; /* within each interval; below 0: unknown */
    double max;                /* of all */
    double top;                /* of the axis */
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
    double share = value / series->top;

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

/* With its digits in threes; a small rate with a decimal. */
static const char *value_text(apr_pool_t *p, double value)
{
    if (value < 0) {
        return "\342\200\223";
    }
    return value < 10 && value > (double)(uint64_t)value
               ? apr_psprintf(p, "%.1f", value)
               : connpool_number_text(p, (uint64_t)(value + 0.5));
}

/* The least round number, with a round half, that is not below. */
static double top_of(double max)
{
    static const double steps[] = {1, 2, 4, 6, 8, 10};
    double unit = 1;
    int i = 0;

    while (unit * 10 < max) {
        unit *= 10;
    }
    while (unit * steps[i] < max) {
        i++;
    }
    return unit * steps[i];
}

/* What the axes say is said to those who do not see them by the description. */
static void put_axes(cp_buffer_t *buf, apr_pool_t *p, quantity_t which,
                     const series_t *series)
{
    double half = series->top / 2;
    int has_half = quantities[which].is_rate || series->top > 1;

    connpool_html_putf(buf,
                       "<div class=\"y\" aria-hidden=\"true\"><span>%s</span>"
                       "<span>%s</span><span>0</span></div>\n"
                       "<div class=\"unit\" aria-hidden=\"true\">%s</div>\n"
                       "<div class=\"x\" aria-hidden=\"true\"><span>10 min ago"
                       "</span><span>5 min</span><span>now</span></div>\n",
                       value_text(p, series->top),
                       has_half ? value_text(p, half) : "",
                       quantities[which].unit);
}

static void put_chart(cp_buffer_t *buf, apr_pool_t *p, quantity_t which,
                      const series_t *series)
{
    const char *id = quantities[which].id;
    const char *title = quantities[which].title;
    const char *now = value_text(p, series->now);
    const char *max = value_text(p, series->max);

    connpool_html_putf(buf,
                       "<figure class=\"card %s\"><figcaption>%s<span><b>%s</b>"
                       "<small>most %s</small></span></figcaption>\n"
                       "<div class=\"plot\">\n",
                       id, title, now, max);
    put_axes(buf, p, which, series);
    connpool_html_putf(
        buf,
        "<svg viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\""
        " role=\"img\" aria-labelledby=\"chart-%s-title chart-%s-desc\">"
        "<title id=\"chart-%s-title\">%s</title>",
        INTERVALS - 1, HEIGHT, id, id, id, title);
    connpool_html_putf(
        buf,
        "<desc id=\"chart-%s-desc\">now %s, at most %s in the last ten"
        " minutes</desc>",
        id, series->now < 0 ? "unknown" : now, max);
    connpool_html_putf(buf,
                       "<path class=\"grid\" d=\"M0 %dH%dM0 %dH%dM0 %dH%d"
                       "\"></path>",
                       MARGIN, INTERVALS - 1, HEIGHT / 2, INTERVALS - 1,
                       HEIGHT - MARGIN, INTERVALS - 1);
    put_path(buf, series, 1);
    put_path(buf, series, 0);
    connpool_html_put(buf, "</svg></div></figure>\n");
}

/* --- of one pool --- */

#define SPARK_HEIGHT 20

typedef struct spark_t {
    int64_t busy[CP_TREND_POINTS], waiting[CP_TREND_POINTS]; /* -1: unknown */
    int64_t busy_max, waiting_max;
} spark_t;

static void read_spark(spark_t *spark, const connpool_pool_line_t *line)
{
    cp_clock_t now = cp_clock_now();
    const cp_trend_t *trend = cp_room_trend(connpool_child.segment,
                                            line->entry);

    memset(spark, 0, sizeof(*spark));
    for (int i = 0; i < CP_TREND_POINTS; i++) {
        cp_trend_point_t point;
        int is_known = trend
                       && cp_trend_read(trend, CP_TREND_POINTS - 1 - i, now,
                                        &point);

        spark->busy[i] = is_known ? (int64_t)point.busy : -1;
        spark->waiting[i] = is_known ? (int64_t)point.waiting : -1;
        if (spark->busy[i] > spark->busy_max) {
            spark->busy_max = spark->busy[i];
        }
        if (spark->waiting[i] > spark->waiting_max) {
            spark->waiting_max = spark->waiting[i];
        }
    }
}

/* A point without neighbours is a short line, lest it be invisible. */
static void put_spark(cp_buffer_t *buf, const char *class,
                      const int64_t *values, int64_t top)
{
    int was_known = 0;

    connpool_html_putf(buf, "<path class=\"%s\" d=\"", class);
    for (int i = 0; i < CP_TREND_POINTS; i++) {
        int y = SPARK_HEIGHT - 1
                - (int)((values[i] > 0 ? values[i] : 0) * (SPARK_HEIGHT - 2)
                        / top);

        if (values[i] >= 0) {
            connpool_html_putf(buf, was_known ? "L%d %d" : "M%d %dh1", i, y);
        }
        was_known = values[i] >= 0;
    }
    connpool_html_put(buf, "\"></path>");
}

void connpool_status_write_sparkline(cp_buffer_t *buf, apr_pool_t *p,
                                     const connpool_pool_line_t *line)
{
    spark_t spark;
    int64_t top;
    const char *busy, *waiting;

    read_spark(&spark, line);
    top = spark.busy_max > spark.waiting_max ? spark.busy_max
                                             : spark.waiting_max;
    top = top > 0 ? top : 1;
    busy = connpool_number_text(p, (uint64_t)spark.busy_max);
    waiting = connpool_number_text(p, (uint64_t)spark.waiting_max);
    connpool_html_put(buf, "<td data-label=\"Last 10 min\"><span>");
    connpool_html_putf(
        buf,
        "<svg class=\"spark\" viewBox=\"0 0 %d %d\" "
        "preserveAspectRatio=\"none\" role=\"img\" "
        "aria-label=\"at most %s busy and %s waiting in the last "
        "ten minutes\">",
        CP_TREND_POINTS, SPARK_HEIGHT, busy, waiting);
    if (spark.waiting_max > 0) {
        put_spark(buf, "spark-waiting", spark.waiting, top);
    }
    put_spark(buf, "spark-busy", spark.busy, top);
    connpool_html_putf(buf, "</svg><small>busy %s", busy);
    if (spark.waiting_max > 0) {
        connpool_html_putf(buf, ", <b class=\"down\">waiting %s</b>", waiting);
    }
    connpool_html_put(buf, "</small></span></td>");
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
    connpool_html_begin_section(buf, "charts", "Last ten minutes",
                                "of the whole server");
    connpool_html_put(buf, "<div class=\"charts\">\n");
    for (int i = 0; i < QUANTITIES; i++) {
        series[i].top = top_of(series[i].max);
        put_chart(buf, p, (quantity_t)i, &series[i]);
    }
    connpool_html_put(buf, "</div>\n");
    connpool_html_end_section(buf);
}
