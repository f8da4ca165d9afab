/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stats/cell.h"
#include "base/clock.h"
#include "stats/segment.h"
#include "suites.h"

/* Long enough for the slowest machine; reached only by a failing test. */
#define PATIENCE (20 * APR_USEC_PER_SEC)

static const cp_segment_layout_t layout = {
    .entries =
        {[CP_ENTRY_POOL] = 3, [CP_ENTRY_QUERY] = 2, [CP_ENTRY_UPSTREAM] = 2},
    .children = 4,
};

static char *memory;
static size_t memory_size;
static cp_segment_t *seg;
static cp_pool_stats_t sum;

static void *share(size_t size)
{
    void *shared = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    ck_assert_ptr_ne(shared, MAP_FAILED);
    return shared;
}

static void setup(void)
{
    /* Shared memory of APR is aligned no better than this. */
    memory_size = cp_segment_size(&layout) + sizeof(size_t);
    memory = share(memory_size);
    seg = cp_segment_init(memory + sizeof(size_t), &layout);
}

static void teardown(void)
{
    munmap(memory, memory_size);
}

static void check_inside(const void *cells, size_t size, char *map)
{
    size_t offset = (size_t)((const char *)cells - memory);

    ck_assert_uint_eq((uintptr_t)cells % 64, 0);
    ck_assert((const char *)cells >= memory);
    ck_assert_uint_le(offset + size, memory_size);
    for (size_t i = 0; i < size; i++) {
        ck_assert_msg(!map[offset + i], "byte %zu belongs to two", offset + i);
        map[offset + i] = 1;
    }
}

START_TEST(all_cells_lie_inside_aligned_and_apart)
{
    char *map = calloc(1, memory_size);

    for (int child = 0; child < layout.children; child++) {
        for (int i = 0; i < layout.entries[CP_ENTRY_POOL]; i++) {
            check_inside(cp_segment_pool(seg, child, i),
                         sizeof(cp_pool_stats_t), map);
        }
        for (int i = 0; i < layout.entries[CP_ENTRY_QUERY]; i++) {
            check_inside(cp_segment_query(seg, child, i),
                         sizeof(cp_query_stats_t), map);
        }
        for (int i = 0; i < layout.entries[CP_ENTRY_UPSTREAM]; i++) {
            check_inside(cp_segment_upstream(seg, child, i),
                         sizeof(cp_upstream_stats_t), map);
        }
    }
    free(map);
}
END_TEST

START_TEST(an_entry_keeps_its_index)
{
    ck_assert_int_eq(cp_segment_entry(seg, CP_ENTRY_POOL, "", "a"), 0);
    ck_assert_int_eq(cp_segment_entry(seg, CP_ENTRY_POOL, "", "b"), 1);
    ck_assert_int_eq(cp_segment_entry(seg, CP_ENTRY_POOL, "www", "a"), 2);
    ck_assert_int_eq(cp_segment_entry(seg, CP_ENTRY_QUERY, "", "b"), 0);
    ck_assert_int_eq(cp_segment_entry(seg, CP_ENTRY_POOL, "", "b"), 1);
    ck_assert_int_eq(cp_segment_entry(seg, CP_ENTRY_POOL, "www", "a"), 2);
    ck_assert_int_eq(cp_segment_entry(seg, CP_ENTRY_POOL, "", "a"), 0);
}
END_TEST

START_TEST(a_full_directory_takes_no_more)
{
    ck_assert_int_eq(cp_segment_entry(seg, CP_ENTRY_QUERY, "", "a"), 0);
    ck_assert_int_eq(cp_segment_entry(seg, CP_ENTRY_QUERY, "", "b"), 1);
    ck_assert_int_eq(cp_segment_entry(seg, CP_ENTRY_QUERY, "", "c"), -1);
    ck_assert_int_eq(cp_segment_entry(seg, CP_ENTRY_QUERY, "", "b"), 1);
    ck_assert_int_eq(cp_segment_entry(seg, CP_ENTRY_UPSTREAM, "", "c"), 0);
}
END_TEST

START_TEST(long_names_are_cut)
{
    char name[201];

    memset(name, 'n', sizeof(name));
    name[200] = '\0';
    ck_assert_int_eq(cp_segment_entry(seg, CP_ENTRY_POOL, name, name), 0);
    ck_assert_int_eq(cp_segment_entry(seg, CP_ENTRY_POOL, "", name), 1);
    name[127] = '\0'; /* the same 127 bytes */
    ck_assert_int_eq(cp_segment_entry(seg, CP_ENTRY_POOL, "", name), 1);
    name[126] = '\0';
    ck_assert_int_eq(cp_segment_entry(seg, CP_ENTRY_POOL, "", name), 2);
}
END_TEST

START_TEST(each_child_claims_one_slot)
{
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(cp_segment_claim(seg, 100 + i), i);
    }
    ck_assert_int_eq(cp_segment_claim(seg, 102), 2);
    ck_assert_int_eq(cp_segment_claim(seg, 200), -1);
    ck_assert_int_eq(cp_segment_children(seg), 4);
    cp_segment_fold(seg, 101);
    ck_assert_int_eq(cp_segment_children(seg), 3);
    ck_assert_int_eq(cp_segment_claim(seg, 200), 1);
    ck_assert_int_eq(cp_segment_claim(seg, 103), 3);
}
END_TEST

START_TEST(unknown_pids_are_ignored)
{
    ck_assert_int_eq(cp_segment_claim(seg, 0), -1);
    ck_assert_int_eq(cp_segment_claim(seg, -1), -1);
    ck_assert_int_eq(cp_segment_claim(seg, 100), 0);
    cp_segment_fold(seg, 0); /* the pid of free slots */
    cp_segment_fold(seg, -1);
    cp_segment_fold(seg, 101);
    ck_assert_int_eq(cp_segment_children(seg), 1);
}
END_TEST

/* 7 acquired, 5 of them back; 4 opened, 1 of them closed. */
static void count_a_little(cp_pool_stats_t *stats)
{
    cp_stats_add(&stats->acquired, 7);
    cp_stats_add(&stats->released, 5);
    cp_stats_add(&stats->busy, 2);
    cp_stats_add(&stats->created, 4);
    cp_stats_add(&stats->closed[CP_CLOSE_IDLE], 1);
    cp_stats_add(&stats->open, 3);
    cp_stats_add(&stats->idle, 1);
    cp_stats_add(&stats->waiting, 6);
    stats->down[1] = 1;
    cp_stats_add(&stats->memory_bytes, 1000);
    cp_histogram_record(&stats->acquire_us, 10);
}

static void check_sum(uint64_t times, uint64_t abandoned, uint64_t busy)
{
    uint64_t killed = abandoned / 2 * 3;

    cp_segment_sum_pool(seg, 0, &sum);
    ck_assert_uint_eq(sum.acquired, 7 * times);
    ck_assert_uint_eq(sum.released, 5 * times);
    ck_assert_uint_eq(sum.abandoned, abandoned);
    ck_assert_uint_eq(sum.busy, busy);
    ck_assert_uint_eq(sum.created, 4 * times);
    ck_assert_uint_eq(sum.closed[CP_CLOSE_IDLE], times);
    ck_assert_uint_eq(sum.closed[CP_CLOSE_KILLED], killed);
    ck_assert_uint_eq(sum.open, busy / 2 * 3);
    ck_assert_uint_eq(sum.idle, busy / 2);
    ck_assert_uint_eq(sum.waiting, busy * 3);
    ck_assert_uint_eq(sum.down[1], busy / 2);
    ck_assert_uint_eq(sum.memory_bytes, busy * 500);
    ck_assert_uint_eq(cp_histogram_count(&sum.acquire_us), times);
}

START_TEST(a_fold_settles_what_the_dead_child_held)
{
    cp_segment_entry(seg, CP_ENTRY_POOL, "", "a");
    for (int i = 0; i < 2; i++) {
        int child = cp_segment_claim(seg, 100 + i);

        count_a_little(cp_segment_pool(seg, child, 0));
    }
    check_sum(2, 0, 4);
    cp_segment_fold(seg, 100);
    check_sum(2, 2, 2);
    cp_segment_fold(seg, 100);
    check_sum(2, 2, 2);
    /* The next child in that slot adds to it. */
    count_a_little(cp_segment_pool(seg, cp_segment_claim(seg, 102), 0));
    check_sum(3, 2, 4);
    cp_segment_fold(seg, 102);
    cp_segment_fold(seg, 101);
    check_sum(3, 6, 0);
}
END_TEST

START_TEST(a_reused_pid_settles_its_predecessor)
{
    int child = cp_segment_claim(seg, 100);

    cp_upstream_stats_t *up = cp_segment_upstream(seg, child, 0);

    cp_segment_entry(seg, CP_ENTRY_POOL, "", "a");
    cp_segment_entry(seg, CP_ENTRY_UPSTREAM, "", "a");
    count_a_little(cp_segment_pool(seg, child, 0));
    cp_segment_loop(seg, child)->running = 1;
    up->breaker_opened = up->breaker_until = up->breaker_probes = 1;
    ck_assert_int_eq(cp_segment_claim(seg, 100), child);
    check_sum(1, 2, 0);
    ck_assert_uint_eq(cp_segment_loop(seg, child)->running, 0);
    ck_assert_uint_eq(up->breaker_opened, 1);
    ck_assert_uint_eq(up->breaker_until, 0);
    ck_assert_uint_eq(up->breaker_probes, 0);
    ck_assert_int_eq(cp_segment_children(seg), 1);
}
END_TEST

START_TEST(a_child_killed_between_two_counts_does_no_harm)
{
    cp_pool_stats_t *stats = cp_segment_pool(seg, 0, 0);

    cp_segment_entry(seg, CP_ENTRY_POOL, "", "a");
    cp_segment_claim(seg, 100);
    stats->acquired = 1; /* and busy not yet */
    stats->created = 1;
    cp_segment_fold(seg, 100);
    ck_assert_int_eq(cp_segment_claim(seg, 101), 0);
    stats->acquired = 2;
    stats->busy = 1;
    stats->released = 1; /* and busy still */
    cp_segment_fold(seg, 101);
    cp_segment_sum_pool(seg, 0, &sum);
    ck_assert_uint_eq(sum.abandoned, 1);
    ck_assert_uint_eq(sum.busy, 0);
    ck_assert_uint_eq(sum.closed[CP_CLOSE_KILLED], 1);
    ck_assert_uint_eq(sum.open, 0);
    ck_assert_uint_eq(stats->busy, 0);
}
END_TEST

START_TEST(sums_cover_all_children_of_every_kind)
{
    cp_query_stats_t queries;
    cp_upstream_stats_t upstreams;
    cp_loop_stats_t loops;
    cp_batch_stats_t batches;

    for (int i = 0; i < 3; i++) {
        int child = cp_segment_claim(seg, 100 + i);

        cp_stats_add(&cp_segment_query(seg, child, 1)->rows, 10);
        cp_stats_add(&cp_segment_upstream(seg, child, 1)->retries, 20);
        cp_stats_add(&cp_segment_loop(seg, child)->restarts, 30);
        cp_stats_add(&cp_segment_loop(seg, child)->running, 1);
        cp_stats_add(&cp_segment_loop(seg, child)->in_flight, 5);
        cp_stats_add(&cp_segment_batch(seg, child)->items, 7);
    }
    cp_segment_fold(seg, 101);
    cp_segment_sum_query(seg, 1, &queries);
    ck_assert_uint_eq(queries.rows, 30);
    cp_segment_sum_query(seg, 0, &queries);
    ck_assert_uint_eq(queries.rows, 0);
    cp_segment_sum_upstream(seg, 1, &upstreams);
    ck_assert_uint_eq(upstreams.retries, 60);
    cp_segment_sum_loop(seg, &loops);
    ck_assert_uint_eq(loops.restarts, 90);
    ck_assert_uint_eq(loops.running, 2);
    ck_assert_uint_eq(loops.in_flight, 10);
    cp_segment_batch(seg, -1)->items++;
    cp_segment_sum_batch(seg, &batches);
    ck_assert_uint_eq(batches.items, 21);
}
END_TEST

START_TEST(processes_are_summed_and_forgotten_when_they_end)
{
    cp_process_stats_t processes;

    for (int i = 0; i < 3; i++) {
        cp_process_stats_t *mine = cp_segment_process(
            seg, cp_segment_claim(seg, 100 + i));

        mine->rss_bytes = 1000;
        mine->rss_max_bytes = 2000 + (uint64_t)i;
        mine->rss_base_bytes = 900;
        mine->memory_bytes = 50;
        mine->descriptors = 7;
        mine->refused_memory = 2;
        mine->shrunk = 3;
        cp_histogram_record(&mine->request_us, 10);
        ck_assert_int_eq(cp_segment_owner(seg, i), 100 + i);
    }
    cp_segment_fold(seg, 102);
    ck_assert_int_eq(cp_segment_slots(seg), 3);
    ck_assert_int_eq(cp_segment_owner(seg, 2), 0);
    ck_assert_int_eq(cp_segment_owner(seg, 3), 0);
    ck_assert_int_eq(cp_segment_owner(seg, -1), 0);
    cp_segment_sum_process(seg, &processes);
    ck_assert_uint_eq(processes.rss_bytes, 2000);
    ck_assert_uint_eq(processes.rss_max_bytes, 2001);
    ck_assert_uint_eq(processes.rss_base_bytes, 1800);
    ck_assert_uint_eq(processes.memory_bytes, 100);
    ck_assert_uint_eq(processes.descriptors, 14);
    /* Counters stay. */
    ck_assert_uint_eq(processes.refused_memory, 6);
    ck_assert_uint_eq(processes.shrunk, 9);
    ck_assert_uint_eq(cp_histogram_count(&processes.request_us), 3);
}
END_TEST

START_TEST(one_of_all_samples_and_probes_once_a_second)
{
    uint64_t now = 5 * APR_USEC_PER_SEC;

    ck_assert(cp_segment_sample_due(seg, now));
    ck_assert(!cp_segment_sample_due(seg, now));
    ck_assert(!cp_segment_sample_due(seg, now + APR_USEC_PER_SEC - 1));
    ck_assert(cp_segment_sample_due(seg, now + APR_USEC_PER_SEC));
    /* A pause is not made up for. */
    ck_assert(cp_segment_sample_due(seg, now + 60 * APR_USEC_PER_SEC));
    ck_assert(!cp_segment_sample_due(seg, now + 60 * APR_USEC_PER_SEC + 1));
    ck_assert(cp_segment_probe_due(seg, now));
    ck_assert(!cp_segment_probe_due(seg, now + 1));
}
END_TEST

START_TEST(history_keeps_the_newest_samples_in_order)
{
    static cp_sample_t seen[CP_HISTORY_SAMPLES];
    int n;

    ck_assert_int_eq(cp_segment_history(seg, seen), 0);
    for (uint64_t i = 1; i <= 3; i++) {
        cp_segment_record(seg, &(cp_sample_t){i, 2 * i, 3 * i, 4 * i, 5 * i});
    }
    ck_assert_int_eq(cp_segment_history(seg, seen), 3);
    for (uint64_t i = 1; i <= 3; i++) {
        cp_sample_t expected = {i, 2 * i, 3 * i, 4 * i, 5 * i};

        ck_assert_mem_eq(&seen[i - 1], &expected, sizeof(expected));
    }
    for (uint64_t i = 4; i <= 2 * CP_HISTORY_SAMPLES + 7; i++) {
        cp_segment_record(seg, &(cp_sample_t){.at = i});
    }
    n = cp_segment_history(seg, seen);
    ck_assert_int_ge(n, CP_HISTORY_SAMPLES - 1);
    ck_assert_int_le(n, CP_HISTORY_SAMPLES);
    for (int i = 0; i < n; i++) {
        ck_assert_uint_eq(seen[n - 1 - i].at,
                          (uint64_t)(2 * CP_HISTORY_SAMPLES + 7 - i));
    }
}
END_TEST

START_TEST(each_pool_has_a_condition_of_its_own)
{
    cp_condition_t *first = cp_segment_condition(seg, 0);
    cp_condition_t *last = cp_segment_condition(seg, 2);

    ck_assert_ptr_eq(first + 2, last);
    ck_assert((char *)first > memory);
    ck_assert((char *)(last + 1) <= (char *)cp_segment_pool(seg, 0, 0));
    ck_assert_uint_eq(first->high_since, 0);
    /* Who has none shares one that nobody reads. */
    ck_assert_ptr_eq(cp_segment_condition(seg, -1),
                     cp_segment_condition(seg, 3));
    ck_assert(memory > (char *)cp_segment_condition(seg, -1)
              || (char *)cp_segment_condition(seg, -1) >= memory + memory_size);
}
END_TEST

START_TEST(a_glance_is_a_sum_without_distributions)
{
    cp_pool_stats_t glance;
    cp_query_stats_t query, query_glance;

    for (int child = 0; child < 2; child++) {
        cp_pool_stats_t *pool = cp_segment_pool(
            seg, cp_segment_claim(seg, 100 + child), 1);

        cp_stats_add(&pool->acquired, 7);
        cp_stats_add(&pool->released, 5);
        cp_stats_add(&pool->created, 3);
        cp_stats_add(&pool->timeouts, 2);
        cp_stats_add(&pool->failures[CP_ERR_STORAGE], 1);
        cp_histogram_record(&pool->acquire_us, 100);
        cp_stats_add(&cp_segment_query(seg, child, 1)->count, 4);
        cp_histogram_record(&cp_segment_query(seg, child, 1)->us, 100);
    }
    cp_segment_sum_pool(seg, 1, &sum);
    cp_segment_glance(seg, CP_ENTRY_POOL, 1, &glance);
    ck_assert_uint_eq(glance.busy, 4);
    ck_assert_uint_eq(glance.open, 6);
    ck_assert_uint_eq(cp_histogram_count(&sum.acquire_us), 2);
    ck_assert_uint_eq(cp_histogram_count(&glance.acquire_us), 0);
    memset(&sum.acquire_us, 0, sizeof(sum.acquire_us));
    ck_assert_int_eq(memcmp(&sum, &glance, sizeof(sum)), 0);

    cp_segment_sum_query(seg, 1, &query);
    cp_segment_glance(seg, CP_ENTRY_QUERY, 1, &query_glance);
    ck_assert_uint_eq(query.count, 8);
    ck_assert_uint_eq(query_glance.count, 8);
    ck_assert_uint_eq(cp_histogram_count(&query_glance.us), 0);
    cp_segment_glance(seg, CP_ENTRY_QUERY, -1, &query_glance);
    ck_assert_uint_eq(query_glance.count, 0);
}
END_TEST

START_TEST(each_entry_has_a_standing_of_its_own)
{
    static const struct {
        cp_subject_t subject;
        int entries;
    } kinds[] = {
        {CP_SUBJECT_POOL, 3}, {CP_SUBJECT_QUERY, 2}, {CP_SUBJECT_UPSTREAM, 2}};
    char *map = calloc(1, memory_size);

    for (int k = 0; k < 3; k++) {
        for (int i = 0; i < kinds[k].entries; i++) {
            const char *cells = (char *)cp_segment_standing(
                seg, kinds[k].subject, i);

            ck_assert(cells > (char *)cp_segment_condition(seg, 2)
                      || cells < (char *)cp_segment_condition(seg, 0));
            ck_assert(cells + sizeof(cp_standing_t)
                      <= (char *)cp_segment_pool(seg, 0, 0));
            for (size_t b = 0; b < sizeof(cp_standing_t); b++) {
                ck_assert(!map[cells - memory + (ptrdiff_t)b]);
                map[cells - memory + (ptrdiff_t)b] = 1;
            }
        }
        ck_assert_ptr_eq(
            cp_segment_standing(seg, kinds[k].subject, -1),
            cp_segment_standing(seg, kinds[k].subject, kinds[k].entries));
    }
    ck_assert_ptr_ne(cp_segment_standing(seg, CP_SUBJECT_MEMORY, 0),
                     cp_segment_standing(seg, CP_SUBJECT_CACHE, 0));
    ck_assert_ptr_ne(cp_segment_server_condition(seg, CP_SUBJECT_MEMORY),
                     cp_segment_server_condition(seg, CP_SUBJECT_CACHE));
    free(map);
}
END_TEST

START_TEST(who_has_no_slot_counts_nowhere)
{
    static const struct {
        int child;
        int entry;
    } wrong[] = {{-1, 0}, {0, -1}, {-1, -1}, {4, 0}, {0, 3}, {1000, 1000}};
    cp_loop_stats_t loops;

    cp_segment_claim(seg, 100);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        cp_pool_stats_t *stats = cp_segment_pool(seg, wrong[i].child,
                                                 wrong[i].entry);

        count_a_little(stats);
        ck_assert(memory > (char *)stats
                  || (char *)stats >= memory + memory_size);
        cp_segment_query(seg, wrong[i].child, wrong[i].entry)->count++;
        cp_segment_upstream(seg, wrong[i].child, wrong[i].entry)->count++;
    }
    cp_segment_loop(seg, -1)->running++;
    cp_segment_loop(seg, 4)->running++;
    cp_segment_sum_loop(seg, &loops);
    ck_assert_uint_eq(loops.running, 0);
    for (int entry = -1; entry < 4; entry++) {
        sum.acquired = 1;
        cp_segment_sum_pool(seg, entry, &sum);
        ck_assert_uint_eq(sum.acquired, 0);
    }
}
END_TEST

/* ---- children that are killed while they count ------------------------- */

enum {
    FOLDS = 2000,
    LIVING = 3
};

/* Shared by all processes of a test; every field is atomic. */
typedef struct stage_t {
    uint64_t begun;           /* acquires that a child was about to count */
    uint64_t progress[FOLDS]; /* of each child */
    uint64_t checks;          /* of the reader */
    int is_over;
} stage_t;

static stage_t *stage;

/* Let the others go on, where there are more processes than processors. A child
 * is often killed at such a place, so there is one after each step. */
static void step(int i, int place)
{
    if (i % 8 == place) {
        sched_yield();
    }
}

static void count_once(cp_pool_stats_t *stats, int i)
{
    cp_stats_add(&stats->acquired, 1);
    step(i, 0);
    cp_stats_add(&stats->busy, 1);
    step(i, 1);
    cp_stats_add(&stats->created, 1);
    step(i, 2);
    cp_stats_add(&stats->open, 1);
    step(i, 3);
    cp_histogram_record(&stats->acquire_us, i % 1000);
    cp_stats_add(&stats->open, -1);
    step(i, 4);
    cp_stats_add(&stats->closed[i % CP_CLOSE_KILLED], 1);
    step(i, 5);
    cp_stats_add(&stats->busy, -1);
    step(i, 6);
    cp_stats_add(&stats->released, 1);
    step(i, 7);
}

/* Ends by SIGKILL. */
static void count_forever(int number)
{
    cp_pool_stats_t *stats = cp_segment_pool(
        seg, cp_segment_claim(seg, getpid()), 0);

    for (int i = 0;; i++) {
        cp_stats_add(&stage->begun, 1);
        count_once(stats, i);
        cp_stats_add(&stage->progress[number], 1);
    }
}

static uint64_t sum_closed(const cp_pool_stats_t *stats)
{
    uint64_t closed = 0;

    for (int i = 0; i < CP_CLOSE_REASONS; i++) {
        closed += stats->closed[i];
    }
    return closed;
}

/* What is wrong between two successive sums; NULL when all is well. */
static const char *find_fault(const cp_pool_stats_t *before,
                              const cp_pool_stats_t *now)
{
    if (now->acquired < before->acquired || now->released < before->released
        || now->abandoned < before->abandoned
        || now->created < before->created) {
        return "a total fell";
    }
    for (int i = 0; i < CP_CLOSE_REASONS; i++) {
        if (now->closed[i] < before->closed[i]) {
            return "a closed total fell";
        }
    }
    for (int i = 0; i < CP_HISTOGRAM_BUCKETS; i++) {
        if (now->acquire_us.bucket[i] < before->acquire_us.bucket[i]) {
            return "a bucket fell";
        }
    }
    if (now->acquire_us.sum < before->acquire_us.sum
        || now->acquire_us.max < before->acquire_us.max) {
        return "a sum or a maximum fell";
    }
    if (now->acquired != now->released + now->busy + now->abandoned) {
        return "acquired is not released + busy + abandoned";
    }
    if (now->created != sum_closed(now) + now->open) {
        return "created is not closed + open";
    }
    /* Each child holds one at most. */
    if (now->busy > LIVING + 1 || now->open > LIVING + 1) {
        return "more busy or open than there are children";
    }
    return NULL;
}

/* The reader's process: exits with 0 when it never saw a fault. */
static void read_until_over(void)
{
    static cp_pool_stats_t last[2];
    int now = 0;

    do {
        const char *fault;

        now = !now;
        cp_segment_sum_pool(seg, 0, &last[now]);
        fault = find_fault(&last[!now], &last[now]);
        if (fault) {
            fprintf(stderr, "reader: %s (busy %lu, open %lu)\n", fault,
                    (unsigned long)last[now].busy,
                    (unsigned long)last[now].open);
            _exit(1);
        }
        cp_stats_add(&stage->checks, 1);
        sched_yield();
    } while (!__atomic_load_n(&stage->is_over, __ATOMIC_ACQUIRE));
    _exit(0);
}

static void await_progress(const uint64_t *cell, uint64_t least)
{
    cp_clock_t deadline = cp_clock_after(PATIENCE);

    while (cp_stats_get(cell) < least) {
        ck_assert(cp_clock_left(deadline) > 0);
        sched_yield();
    }
}

static pid_t start_child(int number)
{
    pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        count_forever(number);
    }
    return pid;
}

static void kill_and_fold(pid_t pid)
{
    int status;

    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    cp_segment_fold(seg, pid);
}

/* Always some alive, of which the oldest is killed. */
static void kill_many(void)
{
    pid_t pid[LIVING] = {0};

    for (int i = 0; i < FOLDS; i++) {
        if (pid[i % LIVING]) {
            kill_and_fold(pid[i % LIVING]);
        }
        pid[i % LIVING] = start_child(i);
        await_progress(&stage->progress[i], 10);
    }
    for (int i = 0; i < LIVING; i++) {
        kill_and_fold(pid[i]);
    }
}

static pid_t start_reader(void)
{
    pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        read_until_over();
    }
    return pid;
}

START_TEST(totals_never_fall_while_children_are_killed)
{
    pid_t reader;
    int status;

    stage = share(sizeof(*stage));
    cp_segment_entry(seg, CP_ENTRY_POOL, "", "a");
    reader = start_reader();
    kill_many();
    __atomic_store_n(&stage->is_over, 1, __ATOMIC_RELEASE);
    ck_assert_int_eq(waitpid(reader, &status, 0), reader);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ck_assert_uint_gt(stage->checks, FOLDS); /* else it hardly looked */

    cp_segment_sum_pool(seg, 0, &sum);
    ck_assert_int_eq(cp_segment_children(seg), 0);
    ck_assert_uint_eq(sum.busy, 0);
    ck_assert_uint_eq(sum.open, 0);
    ck_assert_uint_eq(sum.acquired, sum.released + sum.abandoned);
    ck_assert_uint_eq(sum.created, sum_closed(&sum));
    ck_assert_uint_gt(sum.abandoned, 0);
    ck_assert_uint_le(sum.abandoned, FOLDS);
    /* Nothing lost, nothing twice: a kill can hide one count of each child. */
    ck_assert_uint_le(sum.acquired, stage->begun);
    ck_assert_uint_ge(sum.acquired, stage->begun - FOLDS);
    for (int i = 0; i < layout.children; i++) {
        ck_assert_uint_eq(cp_segment_pool(seg, i, 0)->busy, 0);
        ck_assert_uint_eq(cp_segment_pool(seg, i, 0)->open, 0);
    }
    munmap(stage, sizeof(*stage));
}
END_TEST

enum {
    STILL_COUNTED = 200000
};

static void *count_on(void *stats)
{
    for (int i = 0; i < STILL_COUNTED; i++) {
        cp_stats_add(&((cp_pool_stats_t *)stats)->timeouts, 1);
        cp_histogram_record(&((cp_pool_stats_t *)stats)->hold_us, i % 100);
    }
    return NULL;
}

START_TEST(a_fold_takes_nothing_from_a_child_that_still_counts)
{
    int child = cp_segment_claim(seg, 100);
    pthread_t thread;
    uint64_t seen = 0;

    cp_segment_entry(seg, CP_ENTRY_POOL, "", "a");
    ck_assert_int_eq(
        pthread_create(&thread, NULL, count_on, cp_segment_pool(seg, child, 0)),
        0);
    while (seen < STILL_COUNTED) {
        cp_segment_fold(seg, 100);
        ck_assert_int_eq(cp_segment_claim(seg, 100), child);
        cp_segment_sum_pool(seg, 0, &sum);
        ck_assert_uint_ge(sum.timeouts, seen);
        seen = sum.timeouts;
    }
    pthread_join(thread, NULL);
    cp_segment_sum_pool(seg, 0, &sum);
    ck_assert_uint_eq(sum.timeouts, STILL_COUNTED);
    ck_assert_uint_eq(cp_histogram_count(&sum.hold_us), STILL_COUNTED);
}
END_TEST

enum {
    COUNTED_IN_HASTE = 300000
};

static void *count_in_haste(void *stats)
{
    for (int i = 0; i < COUNTED_IN_HASTE; i++) {
        cp_stats_add(&((cp_pool_stats_t *)stats)->created, 1);
        cp_stats_add(&((cp_pool_stats_t *)stats)->acquired, 1);
        cp_stats_add(&((cp_pool_stats_t *)stats)->released, 1);
        cp_stats_add(&((cp_pool_stats_t *)stats)->closed[0], 1);
        if (i % 16 == 0) {
            sched_yield(); /* a reader under TSan is a hundred times slower */
        }
    }
    return NULL;
}

START_TEST(a_sum_is_of_one_moment)
{
    static cp_pool_stats_t last[2];
    int child = cp_segment_claim(seg, 100);
    pthread_t thread;
    int now = 0;

    cp_segment_entry(seg, CP_ENTRY_POOL, "", "a");
    ck_assert_int_eq(pthread_create(&thread, NULL, count_in_haste,
                                    cp_segment_pool(seg, child, 0)),
                     0);
    do {
        const char *fault;

        now = !now;
        cp_segment_sum_pool(seg, 0, &last[now]);
        fault = find_fault(&last[!now], &last[now]);
        ck_assert_msg(!fault, "%s (busy %lu, open %lu)", fault,
                      (unsigned long)last[now].busy,
                      (unsigned long)last[now].open);
        ck_assert_uint_le(last[now].busy, 1);
        ck_assert_uint_le(last[now].open, 1);
    } while (last[now].released < COUNTED_IN_HASTE);
    pthread_join(thread, NULL);
}
END_TEST

enum {
    CLAIMERS = 4,
    CLAIMS = 20000
};

static int slots_lost; /* atomic */

static void *claim_and_count(void *data)
{
    pid_t pid = (pid_t)(intptr_t)data;

    for (int i = 0; i < CLAIMS; i++) {
        int child = cp_segment_claim(seg, pid);

        /* Would be lost if two owned the slot. */
        cp_segment_loop(seg, child)->inline_runs++;
        if (child < 0 || cp_segment_claim(seg, pid) != child) {
            __atomic_fetch_add(&slots_lost, 1, __ATOMIC_RELAXED);
        }
        cp_segment_fold(seg, pid);
    }
    return NULL;
}

START_TEST(claims_at_the_same_time_get_different_slots)
{
    pthread_t thread[CLAIMERS];
    cp_loop_stats_t loops;

    for (int i = 0; i < CLAIMERS; i++) {
        ck_assert_int_eq(pthread_create(&thread[i], NULL, claim_and_count,
                                        (void *)(intptr_t)(100 + i)),
                         0);
    }
    for (int i = 0; i < CLAIMERS; i++) {
        pthread_join(thread[i], NULL);
    }
    ck_assert_int_eq(slots_lost, 0);
    cp_segment_sum_loop(seg, &loops);
    ck_assert_uint_eq(loops.inline_runs, CLAIMERS * CLAIMS);
    ck_assert_int_eq(cp_segment_children(seg), 0);
}
END_TEST

START_TEST(a_fold_forgets_the_holders_of_the_dead_child)
{
    cp_pool_stats_t *stats;
    cp_holder_t holder;
    cp_holder_t slow = {.since = 5, .holder = "/slow", .request = "GET /a"};

    cp_segment_entry(seg, CP_ENTRY_POOL, "", "a");
    stats = cp_segment_pool(seg, cp_segment_claim(seg, 100), 0);
    for (int part = 0; part < CP_POOL_PARTS; part++) {
        cp_holder_write(&stats->holders[part][CP_HOLDERS_LISTED - 1], &slow);
        ck_assert(cp_holder_read(&stats->holders[part][CP_HOLDERS_LISTED - 1],
                                 &holder));
        ck_assert_str_eq(holder.holder, "/slow");
        ck_assert_str_eq(holder.request, "GET /a");
    }
    cp_segment_fold(seg, 100);
    for (int part = 0; part < CP_POOL_PARTS; part++) {
        ck_assert(!cp_holder_read(&stats->holders[part][CP_HOLDERS_LISTED - 1],
                                  &holder));
    }
}
END_TEST

static int writes_are_over; /* atomic */

/* Holders of one letter each, which tell what they were written with. */
static void *write_holders(void *data)
{
    cp_holder_t *place = data;
    cp_holder_t holder = {0};

    for (uint64_t since = 1;
         !__atomic_load_n(&writes_are_over, __ATOMIC_RELAXED); since++) {
        memset(holder.holder, 'a' + (int)(since % 26), CP_HOLDER_SIZE);
        holder.holder[20 + since % 90] = '\0';
        memcpy(holder.request, holder.holder, CP_HOLDER_SIZE);
        holder.since = since;
        cp_holder_write(place, &holder);
    }
    return NULL;
}

static void is_whole(const char *text, uint64_t since)
{
    ck_assert_uint_eq(strlen(text), 20 + since % 90);
    for (const char *c = text; *c; c++) {
        ck_assert_int_eq(*c, 'a' + (int)(since % 26));
    }
}

START_TEST(a_holder_is_read_whole_or_not_at_all)
{
    cp_holder_t *place = &cp_segment_pool(seg, 0, 0)->holders[0][0];
    cp_clock_t end = cp_clock_after(PATIENCE);
    pthread_t thread;
    int seen = 0;

    writes_are_over = 0;
    ck_assert_int_eq(pthread_create(&thread, NULL, write_holders, place), 0);
    while (seen < 20000 && cp_clock_left(end) > 0) {
        cp_holder_t copy;

        if (cp_holder_read(place, &copy)) {
            seen++;
            is_whole(copy.holder, copy.since);
            is_whole(copy.request, copy.since);
        }
    }
    __atomic_store_n(&writes_are_over, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    ck_assert_int_gt(seen, 0);
}
END_TEST

Suite *segment_suite(void)
{
    Suite *suite = suite_create("segment");
    TCase *tc = tcase_create("segment");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, all_cells_lie_inside_aligned_and_apart);
    tcase_add_test(tc, an_entry_keeps_its_index);
    tcase_add_test(tc, a_full_directory_takes_no_more);
    tcase_add_test(tc, long_names_are_cut);
    tcase_add_test(tc, each_child_claims_one_slot);
    tcase_add_test(tc, unknown_pids_are_ignored);
    tcase_add_test(tc, a_fold_settles_what_the_dead_child_held);
    tcase_add_test(tc, a_reused_pid_settles_its_predecessor);
    tcase_add_test(tc, a_child_killed_between_two_counts_does_no_harm);
    tcase_add_test(tc, sums_cover_all_children_of_every_kind);
    tcase_add_test(tc, processes_are_summed_and_forgotten_when_they_end);
    tcase_add_test(tc, one_of_all_samples_and_probes_once_a_second);
    tcase_add_test(tc, history_keeps_the_newest_samples_in_order);
    tcase_add_test(tc, each_pool_has_a_condition_of_its_own);
    tcase_add_test(tc, a_glance_is_a_sum_without_distributions);
    tcase_add_test(tc, each_entry_has_a_standing_of_its_own);
    tcase_add_test(tc, who_has_no_slot_counts_nowhere);
    tcase_add_test(tc, totals_never_fall_while_children_are_killed);
    tcase_add_test(tc, a_fold_takes_nothing_from_a_child_that_still_counts);
    tcase_add_test(tc, a_sum_is_of_one_moment);
    tcase_add_test(tc, a_fold_forgets_the_holders_of_the_dead_child);
    tcase_add_test(tc, a_holder_is_read_whole_or_not_at_all);
    tcase_add_test(tc, claims_at_the_same_time_get_different_slots);
    suite_add_tcase(suite, tc);
    return suite;
}
