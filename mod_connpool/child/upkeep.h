/* SPDX-License-Identifier: Apache-2.0
 * What the maintenance thread does for the pools of this child. */
#ifndef CONNPOOL_UPKEEP_H
#define CONNPOOL_UPKEEP_H

#include "base/clock.h"

/** Once in that time: look after files, weigh and close what is idle. */
#define CONNPOOL_UPKEEP_EVERY apr_time_from_sec(1)
void connpool_upkeep(void);

/** Show what this process takes of the machine. `started`: the thread. */
void connpool_measure_process(cp_clock_t started);

#endif
