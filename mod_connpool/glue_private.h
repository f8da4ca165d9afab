/* SPDX-License-Identifier: Apache-2.0
 * What the files of the server glue share. */
#ifndef MOD_CONNPOOL_PRIVATE_H
#define MOD_CONNPOOL_PRIVATE_H

#include <httpd.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>
#include <ap_mpm.h>
#include <scoreboard.h>

#include "answers/answer.h"
#include "http/breaker.h"
#include "answers/encode.h"
#include "answers/entry.h"
#include "base/error.h"
#include "answers/flight.h"
#include "http/http.h"
#include "base/log.h"
#include "http/loop.h"
#include "base/number.h"
#include "pool/pool.h"
#include "stats/segment.h"
#include "database/sqlite/scan.h"
#include "database/sqlite/sqlite.h"
#include "answers/store.h"
#include "database/value.h"

#define CONNPOOL_VERSION "0.1.0"

/* The one symbol that the file exports: httpd looks it up by name. */
extern module AP_MODULE_DECLARE_DATA connpool_module
    __attribute__((visibility("default")));
#ifndef CONNPOOL_DECLARES_MODULE
APLOG_USE_MODULE(connpool);
#endif

/* --- configuration (mod_connpool_config.c) ---------------------------------
 *
 * Definitions are made while the configuration is read, completed and checked
 * in check_config, and inherited by virtual hosts by pointer. In the child they
 * get their run-time half (`child`), set once in child_init, before any request
 * and any thread. CONNPOOL_UNSET in a number means that nobody wrote it. */

#define CONNPOOL_UNSET (-1)

typedef struct connpool_database_t {
    const char *name;
    server_rec *server; /* where it was defined */
    const char *where;  /* "FILE:LINE" */
    cp_sqlite_config_t sqlite;
    cp_pool_config_t pool;       /* max: readers and writer together */
    apr_interval_time_t timeout; /* of a query */
    int coalesces;               /* equal fetches at one time share one */
    int overflow_direct;
    int entry;                    /* in the segment */
    struct connpool_lock_t *lock; /* shared by all with this file */
    struct connpool_db_child_t *child;
} connpool_database_t;

typedef struct connpool_upstream_t {
    const char *name;
    server_rec *server;
    const char *where;
    const char *origin; /* scheme://host:port */
    cp_upstream_config_t http;
    cp_pool_config_t pool;
    int perhost;
    int coalesces; /* equal fetches at one time share one */
    int breaker;   /* failures in a row that open it, 0: never */
    int overflow_direct;
    cp_log_limit_t complaints[CP_ERR_CLASSES]; /* of this child */
    apr_array_header_t *headers; /* const char *: request headers to forward */
    int pool_entry;
    int entry;
    struct connpool_up_child_t *child;
} connpool_upstream_t;

typedef struct connpool_param_t {
    cp_param_spec_t spec;
    ap_regex_t *match; /* NULL: none */
} connpool_param_t;

/** Of a query that does not say max-rows= or max-bytes=. */
#define CONNPOOL_MAX_ROWS  1000
#define CONNPOOL_MAX_BYTES (8 * 1024 * 1024)

/** How answers of a query are kept and shared. */
typedef struct connpool_caching_t {
    apr_interval_time_t ttl; /* 0: none */
    int is_by_data;          /* ttl=data: until the database changes */
    apr_interval_time_t stale;
    apr_interval_time_t stale_if_error;
    int is_shared; /* requests that carry credentials get the same answers */
    int coalesces;
    cp_buffer_t key; /* what all its keys begin with; set in the child */
} connpool_caching_t;

typedef struct connpool_query_t {
    const char *name;
    server_rec *server;
    const char *where;
    const char *database_name;
    connpool_database_t *database; /* resolved in check_config */
    const char *sql;
    cp_sql_shape_t shape;
    int is_write;
    apr_int64_t methods; /* AP_METHOD_BIT << M_x, or'ed */
    int max_rows;
    apr_int64_t max_bytes;
    apr_interval_time_t timeout; /* UNSET: the database's */
    cp_format_t format;
    cp_log_limit_t complaints[CP_ERR_CLASSES]; /* of this child */
    cp_log_limit_t slow_log;                   /* likewise */
    apr_array_header_t *params;                /* connpool_param_t * */
    connpool_caching_t caching;
    int entry;
} connpool_query_t;

typedef enum connpool_report_t {
    CONNPOOL_REPORT_OFF,
    CONNPOOL_REPORT_ON,
    CONNPOOL_REPORT_FULL,
} connpool_report_t;

typedef struct connpool_server_t {
    server_rec *server;

    /* Numbers and flags, CONNPOOL_UNSET until completed. */
    int engine;
    int http_pool;
    int db_pool;
    int event_loop; /* main server only */
    int http_max;
    int http_per_host;
    apr_interval_time_t http_connect;
    apr_interval_time_t http_read;
    apr_interval_time_t http_keepalive;
    int http_cleanup;
    int db_max;
    int server_status;
    apr_int64_t memory;       /* of the whole child */
    apr_int64_t cache_local;  /* main server only */
    const char *cache;        /* main server only; NULL: the default */
    apr_interval_time_t slow; /* 0: nothing is slow */
    int server_timing;

    /* Defined in this very server, in order. */
    apr_array_header_t *databases; /* connpool_database_t * */
    apr_array_header_t *upstreams; /* connpool_upstream_t * */
    apr_array_header_t *queries;   /* connpool_query_t * */

    /* Visible here: own ones and those of the main server. By name. */
    apr_hash_t *all_databases;
    apr_hash_t *all_upstreams;
    apr_hash_t *all_queries;

    cp_gate_t
        *http_gate; /* child: the total limit of this server's upstreams */
} connpool_server_t;

/** How much one request may ask of connpool-batch. */
typedef struct connpool_batch_limits_t {
    int max;          /* items */
    int parallel;     /* fetches at once */
    apr_int64_t body; /* bytes of the request's */
} connpool_batch_limits_t;

typedef struct connpool_dir_t {
    apr_array_header_t *serve; /* const char *, NULL: not set */
    const char *location;      /* path of the <Location> that serves, or NULL */
    int has_require;           /* merged by "or"; see connpool_status_require */
    connpool_batch_limits_t batch; /* UNSET: see connpool_batch_limits */
} connpool_dir_t;

extern const command_rec connpool_commands[];
void *connpool_create_server_config(apr_pool_t *p, server_rec *s);
void *connpool_merge_server_config(apr_pool_t *p, void *base, void *add);
void *connpool_create_dir_config(apr_pool_t *p, char *path);
void *connpool_merge_dir_config(apr_pool_t *p, void *base, void *add);
int connpool_pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp);
int connpool_check_config(apr_pool_t *pconf, apr_pool_t *plog,
                          apr_pool_t *ptemp, server_rec *main_server);

connpool_server_t *connpool_server(server_rec *s);
connpool_dir_t *connpool_dir(request_rec *r);

/** ConnPoolBatch... as they hold for this request. */
connpool_batch_limits_t connpool_batch_limits(request_rec *r);

/** The one name that ConnPoolServe gives here, or NULL. */
const char *connpool_served_name(request_rec *r);

/* --- the child (mod_connpool_child.c) ---------------------------------------
 */

/** A write lock of a database file, kept over restarts in the process's pool.
 */
typedef struct connpool_lock_t {
    const char *path;
    apr_global_mutex_t *mutex;
} connpool_lock_t;

/** Index [is_pooled]: a virtual host may have its pooling switched off. NULL
 * where no server needs it. */
typedef struct connpool_db_child_t {
    cp_sqlite_t *sqlite;
    cp_sentinel_t *sentinel; /* NULL: no query with ttl=data */
    cp_pool_t *readers[2];
    cp_pool_t *writer[2]; /* equal to readers when max=1; NULL if readonly */
} connpool_db_child_t;

typedef struct connpool_up_child_t {
    cp_upstream_t *upstream;
    cp_breaker_t *breaker;
    cp_pool_t *pool[2];
} connpool_up_child_t;

/** The state of this process. All fields are set in child_init (segment and
 * main_server in post_config) and constant afterwards, but the last three. */
typedef struct connpool_child_t {
    server_rec *main_server;
    cp_segment_t *segment; /* NULL before post_config */
    int slot;              /* ours in the segment */
    cp_loop_t *loop;       /* NULL: fetches run in the request's thread */
    int is_started;
    int is_stopping;       /* atomic: the child ends at once */
    cp_clock_t grace_end;  /* atomic: of a graceful stop, 0: none */
    uint64_t buffer_bytes; /* atomic: of answers that are being collected */
    int is_cut; /* prefork's one thread is in a signal handler above a request:
                   release and close nothing */
} connpool_child_t;

extern connpool_child_t connpool_child;

/** What tells a server from all others in the counters: "" for the main one,
 * "host:port" for a virtual host, "host:port#2" for the second one so called.
 */
const char *connpool_server_key(apr_pool_t *p, const server_rec *s);

/** Walk over all definitions of all servers. */
typedef void (*connpool_each_database_fn)(connpool_database_t *db, void *baton);
typedef void (*connpool_each_upstream_fn)(connpool_upstream_t *up, void *baton);
typedef void (*connpool_each_query_fn)(connpool_query_t *query, void *baton);
void connpool_each_database(connpool_each_database_fn fn, void *baton);
void connpool_each_upstream(connpool_each_upstream_fn fn, void *baton);
void connpool_each_query(connpool_each_query_fn fn, void *baton);

/** Walk over the pools of a database, or over all of this child. */
typedef void (*connpool_each_pool_fn)(cp_pool_t *pool, void *baton);
void connpool_each_pool_of(connpool_database_t *db, connpool_each_pool_fn fn,
                           void *baton);
void connpool_each_pool(connpool_each_pool_fn fn, void *baton);

/** From the maintenance thread: end what hangs when a graceful stop's time is
 * over. */
void connpool_child_end_grace(void);

/** Does this configuration want children to have an event loop? */
int connpool_wants_loop(void);

/** The maintenance thread (mod_connpool_maintain.c). */
void connpool_maintenance_start(server_rec *s);
void connpool_maintenance_stop(void);

/** Does what this child uses leave room for one more request, under the bound
 * of that server? Shrinks what is idle before it says no; counts both. */
int connpool_memory_allows(server_rec *s);

int connpool_post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp,
                         server_rec *main_server);
void connpool_child_init(apr_pool_t *pchild, server_rec *main_server);
void connpool_child_stopping(apr_pool_t *pchild, int graceful);
void connpool_child_status(server_rec *s, pid_t pid, ap_generation_t gen,
                           int slot, mpm_child_status status);

/** This child's cells of a query or an upstream. */
cp_query_stats_t *connpool_query_stats(const connpool_query_t *query);
cp_upstream_stats_t *connpool_upstream_stats(const connpool_upstream_t *up);

/* --- connections of a request (mod_connpool_request.c) -----------------------
 */

/** A connection held for a request. Shared when the request (its subrequests
 * and internal redirects too) asks for the same pool again. */
typedef struct connpool_hold_t connpool_hold_t;

/** `holder` names who asks, for leak reports; NULL: the request's URI. */
apr_status_t connpool_hold_database(request_rec *r, connpool_database_t *db,
                                    int is_writer, const char *holder,
                                    connpool_hold_t **phold, cp_error_t *err);

/** Never shared: a transfer cannot be in a handle twice. */
#define CONNPOOL_HOLD_EXCLUSIVE 1
/** Only if nobody has to wait for it, else APR_EAGAIN with err clear. */
#define CONNPOOL_HOLD_AT_ONCE   2

/** `how`: CONNPOOL_HOLD_ bits. */
apr_status_t connpool_hold_upstream(request_rec *r, connpool_upstream_t *up,
                                    int how, connpool_hold_t **phold,
                                    cp_error_t *err);
void *connpool_hold_connection(const connpool_hold_t *hold);
/** The CURL * of an upstream's connection, prepared when it is first asked for;
 * NULL without memory. */
void *connpool_hold_easy(connpool_hold_t *hold, connpool_upstream_t *up);
/** Beside the pool, or of one that keeps nothing: for this use only. */
int connpool_hold_is_one_shot(const connpool_hold_t *hold);
int connpool_hold_is_shared(const connpool_hold_t *hold);
/** Does the request hold any connection now? */
int connpool_holds_any(request_rec *r);

/** Has this request a connection of the database in its hands already? */
int connpool_holds_database(request_rec *r, const connpool_database_t *db);

/** Give back; releasing twice is logged and harmless. */
void connpool_hold_release(connpool_hold_t *hold);
/** Give back broken: it is closed once nobody shares it any more. */
void connpool_hold_discard(connpool_hold_t *hold, const char *why);

/** What a request has spent so far, its subrequests included; microseconds. */
typedef struct connpool_account_t {
    apr_interval_time_t wait;  /**< for connections */
    apr_interval_time_t db;    /**< with connections of databases */
    apr_interval_time_t http;  /**< with upstreams, one or several at once */
    cp_clock_t fetching;       /**< since when one is under way; 0: none is */
    int fetches;               /**< under way */
    int fallbacks;             /**< one-shot connections */
    cp_clock_t query_deadline; /**< of what the request works on; 0: none */
    cp_meanwhile_fn meanwhile; /**< to be called while a query runs, or NULL */
    void *meanwhile_baton;
} connpool_account_t;

/** Of the outermost request; never NULL. */
connpool_account_t *connpool_account(request_rec *r);

/** Before the log is written: the account as notes, for LogFormat. */
int connpool_log_account(request_rec *r);

/* --- running queries (mod_connpool_work.c) --- */

/** One execution of a named query. Caller's storage, zeroed. */
typedef struct connpool_run_t {
    request_rec *r;
    connpool_query_t *query;
    connpool_hold_t *hold;
    cp_statement_t *statement;
    const cp_value_t *values; /* of the declared parameters */
    cp_clock_t asked;         /* for a connection */
    cp_clock_t started;       /* with the connection */
    cp_clock_t deadline;
    int in_transaction;
    int is_nested; /* its transaction lies within that of another */
    apr_int64_t rows;
    int is_lasting;      /* with ttl=data: good until the data change */
    apr_int64_t changes; /* after close, of a write */
    apr_int64_t last_rowid;
} connpool_run_t;

/** Acquire, prepare, bind; begin a transaction for a write. values has one
 * entry per declared parameter. On failure everything is given back. */
apr_status_t connpool_run_open(connpool_run_t *run, request_rec *r,
                               connpool_query_t *query,
                               const cp_value_t *values, cp_error_t *err);

/** The next row (cp_statement_row reads it), APR_EOF, or err. */
apr_status_t connpool_run_next(connpool_run_t *run, cp_error_t *err);

/** Commit (with rv APR_SUCCESS or APR_EOF) or roll back, give the connection
 * back, count. Returns rv, or the failure to commit. Idempotent. */
apr_status_t connpool_run_close(connpool_run_t *run, apr_status_t rv,
                                cp_error_t *err);

/* --- from rows to bytes (mod_connpool_rows.c) --- */

/** An answer in the making. Caller's storage, zeroed, with make_room set. */
typedef struct connpool_rows_t {
    /** After each row of a read: may move what buf holds elsewhere, add that to
     * passed, and empty buf. Failures go to err. NULL: all stays in buf. */
    apr_status_t (*make_room)(struct connpool_rows_t *rows);
    request_rec *r;
    connpool_query_t *query;
    connpool_run_t run;
    cp_encoder_t *encoder; /* NULL before the first row is asked for */
    cp_value_t *row;
    cp_buffer_t buf;
    apr_size_t counted; /* bytes of buf that the child's figures know of */
    apr_int64_t passed; /* bytes that make_room has taken */
    cp_error_t err;
    int status; /* 200, or 404 without a body: a single row that is not there */
    const char *content_type;
    const char *truncated; /* "rows", "bytes", NULL */
} connpool_rows_t;

/** Run the query to its end; the connection is given back.
 * @return APR_SUCCESS: the rest of the answer is in buf; or err is set and buf
 * empty */
apr_status_t connpool_rows_read(connpool_rows_t *rows, request_rec *r,
                                connpool_query_t *query,
                                const cp_value_t *values);

/** Free buf. */
void connpool_rows_free(connpool_rows_t *rows);

/** Run the query, its whole answer in memory (at most max-bytes): status 200
 * with Content-Type, and ConnPool-Truncated if it is cut, or 404 without body.
 * The caller has the one reference. */
apr_status_t connpool_collect_query(request_rec *r, connpool_query_t *query,
                                    const cp_value_t *values,
                                    cp_answer_t **panswer, cp_error_t *err);

/** The same, and whether the answer, of a query with ttl=data, is good as long
 * as the version that was read before: it is of the file's latest state, and
 * nothing but the data decides it. */
apr_status_t connpool_collect_lasting(request_rec *r, connpool_query_t *query,
                                      const cp_value_t *values,
                                      cp_answer_t **panswer, int *pis_lasting,
                                      cp_error_t *err);

/** Add those of the request's headers that the upstream is to see. */
void connpool_hand_on_headers(request_rec *r, const connpool_upstream_t *up,
                              cp_fetch_request_t *request);

/** One fetch under way, of many that a thread may have. Caller's storage,
 * zeroed. */
typedef struct connpool_fetch_run_t {
    request_rec *r;
    connpool_upstream_t *up; /* NULL: not opened, or closed */
    connpool_hold_t *hold;
    cp_transfer_t *transfer;
    apr_interval_time_t waited;
    cp_admission_t admission; /* by the upstream's breaker */
    int is_hurried;           /* it has less time than the upstream may take */
} connpool_fetch_run_t;

/** Borrow from the upstream's pool, and begin. Who has fetches of the same
 * request open already passes CONNPOOL_HOLD_AT_ONCE in `how`, else 0: who
 * waited for a connection while it holds others could wait for ever. What
 * request and sink point to must last until connpool_fetch_close. For bell see
 * cp_transfer_start.
 * @return APR_SUCCESS: advance and close it; APR_EAGAIN with
 * CONNPOOL_HOLD_AT_ONCE: none is free, nothing happened, the run is as new;
 * else err, and nothing is to be closed */
apr_status_t connpool_fetch_open(connpool_fetch_run_t *run, request_rec *r,
                                 connpool_upstream_t *up,
                                 const cp_fetch_request_t *request,
                                 const cp_fetch_sink_t *sink, cp_bell_t *bell,
                                 int how, cp_error_t *err);

/** As cp_transfer_advance: APR_SUCCESS: over, close it, or APR_EAGAIN. */
apr_status_t connpool_fetch_advance(connpool_fetch_run_t *run,
                                    cp_clock_t *puntil);

/** Give the connection back, count. A fetch under way is given up first.
 * Idempotent: APR_SUCCESS, the second time.
 * @return what became of the fetch, with err */
apr_status_t connpool_fetch_close(connpool_fetch_run_t *run, cp_error_t *err);

/** One fetch from open to close. */
apr_status_t connpool_run_fetch(request_rec *r, connpool_upstream_t *up,
                                const cp_fetch_request_t *request,
                                const cp_fetch_sink_t *sink, cp_error_t *err);

/** Count a fetch that begins (1) or ends (-1) in the request's account: several
 * at once take it no more time than one. */
void connpool_account_fetch(request_rec *r, int delta);

/* --- fetches that are shared (mod_connpool_coalesce.c) --- */

/** As connpool_run_fetch; with coalesce=on the sink may get what an equal fetch
 * brings that is under way in this child, once that is whole. Requests that
 * hand on credentials run alone. */
apr_status_t connpool_coalesce_fetch(request_rec *r, connpool_upstream_t *up,
                                     const cp_fetch_request_t *request,
                                     const cp_fetch_sink_t *sink,
                                     cp_error_t *err);

void connpool_coalesce_start(apr_pool_t *pchild);

/** The child ends: nobody waits for others any more. */
void connpool_coalesce_cancel(void);

/* --- parameters (mod_connpool_params.c) --- */

typedef struct connpool_input_error_t {
    const char *param;
    const char *reason;
} connpool_input_error_t;

/** Read the request's parameters (query string; form or JSON body) for the
 * query's declared ones: one cp_value_t each, in r->pool.
 * @return OK, or the HTTP status to answer: 400 with entries in errors, 413,
 * 415, with *pdetail set */
int connpool_params_read(request_rec *r, const connpool_query_t *query,
                         cp_value_t **pvalues, apr_array_header_t **perrors,
                         const char **pdetail);

/** One value as it came: text, or a member of a JSON object. */
typedef struct connpool_raw_t {
    const char *name;
    const char *data; /* NULL: typed */
    apr_size_t size;
    const struct json_t *typed;
} connpool_raw_t;

/** For several queries at once. Take a query string (NULL: none) apart;
 * *perrors gets what cannot be decoded (connpool_input_error_t).
 * @return connpool_raw_t, in the request's pool */
apr_array_header_t *connpool_params_split(request_rec *r, const char *args,
                                          apr_array_header_t **perrors);

/** Values for one query, from those that it declares among what is shared, or
 * from the members of a JSON object (NULL: none), which must outlive them.
 * @return what is wrong with them (connpool_input_error_t): empty when they can
 * be used */
apr_array_header_t *connpool_params_share(request_rec *r,
                                          const connpool_query_t *query,
                                          apr_array_header_t *raws,
                                          cp_value_t **pvalues);
apr_array_header_t *connpool_params_take(request_rec *r,
                                         const connpool_query_t *query,
                                         const struct json_t *object,
                                         cp_value_t **pvalues);

/** A name that came with the request, as it may be shown: short, and
 * well-formed or "?". */
const char *connpool_shown_name(request_rec *r, const char *name);

/** The place of a declared parameter, or -1. */
int connpool_find_param(const connpool_query_t *query, const char *name);

/** The request's body, in r->pool with a NUL behind it.
 * @return OK, or the HTTP status to answer: 400, 413, 415 for one that is
 * compressed, with *pdetail set */
int connpool_read_body(request_rec *r, apr_int64_t max, char **pbody,
                       apr_size_t *psize, const char **pdetail);

/** An object or an array, without equal keys; lives as long as p. NULL:
 * *pdetail says why. */
struct json_t *connpool_json_load(apr_pool_t *p, const char *body,
                                  apr_size_t size, const char **pdetail);

/** Does a body come with the request? */
int connpool_has_body(request_rec *r);

/** Is that what the header's value says, whatever its parameters? */
int connpool_is_media_type(const char *header, const char *type);

/** A declared parameter's value from text: NULL or the reason against it. */
const char *connpool_param_parse(apr_pool_t *p, const connpool_param_t *param,
                                 const char *data, apr_size_t size,
                                 cp_value_t *value);

/* --- answers (mod_connpool_answer.c) --- */

/** Send application/problem+json; returns OK (the answer is complete). errors
 * (connpool_input_error_t) and detail may be NULL. */
int connpool_problem(request_rec *r, int status, const char *detail,
                     const apr_array_header_t *errors);

/** Append its object to a buffer. retry_after: seconds; 0 is not shown. */
void connpool_problem_write(cp_buffer_t *buf, int status, const char *detail,
                            int retry_after, const apr_array_header_t *errors);

/** Answer OPTIONS, and what is not among methods (bits), by telling which are;
 * GET includes HEAD.
 * @return whether that was the answer: the handler returns OK */
int connpool_answer_method(request_rec *r, apr_int64_t methods);

/** connpool_problem for a core error: maps the class, logs the detail. `what`
 * names the query or upstream, whose `complaints` limit the lines per class. */
int connpool_problem_of(request_rec *r, const char *what, const cp_error_t *err,
                        cp_log_limit_t *complaints);

/** Log a core error as connpool_problem_of does. */
void connpool_complain(request_rec *r, const char *what, const cp_error_t *err,
                       cp_log_limit_t *complaints);

/** The account so far as the header Server-Timing, if that is wanted. */
void connpool_add_server_timing(request_rec *r);

/** " (3 more like this since the last line)", "" for 0. */
const char *connpool_suppressed(apr_pool_t *p, uint64_t count);

/** The sentence for the client: what, the cause, when to come again. */
const char *connpool_explain(apr_pool_t *p, const char *what,
                             const cp_error_t *err);

/** HTTP status of an error class. */
int connpool_status_of(cp_error_class_t cls);

/** Send a complete body: type, length, strong ETag, 304 and HEAD handled. The
 * buffer's storage passes to the output and is emptied. */
int connpool_send_whole(request_rec *r, const char *content_type,
                        cp_buffer_t *body);

/** The same under a tag that tells more than the bytes do; NULL: none. */
int connpool_send_tagged(request_rec *r, const char *content_type,
                         const char *etag, cp_buffer_t *body);

/** Go on with a hash, 0 at first; and the tag that it makes: prefix is "", or
 * "W/" when answers with the same tag may differ in what does not matter. */
apr_uint64_t connpool_hash(apr_uint64_t hash, const char *data,
                           apr_size_t size);
const char *connpool_etag(apr_pool_t *p, const char *prefix, apr_uint64_t hash);

/** A strong entity tag of the body. */
const char *connpool_body_etag(apr_pool_t *p, const cp_buffer_t *body);

/** Send an answer that others may have, too: its type, its ETag, 304 and HEAD
 * handled. The caller keeps its reference, and may give it back at once. */
int connpool_send_shared(request_rec *r, cp_answer_t *answer,
                         const char *cache_control);

/** connpool_send_whole from a file and a buffer, for bodies too long to hold:
 * no tag. */
int connpool_send_file(request_rec *r, const char *content_type,
                       apr_file_t *file, apr_off_t size, cp_buffer_t *rest);

/** Send so many bytes of the file (NULL: none), then the buffer's, under the
 * headers that are set. */
void connpool_pass_collected(request_rec *r, apr_file_t *file, apr_off_t size,
                             cp_buffer_t *rest);

/** What ap_meets_conditions found, as a handler's answer: 412 as a problem. */
int connpool_condition_answer(request_rec *r, int status);

/** Begin / continue / end an answer of unknown length. */
void connpool_stream_begin(request_rec *r, const char *content_type);
apr_status_t connpool_stream_write(request_rec *r, cp_buffer_t *chunk);
void connpool_stream_end(request_rec *r);
/** Say, before the body, that this header of r->trailers_out may follow it. */
void connpool_trailer_announce(request_rec *r, const char *name);
void connpool_trailer_register(void); /* mod_connpool_trailer.c */
/** End it so that the client sees it is cut: no last chunk, close. */
void connpool_stream_cut(request_rec *r);

/** Write to a client for at most so long: while a reader is held. Restores the
 * connection's own timeout with `left` < 0. */
void connpool_limit_client_wait(request_rec *r, apr_interval_time_t left);

/** A page of another site makes its reader's browser ask. */
int connpool_is_cross_site(request_rec *r);

/** Nobody waits for the answer: the client has closed its connection, or the
 * child ends at once. */
int connpool_client_is_gone(request_rec *r);

/* --- answers that wait (mod_connpool_spool.c) --- */

/** Bytes of an answer that are collected in memory. */
#define CONNPOOL_HELD_BYTES (1024 * 1024)

/** Move the buffer's bytes to the end of a temporary file, which is made when
 * *pfile is NULL. Nobody can find it, and it ends with the request. */
apr_status_t connpool_spill(request_rec *r, apr_file_t **pfile,
                            cp_buffer_t *buf, cp_error_t *err);

/** Tell the child's figures how much the buffer holds by now. *pcounted is what
 * they know of it, 0 at first. */
void connpool_count_buffer(const cp_buffer_t *buf, apr_size_t *pcounted);

/* --- answers that are kept or shared (mod_connpool_cache.c) --- */

/** How a request came to its answer: the note connpool-cache. */
typedef enum connpool_outcome_t {
    CONNPOOL_BYPASS,    /* neither looked for nor kept */
    CONNPOOL_MISS,      /* the query was run for it */
    CONNPOOL_HIT,       /* it was there */
    CONNPOOL_STALE,     /* it was there, and had expired */
    CONNPOOL_COALESCED, /* the query was run for another request */
    CONNPOOL_OUTCOMES
} connpool_outcome_t;

typedef struct connpool_served_t {
    cp_answer_t *answer; /* the caller's to unref */
    connpool_outcome_t outcome;
    apr_time_t expires; /* wall clock, with ttl=DURATION; else 0 */
} connpool_served_t;

/** With ttl=. */
int connpool_query_is_cached(const connpool_query_t *query);
/** With ttl= or coalesce=on: never streams. */
int connpool_query_is_collected(const connpool_query_t *query);

/** The answer from the cache, from another request that asks for the same now,
 * or by running the query. Counts. */
apr_status_t connpool_serve_query(request_rec *r, connpool_query_t *query,
                                  const cp_value_t *values,
                                  connpool_served_t *served, cp_error_t *err);

/** The answer alone, which is the caller's to unref. */
apr_status_t connpool_answer_query(request_rec *r, connpool_query_t *query,
                                   const cp_value_t *values,
                                   cp_answer_t **panswer, cp_error_t *err);

/** May others' answers be given to this request, and the other way round? */
int connpool_has_credentials(request_rec *r);

/** Before the first request of the child; when it ends at once; after its
 * last request; once a second. */
void connpool_cache_start(apr_pool_t *pchild, server_rec *main_server);
void connpool_cache_cancel(void);
void connpool_cache_stop(void);
void connpool_cache_maintain(void);

/** Bytes of answers kept in this child, and to let go of all. */
apr_size_t connpool_cache_bytes(void);
void connpool_cache_shrink(void);

/** Serve it with Cache-Control, Vary, Age and the note
 * (mod_connpool_cache_http.c); takes over the reference. */
int connpool_send_served(request_rec *r, const connpool_query_t *query,
                         connpool_served_t *served);

/* --- the shared cache (mod_connpool_cache_provider.c) --- */

/** An entry with all that goes with it, too, is never larger: what memcached
 * takes. */
#define CONNPOOL_ENTRY_MAX 1000000

/** The name of its mutex, for the directive Mutex. */
#define CONNPOOL_CACHE_MUTEX "connpool-cache"

/** Find the provider that the directive names (NULL: shmcb) and configure it.
 * @return NULL, or a sentence */
const char *connpool_provider_create(apr_pool_t *pconf, apr_pool_t *ptemp,
                                     const char *directive);
/** In the parent, once the configuration stands; nothing without a provider.
 */
apr_status_t connpool_provider_init(apr_pool_t *pconf, apr_pool_t *ptemp,
                                    server_rec *main_server);
void connpool_provider_child_init(apr_pool_t *pchild);

/** "shmcb", ...; NULL when no query needs one. */
const char *connpool_provider_name(void);

/** The entry of that key, whatever its age, or NULL: within a bounded time,
 * even if the provider hangs. */
cp_answer_t *connpool_provider_get(request_rec *r, const cp_key_t *key,
                                   cp_entry_times_t *times);
/** Keep it, at once or soon.
 * @return 0 when that is known to fail */
int connpool_provider_put(request_rec *r, const cp_key_t *key,
                          const cp_answer_t *answer,
                          const cp_entry_times_t *times);
/** Is an entry that was put there for the next one who asks? */
int connpool_provider_is_direct(void);

/** This child's figures of its caches. */
cp_cache_stats_t *connpool_cache_stats(void);

/* --- providers that may hang (mod_connpool_cache_remote.c) --- */

/** What a remote provider is asked to do, in a thread that may be lost. */
typedef struct connpool_remote_t {
    apr_status_t (*get)(const char *id, char *room, unsigned *psize,
                        apr_pool_t *p);
    apr_status_t (*put)(const char *id, apr_time_t expires, char *data,
                        unsigned size, apr_pool_t *p);
} connpool_remote_t;

void connpool_remote_start(const connpool_remote_t *calls);
/** data: empty; what came, or nothing with APR_NOTFOUND, APR_TIMEUP (in time),
 * APR_EBUSY (not tried), or the provider's error. */
apr_status_t connpool_remote_get(const char *id, cp_buffer_t *data);
/** Takes over the data's storage. APR_EBUSY: not tried, APR_ENOSPC: too much
 * waits already. */
apr_status_t connpool_remote_put(const char *id, apr_time_t expires,
                                 cp_buffer_t *data);
/** Waits a moment for calls under way. */
void connpool_remote_stop(void);

/* --- handlers --- */

int connpool_query_handler(request_rec *r);  /* mod_connpool_query.c */
int connpool_fetch_handler(request_rec *r);  /* mod_connpool_fetch.c */
int connpool_batch_handler(request_rec *r);  /* mod_connpool_batch.c */
int connpool_status_handler(request_rec *r); /* mod_connpool_status.c */
int connpool_health_handler(request_rec *r); /* mod_connpool_health.c */

/** Once a second from every child's maintenance; one of them does the work. */
void connpool_health_sample(void);
void connpool_status_register(apr_pool_t *p);

/** May this client see the report? Local clients only, unless a Require says
 * otherwise.
 * @return OK or HTTP_FORBIDDEN */
int connpool_status_access(request_rec *r);

/** Handler of "Require" (RAW_ARGS, OR_AUTHCFG) beside the one of
 * mod_authz_core, which alone enforces it: notes that somebody decided who may
 * see what lies here. */
const char *connpool_status_require(cmd_parms *cmd, void *dir,
                                    const char *args);

void connpool_api_register(void); /* mod_connpool_api.c */

#endif
