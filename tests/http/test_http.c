/* SPDX-License-Identifier: Apache-2.0
 * Every test of a fetch runs twice: in the loop and in the calling thread. */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <apr_strings.h>

#include "http/fetching.h"
#include "suites.h"

static apr_pool_t *pool;
static stub_t *stub;
static cp_loop_t *loop; /* NULL: inline */
static cp_loop_stats_t loop_stats;
static cp_upstream_config_t config;
static cp_upstream_t *upstream;
static void *conn;
static answer_t answer;

/* Take the settings that the test has made. */
static void open_upstream(void)
{
    if (conn) {
        cp_http_driver.close(upstream, conn);
    }
    upstream = fetching_upstream(pool, &config);
    conn = fetching_open(upstream);
}

static const char *stub_url(const char *host)
{
    return apr_psprintf(pool, "http://%s:%d", host, stub_port(stub));
}

static void setup(void)
{
    signal(SIGPIPE, SIG_IGN);
    apr_pool_create(&pool, NULL);
    cp_http_global_init();
    stub = stub_start();
    config = fetching_config(stub_url("127.0.0.1"));
    config.drops_dead = 1;
    memset(&answer, 0, sizeof(answer));
    conn = NULL;
    open_upstream();
}

static void setup_loop(void)
{
    cp_loop_config_t settings = {.max_connections = 100};

    setup();
    memset(&loop_stats, 0, sizeof(loop_stats));
    ck_assert_int_eq(cp_loop_create(&loop, &settings, &loop_stats),
                     APR_SUCCESS);
}

static void setup_inline(void)
{
    setup();
    loop = NULL;
}

static void teardown(void)
{
    cp_http_driver.close(upstream, conn);
    if (loop) {
        cp_loop_stop(loop);
        cp_loop_test_destroy(loop);
    }
    stub_stop(stub);
    apr_pool_destroy(pool);
}

static void get(const char *path)
{
    fetching_get(upstream, conn, loop, path, &answer);
}

static void assert_ok(const char *body)
{
    ck_assert_msg(answer.rv == APR_SUCCESS, "%s", answer.err.detail);
    ck_assert_int_eq(answer.err.cls, CP_ERR_NONE);
    ck_assert_int_eq(answer.heads, 1);
    ck_assert_int_eq(answer.status, 200);
    ck_assert_str_eq(answer.body, body);
}

static void assert_failed(cp_error_class_t cls, const char *cause)
{
    ck_assert_msg(answer.rv != APR_SUCCESS, "expected: %s", cause);
    ck_assert_msg(answer.err.cls == cls, "class %s, detail %s",
                  cp_error_class_name(answer.err.cls), answer.err.detail);
    ck_assert_msg(strstr(answer.err.cause, cause), "cause '%s', not '%s'",
                  answer.err.cause, cause);
}

/* ---- Answers ---- */

START_TEST(an_answer_comes_whole)
{
    get("/hello");
    assert_ok("hello");
    ck_assert_str_eq(answer.headers,
                     "Content-Type: text/plain\nContent-Length: 5\n");
    ck_assert_int_eq(answer.result.bytes, 5);
    ck_assert_int_eq(answer.result.status, 200);
    ck_assert_int_eq(answer.result.ran_inline, loop == NULL);
}
END_TEST

START_TEST(a_socket_is_used_again)
{
    for (int i = 0; i < 10; i++) {
        get("/hello");
        assert_ok("hello");
        ck_assert_int_eq(answer.result.reused, i > 0);
    }
    ck_assert_int_eq(stub_accepted(stub), 1);
}
END_TEST

START_TEST(a_socket_closed_while_idle_is_replaced)
{
    get("/hello");
    assert_ok("hello");
    stub_hang_up(stub);
    AWAIT(stub_open(stub) == 0);
    get("/hello");
    assert_ok("hello");
    ck_assert_int_eq(stub_accepted(stub), 2);
}
END_TEST

START_TEST(a_one_shot_closes_its_socket)
{
    cp_fetch_request_t request = {
        .method = "GET", .path_info = "/hello", .is_one_shot = 1};

    fetching_run(upstream, conn, loop, &request, &answer);
    assert_ok("hello");
    AWAIT(stub_open(stub) == 0);
}
END_TEST

START_TEST(short_keepalive_means_no_reuse)
{
    config.keepalive = _i == 0 ? 0 : apr_time_from_msec(10);
    open_upstream();
    get("/hello");
    get("/hello");
    assert_ok("hello");
    ck_assert_int_eq(stub_accepted(stub), 2);
    AWAIT(stub_open(stub) == 0);
}
END_TEST

START_TEST(no_lifetime_means_that_a_socket_never_grows_too_old)
{
    cp_clock_t old;

    config.lifetime = 0;
    open_upstream();
    get("/hello");
    assert_ok("hello");
    /* curl counts whole seconds: older than one is two. */
    old = cp_clock_after(apr_time_from_msec(2100));
    AWAIT(cp_clock_left(old) == 0);
    get("/hello");
    assert_ok("hello");
    ck_assert_int_eq(answer.result.reused, 1);
    config.lifetime = apr_time_from_sec(1);
    open_upstream();
    get("/hello");
    assert_ok("hello");
    ck_assert_int_eq(answer.result.reused, 0);
}
END_TEST

START_TEST(head_brings_no_body)
{
    cp_fetch_request_t request = {.method = "HEAD", .path_info = "/hello"};

    fetching_run(upstream, conn, loop, &request, &answer);
    assert_ok("");
    ck_assert_str_eq(answer.headers, "X-Head: 1\nContent-Length: 1000\n");
}
END_TEST

START_TEST(other_methods_are_refused)
{
    cp_fetch_request_t request = {.method = "TRACE", .path_info = "/hello"};

    fetching_run(upstream, conn, loop, &request, &answer);
    assert_failed(CP_ERR_INPUT, "method");
    ck_assert_int_eq(stub_requests(stub), 0);
}
END_TEST

START_TEST(statuses_pass_through)
{
    get("/status/404");
    ck_assert_int_eq(answer.rv, APR_SUCCESS);
    ck_assert_int_eq(answer.status, 404);
    get("/status/503");
    ck_assert_int_eq(answer.status, 503);
}
END_TEST

START_TEST(chunks_are_joined)
{
    get("/raw/chunked");
    assert_ok("abcde");
    ck_assert_str_eq(answer.headers, "");
    get("/raw/chunked");
    ck_assert_int_eq(answer.result.reused, 1);
}
END_TEST

START_TEST(a_body_may_end_with_the_connection)
{
    get("/raw/eof");
    assert_ok("until the end");
}
END_TEST

START_TEST(interim_answers_are_skipped)
{
    get("/raw/interim");
    assert_ok("ok");
    ck_assert_str_eq(answer.headers, "X-Final: 1\nContent-Length: 2\n");
}
END_TEST

START_TEST(headers_of_the_connection_are_left_out)
{
    get("/raw/hops");
    assert_ok("ok");
    ck_assert_str_eq(answer.headers,
                     "X-Public: 1\nX-Empty: \nContent-Length: 2\n");
}
END_TEST

START_TEST(gzip_is_undone)
{
    get("/gzip/4000");
    ck_assert_msg(answer.rv == APR_SUCCESS, "%s", answer.err.detail);
    ck_assert_int_eq(answer.bytes, 1 + 258 * 4000);
    ck_assert_str_eq(answer.headers, "");
}
END_TEST

START_TEST(the_handle_can_be_borrowed)
{
    void *easy = cp_http_easy(upstream, conn);

    ck_assert_ptr_nonnull(easy);
    ck_assert_ptr_eq(cp_http_easy(upstream, conn), easy);
    get("/hello");
    assert_ok("hello");
}
END_TEST

/* ---- What is sent ---- */

START_TEST(path_and_query_are_appended)
{
    cp_fetch_request_t request = {
        .method = "GET", .path_info = "/b%20c", .query = "y=2&z=%26"};

    config.url = apr_pstrcat(pool, config.url, "/echo?x=1", NULL);
    open_upstream();
    fetching_run(upstream, conn, loop, &request, &answer);
    ck_assert_ptr_nonnull(
        strstr(answer.body, "GET /echo/b%20c?x=1&y=2&z=%26 HTTP/1.1\r\n"));
}
END_TEST

START_TEST(a_slash_is_never_doubled)
{
    config.url = apr_pstrcat(pool, config.url, "/echo/", NULL);
    open_upstream();
    get("/a");
    ck_assert_ptr_nonnull(strstr(answer.body, "GET /echo/a HTTP/1.1\r\n"));
    get("a");
    ck_assert_ptr_nonnull(strstr(answer.body, "GET /echo/a HTTP/1.1\r\n"));
    get("");
    ck_assert_ptr_nonnull(strstr(answer.body, "GET /echo/ HTTP/1.1\r\n"));
}
END_TEST

START_TEST(headers_are_sent)
{
    cp_http_header_t headers[] = {{"X-One", "1"}, {"X-Empty", ""}};
    cp_fetch_request_t request = {.method = "GET",
                                  .path_info = "/echo",
                                  .headers = headers,
                                  .header_count = 2};

    fetching_run(upstream, conn, loop, &request, &answer);
    ck_assert_ptr_nonnull(strstr(answer.body, "\r\nX-One: 1\r\n"));
    ck_assert_ptr_nonnull(strstr(answer.body, "\r\nX-Empty:\r\n"));
    ck_assert_ptr_nonnull(strstr(answer.body, "\r\nAccept-Encoding: gzip\r\n"));
    ck_assert_ptr_nonnull(strstr(answer.body, "\r\nUser-Agent: mod_connpool/"));
    ck_assert_ptr_null(strstr(answer.body, "Expect"));
}
END_TEST

static const struct {
    const char *path, *query, *name, *value;
} bad_inputs[] = {
    {"/a\r\nX: 1", NULL, NULL, NULL},
    {"/a b", NULL, NULL, NULL},
    {"/a?b", NULL, NULL, NULL},
    {"/a#b", NULL, NULL, NULL},
    {"/\x7f", NULL, NULL, NULL},
    {"/..", NULL, NULL, NULL},
    {"..", NULL, NULL, NULL},
    {"/a/../b", NULL, NULL, NULL},
    {"/%2e%2E/b", NULL, NULL, NULL},
    {"/.%2e", NULL, NULL, NULL},
    {"/a%2f..%2fb", NULL, NULL, NULL},
    {"/a\\..\\b", NULL, NULL, NULL},
    {"/a%5c..", NULL, NULL, NULL},
    {"/..;x=1/b", NULL, NULL, NULL},
    {"/a%00/../b", NULL, NULL, NULL},
    {"/a%00", NULL, NULL, NULL},
    {NULL, "a=1\nb", NULL, NULL},
    {NULL, "a=1#b", NULL, NULL},
    {NULL, "a b", NULL, NULL},
    {NULL, NULL, "X-A", "1\r\nX-B: 2"},
    {NULL, NULL, "X-A", "1\n"},
    {NULL, NULL, "X A", "1"},
    {NULL, NULL, "X:A", "1"},
    {NULL, NULL, "", "1"},
    {NULL, NULL, "Host", "other"},
    {NULL, NULL, "content-length", "5"},
    {NULL, NULL, "Transfer-Encoding", "chunked"},
};

START_TEST(bad_input_is_refused)
{
    cp_http_header_t header = {bad_inputs[_i].name, bad_inputs[_i].value};
    cp_fetch_request_t request = {.method = "GET",
                                  .path_info = bad_inputs[_i].path,
                                  .query = bad_inputs[_i].query,
                                  .headers = &header,
                                  .header_count = header.name != NULL};

    fetching_run(upstream, conn, loop, &request, &answer);
    assert_failed(CP_ERR_INPUT, "");
    ck_assert_int_eq(stub_requests(stub), 0);
    get("/hello");
    assert_ok("hello");
}
END_TEST

static const char *const good_paths[] = {
    "/echo/a..b", "/echo/...",      "/echo/.hidden", "/echo/a%20b",
    "/echo//x",   "/echo/\xc3\xa4", "/echo/a;b=..c", "/echo/%"};

START_TEST(odd_but_harmless_paths_are_sent)
{
    get(good_paths[_i]);
    ck_assert_msg(answer.rv == APR_SUCCESS, "%s", answer.err.detail);
    ck_assert_int_eq(answer.status, 200);
}
END_TEST

/* ---- Failures ---- */

static const struct {
    const char *path;
    cp_error_class_t cls;
    const char *cause;
} failures[] = {
    {"/close", CP_ERR_UPSTREAM, "closed the connection too early"},
    {"/reset", CP_ERR_UPSTREAM, "closed the connection too early"},
    {"/raw/short", CP_ERR_UPSTREAM, "closed the connection too early"},
    {"/raw/lastchunk", CP_ERR_UPSTREAM, "closed the connection too early"},
    {"/raw/halfhead", CP_ERR_UPSTREAM, "closed the connection"},
    {"/raw/badchunk", CP_ERR_UPSTREAM, ""},
    {"/raw/lengths", CP_ERR_UPSTREAM, "malformed"},
    {"/raw/badlength", CP_ERR_UPSTREAM, "malformed"},
    {"/raw/status999", CP_ERR_UPSTREAM, "malformed"},
    {"/raw/nothttp", CP_ERR_UPSTREAM, "malformed"},
    {"/raw/badname", CP_ERR_UPSTREAM, "malformed"},
    {"/raw/folded", CP_ERR_UPSTREAM, "malformed"},
    {"/raw/control", CP_ERR_UPSTREAM, "malformed"},
    {"/raw/brotli", CP_ERR_UPSTREAM, "encoded"},
    {"/headers", CP_ERR_UPSTREAM, "head is too large"},
    {"/interims", CP_ERR_UPSTREAM, "head is too large"},
};

START_TEST(a_broken_upstream_is_named)
{
    get(failures[_i].path);
    assert_failed(failures[_i].cls, failures[_i].cause);
    get("/hello");
    assert_ok("hello");
}
END_TEST

START_TEST(a_refused_connection_is_named)
{
    stub_t *gone = stub_start();

    config.url = apr_psprintf(pool, "http://127.0.0.1:%d", stub_port(gone));
    stub_stop(gone);
    open_upstream();
    get("/hello");
    assert_failed(CP_ERR_UPSTREAM, "refused the connection");
}
END_TEST

START_TEST(an_unknown_name_is_named)
{
    config.url = "http://no-such-host.invalid";
    open_upstream();
    get("/");
    assert_failed(CP_ERR_UPSTREAM, "could not be resolved");
}
END_TEST

START_TEST(a_plain_server_gives_no_secure_connection)
{
    config.url = apr_psprintf(pool, "https://127.0.0.1:%d", stub_port(stub));
    open_upstream();
    get("/hello");
    assert_failed(CP_ERR_UPSTREAM, "no secure connection");
}
END_TEST

START_TEST(a_failure_before_the_first_byte_is_retried)
{
    config.retries = 1;
    open_upstream();
    get("/once/1");
    assert_ok("hello");
    ck_assert_int_eq(answer.result.retries, 1);
    get("/close");
    assert_failed(CP_ERR_UPSTREAM, "too early");
    ck_assert_int_eq(answer.result.retries, 1);
    get("/raw/halfhead");
    ck_assert_int_eq(answer.result.retries, 0);
}
END_TEST

/* ---- Sizes ---- */

START_TEST(a_declared_size_over_the_limit_fails_before_the_head)
{
    config.max_body = 999;
    open_upstream();
    get("/bytes/1000");
    assert_failed(CP_ERR_SIZE, "too large");
    ck_assert_int_eq(answer.heads, 0);
    get("/bytes/999");
    ck_assert_int_eq(answer.bytes, 999);
    ck_assert_int_eq(answer.rv, APR_SUCCESS);
}
END_TEST

START_TEST(an_endless_body_is_cut_at_the_limit)
{
    config.max_body = 1024 * 1024;
    open_upstream();
    get("/endless");
    assert_failed(CP_ERR_SIZE, "too large");
    ck_assert_int_le(answer.bytes, config.max_body);
    AWAIT(stub_open(stub) == 0);
}
END_TEST

static long peak_kb(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

START_TEST(a_bomb_is_counted_after_it_is_unpacked)
{
    long before;

    config.max_body = 1024 * 1024;
    open_upstream();
    get("/hello");
    before = peak_kb();
    get("/gzip/400000"); /* 100 MB */
    assert_failed(CP_ERR_SIZE, "too large");
    ck_assert_int_le(answer.bytes, config.max_body);
    ck_assert_int_le(peak_kb() - before, 16 * 1024);
}
END_TEST

START_TEST(a_slow_reader_holds_the_sender_back)
{
    long before;

    config.max_body = 64 * 1024 * 1024;
    open_upstream();
    get("/hello");
    before = peak_kb();
    answer.body_takes = apr_time_from_msec(15);
    get("/bytes/33554432");
    ck_assert_msg(answer.rv == APR_SUCCESS, "%s", answer.err.detail);
    ck_assert_int_eq(answer.bytes, 33554432);
    ck_assert_int_le(peak_kb() - before, 8 * 1024);
}
END_TEST

START_TEST(our_own_slowness_is_not_the_upstreams_silence)
{
    config.read = apr_time_from_msec(200);
    open_upstream();
    answer.body_takes = apr_time_from_msec(450);
    get("/bytes/1100000");
    ck_assert_msg(answer.rv == APR_SUCCESS, "%s", answer.err.detail);
    ck_assert_int_eq(answer.bytes, 1100000);
}
END_TEST

/* ---- Time ---- */

#define OVERRUN apr_time_from_msec(50)

/* GET that must end at its limit. */
static void get_late(const cp_fetch_request_t *request,
                     apr_interval_time_t limit, const char *cause)
{
    metronome_t metronome;
    apr_interval_time_t most;

    metronome_start(&metronome);
    fetching_run(upstream, conn, loop, request, &answer);
    most = limit + OVERRUN + 5 * metronome_stop(&metronome);
    assert_failed(CP_ERR_DEADLINE, cause);
    ck_assert_msg(answer.took >= limit && answer.took <= most,
                  "took %ld us, limit %ld us, at most %ld us",
                  (long)answer.took, (long)limit, (long)most);
}

/* A listener whose queue is full: connecting to it hangs. */
static int full_listener(int *port, int fillers[3])
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, size), 0);
    ck_assert_int_eq(listen(fd, 0), 0);
    getsockname(fd, (struct sockaddr *)&at, &size);
    for (int i = 0; i < 3; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(fillers[i], (struct sockaddr *)&at, size) != 0) {
            ck_assert_int_eq(errno, EINPROGRESS);
        }
    }
    *port = ntohs(at.sin_port);
    return fd;
}

START_TEST(connecting_has_its_own_limit)
{
    cp_fetch_request_t request = {.method = "GET", .path_info = "/hello"};
    int port, fillers[3];
    int fd = full_listener(&port, fillers);

    config.url = apr_psprintf(pool, "http://127.0.0.1:%d", port);
    config.connect = apr_time_from_msec(150);
    open_upstream();
    get_late(&request, config.connect, "connect");
    close(fd);
    for (int i = 0; i < 3; i++) {
        close(fillers[i]);
    }
}
END_TEST

static const char *const silences[] = {"/never", "/half/400000", "/gap/400000"};

START_TEST(silence_has_its_own_limit)
{
    cp_fetch_request_t request = {.method = "GET", .path_info = silences[_i]};

    config.read = apr_time_from_msec(150);
    open_upstream();
    get_late(&request, config.read, "silent");
    config.read = apr_time_from_sec(20);
    upstream = fetching_upstream(pool, &config);
    get("/hello");
    assert_ok("hello");
}
END_TEST

static const char *const total_paths[] = {"/never", "/half/500000",
                                          "/gap/500000", "/trickle/40000"};

START_TEST(everything_together_has_a_limit)
{
    cp_fetch_request_t request = {.method = "GET",
                                  .path_info = total_paths[_i],
                                  .total = apr_time_from_msec(150)};

    get_late(&request, request.total, "too long to answer");
    get("/hello");
    assert_ok("hello");
}
END_TEST

START_TEST(slow_but_alive_is_not_silent)
{
    config.read = apr_time_from_msec(500);
    open_upstream();
    get("/trickle/80000"); /* 800 ms */
    assert_ok("tttttttttt");
}
END_TEST

START_TEST(a_reader_may_stop)
{
    answer.stop_after = 300000;
    get("/endless");
    assert_failed(CP_ERR_CANCELLED, "not wanted");
    AWAIT(stub_open(stub) == 0);
}
END_TEST

START_TEST(nobody_waits_any_more)
{
    answer.cancel_after = 1;
    get("/never");
    assert_failed(CP_ERR_CANCELLED, "nobody waits");
    ck_assert_int_le(answer.took, apr_time_from_msec(900));
    answer.cancel_after = 6;
    get("/gap/1000000");
    assert_failed(CP_ERR_CANCELLED, "nobody waits");
    ck_assert_int_eq(answer.heads, 1);
    ck_assert_int_le(answer.took, apr_time_from_msec(900));
    AWAIT(stub_open(stub) == 0);
}
END_TEST

/* ---- Redirects ---- */

START_TEST(redirects_are_not_followed_unless_allowed)
{
    get("/to//hello");
    ck_assert_int_eq(answer.rv, APR_SUCCESS);
    ck_assert_int_eq(answer.status, 302);
    ck_assert_str_eq(answer.body, "away");
    ck_assert_int_eq(stub_requests(stub), 1);
}
END_TEST

START_TEST(redirects_stay_within_the_origin)
{
    config.redirects = 2;
    open_upstream();
    get("/to//hello");
    assert_ok("hello");
    get(apr_psprintf(pool, "/to/%s/hello", config.url));
    assert_ok("hello");
    get("/to//to//hello");
    assert_ok("hello");
    get("/to//to//to//hello");
    assert_failed(CP_ERR_UPSTREAM, "too often");
    ck_assert_int_eq(answer.heads, 0);
}
END_TEST

/* The stub's port is appended. */
static const char *const elsewhere[] = {
    "http://127.0.0.1:1", "https://127.0.0.1:", "http://localhost:",
    "file:///etc/passwd", "//127.0.0.2:",       "http://u@127.0.0.1:"};

START_TEST(redirects_elsewhere_are_refused)
{
    config.redirects = 5;
    config.allow_private = 1;
    open_upstream();
    get(apr_psprintf(pool, "/to/%s%d", elsewhere[_i], stub_port(stub)));
    assert_failed(CP_ERR_REFUSED, "another place");
    ck_assert_int_eq(stub_requests(stub), 1);
}
END_TEST

/* ---- Addresses ---- */

START_TEST(a_name_must_not_lead_inside)
{
    config.url = stub_url("localhost");
    open_upstream();
    get("/hello");
    assert_failed(CP_ERR_REFUSED, "address is not allowed");
    ck_assert_int_eq(stub_accepted(stub), 0);
}
END_TEST

START_TEST(a_name_may_lead_inside_when_allowed)
{
    config.url = stub_url("localhost");
    config.allow_private = 1;
    open_upstream();
    get("/hello");
    assert_ok("hello");
}
END_TEST

START_TEST(disguised_addresses_are_names)
{
    static const char *const hosts[] = {"127.1", "0x7f.1", "2130706433"};

    config.url = stub_url(hosts[_i]);
    open_upstream();
    get("/hello");
    assert_failed(CP_ERR_REFUSED, "address is not allowed");
    ck_assert_int_eq(stub_accepted(stub), 0);
}
END_TEST

START_TEST(a_reused_socket_is_checked_again)
{
    cp_upstream_t *lax;

    config.url = stub_url("localhost");
    config.allow_private = 1;
    open_upstream();
    lax = upstream;
    fetching_get(lax, conn, loop, "/hello", &answer);
    assert_ok("hello");
    config.allow_private = 0;
    upstream = fetching_upstream(pool, &config);
    fetching_get(upstream, conn, loop, "/hello", &answer);
    assert_failed(CP_ERR_REFUSED, "address is not allowed");
    ck_assert_int_eq(stub_requests(stub), 1);
}
END_TEST

START_TEST(plain_text_to_public_addresses_is_refused)
{
    config.url = "http://8.8.8.8:1/";
    open_upstream();
    get("");
    assert_failed(CP_ERR_REFUSED, "address is not allowed");
}
END_TEST

/* ---- URLs ---- */

static const struct {
    const char *url;
    const char *problem; /* NULL: none, and then */
    const char *origin;
} urls[] = {
    {"http://Example.org", NULL, "http://example.org:80"},
    {"https://example.org/a?b=c", NULL, "https://example.org:443"},
    {"https://example.org:8443/", NULL, "https://example.org:8443"},
    {"http://[::1]:8080/x", NULL, "http://[::1]:8080"},
    {"ftp://example.org/", "http", NULL},
    {"example.org", "http", NULL},
    {"", "http", NULL},
    {"http://", "", NULL},
    {"http:///path", "host", NULL},
    {"http://user@example.org/", "user name", NULL},
    {"http://user:secret@example.org/", "user name", NULL},
    {"http://example.org/#part", "fragment", NULL},
    {"http://example.org:0/", "port", NULL},
    {"http://example.org:65536/", "port", NULL},
    {"http://example.org:x/", "port", NULL},
    {"http://exa mple.org/", "", NULL},
    {"http://example.org/a b", "", NULL},
    {"http://example.org/\r\n", "", NULL},
    {"http://[::1/", "", NULL},
};

START_TEST(urls_are_checked)
{
    const char *origin = NULL;
    const char *problem;

    apr_pool_create(&pool, NULL);
    problem = cp_upstream_check_url(pool, urls[_i].url, &origin);
    if (urls[_i].problem) {
        ck_assert_msg(problem != NULL, "accepted: %s", urls[_i].url);
        ck_assert_ptr_nonnull(strstr(problem, urls[_i].problem));
    }
    else {
        ck_assert_msg(problem == NULL, "%s: %s", urls[_i].url, problem);
        ck_assert_str_eq(origin, urls[_i].origin);
    }
    apr_pool_destroy(pool);
}
END_TEST

START_TEST(the_version_is_told)
{
    apr_pool_create(&pool, NULL);
    ck_assert_ptr_nonnull(strstr(cp_http_version(pool), "libcurl "));
    ck_assert_ptr_nonnull(strstr(cp_http_version(pool), "resolver"));
    apr_pool_destroy(pool);
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof(*(array))))

static void add_answers(TCase *tcase)
{
    tcase_add_test(tcase, an_answer_comes_whole);
    tcase_add_test(tcase, a_socket_is_used_again);
    tcase_add_test(tcase, a_socket_closed_while_idle_is_replaced);
    tcase_add_test(tcase, a_one_shot_closes_its_socket);
    tcase_add_loop_test(tcase, short_keepalive_means_no_reuse, 0, 2);
    tcase_add_test(tcase, no_lifetime_means_that_a_socket_never_grows_too_old);
    tcase_add_test(tcase, head_brings_no_body);
    tcase_add_test(tcase, other_methods_are_refused);
    tcase_add_test(tcase, statuses_pass_through);
    tcase_add_test(tcase, chunks_are_joined);
    tcase_add_test(tcase, a_body_may_end_with_the_connection);
    tcase_add_test(tcase, interim_answers_are_skipped);
    tcase_add_test(tcase, headers_of_the_connection_are_left_out);
    tcase_add_test(tcase, gzip_is_undone);
    tcase_add_test(tcase, the_handle_can_be_borrowed);
    tcase_add_test(tcase, path_and_query_are_appended);
    tcase_add_test(tcase, a_slash_is_never_doubled);
    tcase_add_test(tcase, headers_are_sent);
    tcase_add_loop_test(tcase, bad_input_is_refused, 0, COUNT(bad_inputs));
    tcase_add_loop_test(tcase, odd_but_harmless_paths_are_sent, 0,
                        COUNT(good_paths));
}

static void add_failures(TCase *tcase)
{
    tcase_add_loop_test(tcase, a_broken_upstream_is_named, 0, COUNT(failures));
    tcase_add_test(tcase, a_refused_connection_is_named);
    tcase_add_test(tcase, an_unknown_name_is_named);
    tcase_add_test(tcase, a_plain_server_gives_no_secure_connection);
    tcase_add_test(tcase, a_failure_before_the_first_byte_is_retried);
    tcase_add_test(tcase, a_declared_size_over_the_limit_fails_before_the_head);
    tcase_add_test(tcase, an_endless_body_is_cut_at_the_limit);
    tcase_add_test(tcase, a_bomb_is_counted_after_it_is_unpacked);
    tcase_add_test(tcase, a_slow_reader_holds_the_sender_back);
    tcase_add_test(tcase, our_own_slowness_is_not_the_upstreams_silence);
    tcase_add_test(tcase, connecting_has_its_own_limit);
    tcase_add_loop_test(tcase, silence_has_its_own_limit, 0, COUNT(silences));
    tcase_add_loop_test(tcase, everything_together_has_a_limit, 0,
                        COUNT(total_paths));
    tcase_add_test(tcase, slow_but_alive_is_not_silent);
    tcase_add_test(tcase, a_reader_may_stop);
    tcase_add_test(tcase, nobody_waits_any_more);
}

static void add_places(TCase *tcase)
{
    tcase_add_test(tcase, redirects_are_not_followed_unless_allowed);
    tcase_add_test(tcase, redirects_stay_within_the_origin);
    tcase_add_loop_test(tcase, redirects_elsewhere_are_refused, 0,
                        COUNT(elsewhere));
    tcase_add_test(tcase, a_name_must_not_lead_inside);
    tcase_add_test(tcase, a_name_may_lead_inside_when_allowed);
    tcase_add_loop_test(tcase, disguised_addresses_are_names, 0, 3);
    tcase_add_test(tcase, a_reused_socket_is_checked_again);
    tcase_add_test(tcase, plain_text_to_public_addresses_is_refused);
}

static TCase *make_tcase(const char *name, void (*fixture)(void))
{
    TCase *tcase = tcase_create(name);

    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, fixture, teardown);
    add_answers(tcase);
    add_failures(tcase);
    add_places(tcase);
    return tcase;
}

Suite *http_suite(void)
{
    Suite *suite = suite_create("http");
    TCase *plain = tcase_create("plain");

    tcase_add_loop_test(plain, urls_are_checked, 0, COUNT(urls));
    tcase_add_test(plain, the_version_is_told);
    suite_add_tcase(suite, plain);
    suite_add_tcase(suite, make_tcase("inline", setup_inline));
    suite_add_tcase(suite, make_tcase("loop", setup_loop));
    return suite;
}
