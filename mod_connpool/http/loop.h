/* SPDX-License-Identifier: Apache-2.0
 * The child's one event-loop thread: owner of the CURLM and of all sockets of
 * transfers that run in it. Jobs go in through an inbox, and each is told its
 * completion. */
#ifndef CP_LOOP_H
#define CP_LOOP_H

#include <apr_errno.h>
#include <apr_pools.h>
#include <apr_time.h>

struct cp_loop_stats_t;

typedef struct cp_loop_t cp_loop_t;

typedef struct cp_loop_config_t {
    int max_connections; /**< idle sockets kept at the most, of the upstreams
                              that keep them for the same time */
} cp_loop_config_t;

/** Make the loop's supervisor and start its thread (in the child, never in the
 * parent). A thread that cannot be started is not a failure: the supervisor
 * tries again with back-off, and fetches run inline meanwhile. Lives until
 * cp_loop_stop; not bound to p's life. */
apr_status_t cp_loop_create(cp_loop_t **ploop, const cp_loop_config_t *config,
                            struct cp_loop_stats_t *stats);

/** Called about every 250 ms from the maintenance thread: a heartbeat older
 * than 2 s, or a thread that ended, gets the running generation abandoned (its
 * waiters are told within 100 ms) and a new one started, with back-off from
 * 250 ms to 15 s between starts. */
void cp_loop_supervise(cp_loop_t *loop);

/** Refuse new jobs, fail those in flight (CP_ERR_CANCELLED), end the thread,
 * join it; at most about 2 s, then it is left behind. */
void cp_loop_stop(cp_loop_t *loop);

/* For transfers. */

typedef struct cp_job_t cp_job_t;

/** What the waiter asks of the loop; bits, guarded by the inbox's lock. */
#define CP_ORDER_SUBMIT  1
#define CP_ORDER_CANCEL  2
#define CP_ORDER_UNPAUSE 4

/** Hand the job to the loop.
 * @return APR_SUCCESS; APR_EAGAIN without a living thread; APR_EOF when stopped
 */
apr_status_t cp_loop_submit(cp_loop_t *loop, cp_job_t *job);

/** Send orders for a job that was submitted. Ignored once it has ended. */
void cp_loop_order(cp_job_t *job, int orders);

/** The thread that runs the job cannot be relied upon any more. */
int cp_loop_is_lost(const cp_job_t *job);

/** A job has left the wait, in whatever way. */
void cp_loop_left(cp_job_t *job);

/** May a fetch run beside the loop, in its own thread? It is counted with those
 * in flight, until it comes back. 0: there are so many already that what each
 * needs, some 35 KB, would be too much: the loop has it once for all. */
int cp_loop_go_beside(cp_loop_t *loop);
void cp_loop_come_back(cp_loop_t *loop);

/** A fetch ran inline because the loop was lost. */
void cp_loop_count_inline(cp_loop_t *loop);

#ifdef CONNPOOL_TESTING
/** A running generation with a fresh heartbeat? */
int cp_loop_test_is_alive(cp_loop_t *loop);

/** After cp_loop_stop, when no thread can use the loop any more: free it, so
 * that tests leak nothing. A child never can tell, and leaves it. */
void cp_loop_test_destroy(cp_loop_t *loop);

/** Faults on demand: the thread returns, or sleeps without heartbeat. */
void cp_loop_test_die(cp_loop_t *loop);
void cp_loop_test_stall(cp_loop_t *loop, apr_interval_time_t how_long);
#endif

#endif
