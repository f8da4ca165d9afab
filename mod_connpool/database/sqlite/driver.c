/* SPDX-License-Identifier: Apache-2.0
 * SQLite as a driver: what is configured of it, and the table. */
#include "base/clock.h"
#include "base/error.h"
#include "base/gauge.h"
#include "base/meanwhile.h"
#include "base/option.h"
#include "database/database.h"
#include "database/limit.h"
#include "database/page.h"
#include "database/sqlite/connection.h"
#include "database/sqlite/guard/fork.h"
#include "database/sqlite/inspect/inspect.h"
#include "database/sqlite/sqlite.h"
#include "database/sqlite/text/check.h"
#include "database/sqlite/text/scan.h"
#include "database/value.h"
#include "database/version.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <apr_strings.h>

#define SENTINEL_IDLE apr_time_from_sec(60)

/* The first one with RETURNING, and the oldest that is tried. */
#define OLDEST      3035000
#define OLDEST_NAME "3.35"

#if SQLITE_VERSION_NUMBER < OLDEST
#error "mod_connpool needs SQLite 3.35 or newer"
#endif

/* --- what is configured --- */

static const char *const reads[] = {"SELECT", "VALUES", NULL};
static const char *const writes[] = {"INSERT", "UPDATE", "DELETE", "REPLACE",
                                     NULL};

static const char *take_address(apr_pool_t *p, void *data, const char *name,
                                const char *text, cp_resolve_fn resolve)
{
    cp_sqlite_config_t *config = data;

    config->name = name;
    config->path = strcmp(text, ":memory:") == 0 ? text : resolve(p, text);
    return config->path ? NULL : "the path is not valid";
}

static const char *check(apr_pool_t *p, const void *data)
{
    const cp_sqlite_config_t *config = data;

    /* Not the one that this was built with. */
    if (sqlite3_libversion_number() < OLDEST) {
        return apr_psprintf(
            p, "SQLite %s is installed, and " OLDEST_NAME " or newer is needed",
            sqlite3_libversion());
    }
    return strcmp(config->path, ":memory:") == 0
               ? "sqlite::memory: cannot be pooled: each connection of each "
                 "child would be another, empty database"
               : NULL;
}

static const char *check_sql(apr_pool_t *p, const void *data, const char *sql)
{
    const cp_sqlite_config_t *config = data;

    return cp_sqlite_check_sql(p, sql, config->is_trusted);
}

static void describe(const void *data, cp_database_facts_t *facts)
{
    const cp_sqlite_config_t *config = data;

    facts->address = config->path;
    /* What nobody writes has no writer. */
    facts->is_readonly = config->is_readonly || config->is_immutable;
    facts->is_grouped = config->is_grouped && !facts->is_readonly;
    facts->file = config->path;
    facts->file_risk = ", and serving it breaks SQLite's locks";
    facts->cache = config->cache;
    facts->cache_name = "page cache";
}

/* The file may not be there yet: its directory is what links lead to. */
static const char *canonical_path(apr_pool_t *p, const void *data)
{
    const char *path = ((const cp_sqlite_config_t *)data)->path;
    const char *name = strrchr(path, '/');
    char *file = realpath(path, NULL);
    char *dir = NULL;
    const char *copy = file ? apr_pstrdup(p, file) : path;

    if (!file && name) {
        dir = realpath(apr_pstrmemdup(p, path, (apr_size_t)(name - path) + 1),
                       NULL);
        copy = dir ? apr_pstrcat(p, dir, name, NULL) : path;
    }
    free(file);
    free(dir);
    return copy;
}

/* The date functions take these words for the present moment, from texts and
 * from blobs, up to the first NUL. */
static int is_now(const cp_value_t *value)
{
    static const char *const words[] = {"now", "subsec", "subsecond"};

    if (value->storage != CP_TEXT && value->storage != CP_BLOB) {
        return 0;
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        apr_size_t n = strlen(words[i]);
        const char *data = value->as.bytes.data;

        if (value->as.bytes.size >= n && strncasecmp(data, words[i], n) == 0
            && (value->as.bytes.size == n || data[n] == '\0')) {
            return 1;
        }
    }
    return 0;
}

const char *cp_sqlite_version(void)
{
    return sqlite3_libversion();
}

static const char *library(apr_pool_t *p)
{
    return apr_pstrcat(p, "SQLite ", cp_sqlite_version(),
                       sqlite3_libversion_number() < SQLITE_VERSION_NUMBER
                           ? " (older than " SQLITE_VERSION
                             ", with which this was built)"
                           : "",
                       NULL);
}

const char *cp_sqlite_version_risk(apr_pool_t *p)
{
    int v = sqlite3_libversion_number();

    if (v < 3007000 || v >= 3051003 || (v >= 3050007 && v < 3051000)
        || (v >= 3044006 && v < 3045000)) {
        return NULL;
    }
    return apr_psprintf(
        p,
        "SQLite %s can lose committed rows when a write races a checkpoint "
        "(fixed in 3.51.3, 3.50.7 and 3.44.6). Writes through this server are "
        "safe: they take turns. Let no other program write the same file, or "
        "update SQLite",
        sqlite3_libversion());
}

/* --- a database in a child --- */

static apr_status_t create(cp_database_t **pdb, const void *data,
                           apr_global_mutex_t *lock, apr_pool_t *p)
{
    cp_sqlite_config_t config = *(const cp_sqlite_config_t *)data;
    apr_status_t rv;

    config.write_lock = lock;
    config.is_readonly |= config.is_immutable;
    rv = cp_sqlite_create(pdb, &config, p);
    return rv == APR_SUCCESS ? cp_sentinel_create(&(*pdb)->sentinel, *pdb, p)
                             : rv;
}

static int look(cp_database_t *db)
{
    int sight = cp_sqlite_file_changed(db) ? CP_SIGHT_OTHER : 0;

    return access(db->config.path, F_OK) == 0 ? sight : sight | CP_SIGHT_GONE;
}

static void tend(cp_database_t *db)
{
    cp_sqlite_retry_kept(db);
    cp_sqlite_prepare_repaired(db);
    cp_sqlite_tidy(db);
    cp_sentinel_rest(db->sentinel,
                     __atomic_load_n(&db->is_draining, __ATOMIC_RELAXED)
                         ? 0
                         : SENTINEL_IDLE);
}

#define HELD                                                                   \
    .metric = "connpool_memory_bytes", .unit = "bytes",                        \
    .help = "Memory of idle connections by what it is for."

static const cp_gauge_t gauges[CP_GAUGES] = {
    {.name = "cache_bytes", .title = "Page cache", HELD, .label = "cache"},
    {.name = "schema_bytes", .title = "Schema", HELD, .label = "schema"},
    {.name = "statement_bytes",
     .title = "Statements",
     HELD,
     .label = "statements"},
    {.name = "wal_bytes",
     .title = "WAL",
     .metric = "connpool_wal_bytes",
     .unit = "bytes",
     .help = "Size of the database's write-ahead log."},
};

static void add_weight(const cp_sqlite_weight_t *weight,
                       uint64_t sums[CP_GAUGES])
{
    sums[0] += weight->cache;
    sums[1] += weight->schema;
    sums[2] += weight->statements;
}

static void weigh(cp_connection_t *conn, uint64_t sums[CP_GAUGES])
{
    cp_sqlite_weight_t weight = {0};

    cp_sqlite_weigh(conn, &weight);
    add_weight(&weight, sums);
}

static void measure(cp_database_t *db, uint64_t sums[CP_GAUGES])
{
    cp_sqlite_weight_t weight = {0};

    cp_sentinel_weigh(db->sentinel, &weight);
    add_weight(&weight, sums);
    sums[3] = (uint64_t)cp_sqlite_wal_bytes(db);
}

/* --- connections and statements --- */

static void limit(cp_connection_t *conn, const cp_limit_t *l)
{
    cp_guard_set_deadline(&conn->guard, l->deadline);
    conn->guard.meanwhile = (cp_meanwhile_t){l->meanwhile, l->baton};
    cp_guard_set_gone(&conn->guard, l->is_gone, l->gone_baton);
}

static void *native(cp_connection_t *conn)
{
    return cp_sqlite_handle(conn);
}

static apr_status_t bind_value(cp_statement_t *st, const char *name,
                               cp_type_t type, const cp_value_t *value,
                               cp_error_t *err)
{
    return cp_statement_bind(st, name, value, err);
}

static int is_writing(cp_statement_t *st)
{
    return !cp_statement_is_readonly(st);
}

/* SQLite remembers the row of the last statement that inserted one. */
static void result(cp_statement_t *st, cp_result_t *r)
{
    r->changes = cp_sqlite_changes(st->conn);
    r->last_rowid = st->seen & CP_SEEN_INSERT && r->changes > 0
                        ? cp_sqlite_last_rowid(st->conn)
                        : 0;
}

static apr_status_t version(cp_database_t *db, cp_clock_t deadline,
                            cp_version_t *v, cp_error_t *err)
{
    return cp_sentinel_version(db->sentinel, v, err);
}

/* No backquote makes a text of a name that is not there. */
static const cp_page_dialect_t page_dialect = {'`', 1};

/* --- before anybody is served --- */

#define LOG_LARGE (64 * 1024 * 1024) /* emptied logs are cut to this */

/* What the pools would do with it: its journal, and the log that it has. */
static void tell_journal(cp_connection_t *conn, const cp_findings_t *to)
{
    const cp_sqlite_config_t *config = &conn->db->config;
    apr_off_t log = cp_sqlite_wal_bytes(conn->db);
    char mode[CP_SQLITE_MODE_SIZE] = "";
    int is_wal;

    cp_sqlite_journal_mode(conn, "PRAGMA journal_mode", mode);
    is_wal = strcasecmp(mode, "wal") == 0;
    cp_finding_add(to, CP_SEVERITY_INFO, "journal mode", "%s%s", mode,
                   is_wal || config->is_readonly
                       ? ""
                       : ": the server puts it in WAL mode");
    cp_finding_add(to, CP_SEVERITY_INFO, "log size",
                   "%" APR_INT64_T_FMT " bytes", (apr_int64_t)log);
    if (log > 0 && config->is_immutable) {
        cp_finding_add(to, CP_SEVERITY_WARNING, "log size",
                       "what the write-ahead log holds is not seen with "
                       "immutable=on");
    }
    else if (log >= LOG_LARGE) {
        cp_finding_add(to, CP_SEVERITY_WARNING, "log size",
                       "the write-ahead log is large: somebody reads without "
                       "an end, or nothing empties it");
    }
}

static void tell_rights(cp_database_t *db, const cp_findings_t *to)
{
    const char *path = db->config.path;
    int error = db->config.is_readonly || access(path, F_OK) != 0
                    ? 0
                    : cp_sqlite_why_unwritable(path);

    cp_sqlite_tell_files(path, to);
    if (error) {
        cp_finding_add(to, CP_SEVERITY_ERROR, "rights",
                       "the file and its directory must be writable for the "
                       "server's user (uid %d): %s; or say readonly=on",
                       (int)geteuid(), strerror(error));
    }
}

static cp_connection_t *open_any(cp_database_t *db, cp_clock_t deadline,
                                 const cp_findings_t *to)
{
    int is_writer = !db->config.is_readonly;
    cp_connection_t *conn = NULL;
    cp_error_t err;

    if (cp_sqlite_open(db, is_writer, deadline, &conn, &err) != APR_SUCCESS) {
        cp_finding_add(to, CP_SEVERITY_ERROR, "open", "%s: %s", err.cause,
                       err.detail);
        if (is_writer) {
            cp_sqlite_open(db, 0, deadline, &conn, &err);
        }
    }
    return conn;
}

static void inspect(cp_database_t *db, cp_clock_t deadline,
                    const cp_findings_t *to, cp_connection_t **pconn)
{
    cp_sqlite_identity_t log = cp_sqlite_identify(db->log_path);
    cp_connection_t *conn;

    tell_rights(db, to);
    conn = *pconn = open_any(db, deadline, to);
    if (!conn) {
        return;
    }
    if (!log.is_there) {
        /* Empty, as it is for us, it is of no use: it goes when the last one
         * closes. */
        sqlite3_db_config(conn->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0,
                          NULL);
    }
    cp_guard_set_deadline(&conn->guard, deadline);
    tell_journal(conn, to);
    cp_guard_set_deadline(&conn->guard, CP_CLOCK_NEVER);
}

/* Modules that are not at work before a child runs may bring it. */
static int may_come(const cp_connection_t *conn)
{
    const char *message = sqlite3_errmsg(conn->handle);

    return conn->db->config.is_trusted
           && (strncmp(message, "no such function", 16) == 0
               || strncmp(message, "no such module", 14) == 0
               || strncmp(message, "no such collation", 17) == 0);
}

static void explain(cp_connection_t *conn, const char *sql,
                    const cp_findings_t *to)
{
    cp_guard_scope_t outer;
    cp_statement_t *st;
    cp_error_t err;

    if (cp_statement_prepare(conn, sql, &st, &err) != APR_SUCCESS) {
        cp_finding_add(to,
                       may_come(conn) ? CP_SEVERITY_WARNING : CP_SEVERITY_ERROR,
                       "prepare", "%s: %s", err.cause, err.detail);
        return;
    }
    cp_statement_finish(st);
    cp_guard_enter(&conn->guard, &outer);
    conn->is_internal = 1;
    cp_sqlite_tell_plan(conn->handle, sql, to);
    conn->is_internal = 0;
    cp_guard_leave(&outer);
}

const cp_database_driver_t cp_sqlite_driver = {
    .abi = CP_DATABASE_ABI,
    .scheme = "sqlite",
    .syntax = "sqlite:PATH",
    .can = CP_CAN_SPLIT_WRITER | CP_CAN_LOCK_WRITES | CP_CAN_VERSION
           | CP_CAN_ROWID | CP_CAN_NEST,

    .config_size = sizeof(cp_sqlite_config_t),
    .keys = cp_sqlite_keys,
    .read_verbs = reads,
    .write_verbs = writes,
    .address = take_address,
    .check = check,
    .describe = describe,
    .identity = canonical_path,
    .scan = cp_sql_scan,
    .check_sql = check_sql,
    .is_volatile = cp_sql_is_volatile,
    .nameless = cp_sql_nameless,
    .is_volatile_value = is_now,
    .pages = &page_dialect,
    .fork = cp_sqlite_fork,
    .library = library,
    .risk = cp_sqlite_version_risk,

    .create = create,
    .stop = cp_sqlite_stop,
    .look = look,
    .tend = tend,
    .gauges = gauges,
    .weigh = weigh,
    .measure = measure,
    .shrink = cp_sqlite_shrink,
    .memory = cp_sqlite_memory_used,
    .reader = &cp_sqlite_reader,
    .writer = &cp_sqlite_writer,
    .probe = CP_SQLITE_PROBE,
    .outdated = "the database file was replaced",

    .limit = limit,
    .in_transaction = cp_sqlite_in_transaction,
    .begin = cp_sqlite_begin,
    .commit = cp_sqlite_commit,
    .rollback = cp_sqlite_rollback,
    .nest = cp_sqlite_nest,
    .unnest = cp_sqlite_unnest,
    .settle = cp_sqlite_settle,
    .enter_write = cp_sqlite_lock,
    .leave_write = cp_sqlite_unlock,
    .native = native,

    .prepare = cp_statement_prepare,
    .bind = bind_value,
    .step = cp_statement_step,
    .columns = cp_statement_columns,
    .column_name = cp_statement_column_name,
    .column_type = cp_statement_column_type,
    .row = cp_statement_row,
    .writes = is_writing,
    .result = result,
    .finish = cp_statement_finish,

    .version = version,
    .is_current = cp_sqlite_is_current,
    .depends = cp_statement_volatile,

    .inspect = inspect,
    .explain = explain,
};
