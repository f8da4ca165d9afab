/* SPDX-License-Identifier: Apache-2.0
 *
 * What our connections hold. SQLite's own figure for the process counts those
 * of mod_dbd, PHP and whoever else uses the library. A connection in use may
 * only be asked by its own thread: so each tells a common sum what it holds,
 * when it is opened, while it runs, and when it is given back. */
#include "base/clock.h"
#include "database/sqlite/connection.h"
#include "database/sqlite/sqlite.h"

#define WEIGH_EVERY apr_time_from_msec(10)

static uint64_t all_weights; /* atomic */

static apr_size_t db_status(sqlite3 *handle, int what)
{
    int now = 0, high = 0;

    return sqlite3_db_status(handle, what, &now, &high, 0) == SQLITE_OK
               ? (apr_size_t)now
               : 0;
}

void cp_sqlite_weigh(cp_connection_t *connection, cp_sqlite_weight_t *sum)
{
    sqlite3 *handle = ((cp_sqlite_conn_t *)connection)->handle;

    sum->cache += db_status(handle, SQLITE_DBSTATUS_CACHE_USED);
    sum->schema += db_status(handle, SQLITE_DBSTATUS_SCHEMA_USED);
    sum->statements += db_status(handle, SQLITE_DBSTATUS_STMT_USED);
}

static void set_weight(cp_sqlite_conn_t *conn, apr_size_t weight)
{
    __atomic_add_fetch(&all_weights, (uint64_t)weight - conn->weight,
                       __ATOMIC_RELAXED);
    conn->weight = weight;
}

/* A page cache is asked in 20 ns. Schema and statements take microseconds to
 * add up, and change only when something was compiled. */
void cp_sqlite_weigh_now(cp_sqlite_conn_t *conn, int is_running)
{
    apr_size_t cache = db_status(conn->handle, SQLITE_DBSTATUS_CACHE_USED);

    if (is_running) {
        conn->weigh_at = cp_clock_after(WEIGH_EVERY);
    }
    if (conn->is_heavier && !is_running) {
        conn->is_heavier = 0;
        conn->fixed_weight = db_status(conn->handle,
                                       SQLITE_DBSTATUS_SCHEMA_USED)
                             + db_status(conn->handle,
                                         SQLITE_DBSTATUS_STMT_USED);
    }
    set_weight(conn, cache + conn->fixed_weight);
}

void cp_sqlite_weigh_nothing(cp_sqlite_conn_t *conn)
{
    set_weight(conn, 0);
}

void cp_sqlite_shrink(cp_connection_t *connection)
{
    cp_sqlite_conn_t *conn = connection;

    cp_statement_free_all(conn);
    sqlite3_db_release_memory(conn->handle);
    conn->is_heavier = 1;
    cp_sqlite_weigh_now(conn, 0);
}

uint64_t cp_sqlite_memory_used(void)
{
    return __atomic_load_n(&all_weights, __ATOMIC_RELAXED);
}
