/* SPDX-License-Identifier: Apache-2.0 */
#include "http/job/bell.h"

#include "base/clock.h"

#include <pthread.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Of one poll. */
#define LONGEST apr_time_from_sec(1)
#define BLIND   apr_time_from_msec(5)

struct cp_bell_t {
    int refs;             /* atomic */
    int inline_count;     /* of the thread that waits */
    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t cond;  /* has_rung was set; CLOCK_MONOTONIC */
    int has_rung;
    int event_fd; /* -1: who waits has not looked at a descriptor as well */
};

cp_bell_t *cp_bell_create(void)
{
    cp_bell_t *bell = calloc(1, sizeof(*bell));

    if (!bell) {
        return NULL;
    }
    bell->refs = 1;
    bell->event_fd = -1;
    pthread_mutex_init(&bell->lock, NULL);
    cp_clock_init_condition(&bell->cond);
    return bell;
}

void cp_bell_ref(cp_bell_t *bell)
{
    __atomic_fetch_add(&bell->refs, 1, __ATOMIC_RELAXED);
}

void cp_bell_unref(cp_bell_t *bell)
{
    if (bell && __atomic_sub_fetch(&bell->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        if (bell->event_fd >= 0) {
            close(bell->event_fd);
        }
        pthread_cond_destroy(&bell->cond);
        pthread_mutex_destroy(&bell->lock);
        free(bell);
    }
}

void cp_bell_ring(cp_bell_t *bell)
{
    pthread_mutex_lock(&bell->lock);
    if (!bell->has_rung) {
        bell->has_rung = 1;
        pthread_cond_signal(&bell->cond);
        if (bell->event_fd >= 0) {
            eventfd_write(bell->event_fd, 1);
        }
    }
    pthread_mutex_unlock(&bell->lock);
}

apr_status_t cp_bell_wait(cp_bell_t *bell, cp_clock_t until)
{
    struct timespec when = cp_clock_timespec(until);
    int rc = 0, has_rung;

    pthread_mutex_lock(&bell->lock);
    while (!bell->has_rung && rc == 0) {
        rc = pthread_cond_timedwait(&bell->cond, &bell->lock, &when);
    }
    has_rung = bell->has_rung;
    bell->has_rung = 0;
    pthread_mutex_unlock(&bell->lock);
    return has_rung ? APR_SUCCESS : APR_TIMEUP;
}

/* Rings from now on can be polled for; has it rung already? */
static int begin_polling(cp_bell_t *bell)
{
    int has_rung;

    pthread_mutex_lock(&bell->lock);
    if (bell->event_fd < 0) {
        bell->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    has_rung = bell->has_rung;
    pthread_mutex_unlock(&bell->lock);
    return has_rung;
}

static int end_polling(cp_bell_t *bell)
{
    eventfd_t rings;
    int has_rung;

    pthread_mutex_lock(&bell->lock);
    if (bell->event_fd >= 0) {
        eventfd_read(bell->event_fd, &rings);
    }
    has_rung = bell->has_rung;
    bell->has_rung = 0;
    pthread_mutex_unlock(&bell->lock);
    return has_rung;
}

apr_status_t cp_bell_wait_also(cp_bell_t *bell, int fd, cp_clock_t until)
{
    int has_rung = begin_polling(bell);
    struct pollfd fds[2] = {{.fd = bell->event_fd, .events = POLLIN},
                            {.fd = fd, .events = POLLIN}};
    apr_interval_time_t left = cp_clock_left(until);

    /* Without a descriptor for the bell: often enough. */
    if (left > (bell->event_fd < 0 ? BLIND : LONGEST)) {
        left = bell->event_fd < 0 ? BLIND : LONGEST;
    }
    if (!has_rung) {
        poll(fds, 2, (int)((left + 999) / 1000));
    }
    return end_polling(bell) ? APR_SUCCESS
           : fds[1].revents  ? APR_EAGAIN
                             : APR_TIMEUP;
}

int cp_bell_count_inline(cp_bell_t *bell, int delta)
{
    bell->inline_count += delta;
    return bell->inline_count;
}
