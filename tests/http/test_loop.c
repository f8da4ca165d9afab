/* SPDX-License-Identifier: Apache-2.0
 * The loop under many threads, and what becomes of fetches when it fails. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <apr_file_info.h>
#include <apr_strings.h>

#include "stats/cell.h"
#include "stats/stats.h"
#include "http/fetching.h"
#include "suites.h"

static apr_pool_t *pool;
static stub_t *stub;
static cp_loop_t *loop;
static cp_loop_stats_t stats;
static cp_upstream_config_t config;
static cp_upstream_t *upstream;
static cp_loop_config_t settings;

static void start_loop(void)
{
    memset(&stats, 0, sizeof(stats));
    ck_assert_int_eq(cp_loop_create(&loop, &settings, &stats), APR_SUCCESS);
}

static void stop_loop(void)
{
    cp_loop_stop(loop);
    cp_loop_test_destroy(loop);
    loop = NULL;
}

static void setup(void)
{
    signal(SIGPIPE, SIG_IGN);
    apr_pool_create(&pool, NULL);
    cp_http_global_init();
    stub = stub_start();
    config = fetching_config(
        apr_psprintf(pool, "http://127.0.0.1:%d", stub_port(stub)));
    upstream = fetching_upstream(pool, &config);
    settings.max_connections = 100;
    start_loop();
}

static void teardown(void)
{
    if (loop) {
        stop_loop();
    }
    stub_stop(stub);
    apr_pool_destroy(pool);
}

/* What the glue's maintenance thread does, a little quicker. */
static int supervised(int condition)
{
    cp_loop_supervise(loop);
    return condition;
}

/* ---- Many threads ---- */

typedef struct crowd_t crowd_t;

typedef struct worker_t {
    crowd_t *crowd;
    pthread_t thread;
    int number;
    int good, bad;
    int64_t bytes;
    apr_interval_time_t longest;
} worker_t;

struct crowd_t {
    int threads;
    int rounds;
    const char *(*path)(int number, int round, char *buffer);
    apr_interval_time_t total;
    cp_error_class_t tolerated;
};

static void *run_worker(void *data)
{
    worker_t *worker = data;
    crowd_t *crowd = worker->crowd;
    void *conn = fetching_open(upstream);
    char path[64];

    for (int i = 0; i < crowd->rounds; i++) {
        answer_t answer = {.rv = 0};
        cp_fetch_request_t request = {
            .method = "GET",
            .path_info = crowd->path(worker->number, i, path),
            .total = crowd->total};

        fetching_run(upstream, conn, loop, &request, &answer);
        worker->good += answer.rv == APR_SUCCESS;
        worker->bad += answer.rv != APR_SUCCESS
                       && answer.err.cls != crowd->tolerated;
        worker->bytes += answer.rv == APR_SUCCESS ? answer.bytes : 0;
        if (answer.took > worker->longest) {
            worker->longest = answer.took;
        }
    }
    cp_http_driver.close(upstream, conn);
    return NULL;
}

/* Run them all; the sums. */
static worker_t run_crowd(crowd_t *crowd)
{
    worker_t *workers = calloc((size_t)crowd->threads, sizeof(*workers));
    worker_t sum = {.crowd = crowd};

    for (int i = 0; i < crowd->threads; i++) {
        workers[i].crowd = crowd;
        workers[i].number = i;
        ck_assert_int_eq(
            pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]),
            0);
    }
    for (int i = 0; i < crowd->threads; i++) {
        pthread_join(workers[i].thread, NULL);
        sum.good += workers[i].good;
        sum.bad += workers[i].bad;
        sum.bytes += workers[i].bytes;
        if (workers[i].longest > sum.longest) {
            sum.longest = workers[i].longest;
        }
    }
    free(workers);
    return sum;
}

static const char *hello_path(int number, int round, char *buffer)
{
    return "/hello";
}

START_TEST(many_threads_share_one_loop)
{
    crowd_t crowd = {.threads = 64, .rounds = 200, .path = hello_path};
    worker_t sum = run_crowd(&crowd);

    ck_assert_int_eq(sum.good, 64 * 200);
    ck_assert_int_eq(sum.bytes, 64 * 200 * 5);
    ck_assert_int_eq(stub_requests(stub), 64 * 200);
    ck_assert_int_le(stub_accepted(stub), 64);
    ck_assert_uint_eq(cp_stats_get(&stats.in_flight), 0);
    ck_assert_uint_eq(cp_stats_get(&stats.inline_runs), 0);
}
END_TEST

/* Answered at the deadline, give or take 2 ms. */
static const char *close_path(int number, int round, char *buffer)
{
    apr_snprintf(buffer, 64, "/wait/%d", 18000 + (number * 37 + round) % 4000);
    return buffer;
}

START_TEST(completion_and_deadline_race)
{
    crowd_t crowd = {.threads = 10,
                     .rounds = 200,
                     .path = close_path,
                     .total = apr_time_from_msec(20),
                     .tolerated = CP_ERR_DEADLINE};
    metronome_t metronome;
    worker_t sum;
    apr_interval_time_t noise;

    metronome_start(&metronome);
    sum = run_crowd(&crowd);
    noise = metronome_stop(&metronome);
    ck_assert_int_eq(sum.bad, 0);
    ck_assert_int_eq(sum.bytes, sum.good * 5);
    ck_assert_msg(sum.longest <= apr_time_from_msec(20 + 50) + 5 * noise,
                  "took %ld us, noise %ld us", (long)sum.longest, (long)noise);
    ck_assert_uint_eq(cp_stats_get(&stats.in_flight), 0);
}
END_TEST

/* The upstream closes at about the moment at which the next request comes. */
static const char *leave_path(int number, int round, char *buffer)
{
    apr_snprintf(buffer, 64, "/leave/%d", (number * 31 + round * 17) % 400);
    return buffer;
}

START_TEST(a_socket_may_close_while_it_is_reused)
{
    crowd_t crowd = {.threads = 4, .rounds = 500, .path = leave_path};
    worker_t sum;

    config.retries = 1;
    upstream = fetching_upstream(pool, &config);
    sum = run_crowd(&crowd);
    ck_assert_int_eq(sum.good, 4 * 500);
    ck_assert_int_eq(sum.bytes, 4 * 500 * 5);
}
END_TEST

static const char *mixed_path(int number, int round, char *buffer)
{
    static const char *const paths[] = {
        "/hello",       "/bytes/700000", "/close", "/reset",
        "/gzip/5000",   "/raw/short",    "/never", "/gap/3000",
        "/raw/chunked", "/endless"};

    return paths[(number + round) % 10];
}

START_TEST(good_and_bad_mix)
{
    crowd_t crowd = {.threads = 20,
                     .rounds = 20,
                     .path = mixed_path,
                     .total = apr_time_from_sec(3),
                     .tolerated = CP_ERR_UPSTREAM};
    int whole = 20 * 20 / 10;
    worker_t sum = run_crowd(&crowd);

    /* Whole: five of ten. Never ends at its deadline, endless at its size. */
    ck_assert_int_eq(sum.good, 5 * whole);
    ck_assert_int_eq(sum.bad, 2 * whole);
    ck_assert_int_eq(sum.bytes,
                     (int64_t)whole * (5 + 700000 + 1 + 258 * 5000 + 10 + 5));
    ck_assert_uint_eq(cp_stats_get(&stats.in_flight), 0);
}
END_TEST

/* ---- One fetch in its own thread ---- */

typedef struct single_t {
    pthread_t thread;
    const char *path;
    int64_t seen; /* atomic */
    answer_t answer;
} single_t;

static void *run_single(void *data)
{
    single_t *single = data;
    void *conn = fetching_open(upstream);

    fetching_get(upstream, conn, loop, single->path, &single->answer);
    cp_http_driver.close(upstream, conn);
    return NULL;
}

static void begin_taking(single_t *single, const char *path,
                         apr_interval_time_t body_takes)
{
    int before = stub_requests(stub);

    memset(single, 0, sizeof(*single));
    single->path = path;
    single->answer.body_takes = body_takes;
    single->answer.seen = &single->seen;
    ck_assert_int_eq(pthread_create(&single->thread, NULL, run_single, single),
                     0);
    AWAIT(stub_requests(stub) > before);
}

static void begin(single_t *single, const char *path)
{
    begin_taking(single, path, 0);
}

static void get_once(answer_t *answer, const char *path)
{
    void *conn = fetching_open(upstream);

    memset(answer, 0, sizeof(*answer));
    fetching_get(upstream, conn, loop, path, answer);
    cp_http_driver.close(upstream, conn);
}

/* ---- Faults of the loop ---- */

START_TEST(a_dead_loop_is_replaced)
{
    answer_t answer;
    single_t waiting;

    begin(&waiting, "/wait/300000");
    cp_loop_test_die(loop);
    pthread_join(waiting.thread, NULL);
    ck_assert_msg(waiting.answer.rv == APR_SUCCESS, "%s",
                  waiting.answer.err.detail);
    ck_assert_int_eq(waiting.answer.result.ran_inline, 1);
    ck_assert_str_eq(waiting.answer.body, "hello");

    AWAIT(!cp_loop_test_is_alive(loop));
    get_once(&answer, "/hello");
    ck_assert_int_eq(answer.rv, APR_SUCCESS);
    ck_assert_int_eq(answer.result.ran_inline, 1);
    ck_assert_uint_eq(cp_stats_get(&stats.inline_runs), 2);

    AWAIT(supervised(cp_loop_test_is_alive(loop)));
    get_once(&answer, "/hello");
    ck_assert_int_eq(answer.rv, APR_SUCCESS);
    ck_assert_int_eq(answer.result.ran_inline, 0);
    ck_assert_uint_eq(cp_stats_get(&stats.restarts), 1);
    ck_assert_uint_eq(cp_stats_get(&stats.running), 1);
    ck_assert_uint_eq(cp_stats_get(&stats.in_flight), 0);
}
END_TEST

START_TEST(a_loop_lost_within_the_body_is_an_error)
{
    single_t waiting;

    begin(&waiting, "/gap/2000000");
    AWAIT(__atomic_load_n(&waiting.seen, __ATOMIC_ACQUIRE) == 5);
    cp_loop_test_die(loop);
    pthread_join(waiting.thread, NULL);
    ck_assert_int_eq(waiting.answer.err.cls, CP_ERR_UPSTREAM);
    ck_assert_str_eq(waiting.answer.body, "first");
    ck_assert_int_eq(waiting.answer.heads, 1);
}
END_TEST

START_TEST(a_stalled_loop_is_noticed)
{
    cp_clock_t began = cp_clock_now();
    single_t waiting;
    answer_t answer;

    begin(&waiting, "/wait/200000");
    cp_loop_test_stall(loop, apr_time_from_sec(3));
    while (cp_loop_test_is_alive(loop)) {
        cp_loop_supervise(loop);
        apr_sleep(apr_time_from_msec(10));
        ck_assert_int_le(cp_clock_now() - began, apr_time_from_msec(2600));
    }
    pthread_join(waiting.thread, NULL);
    ck_assert_int_le(cp_clock_now() - began, apr_time_from_msec(2900));
    ck_assert_msg(waiting.answer.rv == APR_SUCCESS, "%s",
                  waiting.answer.err.detail);
    ck_assert_int_eq(waiting.answer.result.ran_inline, 1);
    AWAIT(supervised(cp_loop_test_is_alive(loop)));
    get_once(&answer, "/hello");
    ck_assert_int_eq(answer.rv, APR_SUCCESS);
    ck_assert_int_eq(answer.result.ran_inline, 0);
    ck_assert_uint_eq(cp_stats_get(&stats.restarts), 1);
    /* The old thread wakes, finds itself abandoned, and cleans up. */
    AWAIT(cp_clock_now() - began > apr_time_from_msec(3300));
}
END_TEST

START_TEST(a_stalled_loop_keeps_no_deadline_waiting)
{
    void *conn = fetching_open(upstream);
    answer_t answer = {.rv = 0};
    cp_fetch_request_t request = {.method = "GET",
                                  .path_info = "/hello",
                                  .total = apr_time_from_msec(300)};
    metronome_t metronome;
    apr_interval_time_t noise;

    cp_loop_test_stall(loop, apr_time_from_msec(1000));
    apr_sleep(apr_time_from_msec(20));
    metronome_start(&metronome);
    fetching_run(upstream, conn, loop, &request, &answer);
    noise = metronome_stop(&metronome);
    ck_assert_int_eq(answer.err.cls, CP_ERR_DEADLINE);
    ck_assert_int_le(answer.took,
                     request.total + apr_time_from_msec(50) + 5 * noise);
    /* Its handle was left to the loop: the connection makes another. */
    request.total = 0;
    fetching_run(upstream, conn, loop, &request, &answer);
    ck_assert_msg(answer.rv == APR_SUCCESS, "%s", answer.err.detail);
    cp_http_driver.close(upstream, conn);
}
END_TEST

START_TEST(a_loop_that_cannot_start_is_tried_again)
{
    struct rlimit before, none;
    answer_t answer;

    stop_loop();
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = 3;
    setrlimit(RLIMIT_NOFILE, &none);
    start_loop();
    setrlimit(RLIMIT_NOFILE, &before);
    ck_assert_int_eq(cp_loop_test_is_alive(loop), 0);
    ck_assert_uint_eq(cp_stats_get(&stats.running), 0);
    get_once(&answer, "/hello");
    ck_assert_int_eq(answer.rv, APR_SUCCESS);
    ck_assert_int_eq(answer.result.ran_inline, 1);
    AWAIT(supervised(cp_loop_test_is_alive(loop)));
    get_once(&answer, "/hello");
    ck_assert_int_eq(answer.result.ran_inline, 0);
    ck_assert_uint_eq(cp_stats_get(&stats.running), 1);
}
END_TEST

START_TEST(starts_are_spaced)
{
    cp_clock_t began = cp_clock_now();

    /* After 250 and 500 ms, counted from start to start. */
    for (int i = 0; i < 2; i++) {
        cp_loop_test_die(loop);
        AWAIT(!cp_loop_test_is_alive(loop));
        AWAIT(supervised(cp_loop_test_is_alive(loop)));
    }
    ck_assert_int_ge(cp_clock_now() - began, apr_time_from_msec(700));
    ck_assert_uint_eq(cp_stats_get(&stats.restarts), 2);
}
END_TEST

START_TEST(stopping_cancels_what_is_in_flight)
{
    single_t waiting;
    answer_t answer;
    cp_clock_t began;

    begin(&waiting, "/never");
    began = cp_clock_now();
    cp_loop_stop(loop);
    ck_assert_int_le(cp_clock_now() - began, apr_time_from_msec(500));
    pthread_join(waiting.thread, NULL);
    ck_assert_int_eq(waiting.answer.err.cls, CP_ERR_CANCELLED);
    get_once(&answer, "/hello");
    ck_assert_int_eq(answer.err.cls, CP_ERR_CANCELLED);
    ck_assert_uint_eq(cp_stats_get(&stats.running), 0);
    cp_loop_supervise(loop);
    ck_assert_int_eq(cp_loop_test_is_alive(loop), 0);
    cp_loop_stop(loop);
}
END_TEST

/* ---- Idle ---- */

START_TEST(idle_sockets_are_closed_in_time)
{
    answer_t answer;

    config.keepalive = apr_time_from_msec(1500);
    upstream = fetching_upstream(pool, &config);
    get_once(&answer, "/hello");
    ck_assert_int_eq(stub_open(stub), 1);
    AWAIT(stub_open(stub) == 0);
    get_once(&answer, "/hello");
    ck_assert_int_eq(answer.rv, APR_SUCCESS);
    ck_assert_int_eq(answer.result.ran_inline, 0);
}
END_TEST

static int count_fds(void)
{
    int count = 0;
    apr_dir_t *dir;
    apr_finfo_t info;

    ck_assert_int_eq(apr_dir_open(&dir, "/proc/self/fd", pool), APR_SUCCESS);
    while (apr_dir_read(&info, 0, dir) == APR_SUCCESS) {
        count++;
    }
    apr_dir_close(dir);
    return count;
}

START_TEST(sockets_closed_by_the_upstream_are_dropped)
{
    answer_t answer;
    int before;

    config.drops_dead = 1;
    upstream = fetching_upstream(pool, &config);
    get_once(&answer, "/close"); /* what curl opens for itself it keeps */
    before = count_fds();
    get_once(&answer, "/hello");
    ck_assert_int_gt(count_fds(), before);
    stub_hang_up(stub);
    AWAIT(stub_open(stub) == 0);
    AWAIT(count_fds() <= before);
}
END_TEST

static void check_rest(void)
{
    struct timespec began, ended;
    double seconds;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &began);
    apr_sleep(apr_time_from_sec(1));
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ended);
    seconds = (double)(ended.tv_sec - began.tv_sec)
              + (double)(ended.tv_nsec - began.tv_nsec) / 1e9;
    ck_assert_msg(seconds < 0.05, "%f s", seconds);
    ck_assert_int_eq(cp_loop_test_is_alive(loop), 1);
}

START_TEST(an_idle_loop_rests)
{
    check_rest();
}
END_TEST

/* Sockets stay in epoll between fetches: what is told of them there, for ever,
 * must not keep the thread busy. */
START_TEST(a_loop_rests_beside_closed_sockets)
{
    answer_t answer;

    get_once(&answer, "/hello");
    ck_assert_int_eq(answer.rv, APR_SUCCESS);
    stub_hang_up(stub);
    AWAIT(stub_open(stub) == 0);
    check_rest();
    get_once(&answer, "/hello");
    ck_assert_int_eq(answer.rv, APR_SUCCESS);
    ck_assert_int_eq(answer.result.reused, 0);
}
END_TEST

/* What curl does not want to read now can be read all the time. */
START_TEST(a_loop_rests_while_a_transfer_is_paused)
{
    single_t waiting;

    begin_taking(&waiting, "/bytes/700000", apr_time_from_msec(1500));
    AWAIT(__atomic_load_n(&waiting.seen, __ATOMIC_ACQUIRE) > 0);
    apr_sleep(apr_time_from_msec(200));
    check_rest();
    pthread_join(waiting.thread, NULL);
    ck_assert_int_eq(waiting.answer.rv, APR_SUCCESS);
    ck_assert_int_eq(waiting.answer.bytes, 700000);
}
END_TEST

Suite *loop_suite(void)
{
    Suite *suite = suite_create("loop");
    TCase *tcase = tcase_create("loop");

    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, many_threads_share_one_loop);
    tcase_add_test(tcase, completion_and_deadline_race);
    tcase_add_test(tcase, a_socket_may_close_while_it_is_reused);
    tcase_add_test(tcase, good_and_bad_mix);
    tcase_add_test(tcase, a_dead_loop_is_replaced);
    tcase_add_test(tcase, a_loop_lost_within_the_body_is_an_error);
    tcase_add_test(tcase, a_stalled_loop_is_noticed);
    tcase_add_test(tcase, a_stalled_loop_keeps_no_deadline_waiting);
    tcase_add_test(tcase, a_loop_that_cannot_start_is_tried_again);
    tcase_add_test(tcase, starts_are_spaced);
    tcase_add_test(tcase, stopping_cancels_what_is_in_flight);
    tcase_add_test(tcase, idle_sockets_are_closed_in_time);
    tcase_add_test(tcase, sockets_closed_by_the_upstream_are_dropped);
    tcase_add_test(tcase, an_idle_loop_rests);
    tcase_add_test(tcase, a_loop_rests_beside_closed_sockets);
    tcase_add_test(tcase, a_loop_rests_while_a_transfer_is_paused);
    suite_add_tcase(suite, tcase);
    return suite;
}
