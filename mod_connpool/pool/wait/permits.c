/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/wait/permits.h"

#include "base/clock.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/futex.h>

#define CACHE_LINE 64

/* Fields are guarded by the lock, but those that are said to be atomic. */
typedef struct cell_t {
    pid_t pid; /* 0: free */
    int held;
    uint64_t ticket; /* 0: it does not wait */
    cp_clock_t since;
    uint32_t words[2]; /* atomic: cp_permits_word_t */
} __attribute__((aligned(CACHE_LINE))) cell_t;

struct cp_permits_t {
    pthread_mutex_t lock; /* robust, shared by processes */
    int max;
    int cells_count; /* constant */
    uint64_t last_ticket;

    /* Who has waited longest while none is free; atomic, written under the
     * lock. Read one after the other, they may be of two moments: then a
     * connection is given up too early or too late, which the next look mends.
     */
    int first;
    cp_clock_t first_since; /* 0: nobody */

    cell_t cells[];
};

size_t cp_permits_size(int cells)
{
    return sizeof(cp_permits_t) + (size_t)cells * sizeof(cell_t);
}

cp_permits_t *cp_permits_init(void *memory, int cells)
{
    cp_permits_t *permits = memory;
    pthread_mutexattr_t attr;
    int rc;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    rc = pthread_mutex_init(&permits->lock, &attr);
    pthread_mutexattr_destroy(&attr);
    permits->cells_count = cells;
    return rc == 0 ? permits : NULL;
}

/* Every change is one store, or leaves a state that is true at each step: what
 * a killed holder left half done needs no repair. */
static void lock(cp_permits_t *permits)
{
    if (pthread_mutex_lock(&permits->lock) == EOWNERDEAD) {
        pthread_mutex_consistent(&permits->lock);
    }
}

static void unlock(cp_permits_t *permits)
{
    pthread_mutex_unlock(&permits->lock);
}

/* --- words --- */

uint32_t cp_permits_read(const cp_permits_t *permits, int cell,
                         cp_permits_word_t word)
{
    return __atomic_load_n(&permits->cells[cell].words[word], __ATOMIC_ACQUIRE);
}

void cp_permits_ring(cp_permits_t *permits, int cell, cp_permits_word_t word)
{
    uint32_t *futex = &permits->cells[cell].words[word];

    __atomic_add_fetch(futex, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, futex, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void cp_permits_sleep(const cp_permits_t *permits, int cell,
                      cp_permits_word_t word, uint32_t seen, cp_clock_t until)
{
    struct timespec at = cp_clock_timespec(until);

    /* The bitset's form takes the end as a point of CLOCK_MONOTONIC. */
    syscall(SYS_futex, &permits->cells[cell].words[word], FUTEX_WAIT_BITSET,
            seen, &at, NULL, FUTEX_BITSET_MATCH_ANY);
}

/* --- the queue; the lock is held --- */

static int count_free(const cp_permits_t *permits)
{
    int left = permits->max;

    for (int i = 0; i < permits->cells_count; i++) {
        left -= permits->cells[i].held;
    }
    return left;
}

static int find_first(const cp_permits_t *permits)
{
    int first = -1;

    for (int i = 0; i < permits->cells_count; i++) {
        uint64_t ticket = permits->cells[i].ticket;

        if (ticket && (first < 0 || ticket < permits->cells[first].ticket)) {
            first = i;
        }
    }
    return first;
}

/* Something has changed: tell the first of the queue when it is its turn, and
 * everybody else that it is wanted when it is not. */
static void settle(cp_permits_t *permits)
{
    int first = find_first(permits);
    int is_free = first >= 0 && count_free(permits) > 0;
    cp_clock_t since = first >= 0 && !is_free ? permits->cells[first].since : 0;

    __atomic_store_n(&permits->first, first, __ATOMIC_RELAXED);
    __atomic_store_n(&permits->first_since, since, __ATOMIC_RELAXED);
    if (is_free) {
        cp_permits_ring(permits, first, CP_PERMITS_BELL);
    }
}

static void clear(cell_t *cell)
{
    cell->ticket = 0;
    cell->held = 0;
    cell->pid = 0;
}

/* Processes that nobody told of: those that a child forked, above all. */
static void fold_the_dead(cp_permits_t *permits)
{
    for (int i = 0; i < permits->cells_count; i++) {
        cell_t *cell = &permits->cells[i];

        if (cell->pid && kill(cell->pid, 0) != 0 && errno == ESRCH) {
            clear(cell);
        }
    }
}

/* --- the limit, and who shares it --- */

void cp_permits_limit(cp_permits_t *permits, int max)
{
    lock(permits);
    permits->max = max;
    settle(permits);
    unlock(permits);
}

void cp_permits_fold(cp_permits_t *permits, pid_t pid)
{
    lock(permits);
    for (int i = 0; i < permits->cells_count; i++) {
        if (permits->cells[i].pid == pid) {
            clear(&permits->cells[i]);
        }
    }
    settle(permits);
    unlock(permits);
}

int cp_permits_join(cp_permits_t *permits, pid_t pid)
{
    int found = -1;

    lock(permits);
    fold_the_dead(permits);
    for (int i = 0; i < permits->cells_count; i++) {
        cell_t *cell = &permits->cells[i];

        if (cell->pid == pid) {
            clear(cell); /* of a dead process that had the same number */
        }
        if (found < 0 && cell->pid == 0) {
            found = i;
        }
    }
    if (found >= 0) {
        clear(&permits->cells[found]);
        permits->cells[found].pid = pid;
    }
    settle(permits);
    unlock(permits);
    return found;
}

/* --- taking and giving --- */

static int is_turn(const cp_permits_t *permits, int cell)
{
    int first = find_first(permits);

    return (first < 0 || first == cell) && count_free(permits) > 0;
}

int cp_permits_take(cp_permits_t *permits, int cell, int queues)
{
    cell_t *own = &permits->cells[cell];
    int is_taken;

    lock(permits);
    is_taken = is_turn(permits, cell);
    if (!is_taken && queues && !own->ticket) {
        fold_the_dead(permits);
        is_taken = is_turn(permits, cell);
    }
    if (is_taken) {
        own->held++;
        own->ticket = 0;
    }
    else if (queues && !own->ticket) {
        own->since = cp_clock_now();
        own->ticket = ++permits->last_ticket;
    }
    settle(permits);
    unlock(permits);
    return is_taken;
}

void cp_permits_leave(cp_permits_t *permits, int cell)
{
    lock(permits);
    permits->cells[cell].ticket = 0;
    settle(permits);
    unlock(permits);
}

void cp_permits_give(cp_permits_t *permits, int cell)
{
    lock(permits);
    if (permits->cells[cell].held > 0) {
        permits->cells[cell].held--;
    }
    settle(permits);
    unlock(permits);
}

void cp_permits_call(cp_permits_t *permits, int cell)
{
    lock(permits);
    for (int i = 0; i < permits->cells_count; i++) {
        if (i != cell && permits->cells[i].held > 0) {
            cp_permits_ring(permits, i, CP_PERMITS_CALL);
        }
    }
    unlock(permits);
}

cp_clock_t cp_permits_wanted_since(const cp_permits_t *permits, int cell)
{
    return __atomic_load_n(&permits->first, __ATOMIC_RELAXED) == cell
               ? 0
               : __atomic_load_n(&permits->first_since, __ATOMIC_RELAXED);
}

cp_permits_state_t cp_permits_state(cp_permits_t *permits)
{
    cp_permits_state_t state = {0};

    lock(permits);
    state.max = permits->max;
    state.held = permits->max - count_free(permits);
    for (int i = 0; i < permits->cells_count; i++) {
        state.waiting += permits->cells[i].ticket != 0;
    }
    unlock(permits);
    return state;
}

int cp_permits_list(cp_permits_t *permits, cp_permits_holder_t *list, int most)
{
    int count = 0;

    lock(permits);
    for (int i = 0; i < permits->cells_count && count < most; i++) {
        const cell_t *cell = &permits->cells[i];

        if (cell->pid && (cell->held > 0 || cell->ticket)) {
            list[count++] = (cp_permits_holder_t){
                cell->pid, cell->held, cell->ticket ? cell->since : 0};
        }
    }
    unlock(permits);
    return count;
}
