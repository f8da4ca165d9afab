/* SPDX-License-Identifier: Apache-2.0 */
#include "stats/recent/room.h"

#include "base/clock.h"
#include "stats/condition.h"
#include "stats/histogram.h"
#include "stats/recent/recent.h"
#include "stats/recent/trend.h"
#include "stats/segment.h"
#include "stats/stats.h"

#include <string.h>

typedef struct pool_room_t {
    cp_recent_t acquire_us;
    cp_recent_t refused_us;
    cp_recent_t hold_us;
    cp_recent_t create_us;
    cp_trend_t trend;
} pool_room_t;

/* Of an upstream, and all requests; a query's begins with it. */
typedef struct work_room_t {
    cp_recent_t us;
    cp_recent_t failed_us;
} work_room_t;

typedef struct query_room_t {
    work_room_t work;
    cp_condition_t condition;
} query_room_t;

/* A distribution in a struct of counters, and in the room. */
typedef struct cp_timer_t {
    int kind;
    size_t counted;
    size_t kept;
} cp_timer_t;

static const cp_timer_t timers[] = {
    {CP_ENTRY_POOL, offsetof(cp_pool_stats_t, acquire_us),
     offsetof(pool_room_t, acquire_us)},
    {CP_ENTRY_POOL, offsetof(cp_pool_stats_t, refused_us),
     offsetof(pool_room_t, refused_us)},
    {CP_ENTRY_POOL, offsetof(cp_pool_stats_t, hold_us),
     offsetof(pool_room_t, hold_us)},
    {CP_ENTRY_POOL, offsetof(cp_pool_stats_t, create_us),
     offsetof(pool_room_t, create_us)},
    {CP_ENTRY_QUERY, offsetof(cp_query_stats_t, us), offsetof(work_room_t, us)},
    {CP_ENTRY_QUERY, offsetof(cp_query_stats_t, failed_us),
     offsetof(work_room_t, failed_us)},
    {CP_ENTRY_UPSTREAM, offsetof(cp_upstream_stats_t, us),
     offsetof(work_room_t, us)},
    {CP_ENTRY_UPSTREAM, offsetof(cp_upstream_stats_t, failed_us),
     offsetof(work_room_t, failed_us)},
    {CP_ROOM_SERVER, offsetof(cp_process_stats_t, request_us),
     offsetof(work_room_t, us)},
    {CP_ROOM_SERVER, offsetof(cp_process_stats_t, request_failed_us),
     offsetof(work_room_t, failed_us)},
};

#define EACH_TIMER(timer)                                                      \
    for (const cp_timer_t *timer = timers;                                     \
         timer < timers + sizeof(timers) / sizeof(timers[0]); timer++)

void cp_room_lay_out(cp_segment_layout_t *layout)
{
    for (int kind = 0; kind < CP_ROOM_KINDS; kind++) {
        layout->rooms[kind] = sizeof(work_room_t);
    }
    layout->rooms[CP_ENTRY_POOL] = sizeof(pool_room_t);
    layout->rooms[CP_ENTRY_QUERY] = sizeof(query_room_t);
}

static const cp_timer_t *find_timer(int kind, size_t offset)
{
    EACH_TIMER(timer)
    {
        if (timer->kind == kind && timer->counted == offset) {
            return timer;
        }
    }
    return NULL;
}

int cp_room_has_recent(int kind, size_t offset)
{
    return find_timer(kind, offset) != NULL;
}

static cp_recent_t *recent_at(cp_segment_t *seg, const cp_timer_t *timer,
                              int entry)
{
    char *room = cp_segment_room(seg, timer->kind, entry);

    return room ? (cp_recent_t *)(void *)(room + timer->kept) : NULL;
}

cp_recent_t *cp_room_recent(cp_segment_t *seg, int kind, int entry,
                            size_t offset)
{
    const cp_timer_t *timer = find_timer(kind, offset);

    return timer ? recent_at(seg, timer, entry) : NULL;
}

cp_trend_t *cp_room_trend(cp_segment_t *seg, int pool)
{
    pool_room_t *room = cp_segment_room(seg, CP_ENTRY_POOL, pool);

    return room ? &room->trend : NULL;
}

cp_condition_t *cp_room_condition(cp_segment_t *seg, int query)
{
    query_room_t *room = cp_segment_room(seg, CP_ENTRY_QUERY, query);

    return room ? &room->condition : NULL;
}

/* What a child counts of it. */
static const cp_histogram_t *counted_by(cp_segment_t *seg, int child,
                                        const cp_timer_t *timer, int entry)
{
    const char *stats;

    switch (timer->kind) {
    case CP_ENTRY_POOL:
        stats = (const char *)cp_segment_pool(seg, child, entry);
        break;
    case CP_ENTRY_QUERY:
        stats = (const char *)cp_segment_query(seg, child, entry);
        break;
    case CP_ENTRY_UPSTREAM:
        stats = (const char *)cp_segment_upstream(seg, child, entry);
        break;
    default:
        stats = (const char *)cp_segment_process(seg, child);
    }
    return (const cp_histogram_t *)(const void *)(stats + timer->counted);
}

/* Without a mark is what nobody has ever counted. */
static void mark(cp_segment_t *seg, const cp_timer_t *timer, int entry,
                 cp_clock_t now)
{
    uint32_t sum[CP_HISTOGRAM_BUCKETS];
    cp_recent_t *recent = recent_at(seg, timer, entry);
    int slots = cp_segment_slots(seg);
    int is_used = 0;

    memset(sum, 0, sizeof(sum));
    for (int child = 0; child < slots; child++) {
        const cp_histogram_t *h = counted_by(seg, child, timer, entry);

        if (cp_recent_is_used(h)) {
            cp_recent_add(sum, h);
            is_used = 1;
        }
    }
    if (is_used) {
        cp_recent_mark(recent, sum, now);
    }
}

void cp_room_mark(cp_segment_t *seg, int kind, int entry, cp_clock_t now)
{
    EACH_TIMER(timer)
    {
        const cp_recent_t *recent = timer->kind == kind
                                        ? recent_at(seg, timer, entry)
                                        : NULL;

        if (recent && cp_recent_is_due(recent, now)) {
            mark(seg, timer, entry, now);
        }
    }
}
