/* SPDX-License-Identifier: Apache-2.0
 * The loop's supervisor: starts generations, notices when one is lost, and
 * hands jobs to the one that lives. */
#include "http/loop.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "http/generation.h"
#include "http/job/job.h"
#include "stats/cell.h"
#include "stats/stats.h"

#include <stdlib.h>

#define HEARTBEAT_STALE apr_time_from_sec(2)
#define BACKOFF_MIN     apr_time_from_msec(250)
#define BACKOFF_MAX     apr_time_from_sec(15)
#define HEALTHY_AFTER   apr_time_from_sec(60)
#define BESIDE_MAX      32
#define STOP_PATIENCE   apr_time_from_sec(2)

struct cp_loop_t {
    cp_loop_config_t config;
    cp_loop_stats_t *stats;
    int beside;           /* atomic: fetches that run in their threads */
    pthread_mutex_t lock; /* guards everything below */
    cp_generation_t *current;
    cp_clock_t started_at;
    cp_clock_t next_start;
    apr_interval_time_t backoff;
    int starts;
    int is_stopped;
};

static int is_stale(const cp_generation_t *gen)
{
    return cp_clock_now() - __atomic_load_n(&gen->heartbeat, __ATOMIC_RELAXED)
           > HEARTBEAT_STALE;
}

static int is_lost(const cp_generation_t *gen)
{
    return cp_generation_order(gen) == ORDER_ABANDON || is_stale(gen);
}

static int has_ended(const cp_generation_t *gen)
{
    return __atomic_load_n(&gen->has_ended, __ATOMIC_ACQUIRE);
}

static int start_thread(cp_generation_t *gen)
{
    int rc;

    cp_generation_ref(gen);
    rc = cp_thread_start(&gen->thread, cp_generation_run, gen);
    if (rc != 0) {
        cp_generation_unref(gen);
    }
    return rc;
}

static void set_running(cp_loop_t *loop, uint64_t running)
{
    __atomic_store_n(&loop->stats->running, running, __ATOMIC_RELAXED);
}

/* Start a generation unless it is too early after the last. Loop is locked. */
static void start_if_due(cp_loop_t *loop)
{
    cp_clock_t now = cp_clock_now();
    cp_generation_t *gen;
    int rc;

    if (loop->current || loop->is_stopped || now < loop->next_start) {
        return;
    }
    if (loop->starts > 0 && now - loop->started_at > HEALTHY_AFTER) {
        loop->backoff = BACKOFF_MIN;
    }
    loop->started_at = now;
    loop->next_start = now + loop->backoff;
    loop->backoff = loop->backoff * 2 < BACKOFF_MAX ? loop->backoff * 2
                                                    : BACKOFF_MAX;
    gen = cp_generation_create(&loop->config, loop->stats);
    rc = gen ? start_thread(gen) : APR_ENOMEM;
    if (rc != 0) {
        cp_log(CP_LOG_MARK, CP_LOG_ERROR, rc,
               "event loop: cannot start; fetches run inline meanwhile");
        if (gen) {
            cp_generation_unref(gen);
        }
        return;
    }
    loop->current = gen;
    set_running(loop, 1);
    if (loop->starts++ > 0) {
        cp_stats_add(&loop->stats->restarts, 1);
        cp_log(CP_LOG_MARK, CP_LOG_NOTICE, 0, "event loop: started again");
    }
}

/* The thread has ended, or will by itself one day. */
static void let_go(cp_loop_t *loop, cp_generation_t *gen, int is_joinable)
{
    if (is_joinable) {
        pthread_join(gen->thread, NULL);
    }
    else {
        pthread_detach(gen->thread);
    }
    set_running(loop, 0);
    cp_generation_unref(gen);
}

apr_status_t cp_loop_create(cp_loop_t **ploop, const cp_loop_config_t *config,
                            cp_loop_stats_t *stats)
{
    cp_loop_t *loop = calloc(1, sizeof(*loop));

    if (!loop) {
        return APR_ENOMEM;
    }
    loop->config = *config;
    loop->stats = stats;
    loop->backoff = BACKOFF_MIN;
    pthread_mutex_init(&loop->lock, NULL);
    pthread_mutex_lock(&loop->lock);
    start_if_due(loop);
    pthread_mutex_unlock(&loop->lock);
    *ploop = loop;
    return APR_SUCCESS;
}

void cp_loop_supervise(cp_loop_t *loop)
{
    cp_generation_t *gen;

    pthread_mutex_lock(&loop->lock);
    gen = loop->current;
    if (gen && has_ended(gen)) {
        cp_log(CP_LOG_MARK, CP_LOG_ERROR, 0, "event loop: the thread ended");
        loop->current = NULL;
        let_go(loop, gen, 1);
    }
    else if (gen && is_stale(gen)) {
        cp_log(CP_LOG_MARK, CP_LOG_ERROR, 0,
               "event loop: no heartbeat for 2 s, thread abandoned");
        __atomic_store_n(&gen->order, ORDER_ABANDON, __ATOMIC_RELEASE);
        loop->current = NULL;
        let_go(loop, gen, 0);
    }
    start_if_due(loop);
    pthread_mutex_unlock(&loop->lock);
}

void cp_loop_stop(cp_loop_t *loop)
{
    cp_clock_t deadline = cp_clock_after(STOP_PATIENCE);
    cp_generation_t *gen;

    pthread_mutex_lock(&loop->lock);
    gen = loop->current;
    loop->current = NULL;
    loop->is_stopped = 1;
    pthread_mutex_unlock(&loop->lock);
    if (!gen) {
        return;
    }
    __atomic_store_n(&gen->order, ORDER_STOP, __ATOMIC_RELEASE);
    cp_generation_wake(gen);
    while (!has_ended(gen) && cp_clock_left(deadline) > 0) {
        apr_sleep(apr_time_from_msec(2));
    }
    if (!has_ended(gen)) {
        cp_log(CP_LOG_MARK, CP_LOG_WARNING, 0,
               "event loop: does not stop, left behind");
    }
    let_go(loop, gen, has_ended(gen));
}

/* ---- For transfers ---- */

static void release(void *generation)
{
    cp_generation_unref(generation);
}

apr_status_t cp_loop_submit(cp_loop_t *loop, cp_job_t *job)
{
    cp_generation_t *gen = NULL;
    int is_stopped;

    pthread_mutex_lock(&loop->lock);
    is_stopped = loop->is_stopped;
    if (loop->current && !is_lost(loop->current)) {
        gen = loop->current;
        cp_generation_ref(gen);
    }
    pthread_mutex_unlock(&loop->lock);
    if (!gen) {
        return is_stopped ? APR_EOF : APR_EAGAIN;
    }
    job->owner = gen;
    job->release = release;
    if (!cp_generation_push(gen, job, CP_ORDER_SUBMIT)) {
        is_stopped = cp_generation_order(gen) == ORDER_STOP;
        job->owner = NULL;
        cp_generation_unref(gen);
        return is_stopped ? APR_EOF : APR_EAGAIN;
    }
    cp_stats_add(&gen->stats->in_flight, 1);
    return APR_SUCCESS;
}

void cp_loop_order(cp_job_t *job, int orders)
{
    cp_generation_push(job->owner, job, orders);
}

int cp_loop_is_lost(const cp_job_t *job)
{
    return is_lost(job->owner);
}

void cp_loop_left(cp_job_t *job)
{
    cp_generation_t *gen = job->owner;

    cp_stats_add(&gen->stats->in_flight, -1);
}

int cp_loop_go_beside(cp_loop_t *loop)
{
    if (__atomic_add_fetch(&loop->beside, 1, __ATOMIC_RELAXED) > BESIDE_MAX) {
        __atomic_sub_fetch(&loop->beside, 1, __ATOMIC_RELAXED);
        return 0;
    }
    cp_stats_add(&loop->stats->in_flight, 1);
    return 1;
}

void cp_loop_come_back(cp_loop_t *loop)
{
    __atomic_sub_fetch(&loop->beside, 1, __ATOMIC_RELAXED);
    cp_stats_add(&loop->stats->in_flight, -1);
}

void cp_loop_count_inline(cp_loop_t *loop)
{
    cp_stats_add(&loop->stats->inline_runs, 1);
}

#ifdef CONNPOOL_TESTING
int cp_loop_test_is_alive(cp_loop_t *loop)
{
    int is_alive;

    pthread_mutex_lock(&loop->lock);
    is_alive = loop->current && !has_ended(loop->current)
               && !is_lost(loop->current);
    pthread_mutex_unlock(&loop->lock);
    return is_alive;
}

void cp_loop_test_destroy(cp_loop_t *loop)
{
    pthread_mutex_destroy(&loop->lock);
    free(loop);
}

void cp_loop_test_die(cp_loop_t *loop)
{
    pthread_mutex_lock(&loop->lock);
    if (loop->current) {
        __atomic_store_n(&loop->current->order, ORDER_DIE, __ATOMIC_RELEASE);
        cp_generation_wake(loop->current);
    }
    pthread_mutex_unlock(&loop->lock);
}

void cp_loop_test_stall(cp_loop_t *loop, apr_interval_time_t how_long)
{
    pthread_mutex_lock(&loop->lock);
    if (loop->current) {
        __atomic_store_n(&loop->current->stall, how_long, __ATOMIC_RELAXED);
        cp_generation_wake(loop->current);
    }
    pthread_mutex_unlock(&loop->lock);
}
#endif
