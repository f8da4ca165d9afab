/* SPDX-License-Identifier: Apache-2.0 */
#include "database/pgsql/session/bury.h"

#include "base/thread.h"
#include "database/pgsql/session/pgsql.h"

#include <pthread.h>
#include <stdlib.h>

#define THREADS 4 /* in this process, at once; more are closed without */

static int threads; /* atomic */

static void *cancel(void *data)
{
    PGconn *pg = data;
    PGcancel *it = PQgetCancel(pg);
    char ignored[256];

    if (it) {
        PQcancel(it, ignored, sizeof(ignored));
        PQfreeCancel(it);
    }
    PQfinish(pg);
    __atomic_sub_fetch(&threads, 1, __ATOMIC_RELAXED);
    return NULL;
}

static int needs_cancel(const cp_database_t *db, const PGconn *pg)
{
    return (db->config.pooler != CP_PG_POOLER_NONE
            || __atomic_load_n(&db->has_old_servers, __ATOMIC_RELAXED))
           && PQtransactionStatus(pg) == PQTRANS_ACTIVE
           && !cp_pg_is_stopping(db);
}

void cp_pg_bury(cp_database_t *db, PGconn *pg)
{
    pthread_t thread;

    if (needs_cancel(db, pg)) {
        if (__atomic_add_fetch(&threads, 1, __ATOMIC_RELAXED) <= THREADS
            && cp_thread_start(&thread, cancel, pg) == 0) {
            pthread_detach(thread);
            return;
        }
        __atomic_sub_fetch(&threads, 1, __ATOMIC_RELAXED);
    }
    PQfinish(pg);
}
