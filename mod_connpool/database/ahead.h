/* SPDX-License-Identifier: Apache-2.0
 * Statements that are sent in one go, where a driver can: none waits at the
 * server's door until the one before it has been answered. */
#ifndef CP_AHEAD_H
#define CP_AHEAD_H

#include "database/value.h"

struct cp_connection_t;
struct cp_statement_t;

/** At most so many are taken at once. */
#define CP_AHEAD_MOST 32

/** As for `bind` of the driver. */
typedef struct cp_bound_t {
    const char *name;
    cp_type_t type;
    const cp_value_t *value;
} cp_bound_t;

/** A statement that reads. */
typedef struct cp_asked_t {
    const char *sql;
    const cp_bound_t *bound;
    int bound_count;
} cp_asked_t;

/** What a driver has for it. */
typedef struct cp_ahead_t {
    /** Send them, in their order, by the connection's limit. Each stands for
     * itself: what fails, fails alone.
     * @return how many of the first are under way. The rest, and what is not
     * received later, was not run as far as anybody can tell */
    int (*send)(struct cp_connection_t *conn, const cp_asked_t *asked,
                int count);
    /** The next of them, to be stepped and finished before the one after it; no
     * other is prepared until all have been. Whose error is_transient did not
     * run, and may be run by itself.
     * @return NULL: there are no more, or they are lost */
    struct cp_statement_t *(*receive)(struct cp_connection_t *conn);
} cp_ahead_t;

#endif
