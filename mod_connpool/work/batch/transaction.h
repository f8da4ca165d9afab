/* SPDX-License-Identifier: Apache-2.0
 * The writes of each database in a batch as one transaction. */
#ifndef CONNPOOL_WORK_TRANSACTION_H
#define CONNPOOL_WORK_TRANSACTION_H

#include "base/clock.h"

struct connpool_batch_t;

/** Run all writes of the batch: those of one database in their order, and
 * commit them together. All, or nothing: an item whose status is 400 or more,
 * also one that was refused before, undoes those before it and keeps those
 * behind it from running, which is their failure then. Where nothing can be
 * begun, or committed, all fail so. */
void connpool_transactions_run(struct connpool_batch_t *batch,
                               cp_clock_t deadline);

#endif
