/* SPDX-License-Identifier: Apache-2.0
 * What keeps SQLite to its time, whatever a statement does, and its log whole,
 * whatever other programs do. Knows handles, not whose they are. */
#ifndef CP_SQLITE_GUARD_H
#define CP_SQLITE_GUARD_H

#include <sys/types.h>

#include <apr_ring.h>
#include <apr_time.h>
#include <sqlite3.h>

#include "base/clock.h"
#include "base/meanwhile.h"

/* What all connections to a database have in common. */
typedef struct cp_guarded_t {
    const char *name;         /* of the database, for the log */
    const char *log_path;     /* of its write-ahead log */
    apr_interval_time_t busy; /* patience with locks of other programs */
    int is_stopping;          /* atomic: interrupt whatever runs */
    int is_log_cut;           /* atomic: see cp_guard_note_cut */
    int is_log_lost;          /* atomic: see cp_guard_note_lost */
    ino_t opened_log;         /* atomic: the last that was opened, 0: none */
} cp_guarded_t;

/* Of one connection. One thread at a time works with it, so nothing here needs
 * a lock but what the watcher sees. */
typedef struct cp_guard_t cp_guard_t;
struct cp_guard_t {
    APR_RING_ENTRY(cp_guard_t) link; /* of all that are watched */
    cp_guarded_t *common;
    sqlite3 *handle;
    cp_clock_t deadline; /* atomic: the watcher reads it */
    int is_marked;       /* atomic: the watcher is about to interrupt it */
    int is_watched;
    cp_clock_t busy_until; /* 0: not waiting for a lock */
    cp_meanwhile_t meanwhile;
    void (*look)(void *owner, cp_clock_t now); /* every few instructions */
    void *owner;
    int (*is_gone)(void *baton); /* asked now and then: for whom does it run? */
    void *gone_baton;
    cp_clock_t ask_at; /* 0: not yet begun to */
    int is_abandoned;  /* for nobody */
    int is_writer;
    int is_checkpointing;
    int is_saving; /* what cannot be done later: it takes its time */
    int is_ending; /* what runs was told that its time is over */
    int is_spoilt; /* its pages may not be what the file needs: write none */
};

static inline int cp_guard_is_stopping(const cp_guard_t *guard)
{
    return __atomic_load_n(&guard->common->is_stopping, __ATOMIC_RELAXED);
}

/* --- what runs (guard.c) --- */

/* What a thread was within before. */
typedef struct cp_guard_scope_t {
    cp_guard_t *guard;
    cp_meanwhile_t meanwhile;
    int is_other; /* meanwhile has to be put back */
} cp_guard_scope_t;

/* Around all that SQLite does on a connection in this thread; *outer is what to
 * leave to. With every row: nothing is copied that need not be. */
void cp_guard_enter(cp_guard_t *guard, cp_guard_scope_t *outer);
void cp_guard_leave(const cp_guard_scope_t *outer);

/* Of the connection that the thread is within; NULL: none. */
cp_guard_t *cp_guard_current(void);

/* From now on is_gone is asked; NULL: nobody. */
void cp_guard_set_gone(cp_guard_t *guard, int (*is_gone)(void *baton),
                       void *baton);

/* Is the deadline over, or the child's time, or does nobody wait for it? */
int cp_guard_is_over(const cp_guard_t *guard, cp_clock_t now);

/* The same of the current connection, from within what takes long; looks after
 * what is to be looked after, too. */
int cp_guard_look(void);

/* Until when it waits for locks of other programs; counts from the first time
 * since it was entered. */
cp_clock_t cp_guard_patience(cp_guard_t *guard, cp_clock_t now);

/* Make the handle look at the clock, and wait for locks, as the guard says. */
void cp_guard_install(cp_guard_t *guard);

/* Somebody has cut the log: no more writes until it was put right. */
void cp_guard_note_cut(cp_guarded_t *common);

/* What the index speaks of is in a log that somebody has taken away. Until
 * whoever has it open has saved it nothing can be written, nor all be read. */
void cp_guard_note_lost(cp_guarded_t *common);

/* --- interrupts (watcher.c) --- */

/* What runs, and what will run, ends then. */
void cp_guard_set_deadline(cp_guard_t *guard, cp_clock_t deadline);

/* Interrupt it at its deadline, until cp_guard_unwatch. */
void cp_guard_watch(cp_guard_t *guard);
void cp_guard_unwatch(cp_guard_t *guard);

/* Before the first connection, after the last one; counted. */
void cp_guard_begin(void);
void cp_guard_end(void);

/* In a forked process, which has no watcher, nor the connections. */
void cp_guard_forget(void);

/* --- the way to the files (vfs.c) --- */

/* Of the VFS to open with; NULL: the default. */
const char *cp_guard_vfs(void);

/* --- the log (log.c) --- */

/* Is the log not all that its index speaks of? Nothing may be written to it
 * then, or from it to the database. Noted if so. */
int cp_guard_log_is_lacking(const cp_guard_t *guard);

/* Do others find another log, or another index of it, than this connection has
 * open, or none? */
int cp_guard_log_is_removed(const cp_guard_t *guard);

/* Is it the index? All connections of this process have the same. */
int cp_guard_index_is_removed(const cp_guard_t *guard);

typedef enum cp_log_need_t {
    CP_LOG_NOT_NEEDED, /* the database has all of it */
    CP_LOG_NEEDED,     /* not yet, and this connection has it open */
    CP_LOG_UNKNOWN     /* others have an index of their own, of another log */
} cp_log_need_t;

/* Of the log that this connection has open, under the server-wide lock. */
cp_log_need_t cp_guard_log_need(const cp_guard_t *guard);

/* --- functions (functions.c) --- */

/* Put those in place that keep to the deadline. Returns a result code. */
int cp_guard_add_functions(sqlite3 *handle);

#endif
