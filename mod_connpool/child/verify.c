/* SPDX-License-Identifier: Apache-2.0
 * SQL is checked lexically at configtest; here it meets its database, through a
 * connection of its own that no counter knows. A query that does not fit is
 * remembered in this child's cells, until it does. */
#include "child/verify.h"

#include "glue.h"
#include "base/clock.h"
#include "base/error.h"
#include "child/child.h"
#include "config/database.h"
#include "config/query.h"
#include "config/reply/columns.h"
#include "database/database.h"
#include "pool/driver.h"
#include "pool/pool.h"
#include "stats/cell.h"
#include "stats/segment.h"
#include "stats/state/standing.h"
#include "stats/state/state.h"
#include "stats/stats.h"

#define TRIES       5
#define PAUSE       apr_time_from_msec(200)
#define AGAIN_AFTER apr_time_from_sec(2)

/* One look at a database. */
typedef struct look_t {
    connpool_database_t *database;
    const cp_driver_t *driver;
    cp_clock_t deadline; /* of opening it */
    void *conn;
    int can_write;
} look_t;

static void set(uint64_t *cell, uint64_t value)
{
    __atomic_store_n(cell, value, __ATOMIC_RELAXED);
}

static void note_result(const connpool_query_t *query, const cp_error_t *err)
{
    uint64_t *unprepared = &connpool_query_stats(query)->unprepared;
    int is_bad = err != NULL;
    int was_bad = __atomic_exchange_n(unprepared, (uint64_t)is_bad,
                                      __ATOMIC_RELAXED)
                  != 0;

    if (is_bad) {
        cp_standing_note_error(cp_segment_standing(connpool_child.segment,
                                                   CP_SUBJECT_QUERY,
                                                   query->entry),
                               err->cls, apr_time_now());
    }
    if (is_bad && !was_bad) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, query->server,
                     "ConnPoolQuery %s at %s cannot be prepared: %s",
                     query->name, query->where, err->detail);
    }
    else if (was_bad && !is_bad) {
        ap_log_error(APLOG_MARK, APLOG_INFO, 0, query->server,
                     "ConnPoolQuery %s can be prepared again", query->name);
    }
}

static void verify_query(connpool_query_t *query, void *baton)
{
    const look_t *look = baton;
    const cp_database_driver_t *driver = look->database->driver;
    connpool_columns_t columns = {.driver = driver, .reply = &query->reply};
    apr_status_t rv;
    cp_error_t err;

    if (query->database != look->database
        || (query->is_write && !look->can_write)) {
        return;
    }
    set(&connpool_query_stats(query)->is_known, 1);
    rv = driver->prepare(look->conn,
                         query->page ? query->page->next[0]->sql : query->sql,
                         &columns.statement, &err);
    if (rv == APR_SUCCESS) {
        rv = connpool_columns_check(&columns, &err);
        driver->finish(columns.statement);
    }
    note_result(query, rv == APR_SUCCESS ? NULL : &err);
}

static apr_status_t open_with(look_t *look, const cp_driver_t *driver,
                              cp_error_t *err)
{
    look->driver = driver;
    return driver->open(look->database->child->database, look->deadline,
                        &look->conn, err);
}

static cp_pool_stats_t *stats_of(const connpool_database_t *db)
{
    return cp_segment_pool(connpool_child.segment, connpool_child.slot,
                           db->entry);
}

/* What the pools would find out with their first request. */
static void show_down(cp_pool_t *pool, void *baton)
{
    const look_t *look = baton;
    const cp_pool_config_t *settings = cp_pool_settings(pool);

    if (settings->is_writer || !look->conn) {
        set(&stats_of(look->database)->down[cp_pool_part(settings)], 1);
    }
}

/* A database that cannot be written may be read still. */
static apr_status_t open_any(look_t *look, cp_error_t *err)
{
    cp_error_t ignored;
    apr_status_t rv = APR_EGENERAL;

    look->can_write = !look->database->facts.is_readonly;
    if (look->can_write) {
        rv = open_with(look, look->database->driver->writer, err);
    }
    if (rv != APR_SUCCESS) {
        rv = open_with(look, look->database->driver->reader,
                       look->can_write ? &ignored : err);
        look->can_write = 0;
    }
    return rv;
}

/* What the look has found is what operators see. */
static void show(const look_t *look)
{
    connpool_database_t *db = look->database;

    if (!db->child->is_verified) {
        connpool_each_pool_of(db, show_down, (void *)look);
    }
    set(&stats_of(db)->is_known, 1);
}

/* is_final: what is in the way now stands in the way. */
static void verify_database(look_t *look, int is_final, cp_error_t *err)
{
    connpool_db_child_t *child = look->database->child;

    if (open_any(look, err) == APR_SUCCESS) {
        connpool_each_query(verify_query, look);
        look->driver->close(child->database, look->conn);
        child->is_verified = look->can_write
                             || look->database->facts.is_readonly;
    }
    if (child->is_verified || is_final) {
        show(look);
    }
}

/* --- at first --- */

typedef struct round_t {
    int is_last;
    int has_failed;
} round_t;

static void verify_first(connpool_database_t *db, void *baton)
{
    round_t *round = baton;
    look_t look = {.database = db, .deadline = cp_clock_after(db->timeout)};
    cp_error_t err;

    if (!db->child || db->child->is_verified) {
        return;
    }
    verify_database(&look, round->is_last, &err);
    if (db->child->is_verified) {
        return;
    }
    round->has_failed = 1;
    if (round->is_last) {
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, db->server, "%s: %s", err.cause,
                     err.detail);
    }
}

/* Children that start at once may find each other in the way. */
void connpool_verify_all(int (*pause)(cp_clock_t until))
{
    round_t round = {0, 1};

    for (int i = 1; round.has_failed && i <= TRIES; i++) {
        if (i > 1 && !pause(cp_clock_after(PAUSE))) {
            return;
        }
        round = (round_t){.is_last = i == TRIES};
        connpool_each_database(verify_first, &round);
    }
}

/* --- afterwards --- */

typedef struct search_t {
    const connpool_database_t *database;
    int has_found;
} search_t;

static void find_doubtful(connpool_query_t *query, void *baton)
{
    search_t *search = baton;

    const cp_query_stats_t *stats = connpool_query_stats(query);

    if (query->database == search->database
        && (cp_stats_get(&stats->unprepared)
            || !cp_stats_get(&stats->is_known))) {
        search->has_found = 1;
    }
}

/* While it cannot be opened the upkeep of its pools finds out. */
static int is_down(const connpool_database_t *db)
{
    const cp_pool_stats_t *stats = stats_of(db);
    uint64_t parts = 0;

    for (int i = 0; i < CP_POOL_PARTS; i++) {
        parts += cp_stats_get(&stats->down[i]);
    }
    return parts > 0;
}

static void verify_again(connpool_database_t *db, void *baton)
{
    search_t search = {.database = db};
    look_t look = {.database = db, .deadline = cp_clock_after(AGAIN_AFTER)};
    cp_error_t ignored;

    if (!db->child || is_down(db)) {
        return;
    }
    connpool_each_query(find_doubtful, &search);
    if (search.has_found || !db->child->is_verified) {
        verify_database(&look, 0, &ignored);
    }
}

void connpool_verify_rest(void)
{
    static cp_clock_t next; /* maintenance only */

    if (cp_clock_left(next) == 0) {
        connpool_each_database(verify_again, NULL);
        next = cp_clock_after(AGAIN_AFTER);
    }
}
