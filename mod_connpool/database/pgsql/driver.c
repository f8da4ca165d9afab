/* SPDX-License-Identifier: Apache-2.0 */
#include "database/pgsql/driver.h"

#include "base/error.h"
#include "database/database.h"
#include "database/page.h"
#include "database/pgsql/session/address.h"
#include "database/pgsql/statement/bind.h"
#include "database/pgsql/connection.h"
#include "database/pgsql/depends.h"
#include "database/pgsql/inspect.h"
#include "database/pgsql/sentinel.h"
#include "database/pgsql/statement/pipeline.h"
#include "database/pgsql/session/pgsql.h"
#include "database/pgsql/statement/statement.h"
#include "database/pgsql/statement/types.h"
#include "database/pgsql/session/wait.h"
#include "database/pgsql/write.h"

#include <string.h>

#include <apr_strings.h>
#include <libpq-fe.h>
#include <pg_config.h>

#define WRITERS       2 /* of max=, with read=standby */
#define SENTINEL_IDLE apr_time_from_sec(60)

/* The first one with pipelines. */
#define OLDEST      140000
#define OLDEST_NAME "14"

#if PG_VERSION_NUM < OLDEST
#error "mod_connpool_pgsql needs libpq 14 or newer"
#endif

/* What a connection takes, with what libpq has of it. */
#define CONNECTION_BYTES (sizeof(cp_connection_t) + (size_t)48 * 1024)

/* SELECT may call what writes. */
static const char *const reads[] = {"SELECT", "VALUES", "TABLE", NULL};
static const char *const writes[] = {"INSERT", "UPDATE", "DELETE",
                                     "MERGE",  "SELECT", NULL};

/* Of ascending columns NULLs come last. */
static const cp_page_dialect_t page_dialect = {'"', 0};

/* --- what is configured --- */

/* Not the one that this was built with. */
static const char *check(apr_pool_t *p, const void *config)
{
    return PQlibVersion() < OLDEST
               ? apr_psprintf(p,
                              "libpq %d is installed, and " OLDEST_NAME
                              " or newer is needed",
                              PQlibVersion() / 10000)
               : cp_pg_check_address(p, config);
}

static void describe(const void *data, cp_database_facts_t *facts)
{
    const cp_pg_config_t *config = data;

    *facts = (cp_database_facts_t){.address = config->shown,
                                   .is_readonly = config->is_readonly};
    if (config->pooler != CP_PG_POOLER_NONE) {
        /* Some give the server away at the first mark, and who ends one query
         * there may end another one. */
        facts->one_by_one = 1;
        facts->no_version = "pooler=transaction changes servers between two "
                            "statements";
    }
    if (config->read == CP_PG_READ_STANDBY) {
        facts->writers = config->writers ? config->writers : WRITERS;
    }
}

static const char *library(apr_pool_t *p)
{
    int v = PQlibVersion();

    return apr_psprintf(p, "libpq %d.%d", v / 10000, v % 10000);
}

static int is_volatile_value(const cp_value_t *value)
{
    static const char *const words[] = {"now", "today", "tomorrow",
                                        "yesterday"};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (value->storage == CP_TEXT
            && value->as.bytes.size == strlen(words[i])
            && strncasecmp(value->as.bytes.data, words[i], value->as.bytes.size)
                   == 0) {
            return 1;
        }
    }
    return 0;
}

/* --- a database in a child --- */

static apr_status_t destroy(void *data)
{
    cp_pg_forget_types(data);
    pthread_mutex_destroy(&((cp_database_t *)data)->lock);
    return APR_SUCCESS;
}

static apr_status_t create(cp_database_t **pdb, const void *config,
                           apr_global_mutex_t *lock, apr_pool_t *p)
{
    cp_database_t *db = apr_pcalloc(p, sizeof(*db));
    int rc = pthread_mutex_init(&db->lock, NULL);

    if (rc != 0) {
        return rc;
    }
    db->config = *(const cp_pg_config_t *)config;
    cp_pg_complete_address(p, &db->config);
    /* httpd's, or other modules', is to begin and to end. */
    PQinitOpenSSL(0, 0);
    apr_pool_cleanup_register(p, db, destroy, apr_pool_cleanup_null);
    *pdb = db;
    return cp_pg_sentinel_create(&db->sentinel, db, p);
}

static void stop(cp_database_t *db)
{
    __atomic_store_n(&db->is_stopping, 1, __ATOMIC_RELAXED);
}

/* Whether its servers are there is seen by those who want something of them. */
static int look(cp_database_t *db)
{
    return 0;
}

static void tend(cp_database_t *db)
{
    cp_pg_sentinel_rest(db->sentinel, SENTINEL_IDLE);
}

static const cp_gauge_t gauges[CP_GAUGES] = {
    {.name = NULL},
    {.name = NULL},
    {.name = "statement_bytes",
     .title = "Statements",
     .metric = "connpool_memory_bytes",
     .unit = "bytes",
     .help = "Memory of idle connections by what it is for.",
     .label = "statements"},
    {.name = NULL},
};

static void weigh(cp_connection_t *conn, uint64_t sums[CP_GAUGES])
{
    sums[2] += sizeof(*conn) + cp_pg_weigh_statements(conn);
}

static void measure(cp_database_t *db, uint64_t sums[CP_GAUGES])
{
}

static void shrink(cp_connection_t *conn)
{
}

static uint64_t memory(void)
{
    return (uint64_t)cp_pg_connections() * CONNECTION_BYTES;
}

/* --- connections --- */

static void limit(cp_connection_t *conn, const cp_limit_t *l)
{
    conn->limit = *l;
}

static int in_transaction(cp_connection_t *conn)
{
    return conn->transaction != CP_PG_NONE;
}

/* The server sees to it that writes do not disturb each other. */
static apr_status_t enter_write(cp_connection_t *conn, cp_clock_t deadline,
                                cp_error_t *err)
{
    conn->entered++;
    return APR_SUCCESS;
}

static void leave_write(cp_connection_t *conn)
{
    conn->entered -= conn->entered > 0;
}

/* Who has the handle of a writer need not know what our sessions are set to. */
static void *native(cp_connection_t *conn)
{
    cp_error_t ignored;

    if (!conn->is_exposed && conn->is_writer && !conn->running) {
        cp_pg_command(conn, "SET default_transaction_read_only = off",
                      &ignored);
    }
    conn->is_exposed = 1;
    return conn->pg;
}

const cp_database_driver_t cp_pg_driver = {
    .abi = CP_DATABASE_ABI,
    .scheme = "postgresql",
    .syntax = "postgresql:DSN",
    .can = CP_CAN_NEST | CP_CAN_VERSION,

    .config_size = sizeof(cp_pg_config_t),
    .keys = cp_pg_keys,
    .read_verbs = reads,
    .write_verbs = writes,
    .address = cp_pg_take_address,
    .check = check,
    .describe = describe,
    .scan = cp_pg_scan,
    .is_volatile = cp_pg_is_volatile,
    .is_volatile_value = is_volatile_value,
    .pages = &page_dialect,
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
    .reader = &cp_pg_reader,
    .writer = &cp_pg_writer,
    .probe = "SELECT 1",
    .outdated = "the server is another one now",

    .limit = limit,
    .in_transaction = in_transaction,
    .begin = cp_pg_begin,
    .commit = cp_pg_commit,
    .rollback = cp_pg_rollback,
    .nest = cp_pg_nest,
    .unnest = cp_pg_unnest,
    .enter_write = enter_write,
    .leave_write = leave_write,
    .native = native,

    .prepare = cp_pg_prepare,
    .bind = cp_pg_bind,
    .step = cp_pg_step,
    .columns = cp_pg_columns,
    .column_name = cp_pg_column_name,
    .row = cp_pg_row,
    .writes = cp_pg_is_writing,
    .result = cp_pg_result,
    .finish = cp_pg_finish,
    .ahead = &cp_pg_ahead,

    .version = cp_pg_version,
    .is_current = cp_pg_is_current,
    .depends = cp_pg_depends,

    .inspect = cp_pg_inspect,
    .explain = cp_pg_explain,
};
