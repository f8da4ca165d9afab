/* SPDX-License-Identifier: Apache-2.0 */
#include "base/meanwhile.h"

#include "base/clock.h"
#include "base/thread.h"

#include <stddef.h>

#define EVERY apr_time_from_msec(5)

static CP_THREAD_LOCAL struct {
    cp_meanwhile_t it;
    cp_clock_t due;
    int is_running; /* what it calls may come to a wait, too */
} mine;

cp_meanwhile_t cp_meanwhile_set(cp_meanwhile_t now)
{
    cp_meanwhile_t before = mine.it;

    if (before.fn != now.fn || before.baton != now.baton) {
        mine.it = now;
        mine.due = 0;
    }
    return before;
}

cp_meanwhile_t cp_meanwhile_get(void)
{
    return mine.it;
}

void cp_meanwhile_tend(cp_clock_t now)
{
    if (!mine.it.fn || mine.is_running || now < mine.due) {
        return;
    }
    mine.is_running = 1;
    mine.it.fn(mine.it.baton);
    mine.is_running = 0;
    mine.due = cp_clock_add(now, EVERY);
}

cp_clock_t cp_meanwhile_until(cp_clock_t deadline)
{
    cp_clock_t due;

    if (!mine.it.fn || mine.is_running) {
        return deadline;
    }
    due = mine.due ? mine.due : cp_clock_after(EVERY);
    return due < deadline ? due : deadline;
}

void cp_meanwhile_sleep(cp_clock_t until)
{
    cp_clock_t now = cp_clock_now();

    while (now < until) {
        apr_interval_time_t left = cp_meanwhile_until(until) - now;
        struct timespec pause = {(time_t)apr_time_sec(left),
                                 (long)apr_time_usec(left) * 1000};

        if (left > 0) {
            nanosleep(&pause, NULL);
        }
        now = cp_clock_now();
        cp_meanwhile_tend(now);
    }
}
