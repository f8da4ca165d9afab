/* SPDX-License-Identifier: Apache-2.0
 * How many of a pool's connections can be busy at once, and how near to that it
 * is. What nobody can reach is not counted: a thread that serves a request has
 * one connection of a database, so a child of prefork has no use for ten; and
 * readers have none for the connection that is set aside for writing. One-shot
 * connections stand beside the pool, and are not among its busy ones. */
#include "report/lines/reach.h"

#include "glue.h"
#include "child/child.h"
#include "config/database.h"
#include "config/query.h"
#include "config/setting.h"
#include "report/lines/gather.h"

#include <ap_mpm.h>

typedef connpool_pool_line_t line_t;

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t children_of(const connpool_status_t *report)
{
    return report->children > 0 ? (uint64_t)report->children : 1;
}

static uint64_t threads_of_child(void)
{
    int threads = 1;

    ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads);
    return threads > 0 ? (uint64_t)threads : 1;
}

/* Other modules write without a query: who is busy has been reached. */
static int is_written(const line_t *line)
{
    for (server_rec *s = connpool_child.main_server; s; s = s->next) {
        const apr_array_header_t *queries = connpool_server(s)->queries;

        for (int i = 0; i < queries->nelts; i++) {
            const connpool_query_t *query = APR_ARRAY_IDX(queries, i,
                                                          connpool_query_t *);

            if (query->database == line->database && query->is_write) {
                return 1;
            }
        }
    }
    return line->sum->busy_writers > 0;
}

/* Keep what is nearer to its limit. */
static void tighten(line_t *line, uint64_t busy, uint64_t limit)
{
    if (line->tight_limit == 0
        || busy * line->tight_limit > line->tight_busy * limit) {
        line->tight_busy = busy;
        line->tight_limit = limit;
    }
}

static void reach_database(const connpool_status_t *report, line_t *line)
{
    uint64_t children = children_of(report);
    uint64_t writers = connpool_has_writer_apart(line->database) ? 1 : 0;
    uint64_t writing = smaller(line->sum->busy_writers, line->sum->busy);
    uint64_t reading = line->sum->busy - writing;
    uint64_t limit = children
                     * smaller((uint64_t)line->max - writers,
                               threads_of_child());

    limit = limit < reading ? reading : limit;
    tighten(line, reading, limit);
    line->reachable = limit;
    if (writers > 0 && is_written(line)) {
        line->reachable += writers * children;
        tighten(line, writing, writers * children);
    }
    if (line->database->pool.server_max > 0) {
        limit = (uint64_t)line->database->pool.server_max;
        line->reachable = smaller(line->reachable, limit);
        tighten(line, line->sum->busy, limit);
    }
}

/* Of all upstreams of a server: they share its limit. */
static uint64_t busy_together(const connpool_status_t *report,
                              const connpool_server_t *owner)
{
    uint64_t busy = 0;

    EACH_LINE(report->pools, line_t, line)
    {
        busy += !line->database && line->owner == owner ? line->sum->busy : 0;
    }
    return busy;
}

/* With a loop one thread may have several fetches under way (batches). */
static void reach_upstream(const connpool_status_t *report, line_t *line)
{
    uint64_t children = children_of(report);
    uint64_t each = smaller((uint64_t)line->max, (uint64_t)line->max_together);
    uint64_t limit;

    if (!connpool_wants_loop()) {
        each = smaller(each, threads_of_child());
    }
    limit = each * children;
    limit = limit < line->sum->busy ? line->sum->busy : limit;
    line->reachable = limit;
    tighten(line, line->sum->busy, limit);
    tighten(line, busy_together(report, line->owner),
            (uint64_t)line->max_together * children);
}

void connpool_status_reach(connpool_status_t *report)
{
    line_t *lines = (line_t *)(void *)report->pools->elts;

    for (int i = 0; i < report->pools->nelts; i++) {
        if (lines[i].database) {
            reach_database(report, &lines[i]);
        }
        else {
            reach_upstream(report, &lines[i]);
        }
    }
}

uint64_t connpool_status_reachable(const connpool_status_t *report,
                                   int of_databases)
{
    uint64_t children = children_of(report), sum = 0, room = 0;
    const connpool_server_t *owner = NULL;

    EACH_LINE(report->pools, line_t, line)
    {
        uint64_t share = line->reachable;

        if ((line->database != NULL) != of_databases) {
            continue;
        }
        if (line->owner != owner) {
            owner = line->owner;
            room = (uint64_t)line->max_together * children;
        }
        share = of_databases ? share : smaller(share, room);
        room -= of_databases ? 0 : share;
        sum += share;
    }
    return sum;
}
