/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "stats/cell.h"
#include "stats/metric.h"
#include "stats/stats.h"
#include "stats/tables.h"
#include "suites.h"

#define HOUR_US     (3600 * APR_USEC_PER_SEC)
#define CELLS(type) (sizeof(type) / sizeof(uint64_t))

static cp_histogram_t h;

static void setup(void)
{
    memset(&h, 0, sizeof(h));
}

static int bucket_holding(apr_interval_time_t us)
{
    int found = -1;

    setup();
    cp_histogram_record(&h, us);
    for (int i = 0; i < CP_HISTOGRAM_BUCKETS; i++) {
        if (h.bucket[i]) {
            ck_assert_int_eq(found, -1);
            ck_assert_uint_eq(h.bucket[i], 1);
            found = i;
        }
    }
    return found;
}

START_TEST(each_value_below_32_has_its_own_bucket)
{
    for (int us = 0; us < 32; us++) {
        ck_assert_int_eq(bucket_holding(us), us);
    }
    ck_assert_int_eq(bucket_holding(32), bucket_holding(33));
}
END_TEST

START_TEST(buckets_join_without_gap_or_overlap)
{
    int expected = 16;

    for (int exponent = 4; exponent < 32; exponent++) {
        for (int sixteenth = 0; sixteenth < 16; sixteenth++) {
            int64_t low = INT64_C(16) + sixteenth;
            int64_t width = INT64_C(1) << (exponent - 4);

            low *= width;
            ck_assert_int_eq(bucket_holding(low - 1), expected - 1);
            ck_assert_int_eq(bucket_holding(low), expected);
            ck_assert_int_eq(bucket_holding(low + width - 1), expected);
            expected++;
        }
    }
    ck_assert_int_eq(expected, CP_HISTOGRAM_BUCKETS);
    ck_assert_int_eq(bucket_holding(UINT32_MAX), CP_HISTOGRAM_BUCKETS - 1);
}
END_TEST

START_TEST(huge_values_count_in_the_last_bucket)
{
    static const int64_t huge[] = {INT64_C(1) << 32, INT64_C(1) << 62,
                                   INT64_MAX};

    for (size_t i = 0; i < sizeof(huge) / sizeof(huge[0]); i++) {
        ck_assert_int_eq(bucket_holding(huge[i]), CP_HISTOGRAM_BUCKETS - 1);
        ck_assert_uint_eq(h.max, (uint64_t)huge[i]);
        ck_assert_uint_eq(h.sum, (uint64_t)huge[i]);
    }
}
END_TEST

START_TEST(negative_values_count_as_zero)
{
    ck_assert_int_eq(bucket_holding(-1), 0);
    ck_assert_int_eq(bucket_holding(INT64_MIN), 0);
    ck_assert_uint_eq(h.sum, 0);
    ck_assert_uint_eq(h.max, 0);
    ck_assert_uint_eq(cp_histogram_quantile(&h, 0.5), 0);
}
END_TEST

START_TEST(empty_histogram_answers_zero)
{
    ck_assert_uint_eq(cp_histogram_count(&h), 0);
    ck_assert_uint_eq(cp_histogram_quantile(&h, 0.5), 0);
    ck_assert_uint_eq(cp_histogram_quantile(&h, 1), 0);
}
END_TEST

/* Spread evenly over the orders of magnitude from 1 us to 1 h. */
static uint64_t random_us(unsigned *seed)
{
    double share = rand_r(seed) / (double)RAND_MAX;

    return (uint64_t)exp(share * log((double)HOUR_US));
}

START_TEST(a_value_is_reported_within_five_percent)
{
    unsigned seed = 1;

    for (int i = 0; i < 20000; i++) {
        uint64_t us = random_us(&seed);
        double seen;

        setup();
        cp_histogram_record(&h, (apr_interval_time_t)us);
        h.max = UINT64_MAX; /* the bucket alone shall be good enough */
        seen = (double)cp_histogram_quantile(&h, 0.5);
        ck_assert_msg(fabs(seen - (double)us) <= 0.05 * (double)us,
                      "%lu us reported as %.0f", (unsigned long)us, seen);
    }
}
END_TEST

static int by_value(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

START_TEST(quantiles_agree_with_sorted_samples)
{
    enum {
        SAMPLES = 9973
    };
    static const double shares[] = {0, 0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1};
    static uint64_t sample[SAMPLES];
    unsigned seed = 2;

    for (int i = 0; i < SAMPLES; i++) {
        sample[i] = random_us(&seed);
        cp_histogram_record(&h, (apr_interval_time_t)sample[i]);
    }
    qsort(sample, SAMPLES, sizeof(sample[0]), by_value);
    ck_assert_uint_eq(cp_histogram_count(&h), SAMPLES);
    ck_assert_uint_eq(h.max, sample[SAMPLES - 1]);
    for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        int rank = (int)ceil(shares[i] * SAMPLES);
        double exact = (double)sample[rank > 0 ? rank - 1 : 0];
        double seen = (double)cp_histogram_quantile(&h, shares[i]);

        ck_assert_msg(fabs(seen - exact) <= 0.032 * exact + 0.5,
                      "q %g: %.0f, exactly %.0f", shares[i], seen, exact);
    }
}
END_TEST

START_TEST(quantile_picks_the_right_rank_of_few_values)
{
    for (int us = 1; us <= 10; us++) {
        cp_histogram_record(&h, us);
    }
    ck_assert_uint_eq(cp_histogram_quantile(&h, 0), 1);
    ck_assert_uint_eq(cp_histogram_quantile(&h, 0.1), 1);
    ck_assert_uint_eq(cp_histogram_quantile(&h, 0.11), 2);
    ck_assert_uint_eq(cp_histogram_quantile(&h, 0.5), 5);
    ck_assert_uint_eq(cp_histogram_quantile(&h, 0.99), 10);
    ck_assert_uint_eq(cp_histogram_quantile(&h, 1), 10);
    ck_assert_uint_eq(cp_histogram_quantile(&h, -3), 1);
    ck_assert_uint_eq(cp_histogram_quantile(&h, 7), 10);
    ck_assert_uint_eq(cp_histogram_quantile(&h, NAN), 1);
}
END_TEST

START_TEST(quantile_is_never_above_the_maximum)
{
    cp_histogram_record(&h, 1024); /* the middle of its bucket is 1056 */
    ck_assert_uint_eq(cp_histogram_quantile(&h, 0.5), 1024);
    cp_histogram_record(&h, 5000);
    ck_assert_uint_eq(cp_histogram_quantile(&h, 0.5), 1056);
}
END_TEST

START_TEST(merging_equals_recording_in_one)
{
    static cp_query_stats_t half[2], merged;
    unsigned seed = 3;

    for (int i = 0; i < 5000; i++) {
        apr_interval_time_t us = (apr_interval_time_t)random_us(&seed);

        cp_histogram_record(&h, us);
        cp_histogram_record(&half[i % 2].us, us);
    }
    cp_metrics_merge(&cp_query_metrics, &merged, &half[0]);
    cp_metrics_merge(&cp_query_metrics, &merged, &half[1]);
    ck_assert_mem_eq(&merged.us, &h, sizeof(h));
}
END_TEST

/* How a merge treats a cell that is not added. */
typedef enum rule_t {
    ADDED,
    LARGER,
    OLDEST, /* 0 is no time at all */
    LEFT    /* not part of a sum */
} rule_t;

typedef struct exception_t {
    size_t begin;
    size_t end;
    rule_t rule;
} exception_t;

#define CELL(type, member, rule)                                               \
    {                                                                          \
        offsetof(type, member),                                                \
            offsetof(type, member) + sizeof(((type *)0)->member), rule         \
    }

static rule_t rule_for(const exception_t *exceptions, size_t offset)
{
    for (; exceptions->end > 0; exceptions++) {
        if (offset >= exceptions->begin && offset < exceptions->end) {
            return exceptions->rule;
        }
    }
    return ADDED;
}

/* Give each cell its own number, so that one forgotten or mixed up shows. A
 * cell in `into` is larger than its neighbour in `from` when it is odd. */
static uint64_t number_of(size_t cell, int is_from)
{
    return is_from ? 1000000 + cell : cell % 2 ? 2000000 + cell : cell + 1;
}

static void number_cells(void *into, void *from, size_t cells)
{
    for (size_t i = 0; i < cells; i++) {
        ((uint64_t *)into)[i] = number_of(i, 0);
        ((uint64_t *)from)[i] = number_of(i, 1);
    }
}

static void check_merged(const void *merged, size_t cells,
                         const exception_t *exceptions)
{
    for (size_t i = 0; i < cells; i++) {
        uint64_t into = number_of(i, 0), from = number_of(i, 1);
        uint64_t expected[] = {
            [ADDED] = into + from,
            [LARGER] = into > from ? into : from,
            [OLDEST] = into < from ? into : from,
            [LEFT] = into,
        };
        rule_t rule = rule_for(exceptions, i * sizeof(uint64_t));

        ck_assert_msg(((const uint64_t *)merged)[i] == expected[rule],
                      "cell %zu: %lu, not %lu", i,
                      (unsigned long)((const uint64_t *)merged)[i],
                      (unsigned long)expected[rule]);
    }
}

#define CHECK_MERGE(type, metrics, exceptions)                                 \
    do {                                                                       \
        static type both[2];                                                   \
                                                                               \
        number_cells(&both[0], &both[1], CELLS(type));                         \
        cp_metrics_merge(metrics, &both[0], &both[1]);                         \
        check_merged(&both[0], CELLS(type), exceptions);                       \
    } while (0)

START_TEST(merge_knows_every_cell)
{
    static const exception_t pool[] = {
        CELL(cp_pool_stats_t, busy_max, LARGER),
        CELL(cp_pool_stats_t, open_max, LARGER),
        CELL(cp_pool_stats_t, waiting_max, LARGER),
        CELL(cp_pool_stats_t, driver_gauges[CP_GAUGES_HELD], LARGER),
        CELL(cp_pool_stats_t, waiting_since, OLDEST),
        CELL(cp_pool_stats_t, holders, LEFT),
        CELL(cp_pool_stats_t, acquire_us.max, LARGER),
        CELL(cp_pool_stats_t, refused_us.max, LARGER),
        CELL(cp_pool_stats_t, hold_us.max, LARGER),
        CELL(cp_pool_stats_t, create_us.max, LARGER),
        {0, 0, ADDED},
    };
    static const exception_t query[] = {
        CELL(cp_query_stats_t, us.max, LARGER),
        CELL(cp_query_stats_t, failed_us.max, LARGER),
        {0, 0, ADDED},
    };
    static const exception_t upstream[] = {
        CELL(cp_upstream_stats_t, answered_at, LARGER),
        CELL(cp_upstream_stats_t, failed_at, LARGER),
        CELL(cp_upstream_stats_t, breaker_until, LARGER),
        CELL(cp_upstream_stats_t, span_us[0].max, LARGER),
        CELL(cp_upstream_stats_t, span_us[1].max, LARGER),
        CELL(cp_upstream_stats_t, span_us[2].max, LARGER),
        CELL(cp_upstream_stats_t, span_us[3].max, LARGER),
        CELL(cp_upstream_stats_t, span_us[4].max, LARGER),
        CELL(cp_upstream_stats_t, us.max, LARGER),
        CELL(cp_upstream_stats_t, failed_us.max, LARGER),
        {0, 0, ADDED},
    };
    static const exception_t loop[] = {
        CELL(cp_loop_stats_t, lag_us, LARGER),
        CELL(cp_loop_stats_t, heartbeat, LARGER),
        {0, 0, ADDED},
    };
    static const exception_t process[] = {
        CELL(cp_process_stats_t, rss_max_bytes, LARGER),
        CELL(cp_process_stats_t, request_us.max, LARGER),
        CELL(cp_process_stats_t, request_failed_us.max, LARGER),
        {0, 0, ADDED},
    };

    static const exception_t batch[] = {{0, 0, ADDED}};

    CHECK_MERGE(cp_batch_stats_t, &cp_batch_metrics, batch);
    CHECK_MERGE(cp_pool_stats_t, &cp_pool_metrics, pool);
    CHECK_MERGE(cp_query_stats_t, &cp_query_metrics, query);
    CHECK_MERGE(cp_upstream_stats_t, &cp_upstream_metrics, upstream);
    CHECK_MERGE(cp_loop_stats_t, &cp_loop_metrics, loop);
    CHECK_MERGE(cp_process_stats_t, &cp_process_metrics, process);
}
END_TEST

/* Each byte of a struct belongs to one row, but for those of holders, which
 * stand last. */
static void check_covered(const cp_metrics_t *metrics, size_t end)
{
    size_t offset = 0;

    for (const cp_metric_t *row = cp_metrics_from(metrics, 0); row;
         row = cp_metrics_from(metrics, offset)) {
        ck_assert_msg(row->offset == offset, "no row begins at %zu", offset);
        ck_assert_int_gt(cp_metric_cells(row), 0);
        offset += row->size;
    }
    ck_assert_uint_eq(offset, end);
}

START_TEST(tables_have_a_row_for_each_member)
{
    check_covered(&cp_pool_metrics, offsetof(cp_pool_stats_t, holders));
    check_covered(&cp_query_metrics, sizeof(cp_query_stats_t));
    check_covered(&cp_upstream_metrics, sizeof(cp_upstream_stats_t));
    check_covered(&cp_loop_metrics, sizeof(cp_loop_stats_t));
    check_covered(&cp_process_metrics, sizeof(cp_process_stats_t));
    check_covered(&cp_batch_metrics, sizeof(cp_batch_stats_t));
}
END_TEST

/* What is shown has a name and says what it is; families stand together. */
static void check_names(const cp_metrics_t *metrics)
{
    for (int i = 0; i < metrics->count; i++) {
        const cp_metric_t *row = &metrics->rows[i];
        int is_first = 1;

        ck_assert(row->json || !row->family);
        ck_assert(!row->family || row->help);
        ck_assert(!row->family || cp_metric_cells(row) == 1 || row->key);
        for (int k = 0; k < i && row->family; k++) {
            if (metrics->rows[k].family
                && strcmp(metrics->rows[k].family, row->family) == 0) {
                is_first = 0;
            }
        }
        if (row->family && !is_first) {
            ck_assert_str_eq(metrics->rows[i - 1].family, row->family);
        }
    }
}

START_TEST(tables_name_what_is_shown)
{
    check_names(&cp_pool_metrics);
    check_names(&cp_query_metrics);
    check_names(&cp_upstream_metrics);
    check_names(&cp_loop_metrics);
    check_names(&cp_process_metrics);
    check_names(&cp_batch_metrics);
}
END_TEST

START_TEST(what_vanishes_is_settled_and_nothing_else)
{
    cp_loop_stats_t loop = {1, 2, 3, 4, 5, 6, 7};
    static cp_pool_stats_t pool;

    cp_metrics_settle(&cp_loop_metrics, &loop);
    ck_assert_uint_eq(
        loop.running + loop.in_flight + loop.lag_us + loop.heartbeat, 0);
    ck_assert_uint_eq(loop.restarts, 2);
    ck_assert_uint_eq(loop.inline_runs, 5);
    ck_assert_uint_eq(loop.iterations, 6);
    memset(&pool, 1, sizeof(pool));
    cp_metrics_settle(&cp_pool_metrics, &pool);
    for (int i = 0; i < CP_POOL_PARTS; i++) {
        ck_assert_uint_eq(pool.waiting_since[i] + pool.down[i], 0);
        ck_assert_uint_eq(pool.driver_gauges[i], 0);
    }
    ck_assert_uint_ne(pool.busy_max, 0);
    ck_assert_uint_ne(pool.hold_us.max, 0);
}
END_TEST

START_TEST(a_gauge_below_zero_is_none)
{
    cp_loop_stats_t loop = {(uint64_t)-1, (uint64_t)-2, 3, 4, 5, 6, 7};

    cp_metrics_floor(&cp_loop_metrics, &loop);
    ck_assert_uint_eq(loop.running, 0);
    ck_assert_uint_eq(loop.restarts, (uint64_t)-2);
    ck_assert_uint_eq(loop.in_flight, 3);
}
END_TEST

START_TEST(nobody_waiting_is_no_time)
{
    static cp_pool_stats_t into, from;

    from.waiting_since[0] = 70;
    into.waiting_since[1] = 80;
    cp_metrics_merge(&cp_pool_metrics, &into, &from);
    ck_assert_uint_eq(into.waiting_since[0], 70);
    ck_assert_uint_eq(into.waiting_since[1], 80);
}
END_TEST

/* A counter is unsigned: half of its range is not where it ends. */
START_TEST(sums_go_on_beyond_2_to_the_63)
{
    static const uint64_t half = UINT64_C(1) << 63;
    static cp_query_stats_t into, from;
    uint64_t counter = half - 1;

    cp_stats_add(&counter, 1);
    ck_assert_uint_eq(cp_stats_get(&counter), half);
    cp_stats_add(&counter, 5);
    ck_assert_uint_eq(cp_stats_get(&counter), half + 5);

    into.rows = half - 1;
    from.rows = half - 2;
    cp_metrics_merge(&cp_query_metrics, &into, &from);
    ck_assert_uint_eq(into.rows, UINT64_MAX - 2);
    cp_stats_raise(&counter, half);
    ck_assert_uint_eq(counter, half + 5);
    cp_stats_raise(&counter, UINT64_MAX);
    ck_assert_uint_eq(counter, UINT64_MAX);
}
END_TEST

START_TEST(a_histogram_holds_the_longest_durations)
{
    for (int i = 0; i < 2; i++) {
        cp_histogram_record(&h, INT64_MAX);
    }
    ck_assert_uint_eq(cp_histogram_count(&h), 2);
    ck_assert_uint_eq(h.sum, UINT64_MAX - 1);
    ck_assert_uint_eq(h.max, INT64_MAX);
    ck_assert_uint_eq(cp_histogram_below(&h, UINT64_MAX), 2);
    h.bucket[0] = UINT64_C(1) << 63;
    ck_assert_uint_eq(cp_histogram_count(&h), (UINT64_C(1) << 63) + 2);
    ck_assert_uint_eq(cp_histogram_quantile(&h, 0.5), 0);
}
END_TEST

START_TEST(below_counts_what_is_at_most_so_long)
{
    static const int64_t us[] = {0, 5, 5, 31, 1000, 900000};

    for (size_t i = 0; i < sizeof(us) / sizeof(us[0]); i++) {
        cp_histogram_record(&h, us[i]);
    }
    ck_assert_uint_eq(cp_histogram_below(&h, 0), 1);
    ck_assert_uint_eq(cp_histogram_below(&h, 4), 1);
    ck_assert_uint_eq(cp_histogram_below(&h, 5), 3);
    ck_assert_uint_eq(cp_histogram_below(&h, 31), 4);
    ck_assert_uint_eq(cp_histogram_below(&h, 950), 4);
    ck_assert_uint_eq(cp_histogram_below(&h, 1050), 5);
    ck_assert_uint_eq(cp_histogram_below(&h, 1000000), 6);
    ck_assert_uint_eq(cp_histogram_below(&h, UINT64_MAX), 6);
}
END_TEST

START_TEST(below_grows_and_ends_at_the_count)
{
    unsigned seed = 4;
    uint64_t last = 0;

    for (int i = 0; i < 3000; i++) {
        cp_histogram_record(&h, (apr_interval_time_t)random_us(&seed));
    }
    for (uint64_t us = 1; us < UINT64_C(1) << 33; us += us / 7 + 1) {
        uint64_t below = cp_histogram_below(&h, us);

        ck_assert_uint_ge(below, last);
        last = below;
    }
    ck_assert_uint_eq(last, 3000);
}
END_TEST

START_TEST(merge_keeps_the_larger_maximum)
{
    static cp_query_stats_t into, from;
    cp_loop_stats_t calm = {.lag_us = 3}, late = {.lag_us = 8};

    cp_histogram_record(&into.us, 10);
    cp_histogram_record(&from.us, 4000);
    cp_metrics_merge(&cp_query_metrics, &into, &from);
    ck_assert_uint_eq(into.us.max, 4000);
    cp_metrics_merge(&cp_loop_metrics, &calm, &late);
    ck_assert_uint_eq(calm.lag_us, 8);
}
END_TEST

enum {
    THREADS = 4,
    ROUNDS = 20000
};

static void *record_many(void *data)
{
    int which = (int)(intptr_t)data;

    for (int i = 0; i < ROUNDS; i++) {
        cp_histogram_record(&h, which * ROUNDS + i);
    }
    return NULL;
}

START_TEST(threads_lose_nothing)
{
    pthread_t thread[THREADS];
    uint64_t n = (uint64_t)THREADS * ROUNDS;

    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(
            pthread_create(&thread[i], NULL, record_many, (void *)(intptr_t)i),
            0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
    }
    ck_assert_uint_eq(cp_histogram_count(&h), n);
    ck_assert_uint_eq(h.sum, n * (n - 1) / 2);
    ck_assert_uint_eq(h.max, n - 1);
}
END_TEST

typedef struct marker_t {
    uint64_t cell;
    int first;
} marker_t;

static void *raise_often(void *data)
{
    marker_t *marker = data;
    int offset = __atomic_fetch_add(&marker->first, 1, __ATOMIC_RELAXED);

    for (int i = 0; i < ROUNDS; i++) {
        cp_stats_raise(&marker->cell, (uint64_t)(i * THREADS + offset));
        ck_assert_uint_ge(cp_stats_get(&marker->cell),
                          (uint64_t)(i * THREADS + offset));
    }
    return NULL;
}

START_TEST(a_mark_only_rises)
{
    pthread_t thread[THREADS];
    marker_t marker = {0};

    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_create(&thread[i], NULL, raise_often, &marker),
                         0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
    }
    ck_assert_uint_eq(marker.cell, (uint64_t)THREADS * ROUNDS - 1);
    cp_stats_raise(&marker.cell, 5);
    ck_assert_uint_eq(marker.cell, (uint64_t)THREADS * ROUNDS - 1);
}
END_TEST

START_TEST(spans_have_different_names)
{
    for (int i = 0; i < CP_SPANS; i++) {
        for (int k = 0; k < i; k++) {
            ck_assert_str_ne(cp_span_name((cp_span_t)i),
                             cp_span_name((cp_span_t)k));
        }
    }
    ck_assert_str_eq(cp_span_name(CP_SPAN_TLS), "tls");
    ck_assert_str_eq(cp_span_name(CP_SPANS), "unknown");
}
END_TEST

START_TEST(gauges_go_down_with_a_negative_delta)
{
    uint64_t gauge = 0;

    cp_stats_add(&gauge, 3);
    cp_stats_add(&gauge, -2);
    ck_assert_uint_eq(cp_stats_get(&gauge), 1);
}
END_TEST

START_TEST(close_reasons_have_different_names)
{
    for (int i = 0; i < CP_CLOSE_REASONS; i++) {
        ck_assert_ptr_nonnull(cp_close_reason_name((cp_close_reason_t)i));
        for (int k = 0; k < i; k++) {
            ck_assert_str_ne(cp_close_reason_name((cp_close_reason_t)i),
                             cp_close_reason_name((cp_close_reason_t)k));
        }
    }
    ck_assert_str_eq(cp_close_reason_name(CP_CLOSE_IDLE), "idle");
    ck_assert_str_eq(cp_close_reason_name(CP_CLOSE_KILLED), "killed");
    ck_assert_str_eq(cp_close_reason_name(CP_CLOSE_REASONS), "unknown");
}
END_TEST

Suite *stats_suite(void)
{
    Suite *suite = suite_create("stats");
    TCase *tc = tcase_create("stats");

    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, each_value_below_32_has_its_own_bucket);
    tcase_add_test(tc, buckets_join_without_gap_or_overlap);
    tcase_add_test(tc, huge_values_count_in_the_last_bucket);
    tcase_add_test(tc, negative_values_count_as_zero);
    tcase_add_test(tc, empty_histogram_answers_zero);
    tcase_add_test(tc, a_value_is_reported_within_five_percent);
    tcase_add_test(tc, quantiles_agree_with_sorted_samples);
    tcase_add_test(tc, quantile_picks_the_right_rank_of_few_values);
    tcase_add_test(tc, quantile_is_never_above_the_maximum);
    tcase_add_test(tc, merging_equals_recording_in_one);
    tcase_add_test(tc, merge_knows_every_cell);
    tcase_add_test(tc, tables_have_a_row_for_each_member);
    tcase_add_test(tc, tables_name_what_is_shown);
    tcase_add_test(tc, what_vanishes_is_settled_and_nothing_else);
    tcase_add_test(tc, a_gauge_below_zero_is_none);
    tcase_add_test(tc, nobody_waiting_is_no_time);
    tcase_add_test(tc, sums_go_on_beyond_2_to_the_63);
    tcase_add_test(tc, a_histogram_holds_the_longest_durations);
    tcase_add_test(tc, below_counts_what_is_at_most_so_long);
    tcase_add_test(tc, below_grows_and_ends_at_the_count);
    tcase_add_test(tc, a_mark_only_rises);
    tcase_add_test(tc, spans_have_different_names);
    tcase_add_test(tc, merge_keeps_the_larger_maximum);
    tcase_add_test(tc, threads_lose_nothing);
    tcase_add_test(tc, gauges_go_down_with_a_negative_delta);
    tcase_add_test(tc, close_reasons_have_different_names);
    suite_add_tcase(suite, tc);
    return suite;
}
