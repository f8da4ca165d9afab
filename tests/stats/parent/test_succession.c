/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <sys/mman.h>

#include "stats/cell.h"
#include "stats/parent/succession.h"
#include "stats/recent/room.h"
#include "stats/segment.h"
#include "suites.h"

#define SEGMENTS 5

static cp_segment_t *segs[SEGMENTS];

/* Each has room for one entry of each kind more than the one before. */
static cp_segment_t *make(int number)
{
    cp_segment_layout_t layout = {{1 + number, 1 + number, 1 + number},
                                  /* children */ 2,
                                  {0}};
    size_t size;
    void *memory;

    cp_room_lay_out(&layout);
    size = cp_segment_size(&layout);
    memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    ck_assert_ptr_ne(memory, MAP_FAILED);
    segs[number] = cp_segment_init(memory, &layout);
    return segs[number];
}

static void enter(cp_segment_t *seg, const char *name)
{
    ck_assert_int_ge(cp_segment_entry(seg, CP_ENTRY_POOL, "", name), 0);
    ck_assert_int_ge(cp_segment_entry(seg, CP_ENTRY_QUERY, "", name), 0);
    ck_assert_int_ge(cp_segment_entry(seg, CP_ENTRY_UPSTREAM, "", name), 0);
}

/* The first name of all is not the first entry of any but the first one. */
static int follow(int number)
{
    static const char *const names[SEGMENTS] = {"first", "second", "third",
                                                "fourth", "fifth"};
    cp_segment_t *seg = make(number);

    if (number > 0) {
        cp_segment_follow(seg, segs[number - 1]);
    }
    for (int i = number; i >= 0; i--) {
        enter(seg, names[i]);
    }
    return number > 0 ? cp_segment_succeed(seg) : 0;
}

static int place(cp_segment_t *seg, const char *name)
{
    return cp_segment_find(seg, CP_ENTRY_POOL, "", name);
}

static void count(cp_segment_t *seg, int child, const char *name, int released)
{
    cp_pool_stats_t *pool = cp_segment_pool(seg, child, place(seg, name));

    cp_stats_add(&pool->acquired, 10);
    cp_stats_add(&pool->released, released);
    cp_stats_add(&pool->created, 1);
    cp_histogram_record(&pool->acquire_us, 100);
    cp_stats_add(&cp_segment_query(seg, child, place(seg, name))->count, 10);
    cp_stats_add(&cp_segment_upstream(seg, child, place(seg, name))->count, 10);
    cp_stats_add(&cp_segment_process(seg, child)->refused_rate, 10);
    cp_stats_add(&cp_segment_loop(seg, child)->restarts, 10);
    cp_stats_add(&cp_segment_batch(seg, child)->requests, 10);
}

static void check(cp_segment_t *seg, const char *name, uint64_t times)
{
    int entry = place(seg, name);
    cp_pool_stats_t pool;
    cp_query_stats_t query;
    cp_upstream_stats_t upstream;

    cp_segment_sum_pool(seg, entry, &pool);
    cp_segment_sum_query(seg, entry, &query);
    cp_segment_sum_upstream(seg, entry, &upstream);
    ck_assert_uint_eq(pool.acquired, 10 * times);
    ck_assert_uint_eq(pool.acquired,
                      pool.released + pool.busy + pool.abandoned);
    ck_assert_uint_eq(cp_histogram_count(&pool.acquire_us), times);
    ck_assert_uint_eq(query.count, 10 * times);
    ck_assert_uint_eq(upstream.count, 10 * times);
}

static void check_server(cp_segment_t *seg, uint64_t times)
{
    cp_process_stats_t process;
    cp_loop_stats_t loop;
    cp_batch_stats_t batch;

    cp_segment_sum_process(seg, &process);
    cp_segment_sum_loop(seg, &loop);
    cp_segment_sum_batch(seg, &batch);
    ck_assert_uint_eq(process.refused_rate, 10 * times);
    ck_assert_uint_eq(loop.restarts, 10 * times);
    ck_assert_uint_eq(batch.requests, 10 * times);
}

START_TEST(sums_cover_the_segment_before)
{
    cp_pool_stats_t sum;

    follow(0);
    count(segs[0], cp_segment_claim(segs[0], 100), "first", 9);
    ck_assert_int_eq(follow(1), 0);
    check(segs[1], "first", 1);
    check(segs[1], "second", 0);
    check_server(segs[1], 1);

    /* Both generations count. */
    count(segs[1], cp_segment_claim(segs[1], 200), "first", 10);
    count(segs[0], 0, "first", 10);
    check(segs[1], "first", 3);
    check_server(segs[1], 3);
    ck_assert_int_eq(cp_segment_children(segs[1]), 2);

    /* The parent hears of the end of a child of the generation before. */
    cp_segment_sum_pool(segs[1], place(segs[1], "first"), &sum);
    ck_assert_uint_eq(sum.busy, 1);
    ck_assert_uint_eq(sum.open, 3);
    cp_segment_fold(segs[1], 100);
    cp_segment_sum_pool(segs[1], place(segs[1], "first"), &sum);
    ck_assert_uint_eq(sum.busy, 0);
    ck_assert_uint_eq(sum.abandoned, 1);
    ck_assert_uint_eq(sum.closed[CP_CLOSE_KILLED], 2);
    ck_assert_int_eq(cp_segment_children(segs[1]), 1);
}
END_TEST

START_TEST(children_of_both_are_listed)
{
    int seen = 0;

    follow(0);
    cp_segment_claim(segs[0], 100);
    count(segs[0], 0, "first", 10);
    follow(1);
    cp_segment_claim(segs[1], 200);
    count(segs[1], 0, "first", 10);
    for (int i = 0; i < cp_segment_slots(segs[1]); i++) {
        if (cp_segment_owner(segs[1], i) != 0) {
            seen++;
            ck_assert_uint_eq(
                cp_segment_pool(segs[1], i, place(segs[1], "first"))->acquired,
                10);
            ck_assert_uint_eq(
                cp_segment_pool(segs[1], i, place(segs[1], "second"))->acquired,
                0);
            ck_assert_uint_eq(cp_segment_process(segs[1], i)->refused_rate, 10);
        }
    }
    ck_assert_int_eq(seen, 2);
    ck_assert_int_eq(cp_segment_owner(segs[1], 99), 0);
}
END_TEST

START_TEST(how_it_has_been_is_known_still)
{
    cp_sample_t sample = {.at = 7}, history[CP_HISTORY_SAMPLES];
    cp_observation_t seen = {.tried = 100, .refused = 40};
    uint64_t tried = 110, refused = 41;
    cp_clock_t now = 100 * APR_USEC_PER_SEC;

    follow(0);
    cp_segment_record(segs[0], &sample);
    cp_condition_observe(cp_segment_condition(segs[0], 0), &seen,
                         now - 40 * APR_USEC_PER_SEC);
    cp_standing_look(cp_segment_standing(segs[0], CP_SUBJECT_QUERY, 0),
                     CP_LEVEL_DOWN, 1000);
    cp_standing_look(cp_segment_standing(segs[0], CP_SUBJECT_CACHE, 0),
                     CP_LEVEL_DOWN, 2000);
    follow(1);
    ck_assert_int_eq(cp_segment_history(segs[1], history), 1);
    ck_assert_uint_eq(history[0].at, 7);
    ck_assert_int_eq(
        cp_standing_look(cp_segment_standing(segs[1], CP_SUBJECT_QUERY,
                                             place(segs[1], "first")),
                         CP_LEVEL_DOWN, 9000),
        1000);
    ck_assert_int_eq(
        cp_standing_look(cp_segment_standing(segs[1], CP_SUBJECT_QUERY,
                                             place(segs[1], "second")),
                         CP_LEVEL_DOWN, 9000),
        9000);
    ck_assert_int_eq(
        cp_standing_look(cp_segment_standing(segs[1], CP_SUBJECT_CACHE, 0),
                         CP_LEVEL_DOWN, 9000),
        2000);
    cp_condition_lately(cp_segment_condition(segs[1], place(segs[1], "first")),
                        now, &tried, &refused);
    ck_assert_uint_eq(tried, 10);
    ck_assert_uint_eq(refused, 1);
}
END_TEST

static void mark_all(cp_segment_t *seg, const char *name, cp_clock_t now)
{
    cp_room_mark(seg, CP_ENTRY_POOL, place(seg, name), now);
    cp_room_mark(seg, CP_ENTRY_QUERY, place(seg, name), now);
    cp_room_mark(seg, CP_ROOM_SERVER, 0, now);
}

static uint64_t last_minute(cp_segment_t *seg, int kind, size_t offset,
                            const cp_histogram_t *total, cp_clock_t now)
{
    int entry = kind == CP_ROOM_SERVER ? 0 : place(seg, "first");
    cp_spread_t spread;

    cp_recent_spread(cp_room_recent(seg, kind, entry, offset), CP_WINDOW_MINUTE,
                     now, total, &spread);
    return spread.count;
}

/* What was counted before the last minute is not of it, wherever it is kept. */
START_TEST(the_last_minute_goes_on)
{
    cp_clock_t minute = apr_time_from_sec(60), now = 100 * minute;
    cp_pool_stats_t pool;
    cp_query_stats_t query;
    cp_process_stats_t process;
    cp_trend_point_t point;

    follow(0);
    cp_segment_claim(segs[0], 100);
    for (int i = 0; i < 5; i++) {
        count(segs[0], 0, "first", 10);
        cp_histogram_record(&cp_segment_query(segs[0], 0, 0)->failed_us, 100);
        cp_histogram_record(&cp_segment_process(segs[0], 0)->request_us, 100);
    }
    mark_all(segs[0], "first", now);
    cp_trend_note(cp_room_trend(segs[0], 0), 7, 0, now);
    follow(1);
    cp_segment_claim(segs[1], 200);
    count(segs[1], 0, "first", 10);
    count(segs[0], 0, "first", 10);
    mark_all(segs[1], "first", now + minute / 2);
    cp_segment_sum_pool(segs[1], place(segs[1], "first"), &pool);
    cp_segment_sum_query(segs[1], place(segs[1], "first"), &query);
    cp_segment_sum_process(segs[1], &process);
    now += minute + minute / 10;
    ck_assert_uint_eq(last_minute(segs[1], CP_ENTRY_POOL,
                                  offsetof(cp_pool_stats_t, acquire_us),
                                  &pool.acquire_us, now),
                      2);
    ck_assert_uint_eq(last_minute(segs[1], CP_ENTRY_QUERY,
                                  offsetof(cp_query_stats_t, failed_us),
                                  &query.failed_us, now),
                      0);
    ck_assert_uint_eq(last_minute(segs[1], CP_ROOM_SERVER,
                                  offsetof(cp_process_stats_t, request_us),
                                  &process.request_us, now),
                      0);
    ck_assert(cp_trend_read(cp_room_trend(segs[1], place(segs[1], "first")), 6,
                            now, &point));
    ck_assert_uint_eq(point.busy, 7);
}
END_TEST

/* However often: those that nobody counts in any more go. */
START_TEST(older_ones_are_absorbed)
{
    for (int i = 0; i < SEGMENTS; i++) {
        ck_assert_int_eq(follow(i), i < 2 ? 0 : 1);
        count(segs[i], cp_segment_claim(segs[i], 100 + i), "first", 10);
        if (i > 0) {
            cp_segment_fold(segs[i], 100 + i - 1);
        }
        check(segs[i], "first", (uint64_t)i + 1);
        check_server(segs[i], (uint64_t)i + 1);
        if (i > 1) {
            memset(segs[i - 2], 0xff, 4096); /* nobody looks there now */
        }
    }
    check(segs[SEGMENTS - 1], "first", SEGMENTS);
    ck_assert_int_eq(cp_segment_children(segs[SEGMENTS - 1]), 1);
}
END_TEST

START_TEST(where_somebody_counts_still_nothing_is_absorbed)
{
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(follow(i), 0);
        cp_segment_claim(segs[i], 100 + i);
    }
    for (int i = 0; i < 4; i++) {
        count(segs[i], 0, "first", 10);
    }
    check(segs[3], "first", 4);
    check_server(segs[3], 4);
    ck_assert_int_eq(cp_segment_children(segs[3]), 4);
    for (int i = 0; i < 4; i++) {
        cp_segment_fold(segs[3], 100 + i);
    }
    ck_assert_int_eq(cp_segment_children(segs[3]), 0);
    ck_assert_int_eq(follow(4), 3);
    check(segs[4], "first", 4);
    check_server(segs[4], 4);
}
END_TEST

Suite *succession_suite(void)
{
    Suite *suite = suite_create("succession");
    TCase *tc = tcase_create("succession");

    tcase_add_test(tc, sums_cover_the_segment_before);
    tcase_add_test(tc, children_of_both_are_listed);
    tcase_add_test(tc, how_it_has_been_is_known_still);
    tcase_add_test(tc, the_last_minute_goes_on);
    tcase_add_test(tc, older_ones_are_absorbed);
    tcase_add_test(tc, where_somebody_counts_still_nothing_is_absorbed);
    suite_add_tcase(suite, tc);
    return suite;
}
