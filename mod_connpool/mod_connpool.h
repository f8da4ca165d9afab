/* SPDX-License-Identifier: Apache-2.0
 * mod_connpool for authors of other modules: optional functions, found with
 * APR_RETRIEVE_OPTIONAL_FN in a post_config or optional_fn_retrieve hook; NULL
 * when the module is not loaded. Nothing here is linked against.
 *
 * All functions belong to the thread that runs the request. Every object lives
 * as long as the request's pool at the most, and whatever was borrowed goes
 * back then by itself: but that pool lives until the client has read the last
 * byte, so give back as soon as you can. Who asks for the connection of a pool
 * that the same request (its subrequests and internal redirects included)
 * already holds gets that one, so nobody waits for himself; connpool_fetch
 * alone always takes one of its own. Writes that share a connection nest: end
 * the inner one first. It is undone alone, but kept only if the outer one is.
 *
 * Compatibility is promised: what is declared here keeps its name, parameters
 * and meaning, and a module that was built with this header works with any
 * later mod_connpool, unchanged. Things are only added, which raises
 * CONNPOOL_API_VERSION; what an older mod_connpool lacks is NULL when it is
 * looked up. Be ready for new words, statuses of failures, and headers. */
#ifndef MOD_CONNPOOL_H
#define MOD_CONNPOOL_H

#include <httpd.h>
#include <apr_errno.h>
#include <apr_optional.h>
#include <apr_pools.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CONNPOOL_API_VERSION 3 /**< of this header */

struct sqlite3; /* <sqlite3.h> */

/** A query on its way: made, bound, run, read, ended. */
typedef struct connpool_call_t connpool_call_t;

/** The answer of an upstream, whole in memory. */
typedef struct connpool_response_t connpool_response_t;

/** Queries and fetches that run together. */
typedef struct connpool_batch_t connpool_batch_t;

/** A borrowed connection. */
typedef struct connpool_conn_t connpool_conn_t;

/** Kinds of a column's value. */
#define CONNPOOL_NULL    0
#define CONNPOOL_INTEGER 1
#define CONNPOOL_REAL    2
#define CONNPOOL_TEXT    3
#define CONNPOOL_BLOB    4

/** What a call or a connection is for. */
#define CONNPOOL_READ  0
#define CONNPOOL_WRITE 1

/* clang-format off */
APR_DECLARE_OPTIONAL_FN(int, connpool_api_version, (void)); /* of what is loaded; since 2 */

/* --- work: queries --- */

/** Prepare to run the query that the administrator named. The call is owned by
 * r->pool. APR_NOTFOUND: no such query is visible in this server. */
APR_DECLARE_OPTIONAL_FN(apr_status_t, connpool_call_named,
                        (connpool_call_t **pcall, request_rec *r, const char *query_name));

/** The same for SQL of your own on a named database: one statement, values
 * only as :names. `mode` is CONNPOOL_READ or CONNPOOL_WRITE. The text is not
 * copied and must outlive the call. APR_NOTFOUND: no such database; APR_EACCES:
 * a write, but the database is read-only. */
APR_DECLARE_OPTIONAL_FN(apr_status_t, connpool_call_sql,
                        (connpool_call_t **pcall, request_rec *r, const char *database_name,
                         const char *sql, int mode));

/** Values of parameters, by name without the colon; the last one given counts.
 * Those with from= or path= are told by the request r when the call is run, in
 * the handler (who asks is not known before), and cannot be given. Names, texts
 * and blobs are not copied and must outlive the call. */
APR_DECLARE_OPTIONAL_FN(void, connpool_bind_null, (connpool_call_t *call, const char *name));
APR_DECLARE_OPTIONAL_FN(void, connpool_bind_int64,
                        (connpool_call_t *call, const char *name, apr_int64_t value));
APR_DECLARE_OPTIONAL_FN(void, connpool_bind_double,
                        (connpool_call_t *call, const char *name, double value));
APR_DECLARE_OPTIONAL_FN(void, connpool_bind_text,
                        (connpool_call_t *call, const char *name, const char *data, apr_size_t size));
APR_DECLARE_OPTIONAL_FN(void, connpool_bind_blob,
                        (connpool_call_t *call, const char *name, const void *data, apr_size_t size));

/** Borrow a connection and begin; a write begins its transaction. A value that
 * the administrator's ConnPoolParam forbids is APR_EINVAL. The connection is
 * held until connpool_call_end.
 * @return APR_SUCCESS, APR_TIMEUP or APR_ENOSPC (no connection is free),
 * APR_EINVAL, APR_NOTFOUND (no such parameter), APR_EACCES (SQL that may not run
 * here, or not in this mode), APR_EOF (the server is stopping), APR_EBUSY (it
 * runs already), APR_ENOTIMPL (another call of r reads its rows there, more than
 * the 4 MB that are kept of PostgreSQL), or APR_EGENERAL: see connpool_call_error */
APR_DECLARE_OPTIONAL_FN(apr_status_t, connpool_call_run, (connpool_call_t *call));

/** The next row. APR_EOF: there are no more. */
APR_DECLARE_OPTIONAL_FN(apr_status_t, connpool_call_next, (connpool_call_t *call));

/** Columns of the current row. Text and blobs stay the connection's and are
 * valid until the next row. Other kinds are not converted: 0, 0.0 or NULL. */
APR_DECLARE_OPTIONAL_FN(int, connpool_columns, (connpool_call_t *call));
APR_DECLARE_OPTIONAL_FN(const char *, connpool_column_name, (connpool_call_t *call, int i));
APR_DECLARE_OPTIONAL_FN(int, connpool_column_kind, (connpool_call_t *call, int i));
APR_DECLARE_OPTIONAL_FN(apr_int64_t, connpool_column_int64, (connpool_call_t *call, int i));
APR_DECLARE_OPTIONAL_FN(double, connpool_column_double, (connpool_call_t *call, int i));
APR_DECLARE_OPTIONAL_FN(const char *, connpool_column_bytes,
                        (connpool_call_t *call, int i, apr_size_t *psize));

/** Run a write to its end, commit it if no step failed, and give the connection
 * back. Without this call a write is rolled back. Calling twice is harmless.
 * @return the failure of the last step, or to commit */
APR_DECLARE_OPTIONAL_FN(apr_status_t, connpool_call_end, (connpool_call_t *call));

/** After the end of a write. */
APR_DECLARE_OPTIONAL_FN(apr_int64_t, connpool_call_changes, (connpool_call_t *call));
APR_DECLARE_OPTIONAL_FN(apr_int64_t, connpool_call_last_rowid, (connpool_call_t *call));

/** Why the last function on this call failed, for the log (it may name files
 * and SQL); owned by the call, "" when nothing did. */
APR_DECLARE_OPTIONAL_FN(const char *, connpool_call_error, (connpool_call_t *call));

/** Which kind of constraint of the database did not hold: "unique",
 * "primary_key", "foreign_key", "not_null", "check", "datatype", "trigger",
 * "other"; NULL: the last function on this call failed for another reason, or
 * did not fail. *psubject (may be NULL) gets "table.column, table.column", or a
 * constraint's name, or "". Owned by the call. */
APR_DECLARE_OPTIONAL_FN(const char *, connpool_call_constraint,
                        (connpool_call_t *call, const char **psubject));

/** Why it failed: "input", "refused", "conflict", "size", "rate", "upstream",
 * "capacity", "storage", "memory", "deadline", "cancelled", "internal"; NULL: it
 * did not. *pstatus gets what connpool-query would answer, *pretry_after seconds
 * until it may be otherwise, 0: not known (both may be NULL). Since version 2. */
APR_DECLARE_OPTIONAL_FN(const char *, connpool_call_failure,
                        (connpool_call_t *call, int *pstatus, int *pretry_after));

/** Instead of run, next and end: the whole answer of connpool-query with status,
 * Content-Type and ETag, by the query's ttl=, coalesce=, page= (with limit and
 * after; ConnPool-Next is the next cursor), of a failure, too (problem+json).
 * Owned by r->pool; NULL without memory, or while the call runs. Since version 2.
 * @return as connpool_call_run and connpool_call_end */
APR_DECLARE_OPTIONAL_FN(apr_status_t, connpool_call_answer,
                        (connpool_call_t *call, connpool_response_t **presponse));

/* --- work: fetches --- */

/** GET an upstream by name, with path and query (percent-encoded already; NULL:
 * none) appended to its URL, and wait for the whole body. The response is owned by r->pool; *perror
 * (may be NULL) gets a sentence for the log. Any status the upstream answers
 * is a success here. APR_NOTFOUND: no such upstream. */
APR_DECLARE_OPTIONAL_FN(apr_status_t, connpool_fetch,
                        (connpool_response_t **presponse, request_rec *r, const char *upstream_name,
                         const char *path, const char *query, const char **perror));

/** Why the last connpool_fetch for this request_rec gave no response, in the
 * words of connpool_call_failure: "refused" (its address is not allowed),
 * "upstream" (not found, not connected, cut off, malformed, or left alone by
 * its breaker), "deadline" (connected or answered too late), "capacity" (no
 * connection was free in time), "rate", "size", "input" (path or query),
 * "memory", "cancelled"; NULL: it gave one, there was none, or no such
 * upstream. *pstatus and *pretry_after as there; *pcause a sentence that
 * clients may read (all may be NULL). Since version 3. */
APR_DECLARE_OPTIONAL_FN(const char *, connpool_fetch_failure,
                        (request_rec *r, int *pstatus, int *pretry_after, const char **pcause));
APR_DECLARE_OPTIONAL_FN(int, connpool_response_status, (const connpool_response_t *response));
APR_DECLARE_OPTIONAL_FN(const char *, connpool_response_header,
                        (const connpool_response_t *response, const char *name));
APR_DECLARE_OPTIONAL_FN(const char *, connpool_response_body, /* a NUL stands behind it */
                        (const connpool_response_t *response, apr_size_t *psize));

/* --- work: batches --- */

/** Fetches of a batch run side by side in the child's event loop, at most
 * `parallel` at once (0: as ConnPoolBatchParallel says here), while the calling
 * thread runs the queries. Without that loop all run one after another. Owned
 * by r->pool; end it as soon as you can, for fetches under way keep their
 * connections. Never wait for one of yours while you hold connections of a
 * database that it needs, nor acquire while fetches are under way. */
APR_DECLARE_OPTIONAL_FN(apr_status_t, connpool_batch_create,
                        (connpool_batch_t **pbatch, request_rec *r, int parallel));

/** Append an item; items are numbered from 0 as they are added, also between
 * waits. A call must be bound and not running, and is not run by itself any
 * more; SQL of your own answers 1000 rows and 8 MB at most.
 * @return APR_SUCCESS; for a call as connpool_call_run says of its values; for
 * a fetch APR_NOTFOUND: no such upstream */
APR_DECLARE_OPTIONAL_FN(apr_status_t, connpool_batch_add_call,
                        (connpool_batch_t *batch, connpool_call_t *call));
APR_DECLARE_OPTIONAL_FN(apr_status_t, connpool_batch_add_fetch,
                        (connpool_batch_t *batch, const char *upstream_name,
                         const char *path, const char *query));

/** Work until all items are done, for so many microseconds at the most (less
 * than 0: as long as their own limits let it take; 0: queries do not even
 * begin). A query that has begun goes on to its end or its own timeout, and
 * who needs a connection waits as long as its pool says.
 * @return APR_SUCCESS; APR_TIMEUP; APR_EOF: nobody waits for the answer any more
 * (the client is gone, the server stops), what was not done has failed */
APR_DECLARE_OPTIONAL_FN(apr_status_t, connpool_batch_wait,
                        (connpool_batch_t *batch, apr_interval_time_t timeout));

/** The same until one item is done that this function has not told of: *pindex
 * is its number. APR_EOF also when it has told of all. */
APR_DECLARE_OPTIONAL_FN(apr_status_t, connpool_batch_next,
                        (connpool_batch_t *batch, apr_interval_time_t timeout, int *pindex));

/** What became of an item. A query's response has status 200 or 201, Content-Type,
 * ConnPool-Truncated if it is cut, Location with 201, and the body that
 * connpool-query would send, decoded; or none, with 404 (there is no such row) or
 * what none= says. The response is owned by the batch; *perror (may be NULL) gets a sentence.
 * @return APR_SUCCESS; APR_EAGAIN: it is not done; APR_NOTFOUND with *perror "":
 * there is no such item; or why it failed */
APR_DECLARE_OPTIONAL_FN(apr_status_t, connpool_batch_result,
                        (connpool_batch_t *batch, int index, connpool_response_t **presponse,
                         const char **perror));

APR_DECLARE_OPTIONAL_FN(const char *, connpool_batch_failure, /* likewise; since version 2 */
                        (connpool_batch_t *batch, int index, int *pstatus, int *pretry_after));

/** Give up what is not done, and free all responses: the batch has no items any
 * more, and runs none. Twice is harmless. */
APR_DECLARE_OPTIONAL_FN(void, connpool_batch_end, (connpool_batch_t *batch));

/* --- connections --- */

/** Borrow from the database or upstream of that name. With CONNPOOL_WRITE the
 * connection is the writer, and no other process of this server writes the
 * same file until it is given back: be quick. Owned by the pool: never close
 * the handle, finalize the statements that you prepare, and write nothing with
 * CONNPOOL_READ. Functions that you register end with the release, unless they
 * are marked SQLITE_INNOCUOUS or SQLITE_DIRECTONLY. A transaction that is left open is rolled back.
 * @return APR_SUCCESS, APR_TIMEUP, APR_ENOSPC, APR_NOTFOUND, APR_EACCES (to
 * write, but the database is read-only), APR_EOF (the server is stopping), or
 * the failure to connect */
APR_DECLARE_OPTIONAL_FN(apr_status_t, connpool_acquire,
                        (connpool_conn_t **pconn, request_rec *r, const char *pool_name, int mode));

/** Give it back healthy. Twice is logged and harmless. */
APR_DECLARE_OPTIONAL_FN(void, connpool_release, (connpool_conn_t *conn));

/** Give it back broken: it is closed as soon as nobody shares it; `why` is
 * logged. */
APR_DECLARE_OPTIONAL_FN(void, connpool_discard, (connpool_conn_t *conn, const char *why));

/** The native handle, still the pool's; NULL if the pool has another kind or
 * the connection was given back. The curl handle (a CURL *) has the upstream's
 * URL, limits and checks set when it is first asked for; run it with
 * curl_easy_perform in this thread, and clean it up never. */
APR_DECLARE_OPTIONAL_FN(struct sqlite3 *, connpool_sqlite, (connpool_conn_t *conn));
APR_DECLARE_OPTIONAL_FN(void *, connpool_curl, (connpool_conn_t *conn));
/* clang-format on */

#ifdef __cplusplus
}
#endif

#endif
