/* SPDX-License-Identifier: Apache-2.0
 * One thread for all connections of the process, which interrupts what is late.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/meanwhile.h"
#include "base/thread.h"
#include "database/sqlite/guard/guard.h"

#include <pthread.h>
#include <sched.h>

#define END_PATIENCE apr_time_from_msec(100)
#define AGAIN        apr_time_from_msec(10) /* for a statement that began since */

static struct {
    pthread_mutex_t lock; /* guards all but `next` */
    pthread_cond_t news;
    APR_RING_HEAD(watched_t, cp_guard_t) guards;
    pthread_t thread;
    int users;
    int is_running; /* the thread */
    int is_stopping;
    cp_clock_t next; /* atomic: when it looks again; NEVER: it must be told */
} watcher = {.lock = PTHREAD_MUTEX_INITIALIZER, .next = CP_CLOCK_NEVER};

static cp_clock_t deadline_of(const cp_guard_t *guard)
{
    return __atomic_load_n(&guard->deadline, __ATOMIC_SEQ_CST);
}

/* The deadline is looked at again behind the mark: whoever moves it waits for
 * the mark to go, so that no interrupt comes after that. */
static void interrupt(cp_guard_t *guard, cp_clock_t now)
{
    __atomic_store_n(&guard->is_marked, 1, __ATOMIC_SEQ_CST);
    if (deadline_of(guard) <= now) {
        sqlite3_interrupt(guard->handle);
    }
    __atomic_store_n(&guard->is_marked, 0, __ATOMIC_SEQ_CST);
}

/* When to look again. The lock is held. */
static cp_clock_t watch_all(void)
{
    cp_clock_t now = cp_clock_now();
    cp_clock_t next = CP_CLOCK_NEVER;
    cp_guard_t *guard;

    /* From here on whoever sets a deadline tells of it. */
    __atomic_store_n(&watcher.next, CP_CLOCK_NEVER, __ATOMIC_SEQ_CST);
    APR_RING_FOREACH(guard, &watcher.guards, cp_guard_t, link)
    {
        /* cppcheck-suppress uninitvar ; the ring's macro sets it */
        cp_clock_t at = deadline_of(guard);

        if (at <= now) {
            interrupt(guard, now);
            at = now + AGAIN;
        }
        next = at < next ? at : next;
    }
    return next;
}

static void *run_watcher(void *ignored)
{
    pthread_mutex_lock(&watcher.lock);
    while (!watcher.is_stopping) {
        cp_clock_t next = watch_all();
        struct timespec until = cp_clock_timespec(next);

        __atomic_store_n(&watcher.next, next, __ATOMIC_SEQ_CST);
        if (next == CP_CLOCK_NEVER) {
            pthread_cond_wait(&watcher.news, &watcher.lock);
        }
        else {
            pthread_cond_timedwait(&watcher.news, &watcher.lock, &until);
        }
    }
    pthread_mutex_unlock(&watcher.lock);
    return NULL;
}

void cp_guard_set_deadline(cp_guard_t *guard, cp_clock_t deadline)
{
    if (guard->deadline == deadline) {
        return;
    }
    __atomic_store_n(&guard->deadline, deadline, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&guard->is_marked, __ATOMIC_SEQ_CST)) {
        sched_yield();
    }
    if (guard->is_watched
        && deadline < __atomic_load_n(&watcher.next, __ATOMIC_SEQ_CST)) {
        pthread_mutex_lock(&watcher.lock);
        pthread_cond_signal(&watcher.news);
        pthread_mutex_unlock(&watcher.lock);
    }
}

void cp_guard_watch(cp_guard_t *guard)
{
    pthread_mutex_lock(&watcher.lock);
    APR_RING_INSERT_TAIL(&watcher.guards, guard, cp_guard_t, link);
    guard->is_watched = 1;
    pthread_cond_signal(&watcher.news);
    pthread_mutex_unlock(&watcher.lock);
}

void cp_guard_unwatch(cp_guard_t *guard)
{
    if (guard->is_watched) {
        pthread_mutex_lock(&watcher.lock);
        APR_RING_REMOVE(guard, link);
        guard->is_watched = 0;
        pthread_mutex_unlock(&watcher.lock);
    }
}

void cp_guard_begin(void)
{
    int rc = 0;

    pthread_mutex_lock(&watcher.lock);
    if (watcher.users++ == 0) {
        cp_clock_init_condition(&watcher.news);
        APR_RING_INIT(&watcher.guards, cp_guard_t, link);
        watcher.is_stopping = 0;
        rc = cp_thread_start(&watcher.thread, run_watcher, NULL);
        watcher.is_running = rc == 0;
    }
    pthread_mutex_unlock(&watcher.lock);
    if (rc != 0) {
        cp_log(CP_LOG_MARK, CP_LOG_WARNING, rc,
               "no thread to interrupt late statements: some may run longer "
               "than their limit");
    }
}

void cp_guard_end(void)
{
    cp_clock_t deadline = cp_clock_after(END_PATIENCE);
    int is_last, is_running;

    /* Prefork's one thread may come here from within a signal handler above its
     * work: then the watcher ends with the process. */
    while (pthread_mutex_trylock(&watcher.lock) != 0) {
        if (cp_clock_left(deadline) == 0) {
            return;
        }
        cp_meanwhile_sleep(cp_clock_after(apr_time_from_msec(1)));
    }
    is_last = --watcher.users == 0;
    is_running = watcher.is_running;
    if (is_last) {
        watcher.is_stopping = 1;
        watcher.is_running = 0;
        pthread_cond_signal(&watcher.news);
    }
    pthread_mutex_unlock(&watcher.lock);
    if (is_last && is_running) {
        pthread_join(watcher.thread, NULL);
    }
}

void cp_guard_forget(void)
{
    pthread_mutex_init(&watcher.lock, NULL); /* who has it is not here */
    watcher.users = 0;
    watcher.is_running = 0;
    watcher.next = CP_CLOCK_NEVER;
}
