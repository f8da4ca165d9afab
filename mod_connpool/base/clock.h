/* SPDX-License-Identifier: Apache-2.0
 * The monotonic clock of all deadlines and ages, replaceable in tests. */
#ifndef CP_CLOCK_H
#define CP_CLOCK_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

#include <apr_time.h>

/** Microseconds on CLOCK_MONOTONIC. Never compare with apr_time_now(). */
typedef apr_time_t cp_clock_t;

/** A point in time that is never reached. */
#define CP_CLOCK_NEVER APR_INT64_MAX

typedef cp_clock_t (*cp_clock_fn)(void);

cp_clock_t cp_clock_now(void);

/** As it was at the kernel's last tick, some milliseconds ago at most: for what
 * is looked at so often that reading the clock would be most of the work. */
cp_clock_t cp_clock_recent(void);

/** Tests only: read time from fn; NULL restores the system's clock. Waits on
 * condition variables stay on the system's clock. */
void cp_clock_replace(cp_clock_fn fn);

/** at + interval, saturating; a negative interval means never. For those who
 * have read the clock already: each reading costs. */
cp_clock_t cp_clock_add(cp_clock_t at, apr_interval_time_t interval);

/** now + interval, likewise. */
cp_clock_t cp_clock_after(apr_interval_time_t interval);

/** Microseconds until deadline, 0 when it has passed. */
apr_interval_time_t cp_clock_left(cp_clock_t deadline);

/** A random part of span: 0 .. span - 1, other for each seed and moment. */
apr_interval_time_t cp_clock_jitter(apr_interval_time_t span, const void *seed);

/** The same part of span for the same number: 0 .. span - 1. */
apr_interval_time_t cp_clock_spread(apr_interval_time_t span, uint64_t number);

/** Make a condition variable bound to CLOCK_MONOTONIC, as all of ours are. */
void cp_clock_init_condition(pthread_cond_t *cond);

/** deadline as the absolute time of pthread_cond_timedwait on a condition
 * variable bound to CLOCK_MONOTONIC. */
struct timespec cp_clock_timespec(cp_clock_t deadline);

#endif
