/* SPDX-License-Identifier: Apache-2.0 */
#include "pool/wait/share.h"

#include "base/clock.h"
#include "base/meanwhile.h"
#include "base/thread.h"
#include "pool/wait/gate.h"
#include "pool/wait/permits.h"

#include <limits.h>
#include <pthread.h>
#include <unistd.h>

/* So long others wait while this child hands its connections on to its own. */
#define PATIENCE apr_time_from_msec(100)

/* The keeper looks by itself so often: for a call that came while nothing was
 * idle. */
#define KEEPER_EVERY apr_time_from_sec(1)

struct cp_share_t {
    /* Constant. */
    cp_permits_t *permits;
    int cell;
    cp_share_yield_fn yield;
    void *baton;
    pthread_t keeper;
    int has_keeper; /* the stopping thread's alone, after the start */

    cp_gate_t *line; /* of this child's threads; one is inside */
    int lined_up;    /* atomic: in the line, or inside */
    int is_asking;   /* atomic: one sleeps on the bell */
    int is_stopped;  /* atomic */
};

static int is_stopped(const cp_share_t *share)
{
    return __atomic_load_n(&share->is_stopped, __ATOMIC_ACQUIRE);
}

/* --- for the others --- */

static void *keeper_main(void *data)
{
    cp_share_t *share = data;

    while (!is_stopped(share)) {
        uint32_t seen = cp_permits_read(share->permits, share->cell,
                                        CP_PERMITS_CALL);

        if (cp_permits_wanted_since(share->permits, share->cell)) {
            share->yield(share->baton);
        }
        if (!is_stopped(share)) {
            cp_permits_sleep(share->permits, share->cell, CP_PERMITS_CALL, seen,
                             cp_clock_after(KEEPER_EVERY));
        }
    }
    return NULL;
}

int cp_share_should_yield(const cp_share_t *share, int has_queue)
{
    cp_clock_t since = cp_permits_wanted_since(share->permits, share->cell);

    return since != 0
           && (!(has_queue || cp_share_has_queue(share))
               || cp_clock_now() - since >= PATIENCE);
}

/* --- its life --- */

apr_status_t cp_share_create(cp_share_t **pshare, cp_permits_t *permits,
                             cp_share_yield_fn yield, void *baton,
                             apr_pool_t *p)
{
    cp_share_t *share = apr_pcalloc(p, sizeof(*share));
    apr_status_t rv = cp_gate_create(&share->line, 1, INT_MAX, NULL, p);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    share->permits = permits;
    share->yield = yield;
    share->baton = baton;
    share->cell = cp_permits_join(permits, getpid());
    if (share->cell < 0) {
        return APR_ENOSPC;
    }
    rv = cp_thread_start(&share->keeper, keeper_main, share);
    if (rv != APR_SUCCESS) {
        cp_permits_fold(permits, getpid());
        return rv;
    }
    share->has_keeper = 1;
    *pshare = share;
    return APR_SUCCESS;
}

void cp_share_stop(cp_share_t *share)
{
    __atomic_store_n(&share->is_stopped, 1, __ATOMIC_RELEASE);
    cp_gate_close(share->line);
    cp_permits_ring(share->permits, share->cell, CP_PERMITS_BELL);
    cp_permits_ring(share->permits, share->cell, CP_PERMITS_CALL);
    if (share->has_keeper) {
        share->has_keeper = 0;
        pthread_join(share->keeper, NULL);
    }
}

/* --- in line --- */

int cp_share_has_queue(const cp_share_t *share)
{
    return __atomic_load_n(&share->lined_up, __ATOMIC_RELAXED) > 0;
}

apr_status_t cp_share_line_up(cp_share_t *share, cp_clock_t deadline)
{
    apr_status_t rv;

    __atomic_add_fetch(&share->lined_up, 1, __ATOMIC_RELAXED);
    rv = cp_gate_enter(share->line, deadline);
    if (rv != APR_SUCCESS) {
        __atomic_sub_fetch(&share->lined_up, 1, __ATOMIC_RELAXED);
    }
    return rv;
}

void cp_share_step_out(cp_share_t *share)
{
    __atomic_sub_fetch(&share->lined_up, 1, __ATOMIC_RELAXED);
    cp_gate_leave(share->line);
}

/* --- permits --- */

int cp_share_try(cp_share_t *share)
{
    return cp_permits_take(share->permits, share->cell, 0);
}

void cp_share_give(cp_share_t *share)
{
    cp_permits_give(share->permits, share->cell);
}

void cp_share_tell(cp_share_t *share)
{
    if (__atomic_load_n(&share->is_asking, __ATOMIC_ACQUIRE)) {
        cp_permits_ring(share->permits, share->cell, CP_PERMITS_BELL);
    }
}

static void sleep_until(const cp_share_t *share, uint32_t seen,
                        cp_clock_t deadline)
{
    cp_clock_t next = cp_meanwhile_until(deadline);

    cp_permits_sleep(share->permits, share->cell, CP_PERMITS_BELL, seen, next);
    if (next < deadline) {
        cp_meanwhile_tend(cp_clock_now());
    }
}

/* What is idle here is made use of before others are asked: a connection of
 * this pool as it is, one of another pool for its permit. */
static apr_status_t ask(cp_share_t *share, cp_share_look_fn look, void *baton,
                        cp_clock_t deadline)
{
    int has_called = 0;

    for (;;) {
        /* Before all looks: what comes behind them changes it. */
        uint32_t seen = cp_permits_read(share->permits, share->cell,
                                        CP_PERMITS_BELL);

        if (is_stopped(share)) {
            return APR_EOF;
        }
        if (look(baton)) {
            return APR_EEXIST;
        }
        if (cp_permits_take(share->permits, share->cell, 1)) {
            return APR_SUCCESS;
        }
        if (share->yield(share->baton)) {
            continue;
        }
        if (!has_called) {
            has_called = 1;
            cp_permits_call(share->permits, share->cell);
        }
        if (cp_clock_left(deadline) == 0) {
            return APR_TIMEUP;
        }
        sleep_until(share, seen, deadline);
    }
}

apr_status_t cp_share_take(cp_share_t *share, cp_share_look_fn look,
                           void *baton, cp_clock_t deadline)
{
    apr_status_t rv;

    __atomic_store_n(&share->is_asking, 1, __ATOMIC_RELEASE);
    rv = ask(share, look, baton, deadline);
    __atomic_store_n(&share->is_asking, 0, __ATOMIC_RELEASE);
    if (rv != APR_SUCCESS) {
        cp_permits_leave(share->permits, share->cell);
    }
    return rv;
}

cp_permits_state_t cp_share_state(cp_share_t *share)
{
    return cp_permits_state(share->permits);
}
