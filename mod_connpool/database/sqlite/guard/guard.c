/* SPDX-License-Identifier: Apache-2.0
 * The time of what runs on a connection. SQLite looks at the clock now and then
 * (here), before it works on with what it reads (vfs.c), and within functions
 * that take long (functions.c). All the rest, such as a count of all rows, ends
 * when it is interrupted (watcher.c). */
#include "database/sqlite/guard/guard.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/meanwhile.h"
#include "base/thread.h"

#define PROGRESS_OPS 250 /* virtual machine steps between clock looks */
#define ASK_EVERY    apr_time_from_msec(250) /* whether somebody waits */

static CP_THREAD_LOCAL cp_guard_t *current;

void cp_guard_enter(cp_guard_t *guard, cp_guard_scope_t *outer)
{
    outer->guard = current;
    outer->is_other = guard->meanwhile.fn != NULL;
    current = guard;
    guard->busy_until = 0;
    guard->is_ending = 0;
    if (outer->is_other) {
        outer->meanwhile = cp_meanwhile_set(guard->meanwhile);
    }
}

void cp_guard_leave(const cp_guard_scope_t *outer)
{
    current = outer->guard;
    if (outer->is_other) {
        cp_meanwhile_set(outer->meanwhile);
    }
}

cp_guard_t *cp_guard_current(void)
{
    return current;
}

int cp_guard_is_over(const cp_guard_t *guard, cp_clock_t now)
{
    return !guard->is_saving
           && (now >= guard->deadline || guard->is_abandoned
               || cp_guard_is_stopping(guard));
}

void cp_guard_set_gone(cp_guard_t *guard, int (*is_gone)(void *baton),
                       void *baton)
{
    if (guard->is_gone != is_gone || guard->gone_baton != baton) {
        guard->is_gone = is_gone;
        guard->gone_baton = baton;
        guard->ask_at = 0;
        guard->is_abandoned = 0;
    }
}

/* Not for what is done in a moment. */
static void ask_for_whom(cp_guard_t *guard, cp_clock_t now)
{
    if (!guard->is_gone || now < guard->ask_at) {
        return;
    }
    if (guard->ask_at != 0 && guard->is_gone(guard->gone_baton)) {
        guard->is_abandoned = 1;
    }
    guard->ask_at = now + ASK_EVERY;
}

/* The answer goes to SQLite, which ends the statement then. */
static int tell_over(cp_guard_t *guard, cp_clock_t now)
{
    int is_over = cp_guard_is_over(guard, now);

    guard->is_ending |= is_over;
    return is_over;
}

int cp_guard_look(void)
{
    cp_clock_t now;

    if (!current) {
        return 0;
    }
    now = cp_clock_now();
    cp_meanwhile_tend(now);
    return tell_over(current, now);
}

cp_clock_t cp_guard_patience(cp_guard_t *guard, cp_clock_t now)
{
    if (guard->busy_until == 0) {
        guard->busy_until = cp_clock_add(now, guard->common->busy);
    }
    return guard->deadline < guard->busy_until ? guard->deadline
                                               : guard->busy_until;
}

/* Called by SQLite every PROGRESS_OPS steps; true interrupts. */
static int on_progress(void *data)
{
    cp_guard_t *guard = data;
    cp_clock_t now = cp_clock_now();

    cp_meanwhile_tend(now);
    ask_for_whom(guard, now);
    guard->look(guard->owner, now);
    return tell_over(guard, now);
}

/* Called by SQLite when another program holds a lock; false gives up. A flat,
 * short pause: the default's growing steps make tails of seconds. */
static int on_busy(void *data, int count)
{
    cp_guard_t *guard = data;
    cp_clock_t now = cp_clock_now();

    if (count == 0 && current != guard) {
        guard->busy_until = 0;
    }
    if (now >= cp_guard_patience(guard, now) || cp_guard_is_stopping(guard)) {
        return 0;
    }
    cp_meanwhile_sleep(now + apr_time_from_msec(count < 10 ? 1 : 5));
    return 1;
}

void cp_guard_install(cp_guard_t *guard)
{
    sqlite3_progress_handler(guard->handle, PROGRESS_OPS, on_progress, guard);
    sqlite3_busy_handler(guard->handle, on_busy, guard);
}

void cp_guard_note_cut(cp_guarded_t *common)
{
    if (__atomic_exchange_n(&common->is_log_cut, 1, __ATOMIC_RELAXED)) {
        return;
    }
    cp_log(CP_LOG_MARK, CP_LOG_ERROR, 0,
           "database '%s': the log %s was cut by another program while it was "
           "in use: what was only in it is lost. Nothing is written any more: "
           "stop the server, put back a good copy of the database, and start "
           "it",
           common->name, common->log_path);
}

void cp_guard_note_lost(cp_guarded_t *common)
{
    if (__atomic_exchange_n(&common->is_log_lost, 1, __ATOMIC_RELAXED)) {
        return;
    }
    cp_log(CP_LOG_MARK, CP_LOG_WARNING, 0,
           "database '%s': another program has removed or emptied the log %s "
           "while it was in use. Whoever has it open copies it into the "
           "database; if nobody has, what was only in it is lost: stop the "
           "server then, and start it",
           common->name, common->log_path);
}
