/* SPDX-License-Identifier: Apache-2.0
 * Processes that others fork from a child, to run requests in (mpm_itk). */
#ifndef CONNPOOL_FORK_H
#define CONNPOOL_FORK_H

#include "glue.h"

/** The name of a module that is loaded and does so, or NULL. */
const char *connpool_fork_expected(void);

/** From now on this is the child: what it forks is told from it. */
void connpool_fork_watch(void);

/** Before work of ours. In a forked process: pools of its own, at the first
 * call, in which nothing is kept, and cells that nobody reads. Nothing that was
 * inherited is touched. */
void connpool_fork_settle(void);

#endif
