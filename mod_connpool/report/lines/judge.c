/* SPDX-License-Identifier: Apache-2.0
 * What the report knows of each subject, as the facts that cp_state_judge
 * decides upon. Nothing is decided here. */
#include "report/lines/judge.h"

#include "glue.h"
#include "base/clock.h"
#include "base/error.h"
#include "cache/provider.h"
#include "child/child.h"
#include "http/upstream/breaker.h"
#include "report/lines/gather.h"
#include "stats/cell.h"
#include "stats/condition.h"
#include "stats/recent/room.h"
#include "stats/segment.h"
#include "stats/state/standing.h"
#include "stats/state/state.h"

#include <apr_lib.h>
#include <apr_strings.h>

#define NAMES_MAX 10

/* What is judged at one time. */
typedef struct judging_t {
    connpool_status_t *report;
    cp_clock_t now;
    apr_time_t time;
} judging_t;

static void judge(const judging_t *j, cp_subject_t subject, int entry,
                  const cp_facts_t *facts, connpool_verdict_t *verdict)
{
    cp_standing_t *standing = cp_segment_standing(connpool_child.segment,
                                                  subject, entry);

    cp_state_judge(subject, facts, &verdict->state);
    verdict->since = cp_standing_look(standing, verdict->state.level, j->time);
    verdict->error = cp_standing_last_error(standing, &verdict->error_at);
}

/* What has failed since the second's look has just failed. */
static void note_failures(const judging_t *j, cp_subject_t subject, int entry,
                          const uint64_t *failures, connpool_verdict_t *verdict)
{
    cp_error_class_t error = cp_standing_unnoted(
        cp_segment_standing(connpool_child.segment, subject, entry), failures);

    if (error != CP_ERR_NONE) {
        verdict->error = error;
        verdict->error_at = j->time;
    }
}

/* Who was refused has had an error: later than the others, or not. */
static void note_refusals(const judging_t *j, const cp_condition_t *condition,
                          uint64_t refused, connpool_verdict_t *verdict)
{
    uint64_t at = cp_condition_refused_at(condition, refused, j->now);
    apr_time_t time = j->time - (j->now - (cp_clock_t)at);

    if (at != 0 && cp_condition_is_recent(at, j->now)
        && (verdict->error == CP_ERR_NONE || time > verdict->error_at)) {
        verdict->error = CP_ERR_CAPACITY;
        verdict->error_at = time;
    }
}

/* --- pools --- */

/* Without a writer a database can be read still. */
static int is_read_failing(const cp_pool_stats_t *sum)
{
    return sum->down[CP_PART_READERS] + sum->down[CP_PART_DIRECT_READERS] > 0;
}

/* While children are replaced nobody may have tried yet. */
int connpool_status_is_unopened(const connpool_pool_line_t *line)
{
    const cp_pool_stats_t *sum = line->sum;

    if (sum->open > 0) {
        return 0;
    }
    if (line->database && sum->is_known == 0 && !is_read_failing(sum)) {
        const cp_condition_t *before = cp_segment_condition(
            connpool_child.segment, line->entry);

        return cp_stats_get(&before->is_unopened) != 0;
    }
    return is_read_failing(sum);
}

static void add_failures(const connpool_pool_line_t *line, cp_facts_t *facts)
{
    const cp_pool_stats_t *sum = line->sum;
    int is_write_failing = sum->down[CP_PART_WRITER]
                               + sum->down[CP_PART_DIRECT_WRITER]
                           > 0;

    facts->cannot_read = connpool_status_is_unopened(line);
    facts->cannot_write = is_write_failing && !is_read_failing(sum);
    facts->cannot_open = is_write_failing || is_read_failing(sum);
}

static void add_refusals(const cp_pool_stats_t *sum,
                         const cp_condition_t *condition, cp_clock_t now,
                         cp_facts_t *facts)
{
    facts->refused = sum->timeouts + sum->rejected;
    facts->tried = sum->acquired + sum->fallbacks + facts->refused;
    cp_condition_lately(condition, now, &facts->tried, &facts->refused);
    facts->is_strained = cp_condition_is_strained(condition, now);
    facts->fell_back = cp_condition_fell_back(condition, now);
}

/* For a while only: nobody may ask again, and the upstream may be back. For the
 * same reason a breaker whose pause is over counts no more, unless the fetch
 * that finds out is under way. */
static void add_silence(const connpool_upstream_line_t *line, cp_clock_t now,
                        cp_facts_t *facts)
{
    facts->is_left_alone = line->breaker == CP_BREAKER_OPEN
                           || (line->breaker == CP_BREAKER_HALF_OPEN
                               && line->sum->breaker_probes > 0);
    facts->is_silent = line->sum->failed_at > line->sum->answered_at
                       && cp_condition_is_recent(line->sum->failed_at, now);
}

/* Lines of upstreams stand in the order of their pools. */
static const connpool_upstream_line_t *upstream_of(
    const connpool_status_t *report, const connpool_pool_line_t *pool)
{
    EACH_LINE(report->upstreams, connpool_upstream_line_t, line)
    {
        if (!pool->database && line->server == pool->server
            && strcmp(line->name, pool->name) == 0) {
            return line;
        }
    }
    return NULL;
}

static void judge_pool(const judging_t *j, connpool_pool_line_t *line)
{
    const cp_condition_t *condition = cp_segment_condition(
        connpool_child.segment, line->entry);
    const connpool_upstream_line_t *up = upstream_of(j->report, line);
    apr_time_t at;
    cp_facts_t facts = {
        .busy = line->tight_busy,
        .limit = line->tight_limit,
        .waiting = line->sum->waiting,
        .oldest_wait_us = line->oldest_wait_us,
    };
    cp_error_class_t error = cp_standing_last_error(
        cp_segment_standing(connpool_child.segment, CP_SUBJECT_POOL,
                            line->entry),
        &at);

    facts.error = error == CP_ERR_NONE ? NULL : cp_error_class_name(error);
    add_failures(line, &facts);
    add_refusals(line->sum, condition, j->now, &facts);
    if (up) {
        add_silence(up, j->now, &facts);
    }
    judge(j, CP_SUBJECT_POOL, line->entry, &facts, &line->verdict);
    note_failures(j, CP_SUBJECT_POOL, line->entry, line->sum->failures,
                  &line->verdict);
    note_refusals(j, condition, line->sum->timeouts + line->sum->rejected,
                  &line->verdict);
}

/* --- queries, upstreams --- */

static void add_broken(const connpool_query_line_t *line, cp_clock_t now,
                       cp_facts_t *facts)
{
    const cp_condition_t *condition = cp_room_condition(connpool_child.segment,
                                                        line->entry);

    if (condition && line->sum->broken > 0) {
        facts->tried = line->sum->count;
        facts->refused = line->sum->broken;
        cp_condition_lately(condition, now, &facts->tried, &facts->refused);
    }
}

/* While children are replaced nobody may have tried yet. */
int connpool_status_is_unprepared(const connpool_query_line_t *line)
{
    const cp_condition_t *before = cp_room_condition(connpool_child.segment,
                                                     line->entry);

    return line->sum->unprepared > 0
           || (line->sum->is_known == 0 && before
               && cp_stats_get(&before->is_unopened) != 0);
}

static void judge_query(const judging_t *j, connpool_query_line_t *line)
{
    cp_facts_t facts = {
        .lacking_children = line->sum->unprepared,
        .children = (uint64_t)j->report->children,
    };

    if (facts.lacking_children == 0) {
        facts.lacking_children = connpool_status_is_unprepared(line) != 0;
    }
    add_broken(line, j->now, &facts);
    judge(j, CP_SUBJECT_QUERY, line->entry, &facts, &line->verdict);
    note_failures(j, CP_SUBJECT_QUERY, line->entry, line->sum->failures,
                  &line->verdict);
}

static void judge_upstream(const judging_t *j, connpool_upstream_line_t *line)
{
    cp_facts_t facts = {0};
    uint64_t failed_at = line->sum->failed_at;

    add_silence(line, j->now, &facts);
    judge(j, CP_SUBJECT_UPSTREAM, line->entry, &facts, &line->verdict);
    if (failed_at != 0) {
        line->verdict.error = CP_ERR_UPSTREAM;
        line->verdict.error_at = j->time - (j->now - (cp_clock_t)failed_at);
    }
}

/* --- the whole server --- */

static void judge_loop(const judging_t *j)
{
    connpool_status_t *report = j->report;
    uint64_t children = (uint64_t)report->children;
    cp_facts_t facts = {.children = children};

    if (report->loop.running < children) {
        facts.lacking_children = children - report->loop.running;
    }
    judge(j, CP_SUBJECT_EVENT_LOOP, 0, &facts, &report->loop_verdict);
}

static void judge_memory(const judging_t *j)
{
    connpool_status_t *report = j->report;
    cp_facts_t facts = {
        .tried = connpool_status_requests(report),
        .refused = report->process.refused_memory,
        .bound_bytes = report->memory_bound,
    };

    cp_condition_lately(
        cp_segment_server_condition(connpool_child.segment, CP_SUBJECT_MEMORY),
        j->now, &facts.tried, &facts.refused);
    EACH_LINE(report->processes, connpool_child_line_t, line)
    {
        if (line->sum->memory_bytes > facts.used_bytes) {
            facts.used_bytes = line->sum->memory_bytes;
        }
    }
    judge(j, CP_SUBJECT_MEMORY, 0, &facts, &report->memory_verdict);
    note_refusals(
        j,
        cp_segment_server_condition(connpool_child.segment, CP_SUBJECT_MEMORY),
        report->process.refused_memory, &report->memory_verdict);
}

uint64_t connpool_status_cache_failures(const connpool_status_t *report)
{
    const cp_cache_stats_t *cache = &report->process.cache;

    return cache->failures + cache->timeouts + cache->skipped + cache->dropped;
}

static void judge_cache(const judging_t *j)
{
    connpool_status_t *report = j->report;
    cp_facts_t facts = {.refused = connpool_status_cache_failures(report)};

    cp_condition_lately(
        cp_segment_server_condition(connpool_child.segment, CP_SUBJECT_CACHE),
        j->now, &facts.tried, &facts.refused);
    judge(j, CP_SUBJECT_CACHE, 0, &facts, &report->cache_verdict);
}

/* --- all of them --- */

static void list(const judging_t *j, const connpool_state_line_t *line)
{
    connpool_status_t *report = j->report;
    cp_level_t level = line->verdict->state.level;

    APR_ARRAY_PUSH(report->states, connpool_state_line_t) = *line;
    report->level = level > report->level ? level : report->level;
}

#define LIST(j, subject, line)                                                 \
    list(j, &(connpool_state_line_t){subject, (line)->entry, (line)->name,     \
                                     (line)->server, &(line)->verdict})

/* Lines of one array of the report, to be written to. */
#define EACH_OWN_LINE(list, type, line)                                        \
    for (type *line = (type *)(void *)(list)->elts,                            \
              *line##_end = line + (list)->nelts;                              \
         line < line##_end; line++)

static void judge_lines(const judging_t *j)
{
    connpool_status_t *report = j->report;

    EACH_OWN_LINE(report->pools, connpool_pool_line_t, line)
    {
        judge_pool(j, line);
        LIST(j, CP_SUBJECT_POOL, line);
    }
    EACH_OWN_LINE(report->queries, connpool_query_line_t, line)
    {
        judge_query(j, line);
        LIST(j, CP_SUBJECT_QUERY, line);
    }
    EACH_OWN_LINE(report->upstreams, connpool_upstream_line_t, line)
    {
        judge_upstream(j, line);
        LIST(j, CP_SUBJECT_UPSTREAM, line);
    }
}

static void judge_server(const judging_t *j)
{
    connpool_status_t *report = j->report;

    if (connpool_wants_loop()) {
        judge_loop(j);
        list(j, &(connpool_state_line_t){CP_SUBJECT_EVENT_LOOP, 0, "event_loop",
                                         NULL, &report->loop_verdict});
    }
    judge_memory(j);
    list(j, &(connpool_state_line_t){CP_SUBJECT_MEMORY, 0, "memory", NULL,
                                     &report->memory_verdict});
    if (connpool_provider_name()) {
        judge_cache(j);
        list(j, &(connpool_state_line_t){CP_SUBJECT_CACHE, 0,
                                         connpool_provider_name(), NULL,
                                         &report->cache_verdict});
    }
}

static void list_causes(connpool_status_t *report)
{
    for (cp_level_t level = CP_LEVEL_DOWN; level > CP_LEVEL_OK; level--) {
        EACH_LINE(report->states, connpool_state_line_t, line)
        {
            if (line->verdict->state.level == level) {
                APR_ARRAY_PUSH(report->causes, connpool_state_line_t) = *line;
            }
        }
    }
}

void connpool_status_judge(connpool_status_t *report)
{
    judging_t j = {report, cp_clock_now(), apr_time_now()};

    report->states = apr_array_make(report->p, 16,
                                    sizeof(connpool_state_line_t));
    report->causes = apr_array_make(report->p, 4,
                                    sizeof(connpool_state_line_t));
    judge_lines(&j);
    judge_server(&j);
    list_causes(report);
}

connpool_status_t *connpool_status_gather(request_rec *r)
{
    connpool_status_t *report = connpool_status_collect(r->pool, r->server, 0);

    connpool_status_judge(report);
    return report;
}

/* --- in words --- */

/* A pool that is as its upstream is has nothing to add to it. */
static int is_new_name(const connpool_status_t *report,
                       const connpool_state_line_t *line)
{
    EACH_LINE(report->causes, connpool_state_line_t, before)
    {
        if (before == line) {
            break;
        }
        if (before->verdict->state.level == line->verdict->state.level
            && before->server == line->server
            && strcmp(before->name, line->name) == 0) {
            return 0;
        }
    }
    return 1;
}

/* "gone (storage)", "app on host:80 (refused)"; of what is degraded the name
 * alone. */
static const char *name_at(apr_pool_t *p, const connpool_state_line_t *line)
{
    const cp_state_t *state = &line->verdict->state;
    const char *name = line->server ? apr_pstrcat(p, line->name, " on ",
                                                  line->server, NULL)
                                    : line->name;

    return state->level == CP_LEVEL_DOWN
               ? apr_pstrcat(p, name, " (", state->word, ")", NULL)
               : name;
}

/* A title has no room for more than a few; the table below has them all. */
static const char *names_at(const connpool_status_t *report, cp_level_t level)
{
    apr_pool_t *p = report->p;
    const char *names = NULL;
    int count = 0;

    EACH_LINE(report->causes, connpool_state_line_t, line)
    {
        if (line->verdict->state.level != level || !is_new_name(report, line)) {
            continue;
        }
        if (count++ < NAMES_MAX) {
            names = apr_pstrcat(p, names ? names : "", names ? ", " : "",
                                name_at(p, line), NULL);
        }
    }
    return count > NAMES_MAX
               ? apr_psprintf(p, "%s and %d more", names, count - NAMES_MAX)
               : names;
}

static char *upper(char *text)
{
    for (char *c = text; *c; c++) {
        *c = (char)apr_toupper(*c);
    }
    return text;
}

const char *connpool_status_verdict(const connpool_status_t *report)
{
    apr_pool_t *p = report->p;
    const char *text = NULL;

    for (cp_level_t level = CP_LEVEL_DOWN; level > CP_LEVEL_OK; level--) {
        const char *names = names_at(report, level);

        if (names) {
            text = apr_pstrcat(p, text ? text : "", text ? ". " : "",
                               upper(apr_pstrdup(p, cp_level_name(level))),
                               ": ", names, NULL);
        }
    }
    return text ? text : "OK";
}

const char *connpool_status_time(apr_pool_t *p, apr_time_t at)
{
    apr_time_exp_t t;

    apr_time_exp_gmt(&t, at);
    return apr_psprintf(p, "%04d-%02d-%02dT%02d:%02d:%02dZ", t.tm_year + 1900,
                        t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min, t.tm_sec);
}
