/* SPDX-License-Identifier: Apache-2.0
 * What an SQLSTATE means: to the client, to the connection, to who could try
 * again. */
#ifndef CP_PG_STATE_H
#define CP_PG_STATE_H

#include "base/error.h"

typedef struct cp_pg_outcome_t {
    const char *state; /**< five characters, or the two of a class */
    cp_error_class_t cls;
    const char *cause;
    const char *constraint; /**< that was violated, or NULL */
    unsigned flags;         /**< CP_PG_ bits */
} cp_pg_outcome_t;

enum {
    CP_PG_BROKEN = 1,   /**< the connection must not be used again */
    CP_PG_AGAIN = 2,    /**< nothing happened, and the same may succeed now */
    CP_PG_UNTYPED = 4,  /**< types of parameters could not be found out */
    CP_PG_FOREIGN = 8,  /**< SQL and database do not fit together */
    CP_PG_VALUES = 16,  /**< the values are to blame, if there are any */
    CP_PG_MESSAGE = 32, /**< what the database's author tells clients */
    CP_PG_PAUSE = 64,   /**< will not be otherwise in a moment */
};

/** Never NULL: of a state that is not known, its class's, or that of all. */
const cp_pg_outcome_t *cp_pg_outcome(const char *state);

/** "email, tenant" of "Key (email, tenant)=(..) already exists.", as
 * "item.email, item.tenant" into subject; 0: it cannot be told, or does not
 * fit. */
int cp_pg_subject(const char *table, const char *detail, char *subject,
                  size_t size);

/** What may go to the log of a message: one line of it, without what a terminal
 * obeys. */
void cp_pg_show(char *to, size_t size, const char *text);

#endif
