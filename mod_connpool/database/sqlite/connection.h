/* SPDX-License-Identifier: Apache-2.0
 * What the files of this driver share: its connections, and the database that
 * they are of. */
#ifndef CP_SQLITE_PRIVATE_H
#define CP_SQLITE_PRIVATE_H

#include <pthread.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <sqlite3.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "database/database.h"
#include "database/sqlite/sqlite.h"

#define CP_SQLITE_STATEMENTS 64 /* cached per connection */
#define CP_SQLITE_MODE_SIZE  16 /* of a journal mode's name */

#define CP_SQLITE_CHECKPOINT_PAGES  1000
#define CP_SQLITE_TRUNCATE_PATIENCE apr_time_from_msec(50)
#define CP_SQLITE_PROBE             "SELECT 1 FROM sqlite_schema LIMIT 1"

typedef struct cp_connection_t cp_sqlite_conn_t;

/* Which file stands at a path. */
typedef struct cp_sqlite_identity_t {
    int is_there;
    dev_t device;
    ino_t inode;
} cp_sqlite_identity_t;

struct cp_database_t {
    cp_sqlite_config_t config;
    pthread_mutex_t lock; /* guards is_prepared; held while preparing */
    int is_prepared;      /* the journal mode was looked at */
    cp_sqlite_identity_t file, log; /* last seen; maintenance thread only */
    ino_t opened;         /* atomic: file of the last connection, 0: none */
    int connections;      /* atomic: open ones */
    int was_unused;       /* atomic: there were none since the last look */
    int is_stopping;      /* atomic: interrupt whatever runs */
    const char *log_path; /* of the write-ahead log */
    struct stat last_log; /* at the last tidying; maintenance thread only */
    int tidy_pause;       /* rounds to wait after a vain try; likewise */
    cp_log_limit_t prepare_limit;
    cp_sentinel_t *sentinel; /* NULL: nobody asks for versions */
};

static inline int cp_sqlite_is_stopping(const cp_sqlite_t *db)
{
    return __atomic_load_n(&db->is_stopping, __ATOMIC_RELAXED);
}

struct cp_statement_t {
    cp_sqlite_conn_t *conn;
    sqlite3_stmt *stmt; /* NULL: this place of the cache is free */
    char *sql;
    size_t sql_size;
    unsigned long used_at; /* conn->uses when it was last taken */
    int is_out;
    const char *volatile_call; /* NULL: it uses no such function */
};

/* One thread at a time uses a connection, so nothing here needs a lock. */
struct cp_connection_t {
    cp_sqlite_t *db;
    sqlite3 *handle;
    cp_sqlite_identity_t file; /* what it has open */
    cp_clock_t deadline;
    cp_meanwhile_fn meanwhile;
    void *meanwhile_baton;
    cp_clock_t meanwhile_at;
    cp_clock_t busy_until; /* 0: not waiting for a lock */
    int is_writer;
    int locks;        /* how often the server-wide lock is entered */
    int is_broken;    /* damaged file, I/O error: do not reuse */
    int is_internal;  /* our own statements pass the authorizer */
    int is_compiling; /* a statement of cp_statement_prepare */
    int was_denied;   /* the authorizer refused something since it was 0 */
    int is_exposed;   /* somebody has its handle, and statements of his own */
    const char *volatile_call; /* seen by the authorizer since it was NULL */
    int statements_out;
    int wal_pages;     /* length of the log after the last commit */
    int checkpoint_at; /* length from which a checkpoint is due */
    unsigned long uses;
    cp_statement_t cache[CP_SQLITE_STATEMENTS];
};

/* Map a result code (extended) to class and cause, mark the connection broken
 * when it is. Returns what cp_error_set returns. */
apr_status_t cp_sqlite_fail(cp_sqlite_conn_t *conn, int rc, const char *doing,
                            cp_error_t *err);

/* Run internal SQL without rows or parameters. */
int cp_sqlite_exec(cp_sqlite_conn_t *conn, const char *sql);

/* The mode that the SQL, a PRAGMA journal_mode, answers. */
int cp_sqlite_journal_mode(cp_sqlite_conn_t *conn, const char *sql,
                           char mode[CP_SQLITE_MODE_SIZE]);

/* Deadlines, waiting, limits, and what SQL may do, for a new handle. */
void cp_sqlite_harden(cp_sqlite_conn_t *conn);

/* A hardened connection that has read the header. */
apr_status_t cp_sqlite_open(cp_sqlite_t *db, int is_writer, cp_clock_t deadline,
                            cp_sqlite_conn_t **pconn, cp_error_t *err);

void cp_sqlite_close(cp_sqlite_conn_t *conn);

cp_sqlite_identity_t cp_sqlite_identify(const char *path);

/* The same file; two that are not there are none. */
int cp_sqlite_is_same(const cp_sqlite_identity_t *a,
                      const cp_sqlite_identity_t *b);

const cp_sqlite_config_t *cp_sqlite_config(const cp_sqlite_t *db);

/* How many are open, of any kind. */
int cp_sqlite_connections(const cp_sqlite_t *db);

void cp_statement_free_all(cp_sqlite_conn_t *conn);

#endif
