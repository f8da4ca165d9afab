/* SPDX-License-Identifier: Apache-2.0
 * The loop's thread: it drives all transfers of a generation. */
#include "http/generation.h"

#include "base/clock.h"
#include "base/log.h"
#include "http/job/bell.h"
#include "http/job/job.h"
#include "http/lane.h"
#include "http/loop.h"
#include "stats/cell.h"
#include "stats/stats.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define POLL_IDLE      apr_time_from_msec(500)
#define POLL_BUSY      apr_time_from_msec(100)
#define EVENTS_AT_ONCE 64
#define ORDERS_AT_ONCE 64

/* The key of our own event among those of sockets. */
#define WAKE_UP UINT64_MAX

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
    cp_lanes_close(&gen->lanes);
    if (gen->epoll_fd >= 0) {
        close(gen->epoll_fd);
    }
    if (gen->event_fd >= 0) {
        close(gen->event_fd);
    }
    pthread_mutex_destroy(&gen->lock);
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
    cp_lanes_leave(job);
    APR_RING_REMOVE(job, in_active);
    job->is_active = 0;
    gen->active_count--;
    cp_job_finish(job, end, code);
    cp_job_unref(job);
}

static void begin_job(cp_generation_t *gen, cp_job_t *job)
{
    job->on_news = on_news;
    if (!cp_lanes_enter(&gen->lanes, job)) {
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

/* What was taken out of the inbox; its place there, and the reference that went
 * with it, are the caller's. */
typedef struct taken_t {
    cp_job_t *job; /* NULL: there was none */
    int orders;
    int is_last;
    cp_clock_t pushed_at; /* when there was something again */
} taken_t;

static taken_t take_from_inbox(cp_generation_t *gen)
{
    taken_t taken = {.is_last = 1};

    pthread_mutex_lock(&gen->lock);
    if (!APR_RING_EMPTY(&gen->inbox, cp_job_t, in_inbox)) {
        taken.job = APR_RING_FIRST(&gen->inbox);
        APR_RING_REMOVE(taken.job, in_inbox);
        taken.orders = taken.job->orders;
        taken.job->orders = 0;
        taken.is_last = APR_RING_EMPTY(&gen->inbox, cp_job_t, in_inbox);
        taken.pushed_at = gen->pushed_at;
    }
    pthread_mutex_unlock(&gen->lock);
    return taken;
}

static void note_lag(cp_generation_t *gen, apr_interval_time_t lag)
{
    __atomic_store_n(&gen->stats->lag_us, lag > 0 ? (uint64_t)lag : 0,
                     __ATOMIC_RELAXED);
}

/* The thread is not stuck, however much it has to do. */
static void show_life(cp_generation_t *gen)
{
    cp_clock_t now = cp_clock_now();

    __atomic_store_n(&gen->heartbeat, now, __ATOMIC_RELAXED);
    __atomic_store_n(&gen->stats->heartbeat, (uint64_t)now, __ATOMIC_RELAXED);
}

/* Jobs that wait for their clients come back at once: some of them, then the
 * sockets have their turn. */
static void obey_some(cp_generation_t *gen)
{
    taken_t taken = {.is_last = 0};

    for (int i = 0; i < ORDERS_AT_ONCE && !taken.is_last; i++) {
        taken = take_from_inbox(gen);
        if (!taken.job) {
            return;
        }
        if (i == 0) {
            note_lag(gen, cp_clock_now() - taken.pushed_at);
        }
        obey(gen, taken.job, taken.orders);
        cp_job_unref(taken.job);
        show_life(gen);
    }
    if (!taken.is_last) {
        cp_generation_wake(gen);
    }
}

/* ---- The thread ---- */

static void beat(cp_generation_t *gen)
{
    show_life(gen);
    cp_stats_add(&gen->stats->iterations, 1);
}

cp_order_t cp_generation_order(const cp_generation_t *gen)
{
    return (cp_order_t)__atomic_load_n(&gen->order, __ATOMIC_ACQUIRE);
}

static void end_finished(void *baton, cp_job_t *job, CURLcode code)
{
    end_job(baton, job, CP_END_CURL, code);
}

static void collect_finished(cp_generation_t *gen)
{
    cp_lanes_collect(&gen->lanes, end_finished, gen);
}

static void run_events(cp_generation_t *gen, const struct epoll_event *events,
                       int count)
{
    for (int i = 0; i < count; i++) {
        unsigned what = events[i].events;
        int mask = (what & EPOLLIN ? CURL_CSELECT_IN : 0)
                   | (what & EPOLLOUT ? CURL_CSELECT_OUT : 0)
                   | (what & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);

        if (events[i].data.u64 != WAKE_UP) {
            cp_lanes_event(&gen->lanes, events[i].data.u64, mask);
            show_life(gen);
        }
    }
}

static void wait_for_events(cp_generation_t *gen)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    apr_interval_time_t wait = gen->active_count ? POLL_BUSY : POLL_IDLE;
    apr_interval_time_t timer = cp_lanes_next_timer(&gen->lanes);
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
    taken_t taken;

    pthread_mutex_lock(&gen->lock);
    gen->is_closed = 1;
    pthread_mutex_unlock(&gen->lock);
    while ((taken = take_from_inbox(gen)).job) {
        if (taken.orders & CP_ORDER_SUBMIT) {
            cp_job_finish(taken.job, end, CURLE_OK);
        }
        cp_job_unref(taken.job);
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
        obey_some(gen);
        cp_lanes_run_timers(&gen->lanes);
        collect_finished(gen);
        wake_waiters(gen);
        cp_lanes_trim(&gen->lanes);
        if (gen->lanes.is_broken) {
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
    cp_lanes_close(&gen->lanes);
    __atomic_store_n(&gen->has_ended, 1, __ATOMIC_RELEASE);
    cp_generation_unref(gen);
    return NULL;
}

cp_generation_t *cp_generation_create(const cp_loop_config_t *config,
                                      cp_loop_stats_t *stats)
{
    cp_generation_t *gen = calloc(1, sizeof(*gen));
    /* By its edges: each write wakes up, and nobody has to read it. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};

    if (!gen) {
        return NULL;
    }
    gen->refs = 1;
    gen->config = *config;
    gen->stats = stats;
    gen->heartbeat = cp_clock_now();
    pthread_mutex_init(&gen->lock, NULL);
    APR_RING_INIT(&gen->inbox, cp_job_t, in_inbox);
    APR_RING_INIT(&gen->active, cp_job_t, in_active);
    APR_RING_INIT(&gen->touched, cp_job_t, in_touched);
    gen->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    gen->lanes.epoll_fd = gen->epoll_fd;
    gen->lanes.max_connections = config->max_connections;
    gen->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    event.data.u64 = WAKE_UP;
    if (gen->epoll_fd < 0 || gen->event_fd < 0
        || epoll_ctl(gen->epoll_fd, EPOLL_CTL_ADD, gen->event_fd, &event)
               != 0) {
        cp_generation_unref(gen);
        return NULL;
    }
    return gen;
}
