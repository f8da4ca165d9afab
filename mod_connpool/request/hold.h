/* SPDX-License-Identifier: Apache-2.0
 * Connections that a request holds. */
#ifndef CONNPOOL_HOLD_H
#define CONNPOOL_HOLD_H

#include "glue.h"
#include "base/clock.h"
#include "base/error.h"

struct connpool_base_t;
struct connpool_database_t;

/** A connection held for a request. Shared when the request (its subrequests
 * and internal redirects too) asks for the same pool again. */
typedef struct connpool_hold_t connpool_hold_t;

/** `holder` names who asks, for leak reports; NULL: the request's URI. */
apr_status_t connpool_hold_database(request_rec *r,
                                    struct connpool_database_t *db,
                                    int is_writer, const char *holder,
                                    connpool_hold_t **phold, cp_error_t *err);

/** Never shared: a transfer cannot be in a handle twice. */
#define CONNPOOL_HOLD_EXCLUSIVE 1
/** Only if nobody has to wait for it, else APR_EAGAIN with err clear. */
#define CONNPOOL_HOLD_AT_ONCE   2

/** `how`: CONNPOOL_HOLD_ bits. */
apr_status_t connpool_hold_base(request_rec *r,
                                const struct connpool_base_t *base, int how,
                                connpool_hold_t **phold, cp_error_t *err);
void *connpool_hold_connection(const connpool_hold_t *hold);
/** The CURL * of an upstream's connection, prepared when it is first asked for;
 * NULL without memory. */
void *connpool_hold_easy(connpool_hold_t *hold,
                         const struct connpool_base_t *base);
/** Beside the pool, or of one that keeps nothing: for this use only. */
int connpool_hold_is_one_shot(const connpool_hold_t *hold);
/** Was it borrowed by the process that this one was forked from? Neither it nor
 * anything that uses it may be touched. */
int connpool_hold_is_inherited(const connpool_hold_t *hold);
int connpool_hold_is_shared(const connpool_hold_t *hold);
/** Does the request hold any connection now? */
int connpool_holds_any(request_rec *r);

/** Has this request a connection of the database in its hands already? */
int connpool_holds_database(request_rec *r,
                            const struct connpool_database_t *db);

/** Whoever writes with this hold neither begins nor commits: somebody of the
 * same request does, for several at once. NULL: each for himself again. */
void connpool_transaction_set(request_rec *r, const connpool_hold_t *hold);
int connpool_transaction_has(request_rec *r, const connpool_hold_t *hold);

/** For reports: its transaction has begun, or (0) ended. */
void connpool_hold_transacts(connpool_hold_t *hold, int is_open);

/** Give back; releasing twice is logged and harmless.
 * @return when; 0: it was not, for somebody else has it */
cp_clock_t connpool_hold_release(connpool_hold_t *hold);
/** Give back broken: it is closed once nobody shares it any more. */
void connpool_hold_discard(connpool_hold_t *hold, const char *why);

#endif
