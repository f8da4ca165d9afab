/* SPDX-License-Identifier: Apache-2.0
 * Fetches over a socket that curl has kept: the same requests, and the same
 * answers, as with curl. */
#include <signal.h>
#include <string.h>

#include <apr_strings.h>

#include "http/fetching.h"
#include "suites.h"

#define MS apr_time_from_msec(1)

static apr_pool_t *pool;
static stub_t *stub;
static cp_upstream_config_t config;
static cp_upstream_t *upstream;

static void setup(void)
{
    signal(SIGPIPE, SIG_IGN);
    apr_pool_create(&pool, NULL);
    cp_http_global_init();
    stub = stub_start();
    config = fetching_config(
        apr_psprintf(pool, "http://127.0.0.1:%d", stub_port(stub)));
    upstream = fetching_upstream(pool, &config);
}

static void teardown(void)
{
    stub_stop(stub);
    apr_pool_destroy(pool);
}

static void run(void *conn, cp_fetch_request_t request, int is_lone,
                answer_t *answer)
{
    request.is_lone = is_lone;
    fetching_run(upstream, conn, NULL, &request, answer);
}

static void check_hello(void *conn, answer_t *answer)
{
    *answer = (answer_t){.rv = 0};
    run(conn, (cp_fetch_request_t){.method = "GET", .path_info = "/hello"}, 1,
        answer);
    ck_assert_msg(answer->rv == APR_SUCCESS, "%s", answer->err.detail);
    ck_assert_int_eq(answer->status, 200);
    ck_assert_str_eq(answer->body, "hello");
}

/* A connection whose socket is open and idle. */
static void *open_kept(void)
{
    void *conn = fetching_open(upstream);
    answer_t answer;

    check_hello(conn, &answer);
    ck_assert_int_eq(answer.result.reused, 0);
    return conn;
}

static void close_conn(void *conn)
{
    cp_http_driver.close(upstream, conn);
}

/* ---- As curl does it ---- */

static const cp_http_header_t sent[] = {{"X-One", "1"},
                                        {"Accept", "text/plain"},
                                        {"X-Empty", ""},
                                        {"X-Semicolon", "a;"}};
static const cp_http_header_t range[] = {{"Range", "bytes=0-1"}};

static const cp_fetch_request_t requests[] = {
    {.method = "GET", .path_info = "/hello"},
    {.method = "GET", .path_info = "/echo"},
    {.method = "GET", .path_info = "/echo", .query = "a=1&b=%20"},
    {.method = "GET", .path_info = "/echo/a b%2f;c"},
    {.method = "GET", .path_info = "/echo/a;b%2Fc/./d", .query = "?x"},
    {.method = "GET", .path_info = "/echo", .headers = sent, .header_count = 4},
    {.method = "GET",
     .path_info = "/echo",
     .headers = range,
     .header_count = 1},
    {.method = "HEAD", .path_info = "/hello"},
    {.method = "HEAD",
     .path_info = "/echo",
     .headers = sent,
     .header_count = 4},
    {.method = "GET", .path_info = "/bytes/0"},
    {.method = "GET", .path_info = "/bytes/100000"},
    {.method = "GET", .path_info = "/bytes/9000000"},
    {.method = "GET", .path_info = "/endless"},
    {.method = "GET", .path_info = "/gzip/5000"},
    {.method = "GET", .path_info = "/gzip/200000"},
    {.method = "GET", .path_info = "/trickle/2000"},
    {.method = "GET", .path_info = "/half/20000"},
    {.method = "GET", .path_info = "/gap/20000"},
    {.method = "GET", .path_info = "/status/204"},
    {.method = "GET", .path_info = "/status/304"},
    {.method = "GET", .path_info = "/status/404"},
    {.method = "GET", .path_info = "/status/101"},
    {.method = "GET", .path_info = "/to/hello"},
    {.method = "GET", .path_info = "/headers"},
    {.method = "GET", .path_info = "/interims"},
    {.method = "GET", .path_info = "/close"},
    {.method = "GET", .path_info = "/raw/interim"},
    {.method = "GET", .path_info = "/raw/short"},
    {.method = "GET", .path_info = "/raw/chunked"},
    {.method = "GET", .path_info = "/raw/lastchunk"},
    {.method = "GET", .path_info = "/raw/badchunk"},
    {.method = "GET", .path_info = "/raw/halfhead"},
    {.method = "GET", .path_info = "/raw/lengths"},
    {.method = "GET", .path_info = "/raw/badlength"},
    {.method = "GET", .path_info = "/raw/status999"},
    {.method = "GET", .path_info = "/raw/nothttp"},
    {.method = "GET", .path_info = "/raw/badname"},
    {.method = "GET", .path_info = "/raw/folded"},
    {.method = "GET", .path_info = "/raw/control"},
    {.method = "GET", .path_info = "/raw/brotli"},
    {.method = "GET", .path_info = "/raw/hops"},
    {.method = "GET", .path_info = "/raw/eof"},
    {.method = "GET", .path_info = "/raw/excess"},
    {.method = "GET", .path_info = "/raw/both"},
    {.method = "GET", .path_info = "/raw/old"},
    {.method = "GET", .path_info = "/raw/oldkept"},
    {.method = "GET", .path_info = "/raw/closing"},
    {.method = "GET", .path_info = "/raw/newer"},
    {.method = "GET", .path_info = "/raw/http2"},
    {.method = "GET", .path_info = "/raw/barelf"},
    {.method = "GET", .path_info = "/raw/extension"},
    {.method = "GET", .path_info = "/raw/nochunk"},
    {.method = "GET", .path_info = "/raw/chunkend"},
    {.method = "GET", .path_info = "/raw/trailers"},
    {.method = "GET", .path_info = "/raw/nul"},
    {.method = "GET", .path_info = "/raw/blank"},
    {.method = "GET", .path_info = "/raw/gzipped"},
    {.method = "GET", .path_info = "/raw/noreason"},
};

static void compare(const cp_fetch_request_t *request, answer_t *curl,
                    answer_t *kept)
{
    const char *path = request->path_info;

    ck_assert_msg(kept->rv == curl->rv, "%s: %d, curl %d: %s", path, kept->rv,
                  curl->rv, kept->err.detail);
    /* Of an answer that breaks off the head may have come before, or not. */
    ck_assert_msg(
        (kept->status == curl->status && kept->heads == curl->heads
         && strcmp(kept->headers, curl->headers) == 0)
            || (curl->rv != APR_SUCCESS && kept->heads + curl->heads == 1),
        "%s: status %d, headers %s; curl %d, %s", path, kept->status,
        kept->headers, curl->status, curl->headers);
    ck_assert_msg(kept->bytes == curl->bytes || curl->rv != APR_SUCCESS,
                  "%s: %ld bytes, curl %ld", path, (long)kept->bytes,
                  (long)curl->bytes);
    ck_assert_msg(strcmp(kept->body, curl->body) == 0
                      || curl->rv != APR_SUCCESS,
                  "%s: body %s, curl %s", path, kept->body, curl->body);
    if (curl->rv != APR_SUCCESS) {
        ck_assert_msg(kept->err.cls == curl->err.cls
                          && strcmp(kept->err.cause, curl->err.cause) == 0,
                      "%s: %s, curl %s", path, kept->err.detail,
                      curl->err.detail);
    }
    ck_assert_msg(kept->result.retries == curl->result.retries, "%s: retries",
                  path);
}

START_TEST(the_answers_are_those_of_curl)
{
    const cp_fetch_request_t *request = &requests[_i];
    void *fresh = fetching_open(upstream), *conn = open_kept();
    answer_t curl = {.rv = 0}, kept = {.rv = 0}, after;
    int accepted = stub_accepted(stub);

    run(conn, *request, 1, &kept);
    if (kept.rv == APR_SUCCESS) {
        ck_assert_int_eq(stub_accepted(stub), accepted);
        ck_assert_int_eq(kept.result.reused, 1);
        ck_assert_int_ge(kept.result.span_us[CP_SPAN_FIRST_BYTE], 0);
    }
    run(fresh, *request, 0, &curl);
    compare(request, &curl, &kept);
    /* Whatever it was, nothing of it is taken for what follows. */
    check_hello(conn, &after);
    check_hello(conn, &after);
    ck_assert_int_eq(after.result.reused, 1);
    close_conn(conn);
    close_conn(fresh);
}
END_TEST

START_TEST(redirects_are_followed)
{
    answer_t answer = {.rv = 0};
    void *conn;

    config.redirects = 2;
    upstream = fetching_upstream(pool, &config);
    conn = open_kept();
    run(conn, (cp_fetch_request_t){.method = "GET", .path_info = "/to//hello"},
        1, &answer);
    ck_assert_msg(answer.rv == APR_SUCCESS, "%s", answer.err.detail);
    ck_assert_str_eq(answer.body, "hello");
    ck_assert_int_eq(stub_accepted(stub), 1);
    close_conn(conn);
}
END_TEST

/* ---- Sockets that lay idle ---- */

START_TEST(a_closed_socket_is_replaced)
{
    void *conn = open_kept();
    answer_t answer;

    stub_hang_up(stub);
    AWAIT(stub_open(stub) == 0);
    check_hello(conn, &answer);
    ck_assert_int_eq(answer.result.reused, 0);
    ck_assert_int_eq(answer.result.retries, 0);
    check_hello(conn, &answer);
    ck_assert_int_eq(answer.result.reused, 1);
    close_conn(conn);
}
END_TEST

/* Nobody was asked, so it answers nobody. */
START_TEST(what_comes_unasked_is_no_answer)
{
    answer_t answer = {.rv = 0};
    void *conn = open_kept();

    run(conn, (cp_fetch_request_t){.method = "GET", .path_info = "/late/1000"},
        1, &answer);
    ck_assert_str_eq(answer.body, "hello");
    apr_sleep(100 * MS);
    check_hello(conn, &answer);
    ck_assert_int_eq(answer.result.reused, 0);
    close_conn(conn);
}
END_TEST

START_TEST(one_that_closes_unanswered_is_asked_again)
{
    answer_t answer = {.rv = 0};
    void *conn = open_kept();
    int requests_before = stub_requests(stub);

    /* Its first connection only. */
    run(conn, (cp_fetch_request_t){.method = "GET", .path_info = "/once/a"}, 1,
        &answer);
    ck_assert_msg(answer.rv == APR_SUCCESS, "%s", answer.err.detail);
    ck_assert_str_eq(answer.body, "hello");
    ck_assert_int_eq(stub_requests(stub), requests_before + 2);
    close_conn(conn);
}
END_TEST

START_TEST(an_old_socket_is_not_used)
{
    answer_t answer;
    void *conn;

    if (_i) {
        config.lifetime = apr_time_from_sec(1);
    }
    else {
        config.keepalive = apr_time_from_sec(1);
    }
    upstream = fetching_upstream(pool, &config);
    conn = open_kept();
    apr_sleep(2100 * MS);
    check_hello(conn, &answer);
    ck_assert_int_eq(answer.result.reused, 0);
    ck_assert_int_eq(stub_accepted(stub), 2);
    close_conn(conn);
}
END_TEST

START_TEST(without_keepalive_none_is_kept)
{
    answer_t answer;
    void *conn;

    config.keepalive = 0;
    upstream = fetching_upstream(pool, &config);
    conn = open_kept();
    check_hello(conn, &answer);
    ck_assert_int_eq(answer.result.reused, 0);
    ck_assert_int_eq(stub_accepted(stub), 2);
    close_conn(conn);
}
END_TEST

/* ---- Limits ---- */

static void check_limit(const char *path, cp_error_class_t cls,
                        apr_interval_time_t limit, answer_t *answer)
{
    void *conn = open_kept();
    metronome_t metronome;
    apr_interval_time_t noise;
    answer_t after;

    metronome_start(&metronome);
    run(conn, (cp_fetch_request_t){.method = "GET", .path_info = path}, 1,
        answer);
    noise = metronome_stop(&metronome);
    ck_assert_int_eq(answer->err.cls, cls);
    ck_assert_int_le(answer->took, limit + 50 * MS + 5 * noise);
    check_hello(conn, &after);
    ck_assert_int_eq(after.result.reused, 0);
    close_conn(conn);
}

START_TEST(the_deadline_holds)
{
    answer_t answer = {.rv = 0};

    config.total = 300 * MS;
    upstream = fetching_upstream(pool, &config);
    check_limit(_i ? "/gap/2000000" : "/never", CP_ERR_DEADLINE, config.total,
                &answer);
    ck_assert_int_ge(answer.took, config.total);
}
END_TEST

START_TEST(silence_has_a_limit)
{
    answer_t answer = {.rv = 0};

    config.read = 200 * MS;
    upstream = fetching_upstream(pool, &config);
    check_limit(_i ? "/gap/2000000" : "/never", CP_ERR_DEADLINE, config.read,
                &answer);
    ck_assert_str_eq(answer.err.cause, "the upstream fell silent");
}
END_TEST

START_TEST(who_goes_away_ends_it)
{
    answer_t answer = {.cancel_after = 1};

    check_limit("/never", CP_ERR_CANCELLED, 200 * MS, &answer);
}
END_TEST

START_TEST(a_sink_may_stop)
{
    answer_t answer = {.stop_after = 1000};

    check_limit("/bytes/7000000", CP_ERR_CANCELLED, 500 * MS, &answer);
}
END_TEST

/* What is read in advance is bounded, and nothing gets lost or comes twice. */
START_TEST(a_slow_sink_gets_all)
{
    static const struct {
        const char *path;
        int64_t bytes;
    } cases[] = {{"/bytes/4000000", 4000000}, {"/gzip/20000", 1 + 258 * 20000}};
    answer_t answer = {.body_takes = 20 * MS};
    void *conn = open_kept();

    run(conn,
        (cp_fetch_request_t){.method = "GET", .path_info = cases[_i].path}, 1,
        &answer);
    ck_assert_msg(answer.rv == APR_SUCCESS, "%s", answer.err.detail);
    ck_assert_int_eq(answer.bytes, cases[_i].bytes);
    ck_assert_int_eq(answer.result.reused, 1);
    check_hello(conn, &answer);
    ck_assert_int_eq(answer.result.reused, 1);
    close_conn(conn);
}
END_TEST

Suite *kept_suite(void)
{
    Suite *suite = suite_create("kept");
    TCase *tcase = tcase_create("kept");
    int count = (int)(sizeof(requests) / sizeof(*requests));

    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, the_answers_are_those_of_curl, 0, count);
    tcase_add_test(tcase, redirects_are_followed);
    tcase_add_test(tcase, a_closed_socket_is_replaced);
    tcase_add_test(tcase, what_comes_unasked_is_no_answer);
    tcase_add_test(tcase, one_that_closes_unanswered_is_asked_again);
    tcase_add_loop_test(tcase, an_old_socket_is_not_used, 0, 2);
    tcase_add_test(tcase, without_keepalive_none_is_kept);
    tcase_add_loop_test(tcase, the_deadline_holds, 0, 2);
    tcase_add_loop_test(tcase, silence_has_a_limit, 0, 2);
    tcase_add_test(tcase, who_goes_away_ends_it);
    tcase_add_test(tcase, a_sink_may_stop);
    tcase_add_loop_test(tcase, a_slow_sink_gets_all, 0, 2);
    suite_add_tcase(suite, tcase);
    return suite;
}
