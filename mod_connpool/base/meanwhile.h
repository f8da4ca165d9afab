/* SPDX-License-Identifier: Apache-2.0
 * What a thread has to look after while it waits, whatever it waits for. */
#ifndef CP_MEANWHILE_H
#define CP_MEANWHILE_H

#include "base/clock.h"

typedef void (*cp_meanwhile_fn)(void *baton);

typedef struct cp_meanwhile_t {
    cp_meanwhile_fn fn; /**< NULL: nothing */
    void *baton;
} cp_meanwhile_t;

/** From now on the calling thread's waits call fn every few milliseconds. It
 * must not wait itself, nor touch what the thread works with.
 * @return what they called up to now */
cp_meanwhile_t cp_meanwhile_set(cp_meanwhile_t now);

/** What the calling thread has to look after. */
cp_meanwhile_t cp_meanwhile_get(void);

/** Call it if it is due. Under no lock. `now` saves a look at the clock. */
void cp_meanwhile_tend(cp_clock_t now);

/** How long the calling thread may sleep at once: until the deadline, or until
 * there is something to look after. */
cp_clock_t cp_meanwhile_until(cp_clock_t deadline);

/** Sleep until then, and look after what is to be looked after. */
void cp_meanwhile_sleep(cp_clock_t until);

#endif
