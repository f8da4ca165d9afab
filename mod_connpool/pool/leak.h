/* SPDX-License-Identifier: Apache-2.0
 * Who holds connections, and who does for too long. */
#ifndef CP_LEAK_H
#define CP_LEAK_H

#include "pool/slot.h"

/** Log those that are new. */
void cp_pool_report_leaks(cp_pool_t *pool);

/** Now and then: choose those that are shown from then on, the oldest that are
 * out, and show them. */
void cp_pool_choose_holders(cp_pool_t *pool);

/** Show those of them that are out still, and all leaks, in the stats. */
void cp_pool_list_holders(cp_pool_t *pool);

#endif
