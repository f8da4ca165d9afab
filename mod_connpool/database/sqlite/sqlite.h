/* SPDX-License-Identifier: Apache-2.0
 * SQLite for pools: hardened connections, cached statements with deadlines,
 * and writes that never meet each other's locks. */
#ifndef CP_SQLITE_H
#define CP_SQLITE_H

#include <apr_global_mutex.h>
#include <apr_pools.h>

#include "base/clock.h"
#include "base/error.h"
#include "database/database.h"
#include "database/value.h"
#include "database/sqlite/keys.h"
#include "database/version.h"
#include "pool/driver.h"

struct sqlite3;

/** SQLite as a driver. */
extern const cp_database_driver_t cp_sqlite_driver;

/** A configured database in this child. */
typedef struct cp_database_t cp_sqlite_t;

/** Opens nothing yet. */
apr_status_t cp_sqlite_create(cp_sqlite_t **pdb,
                              const cp_sqlite_config_t *config, apr_pool_t *p);

/** The child ends at once: interrupt what runs on any of its connections, and
 * what will run, with CP_ERR_CANCELLED. From any thread. */
void cp_sqlite_stop(cp_sqlite_t *db);

/** Drivers of the two kinds of connections; their ctx is a cp_sqlite_t. */
extern const cp_driver_t cp_sqlite_reader;
extern const cp_driver_t cp_sqlite_writer;

/** True once after another file took the path's place (or it went away): the
 * pools should be flushed. Only stat()s. From one thread at a time. */
int cp_sqlite_file_changed(cp_sqlite_t *db);

/** NULL, or a warning: this library can lose committed rows when a write races
 * a checkpoint of another program (3.7.0 to 3.51.2, "WAL-reset bug"). */
const char *cp_sqlite_version_risk(apr_pool_t *p);

const char *cp_sqlite_version(void);

/** Bytes held by a connection, or by several. */
typedef struct cp_sqlite_weight_t {
    apr_size_t cache;
    apr_size_t schema;
    apr_size_t statements;
} cp_sqlite_weight_t;

/** Add what a connection holds. */
void cp_sqlite_weigh(cp_connection_t *conn, cp_sqlite_weight_t *sum);

/** Give back what an idle connection can do without. */
void cp_sqlite_shrink(cp_connection_t *conn);

/** Bytes that the connections of this process hold, those in use as of a few
 * milliseconds ago; what other modules have SQLite hold is not in it. */
uint64_t cp_sqlite_memory_used(void);

/** Empty the write-ahead log once nobody has written for a round: a log that
 * lies beside the file would be applied to whatever file takes its place.
 * Once a second, from the maintenance thread; opens a connection only when
 * there is something to do. */
void cp_sqlite_tidy(cp_sqlite_t *db);

/** Size of the write-ahead log's file, 0 without one. */
apr_off_t cp_sqlite_wal_bytes(cp_sqlite_t *db);

/** The native handle; its owner stays the connection. */
struct sqlite3 *cp_sqlite_handle(cp_connection_t *conn);

/** What runs on conn from now on is interrupted at the deadline (within about
 * 50 ms with the default limits), whatever it does. Ends with the connection's
 * release. */
void cp_sqlite_set_deadline(cp_connection_t *conn, cp_clock_t deadline);

/* --- versions --- */

/** A connection of its own that only asks whether somebody has committed, so
 * that versions can be compared: one per child and database, for any thread.
 * Belongs to no pool. */
typedef struct cp_sentinel_t cp_sentinel_t;

/** In p, and closed with it; p must end before the database does. Opens nothing
 * yet: that waits for the first question, in the child. */
apr_status_t cp_sentinel_create(cp_sentinel_t **psentinel, cp_sqlite_t *db,
                                apr_pool_t *p);

/** The version of what anybody reads who begins to read now, in a few
 * microseconds; never waits for a lock of the database. What was read after
 * asking, by a connection that cp_sqlite_is_current, is good as long as the
 * version stays the same. After a failure to open nothing is tried for a
 * second. */
apr_status_t cp_sentinel_version(cp_sentinel_t *sentinel, cp_version_t *version,
                                 cp_error_t *err);

/** Would a statement that begins on conn now read the file that stands at the
 * path, and its latest state? Not within a transaction, or beside a statement
 * that is running. */
int cp_sqlite_is_current(cp_connection_t *conn);

/** Close it when it was not asked for so long. Skipped while it is in use. */
void cp_sentinel_rest(cp_sentinel_t *sentinel, apr_interval_time_t idle);

/** Add what it holds. Adds nothing while it is in use. */
void cp_sentinel_weigh(cp_sentinel_t *sentinel, cp_sqlite_weight_t *sum);

/* --- writes --- */

/** Enter the server-wide lock of the database (a writer connection; it is left
 * at as many cp_sqlite_unlock, or at release). The wait ends at the deadline,
 * or after the database's busy time. */
apr_status_t cp_sqlite_lock(cp_connection_t *conn, cp_clock_t deadline,
                            cp_error_t *err);

/** Run a checkpoint if one is due, then leave the lock. */
void cp_sqlite_unlock(cp_connection_t *conn);

/** Lock and BEGIN IMMEDIATE. */
apr_status_t cp_sqlite_begin(cp_connection_t *conn, cp_clock_t deadline,
                             cp_error_t *err);

/** COMMIT, or ROLLBACK when that fails, and unlock. */
apr_status_t cp_sqlite_commit(cp_connection_t *conn, cp_error_t *err);

/** ROLLBACK and unlock; harmless without a transaction. */
void cp_sqlite_rollback(cp_connection_t *conn);

int cp_sqlite_in_transaction(cp_connection_t *conn);

/** Lock, and begin to write within the transaction of somebody who shares the
 * connection. */
apr_status_t cp_sqlite_nest(cp_connection_t *conn, cp_clock_t deadline,
                            cp_error_t *err);

/** Its end: leave it to the outer transaction, or undo it alone; unlock. */
apr_status_t cp_sqlite_unnest(cp_connection_t *conn, int is_kept,
                              cp_error_t *err);
int cp_sqlite_settle(cp_connection_t *conn);

apr_int64_t cp_sqlite_changes(cp_connection_t *conn);
apr_int64_t cp_sqlite_last_rowid(cp_connection_t *conn);

/* --- statements --- */

/** Prepare, or take from the cache (least recently used go first). Exactly one
 * statement; on a reader it cannot write. Finish it before the connection is
 * released. */
apr_status_t cp_statement_prepare(cp_connection_t *conn, const char *sql,
                                  cp_statement_t **pst, cp_error_t *err);

/** Does it write? (sqlite3_stmt_readonly) */
int cp_statement_is_readonly(cp_statement_t *st);

/** Bind by name, without the colon. Text and blobs are not copied: they must
 * live until the statement is finished. APR_NOTFOUND: no such parameter. */
apr_status_t cp_statement_bind(cp_statement_t *st, const char *name,
                               const cp_value_t *value, cp_error_t *err);

/** APR_SUCCESS: a row. APR_EOF: no more. Else err: CP_ERR_DEADLINE whenever it
 * comes behind the connection's deadline, though it may have come to an end. */
apr_status_t cp_statement_step(cp_statement_t *st, cp_error_t *err);

/** Valid once prepared; a changed schema may change them with the first step.
 */
int cp_statement_columns(cp_statement_t *st);
const char *cp_statement_column_name(cp_statement_t *st, int i);
/** As its table declares it; NULL: it is no column of a table. */
const char *cp_statement_column_type(cp_statement_t *st, int i);

/** Columns of the current row; text and blobs are valid until the next step. */
void cp_statement_row(cp_statement_t *st, cp_value_t *values);

/** NULL, or the name of a function that it calls, also within views, whose
 * value changes without the data (lower case, static). Date functions that the
 * query itself calls are left to cp_sql_is_volatile, which sees their
 * arguments. Valid after the last step, for a changed schema may change it. */
const char *cp_statement_volatile(cp_statement_t *st);

/** Reset, unbind, and put back into the cache. */
void cp_statement_finish(cp_statement_t *st);

#endif
