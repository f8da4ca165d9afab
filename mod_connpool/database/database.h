/* SPDX-License-Identifier: Apache-2.0
 * The seam: what the server needs of a kind of database, as one table.
 *
 * A driver is a constant cp_database_driver_t, which a module registers in its
 * register_hooks, mod_connpool for the one that is built in:
 *
 *     ap_register_provider(p, CP_DATABASE_GROUP, driver.scheme,
 *                          CP_DATABASE_VERSION, &driver);
 *
 * and which is looked up where ConnPoolDatabase is read. A module of its own is
 * loaded anywhere in the configuration; it compiles what it uses of base/ into
 * itself, with hidden symbols, and gives its own copy of base/log a sink in
 * child_init.
 *
 * Who owns what:
 *   configuration  a struct of config_size bytes in the configuration's pool,
 *                  zeroed, then filled by `keys`, `address` and `check`;
 *                  constant afterwards, and shared by all children
 *   database       the driver's, in the pool that `create` gets
 *   connection     made and closed by the pool drivers; one thread at a time
 *   statement      its connection's; out from `prepare` to `finish`
 *   row            its values are good until the next step, or finish
 *   bound bytes    the caller's, and stay until finish
 *   write lock     the server's, lent to the database for its life
 *
 * Who fails fills the cp_error_t: a class, which decides what the client is
 * told (CP_ERR_INPUT: the values, CP_ERR_CONFLICT: what is stored does not
 * allow them, CP_ERR_REFUSED: not allowed, CP_ERR_STORAGE: the database,
 * CP_ERR_INTERNAL: the query fails whatever the values are, CP_ERR_DEADLINE,
 * CP_ERR_CAPACITY), the constraint that did not hold, a cause that is constant
 * and may be shown, a detail for the log that begins "database 'NAME': " and
 * holds no secret. A connection that is not to be used again says so in its
 * pool driver's `reset`. Functions are called from any thread, unless they say
 * otherwise; those of one connection from one at a time. Members that a driver
 * may leave out, for want of the ability, say which.
 *
 * A transaction has one statement or thousands, mostly of equal texts: between
 * `begin` and its end each is prepared, bound, stepped to its end and finished
 * before the next one. Behind the first that fails comes only `rollback`: what
 * the database makes of such a transaction does not matter. `commit` may fail
 * for what the statements have deferred, as a foreign key: nothing of them is
 * left then, and the constraint is told as by a step. A `result` is of its own
 * statement, not of those before it. */
#ifndef CP_DATABASE_H
#define CP_DATABASE_H

#include "base/clock.h"
#include "base/error.h"
#include "base/gauge.h"
#include "base/option.h"
#include "database/facts.h"
#include "database/finding.h"
#include "database/fork.h"
#include "database/limit.h"
#include "database/shape.h"
#include "database/value.h"
#include "database/version.h"
#include "pool/driver.h"

#include <stdint.h>

#include <apr_global_mutex.h>

/** The first member of the table, and the version of the provider: raised when
 * the table changes. */
#define CP_DATABASE_ABI     5
#define CP_DATABASE_VERSION "5"
#define CP_DATABASE_GROUP   "connpool-database"

/** Never complete but within a driver, each of which has its own. */
typedef struct cp_database_t cp_database_t;     /**< one, in this child */
typedef struct cp_connection_t cp_connection_t; /**< what its pools keep */
typedef struct cp_statement_t cp_statement_t;   /**< prepared */

/** Made by ap_server_root_relative: an absolute path, or NULL. */
typedef char *(*cp_resolve_fn)(apr_pool_t *p, const char *path);

typedef struct cp_database_driver_t {
    int abi;            /**< CP_DATABASE_ABI */
    const char *scheme; /**< before the colon in ConnPoolDatabase, and the kind
                             in reports: "sqlite" */
    const char *syntax; /**< "sqlite:PATH" */
    unsigned can;       /**< CP_CAN_ bits */

    /* --- what is configured: in the parent; sentences are NULL, or in p --- */

    apr_size_t config_size;
    /** Of ConnPoolDatabase, besides those that all have: readonly= too, if it
     * can be so. Offsets into the configuration. */
    const cp_option_t *keys;
    /** First words of SQL without write=on, and with it; end with NULL. */
    const char *const *read_verbs;
    const char *const *write_verbs;

    /** Take what stands behind the colon, before the keys.
     * @return a sentence, without its secrets */
    const char *(*address)(apr_pool_t *p, void *config, const char *name,
                           const char *text, cp_resolve_fn resolve);
    /** After the keys: does it fit together? Opens nothing.
     * @return a sentence */
    const char *(*check)(apr_pool_t *p, const void *config);
    void (*describe)(const void *config, cp_database_facts_t *facts);
    /** With CP_CAN_LOCK_WRITES: equal for all spellings of the same database; a
     * path, or begins with the scheme. */
    const char *(*identity)(apr_pool_t *p, const void *config);

    /** Find verb, parameters, RETURNING in one statement.
     * @return a sentence: empty, several statements, a parameter that is not a
     * :name, unbalanced quotes or parentheses */
    const char *(*scan)(apr_pool_t *p, const char *sql, cp_sql_shape_t *shape);
    /** Would this text fail whatever the database holds? Opens nothing. May be
     * NULL.
     * @return a sentence */
    const char *(*check_sql)(apr_pool_t *p, const void *config,
                             const char *sql);
    /** With CP_CAN_VERSION: does the text use what changes without the data?
     * @return 1, and in *word the name of it */
    int (*is_volatile)(const char *sql, const char **word);
    /** The first column of its answer that has no name, and the size; NULL: all
     * have one, as far as the text tells. May be left out. */
    const char *(*nameless)(const char *sql, const cp_sql_shape_t *shape,
                            apr_size_t *psize);
    /** Likewise: does this value make something depend on the time? */
    int (*is_volatile_value)(const cp_value_t *value);
    /** How pages of an answer are written; NULL: they cannot be. */
    const struct cp_page_dialect_t *pages;

    void (*fork)(cp_fork_step_t step); /**< NULL: it need not know */

    /** "SQLite 3.40.1": what is told at the start. */
    const char *(*library)(apr_pool_t *p);
    /** NULL, or a warning to who writes to such a database. May be left out. */
    const char *(*risk)(apr_pool_t *p);

    /* --- a database in a child --- */

    /** Opens nothing: that is for the first connection.
     * @param lock entered around each write, or NULL: nobody else writes
     * @param p ends the database, after all its connections */
    apr_status_t (*create)(cp_database_t **pdb, const void *config,
                           apr_global_mutex_t *lock, apr_pool_t *p);
    /** The child ends at once: what runs, and what will, fails with
     * CP_ERR_CANCELLED. */
    void (*stop)(cp_database_t *db);
    /** Once a second, from the maintenance thread: is it still there? Quick.
     * @return CP_SIGHT_ bits */
    int (*look)(cp_database_t *db);
    /** Then, what has to be done now and then. May connect, briefly. */
    void (*tend)(cp_database_t *db);
    /** CP_GAUGES of them; those without a name are not there. */
    const cp_gauge_t *gauges;
    /** Add what a connection that is idle holds. Quick. */
    void (*weigh)(cp_connection_t *conn, uint64_t gauges[CP_GAUGES]);
    /** Add what the database holds itself. */
    void (*measure)(cp_database_t *db, uint64_t gauges[CP_GAUGES]);
    /** Give back what an idle connection can do without. */
    void (*shrink)(cp_connection_t *conn);
    /** Bytes that connections of this kind use now, in this process. */
    uint64_t (*memory)(void);
    /** For pools, whose ctx is the database; their kind is the scheme. */
    const cp_driver_t *reader;
    const cp_driver_t *writer;
    /** SQL that reads a row of any database. */
    const char *probe;
    /** Why a connection is closed that is not current any more. */
    const char *outdated;

    /* --- a connection --- */

    void (*limit)(cp_connection_t *conn, const cp_limit_t *limit);
    int (*in_transaction)(cp_connection_t *conn);
    /** Enter the lock, and begin to write. */
    apr_status_t (*begin)(cp_connection_t *conn, cp_clock_t deadline,
                          cp_error_t *err);
    /** Leave the lock in any case; what fails to commit is undone. */
    apr_status_t (*commit)(cp_connection_t *conn, cp_error_t *err);
    /** Harmless without a transaction. */
    void (*rollback)(cp_connection_t *conn);
    /** With CP_CAN_NEST: enter the lock, and begin to write within the
     * transaction of somebody who shares the connection. */
    apr_status_t (*nest)(cp_connection_t *conn, cp_clock_t deadline,
                         cp_error_t *err);
    /** Its end: leave it to the outer transaction, or undo it alone. */
    apr_status_t (*unnest)(cp_connection_t *conn, int is_kept, cp_error_t *err);
    /** Between strangers' writes in one transaction, of which the next sees the
     * data alone. @return 0: a commit would fail, for what the last deferred */
    int (*settle)(cp_connection_t *conn);
    /** Enter the lock without beginning: its borrower writes as he likes, until
     * as many leave_write, or the release. The driver bounds the wait, too. */
    apr_status_t (*enter_write)(cp_connection_t *conn, cp_clock_t deadline,
                                cp_error_t *err);
    void (*leave_write)(cp_connection_t *conn);
    /** The library's own handle, for other modules; from now on the connection
     * may be in any state when it comes back. */
    void *(*native)(cp_connection_t *conn);

    /* --- a statement --- */

    /** One statement; on a reader it cannot write. Equal texts are kept. */
    apr_status_t (*prepare)(cp_connection_t *conn, const char *sql,
                            cp_statement_t **pst, cp_error_t *err);
    /** By name, without the colon; `type` is the declared one.
     * @return APR_NOTFOUND, with err: there is no such parameter */
    apr_status_t (*bind)(cp_statement_t *st, const char *name, cp_type_t type,
                         const cp_value_t *value, cp_error_t *err);
    /** APR_SUCCESS: a row. APR_EOF: no more, and a write is done. Else err. */
    apr_status_t (*step)(cp_statement_t *st, cp_error_t *err);
    /** 0: it has no rows. Once prepared, and anew after the first step. */
    int (*columns)(cp_statement_t *st);
    const char *(*column_name)(cp_statement_t *st, int i);
    /** As its table declares it ("BOOLEAN"), or NULL. May be left out. */
    const char *(*column_type)(cp_statement_t *st, int i);
    /** The current row, a value per column. */
    void (*row)(cp_statement_t *st, cp_value_t *values);
    /** Would it write? */
    int (*writes)(cp_statement_t *st);
    /** Of a write, once its last step has said APR_EOF. */
    void (*result)(cp_statement_t *st, cp_result_t *result);
    void (*finish)(cp_statement_t *st);
    const struct cp_ahead_t *ahead; /**< several in one go; NULL: it cannot */

    /* --- versions: with CP_CAN_VERSION --- */

    /** The version of what anybody reads who begins to read now. What was read
     * after asking, on a connection that is_current, by a statement that
     * depends on nothing else, is good while the version stays the same. */
    apr_status_t (*version)(cp_database_t *db, cp_clock_t deadline,
                            cp_version_t *version, cp_error_t *err);
    /** Would a statement that begins now read what a version is told of? */
    int (*is_current)(cp_connection_t *conn);
    /** After the last step: NULL, or what beside the data decides the rows. */
    const char *(*depends)(cp_statement_t *st);

    /* --- a look before anybody is served: may be left out, each --- */

    /** How is it, as this process may see it? Tell of files, rights, modes,
     * sizes, and what will go wrong; then open a connection as the pools would,
     * a writer if it can be, by the deadline. Changes nothing in the database,
     * leaves nothing beside it.
     * @param pconn as from the pool drivers, to be closed by `reader`; NULL:
     * none could be opened, and an error has told why */
    void (*inspect)(cp_database_t *db, cp_clock_t deadline,
                    const cp_findings_t *to, cp_connection_t **pconn);
    /** Would this statement run, and how? Prepare it, tell its plan, and warn
     * of what takes long for want of an index. Runs nothing. */
    void (*explain)(cp_connection_t *conn, const char *sql,
                    const cp_findings_t *to);
} cp_database_driver_t;

#endif
