/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <limits.h>

static cp_clock_t read_clock(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (cp_clock_t)ts.tv_sec * APR_USEC_PER_SEC + ts.tv_nsec / 1000;
}

static cp_clock_t system_clock(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

/* Written by single-threaded test set-up only. */
static cp_clock_fn clock_source = system_clock;

cp_clock_t cp_clock_now(void)
{
    return clock_source();
}

cp_clock_t cp_clock_recent(void)
{
    return clock_source == system_clock ? read_clock(CLOCK_MONOTONIC_COARSE)
                                        : clock_source();
}

void cp_clock_replace(cp_clock_fn fn)
{
    clock_source = fn ? fn : system_clock;
}

cp_clock_t cp_clock_add(cp_clock_t at, apr_interval_time_t interval)
{
    if (interval < 0 || interval > CP_CLOCK_NEVER - at) {
        return CP_CLOCK_NEVER;
    }
    return at + interval;
}

cp_clock_t cp_clock_after(apr_interval_time_t interval)
{
    return cp_clock_add(cp_clock_now(), interval);
}

apr_interval_time_t cp_clock_left(cp_clock_t deadline)
{
    cp_clock_t now;

    if (deadline == CP_CLOCK_NEVER) {
        return CP_CLOCK_NEVER;
    }
    now = cp_clock_now();
    return deadline > now ? deadline - now : 0;
}

apr_interval_time_t cp_clock_spread(apr_interval_time_t span, uint64_t number)
{
    uint64_t x = number;

    /* splitmix64's finaliser: spread, not secret. */
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    x ^= x >> 31;
    return span > 0 ? (apr_interval_time_t)(x % (uint64_t)span) : 0;
}

apr_interval_time_t cp_clock_jitter(apr_interval_time_t span, const void *seed)
{
    return cp_clock_spread(span, (uint64_t)cp_clock_now()
                                     ^ ((uint64_t)(uintptr_t)seed << 20));
}

void cp_clock_init_condition(pthread_cond_t *cond)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

struct timespec cp_clock_timespec(cp_clock_t deadline)
{
    struct timespec ts;
    apr_time_t seconds = deadline / APR_USEC_PER_SEC;

    /* time_t may have 32 bits, where "never" must not become the past. */
    ts.tv_sec = (time_t)(seconds < INT_MAX ? seconds : INT_MAX);
    ts.tv_nsec = (long)(deadline % APR_USEC_PER_SEC) * 1000;
    return ts;
}
