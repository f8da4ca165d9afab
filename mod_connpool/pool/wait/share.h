/* SPDX-License-Identifier: Apache-2.0
 * This child's share of the permits that all children have together: its
 * threads line up here, and one of them at a time asks for one more. */
#ifndef CP_SHARE_H
#define CP_SHARE_H

#include <apr_errno.h>
#include <apr_pools.h>

#include "base/clock.h"
#include "pool/wait/permits.h"

typedef struct cp_share_t cp_share_t;

/** Close one connection that lies idle in this child, whoever's pool it is in.
 * @return whether there was one */
typedef int (*cp_share_yield_fn)(void *baton);

/** Join the permits, for this process. A thread of the share closes idle
 * connections when others ask, until cp_share_stop. Lives as long as p.
 * @return APR_SUCCESS, APR_ENOSPC when there is no room for one more process,
 * or an errno */
apr_status_t cp_share_create(cp_share_t **pshare, cp_permits_t *permits,
                             cp_share_yield_fn yield, void *baton,
                             apr_pool_t *p);

/** Let nobody wait any more, and end the thread. Idempotent. */
void cp_share_stop(cp_share_t *share);

/** Does somebody of this child wait? Then who comes lines up behind him. */
int cp_share_has_queue(const cp_share_t *share);

/** Get in line, and step out of it with or without a connection.
 * @return as cp_gate_enter */
apr_status_t cp_share_line_up(cp_share_t *share, cp_clock_t deadline);
void cp_share_step_out(cp_share_t *share);

/** Is one of ours idle by now, so that no permit is needed? */
typedef int (*cp_share_look_fn)(void *baton);

/** Take a permit if one is free; never waits. */
int cp_share_try(cp_share_t *share);

/** Wait for one, as the first of the line.
 * @return APR_SUCCESS; APR_EEXIST: look found something better; APR_TIMEUP;
 * APR_EOF: stopped */
apr_status_t cp_share_take(cp_share_t *share, cp_share_look_fn look,
                           void *baton, cp_clock_t deadline);

void cp_share_give(cp_share_t *share);

/** A connection of this child lies idle: tell who waits here. */
void cp_share_tell(cp_share_t *share);

/** Is a connection that comes back better closed, for others wait that have
 * none? While threads of this child wait, too, only after a while. */
int cp_share_should_yield(const cp_share_t *share, int has_queue);

cp_permits_state_t cp_share_state(cp_share_t *share);

#endif
