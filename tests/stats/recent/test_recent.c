/* SPDX-License-Identifier: Apache-2.0
 * The last minute and the last ten, and how busy pools were. */
#include "stats/recent/recent.h"
#include "stats/recent/room.h"
#include "stats/recent/trend.h"
#include "stats/segment.h"
#include "suites.h"

#include <stdlib.h>
#include <string.h>

#define SEC INT64_C(1000000)
#define MIN (60 * SEC)

static void *memory;
static cp_segment_t *seg;
static cp_clock_t now;

static void setup(void)
{
    cp_segment_layout_t layout = {{2, 2, 2}, 3, {0}};

    cp_room_lay_out(&layout);
    memory = calloc(1, cp_segment_size(&layout));
    seg = cp_segment_init(memory, &layout);
    cp_segment_entry(seg, CP_ENTRY_POOL, "", "a");
    cp_segment_entry(seg, CP_ENTRY_QUERY, "", "q");
    cp_segment_claim(seg, 100);
    cp_segment_claim(seg, 101);
    now = 1000 * MIN;
}

static void teardown(void)
{
    free(memory);
}

/* A sample each second, as maintenance takes them. */
static void pass(cp_clock_t time)
{
    for (cp_clock_t end = now + time; now < end; now += SEC) {
        cp_room_mark(seg, CP_ENTRY_QUERY, 0, now);
        cp_room_mark(seg, CP_ENTRY_POOL, 0, now);
        cp_room_mark(seg, CP_ROOM_SERVER, 0, now);
    }
}

static void run(int child, int times, apr_interval_time_t us)
{
    while (times-- > 0) {
        cp_histogram_record(&cp_segment_query(seg, child, 0)->us, us);
    }
}

static cp_spread_t lately(cp_window_t window)
{
    cp_query_stats_t sum;
    cp_spread_t spread;

    cp_segment_sum_query(seg, 0, &sum);
    cp_recent_spread(
        cp_room_recent(seg, CP_ENTRY_QUERY, 0, offsetof(cp_query_stats_t, us)),
        window, now, &sum.us, &spread);
    return spread;
}

START_TEST(what_came_just_now_is_in_both_windows)
{
    run(0, 10, 100);
    run(1, 5, 3000);
    for (int i = 0; i < CP_WINDOWS; i++) {
        cp_spread_t spread = lately((cp_window_t)i);

        ck_assert_uint_eq(spread.count, 15);
        ck_assert_uint_eq(spread.p50, 102);
        ck_assert_uint_eq(spread.max, 3000);
        ck_assert_uint_le(spread.p99, spread.max);
    }
}
END_TEST

START_TEST(a_minute_passes_though_nobody_counts)
{
    run(0, 10, 100);
    pass(59 * SEC);
    ck_assert_uint_eq(lately(CP_WINDOW_MINUTE).count, 10);
    pass(13 * SEC);
    ck_assert_uint_eq(lately(CP_WINDOW_MINUTE).count, 0);
    ck_assert_uint_eq(lately(CP_WINDOW_MINUTE).p99, 0);
    ck_assert_uint_eq(lately(CP_WINDOW_MINUTE).max, 0);
    ck_assert_uint_eq(lately(CP_WINDOW_TEN).count, 10);
    pass(8 * MIN);
    ck_assert_uint_eq(lately(CP_WINDOW_TEN).count, 10);
    pass(2 * MIN);
    ck_assert_uint_eq(lately(CP_WINDOW_TEN).count, 0);
    pass(100 * MIN);
    ck_assert_uint_eq(lately(CP_WINDOW_TEN).count, 0);
}
END_TEST

/* At a steady rate a window always has what came in its time, and at most what
 * came in one step before it. */
START_TEST(windows_move_with_the_time)
{
    for (int second = 0; second < 3000; second++) {
        uint64_t minute, ten;

        run(second % 2, 10, 50);
        pass(SEC);
        minute = lately(CP_WINDOW_MINUTE).count;
        ten = lately(CP_WINDOW_TEN).count;
        if (second < 59) {
            ck_assert_uint_eq(minute, 10 * (unsigned)(second + 1));
        }
        else {
            ck_assert_uint_ge(minute, 590);
            ck_assert_uint_le(minute, 720);
        }
        if (second < 599) {
            ck_assert_uint_eq(ten, 10 * (unsigned)(second + 1));
        }
        else {
            ck_assert_uint_ge(ten, 5990);
            ck_assert_uint_le(ten, 6720);
        }
    }
}
END_TEST

START_TEST(what_is_new_is_told_from_what_is_old)
{
    run(0, 100000, 5000000);
    pass(5 * MIN);
    run(1, 10, 200);
    ck_assert_uint_eq(lately(CP_WINDOW_MINUTE).count, 10);
    ck_assert_uint_eq(lately(CP_WINDOW_MINUTE).p99, 204);
    /* To the end of its bucket. */
    ck_assert_uint_eq(lately(CP_WINDOW_MINUTE).max, 207);
    ck_assert_uint_eq(lately(CP_WINDOW_TEN).max, 5000000);
}
END_TEST

START_TEST(what_a_child_has_counted_stays_when_it_ends)
{
    run(0, 10, 100);
    cp_segment_fold(seg, 100);
    pass(30 * SEC);
    cp_segment_claim(seg, 102);
    run(0, 1, 100);
    ck_assert_uint_eq(lately(CP_WINDOW_MINUTE).count, 11);
    pass(42 * SEC);
    ck_assert_uint_eq(lately(CP_WINDOW_MINUTE).count, 1);
}
END_TEST

/* Whoever takes the samples may be away for a while. */
START_TEST(samples_may_be_late)
{
    run(0, 10, 100);
    pass(2 * MIN);
    now += 30 * MIN;
    run(0, 3, 100);
    ck_assert_uint_eq(lately(CP_WINDOW_MINUTE).count, 3);
    ck_assert_uint_eq(lately(CP_WINDOW_TEN).count, 3);
    pass(72 * SEC);
    ck_assert_uint_eq(lately(CP_WINDOW_MINUTE).count, 0);
    ck_assert_uint_eq(lately(CP_WINDOW_TEN).count, 3);
}
END_TEST

/* The lower halves of the counts wrap. */
START_TEST(counts_may_be_larger_than_marks)
{
    cp_segment_query(seg, 0, 0)->us.bucket[3] = UINT64_C(0x1fffffff0);
    cp_segment_query(seg, 0, 0)->us.max = 3;
    pass(2 * MIN);
    run(0, 100, 3);
    ck_assert_uint_eq(lately(CP_WINDOW_MINUTE).count, 100);
}
END_TEST

START_TEST(what_is_never_used_costs_no_memory)
{
    static const cp_recent_t untouched;
    size_t offset = offsetof(cp_query_stats_t, us);

    run(0, 10, 100);
    pass(20 * MIN);
    ck_assert_int_ne(memcmp(cp_room_recent(seg, CP_ENTRY_QUERY, 0, offset),
                            &untouched, sizeof(untouched)),
                     0);
    ck_assert_int_eq(memcmp(cp_room_recent(seg, CP_ENTRY_QUERY, 1, offset),
                            &untouched, sizeof(untouched)),
                     0);
    offset = offsetof(cp_pool_stats_t, hold_us);
    ck_assert_int_eq(memcmp(cp_room_recent(seg, CP_ENTRY_POOL, 0, offset),
                            &untouched, sizeof(untouched)),
                     0);
}
END_TEST

START_TEST(each_has_a_place_of_its_own)
{
    static const size_t offsets[] = {offsetof(cp_pool_stats_t, acquire_us),
                                     offsetof(cp_pool_stats_t, hold_us),
                                     offsetof(cp_pool_stats_t, create_us)};
    const char *end = (const char *)cp_room_recent(
                          seg, CP_ROOM_SERVER, 0,
                          offsetof(cp_process_stats_t, request_us))
                      + sizeof(cp_recent_t);
    const char *before = NULL;

    for (int entry = 0; entry < 2; entry++) {
        for (int i = 0; i < 3; i++) {
            const char *place = (const char *)cp_room_recent(seg, CP_ENTRY_POOL,
                                                             entry, offsets[i]);

            ck_assert(!before || place >= before + sizeof(cp_recent_t));
            before = place;
        }
        ck_assert((const char *)cp_room_trend(seg, entry)
                  >= before + sizeof(cp_recent_t));
    }
    ck_assert(end <= (const char *)cp_segment_pool(seg, 0, 0));
    ck_assert_ptr_null(cp_room_recent(seg, CP_ENTRY_POOL, 2, offsets[0]));
    ck_assert_ptr_null(cp_room_recent(seg, CP_ENTRY_POOL, -1, offsets[0]));
    ck_assert_ptr_null(cp_room_recent(seg, CP_ENTRY_POOL, 0, 0));
    ck_assert_ptr_null(cp_room_trend(seg, -1));
    ck_assert(!cp_room_has_recent(CP_ENTRY_UPSTREAM,
                                  offsetof(cp_upstream_stats_t, span_us)));
}
END_TEST

START_TEST(a_trend_has_the_most_of_each_step)
{
    cp_trend_t trend = {0};
    cp_trend_point_t point;

    now = 1000 * CP_TREND_STEP;
    ck_assert(!cp_trend_read(&trend, 0, now, &point));
    cp_trend_note(&trend, 3, 0, now);
    cp_trend_note(&trend, 9, 2, now + SEC);
    cp_trend_note(&trend, 1, 7, now + 2 * SEC);
    cp_trend_note(&trend, UINT64_MAX, 1, now + CP_TREND_STEP);
    now += CP_TREND_STEP + SEC;
    ck_assert(cp_trend_read(&trend, 1, now, &point));
    ck_assert_uint_eq(point.busy, 9);
    ck_assert_uint_eq(point.waiting, 7);
    ck_assert(cp_trend_read(&trend, 0, now, &point));
    ck_assert_uint_eq(point.busy, UINT32_MAX);
    ck_assert(!cp_trend_read(&trend, 2, now, &point));
    now += (CP_TREND_POINTS - 2) * CP_TREND_STEP;
    ck_assert(cp_trend_read(&trend, CP_TREND_POINTS - 1, now, &point));
    ck_assert_uint_eq(point.busy, 9);
    /* Its place is taken by a later one, or by none. */
    now += 3 * CP_TREND_STEP;
    for (int ago = 0; ago < CP_TREND_POINTS; ago++) {
        ck_assert(!cp_trend_read(&trend, ago, now, &point));
    }
}
END_TEST

Suite *recent_suite(void)
{
    Suite *suite = suite_create("recent");
    TCase *tc = tcase_create("recent");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, what_came_just_now_is_in_both_windows);
    tcase_add_test(tc, a_minute_passes_though_nobody_counts);
    tcase_add_test(tc, windows_move_with_the_time);
    tcase_add_test(tc, what_is_new_is_told_from_what_is_old);
    tcase_add_test(tc, what_a_child_has_counted_stays_when_it_ends);
    tcase_add_test(tc, samples_may_be_late);
    tcase_add_test(tc, counts_may_be_larger_than_marks);
    tcase_add_test(tc, what_is_never_used_costs_no_memory);
    tcase_add_test(tc, each_has_a_place_of_its_own);
    tcase_add_test(tc, a_trend_has_the_most_of_each_step);
    suite_add_tcase(suite, tc);
    return suite;
}
