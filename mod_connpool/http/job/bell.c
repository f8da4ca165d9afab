/* SPDX-License-Identifier: Apache-2.0 */
#include "http/job/bell.h"

#include "base/clock.h"

#include <pthread.h>
#include <stdlib.h>

struct cp_bell_t {
    int refs;             /* atomic */
    int inline_count;     /* of the thread that waits */
    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t cond;  /* has_rung was set; CLOCK_MONOTONIC */
    int has_rung;
};

cp_bell_t *cp_bell_create(void)
{
    cp_bell_t *bell = calloc(1, sizeof(*bell));

    if (!bell) {
        return NULL;
    }
    bell->refs = 1;
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

int cp_bell_count_inline(cp_bell_t *bell, int delta)
{
    bell->inline_count += delta;
    return bell->inline_count;
}
