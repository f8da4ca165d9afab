/* SPDX-License-Identifier: Apache-2.0
 * Who holds a connection for too long. */
#ifndef CP_LEAK_H
#define CP_LEAK_H

#include "pool/slot.h"

/** Log those that are new. */
void cp_pool_report_leaks(cp_pool_t *pool);

/** Show those that are out now in the stats. */
void cp_pool_list_leaks(cp_pool_t *pool);

#endif
