/* SPDX-License-Identifier: Apache-2.0 */
#include "report/lines/backends.h"

#include "config/database.h"
#include "database/database.h"
#include "pool/wait/permits.h"
#include "stats/stats.h"

#define PROCESSES_LISTED 64

const char *connpool_backend_state_name(connpool_backend_state_t state)
{
    static const char *const names[CONNPOOL_BACKEND_STATES] = {
        "active", "idle", "in_transaction", "opening"};

    return names[state];
}

int connpool_has_backends(const connpool_pool_line_t *line)
{
    return line->database && line->database->driver->reader->fault != NULL;
}

uint64_t connpool_backends_in(const connpool_pool_line_t *line,
                              connpool_backend_state_t state)
{
    const cp_pool_stats_t *sum = line->sum;
    uint64_t lent = sum->busy + sum->one_shots;

    switch (state) {
    case CONNPOOL_BACKEND_ACTIVE:
        return lent > sum->in_transaction ? lent - sum->in_transaction : 0;
    case CONNPOOL_BACKEND_IDLE:
        return sum->idle;
    case CONNPOOL_BACKEND_IN_TRANSACTION:
        return sum->in_transaction;
    default:
        return sum->opening;
    }
}

int connpool_server_permits(const connpool_pool_line_t *line,
                            cp_permits_state_t *state)
{
    if (!line->database || !line->database->permits) {
        return 0;
    }
    *state = cp_permits_state(line->database->permits);
    return 1;
}

apr_array_header_t *connpool_permit_holders(apr_pool_t *p,
                                            const connpool_pool_line_t *line)
{
    apr_array_header_t *list = apr_array_make(p, PROCESSES_LISTED,
                                              sizeof(cp_permits_holder_t));

    if (line->database && line->database->permits) {
        list->nelts = cp_permits_list(line->database->permits,
                                      (cp_permits_holder_t *)(void *)list->elts,
                                      PROCESSES_LISTED);
    }
    return list;
}
