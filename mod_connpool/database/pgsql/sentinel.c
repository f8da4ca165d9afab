/* SPDX-License-Identifier: Apache-2.0 */
#include "database/pgsql/sentinel.h"

#include "base/bytes/hash.h"
#include "base/clock.h"
#include "base/error.h"
#include "database/pgsql/connection.h"
#include "database/pgsql/session/pgsql.h"
#include "database/pgsql/session/wait.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <apr_general.h>

#define OPEN_PATIENCE apr_time_from_msec(500)
#define ASK_PATIENCE  apr_time_from_msec(250)
#define REOPEN_PAUSE  apr_time_from_sec(1)

/* Which server it is, and whether its snapshots cover all of its data: those of
 * a coordinator do not cover its shards, nor those of others that speak the
 * protocol. */
#define WHO                                                                    \
    "SELECT pg_catalog.pg_postmaster_start_time()::text, "                     \
    "pg_catalog.version() LIKE 'PostgreSQL%' "                                 \
    "AND pg_catalog.version() NOT LIKE '%-YB-%' "                              \
    "AND NOT EXISTS (SELECT FROM pg_catalog.pg_extension "                     \
    "WHERE extname = 'citus')"
#define SNAPSHOT "SELECT pg_catalog.pg_current_snapshot()::text"
#define PREPARED "cp_snapshot"

struct cp_pg_sentinel_t {
    cp_database_t *db;
    pid_t pid; /* whose it is */

    unsigned begun;       /* atomic: asks */
    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t freed;
    int is_busy; /* somebody asks, without the lock */
    cp_connection_t *conn;
    uint64_t epoch;
    cp_version_t last;
    unsigned last_ask; /* of which it came; 0: of none */
    cp_clock_t asked_at;
    cp_clock_t retry_at; /* after a failure */
    cp_error_t failure;
};

static const cp_hash_key_t hash_key = {0x736e617073686f74ULL,
                                       0x76657273696f6e73ULL};

/* --- who --- */

/* Where it is, and since when: of a server that took its place, the time
 * differs. */
static apr_status_t identify(cp_connection_t *conn, cp_error_t *err)
{
    char text[400];
    PGresult *result;
    apr_status_t rv = cp_pg_ask(conn, WHO, NULL, 0, &result, err);
    const char *address;
    int size;

    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (PQntuples(result) != 1 || strcmp(PQgetvalue(result, 0, 1), "t") != 0) {
        PQclear(result);
        return cp_error_set(err, CP_ERR_STORAGE, APR_ENOTIMPL,
                            "the database's version is unknown",
                            "database '%s': this server's snapshots do not "
                            "cover all of its data: ttl=data keeps nothing",
                            conn->db->config.name);
    }
    address = PQhostaddr(conn->pg);
    size = snprintf(text, sizeof(text), "%s|%s|%s|%s|%s",
                    address ? address : "", PQhost(conn->pg), PQport(conn->pg),
                    PQdb(conn->pg), PQgetvalue(result, 0, 0));
    PQclear(result);
    conn->identity = cp_hash(hash_key, text,
                             size < (int)sizeof(text) ? (size_t)size
                                                      : sizeof(text))
                     | 1;
    return APR_SUCCESS;
}

/* --- opening and closing --- */

static void close_it(cp_pg_sentinel_t *sentinel)
{
    if (sentinel->conn) {
        cp_pg_reader.close(sentinel->db, sentinel->conn);
        sentinel->conn = NULL;
    }
    __atomic_store_n(&sentinel->db->identity, 0, __ATOMIC_RELAXED);
}

static apr_status_t prepare(cp_connection_t *conn, cp_error_t *err)
{
    if (!PQsendPrepare(conn->pg, PREPARED, SNAPSHOT, 0, NULL)) {
        return cp_error_memory(err, "a statement");
    }
    return cp_pg_read_to_end(conn, NULL, 0, err);
}

static apr_status_t open_it(cp_pg_sentinel_t *sentinel, cp_error_t *err)
{
    void *conn = NULL;
    apr_status_t rv = cp_pg_reader.open(
        sentinel->db, cp_clock_after(OPEN_PATIENCE), &conn, err);

    if (rv != APR_SUCCESS) {
        return rv;
    }
    sentinel->conn = conn;
    sentinel->conn->limit = (cp_limit_t){
        .deadline = cp_clock_after(OPEN_PATIENCE)};
    rv = identify(sentinel->conn, err);
    if (rv == APR_SUCCESS) {
        rv = prepare(sentinel->conn, err);
    }
    if (rv == APR_SUCCESS
        && apr_generate_random_bytes((unsigned char *)&sentinel->epoch,
                                     sizeof(sentinel->epoch))
               != APR_SUCCESS) {
        rv = cp_error_memory(err, "the number of an epoch");
    }
    if (rv == APR_SUCCESS) {
        __atomic_store_n(&sentinel->db->identity, sentinel->conn->identity,
                         __ATOMIC_RELEASE);
    }
    return rv;
}

/* --- asking --- */

static apr_status_t ask(cp_pg_sentinel_t *sentinel, cp_version_t *version,
                        cp_error_t *err)
{
    cp_connection_t *conn = sentinel->conn;
    PGresult *result;
    apr_status_t rv;

    conn->limit = (cp_limit_t){.deadline = cp_clock_after(ASK_PATIENCE)};
    if (!PQsendQueryPrepared(conn->pg, PREPARED, 0, NULL, NULL, NULL, 0)) {
        return cp_error_memory(err, "a question");
    }
    rv = cp_pg_next_result(conn, &result, err);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        PQclear(result);
        return cp_error_set(err, CP_ERR_STORAGE, APR_EGENERAL,
                            "the database's version is unknown",
                            "database '%s': no snapshot came",
                            sentinel->db->config.name);
    }
    version->epoch = sentinel->epoch;
    version->number = cp_hash(hash_key, PQgetvalue(result, 0, 0),
                              (size_t)PQgetlength(result, 0, 0));
    PQclear(result);
    return cp_pg_read_to_end(conn, NULL, 0, err);
}

/* Without the lock, for the one that is busy with it. */
static apr_status_t open_and_ask(cp_pg_sentinel_t *sentinel,
                                 cp_version_t *version, cp_error_t *err)
{
    apr_status_t rv = APR_SUCCESS;

    if (sentinel->conn
        && cp_pg_reader.glance(sentinel->db, sentinel->conn) != APR_SUCCESS) {
        close_it(sentinel);
    }
    if (!sentinel->conn) {
        rv = open_it(sentinel, err);
    }
    if (rv == APR_SUCCESS) {
        rv = ask(sentinel, version, err);
    }
    if (rv != APR_SUCCESS) {
        close_it(sentinel);
    }
    return rv;
}

static apr_status_t fail_late(const cp_pg_sentinel_t *sentinel, cp_error_t *err)
{
    return cp_error_set(err, CP_ERR_STORAGE, APR_TIMEUP,
                        "the database's version is unknown",
                        "database '%s': others who ask for its version wait",
                        sentinel->db->config.name);
}

/* Under the lock: until nobody asks, or what was asked after we came is known.
 * @return APR_SUCCESS: it is our turn; APR_EOF: it is known */
static apr_status_t await_turn(cp_pg_sentinel_t *sentinel, unsigned came,
                               cp_clock_t deadline, cp_error_t *err)
{
    struct timespec until = cp_clock_timespec(deadline);

    while (sentinel->is_busy) {
        if (pthread_cond_timedwait(&sentinel->freed, &sentinel->lock, &until)
            != 0) {
            return fail_late(sentinel, err);
        }
    }
    if (sentinel->last_ask && (int)(sentinel->last_ask - came) > 0) {
        return APR_EOF;
    }
    if (cp_clock_left(sentinel->retry_at) > 0) {
        *err = sentinel->failure;
        return err->rv == APR_SUCCESS ? APR_EGENERAL : err->rv;
    }
    return APR_SUCCESS;
}

apr_status_t cp_pg_version(cp_database_t *db, cp_clock_t deadline,
                           cp_version_t *version, cp_error_t *err)
{
    cp_pg_sentinel_t *sentinel = db->sentinel;
    unsigned came = __atomic_load_n(&sentinel->begun, __ATOMIC_ACQUIRE);
    unsigned mine;
    apr_status_t rv;

    pthread_mutex_lock(&sentinel->lock);
    rv = await_turn(sentinel, came, deadline, err);
    if (rv == APR_SUCCESS) {
        sentinel->is_busy = 1;
        sentinel->asked_at = cp_clock_now();
        mine = __atomic_add_fetch(&sentinel->begun, 1, __ATOMIC_ACQ_REL);
        pthread_mutex_unlock(&sentinel->lock);
        rv = open_and_ask(sentinel, version, err);
        pthread_mutex_lock(&sentinel->lock);
        sentinel->is_busy = 0;
        sentinel->last_ask = rv == APR_SUCCESS ? mine : 0;
        sentinel->last = *version;
        if (rv != APR_SUCCESS) {
            sentinel->failure = *err;
            sentinel->failure.rv = rv;
            sentinel->retry_at = cp_clock_after(REOPEN_PAUSE);
        }
        pthread_cond_broadcast(&sentinel->freed);
    }
    else if (rv == APR_EOF) {
        *version = sentinel->last;
        rv = APR_SUCCESS;
    }
    pthread_mutex_unlock(&sentinel->lock);
    return rv;
}

int cp_pg_is_current(cp_connection_t *conn)
{
    uint64_t identity = __atomic_load_n(&conn->db->identity, __ATOMIC_ACQUIRE);
    cp_limit_t limit = conn->limit;
    cp_error_t ignored;

    if (identity == 0 || conn->transaction != CP_PG_NONE || conn->running) {
        return 0;
    }
    if (conn->identity == 0) {
        conn->limit = (cp_limit_t){.deadline = cp_clock_after(ASK_PATIENCE)};
        identify(conn, &ignored);
        conn->limit = limit;
    }
    return conn->identity == identity && !conn->is_broken;
}

/* --- its life --- */

/* A thread that still asks at the child's end keeps it. */
static apr_status_t cleanup(void *data)
{
    cp_pg_sentinel_t *sentinel = data;

    /* What a fork has inherited is its parent's to close. */
    if (sentinel->pid != getpid()) {
        return APR_SUCCESS;
    }
    if (pthread_mutex_trylock(&sentinel->lock) == 0) {
        if (!sentinel->is_busy) {
            close_it(sentinel);
        }
        pthread_mutex_unlock(&sentinel->lock);
    }
    return APR_SUCCESS;
}

apr_status_t cp_pg_sentinel_create(cp_pg_sentinel_t **psentinel,
                                   cp_database_t *db, apr_pool_t *p)
{
    cp_pg_sentinel_t *sentinel = apr_pcalloc(p, sizeof(*sentinel));
    int rc = pthread_mutex_init(&sentinel->lock, NULL);

    if (rc != 0) {
        return rc;
    }
    cp_clock_init_condition(&sentinel->freed);
    sentinel->db = db;
    sentinel->pid = getpid();
    apr_pool_cleanup_register(p, sentinel, cleanup, apr_pool_cleanup_null);
    *psentinel = sentinel;
    return APR_SUCCESS;
}

void cp_pg_sentinel_rest(cp_pg_sentinel_t *sentinel, apr_interval_time_t idle)
{
    if (pthread_mutex_trylock(&sentinel->lock) != 0) {
        return;
    }
    if (!sentinel->is_busy && sentinel->conn
        && cp_clock_now() - sentinel->asked_at >= idle) {
        close_it(sentinel);
    }
    pthread_mutex_unlock(&sentinel->lock);
}
