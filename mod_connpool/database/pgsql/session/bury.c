/* SPDX-License-Identifier: Apache-2.0 */
#include "database/pgsql/session/bury.h"

#include "base/clock.h"
#include "base/thread.h"
#include "database/pgsql/session/pgsql.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

/* So long the server may take to end a backend that is told to. */
#define FAREWELL apr_time_from_msec(100)

#define THREADS 4 /* in this process, at once; more are closed without */

static int threads; /* atomic */

/* The server closes its end when the backend has ended, and not before: whoever
 * has this connection's place then does not come beside it. */
static void await_end(int fd)
{
    cp_clock_t deadline = cp_clock_after(FAREWELL);
    apr_interval_time_t left;
    char ignored[512];

    while ((left = cp_clock_left(deadline)) > 0) {
        struct pollfd end = {.fd = fd, .events = POLLIN};

        if (poll(&end, 1, (int)(left / 1000) + 1) > 0
            && read(fd, ignored, sizeof(ignored)) <= 0) {
            return;
        }
    }
}

/* Only a session that is at rest ends at once. */
static void finish(PGconn *pg)
{
    int is_at_rest = PQstatus(pg) == CONNECTION_OK
                     && PQtransactionStatus(pg) == PQTRANS_IDLE;
    int fd = is_at_rest ? fcntl(PQsocket(pg), F_DUPFD_CLOEXEC, 0) : -1;

    PQfinish(pg);
    if (fd >= 0) {
        await_end(fd);
        close(fd);
    }
}

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
    finish(pg);
}
