/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers/script.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apr_general.h>

#include "drivers/script_parts.h"

static int connections; /* atomic */

/* --- what is configured --- */

#define FIELD(name) APR_OFFSETOF(config_t, name)

static const cp_option_t keys[] = {
    {CP_FLAG("readonly", FIELD(is_readonly), 0)},
    {CP_WORD("down", FIELD(down))},
    {NULL},
};

static const char *take_address(apr_pool_t *p, void *data, const char *name,
                                const char *text, cp_resolve_fn resolve)
{
    config_t *config = data;

    config->name = name;
    config->word = text;
    return strchr(text, '/') ? "script: takes one word" : NULL;
}

static const char *check_config(apr_pool_t *p, const void *data)
{
    const config_t *config = data;

    return config->down && *config->down != '/' ? "down= takes an absolute path"
                                                : NULL;
}

static void describe(const void *data, cp_database_facts_t *facts)
{
    const config_t *config = data;

    *facts = (cp_database_facts_t){.address = config->word,
                                   .is_readonly = config->is_readonly};
}

static const char *library(apr_pool_t *p)
{
    return "a script";
}

/* --- a database in a child --- */

static apr_status_t destroy(void *data)
{
    cp_database_t *db = data;

    pthread_cond_destroy(&db->freed);
    pthread_mutex_destroy(&db->lock);
    free(db);
    return APR_SUCCESS;
}

static apr_status_t create(cp_database_t **pdb, const void *config,
                           apr_global_mutex_t *lock, apr_pool_t *p)
{
    cp_database_t *db = calloc(1, sizeof(*db));

    if (!db) {
        return APR_ENOMEM;
    }
    db->config = config;
    db->write_lock = lock;
    pthread_mutex_init(&db->lock, NULL);
    cp_clock_init_condition(&db->freed);
    apr_pool_cleanup_register(p, db, destroy, apr_pool_cleanup_null);
    *pdb = db;
    return APR_SUCCESS;
}

static void stop(cp_database_t *db)
{
    __atomic_store_n(&db->is_stopping, 1, __ATOMIC_RELAXED);
}

static int is_down(const cp_database_t *db)
{
    return db->config->down && access(db->config->down, F_OK) == 0;
}

static int look(cp_database_t *db)
{
    int is_gone = is_down(db);
    int sight = is_gone ? CP_SIGHT_GONE : 0;

    pthread_mutex_lock(&db->lock);
    if (is_gone && !db->was_down) {
        db->generation++;
        sight |= CP_SIGHT_OTHER;
    }
    db->was_down = is_gone;
    pthread_mutex_unlock(&db->lock);
    return sight;
}

static void tend(cp_database_t *db)
{
}

static const cp_gauge_t gauges[CP_GAUGES] = {
    {.name = "script_bytes",
     .title = "Script",
     .metric = "connpool_script_bytes",
     .unit = "bytes",
     .help = "Memory of idle connections."},
    {.name = NULL},
    {.name = NULL},
    {.name = "script_rows",
     .title = "Rows",
     .metric = "connpool_script_rows",
     .unit = "",
     .help = "Rows of the table."},
};

static void weigh(cp_connection_t *conn, uint64_t sums[CP_GAUGES])
{
    sums[0] += sizeof(*conn);
}

static void measure(cp_database_t *db, uint64_t sums[CP_GAUGES])
{
    pthread_mutex_lock(&db->lock);
    sums[CP_GAUGES_HELD] = (uint64_t)db->rows.count;
    pthread_mutex_unlock(&db->lock);
}

static void shrink(cp_connection_t *conn)
{
}

static uint64_t memory(void)
{
    return (uint64_t)__atomic_load_n(&connections, __ATOMIC_RELAXED)
           * sizeof(cp_connection_t);
}

/* --- connections --- */

static int is_outdated(cp_connection_t *conn)
{
    int is_other;

    pthread_mutex_lock(&conn->db->lock);
    is_other = conn->generation != conn->db->generation;
    pthread_mutex_unlock(&conn->db->lock);
    return is_other;
}

static apr_status_t open_any(cp_database_t *db, int is_writer, void **pconn,
                             cp_error_t *err)
{
    cp_connection_t *conn;
    int fails;

    pthread_mutex_lock(&db->lock);
    fails = db->fails_open;
    pthread_mutex_unlock(&db->lock);
    *pconn = NULL;
    if (fails || is_down(db)) {
        return cp_error_set(err, CP_ERR_STORAGE, APR_ECONNREFUSED,
                            "the database cannot be opened",
                            "database '%s': the script says so",
                            db->config->name);
    }
    conn = calloc(1, sizeof(*conn));
    if (!conn) {
        return cp_error_set(err, CP_ERR_CAPACITY, APR_ENOMEM, "out of memory",
                            "database '%s'", db->config->name);
    }
    conn->db = db;
    conn->is_writer = is_writer;
    conn->limit = *CP_NO_LIMIT;
    pthread_mutex_lock(&db->lock);
    conn->generation = db->generation;
    pthread_mutex_unlock(&db->lock);
    __atomic_add_fetch(&connections, 1, __ATOMIC_RELAXED);
    *pconn = conn;
    return APR_SUCCESS;
}

static apr_status_t open_reader(void *ctx, cp_clock_t deadline, void **pconn,
                                cp_error_t *err)
{
    return open_any(ctx, 0, pconn, err);
}

static apr_status_t open_writer(void *ctx, cp_clock_t deadline, void **pconn,
                                cp_error_t *err)
{
    return open_any(ctx, 1, pconn, err);
}

static apr_status_t check(void *ctx, void *conn, cp_clock_t deadline)
{
    return is_outdated(conn) ? APR_ECONNRESET : APR_SUCCESS;
}

static void limit(cp_connection_t *conn, const cp_limit_t *l)
{
    conn->limit = *l;
}

static int in_transaction(cp_connection_t *conn)
{
    return conn->is_within;
}

static apr_status_t enter_write(cp_connection_t *conn, cp_clock_t deadline,
                                cp_error_t *err)
{
    cp_clock_t patience = cp_clock_after(apr_time_from_sec(5));
    struct timespec until = cp_clock_timespec(deadline < patience ? deadline
                                                                  : patience);
    cp_database_t *db = conn->db;
    int rc = 0, is_ours;

    pthread_mutex_lock(&db->lock);
    while (db->writer && db->writer != conn && rc == 0) {
        rc = pthread_cond_timedwait(&db->freed, &db->lock, &until);
    }
    is_ours = !db->writer || db->writer == conn;
    if (is_ours) {
        db->writer = conn;
        conn->entered++;
    }
    pthread_mutex_unlock(&db->lock);
    return is_ours ? APR_SUCCESS
                   : cp_error_set(err, CP_ERR_CAPACITY, APR_TIMEUP,
                                  "the database is busy with other writes",
                                  "database '%s': somebody else writes",
                                  db->config->name);
}

static void leave_write(cp_connection_t *conn)
{
    cp_database_t *db = conn->db;

    if (conn->entered == 0 || --conn->entered > 0) {
        return;
    }
    pthread_mutex_lock(&db->lock);
    db->writer = NULL;
    pthread_cond_signal(&db->freed);
    pthread_mutex_unlock(&db->lock);
}

static apr_status_t begin(cp_connection_t *conn, cp_clock_t deadline,
                          cp_error_t *err)
{
    apr_status_t rv;

    if (!conn->is_writer || conn->is_within) {
        return cp_error_set(err, CP_ERR_INTERNAL, APR_EINVAL,
                            "the connection cannot begin to write",
                            "database '%s': a reader, or in a transaction",
                            conn->db->config->name);
    }
    rv = enter_write(conn, deadline, err);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    conn->draft = malloc(sizeof(*conn->draft));
    if (!conn->draft) {
        abort();
    }
    pthread_mutex_lock(&conn->db->lock);
    *conn->draft = conn->db->rows;
    pthread_mutex_unlock(&conn->db->lock);
    conn->is_within = 1;
    return APR_SUCCESS;
}

static void rollback(cp_connection_t *conn)
{
    free(conn->draft);
    conn->draft = NULL;
    conn->is_within = 0;
    leave_write(conn);
}

static apr_status_t commit(cp_connection_t *conn, cp_error_t *err)
{
    cp_database_t *db = conn->db;
    int fails;

    if (!conn->is_within) {
        leave_write(conn);
        return cp_error_set(
            err, CP_ERR_STORAGE, APR_EGENERAL, "the write was rolled back",
            "database '%s': nothing to commit", db->config->name);
    }
    pthread_mutex_lock(&db->lock);
    fails = db->fails_commit;
    if (!fails) {
        db->rows = *conn->draft;
        db->commits++;
    }
    pthread_mutex_unlock(&db->lock);
    rollback(conn);
    return fails ? cp_error_set(
               err, CP_ERR_STORAGE, APR_EGENERAL, "the disk is full",
               "database '%s': the script says so", db->config->name)
                 : APR_SUCCESS;
}

static void *native(cp_connection_t *conn)
{
    return conn->db;
}

/* --- giving back --- */

static void clean(cp_connection_t *conn)
{
    while (conn->out) {
        script_finish(conn->out);
    }
    conn->entered = conn->entered > 0;
    rollback(conn);
    conn->limit = *CP_NO_LIMIT;
}

static apr_status_t reset(void *ctx, void *conn)
{
    clean(conn);
    return is_outdated(conn) ? APR_ECONNRESET : APR_SUCCESS;
}

static void close_any(void *ctx, void *conn)
{
    clean(conn);
    free(conn);
    __atomic_sub_fetch(&connections, 1, __ATOMIC_RELAXED);
}

static const cp_driver_t reader = {
    .kind = "script",
    .open = open_reader,
    .check = check,
    .reset = reset,
    .close = close_any,
};

static const cp_driver_t writer = {
    .kind = "script",
    .open = open_writer,
    .check = check,
    .reset = reset,
    .close = close_any,
};

/* --- versions --- */

static apr_status_t version(cp_database_t *db, cp_clock_t deadline,
                            cp_version_t *v, cp_error_t *err)
{
    pthread_mutex_lock(&db->lock);
    v->epoch = (uint64_t)getpid() << 32 | db->generation;
    v->number = db->commits;
    pthread_mutex_unlock(&db->lock);
    return APR_SUCCESS;
}

static int is_current(cp_connection_t *conn)
{
    return !is_outdated(conn) && !conn->is_within;
}

static void explain(cp_connection_t *conn, const char *sql,
                    const cp_findings_t *to)
{
    cp_error_t err;
    cp_statement_t *st;

    if (script_prepare(conn, sql, &st, &err) != APR_SUCCESS) {
        cp_finding_add(to, CP_SEVERITY_ERROR, "prepare", "%s: %s", err.cause,
                       err.detail);
        return;
    }
    cp_finding_add(to,
                   strncmp(sql, "sleep", 5) == 0 ? CP_SEVERITY_WARNING
                                                 : CP_SEVERITY_INFO,
                   "plan", "%.*s", (int)strcspn(sql, " "), sql);
    script_finish(st);
}

const cp_database_driver_t script_driver = {
    .abi = CP_DATABASE_ABI,
    .scheme = "script",
    .syntax = "script:WORD",
    .can = CP_CAN_VERSION,

    .config_size = sizeof(config_t),
    .keys = keys,
    .read_verbs = script_read_verbs,
    .write_verbs = script_write_verbs,
    .address = take_address,
    .check = check_config,
    .describe = describe,
    .scan = script_scan,
    .is_volatile = script_is_volatile,
    .is_volatile_value = script_is_volatile_value,
    .library = library,

    .create = create,
    .stop = stop,
    .look = look,
    .tend = tend,
    .gauges = gauges,
    .weigh = weigh,
    .measure = measure,
    .shrink = shrink,
    .memory = memory,
    .reader = &reader,
    .writer = &writer,
    .probe = "rows 1",
    .outdated = "the script was replaced",

    .limit = limit,
    .in_transaction = in_transaction,
    .begin = begin,
    .commit = commit,
    .rollback = rollback,
    .enter_write = enter_write,
    .leave_write = leave_write,
    .native = native,

    .prepare = script_prepare,
    .bind = script_bind_value,
    .step = script_step,
    .columns = script_columns,
    .column_name = script_column_name,
    .column_type = script_column_type,
    .row = script_row,
    .writes = script_writes,
    .result = script_result,
    .finish = script_finish,

    .version = version,
    .is_current = is_current,
    .depends = script_depends,

    .explain = explain, /* it has no files to inspect */
};
