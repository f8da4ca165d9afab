/* SPDX-License-Identifier: Apache-2.0
 * What one thread sleeps on while others work for it. */
#ifndef CP_BELL_H
#define CP_BELL_H

#include <apr_errno.h>

#include "base/clock.h"

/** Belongs to the one thread that waits; any thread may ring. Counted: whoever
 * will ring keeps a reference, so the one who waits may leave first. */
typedef struct cp_bell_t cp_bell_t;

/** With one reference, the caller's; NULL without memory. */
cp_bell_t *cp_bell_create(void);

void cp_bell_ref(cp_bell_t *bell);

/** NULL is ignored. */
void cp_bell_unref(cp_bell_t *bell);

/** Wake who waits, or who waits next. Rings add up to one. */
void cp_bell_ring(cp_bell_t *bell);

/** Sleep until the bell rings, or has rung since the last wait, or until then.
 * Look at everything that may have rung: the bell does not tell who it was.
 * @return APR_SUCCESS when it rang, APR_TIMEUP */
apr_status_t cp_bell_wait(cp_bell_t *bell, cp_clock_t until);

/** Sleep until then, or the bell rings, or something can be read from fd (-1:
 * nothing ever can).
 * @return APR_SUCCESS when it rang, APR_EAGAIN: from fd; APR_TIMEUP */
apr_status_t cp_bell_wait_also(cp_bell_t *bell, int fd, cp_clock_t until);

/** Count, for the thread that waits, the transfers that it drives itself.
 * @return how many there are now */
int cp_bell_count_inline(cp_bell_t *bell, int delta);

#endif
