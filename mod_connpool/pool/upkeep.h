/* SPDX-License-Identifier: Apache-2.0
 * What is done to a pool from beside. */
#ifndef CP_UPKEEP_H
#define CP_UPKEEP_H

#include "pool/slot.h"

/** Close what is expired, one by one: a slow close holds up one place only. */
void cp_pool_sweep(cp_pool_t *pool);

#endif
