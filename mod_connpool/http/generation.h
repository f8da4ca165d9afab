/* SPDX-License-Identifier: Apache-2.0
 * One life of the loop's thread. It is counted by the supervisor, by the thread
 * and by every job that was given to it, so that a thread that is stuck can be
 * left behind with all it touches. */
#ifndef CP_GENERATION_H
#define CP_GENERATION_H

#include "base/clock.h"
#include "http/job/job.h"
#include "http/lane.h"
#include "http/loop.h"
#include "stats/stats.h"

/** What the thread is to do; only ever raised from RUN. */
typedef enum cp_order_t {
    ORDER_RUN,
    ORDER_STOP,    /**< the child ends */
    ORDER_ABANDON, /**< it was stuck, and nobody listens any more */
#ifdef CONNPOOL_TESTING
    ORDER_DIE, /**< a test wants it to fail */
#endif
} cp_order_t;

typedef APR_RING_HEAD(cp_job_ring_t, cp_job_t) cp_job_ring_t;

typedef struct cp_generation_t {
    int refs; /* atomic */

    /* Constant while the thread runs. */
    pthread_t thread;
    cp_loop_config_t config;
    cp_loop_stats_t *stats;
    int epoll_fd;
    int event_fd;

    /* Atomic. */
    int order; /* cp_order_t */
    int has_ended;
    cp_clock_t heartbeat;
#ifdef CONNPOOL_TESTING
    apr_interval_time_t stall; /* sleep so long, once */
#endif

    pthread_mutex_t lock; /* guards the next block */
    cp_job_ring_t inbox;
    int is_closed;
    cp_clock_t pushed_at; /* when the inbox became non-empty */

    /* The thread's own. */
    cp_lanes_t lanes; /* once they are broken it ends, and is replaced */
    cp_job_ring_t active;
    cp_job_ring_t touched;
    int active_count;
} cp_generation_t;

/** A generation with one reference and no thread yet, or NULL. */
cp_generation_t *cp_generation_create(const cp_loop_config_t *config,
                                      cp_loop_stats_t *stats);

void cp_generation_ref(cp_generation_t *gen);
void cp_generation_unref(cp_generation_t *gen);

/** The body of the thread: takes a cp_generation_t and one reference of it. */
void *cp_generation_run(void *gen);

/** Wake the thread up. */
void cp_generation_wake(cp_generation_t *gen);

cp_order_t cp_generation_order(const cp_generation_t *gen);

/** Put orders for the job into the inbox.
 * @return 0 when the thread takes none any more */
int cp_generation_push(cp_generation_t *gen, cp_job_t *job, int orders);

#endif
