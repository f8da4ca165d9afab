/* SPDX-License-Identifier: Apache-2.0
 * A look at databases, queries and upstreams. */
#include "report/dump/look.h"

#include "glue.h"
#include "base/clock.h"
#include "base/error.h"
#include "config/database.h"
#include "config/query.h"
#include "config/reply/columns.h"
#include "config/upstream.h"
#include "database/database.h"
#include "http/upstream/upstream.h"
#include "pool/driver.h"
#include "report/dump/job.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <apr_strings.h>

#define TO_OPEN    apr_time_from_sec(2) /* others may hold a lock */
#define TO_EXPLAIN apr_time_from_sec(2) /* each */

/* --- databases --- */

/* An open connection, and who closes it. */
typedef struct opened_t {
    cp_database_t *database;
    const cp_driver_t *driver;
    void *conn; /* NULL: none */
} opened_t;

static int open_with(opened_t *opened, const cp_driver_t *driver,
                     const cp_findings_t *to)
{
    cp_error_t err;

    opened->driver = driver;
    if (driver->open(opened->database, cp_clock_after(TO_OPEN), &opened->conn,
                     &err)
        == APR_SUCCESS) {
        return 1;
    }
    opened->conn = NULL;
    cp_finding_add(to, CP_SEVERITY_ERROR, "open", "%s: %s", err.cause,
                   err.detail);
    return 0;
}

static void open_database(const connpool_database_t *db, opened_t *opened,
                          const cp_findings_t *to)
{
    cp_connection_t *conn = NULL;

    if (db->driver->inspect) {
        opened->driver = db->driver->reader;
        db->driver->inspect(opened->database, cp_clock_after(TO_OPEN), to,
                            &conn);
        opened->conn = conn;
    }
    else if (db->facts.is_readonly
             || !open_with(opened, db->driver->writer, to)) {
        open_with(opened, db->driver->reader, to);
    }
    if (opened->conn) {
        cp_finding_add(to, CP_SEVERITY_INFO, "open",
                       "a connection can be opened by uid %d", (int)geteuid());
    }
}

/* A driver that tells no plans. */
static void prepare(const cp_database_driver_t *driver, cp_connection_t *conn,
                    const char *sql, const cp_findings_t *to)
{
    cp_statement_t *statement;
    cp_error_t err;

    if (driver->prepare(conn, sql, &statement, &err) == APR_SUCCESS) {
        driver->finish(statement);
    }
    else {
        cp_finding_add(to, CP_SEVERITY_ERROR, "prepare", "%s: %s", err.cause,
                       err.detail);
    }
}

static void look_at_statement(const cp_database_driver_t *driver,
                              cp_connection_t *conn, const char *sql,
                              const cp_findings_t *to)
{
    cp_limit_t limit = {.deadline = cp_clock_after(TO_EXPLAIN)};

    driver->limit(conn, &limit);
    if (driver->explain) {
        driver->explain(conn, sql, to);
    }
    else {
        prepare(driver, conn, sql, to);
    }
}

/* Those that the query's keys speak of. What cannot be prepared was told. */
static void look_at_columns(const cp_database_driver_t *driver,
                            cp_connection_t *conn,
                            const connpool_query_t *query,
                            const cp_findings_t *to)
{
    connpool_columns_t columns = {.driver = driver, .reply = &query->reply};
    cp_error_t err;

    if (driver->prepare(conn,
                        query->page ? query->page->first->sql : query->sql,
                        &columns.statement, &err)
        != APR_SUCCESS) {
        return;
    }
    if (connpool_columns_check(&columns, &err) != APR_SUCCESS) {
        cp_finding_add(to, CP_SEVERITY_ERROR, "prepare", "%s", err.detail);
    }
    driver->finish(columns.statement);
}

static void look_at_query(const cp_database_driver_t *driver,
                          cp_connection_t *conn, const connpool_query_t *query,
                          const cp_findings_t *to)
{
    if (!conn) {
        cp_finding_add(to, CP_SEVERITY_INFO, "prepare",
                       "not tried: its database cannot be opened");
    }
    else if (query->page) {
        cp_finding_add(to, CP_SEVERITY_INFO, "page", "the first one");
        look_at_statement(driver, conn, query->page->first->sql, to);
        cp_finding_add(to, CP_SEVERITY_INFO, "page", "those behind it");
        look_at_statement(driver, conn, query->page->next[0]->sql, to);
    }
    else {
        look_at_statement(driver, conn, query->sql, to);
    }
    if (conn) {
        look_at_columns(driver, conn, query, to);
    }
}

void connpool_look_at_database(apr_pool_t *p, void *subject,
                               connpool_teller_t *teller)
{
    const connpool_database_look_t *look = subject;
    const connpool_database_t *db = look->database;
    const cp_findings_t to = {connpool_tell, teller};
    opened_t opened = {NULL, NULL, NULL};

    if (db->driver->create(&opened.database, db->config, NULL, p)
        != APR_SUCCESS) {
        cp_finding_add(&to, CP_SEVERITY_ERROR, "open", "it cannot be set up");
        return;
    }
    open_database(db, &opened, &to);
    for (int i = 0; i < look->queries->nelts; i++) {
        const connpool_told_query_t *told = &APR_ARRAY_IDX(
            look->queries, i, connpool_told_query_t);

        teller->section = told->section;
        look_at_query(db->driver, opened.conn, told->query, &to);
    }
    if (opened.conn) {
        opened.driver->close(opened.database, opened.conn);
    }
}

/* --- upstreams --- */

typedef struct address_t {
    const char *address;
    const char *refusal; /* NULL: it may be connected to */
} address_t;

static void note_address(void *baton, const char *address, const char *refusal)
{
    apr_array_header_t *found = baton;
    apr_pool_t *p = found->pool;

    APR_ARRAY_PUSH(found, address_t) = (address_t){
        apr_pstrdup(p, address), refusal ? apr_pstrdup(p, refusal) : NULL};
}

static int count_usable(const apr_array_header_t *found)
{
    int usable = 0;

    for (int i = 0; i < found->nelts; i++) {
        usable += APR_ARRAY_IDX(found, i, address_t).refusal == NULL;
    }
    return usable;
}

static void tell_addresses(const apr_array_header_t *found,
                           const cp_findings_t *to)
{
    int usable = count_usable(found);

    for (int i = 0; i < found->nelts; i++) {
        const address_t *at = &APR_ARRAY_IDX(found, i, address_t);

        if (at->refusal) {
            cp_finding_add(to, usable ? CP_SEVERITY_WARNING : CP_SEVERITY_INFO,
                           "address", "refused: %s", at->refusal);
        }
        else {
            cp_finding_add(to, CP_SEVERITY_INFO, "address", "%s", at->address);
        }
    }
    if (!usable) {
        cp_finding_add(to, CP_SEVERITY_ERROR, "address",
                       "none of its addresses may be connected to: an address "
                       "that is not public needs private=allow, http: to a "
                       "public one plaintext=allow");
    }
}

static void tell_file(const char *name, const char *path,
                      const cp_findings_t *to)
{
    if (!path) {
        return;
    }
    if (faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) != 0) {
        cp_finding_add(to, CP_SEVERITY_ERROR, name,
                       "%s cannot be read by the server's user (uid %d): %s",
                       path, (int)geteuid(), strerror(errno));
    }
    else {
        cp_finding_add(to, CP_SEVERITY_INFO, name, "%s can be read", path);
    }
}

/* "unix:PATH" has no name to look up. */
static void tell_socket(const char *path, const cp_findings_t *to)
{
    if (faccessat(AT_FDCWD, path, R_OK | W_OK, AT_EACCESS) != 0) {
        cp_finding_add(to, CP_SEVERITY_ERROR, "socket",
                       "%s cannot be connected to by the server's user (uid "
                       "%d): %s",
                       path, (int)geteuid(), strerror(errno));
    }
    else {
        cp_finding_add(to, CP_SEVERITY_INFO, "socket", "%s may be connected to",
                       path);
    }
}

static void look_at_base(apr_pool_t *p, const connpool_base_t *base,
                         const cp_findings_t *to)
{
    apr_array_header_t *found = apr_array_make(p, 4, sizeof(address_t));
    const char *problem = cp_upstream_resolve(p, &base->http, base->origin,
                                              note_address, found);

    if (problem) {
        cp_finding_add(to, CP_SEVERITY_ERROR, "address", "%s", problem);
    }
    else {
        tell_addresses(found, to);
    }
}

void connpool_look_at_upstream(apr_pool_t *p, void *subject,
                               connpool_teller_t *teller)
{
    const connpool_upstream_t *up = subject;
    const cp_findings_t to = {connpool_tell, teller};

    tell_file("ca", up->http.ca, &to);
    tell_file("cert", up->http.cert, &to);
    tell_file("key", up->http.key, &to);
    if (up->http.socket) {
        tell_socket(up->http.socket, &to);
        return;
    }
    for (int i = 0; i < up->base_count; i++) {
        look_at_base(p, &up->bases[i], &to);
    }
}
