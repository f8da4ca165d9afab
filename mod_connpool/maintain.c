/* SPDX-License-Identifier: Apache-2.0
 * The child's maintenance thread: closes what is idle, notices files that were
 * replaced, keeps the memory bound, and measures. */
#include "glue.h"
#include "base/clock.h"
#include "base/thread.h"
#include "cache/caches.h"
#include "child/child.h"
#include "child/memory.h"
#include "child/upkeep.h"
#include "child/verify.h"
#include "http/loop.h"
#include "lifecycle.h"
#include "report/lines/sample.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <apr_strings.h>

#define SUPERVISE_EVERY apr_time_from_msec(250)

static struct {
    pthread_t thread;
    int is_running; /* the starting thread's alone */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int is_stopping; /* lock */
    void (*watch)(void);
} maintenance;

/* Sleep until `until` or until asked to stop; true goes on. */
static int maintenance_pause(cp_clock_t until)
{
    struct timespec ts = cp_clock_timespec(until);
    int goes_on;

    pthread_mutex_lock(&maintenance.lock);
    while (!maintenance.is_stopping && cp_clock_left(until) > 0) {
        pthread_cond_timedwait(&maintenance.wake, &maintenance.lock, &ts);
    }
    goes_on = !maintenance.is_stopping;
    pthread_mutex_unlock(&maintenance.lock);
    return goes_on;
}

#ifdef CONNPOOL_TESTING
/* Faults on demand: a test leaves a file of this name, with a number or
 * nothing in it, and one child finds and removes it. */
static int take_fault(const char *name, int *pnumber)
{
    const char *dir = getenv("CONNPOOL_TEST_FAULTS");
    char path[APR_PATH_MAX];
    FILE *file;

    if (!dir) {
        return 0;
    }
    apr_snprintf(path, sizeof(path), "%s/%s", dir, name);
    file = fopen(path, "r");
    if (!file) {
        return 0;
    }
    if (fscanf(file, "%d", pnumber) != 1) {
        *pnumber = 0;
    }
    fclose(file);
    return unlink(path) == 0;
}

static void cause_faults(cp_loop_t *loop)
{
    int number;

    if (take_fault("loop-die", &number)) {
        cp_loop_test_die(loop);
    }
    if (take_fault("loop-stall", &number)) {
        cp_loop_test_stall(loop, apr_time_from_msec(number));
    }
}
#endif

static void *maintenance_main(void *data)
{
    cp_clock_t next_round = 0;
    cp_clock_t started = cp_clock_now();

    connpool_verify_all(maintenance_pause);
    do {
        if (cp_clock_left(next_round) == 0) {
            connpool_upkeep();
            connpool_verify_rest();
            connpool_cache_maintain();
            connpool_memory_maintain();
            connpool_measure_process(started);
            connpool_status_sample();
            next_round = cp_clock_after(CONNPOOL_UPKEEP_EVERY);
        }
        if (connpool_child.loop) {
#ifdef CONNPOOL_TESTING
            cause_faults(connpool_child.loop);
#endif
            cp_loop_supervise(connpool_child.loop);
        }
        maintenance.watch();
    } while (maintenance_pause(cp_clock_after(
        connpool_child.loop ? SUPERVISE_EVERY : CONNPOOL_UPKEEP_EVERY)));
    return NULL;
}

void connpool_maintenance_start(server_rec *s, void (*watch)(void))
{
    int rc;

    pthread_mutex_init(&maintenance.lock, NULL);
    cp_clock_init_condition(&maintenance.wake);
    maintenance.is_stopping = 0;
    maintenance.watch = watch;
    rc = cp_thread_start(&maintenance.thread, maintenance_main, NULL);
    maintenance.is_running = rc == 0;
    if (rc != 0) {
        ap_log_error(APLOG_MARK, APLOG_ERR, rc, s,
                     "no maintenance thread: idle connections stay open");
    }
}

void connpool_maintenance_stop(void)
{
    if (!maintenance.is_running) {
        return;
    }
    pthread_mutex_lock(&maintenance.lock);
    maintenance.is_stopping = 1;
    pthread_cond_signal(&maintenance.wake);
    pthread_mutex_unlock(&maintenance.lock);
    pthread_join(maintenance.thread, NULL);
    maintenance.is_running = 0;
}
