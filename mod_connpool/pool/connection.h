/* SPDX-License-Identifier: Apache-2.0
 * What is done with the connections of a pool. */
#ifndef CP_CONNECTION_H
#define CP_CONNECTION_H

#include "base/clock.h"
#include "base/error.h"
#include "pool/slot.h"
#include "stats/stats.h"

/** Take a place among the pooled connections, if one is free. */
int cp_connection_reserve(cp_pool_t *pool);

/** Give up its place, if it has one. */
void cp_connection_leave_place(cp_pool_t *pool, cp_connection_t *conn);

/** Give up its place and its permit, as far as it has them. */
void cp_connection_let_go(cp_pool_t *pool, cp_connection_t *conn);

/** Take a permit for it, without waiting.
 * @return whether it may be opened */
int cp_connection_try_permit(cp_pool_t *pool, cp_connection_t *conn);

/** Open a connection; its place and its permit, if it needs them, are reserved
 * already. */
apr_status_t cp_connection_open(cp_pool_t *pool, cp_connection_t *conn,
                                cp_clock_t deadline, cp_error_t *err);

void cp_connection_close(cp_pool_t *pool, cp_connection_t *conn,
                         cp_close_reason_t reason);

/** May this connection be used (again)? CP_CLOSE_REASONS when it may. */
cp_close_reason_t cp_connection_why_not_reusable(cp_pool_t *pool,
                                                 const cp_connection_t *conn,
                                                 cp_clock_t now);

/** Close the connection unless it may be reused and is alive. *now is read anew
 * if that took time. */
void cp_connection_weed_out(cp_pool_t *pool, cp_connection_t *conn,
                            cp_clock_t *now, cp_clock_t deadline);

/** Take the connection out of an idle slot. The slot is locked. */
cp_connection_t cp_connection_take(cp_pool_t *pool, cp_slot_t *slot);

/** Move a connection over from an idle slot. An empty slot may come up while
 * warm ones lie deeper in the reslist. */
int cp_connection_adopt(cp_pool_t *pool, cp_connection_t *conn,
                        int reusable_only);

void cp_pool_count_idle(cp_pool_t *pool, int delta);

/** When a driver that begins now is to be done, for a borrower who is by then.
 */
cp_clock_t cp_pool_driver_deadline(cp_clock_t deadline, cp_clock_t now);

#endif
