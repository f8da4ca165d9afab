/* SPDX-License-Identifier: Apache-2.0
 * The loop's thread: it drives all transfers of a generation. */
#include "http/generation.h"

#include "base/clock.h"
#include "base/log.h"
#include "http/job/bell.h"
#include "http/job/job.h"
#include "http/loop.h"
#include "http/upstream/guard.h"
#include "stats/cell.h"
#include "stats/stats.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define POLL_IDLE      apr_time_from_msec(500)
#define POLL_BUSY      apr_time_from_msec(100)
#define TRIM_EVERY     apr_time_from_sec(1)
#define EVENTS_AT_ONCE 64

void cp_generation_wake(cp_generation_t *gen)
{
    uint64_t one = 1;
    ssize_t written = write(gen->event_fd, &one, sizeof(one));

    (void)written; /* a full counter wakes as well */
}

void cp_generation_ref(cp_generation_t *gen)
{
    __atomic_fetch_add(&gen->refs, 1, __ATOMIC_RELAXED);
}

void cp_generation_unref(cp_generation_t *gen)
{
    if (__atomic_sub_fetch(&gen->refs, 1, __ATOMIC_ACQ_REL) > 0) {
        return;
    }
    if (gen->multi) {
        curl_multi_cleanup(gen->multi);
    }
    if (gen->epoll_fd >= 0) {
        close(gen->epoll_fd);
    }
    if (gen->event_fd >= 0) {
        close(gen->event_fd);
    }
    pthread_mutex_destroy(&gen->lock);
    free(gen->sockets);
    free(gen);
}

/* Put orders into the inbox. The reference goes with the place in it. */
int cp_generation_push(cp_generation_t *gen, cp_job_t *job, int orders)
{
    int is_open, was_empty;

    pthread_mutex_lock(&gen->lock);
    is_open = !gen->is_closed;
    was_empty = APR_RING_EMPTY(&gen->inbox, cp_job_t, in_inbox);
    if (is_open) {
        if (was_empty) {
            gen->pushed_at = cp_clock_now();
        }
        if (job->orders == 0) {
            cp_job_ref(job);
            APR_RING_INSERT_TAIL(&gen->inbox, job, cp_job_t, in_inbox);
        }
        job->orders |= orders;
    }
    pthread_mutex_unlock(&gen->lock);
    if (is_open && was_empty) {
        cp_generation_wake(gen);
    }
    return is_open;
}

/* ---- Sockets (loop's thread) ---- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *baton,
                     void *unused)
{
    cp_generation_t *gen = baton;
    struct epoll_event event = {.data.fd = fd};

    if (what == CURL_POLL_REMOVE) {
        /* Fails when the socket is closed already, which is as good. */
        epoll_ctl(gen->epoll_fd, EPOLL_CTL_DEL, fd, &event);
        return 0;
    }
    event.events = (what & CURL_POLL_IN ? (unsigned)EPOLLIN : 0)
                   | (what & CURL_POLL_OUT ? (unsigned)EPOLLOUT : 0);
    if (epoll_ctl(gen->epoll_fd, EPOLL_CTL_MOD, fd, &event) != 0
        && epoll_ctl(gen->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        cp_log(CP_LOG_MARK, CP_LOG_ERROR, errno, "event loop: epoll_ctl");
        gen->is_broken = 1;
    }
    return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *baton)
{
    cp_generation_t *gen = baton;

    gen->timer_at = timeout_ms < 0
                        ? CP_CLOCK_NEVER
                        : cp_clock_after(apr_time_from_msec(timeout_ms));
    return 0;
}

static curl_socket_t open_socket(void *baton, curlsocktype purpose,
                                 struct curl_sockaddr *address)
{
    cp_job_t *job = baton;
    cp_generation_t *gen = job->owner;
    curl_socket_t fd = cp_http_open_socket(&job->guard, purpose, address);

    if (fd == CURL_SOCKET_BAD) {
        return fd;
    }
    if (gen->socket_count == gen->socket_room) {
        int room = gen->socket_room ? gen->socket_room * 2 : 32;
        int *grown = realloc(gen->sockets, (size_t)room * sizeof(*grown));

        if (!grown) {
            close(fd);
            return CURL_SOCKET_BAD;
        }
        gen->sockets = grown;
        gen->socket_room = room;
    }
    gen->sockets[gen->socket_count++] = fd;
    return fd;
}

static int close_socket(void *baton, curl_socket_t fd)
{
    cp_generation_t *gen = baton;
    struct epoll_event event = {0};

    for (int i = 0; i < gen->socket_count; i++) {
        if (gen->sockets[i] == fd) {
            gen->sockets[i] = gen->sockets[--gen->socket_count];
            break;
        }
    }
    epoll_ctl(gen->epoll_fd, EPOLL_CTL_DEL, fd, &event);
    return close(fd);
}

/* A fresh multi handle; an old one is closed together with its sockets. */
static int renew_multi(cp_generation_t *gen)
{
    if (gen->multi) {
        curl_multi_cleanup(gen->multi);
    }
    gen->timer_at = CP_CLOCK_NEVER;
    gen->multi = curl_multi_init();
    if (!gen->multi) {
        return 0;
    }
    curl_multi_setopt(gen->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(gen->multi, CURLMOPT_SOCKETDATA, gen);
    curl_multi_setopt(gen->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(gen->multi, CURLMOPT_TIMERDATA, gen);
    curl_multi_setopt(gen->multi, CURLMOPT_MAXCONNECTS,
                      (long)gen->config.max_connections);
    return 1;
}

static int has_dead_socket(cp_generation_t *gen)
{
    for (int i = 0; i < gen->socket_count; i++) {
        struct pollfd probe = {.fd = gen->sockets[i], .events = POLLRDHUP};

        if (poll(&probe, 1, 0) > 0) {
            return 1;
        }
    }
    return 0;
}

/* curl closes old sockets only when a new one is wanted. With nothing in
 * flight, all can be closed at once by starting anew. */
static void trim_idle_sockets(cp_generation_t *gen)
{
    cp_clock_t now = cp_clock_now();

    if (gen->active_count > 0 || gen->socket_count == 0 || now < gen->trim_at) {
        return;
    }
    gen->trim_at = now + TRIM_EVERY;
    if (now - gen->idle_since >= gen->config.keepalive
        || (gen->config.cleanup && has_dead_socket(gen))) {
        gen->is_broken = !renew_multi(gen);
    }
}

/* ---- Jobs (loop's thread) ---- */

/* Waiters are woken once for all that one round of events has brought. */
static void on_news(cp_job_t *job)
{
    cp_generation_t *gen = job->owner;

    if (!job->is_touched) {
        job->is_touched = 1;
        APR_RING_INSERT_TAIL(&gen->touched, job, cp_job_t, in_touched);
    }
}

static void untouch(cp_job_t *job)
{
    if (job->is_touched) {
        job->is_touched = 0;
        APR_RING_REMOVE(job, in_touched);
    }
}

static void wake_waiters(cp_generation_t *gen)
{
    while (!APR_RING_EMPTY(&gen->touched, cp_job_t, in_touched)) {
        cp_job_t *job = APR_RING_FIRST(&gen->touched);

        untouch(job);
        cp_bell_ring(job->bell);
    }
}

static void end_job(cp_generation_t *gen, cp_job_t *job, cp_job_end_t end,
                    CURLcode code)
{
    untouch(job);
    curl_multi_remove_handle(gen->multi, job->easy);
    APR_RING_REMOVE(job, in_active);
    job->is_active = 0;
    if (--gen->active_count == 0) {
        gen->idle_since = cp_clock_now();
        gen->trim_at = gen->idle_since + TRIM_EVERY;
    }
    cp_job_finish(job, end, code);
    cp_job_unref(job);
}

static void begin_job(cp_generation_t *gen, cp_job_t *job)
{
    job->on_news = on_news;
    curl_easy_setopt(job->easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(job->easy, CURLOPT_OPENSOCKETDATA, job);
    curl_easy_setopt(job->easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    curl_easy_setopt(job->easy, CURLOPT_CLOSESOCKETDATA, gen);
    if (curl_multi_add_handle(gen->multi, job->easy) != CURLM_OK) {
        cp_job_finish(job, CP_END_CURL, CURLE_FAILED_INIT);
        return;
    }
    cp_job_ref(job);
    job->is_active = 1;
    gen->active_count++;
    APR_RING_INSERT_TAIL(&gen->active, job, cp_job_t, in_active);
}

static void unpause_job(cp_generation_t *gen, cp_job_t *job)
{
    CURLcode code = curl_easy_pause(job->easy, CURLPAUSE_CONT);

    /* What curl kept back goes to our callback at once, and may be refused. */
    if (code != CURLE_OK) {
        end_job(gen, job, CP_END_CURL, code);
    }
}

static void obey(cp_generation_t *gen, cp_job_t *job, int orders)
{
    if (orders & CP_ORDER_SUBMIT) {
        if (orders & CP_ORDER_CANCEL) {
            cp_job_finish(job, CP_END_CANCELLED, CURLE_OK);
        }
        else {
            begin_job(gen, job);
        }
        return;
    }
    if (!job->is_active) {
        return;
    }
    if (orders & CP_ORDER_CANCEL) {
        end_job(gen, job, CP_END_CANCELLED, CURLE_OK);
    }
    else if (orders & CP_ORDER_UNPAUSE) {
        unpause_job(gen, job);
    }
}

/* The next job with orders, or NULL; its place in the inbox, and the reference
 * that went with it, are the caller's. */
static cp_job_t *take_from_inbox(cp_generation_t *gen, int *porders)
{
    cp_job_t *job = NULL;

    pthread_mutex_lock(&gen->lock);
    if (!APR_RING_EMPTY(&gen->inbox, cp_job_t, in_inbox)) {
        job = APR_RING_FIRST(&gen->inbox);
        APR_RING_REMOVE(job, in_inbox);
        *porders = job->orders;
        job->orders = 0;
    }
    pthread_mutex_unlock(&gen->lock);
    return job;
}

static void note_lag(cp_generation_t *gen, apr_interval_time_t lag)
{
    __atomic_store_n(&gen->stats->lag_us, lag > 0 ? (uint64_t)lag : 0,
                     __ATOMIC_RELAXED);
}

static void drain_inbox(cp_generation_t *gen)
{
    uint64_t count;
    ssize_t got = read(gen->event_fd, &count, sizeof(count));
    cp_clock_t pushed_at;
    cp_job_t *job;
    int orders;

    (void)got; /* it is non-blocking, and the inbox tells the truth */
    pthread_mutex_lock(&gen->lock);
    pushed_at = APR_RING_EMPTY(&gen->inbox, cp_job_t, in_inbox)
                    ? 0
                    : gen->pushed_at;
    pthread_mutex_unlock(&gen->lock);
    if (pushed_at) {
        note_lag(gen, cp_clock_now() - pushed_at);
    }
    while ((job = take_from_inbox(gen, &orders))) {
        obey(gen, job, orders);
        cp_job_unref(job);
    }
}

/* ---- The thread ---- */

static void beat(cp_generation_t *gen)
{
    __atomic_store_n(&gen->heartbeat, cp_clock_now(), __ATOMIC_RELAXED);
    __atomic_store_n(&gen->stats->heartbeat, (uint64_t)gen->heartbeat,
                     __ATOMIC_RELAXED);
    cp_stats_add(&gen->stats->iterations, 1);
}

cp_order_t cp_generation_order(const cp_generation_t *gen)
{
    return (cp_order_t)__atomic_load_n(&gen->order, __ATOMIC_ACQUIRE);
}

static void collect_finished(cp_generation_t *gen)
{
    CURLMsg *msg;
    int left;

    while ((msg = curl_multi_info_read(gen->multi, &left))) {
        CURLcode code = msg->data.result;
        char *job = NULL;

        if (msg->msg == CURLMSG_DONE) {
            curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &job);
            end_job(gen, (cp_job_t *)(void *)job, CP_END_CURL, code);
        }
    }
}

static void run_timer(cp_generation_t *gen)
{
    int running;

    if (cp_clock_now() >= gen->timer_at) {
        gen->timer_at = CP_CLOCK_NEVER;
        curl_multi_socket_action(gen->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
}

static void run_events(cp_generation_t *gen, const struct epoll_event *events,
                       int count)
{
    int running;

    for (int i = 0; i < count; i++) {
        unsigned what = events[i].events;
        int mask = (what & EPOLLIN ? CURL_CSELECT_IN : 0)
                   | (what & EPOLLOUT ? CURL_CSELECT_OUT : 0)
                   | (what & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);

        if (events[i].data.fd != gen->event_fd) {
            curl_multi_socket_action(gen->multi, events[i].data.fd, mask,
                                     &running);
        }
    }
}

static void wait_for_events(cp_generation_t *gen)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    apr_interval_time_t wait = gen->active_count ? POLL_BUSY : POLL_IDLE;
    apr_interval_time_t timer = cp_clock_left(gen->timer_at);
    cp_clock_t expected;
    int count;

    if (timer < wait) {
        wait = timer;
    }
    expected = cp_clock_now() + wait;
    count = epoll_wait(gen->epoll_fd, events, EVENTS_AT_ONCE,
                       (int)((wait + 999) / 1000));
    beat(gen);
    if (count == 0) {
        note_lag(gen, cp_clock_now() - expected);
    }
    if (count > 0) {
        run_events(gen, events, count);
    }
}

#ifdef CONNPOOL_TESTING
static void stall_for_test(cp_generation_t *gen)
{
    apr_interval_time_t stall = __atomic_exchange_n(&gen->stall, 0,
                                                    __ATOMIC_RELAXED);

    if (stall > 0) {
        apr_sleep(stall);
    }
}
#endif

/* Give every job back, those that came too late for this life included. */
static void give_up_jobs(cp_generation_t *gen, cp_job_end_t end)
{
    cp_job_t *job;
    int orders;

    pthread_mutex_lock(&gen->lock);
    gen->is_closed = 1;
    pthread_mutex_unlock(&gen->lock);
    while ((job = take_from_inbox(gen, &orders))) {
        if (orders & CP_ORDER_SUBMIT) {
            cp_job_finish(job, end, CURLE_OK);
        }
        cp_job_unref(job);
    }
    while (!APR_RING_EMPTY(&gen->active, cp_job_t, in_active)) {
        end_job(gen, APR_RING_FIRST(&gen->active), end, CURLE_OK);
    }
}

void *cp_generation_run(void *data)
{
    cp_generation_t *gen = data;

    pthread_setname_np(pthread_self(), "connpool-loop");
    while (cp_generation_order(gen) == ORDER_RUN) {
        beat(gen);
        drain_inbox(gen);
        run_timer(gen);
        collect_finished(gen);
        wake_waiters(gen);
        trim_idle_sockets(gen);
        if (gen->is_broken) {
            break;
        }
        wait_for_events(gen);
        collect_finished(gen);
        wake_waiters(gen);
#ifdef CONNPOOL_TESTING
        stall_for_test(gen);
#endif
    }
    give_up_jobs(gen, cp_generation_order(gen) == ORDER_STOP ? CP_END_STOPPED
                                                             : CP_END_LOST);
    if (gen->multi) {
        curl_multi_cleanup(gen->multi);
        gen->multi = NULL;
    }
    __atomic_store_n(&gen->has_ended, 1, __ATOMIC_RELEASE);
    cp_generation_unref(gen);
    return NULL;
}

cp_generation_t *cp_generation_create(const cp_loop_config_t *config,
                                      cp_loop_stats_t *stats)
{
    cp_generation_t *gen = calloc(1, sizeof(*gen));
    struct epoll_event event = {.events = EPOLLIN};

    if (!gen) {
        return NULL;
    }
    gen->refs = 1;
    gen->config = *config;
    gen->stats = stats;
    gen->heartbeat = cp_clock_now();
    gen->idle_since = gen->heartbeat;
    pthread_mutex_init(&gen->lock, NULL);
    APR_RING_INIT(&gen->inbox, cp_job_t, in_inbox);
    APR_RING_INIT(&gen->active, cp_job_t, in_active);
    APR_RING_INIT(&gen->touched, cp_job_t, in_touched);
    gen->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    gen->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    event.data.fd = gen->event_fd;
    if (gen->epoll_fd < 0 || gen->event_fd < 0
        || epoll_ctl(gen->epoll_fd, EPOLL_CTL_ADD, gen->event_fd, &event) != 0
        || !renew_multi(gen)) {
        cp_generation_unref(gen);
        return NULL;
    }
    return gen;
}
