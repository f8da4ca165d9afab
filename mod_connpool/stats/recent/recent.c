/* SPDX-License-Identifier: Apache-2.0 */
#include "stats/recent/recent.h"

#include "base/clock.h"
#include "stats/cell.h"
#include "stats/histogram.h"

#include <stdlib.h>
#include <string.h>

#define MINUTE         apr_time_from_sec(60)
#define STEPS_A_MINUTE 6

const char *cp_window_name(cp_window_t window)
{
    static const char *const names[CP_WINDOWS] = {"last_1m", "last_10m"};

    return names[window];
}

/* Nobody wants to wait for a test that takes so long. */
static cp_clock_t minute(void)
{
#ifdef CONNPOOL_TESTING
    const char *ms = getenv("CONNPOOL_TEST_MINUTE_MS");

    if (ms) {
        return apr_time_from_msec(atoi(ms));
    }
#endif
    return MINUTE;
}

/* --- marks --- */

static uint64_t at_of(const cp_recent_mark_t *mark)
{
    return __atomic_load_n(&mark->at, __ATOMIC_ACQUIRE);
}

static const cp_recent_mark_t *oldest_of(const cp_recent_mark_t *marks,
                                         int count)
{
    const cp_recent_mark_t *oldest = marks;

    for (int i = 1; i < count; i++) {
        if (at_of(&marks[i]) < at_of(oldest)) {
            oldest = &marks[i];
        }
    }
    return oldest;
}

/* Since the newest one. */
static cp_clock_t age_of(const cp_recent_mark_t *marks, int count,
                         cp_clock_t now)
{
    uint64_t newest = 0;

    for (int i = 0; i < count; i++) {
        uint64_t at = at_of(&marks[i]);

        newest = at > newest ? at : newest;
    }
    return newest == 0 ? CP_CLOCK_NEVER : now - (cp_clock_t)newest;
}

int cp_recent_is_used(const cp_histogram_t *h)
{
    return cp_stats_get(&h->max) != 0 || cp_stats_get(&h->bucket[0]) != 0;
}

void cp_recent_add(uint32_t *sum, const cp_histogram_t *h)
{
    for (int i = 0; i < CP_HISTOGRAM_BUCKETS; i++) {
        sum[i] += (uint32_t)cp_stats_get(&h->bucket[i]);
    }
}

int cp_recent_is_due(const cp_recent_t *recent, cp_clock_t now)
{
    return age_of(recent->steps, CP_RECENT_STEPS, now)
           >= minute() / STEPS_A_MINUTE;
}

/* Who is in the middle of reading the one that is written sees that it is not
 * what it was. */
static void write_mark(cp_recent_mark_t *mark, const uint32_t *sum,
                       cp_clock_t now)
{
    __atomic_store_n(&mark->at, 0, __ATOMIC_RELAXED);
    for (int i = 0; i < CP_HISTOGRAM_BUCKETS; i++) {
        __atomic_store_n(&mark->bucket[i], sum[i], __ATOMIC_RELEASE);
    }
    __atomic_store_n(&mark->at, (uint64_t)now, __ATOMIC_RELEASE);
}

static void write_oldest(cp_recent_mark_t *marks, int count,
                         const uint32_t *sum, cp_clock_t now)
{
    write_mark((cp_recent_mark_t *)oldest_of(marks, count), sum, now);
}

void cp_recent_mark(cp_recent_t *recent, const uint32_t *sum, cp_clock_t now)
{
    write_oldest(recent->steps, CP_RECENT_STEPS, sum, now);
    if (age_of(recent->minutes, CP_RECENT_MINUTES, now) >= minute()) {
        write_oldest(recent->minutes, CP_RECENT_MINUTES, sum, now);
    }
}

/* --- windows --- */

/* The newest mark that is old enough. Where there is none yet, and room for
 * more, all that was counted is younger than the window: NULL. */
static const cp_recent_mark_t *base_of(const cp_recent_mark_t *marks, int count,
                                       cp_clock_t before)
{
    const cp_recent_mark_t *base = NULL;
    const cp_recent_mark_t *oldest = NULL;
    int used = 0;

    for (int i = 0; i < count; i++) {
        uint64_t at = at_of(&marks[i]);

        if (at == 0) {
            continue;
        }
        used++;
        if (!oldest || at < at_of(oldest)) {
            oldest = &marks[i];
        }
        if ((cp_clock_t)at <= before && (!base || at > at_of(base))) {
            base = &marks[i];
        }
    }
    return !base && used >= count - 1 ? oldest : base;
}

/* True when the mark stayed the same meanwhile. */
static int subtract(cp_histogram_t *lately, const cp_recent_mark_t *mark)
{
    uint64_t at = at_of(mark);

    for (int i = 0; i < CP_HISTOGRAM_BUCKETS; i++) {
        uint32_t before = __atomic_load_n(&mark->bucket[i], __ATOMIC_ACQUIRE);
        uint32_t since = (uint32_t)lately->bucket[i] - before;

        /* Counted by one whom we have read earlier than the mark's writer. */
        lately->bucket[i] = since > INT32_MAX ? 0 : since;
    }
    return at != 0 && at == __atomic_load_n(&mark->at, __ATOMIC_RELAXED);
}

static void find_max(cp_histogram_t *lately, uint64_t max)
{
    int i = CP_HISTOGRAM_BUCKETS - 1;

    while (i >= 0 && lately->bucket[i] == 0) {
        i--;
    }
    if (i >= 0) {
        uint64_t end = cp_histogram_bucket_end((unsigned)i);

        lately->max = max < end ? max : end;
    }
}

void cp_recent_spread(const cp_recent_t *recent, cp_window_t window,
                      cp_clock_t now, const cp_histogram_t *total,
                      cp_spread_t *spread)
{
    int is_minute = window == CP_WINDOW_MINUTE;
    cp_clock_t before = now - (is_minute ? 1 : 10) * minute();
    cp_histogram_t lately = *total;
    const cp_recent_mark_t *base = NULL;

    lately.max = 0;
    if (recent) {
        base = is_minute ? base_of(recent->steps, CP_RECENT_STEPS, before)
                         : base_of(recent->minutes, CP_RECENT_MINUTES, before);
    }
    if (base && !subtract(&lately, base)) {
        /* Rather a moment more than nothing of it. */
        lately = *total;
        lately.max = 0;
        subtract(&lately, base);
    }
    find_max(&lately, total->max);
    cp_histogram_spread(&lately, spread);
    spread->sum = 0;
}
