/* SPDX-License-Identifier: Apache-2.0
 * A driver whose every call can be scripted, delayed and held, and which
 * notices what a pool must never do. */
#ifndef FAKE_DRIVER_H
#define FAKE_DRIVER_H

#include <pthread.h>

#include "pool/driver.h"

typedef enum fake_call_t {
    FAKE_OPEN,
    FAKE_CHECK,
    FAKE_RESET,
    FAKE_CLOSE,
    FAKE_CALLS
} fake_call_t;

typedef struct fake_conn_t fake_conn_t;

/** The driver's context. Fields are read in tests with fake_get(). */
typedef struct fake_driver_t {
    pthread_mutex_t lock; /* guards everything below but the settings */
    pthread_cond_t changed;
    fake_conn_t *conns; /* all that were ever opened, kept to the end */
    const char *script[FAKE_CALLS];
    int resumed[FAKE_CALLS];
    int held[FAKE_CALLS];
    int calls[FAKE_CALLS];
    apr_interval_time_t left[FAKE_CALLS]; /* time the last call had */
    int opened;
    int closed;
    int open;
    int max_open;
    int violations; /* closed twice, used when closed, or by two threads */

    /* Settings, constant while threads run. */
    apr_interval_time_t delay[FAKE_CALLS];
    int fail_every[FAKE_CALLS]; /* each n-th call fails; 0: none */
} fake_driver_t;

extern const cp_driver_t fake_driver;

void fake_init(fake_driver_t *fake);
void fake_free(fake_driver_t *fake);

/** What the next calls do, one letter each, then all succeed: '.' succeeds,
 * 'x' fails, 'h' is held until fake_resume() and then succeeds, 'H' is held and
 * then fails, '*' makes this and all later calls fail. Not copied. */
void fake_script(fake_driver_t *fake, fake_call_t call, const char *script);

/** Wait until `count` threads are held in the call; 0 when that takes 10 s. */
int fake_await_held(fake_driver_t *fake, fake_call_t call, int count);

/** Let go one thread that is held now or will be. */
void fake_resume(fake_driver_t *fake, fake_call_t call);

/** Read one of the counters. */
int fake_get(fake_driver_t *fake, const int *counter);

/** Serial number of a connection, from 1. */
int fake_serial(const void *conn);

/** Use the connection as a borrower does. */
void fake_use(void *conn);

#endif
