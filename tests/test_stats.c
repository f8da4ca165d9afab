/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cp_stats.h"
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
    cp_query_stats_merge(&merged, &half[0]);
    cp_query_stats_merge(&merged, &half[1]);
    ck_assert_mem_eq(&merged.us, &h, sizeof(h));
}
END_TEST

/* Give each cell its own number, so that one forgotten or mixed up shows. */
static void number_cells(void *into, void *from, size_t cells)
{
    for (size_t i = 0; i < cells; i++) {
        ((uint64_t *)into)[i] = 1000000;
        ((uint64_t *)from)[i] = i + 1;
    }
}

/* largest: offsets of the cells where the larger one wins, ended by 0. */
static void check_merged(const void *merged, size_t cells,
                         const size_t *largest)
{
    for (size_t i = 0; i < cells; i++) {
        uint64_t expected = 1000000 + i + 1;

        for (const size_t *offset = largest; *offset; offset++) {
            if (*offset == i * sizeof(uint64_t)) {
                expected = 1000000;
            }
        }
        ck_assert_msg(((const uint64_t *)merged)[i] == expected,
                      "cell %zu: %lu", i,
                      (unsigned long)((const uint64_t *)merged)[i]);
    }
}

START_TEST(merge_adds_every_cell)
{
    static const size_t pool_max[] = {offsetof(cp_pool_stats_t, acquire_us.max),
                                      offsetof(cp_pool_stats_t, hold_us.max),
                                      0};
    static const size_t query_max[] = {offsetof(cp_query_stats_t, us.max), 0};
    static const size_t upstream_max[] = {offsetof(cp_upstream_stats_t, us.max),
                                          0};
    static const size_t loop_max[] = {offsetof(cp_loop_stats_t, lag_us), 0};
    static cp_pool_stats_t pool[2];
    static cp_query_stats_t query[2];
    static cp_upstream_stats_t upstream[2];
    static cp_loop_stats_t loop[2];

    number_cells(&pool[0], &pool[1], CELLS(pool[0]));
    cp_pool_stats_merge(&pool[0], &pool[1]);
    check_merged(&pool[0], CELLS(pool[0]), pool_max);

    number_cells(&query[0], &query[1], CELLS(query[0]));
    cp_query_stats_merge(&query[0], &query[1]);
    check_merged(&query[0], CELLS(query[0]), query_max);

    number_cells(&upstream[0], &upstream[1], CELLS(upstream[0]));
    cp_upstream_stats_merge(&upstream[0], &upstream[1]);
    check_merged(&upstream[0], CELLS(upstream[0]), upstream_max);

    number_cells(&loop[0], &loop[1], CELLS(loop[0]));
    cp_loop_stats_merge(&loop[0], &loop[1]);
    check_merged(&loop[0], CELLS(loop[0]), loop_max);
}
END_TEST

START_TEST(merge_keeps_the_larger_maximum)
{
    static cp_query_stats_t into, from;
    cp_loop_stats_t calm = {.lag_us = 3}, late = {.lag_us = 8};

    cp_histogram_record(&into.us, 10);
    cp_histogram_record(&from.us, 4000);
    cp_query_stats_merge(&into, &from);
    ck_assert_uint_eq(into.us.max, 4000);
    cp_loop_stats_merge(&calm, &late);
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
    tcase_add_test(tc, merge_adds_every_cell);
    tcase_add_test(tc, merge_keeps_the_larger_maximum);
    tcase_add_test(tc, threads_lose_nothing);
    tcase_add_test(tc, gauges_go_down_with_a_negative_delta);
    tcase_add_test(tc, close_reasons_have_different_names);
    suite_add_tcase(suite, tc);
    return suite;
}
