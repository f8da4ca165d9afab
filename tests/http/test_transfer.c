/* SPDX-License-Identifier: Apache-2.0
 * Several fetches of one thread, with a loop, without, and while it is lost. */
#include <signal.h>
#include <string.h>

#include <apr_strings.h>

#include "stats/cell.h"
#include "http/job/bell.h"
#include "stats/stats.h"
#include "http/fetching.h"
#include "suites.h"

#define MS       apr_time_from_msec(1)
#define MANY     16
#define IN_LOOP  0
#define BY_HAND  1
#define LOOP_HAS (_i == IN_LOOP ? loop : NULL)

static apr_pool_t *pool;
static stub_t *stub;
static cp_loop_t *loop;
static cp_loop_stats_t stats;
static cp_upstream_config_t config;
static cp_upstream_t *upstream;
static cp_bell_t *bell;

typedef struct fetch_t {
    void *conn;
    cp_transfer_t *transfer; /* NULL: ended */
    answer_t answer;
} fetch_t;

static fetch_t fetches[MANY];

static void setup(void)
{
    cp_loop_config_t settings = {.max_connections = 100};

    signal(SIGPIPE, SIG_IGN);
    apr_pool_create(&pool, NULL);
    cp_http_global_init();
    stub = stub_start();
    config = fetching_config(
        apr_psprintf(pool, "http://127.0.0.1:%d", stub_port(stub)));
    upstream = fetching_upstream(pool, &config);
    memset(&stats, 0, sizeof(stats));
    memset(fetches, 0, sizeof(fetches));
    ck_assert_int_eq(cp_loop_create(&loop, &settings, &stats), APR_SUCCESS);
    bell = cp_bell_create();
}

static void teardown(void)
{
    for (int i = 0; i < MANY; i++) {
        if (fetches[i].conn) {
            cp_http_driver.close(upstream, fetches[i].conn);
        }
    }
    cp_bell_unref(bell);
    cp_loop_stop(loop);
    cp_loop_test_destroy(loop);
    stub_stop(stub);
    apr_pool_destroy(pool);
}

/* Settings of fetch->answer stay. */
static void begin(fetch_t *fetch, cp_loop_t *where, const char *path,
                  apr_interval_time_t total)
{
    cp_fetch_request_t request = {
        .method = "GET", .path_info = apr_pstrdup(pool, path), .total = total};
    cp_fetch_sink_t sink = fetching_sink(&fetch->answer);

    if (!fetch->conn) {
        fetch->conn = fetching_open(upstream);
    }
    fetch->answer.took = cp_clock_now();
    ck_assert_int_eq(cp_transfer_start(&fetch->transfer, upstream, fetch->conn,
                                       where, &request, &sink, bell),
                     APR_SUCCESS);
}

static void end(fetch_t *fetch)
{
    answer_t *answer = &fetch->answer;

    answer->rv = cp_transfer_end(fetch->transfer, &answer->result,
                                 &answer->err);
    answer->took = cp_clock_now() - answer->took;
    fetch->transfer = NULL;
}

/* Look at all once. *puntil: for the next look; the number still under way. */
static int advance_all(cp_clock_t *puntil)
{
    int left = 0;

    *puntil = CP_CLOCK_NEVER;
    for (int i = 0; i < MANY; i++) {
        cp_clock_t until;

        if (!fetches[i].transfer) {
            continue;
        }
        if (cp_transfer_advance(fetches[i].transfer, &until) == APR_SUCCESS) {
            end(&fetches[i]);
            continue;
        }
        left++;
        if (until < *puntil) {
            *puntil = until;
        }
    }
    return left;
}

static void finish_all(void)
{
    cp_clock_t until;

    while (advance_all(&until) > 0) {
        cp_bell_wait(bell, until);
    }
    ck_assert_uint_eq(cp_stats_get(&stats.in_flight), 0);
}

static void assert_hello(const fetch_t *fetch)
{
    ck_assert_msg(fetch->answer.rv == APR_SUCCESS, "%s",
                  fetch->answer.err.detail);
    ck_assert_str_eq(fetch->answer.body, "hello");
    ck_assert_int_eq(fetch->answer.heads, 1);
}

static void assert_reusable(fetch_t *fetch)
{
    memset(&fetch->answer, 0, sizeof(fetch->answer));
    fetching_get(upstream, fetch->conn, loop, "/hello", &fetch->answer);
    assert_hello(fetch);
}

START_TEST(they_overlap)
{
    cp_clock_t began = cp_clock_now();

    for (int i = 0; i < 10; i++) {
        begin(&fetches[i], LOOP_HAS, "/wait/300000", 0);
    }
    finish_all();
    ck_assert_int_lt(cp_clock_now() - began, 10 * 300 * MS / 3);
    ck_assert_int_eq(stub_accepted(stub), 10);
    for (int i = 0; i < 10; i++) {
        assert_hello(&fetches[i]);
        ck_assert_int_eq(fetches[i].answer.result.ran_inline, _i);
    }
}
END_TEST

/* What the paths bring when they are fetched at the same time. */
static const struct {
    const char *path;
    apr_interval_time_t total;
    cp_error_class_t cls;
    int status;
    int64_t bytes;
} mixed[] = {
    {"/once/1", 0, CP_ERR_NONE, 200, 5}, /* tried again */
    {"/hello", 0, CP_ERR_NONE, 200, 5},
    {"/to//hello", 0, CP_ERR_NONE, 200, 5}, /* redirected */
    {"/to//to//to//hello", 0, CP_ERR_UPSTREAM, 0, 0},
    {"/bytes/700000", 0, CP_ERR_NONE, 200, 700000},
    {"/gzip/5000", 0, CP_ERR_NONE, 200, 1 + 258 * 5000},
    {"/close", 0, CP_ERR_UPSTREAM, 0, 0},
    {"/reset", 0, CP_ERR_UPSTREAM, 0, 0},
    {"/raw/nothttp", 0, CP_ERR_UPSTREAM, 0, 0},
    {"/never", 300 * MS, CP_ERR_DEADLINE, 0, 0},
    {"/gap/20000", 0, CP_ERR_NONE, 200, 10},
    {"/status/503", 0, CP_ERR_NONE, 503, 0},
    {"/not\nthis", 0, CP_ERR_INPUT, 0, 0},
};

START_TEST(each_ends_its_own_way)
{
    int count = (int)(sizeof(mixed) / sizeof(mixed[0]));
    cp_clock_t until;

    config.retries = 1;
    config.redirects = 2;
    upstream = fetching_upstream(pool, &config);
    begin(&fetches[0], LOOP_HAS, mixed[0].path, mixed[0].total);
    /* Its first connection is to be the first of all. */
    AWAIT((advance_all(&until), stub_accepted(stub) == 2));
    for (int i = 1; i < count; i++) {
        begin(&fetches[i], LOOP_HAS, mixed[i].path, mixed[i].total);
    }
    finish_all();
    for (int i = 0; i < count; i++) {
        const answer_t *answer = &fetches[i].answer;

        ck_assert_msg(answer->err.cls == mixed[i].cls
                          && answer->status == mixed[i].status
                          && answer->result.status == mixed[i].status
                          && answer->bytes == mixed[i].bytes,
                      "%s: class %d, status %d, %ld bytes: %s", mixed[i].path,
                      (int)answer->err.cls, answer->status, (long)answer->bytes,
                      answer->err.detail);
        ck_assert_int_eq(answer->rv == APR_SUCCESS,
                         mixed[i].cls == CP_ERR_NONE);
    }
    ck_assert_int_eq(fetches[0].answer.result.retries, 1);
    ck_assert_int_ge(fetches[9].answer.took, 300 * MS);
    for (int i = 0; i < count; i++) {
        assert_reusable(&fetches[i]);
    }
}
END_TEST

START_TEST(one_can_be_given_up)
{
    static const char *const paths[] = {"/never", "/endless", "/gap/2000000",
                                        "/wait/300000"};
    cp_clock_t until, began;

    for (int i = 0; i < 4; i++) {
        begin(&fetches[i], LOOP_HAS, paths[i], 0);
    }
    while (fetches[1].answer.bytes == 0 || fetches[2].answer.bytes == 0) {
        ck_assert_int_eq(advance_all(&until), 4);
        cp_bell_wait(bell, until);
    }
    began = cp_clock_now();
    for (int i = 0; i < 3; i++) {
        end(&fetches[i]);
        ck_assert_int_eq(fetches[i].answer.err.cls, CP_ERR_CANCELLED);
    }
    ck_assert_int_lt(cp_clock_now() - began, 1000 * MS);
    finish_all();
    assert_hello(&fetches[3]);
    for (int i = 0; i < 4; i++) {
        assert_reusable(&fetches[i]);
    }
}
END_TEST

START_TEST(one_that_nobody_wants_ends_alone)
{
    fetches[0].answer.cancel_after = 1;
    fetches[1].answer.stop_after = 1;
    begin(&fetches[0], LOOP_HAS, "/never", 0);
    begin(&fetches[1], LOOP_HAS, "/endless", 0);
    begin(&fetches[2], LOOP_HAS, "/wait/400000", 0);
    finish_all();
    ck_assert_int_eq(fetches[0].answer.err.cls, CP_ERR_CANCELLED);
    ck_assert_int_lt(fetches[0].answer.took, fetches[2].answer.took);
    ck_assert_int_eq(fetches[1].answer.err.cls, CP_ERR_CANCELLED);
    assert_hello(&fetches[2]);
}
END_TEST

/* A transfer that always has something to deliver must not starve others. */
START_TEST(a_busy_one_keeps_no_deadline_waiting)
{
    metronome_t metronome;
    apr_interval_time_t noise;

    config.max_body = INT64_MAX;
    upstream = fetching_upstream(pool, &config);
    metronome_start(&metronome);
    for (int i = 0; i < 8; i++) {
        begin(&fetches[i], LOOP_HAS, i < 2 ? "/endless" : "/never", 300 * MS);
    }
    finish_all();
    noise = metronome_stop(&metronome);
    for (int i = 0; i < 8; i++) {
        ck_assert_int_eq(fetches[i].answer.err.cls, CP_ERR_DEADLINE);
        ck_assert_msg(fetches[i].answer.took <= 350 * MS + 10 * noise,
                      "%d: took %ld us, noise %ld us", i,
                      (long)fetches[i].answer.took, (long)noise);
    }
    ck_assert_int_gt(fetches[0].answer.bytes, 0);
    ck_assert_int_gt(fetches[1].answer.bytes, 0);
}
END_TEST

START_TEST(a_silent_one_slows_nobody_down)
{
    config.redirects = 10;
    upstream = fetching_upstream(pool, &config);
    begin(&fetches[0], NULL, "/never", 2000 * MS);
    begin(&fetches[1], NULL,
          "/to//to//to//to//to//to//to//to//to//to//wait/1000", 0);
    finish_all();
    assert_hello(&fetches[1]);
    ck_assert_int_lt(fetches[1].answer.took, 700 * MS);
}
END_TEST

/* The loop's sockets and buffers take some megabytes, and then no more. */
START_TEST(whoever_is_away_gets_no_more_than_the_window)
{
    cp_clock_t until;
    int64_t sent;

    config.max_body = INT64_MAX;
    config.read = 400 * MS;
    upstream = fetching_upstream(pool, &config);
    begin(&fetches[0], loop, "/bytes/100000000", 0);
    do {
        sent = stub_sent(stub);
        apr_sleep(600 * MS);
    } while (sent == 0 || stub_sent(stub) != sent);
    ck_assert_int_lt(sent, 50 * 1000 * 1000);

    /* All that was not the upstream's silence. */
    ck_assert_int_eq(advance_all(&until), 1);
    ck_assert_int_le(fetches[0].answer.bytes, 256 * 1024);
    ck_assert_int_gt(fetches[0].answer.bytes, 0);
    finish_all();
    ck_assert_msg(fetches[0].answer.rv == APR_SUCCESS, "%s",
                  fetches[0].answer.err.detail);
    ck_assert_int_eq(fetches[0].answer.bytes, 100000000);
}
END_TEST

/* ---- Faults of the loop ---- */

START_TEST(a_dead_loop_costs_no_fetch_without_a_head)
{
    cp_clock_t began = cp_clock_now(), until;

    for (int i = 0; i < 8; i++) {
        begin(&fetches[i], loop, "/wait/300000", 0);
    }
    begin(&fetches[8], loop, "/gap/1500000", 0);
    AWAIT((advance_all(&until), fetches[8].answer.bytes == 5));
    cp_loop_test_die(loop);
    finish_all();
    ck_assert_int_lt(cp_clock_now() - began, 8 * 300 * MS);
    for (int i = 0; i < 8; i++) {
        assert_hello(&fetches[i]);
    }
    ck_assert_int_eq(fetches[8].answer.err.cls, CP_ERR_UPSTREAM);
    ck_assert_int_eq(fetches[8].answer.heads, 1);
    ck_assert_uint_gt(cp_stats_get(&stats.inline_runs), 0);
}
END_TEST

START_TEST(a_stalled_loop_keeps_none_of_many_deadlines_waiting)
{
    metronome_t metronome;
    apr_interval_time_t noise;

    cp_loop_test_stall(loop, 1000 * MS);
    apr_sleep(20 * MS);
    metronome_start(&metronome);
    for (int i = 0; i < MANY; i++) {
        begin(&fetches[i], loop, "/hello", 300 * MS);
    }
    finish_all();
    noise = metronome_stop(&metronome);
    for (int i = 0; i < MANY; i++) {
        ck_assert_int_eq(fetches[i].answer.err.cls, CP_ERR_DEADLINE);
        ck_assert_msg(fetches[i].answer.took <= 350 * MS + 5 * noise,
                      "%d: took %ld us, noise %ld us", i,
                      (long)fetches[i].answer.took, (long)noise);
    }
    /* Their handles were left to the loop: the connections make others. */
    assert_reusable(&fetches[0]);
}
END_TEST

START_TEST(a_stopped_loop_ends_them_all)
{
    for (int i = 0; i < 4; i++) {
        begin(&fetches[i], loop, "/never", 0);
    }
    AWAIT(stub_requests(stub) == 4);
    cp_loop_stop(loop);
    finish_all();
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(fetches[i].answer.err.cls, CP_ERR_CANCELLED);
    }
}
END_TEST

/* ---- Sockets ---- */

START_TEST(who_keeps_no_sockets_takes_over_none)
{
    cp_upstream_t *keeps = upstream;

    fetches[0].conn = fetching_open(keeps);
    assert_reusable(&fetches[0]);
    config.keepalive = 0;
    upstream = fetching_upstream(pool, &config);
    fetches[1].conn = fetching_open(upstream);
    assert_reusable(&fetches[1]);
    ck_assert_int_eq(fetches[1].answer.result.reused, 0);
    ck_assert_int_eq(stub_accepted(stub), 2);
    upstream = keeps;
    assert_reusable(&fetches[0]);
    ck_assert_int_eq(fetches[0].answer.result.reused, 1);
}
END_TEST

START_TEST(a_bell_remembers_that_it_rang)
{
    cp_clock_t began = cp_clock_now();

    cp_bell_ring(bell);
    cp_bell_ring(bell);
    ck_assert_int_eq(cp_bell_wait(bell, CP_CLOCK_NEVER), APR_SUCCESS);
    ck_assert_int_eq(cp_bell_wait(bell, 0), APR_TIMEUP);
    ck_assert_int_eq(cp_bell_wait(bell, cp_clock_after(50 * MS)), APR_TIMEUP);
    ck_assert_int_ge(cp_clock_now() - began, 50 * MS);
}
END_TEST

Suite *transfer_suite(void)
{
    Suite *suite = suite_create("transfer");
    TCase *tcase = tcase_create("transfer");

    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, they_overlap, IN_LOOP, BY_HAND + 1);
    tcase_add_loop_test(tcase, each_ends_its_own_way, IN_LOOP, BY_HAND + 1);
    tcase_add_loop_test(tcase, one_can_be_given_up, IN_LOOP, BY_HAND + 1);
    tcase_add_loop_test(tcase, one_that_nobody_wants_ends_alone, IN_LOOP,
                        BY_HAND + 1);
    tcase_add_loop_test(tcase, a_busy_one_keeps_no_deadline_waiting, IN_LOOP,
                        BY_HAND + 1);
    tcase_add_test(tcase, a_silent_one_slows_nobody_down);
    tcase_add_test(tcase, whoever_is_away_gets_no_more_than_the_window);
    tcase_add_test(tcase, a_dead_loop_costs_no_fetch_without_a_head);
    tcase_add_test(tcase, a_stalled_loop_keeps_none_of_many_deadlines_waiting);
    tcase_add_test(tcase, a_stopped_loop_ends_them_all);
    tcase_add_test(tcase, who_keeps_no_sockets_takes_over_none);
    tcase_add_test(tcase, a_bell_remembers_that_it_rang);
    suite_add_tcase(suite, tcase);
    return suite;
}
