/* SPDX-License-Identifier: Apache-2.0
 * What database/database.h promises, asked of each driver alike. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <apr_strings.h>
#include <sqlite3.h>

#include "database/database.h"
#include "database/sqlite/sqlite.h"
#include "drivers/script.h"
#include "pool/pool.h"
#include "suites.h"

#define MS(n) apr_time_from_msec(n)

/* One kind of database, in its own words. */
typedef struct kind_t {
    const cp_database_driver_t *driver;
    void (*make)(void);
    void (*take_away)(void);
    const char *rows;  /* three of them, columns n and name */
    const char *echo;  /* one row: a and b, as they are bound */
    const char *list;  /* the table: one column, name */
    const char *add;   /* :name to the table */
    const char *clear; /* the table */
    const char *endless;
    const char *unstable; /* depends on more than the data */
    const char *unknown;  /* fits no database */
    const char *two;      /* statements */
    const char *typed;    /* four columns, declared as boolean, as json, as
                             something else, and not at all; any case */
} kind_t;

static apr_pool_t *pool;
static const cp_database_driver_t *driver;
static const kind_t *kind;
static void *config;
static cp_database_t *db;
static char dir[256];
static char path[300]; /* of the database, or of what takes it away */

/* --- the kinds --- */

static void make_sqlite(void)
{
    sqlite3 *raw;

    ck_assert_int_eq(sqlite3_open(path, &raw), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(raw,
                                  "CREATE TABLE t(id INTEGER PRIMARY KEY,"
                                  " name TEXT NOT NULL);"
                                  "CREATE TABLE typed(a BOOLEAN, b json,"
                                  " c VARCHAR(9), d)",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(raw);
}

static void take_away_sqlite(void)
{
    ck_assert_int_eq(unlink(path), 0);
}

static void make_script(void)
{
    const cp_option_t *down = cp_options_find(driver->keys, "down");

    ck_assert_ptr_null(cp_option_set(pool, down, config, path));
}

static void take_away_script(void)
{
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    fclose(file);
}

static const kind_t kinds[] = {
    {
        .driver = &cp_sqlite_driver,
        .make = make_sqlite,
        .take_away = take_away_sqlite,
        .rows = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r"
                " LIMIT 3) SELECT n, 'row ' || n AS name FROM r",
        .echo = "SELECT :a AS a, :b AS b",
        .list = "SELECT name FROM t ORDER BY id",
        .add = "INSERT INTO t(name) VALUES (:name)",
        .clear = "DELETE FROM t",
        .endless = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1"
                   " FROM r) SELECT count(*) FROM r",
        .unstable = "SELECT random()",
        .unknown = "SELECT nothing FROM nowhere",
        .two = "SELECT 1; SELECT 2",
        .typed = "SELECT a AS x, b, c, d FROM typed",
    },
    {
        .driver = &script_driver,
        .make = make_script,
        .take_away = take_away_script,
        .rows = "rows 3",
        .echo = "echo :a :b",
        .list = "list",
        .add = "add :name",
        .clear = "clear",
        .endless = "sleep 600000",
        .unstable = "now",
        .unknown = "nonsense",
        .two = "list; list",
        .typed = "echo :flag_a :doc_b :c :d",
    },
};

#define KINDS ((int)(sizeof(kinds) / sizeof(kinds[0])))

/* --- fixture --- */

static char *resolve(apr_pool_t *p, const char *name)
{
    return apr_pstrdup(p, name);
}

static void begin_kind(int i)
{
    const char *address = kinds[i].driver == &script_driver ? "word" : path;

    kind = &kinds[i];
    driver = kind->driver;
    config = apr_pcalloc(pool, driver->config_size);
    cp_options_clear(driver->keys, config);
    cp_options_complete(driver->keys, config);
    ck_assert_ptr_null(driver->address(pool, config, "test", address, resolve));
    kind->make();
    ck_assert_ptr_null(driver->check(pool, config));
    ck_assert_int_eq(driver->create(&db, config, NULL, pool), APR_SUCCESS);
}

static void set_up(void)
{
    const char *base = getenv("TMPDIR");

    apr_pool_create(&pool, NULL);
    snprintf(dir, sizeof(dir), "%s/connpool-seam-XXXXXX", base ? base : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/it", dir);
}

static void tear_down(void)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};

    apr_pool_destroy(pool);
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        char name[320];

        snprintf(name, sizeof(name), "%s%s", path, suffixes[i]);
        unlink(name);
    }
    rmdir(dir);
}

/* Slow tools (valgrind, sanitizers) say so in check's own variable. */
static cp_clock_t soon(void)
{
    const char *factor = getenv("CK_TIMEOUT_MULTIPLIER");

    return cp_clock_after(
        (apr_interval_time_t)((factor ? atof(factor) : 1) * (double)MS(10000)));
}

static cp_connection_t *connect_to(const cp_driver_t *end)
{
    cp_error_t err = {0};
    void *conn = NULL;

    ck_assert_msg(end->open(db, soon(), &conn, &err) == APR_SUCCESS, "%s",
                  err.detail);
    ck_assert_ptr_nonnull(conn);
    return conn;
}

static cp_connection_t *reader(void)
{
    return connect_to(driver->reader);
}

static cp_connection_t *writer(void)
{
    return connect_to(driver->writer);
}

static void leave(cp_connection_t *conn)
{
    driver->reader->close(db, conn);
}

static cp_statement_t *prepare(cp_connection_t *conn, const char *sql)
{
    cp_error_t err = {0};
    cp_statement_t *st = NULL;

    ck_assert_msg(driver->prepare(conn, sql, &st, &err) == APR_SUCCESS,
                  "%s: %s", sql, err.detail);
    return st;
}

static apr_status_t step(cp_statement_t *st)
{
    cp_error_t err = {0};

    return driver->step(st, &err);
}

static cp_value_t text(const char *data)
{
    return (cp_value_t){.storage = CP_TEXT, .as.bytes = {data, strlen(data)}};
}

static void bind_to(cp_statement_t *st, const char *name, cp_type_t type,
                    cp_value_t value)
{
    cp_error_t err = {0};

    ck_assert_msg(driver->bind(st, name, type, &value, &err) == APR_SUCCESS,
                  "%s", err.detail);
}

/* Without a transaction of its own. */
static cp_result_t add(cp_connection_t *conn, const char *name)
{
    cp_statement_t *st = prepare(conn, kind->add);
    cp_result_t result = {0};

    bind_to(st, "name", CP_TYPE_TEXT, text(name));
    ck_assert_int_eq(step(st), APR_EOF);
    driver->result(st, &result);
    driver->finish(st);
    return result;
}

static void begin(cp_connection_t *conn)
{
    cp_error_t err = {0};

    ck_assert_msg(driver->begin(conn, soon(), &err) == APR_SUCCESS, "%s",
                  err.detail);
}

static void commit(cp_connection_t *conn)
{
    cp_error_t err = {0};

    ck_assert_msg(driver->commit(conn, &err) == APR_SUCCESS, "%s", err.detail);
}

/* The names in the table, each with a blank behind it. */
static const char *list(cp_connection_t *conn)
{
    cp_statement_t *st = prepare(conn, kind->list);
    const char *names = "";
    cp_value_t value;

    while (step(st) == APR_SUCCESS) {
        driver->row(st, &value);
        ck_assert_int_eq(value.storage, CP_TEXT);
        names = apr_pstrcat(
            pool, names,
            apr_pstrmemdup(pool, value.as.bytes.data, value.as.bytes.size), " ",
            NULL);
    }
    driver->finish(st);
    return names;
}

static void is_proper(const cp_error_t *err, cp_error_class_t cls)
{
    ck_assert_msg(err->cls == cls, "%s, expected %s: %s",
                  cp_error_class_name(err->cls), cp_error_class_name(cls),
                  err->detail);
    ck_assert_ptr_nonnull(err->cause);
    ck_assert_ptr_null(strchr(err->cause, '/'));
    ck_assert_int_ne(*err->detail, 0);
}

/* --- what is configured --- */

START_TEST(table_is_complete)
{
    begin_kind(_i);
    ck_assert_int_eq(driver->abi, CP_DATABASE_ABI);
    ck_assert_str_eq(driver->reader->kind, driver->scheme);
    ck_assert_str_eq(driver->writer->kind, driver->scheme);
    ck_assert_int_eq(
        strncmp(driver->syntax, driver->scheme, strlen(driver->scheme)), 0);
    ck_assert_str_ne(driver->library(pool), "");
    ck_assert_str_ne(driver->probe, "");
    ck_assert_str_ne(driver->outdated, "");
    ck_assert(!(driver->can & CP_CAN_LOCK_WRITES) || driver->identity);
    ck_assert(!(driver->can & CP_CAN_NEST) || (driver->nest && driver->unnest));
    ck_assert(!(driver->can & CP_CAN_VERSION)
              || (driver->version && driver->is_current && driver->depends
                  && driver->is_volatile && driver->is_volatile_value));
}
END_TEST

START_TEST(configuration_tells_what_it_is)
{
    cp_database_facts_t facts = {0};

    begin_kind(_i);
    driver->describe(config, &facts);
    ck_assert_ptr_nonnull(facts.address);
    ck_assert_int_eq(facts.is_readonly, 0);
    ck_assert(facts.cache == 0 || facts.cache_name);
    ck_assert(!facts.file || facts.file_risk);
    ck_assert_ptr_null(cp_option_set(
        pool, cp_options_find(driver->keys, "readonly"), config, "on"));
    driver->describe(config, &facts);
    ck_assert_int_eq(facts.is_readonly, 1);
}
END_TEST

static int is_one_of(const char *word, const char *const *words)
{
    while (*words && strcmp(*words, word) != 0) {
        words++;
    }
    return *words != NULL;
}

START_TEST(scan_finds_verb_and_parameters)
{
    cp_sql_shape_t shape;

    begin_kind(_i);
    ck_assert_ptr_null(driver->scan(pool, kind->echo, &shape));
    ck_assert(is_one_of(shape.verb, driver->read_verbs));
    ck_assert_int_eq(shape.names->nelts, 2);
    ck_assert_str_eq(APR_ARRAY_IDX(shape.names, 0, const char *), "a");
    ck_assert_str_eq(APR_ARRAY_IDX(shape.names, 1, const char *), "b");
    ck_assert_ptr_null(driver->scan(pool, kind->add, &shape));
    ck_assert(is_one_of(shape.verb, driver->write_verbs));
    ck_assert_int_eq(shape.has_returning, 0);
    ck_assert_ptr_nonnull(driver->scan(pool, kind->two, &shape));
    ck_assert_ptr_nonnull(driver->scan(pool, "", &shape));
}
END_TEST

START_TEST(scan_sees_what_changes_by_itself)
{
    const char *word = "";
    cp_value_t now = text("now"), then = text("then");

    begin_kind(_i);
    ck_assert_int_eq(driver->is_volatile(kind->unstable, &word), 1);
    ck_assert_str_ne(word, "");
    ck_assert_int_eq(driver->is_volatile(kind->list, NULL), 0);
    ck_assert_int_eq(driver->is_volatile_value(&now), 1);
    ck_assert_int_eq(driver->is_volatile_value(&then), 0);
}
END_TEST

/* --- connections --- */

START_TEST(connection_is_opened_checked_and_closed)
{
    cp_connection_t *conn;

    begin_kind(_i);
    conn = reader();
    ck_assert_int_eq(driver->reader->check(db, conn, soon()), APR_SUCCESS);
    ck_assert_int_eq(driver->reader->reset(db, conn), APR_SUCCESS);
    ck_assert_ptr_nonnull(driver->native(conn));
    leave(conn);
    leave(writer());
}
END_TEST

START_TEST(what_is_gone_cannot_be_opened)
{
    cp_error_t err = {0};
    void *conn = &err;

    begin_kind(_i);
    ck_assert_int_eq(driver->look(db), 0);
    kind->take_away();
    ck_assert_int_ne(driver->reader->open(db, soon(), &conn, &err),
                     APR_SUCCESS);
    ck_assert_ptr_null(conn);
    is_proper(&err, CP_ERR_STORAGE);
    ck_assert_int_eq(driver->look(db), CP_SIGHT_OTHER | CP_SIGHT_GONE);
    ck_assert_int_eq(driver->look(db), CP_SIGHT_GONE);
    driver->tend(db);
}
END_TEST

START_TEST(pool_keeps_its_connections)
{
    cp_pool_config_t settings = {.name = "test",
                                 .max = 2,
                                 .queue = 2,
                                 .is_pooled = 1,
                                 .acquire = MS(1000)};
    cp_pool_stats_t *stats = apr_pcalloc(pool, sizeof(*stats));
    cp_lease_t lease = {0};
    cp_error_t err = {0};
    cp_pool_t *keeper;

    begin_kind(_i);
    ck_assert_int_eq(
        cp_pool_create(&keeper, &settings, driver->reader, db, stats),
        APR_SUCCESS);
    for (int i = 0; i < 3; i++) {
        ck_assert_msg(cp_pool_acquire(keeper, &lease, "a test", &err)
                          == APR_SUCCESS,
                      "%s", err.detail);
        ck_assert_str_eq(list(cp_lease_connection(&lease)), "");
        cp_pool_release(&lease);
    }
    ck_assert_uint_eq(stats->created, 1);
    cp_pool_stop(keeper);
    ck_assert_int_eq(cp_pool_destroy(keeper), APR_SUCCESS);
}
END_TEST

START_TEST(memory_can_be_told_and_shrunk)
{
    uint64_t sums[CP_GAUGES] = {0};
    cp_connection_t *conn;

    begin_kind(_i);
    conn = writer();
    begin(conn);
    add(conn, "one");
    commit(conn);
    driver->weigh(conn, sums);
    ck_assert_uint_gt(sums[0], 0);
    driver->measure(db, sums);
    ck_assert_uint_gt(sums[CP_GAUGES_HELD], 0);
    for (int i = 0; i < CP_GAUGES; i++) {
        ck_assert(sums[i] == 0 || driver->gauges[i].name);
    }
    ck_assert_uint_gt(driver->memory(), 0);
    driver->shrink(conn);
    ck_assert_str_eq(list(conn), "one ");
    leave(conn);
}
END_TEST

/* --- statements --- */

START_TEST(rows_come_one_by_one)
{
    cp_value_t values[2];
    cp_connection_t *conn;
    cp_statement_t *st;

    begin_kind(_i);
    conn = reader();
    st = prepare(conn, kind->rows);
    ck_assert_int_eq(driver->writes(st), 0);
    for (int i = 1; i <= 3; i++) {
        ck_assert_int_eq(step(st), APR_SUCCESS);
        ck_assert_int_eq(driver->columns(st), 2);
        driver->row(st, values);
        ck_assert_int_eq(values[0].storage, CP_INTEGER);
        ck_assert_int_eq(values[0].as.integer, i);
        ck_assert_int_eq(values[1].storage, CP_TEXT);
        ck_assert_uint_eq(values[1].as.bytes.size, 5);
        ck_assert_int_eq(values[1].as.bytes.data[4], '0' + i);
    }
    ck_assert_str_eq(driver->column_name(st, 0), "n");
    ck_assert_str_eq(driver->column_name(st, 1), "name");
    ck_assert_int_eq(step(st), APR_EOF);
    driver->finish(st);
    leave(conn);
}
END_TEST

static int is_equal(const cp_value_t *a, const cp_value_t *b)
{
    if (a->storage != b->storage) {
        return 0;
    }
    switch (a->storage) {
    case CP_NULL:
        return 1;
    case CP_INTEGER:
        return a->as.integer == b->as.integer;
    case CP_REAL:
        return memcmp(&a->as.real, &b->as.real, sizeof(a->as.real)) == 0;
    default:
        return a->as.bytes.size == b->as.bytes.size
               && memcmp(a->as.bytes.data, b->as.bytes.data, a->as.bytes.size)
                      == 0;
    }
}

START_TEST(values_come_back_as_they_were_bound)
{
    static const cp_type_t types[] = {CP_TYPE_TEXT, CP_TYPE_INTEGER,
                                      CP_TYPE_REAL, CP_TYPE_TEXT,
                                      CP_TYPE_TEXT, CP_TYPE_BLOB};
    const cp_value_t values[] = {
        {.storage = CP_NULL},
        {.storage = CP_INTEGER, .as.integer = APR_INT64_MIN},
        {.storage = CP_REAL, .as.real = 0.1},
        text("caf\xc3\xa9"),
        text(""),
        {.storage = CP_BLOB, .as.bytes = {"\0\xff", 2}},
    };
    cp_connection_t *conn;

    begin_kind(_i);
    conn = reader();
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        cp_statement_t *st = prepare(conn, kind->echo);
        cp_value_t row[2];

        bind_to(st, "a", types[i], values[i]);
        bind_to(st, "b", CP_TYPE_TEXT, text("beside"));
        ck_assert_int_eq(step(st), APR_SUCCESS);
        driver->row(st, row);
        ck_assert_msg(is_equal(&row[0], &values[i]), "value %d", (int)i);
        ck_assert_int_eq(step(st), APR_EOF);
        driver->finish(st);
    }
    leave(conn);
}
END_TEST

START_TEST(unknown_parameter_is_told)
{
    cp_value_t value = text("x");
    cp_error_t err = {0};
    cp_connection_t *conn;
    cp_statement_t *st;

    begin_kind(_i);
    conn = reader();
    st = prepare(conn, kind->echo);
    ck_assert_int_eq(driver->bind(st, "c", CP_TYPE_TEXT, &value, &err),
                     APR_NOTFOUND);
    is_proper(&err, CP_ERR_INPUT);
    driver->finish(st);
    leave(conn);
}
END_TEST

START_TEST(text_that_fits_nothing_is_no_fault_of_the_client)
{
    cp_statement_t *st = NULL;
    cp_error_t err = {0};
    cp_connection_t *conn;

    begin_kind(_i);
    conn = reader();
    ck_assert_int_ne(driver->prepare(conn, kind->unknown, &st, &err),
                     APR_SUCCESS);
    is_proper(&err, CP_ERR_STORAGE);
    ck_assert_int_ne(driver->prepare(conn, kind->two, &st, &err), APR_SUCCESS);
    leave(conn);
}
END_TEST

START_TEST(reader_cannot_write)
{
    cp_statement_t *st = NULL;
    cp_error_t err = {0};
    cp_connection_t *conn;

    begin_kind(_i);
    conn = reader();
    ck_assert_int_ne(driver->prepare(conn, kind->clear, &st, &err),
                     APR_SUCCESS);
    is_proper(&err, CP_ERR_REFUSED);
    ck_assert_int_ne(driver->begin(conn, soon(), &err), APR_SUCCESS);
    is_proper(&err, CP_ERR_INTERNAL);
    leave(conn);
}
END_TEST

/* --- limits --- */

static void note(void *baton)
{
    ++*(int *)baton;
}

START_TEST(deadline_ends_what_runs)
{
    int looks = 0;
    cp_limit_t limit = {.meanwhile = note, .baton = &looks};
    cp_error_t err = {0};
    cp_connection_t *conn;
    cp_statement_t *st;

    begin_kind(_i);
    conn = reader();
    st = prepare(conn, kind->endless);
    limit.deadline = cp_clock_after(MS(60));
    driver->limit(conn, &limit);
    ck_assert_int_ne(driver->step(st, &err), APR_SUCCESS);
    is_proper(&err, CP_ERR_DEADLINE);
    ck_assert_int_eq(cp_clock_left(limit.deadline), 0);
    ck_assert_int_gt(looks, 0);
    driver->finish(st);
    driver->limit(conn, CP_NO_LIMIT);
    ck_assert_str_eq(list(conn), "");
    ck_assert_int_eq(driver->reader->reset(db, conn), APR_SUCCESS);
    leave(conn);
}
END_TEST

static int is_gone(void *baton)
{
    ++*(int *)baton;
    return 1;
}

START_TEST(what_nobody_waits_for_ends)
{
    int asked = 0;
    cp_limit_t limit = {.is_gone = is_gone, .gone_baton = &asked};
    cp_error_t err = {0};
    cp_connection_t *conn;
    cp_statement_t *st;

    begin_kind(_i);
    conn = reader();
    st = prepare(conn, kind->endless);
    limit.deadline = cp_clock_after(MS(10000));
    driver->limit(conn, &limit);
    ck_assert_int_ne(driver->step(st, &err), APR_SUCCESS);
    is_proper(&err, CP_ERR_CANCELLED);
    ck_assert_int_eq(asked, 1);
    ck_assert_int_gt(cp_clock_left(limit.deadline), 0);
    driver->finish(st);
    driver->limit(conn, CP_NO_LIMIT);
    ck_assert_str_eq(list(conn), "");
    leave(conn);
}
END_TEST

START_TEST(limit_ends_with_the_release)
{
    cp_limit_t limit = {.deadline = cp_clock_now()};
    cp_connection_t *conn;
    cp_statement_t *st;

    begin_kind(_i);
    conn = reader();
    driver->limit(conn, &limit);
    ck_assert_int_eq(driver->reader->reset(db, conn), APR_SUCCESS);
    st = prepare(conn, kind->rows);
    ck_assert_int_eq(step(st), APR_SUCCESS);
    driver->finish(st);
    leave(conn);
}
END_TEST

START_TEST(stop_cancels_what_runs)
{
    cp_error_t err = {0};
    cp_connection_t *conn;
    cp_statement_t *st;

    begin_kind(_i);
    conn = reader();
    st = prepare(conn, kind->endless);
    driver->stop(db);
    ck_assert_int_ne(driver->step(st, &err), APR_SUCCESS);
    is_proper(&err, CP_ERR_CANCELLED);
    driver->finish(st);
    leave(conn);
}
END_TEST

static int is_declared(cp_statement_t *st, int i, const char *type)
{
    const char *declared = driver->column_type(st, i);

    return declared && strcasecmp(declared, type) == 0;
}

START_TEST(columns_have_their_declared_types_once_prepared)
{
    cp_connection_t *conn;
    cp_statement_t *st;

    begin_kind(_i);
    conn = reader();
    st = prepare(conn, kind->typed);
    ck_assert_int_eq(driver->columns(st), 4);
    ck_assert(is_declared(st, 0, "boolean"));
    ck_assert(is_declared(st, 1, "json"));
    ck_assert(!is_declared(st, 2, "boolean") && !is_declared(st, 2, "json"));
    ck_assert_ptr_null(driver->column_type(st, 3));
    driver->finish(st);
    leave(conn);
}
END_TEST

/* --- writes --- */

START_TEST(write_is_kept_or_undone)
{
    cp_connection_t *conn, *other;
    cp_result_t result;

    begin_kind(_i);
    conn = writer();
    other = reader();
    begin(conn);
    ck_assert_int_eq(driver->in_transaction(conn), 1);
    result = add(conn, "one");
    ck_assert_int_eq(result.changes, 1);
    ck_assert_int_eq(result.last_rowid, driver->can & CP_CAN_ROWID ? 1 : 0);
    ck_assert_str_eq(list(conn), "one ");
    ck_assert_str_eq(list(other), "");
    commit(conn);
    ck_assert_int_eq(driver->in_transaction(conn), 0);
    ck_assert_str_eq(list(other), "one ");
    begin(conn);
    add(conn, "two");
    driver->rollback(conn);
    driver->rollback(conn);
    ck_assert_str_eq(list(other), "one ");
    leave(conn);
    leave(other);
}
END_TEST

START_TEST(statement_knows_that_it_writes)
{
    cp_connection_t *conn;
    cp_statement_t *st;

    begin_kind(_i);
    conn = writer();
    begin(conn);
    st = prepare(conn, kind->clear);
    ck_assert_int_eq(driver->writes(st), 1);
    ck_assert_int_eq(step(st), APR_EOF);
    ck_assert_int_eq(driver->columns(st), 0);
    driver->finish(st);
    commit(conn);
    leave(conn);
}
END_TEST

START_TEST(release_undoes_what_was_left)
{
    cp_connection_t *conn, *other;
    cp_error_t err = {0};
    cp_statement_t *st;

    begin_kind(_i);
    conn = writer();
    ck_assert_int_eq(driver->enter_write(conn, soon(), &err), APR_SUCCESS);
    begin(conn);
    add(conn, "left");
    st = prepare(conn, kind->list);
    ck_assert_int_eq(step(st), APR_SUCCESS);
    ck_assert_int_eq(driver->writer->reset(db, conn), APR_SUCCESS);
    ck_assert_int_eq(driver->in_transaction(conn), 0);
    ck_assert_str_eq(list(conn), "");
    other = writer();
    begin(other);
    commit(other);
    leave(other);
    leave(conn);
}
END_TEST

START_TEST(commit_of_nothing_is_an_error)
{
    cp_connection_t *conn;
    cp_error_t err = {0};

    begin_kind(_i);
    conn = writer();
    ck_assert_int_ne(driver->commit(conn, &err), APR_SUCCESS);
    is_proper(&err, CP_ERR_STORAGE);
    leave(conn);
}
END_TEST

START_TEST(second_writer_waits_until_its_deadline)
{
    cp_clock_t deadline;
    cp_connection_t *conn, *other;
    cp_error_t err = {0};

    begin_kind(_i);
    conn = writer();
    other = writer();
    begin(conn);
    deadline = cp_clock_after(MS(50));
    driver->limit(other, &(cp_limit_t){.deadline = deadline});
    ck_assert_int_ne(driver->begin(other, deadline, &err), APR_SUCCESS);
    ck_assert(err.cls == CP_ERR_CAPACITY || err.cls == CP_ERR_STORAGE);
    ck_assert_int_eq(driver->in_transaction(other), 0);
    commit(conn);
    driver->limit(other, CP_NO_LIMIT);
    begin(other);
    commit(other);
    leave(conn);
    leave(other);
}
END_TEST

START_TEST(nested_write_ends_alone)
{
    cp_connection_t *conn;
    cp_error_t err = {0};

    begin_kind(_i);
    if (!(driver->can & CP_CAN_NEST)) {
        return;
    }
    conn = writer();
    begin(conn);
    add(conn, "outer");
    ck_assert_int_eq(driver->nest(conn, soon(), &err), APR_SUCCESS);
    add(conn, "undone");
    ck_assert_int_eq(driver->unnest(conn, 0, &err), APR_SUCCESS);
    ck_assert_int_eq(driver->nest(conn, soon(), &err), APR_SUCCESS);
    add(conn, "kept");
    ck_assert_int_eq(driver->unnest(conn, 1, &err), APR_SUCCESS);
    commit(conn);
    ck_assert_str_eq(list(conn), "outer kept ");
    leave(conn);
}
END_TEST

static cp_result_t run(cp_connection_t *conn, const char *sql)
{
    cp_result_t result = {-1, -1};
    cp_statement_t *st = prepare(conn, sql);

    ck_assert_int_eq(step(st), APR_EOF);
    driver->result(st, &result);
    driver->finish(st);
    return result;
}

START_TEST(rowid_is_that_of_its_own_write)
{
    cp_connection_t *conn;

    begin_kind(_i);
    conn = writer();
    begin(conn);
    add(conn, "one");
    ck_assert_int_eq(run(conn, kind->clear).last_rowid, 0);
    if (driver == &cp_sqlite_driver) {
        run(conn, "INSERT INTO t(name) VALUES ('of ' || last_insert_rowid())");
        ck_assert_str_eq(list(conn), "of 1 ");
    }
    commit(conn);
    leave(conn);
}
END_TEST

/* --- versions --- */

static cp_version_t version(void)
{
    cp_version_t v = {0, 0};
    cp_error_t err = {0};

    ck_assert_msg(driver->version(db, soon(), &v, &err) == APR_SUCCESS, "%s",
                  err.detail);
    return v;
}

START_TEST(version_changes_with_each_commit_alone)
{
    cp_version_t before, after;
    cp_connection_t *conn;

    begin_kind(_i);
    conn = writer();
    before = version();
    ck_assert(cp_version_equals(before, version()));
    ck_assert_int_eq(driver->is_current(conn), 1);
    begin(conn);
    add(conn, "one");
    ck_assert_int_eq(driver->is_current(conn), 0);
    ck_assert(cp_version_equals(before, version()));
    commit(conn);
    after = version();
    ck_assert(!cp_version_equals(before, after));
    ck_assert_int_eq(driver->is_current(conn), 1);
    leave(conn);
}
END_TEST

START_TEST(connection_to_what_was_taken_away_is_not_current)
{
    cp_connection_t *conn;

    begin_kind(_i);
    conn = reader();
    ck_assert_int_eq(driver->is_current(conn), 1);
    kind->take_away();
    driver->look(db);
    ck_assert_int_eq(driver->is_current(conn), 0);
    leave(conn);
}
END_TEST

START_TEST(statement_knows_what_else_decides_its_rows)
{
    cp_connection_t *conn;
    cp_statement_t *st;

    begin_kind(_i);
    conn = reader();
    st = prepare(conn, kind->list);
    ck_assert_int_eq(step(st), APR_EOF);
    ck_assert_ptr_null(driver->depends(st));
    driver->finish(st);
    st = prepare(conn, kind->unstable);
    ck_assert_int_eq(step(st), APR_SUCCESS);
    ck_assert_ptr_nonnull(driver->depends(st));
    driver->finish(st);
    leave(conn);
}
END_TEST

/* --- before anybody is served --- */

/* "info plan: SCAN t\n..." */
typedef struct heard_t {
    char text[4096];
    int count[CP_SEVERITIES];
} heard_t;

static void hear(void *baton, cp_severity_t severity, const char *name,
                 const char *value)
{
    heard_t *heard = baton;
    size_t size = strlen(heard->text);

    heard->count[severity]++;
    snprintf(heard->text + size, sizeof(heard->text) - size, "%s: %s\n", name,
             value);
}

static heard_t explain(cp_connection_t *conn, const char *sql)
{
    heard_t heard = {"", {0}};
    cp_findings_t to = {hear, &heard};

    driver->explain(conn, sql, &to);
    return heard;
}

START_TEST(plan_is_told_without_running)
{
    cp_connection_t *conn;
    heard_t heard;

    begin_kind(_i);
    if (!driver->explain) {
        return;
    }
    conn = writer();
    heard = explain(conn, kind->list);
    ck_assert_int_gt(heard.count[CP_SEVERITY_INFO], 0);
    ck_assert_int_eq(heard.count[CP_SEVERITY_ERROR], 0);
    ck_assert_ptr_nonnull(strstr(heard.text, "plan: "));
    heard = explain(conn, kind->add);
    ck_assert_int_eq(heard.count[CP_SEVERITY_ERROR], 0);
    ck_assert_str_eq(list(conn), "");
    heard = explain(conn, kind->unknown);
    ck_assert_int_eq(heard.count[CP_SEVERITY_ERROR], 1);
    ck_assert_ptr_nonnull(strstr(heard.text, "prepare: "));
    ck_assert_int_eq(explain(conn, kind->list).count[CP_SEVERITY_ERROR], 0);
    leave(conn);
}
END_TEST

START_TEST(inspection_opens_a_connection)
{
    heard_t heard = {"", {0}};
    cp_findings_t to = {hear, &heard};
    cp_connection_t *conn = NULL;

    begin_kind(_i);
    if (!driver->inspect) {
        return;
    }
    driver->inspect(db, soon(), &to, &conn);
    ck_assert_ptr_nonnull(conn);
    ck_assert_int_gt(heard.count[CP_SEVERITY_INFO], 0);
    ck_assert_int_eq(heard.count[CP_SEVERITY_ERROR], 0);
    ck_assert_int_eq(explain(conn, kind->add).count[CP_SEVERITY_ERROR], 0);
    leave(conn);
}
END_TEST

START_TEST(inspection_tells_what_is_gone)
{
    heard_t heard = {"", {0}};
    cp_findings_t to = {hear, &heard};
    cp_connection_t *conn = NULL;

    begin_kind(_i);
    if (!driver->inspect) {
        return;
    }
    kind->take_away();
    driver->inspect(db, soon(), &to, &conn);
    ck_assert_ptr_null(conn);
    ck_assert_int_eq(heard.count[CP_SEVERITY_ERROR], 1);
    ck_assert_ptr_nonnull(strstr(heard.text, "open: "));
}
END_TEST

Suite *seam_suite(void)
{
    Suite *s = suite_create("seam");
    TCase *tc = tcase_create("seam");

    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 20);
    tcase_add_loop_test(tc, table_is_complete, 0, KINDS);
    tcase_add_loop_test(tc, configuration_tells_what_it_is, 0, KINDS);
    tcase_add_loop_test(tc, scan_finds_verb_and_parameters, 0, KINDS);
    tcase_add_loop_test(tc, scan_sees_what_changes_by_itself, 0, KINDS);
    tcase_add_loop_test(tc, connection_is_opened_checked_and_closed, 0, KINDS);
    tcase_add_loop_test(tc, what_is_gone_cannot_be_opened, 0, KINDS);
    tcase_add_loop_test(tc, pool_keeps_its_connections, 0, KINDS);
    tcase_add_loop_test(tc, memory_can_be_told_and_shrunk, 0, KINDS);
    tcase_add_loop_test(tc, rows_come_one_by_one, 0, KINDS);
    tcase_add_loop_test(tc, values_come_back_as_they_were_bound, 0, KINDS);
    tcase_add_loop_test(tc, unknown_parameter_is_told, 0, KINDS);
    tcase_add_loop_test(tc, text_that_fits_nothing_is_no_fault_of_the_client, 0,
                        KINDS);
    tcase_add_loop_test(tc, reader_cannot_write, 0, KINDS);
    tcase_add_loop_test(tc, deadline_ends_what_runs, 0, KINDS);
    tcase_add_loop_test(tc, what_nobody_waits_for_ends, 0, KINDS);
    tcase_add_loop_test(tc, limit_ends_with_the_release, 0, KINDS);
    tcase_add_loop_test(tc, stop_cancels_what_runs, 0, KINDS);
    tcase_add_loop_test(tc, columns_have_their_declared_types_once_prepared, 0,
                        KINDS);
    tcase_add_loop_test(tc, write_is_kept_or_undone, 0, KINDS);
    tcase_add_loop_test(tc, statement_knows_that_it_writes, 0, KINDS);
    tcase_add_loop_test(tc, release_undoes_what_was_left, 0, KINDS);
    tcase_add_loop_test(tc, commit_of_nothing_is_an_error, 0, KINDS);
    tcase_add_loop_test(tc, second_writer_waits_until_its_deadline, 0, KINDS);
    tcase_add_loop_test(tc, nested_write_ends_alone, 0, KINDS);
    tcase_add_loop_test(tc, rowid_is_that_of_its_own_write, 0, KINDS);
    tcase_add_loop_test(tc, version_changes_with_each_commit_alone, 0, KINDS);
    tcase_add_loop_test(tc, connection_to_what_was_taken_away_is_not_current, 0,
                        KINDS);
    tcase_add_loop_test(tc, statement_knows_what_else_decides_its_rows, 0,
                        KINDS);
    tcase_add_loop_test(tc, plan_is_told_without_running, 0, KINDS);
    tcase_add_loop_test(tc, inspection_opens_a_connection, 0, KINDS);
    tcase_add_loop_test(tc, inspection_tells_what_is_gone, 0, KINDS);
    suite_add_tcase(s, tc);
    return s;
}
