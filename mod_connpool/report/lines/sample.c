/* SPDX-License-Identifier: Apache-2.0
 * Once a second one of the children looks at all: for the charts, for what a
 * report must remember between two looks, and for the log. */
#include "glue.h"
#include "base/clock.h"
#include "child/child.h"
#include "config/setting.h"
#include "report/lines/gather.h"
#include "report/lines/judge.h"
#include "report/lines/sample.h"
#include "stats/cell.h"
#include "stats/condition.h"
#include "stats/recent/room.h"
#include "stats/recent/trend.h"
#include "stats/segment.h"
#include "stats/state/standing.h"
#include "stats/state/state.h"

#include <apr_strings.h>

/* --- what is remembered --- */

static cp_observation_t seen_of(const connpool_pool_line_t *line)
{
    uint64_t refused = line->sum->timeouts + line->sum->rejected;

    return (cp_observation_t){
        .busy = line->tight_busy,
        .limit = line->tight_limit,
        .fallbacks = line->sum->fallbacks,
        .tried = line->sum->acquired + line->sum->fallbacks + refused,
        .refused = refused,
        .is_unopened = connpool_status_is_unopened(line),
    };
}

static void observe_pool(const connpool_pool_line_t *line, cp_clock_t now)
{
    cp_observation_t seen = seen_of(line);

    cp_condition_observe(
        cp_segment_condition(connpool_child.segment, line->entry), &seen, now);
}

static void observe_query(const connpool_query_line_t *line, cp_clock_t now)
{
    cp_condition_t *condition = cp_room_condition(connpool_child.segment,
                                                  line->entry);
    cp_observation_t seen = {
        .tried = line->sum->count,
        .refused = line->sum->broken,
        .is_unopened = connpool_status_is_unprepared(line),
    };

    /* What nobody runs has no pages there. */
    if (condition
        && (seen.tried > 0 || seen.is_unopened
            || cp_stats_get(&condition->is_unopened) != 0)) {
        cp_condition_observe(condition, &seen, now);
    }
}

static void observe_server(const connpool_status_t *report, cp_clock_t now)
{
    cp_segment_t *seg = connpool_child.segment;
    cp_observation_t memory = {
        .tried = connpool_status_requests(report),
        .refused = report->process.refused_memory,
    };
    cp_observation_t cache = {
        .refused = connpool_status_cache_failures(report),
    };

    cp_condition_observe(cp_segment_server_condition(seg, CP_SUBJECT_MEMORY),
                         &memory, now);
    cp_condition_observe(cp_segment_server_condition(seg, CP_SUBJECT_CACHE),
                         &cache, now);
}

static void note_failures(cp_subject_t subject, int entry,
                          const uint64_t *failures)
{
    cp_standing_note_failures(
        cp_segment_standing(connpool_child.segment, subject, entry), failures,
        apr_time_now());
}

static void observe(const connpool_status_t *report)
{
    cp_clock_t now = cp_clock_now();

    EACH_LINE(report->pools, connpool_pool_line_t, line)
    {
        observe_pool(line, now);
        note_failures(CP_SUBJECT_POOL, line->entry, line->sum->failures);
    }
    EACH_LINE(report->queries, connpool_query_line_t, line)
    {
        observe_query(line, now);
        note_failures(CP_SUBJECT_QUERY, line->entry, line->sum->failures);
    }
    observe_server(report, now);
}

/* --- what charts are made of --- */

static cp_sample_t total_of(const connpool_status_t *report, cp_clock_t now)
{
    cp_sample_t sample = {.at = (uint64_t)now};

    EACH_LINE(report->pools, connpool_pool_line_t, line)
    {
        sample.busy += line->sum->busy;
        sample.waiting += line->sum->waiting;
    }
    EACH_LINE(report->queries, connpool_query_line_t, line)
    {
        sample.requests += line->sum->count;
        sample.errors += line->sum->errors;
    }
    EACH_LINE(report->upstreams, connpool_upstream_line_t, line)
    {
        sample.requests += line->sum->count;
        sample.errors += line->sum->errors;
    }
    return sample;
}

static void note_pool(const connpool_pool_line_t *line, cp_clock_t now)
{
    cp_segment_t *seg = connpool_child.segment;
    cp_trend_t *trend = cp_room_trend(seg, line->entry);

    if (trend) {
        cp_trend_note(trend, line->sum->busy, line->sum->waiting, now);
    }
    cp_room_mark(seg, CP_ENTRY_POOL, line->entry, now);
}

static void record(const connpool_status_t *report, cp_clock_t now)
{
    cp_segment_t *seg = connpool_child.segment;
    cp_sample_t sample = total_of(report, now);

    cp_segment_record(seg, &sample);
    EACH_LINE(report->pools, connpool_pool_line_t, line)
    {
        note_pool(line, now);
    }
    EACH_LINE(report->queries, connpool_query_line_t, line)
    {
        cp_room_mark(seg, CP_ENTRY_QUERY, line->entry, now);
    }
    EACH_LINE(report->upstreams, connpool_upstream_line_t, line)
    {
        cp_room_mark(seg, CP_ENTRY_UPSTREAM, line->entry, now);
    }
    cp_room_mark(seg, CP_ROOM_SERVER, 0, now);
}

/* --- what the log is told --- */

/* "pool 'app' of host:80", "event loop". */
static const char *describe(apr_pool_t *p, const connpool_state_line_t *line)
{
    const char *server = line->server
                             ? apr_pstrcat(p, " of ", line->server, NULL)
                             : "";

    if (line->subject == CP_SUBJECT_EVENT_LOOP) {
        return "the event loop";
    }
    return line->subject == CP_SUBJECT_MEMORY
               ? "ConnPoolMemory"
               : apr_psprintf(p, "%s '%s'%s", cp_subject_name(line->subject),
                              line->name, server);
}

/* Every fault has had its own line where it happened, but a database that
 * vanished while nobody asked for it. */
static void tell_of(const connpool_status_t *report,
                    const connpool_state_line_t *line)
{
    const cp_state_t *state = &line->verdict->state;
    cp_standing_t *standing = cp_segment_standing(connpool_child.segment,
                                                  line->subject, line->entry);
    const char *what = describe(report->p, line);
    apr_interval_time_t lasted;
    cp_news_t news = cp_standing_news(
        standing, state->level, line->verdict->since, apr_time_now(), &lasted);

    if (news == CP_NEWS_BAD) {
        ap_log_error(APLOG_MARK,
                     state->is_unlogged ? APLOG_WARNING : APLOG_NOTICE, 0,
                     connpool_child.main_server, "%s is %s: %s", what,
                     cp_level_name(state->level), state->cause);
    }
    else if (news == CP_NEWS_BACK) {
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, connpool_child.main_server,
                     "%s is back after %" APR_TIME_T_FMT " s", what,
                     apr_time_sec(lasted + APR_USEC_PER_SEC / 2));
    }
}

/* The upstream's line says it for its pool. */
static void tell(const connpool_status_t *report)
{
    EACH_LINE(report->states, connpool_state_line_t, line)
    {
        if (!line->verdict->state.is_inherited) {
            tell_of(report, line);
        }
    }
}

void connpool_status_sample(void)
{
    cp_clock_t now = cp_clock_now();
    connpool_status_t *report;
    apr_pool_t *p;

    if (!cp_segment_sample_due(connpool_child.segment, (uint64_t)now)) {
        return;
    }
    apr_pool_create_unmanaged(&p);
    report = connpool_status_collect(p, connpool_child.main_server, 1);
    record(report, now);
    observe(report);
    connpool_status_judge(report);
    tell(report);
    apr_pool_destroy(p);
}
