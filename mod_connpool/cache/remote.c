/* SPDX-License-Identifier: Apache-2.0
 * Calls to a cache on another machine, which may not come back for as long as
 * the machine likes: each runs in a thread of its own, and whoever wants its
 * result waits for a moment only. A call that is late is left behind. Its
 * buffers are the job's, and its thread is replaced, so that the cache works
 * again once its machine does.
 *
 * After a call that failed nothing is asked for a second, after one that was
 * late for longer, and then one request tries for all. */
#include "answers/shared/key.h"
#include "base/bytes/buffer.h"
#include "base/clock.h"
#include "base/meanwhile.h"
#include "base/thread.h"
#include "cache/provider.h"
#include "child/child.h"
#include "stats/cell.h"
#include "stats/stats.h"

#include <pthread.h>
#include <stdlib.h>

#include <apr_strings.h>

#define PATIENCE      apr_time_from_msec(250) /* of a request */
#define PAUSE         apr_time_from_sec(1)    /* after a failure */
#define PAUSE_LATE    apr_time_from_sec(3)  /* after a late call, doubled... */
#define PAUSE_MAX     apr_time_from_sec(12) /* ...up to this */
#define LOST_AFTER    apr_time_from_sec(10) /* a thread in one call */
#define STOP_PATIENCE apr_time_from_msec(300)
#define THREADS       4
#define THREADS_MAX   16 /* with those that hang */
#define STORES_MAX    64
#define STORE_BYTES   (8 * 1024 * 1024)

/* A call. refs, is_done and next: remote.lock. The rest belongs to who made it,
 * to the worker from when it is taken out of its queue, and to who waits once
 * it is done. */
typedef struct job_t {
    struct job_t *next;
    int refs; /* the asker and the queue or worker */
    int is_put;
    int is_done;
    apr_status_t rv;
    apr_time_t expires;
    char id[CP_KEY_ID_SIZE];
    cp_buffer_t data;
    pthread_cond_t done;
} job_t;

typedef struct queue_t {
    job_t *first;
    job_t **last;
    int length;
    apr_size_t bytes;
} queue_t;

/* A running call, of the thread whose stack this is on. */
typedef struct worker_t {
    struct worker_t *next;
    cp_clock_t since;
} worker_t;

static struct {
    const connpool_remote_t *calls; /* NULL: not started; constant after */
    pthread_mutex_t lock;           /* guards everything below */
    pthread_cond_t work;            /* there is a job, or all stops */
    pthread_cond_t ended;           /* a thread has */
    queue_t gets, puts;
    worker_t *running;
    int threads;
    int idle;
    cp_clock_t pause_end;      /* nothing is asked before; 0: no pause */
    apr_interval_time_t pause; /* after the next late call */
    int is_stopping;
} remote;

/* --- jobs --- */

static job_t *make_job(const char *id, int refs)
{
    job_t *job = calloc(1, sizeof(*job));

    if (!job) {
        return NULL;
    }
    apr_cpystrn(job->id, id, sizeof(job->id));
    job->refs = refs;
    job->data = CP_BUFFER_MAY_FAIL;
    cp_clock_init_condition(&job->done);
    return job;
}

static void unref(job_t *job)
{
    if (--job->refs == 0) {
        cp_buffer_free(&job->data);
        pthread_cond_destroy(&job->done);
        free(job);
    }
}

static void push(queue_t *queue, job_t *job)
{
    *queue->last = job;
    queue->last = &job->next;
    queue->length++;
    queue->bytes += job->data.size;
}

static job_t *pop(queue_t *queue)
{
    job_t *job = queue->first;

    if (job) {
        queue->first = job->next;
        if (!queue->first) {
            queue->last = &queue->first;
        }
        queue->length--;
        queue->bytes -= job->data.size;
        job->next = NULL;
    }
    return job;
}

/* --- the pause after a failure --- */

/* A failure that comes at once costs nobody time. There may be one for each
 * connection that the provider has kept from before: with long pauses after
 * each of them a cache that is back would be without use for a minute. */
static void begin_pause(void)
{
    if (remote.pause_end == 0) {
        remote.pause_end = cp_clock_after(PAUSE);
    }
}

static void begin_long_pause(void)
{
    if (cp_clock_left(remote.pause_end) > PAUSE) {
        return; /* others were late together with this one */
    }
    remote.pause_end = cp_clock_after(remote.pause);
    remote.pause = remote.pause * 2 < PAUSE_MAX ? remote.pause * 2 : PAUSE_MAX;
}

/* May this caller ask? When the pause is over the first one tries, and the
 * others wait for what he finds. */
static int may_ask(void)
{
    if (remote.is_stopping) {
        return 0;
    }
    if (remote.pause_end != 0) {
        if (cp_clock_left(remote.pause_end) > 0) {
            return 0;
        }
        remote.pause_end = cp_clock_after(PAUSE);
    }
    return 1;
}

/* Providers that have given up their server for a while say that nothing was
 * found: what follows may fail, and write one more line into the log. */
static void note_result(const job_t *job)
{
    if (job->rv == APR_SUCCESS) {
        remote.pause_end = 0;
        remote.pause = PAUSE_LATE;
    }
    else if (!job->is_put && APR_STATUS_IS_NOTFOUND(job->rv)) {
        remote.pause_end = 0;
    }
    else {
        begin_pause();
    }
}

/* --- workers --- */

static void call(job_t *job, apr_pool_t *p)
{
    unsigned size = CONNPOOL_ENTRY_MAX;

    if (job->is_put) {
        job->rv = remote.calls->put(job->id, job->expires, job->data.data,
                                    (unsigned)job->data.size, p);
        return;
    }
    if (!cp_buffer_reserve(&job->data, size)) {
        job->rv = APR_ENOMEM;
        return;
    }
    job->rv = remote.calls->get(job->id, job->data.data, &size, p);
    job->data.size = job->rv == APR_SUCCESS ? size : 0;
}

/* With the lock, which is let go while the call runs. */
static void work_on(job_t *job, apr_pool_t *p)
{
    worker_t self = {remote.running, cp_clock_now()};
    worker_t **place = &remote.running;

    if (job->refs == 1 && !job->is_put) {
        unref(job); /* nobody waits any more */
        return;
    }
    remote.running = &self;
    pthread_mutex_unlock(&remote.lock);
    call(job, p);
    apr_pool_clear(p);
    pthread_mutex_lock(&remote.lock);
    while (*place != &self) {
        place = &(*place)->next;
    }
    *place = self.next;
    note_result(job);
    cp_stats_add(&connpool_cache_stats()->failures,
                 job->is_put && job->rv != APR_SUCCESS);
    job->is_done = 1;
    pthread_cond_signal(&job->done);
    unref(job);
}

/* Threads that have been in one call for so long that they are given up. */
static int count_lost(void)
{
    int lost = 0;

    for (const worker_t *w = remote.running; w; w = w->next) {
        lost += cp_clock_now() - w->since >= LOST_AFTER;
    }
    return lost;
}

/* NULL: the thread is to end, because all do, or because it had been given up,
 * came back, and is one too many. */
static job_t *next_job(void)
{
    job_t *job = NULL;

    while (!remote.is_stopping && remote.threads - count_lost() <= THREADS
           && !(job = pop(&remote.gets)) && !(job = pop(&remote.puts))) {
        remote.idle++;
        pthread_cond_wait(&remote.work, &remote.lock);
        remote.idle--;
    }
    return job;
}

static void *worker_main(void *data)
{
    apr_pool_t *p;
    job_t *job;

    /* Of no other pool: what hangs outlives the child's. */
    apr_pool_create_unmanaged(&p);
    pthread_mutex_lock(&remote.lock);
    while ((job = next_job())) {
        work_on(job, p);
    }
    pthread_mutex_unlock(&remote.lock);
    apr_pool_destroy(p);
    pthread_mutex_lock(&remote.lock);
    remote.threads--;
    pthread_cond_broadcast(&remote.ended);
    pthread_mutex_unlock(&remote.lock);
    return NULL;
}

static void start_thread(void)
{
    pthread_t thread;

    if (cp_thread_start(&thread, worker_main, NULL) == 0) {
        pthread_detach(thread);
        remote.threads++;
    }
}

/* Threads are made when there is work for them. Those that are idle may have
 * been called for the jobs before this one, and not have woken yet. */
static void need_worker(void)
{
    if (remote.idle >= remote.gets.length + remote.puts.length) {
        pthread_cond_signal(&remote.work);
    }
    else if (remote.threads < THREADS
             || (remote.threads < THREADS_MAX
                 && count_lost() == remote.threads)) {
        start_thread();
    }
}

/* --- callers --- */

static apr_status_t wait_for(job_t *job)
{
    cp_clock_t deadline = cp_clock_after(PATIENCE);
    cp_clock_t now = 0;

    while (!job->is_done && now < deadline) {
        struct timespec until = cp_clock_timespec(cp_meanwhile_until(deadline));

        if (pthread_cond_timedwait(&job->done, &remote.lock, &until) != 0) {
            now = cp_clock_now();
            pthread_mutex_unlock(&remote.lock);
            cp_meanwhile_tend(now);
            pthread_mutex_lock(&remote.lock);
        }
    }
    if (job->is_done) {
        return job->rv;
    }
    begin_long_pause();
    cp_stats_add(&connpool_cache_stats()->timeouts, 1);
    return APR_TIMEUP;
}

apr_status_t connpool_remote_get(const char *id, cp_buffer_t *data)
{
    job_t *job;
    apr_status_t rv;

    pthread_mutex_lock(&remote.lock);
    if (!may_ask()) {
        pthread_mutex_unlock(&remote.lock);
        cp_stats_add(&connpool_cache_stats()->skipped, 1);
        return APR_EBUSY;
    }
    job = make_job(id, 2);
    if (!job) {
        pthread_mutex_unlock(&remote.lock);
        return APR_ENOMEM;
    }
    push(&remote.gets, job);
    need_worker();
    rv = wait_for(job);
    if (rv == APR_SUCCESS) {
        *data = cp_buffer_take(&job->data);
    }
    unref(job);
    pthread_mutex_unlock(&remote.lock);
    return rv;
}

apr_status_t connpool_remote_put(const char *id, apr_time_t expires,
                                 cp_buffer_t *data)
{
    apr_status_t rv = APR_SUCCESS;
    job_t *job;

    pthread_mutex_lock(&remote.lock);
    if (remote.is_stopping || remote.pause_end != 0) {
        cp_stats_add(&connpool_cache_stats()->skipped, 1);
        rv = APR_EBUSY;
    }
    else if (remote.puts.length >= STORES_MAX
             || remote.puts.bytes + data->size > STORE_BYTES) {
        cp_stats_add(&connpool_cache_stats()->dropped, 1);
        rv = APR_ENOSPC;
    }
    else if (!(job = make_job(id, 1))) {
        rv = APR_ENOMEM;
    }
    else {
        job->is_put = 1;
        job->expires = expires;
        job->data = cp_buffer_take(data);
        push(&remote.puts, job);
        need_worker();
    }
    pthread_mutex_unlock(&remote.lock);
    return rv;
}

/* --- begin and end --- */

void connpool_remote_start(const connpool_remote_t *calls)
{
    memset(&remote, 0, sizeof(remote));
    pthread_mutex_init(&remote.lock, NULL);
    cp_clock_init_condition(&remote.work);
    cp_clock_init_condition(&remote.ended);
    remote.gets.last = &remote.gets.first;
    remote.puts.last = &remote.puts.first;
    remote.pause = PAUSE_LATE;
    remote.calls = calls;
}

/* Threads in a call that does not come back are left to the process's end:
 * nothing of theirs belongs to the child's pools. */
void connpool_remote_stop(void)
{
    struct timespec until;
    int rc = 0;

    if (!remote.calls) {
        return;
    }
    until = cp_clock_timespec(cp_clock_after(STOP_PATIENCE));
    pthread_mutex_lock(&remote.lock);
    remote.is_stopping = 1;
    pthread_cond_broadcast(&remote.work);
    while (remote.threads > 0 && rc == 0) {
        rc = pthread_cond_timedwait(&remote.ended, &remote.lock, &until);
    }
    pthread_mutex_unlock(&remote.lock);
}
