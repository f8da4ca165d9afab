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
#include "database/sqlite/guard/guard.h"
#include "database/sqlite/guard/identity.h"
#include "database/sqlite/sqlite.h"

#define CP_SQLITE_STATEMENTS 64 /* cached per connection */
#define CP_SQLITE_MODE_SIZE  16 /* of a journal mode's name */

#define CP_SQLITE_CHECKPOINT_PAGES  1000
#define CP_SQLITE_TRUNCATE_PATIENCE apr_time_from_msec(50)
#define CP_SQLITE_PROBE             "SELECT 1 FROM sqlite_schema LIMIT 1"

typedef struct cp_connection_t cp_sqlite_conn_t;

struct cp_database_t {
    cp_sqlite_config_t config;
    pthread_mutex_t lock;  /* guards the next two; held while preparing */
    int is_prepared;       /* the file is in WAL mode, or may stay as it is */
    cp_clock_t prepare_at; /* when to try again; 0: no try has failed */
    cp_sqlite_identity_t file, log; /* last seen; maintenance thread only */
    ino_t opened;           /* atomic: file of the last connection, 0: none */
    int connections;        /* atomic: open ones */
    int was_unused;         /* atomic: there were none since the last look */
    int is_draining;        /* atomic: none is opened until all are closed */
    cp_guarded_t guarded;   /* what its connections must know */
    const char *log_path;   /* of the write-ahead log */
    cp_sqlite_conn_t *kept; /* guarded by lock: has a log open that was removed,
                               and that nobody could copy yet; or NULL */
    struct stat last_log;   /* at the last tidying; maintenance thread only */
    int tidy_pause;         /* rounds to wait after a vain try; likewise */
    cp_log_limit_t prepare_limit;
    cp_sentinel_t *sentinel; /* NULL: nobody asks for versions */
};

static inline int cp_sqlite_is_stopping(const cp_sqlite_t *db)
{
    return __atomic_load_n(&db->guarded.is_stopping, __ATOMIC_RELAXED);
}

struct cp_statement_t {
    cp_sqlite_conn_t *conn;
    sqlite3_stmt *stmt; /* NULL: this place of the cache is free */
    char *sql;
    size_t sql_size;
    unsigned long used_at; /* conn->uses when it was last taken */
    int is_out;
    unsigned steps;            /* that gave a row, since it was taken */
    const char *volatile_call; /* NULL: it uses no such function */
    unsigned seen;             /* CP_SEEN_ bits */
    cp_value_t *bound;         /* values of its parameters, from 0 */
    char **names;              /* theirs, without the colon; NULL: has none */
    int parameters;
    sqlite3_int64 hidden_rowid; /* of who wrote before; 0: none */
};

/* What a statement does, the triggers that it fires included. */
enum {
    CP_SEEN_READ = 1,   /* a column of a stored table */
    CP_SEEN_SELECT = 2, /* a SELECT */
    CP_SEEN_CHANGE = 4, /* an UPDATE or a DELETE */
    CP_SEEN_INSERT = 8, /* an INSERT, not by a trigger */
};

/* One thread at a time uses a connection, so nothing here needs a lock. */
struct cp_connection_t {
    cp_sqlite_t *db;
    sqlite3 *handle;
    cp_sqlite_identity_t file; /* what it has open */
    cp_guard_t guard;
    int is_writer;
    int locks;        /* how often the server-wide lock is entered */
    int system_error; /* errno of the file that could not be opened, or 0 */
    unsigned seen;    /* CP_SEEN_ bits: what the authorizer has seen since 0 */
    struct cp_refused_t *refused; /* functions of others */
    int has_refused; /* the authorizer met one of them since it was 0 */
    cp_clock_t weigh_at;
    int is_heavier;          /* statements were compiled since it was weighed */
    apr_size_t fixed_weight; /* bytes of its schema and its statements */
    apr_size_t weight;       /* bytes that the process's sum holds of it */
    int has_left_log; /* which was removed; what it had is where it can be */
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
    unsigned char hints[CP_SQLITE_STATEMENTS]; /* by the address of the text */
    cp_statement_t cache[CP_SQLITE_STATEMENTS];
};

/* Map a result code (extended) to class and cause, mark the connection broken
 * when it is. Returns what cp_error_set returns. */
apr_status_t cp_sqlite_fail(cp_sqlite_conn_t *conn, int rc, const char *doing,
                            cp_error_t *err);

/* The same for a statement that was running. */
apr_status_t cp_sqlite_fail_run(cp_sqlite_conn_t *conn, int rc,
                                cp_error_t *err);

/* errno of who would write the file, or make others beside it; 0: may. */
int cp_sqlite_why_unwritable(const char *path);

/* A failure of a running statement, of class input or size so far: only values
 * from the request are the client's fault. Sets class and cause. */
void cp_statement_blame(cp_statement_t *st, int rc, const char *message,
                        cp_error_t *err);

/* Leave the schema nothing on the connection that could do harm, unless the
 * database is trusted (innocuous.c). Before anything reads the
 * schema; functions of ours that are registered later must be marked
 * SQLITE_INNOCUOUS. */
int cp_sqlite_confine(cp_sqlite_conn_t *conn);

/* Was this function taken from the schema? */
int cp_sqlite_is_refused(const cp_sqlite_conn_t *conn, const char *name);
void cp_sqlite_forget_refused(cp_sqlite_conn_t *conn);

/* Tell the process's sum what the connection holds now; while a statement runs
 * only what its page cache holds can be asked. */
void cp_sqlite_weigh_now(cp_sqlite_conn_t *conn, int is_running);
void cp_sqlite_weigh_nothing(cp_sqlite_conn_t *conn);

/* Try again to put the file into WAL mode, if it is time and may succeed. */
void cp_sqlite_prepare_repaired(cp_sqlite_t *db);
#define CP_SQLITE_LOG_CUT  "the database's log was cut by another program"
#define CP_SQLITE_LOG_LOST "the database's log was removed by another program"

/* The failure came behind the deadline, so that is what err says. */
int cp_sqlite_is_late(cp_sqlite_conn_t *conn, int rc, cp_error_t *err);

/* cp_sqlite_fail of what may be late. */
apr_status_t cp_sqlite_fail_late(cp_sqlite_conn_t *conn, int rc,
                                 const char *doing, cp_error_t *err);

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

/* The failure of who needs a log that is not to be found. */
apr_status_t cp_sqlite_log_lost(const cp_sqlite_t *db, cp_error_t *err);

/* Close it. If its log was removed, what only this has is copied into the
 * database first; if that cannot be yet, it is kept open. */
void cp_sqlite_close_writer(cp_sqlite_conn_t *conn);

/* Try again to copy what the one has that was kept. */
void cp_sqlite_retry_kept(cp_sqlite_t *db);

/* For the last time: the process ends. */
void cp_sqlite_end_kept(cp_sqlite_t *db);

const cp_sqlite_config_t *cp_sqlite_config(const cp_sqlite_t *db);

/* How many are open, of any kind. */
int cp_sqlite_connections(const cp_sqlite_t *db);

/* Move what is in the log to the database. Only under the server-wide lock. */
int cp_sqlite_checkpoint(cp_sqlite_conn_t *conn, int mode, int *pin_log,
                         int *pdone);

void cp_statement_free_all(cp_sqlite_conn_t *conn);

#endif
