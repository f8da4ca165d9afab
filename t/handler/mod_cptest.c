/* SPDX-License-Identifier: Apache-2.0
 * A consumer of mod_connpool as a stranger would write it: it knows the public
 * header only, finds the functions at run time, and links with nothing of the
 * module. The handler "cptest" runs the steps that its query string lists, in
 * that order, and answers a line of text for each:
 *
 *   acquire=a:POOL:read|write  release=a  discard=a:WHY  same=a:b
 *   sqlite=a  exec=a:SQL  open=a:SQL (left unfinished)  close=a
 *   curl=a  perform=a  useragent=a:TEXT
 *   named=a:QUERY  sql=a:DATABASE:read|write:SQL  bind=a:NAME:n|i|r|t|b:VALUE
 *   run=a  next=a  rows=a  end=a  error=a
 *   constraint=a  failure=a  answer=a  version=
 *   fetch=UPSTREAM:PATH:QUERY
 *   batch=PARALLEL  addcall=a  addfetch=UPSTREAM:PATH:QUERY
 *   waitall=MS (-1: no limit)  waitnext=MS  result=INDEX  endbatch=
 *   itemfailure=INDEX  fetchfailure=
 *   heap=BYTES (of all SQLite, 0: no limit)
 *   sub=/URI  redirect=/URI  status=404  touch=FILE  await=FILE
 *
 * It is built twice: with the header as it is, and with that of version 1 (in
 * first/), as modules were that nobody builds again. */
#include <curl/curl.h>
#include <httpd.h>
#include <http_config.h>
#include <http_protocol.h>
#include <http_request.h>
#include <sqlite3.h>
#include <stdlib.h>

#include <apr_file_io.h>
#include <apr_strings.h>

#include "mod_connpool.h"

#define PLACES   26 /* one for each letter */
#define PATIENCE apr_time_from_sec(20)

extern module AP_MODULE_DECLARE_DATA cptest_module
    __attribute__((visibility("default")));

#define EACH_FUNCTION(F)                                                       \
    F(call_named)                                                              \
    F(call_sql)                                                                \
    F(bind_null)                                                               \
    F(bind_int64)                                                              \
    F(bind_double)                                                             \
    F(bind_text)                                                               \
    F(bind_blob)                                                               \
    F(call_run)                                                                \
    F(call_next)                                                               \
    F(columns)                                                                 \
    F(column_name)                                                             \
    F(column_kind)                                                             \
    F(column_int64)                                                            \
    F(column_double)                                                           \
    F(column_bytes)                                                            \
    F(call_end)                                                                \
    F(call_changes)                                                            \
    F(call_last_rowid)                                                         \
    F(call_error)                                                              \
    F(call_constraint)                                                         \
    F(fetch)                                                                   \
    F(response_status)                                                         \
    F(response_header)                                                         \
    F(response_body)                                                           \
    F(batch_create)                                                            \
    F(batch_add_call)                                                          \
    F(batch_add_fetch)                                                         \
    F(batch_wait)                                                              \
    F(batch_next)                                                              \
    F(batch_result)                                                            \
    F(batch_end)                                                               \
    F(acquire)                                                                 \
    F(release)                                                                 \
    F(discard)                                                                 \
    F(sqlite)                                                                  \
    F(curl)

/* Since version 2. */
#ifdef CONNPOOL_API_VERSION
#define EACH_NEW_FUNCTION(F)                                                   \
    F(api_version)                                                             \
    F(call_failure)                                                            \
    F(call_answer)                                                             \
    F(batch_failure)                                                           \
    F(fetch_failure)
#else
#define EACH_NEW_FUNCTION(F)
#endif

/* Set before the first request and constant afterwards. */
#define DECLARE(name) static APR_OPTIONAL_FN_TYPE(connpool_##name) * cp_##name;
EACH_FUNCTION(DECLARE)
EACH_NEW_FUNCTION(DECLARE)
static int is_complete;

typedef struct script_t {
    request_rec *r;
    connpool_conn_t *conns[PLACES];
    connpool_call_t *calls[PLACES];
    sqlite3_stmt *stmts[PLACES];
    connpool_batch_t *batch;
    int status;
    int is_ended;
} script_t;

/* "a" of "a:rest" is the number of a place; *rest gets what follows. */
static int place(const char *text, const char **rest)
{
    int i = text[0] >= 'a' && text[0] <= 'z' ? text[0] - 'a' : 0;

    *rest = text[0] && text[1] == ':' ? text + 2 : "";
    return i;
}

static const char *outcome(apr_status_t rv)
{
    switch (rv) {
    case APR_SUCCESS:
        return "ok";
    case APR_NOTFOUND:
        return "notfound";
    case APR_TIMEUP:
        return "timeup";
    case APR_ENOSPC:
        return "enospc";
    case APR_EINVAL:
        return "einval";
    case APR_EACCES:
        return "eacces";
    case APR_EBUSY:
        return "ebusy";
    case APR_ENOTIMPL:
        return "enotimpl";
    case APR_EAGAIN:
        return "eagain";
    case APR_EOF:
        return "eof";
    default:
        return "error";
    }
}

static int mode_of(const char *word)
{
    return strncmp(word, "write", 5) == 0 ? CONNPOOL_WRITE : CONNPOOL_READ;
}

/* --- connections --- */

static void do_acquire(script_t *s, const char *arg)
{
    const char *rest;
    int i = place(arg, &rest);
    const char *pool = ap_getword(s->r->pool, &rest, ':');

    ap_rprintf(s->r, "acquire %s\n",
               outcome(cp_acquire(&s->conns[i], s->r, pool, mode_of(rest))));
}

static void do_release(script_t *s, const char *arg)
{
    const char *rest;
    int i = place(arg, &rest);

    if (s->conns[i]) {
        cp_release(s->conns[i]);
    }
    ap_rputs("release\n", s->r);
}

static void do_discard(script_t *s, const char *arg)
{
    const char *rest;
    int i = place(arg, &rest);

    if (s->conns[i]) {
        cp_discard(s->conns[i], *rest ? rest : NULL);
    }
    ap_rputs("discard\n", s->r);
}

static void do_same(script_t *s, const char *arg)
{
    const char *rest, *nothing;
    connpool_conn_t *one = s->conns[place(arg, &rest)];
    connpool_conn_t *other = s->conns[place(rest, &nothing)];
    int is_same = cp_sqlite(one) == cp_sqlite(other)
                  && cp_curl(one) == cp_curl(other);

    ap_rputs(is_same ? "same\n" : "different\n", s->r);
}

static sqlite3 *handle_of(script_t *s, const char *arg, int *pi,
                          const char **rest)
{
    *pi = place(arg, rest);
    return s->conns[*pi] ? cp_sqlite(s->conns[*pi]) : NULL;
}

static void do_sqlite(script_t *s, const char *arg)
{
    const char *rest;
    int i;

    ap_rputs(handle_of(s, arg, &i, &rest) ? "sqlite\n" : "NULL\n", s->r);
}

static int print_row(void *data, int columns, char **values, char **names)
{
    script_t *s = data;

    for (int i = 0; i < columns; i++) {
        ap_rprintf(s->r, "%s%s", i ? "|" : "row ",
                   values[i] ? values[i] : "NULL");
    }
    ap_rputs("\n", s->r);
    return 0;
}

static void do_exec(script_t *s, const char *arg)
{
    const char *rest;
    int i;
    sqlite3 *handle = handle_of(s, arg, &i, &rest);
    int rc = handle ? sqlite3_exec(handle, rest, print_row, s, NULL)
                    : SQLITE_MISUSE;

    ap_rprintf(s->r, "exec %s\n", sqlite3_errstr(rc));
}

static void do_heap(script_t *s, const char *arg)
{
    sqlite3_hard_heap_limit64(apr_atoi64(arg));
    ap_rprintf(s->r, "heap %" APR_INT64_T_FMT "\n",
               (apr_int64_t)sqlite3_hard_heap_limit64(-1));
}

static void do_open(script_t *s, const char *arg)
{
    const char *rest;
    int i;
    sqlite3 *handle = handle_of(s, arg, &i, &rest);
    int rc = handle ? sqlite3_prepare_v2(handle, rest, -1, &s->stmts[i], NULL)
                    : SQLITE_MISUSE;

    rc = rc == SQLITE_OK ? sqlite3_step(s->stmts[i]) : rc;
    ap_rprintf(s->r, "open %s\n", sqlite3_errstr(rc));
}

static void do_close(script_t *s, const char *arg)
{
    const char *rest;
    int i = place(arg, &rest);

    sqlite3_finalize(s->stmts[i]);
    s->stmts[i] = NULL;
    ap_rputs("close\n", s->r);
}

/* --- curl --- */

static CURL *easy_of(script_t *s, const char *arg, const char **rest)
{
    connpool_conn_t *conn = s->conns[place(arg, rest)];

    return conn ? cp_curl(conn) : NULL;
}

static void do_curl(script_t *s, const char *arg)
{
    const char *rest;

    ap_rputs(easy_of(s, arg, &rest) ? "curl\n" : "NULL\n", s->r);
}

static size_t print_body(char *data, size_t size, size_t count, void *baton)
{
    script_t *s = baton;

    return ap_rwrite(data, (int)(size * count), s->r) < 0 ? 0 : size * count;
}

static void do_perform(script_t *s, const char *arg)
{
    const char *rest;
    CURL *easy = easy_of(s, arg, &rest);
    long status = 0;
    CURLcode code;

    if (!easy) {
        ap_rputs("perform NULL\n", s->r);
        return;
    }
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, print_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, s);
    code = curl_easy_perform(easy);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    ap_rprintf(s->r, "\nperform %ld %s\n", status, curl_easy_strerror(code));
}

static void do_useragent(script_t *s, const char *arg)
{
    const char *rest;
    CURL *easy = easy_of(s, arg, &rest);

    if (easy) {
        curl_easy_setopt(easy, CURLOPT_USERAGENT, rest);
    }
    ap_rputs("useragent\n", s->r);
}

/* --- calls --- */

static void do_named(script_t *s, const char *arg)
{
    const char *rest;
    int i = place(arg, &rest);

    ap_rprintf(s->r, "named %s\n",
               outcome(cp_call_named(&s->calls[i], s->r, rest)));
}

static void do_sql(script_t *s, const char *arg)
{
    const char *rest;
    int i = place(arg, &rest);
    const char *database = ap_getword(s->r->pool, &rest, ':');
    const char *mode = ap_getword(s->r->pool, &rest, ':');

    ap_rprintf(s->r, "sql %s\n",
               outcome(cp_call_sql(&s->calls[i], s->r, database, rest,
                                   mode_of(mode))));
}

static connpool_call_t *call_of(script_t *s, const char *arg, const char **rest)
{
    connpool_call_t *call = s->calls[place(arg, rest)];

    if (!call) {
        ap_rputs("no call\n", s->r);
    }
    return call;
}

static void do_bind(script_t *s, const char *arg)
{
    const char *rest;
    connpool_call_t *call = call_of(s, arg, &rest);
    const char *name = ap_getword(s->r->pool, &rest, ':');
    const char *kind = ap_getword(s->r->pool, &rest, ':');

    if (!call) {
        return;
    }
    switch (*kind) {
    case 'i':
        cp_bind_int64(call, name, apr_atoi64(rest));
        break;
    case 'r':
        cp_bind_double(call, name, strtod(rest, NULL));
        break;
    case 't':
        cp_bind_text(call, name, rest, strlen(rest));
        break;
    case 'b':
        cp_bind_blob(call, name, rest, strlen(rest));
        break;
    default:
        cp_bind_null(call, name);
        break;
    }
}

static void print_column(script_t *s, connpool_call_t *call, int i)
{
    apr_size_t size;
    const char *bytes;

    ap_rprintf(s->r, " %s=", cp_column_name(call, i));
    switch (cp_column_kind(call, i)) {
    case CONNPOOL_INTEGER:
        ap_rprintf(s->r, "i:%" APR_INT64_T_FMT, cp_column_int64(call, i));
        break;
    case CONNPOOL_REAL:
        ap_rprintf(s->r, "r:%g", cp_column_double(call, i));
        break;
    case CONNPOOL_TEXT:
    case CONNPOOL_BLOB:
        bytes = cp_column_bytes(call, i, &size);
        ap_rputs(cp_column_kind(call, i) == CONNPOOL_TEXT ? "t:" : "b:", s->r);
        ap_rwrite(bytes, (int)size, s->r);
        break;
    default:
        ap_rputs("n", s->r);
        break;
    }
}

static apr_status_t print_next(script_t *s, connpool_call_t *call)
{
    apr_status_t rv = cp_call_next(call);

    if (rv != APR_SUCCESS) {
        ap_rprintf(s->r, "next %s\n", outcome(rv));
        return rv;
    }
    ap_rputs("row", s->r);
    for (int i = 0; i < cp_columns(call); i++) {
        print_column(s, call, i);
    }
    ap_rputs("\n", s->r);
    return rv;
}

static void do_run(script_t *s, const char *arg)
{
    const char *rest;
    connpool_call_t *call = call_of(s, arg, &rest);

    if (call) {
        ap_rprintf(s->r, "run %s\n", outcome(cp_call_run(call)));
    }
}

static void do_next(script_t *s, const char *arg)
{
    const char *rest;
    connpool_call_t *call = call_of(s, arg, &rest);

    if (call) {
        print_next(s, call);
    }
}

static void do_rows(script_t *s, const char *arg)
{
    const char *rest;
    connpool_call_t *call = call_of(s, arg, &rest);

    while (call && print_next(s, call) == APR_SUCCESS) {
    }
}

static void do_end(script_t *s, const char *arg)
{
    const char *rest;
    connpool_call_t *call = call_of(s, arg, &rest);

    if (call) {
        const char *word = outcome(cp_call_end(call));

        ap_rprintf(s->r,
                   "end %s changes=%" APR_INT64_T_FMT " rowid=%" APR_INT64_T_FMT
                   "\n",
                   word, cp_call_changes(call), cp_call_last_rowid(call));
    }
}

static void do_error(script_t *s, const char *arg)
{
    const char *rest;
    connpool_call_t *call = call_of(s, arg, &rest);

    if (call) {
        ap_rprintf(s->r, "error %s\n", cp_call_error(call));
    }
}

static void do_constraint(script_t *s, const char *arg)
{
    const char *rest, *constraint, *subject = NULL;
    connpool_call_t *call = call_of(s, arg, &rest);

    if (call) {
        constraint = cp_call_constraint(call, &subject);
        ap_rprintf(s->r, "constraint %s: %s\n",
                   constraint ? constraint : "none", subject);
    }
}

/* --- fetches --- */

static void print_response(script_t *s, const char *word,
                           const connpool_response_t *response)
{
    const char *type = cp_response_header(response, "Content-Type");
    apr_size_t size;
    const char *body = cp_response_body(response, &size);

    ap_rprintf(s->r, "%s %d %s %" APR_SIZE_T_FMT "\n", word,
               cp_response_status(response), type ? type : "-", size);
    ap_rwrite(body, (int)(size > 1000 ? 1000 : size), s->r);
    ap_rputs(body[size] ? " without a NUL\n" : "\n", s->r);
}

static void do_fetch(script_t *s, const char *arg)
{
    const char *upstream = ap_getword(s->r->pool, &arg, ':');
    const char *path = ap_getword(s->r->pool, &arg, ':');
    connpool_response_t *response;
    const char *error = NULL;
    apr_status_t rv = cp_fetch(&response, s->r, upstream, path,
                               *arg ? arg : NULL, &error);

    if (rv != APR_SUCCESS) {
        ap_rprintf(s->r, "fetch %s %s\n", outcome(rv), error);
        return;
    }
    print_response(s, "fetch", response);
}

/* --- batches --- */

static void do_batch(script_t *s, const char *arg)
{
    ap_rprintf(s->r, "batch %s\n",
               outcome(cp_batch_create(&s->batch, s->r, atoi(arg))));
}

static void do_addcall(script_t *s, const char *arg)
{
    const char *rest;
    connpool_call_t *call = call_of(s, arg, &rest);

    if (call) {
        ap_rprintf(s->r, "addcall %s\n",
                   outcome(cp_batch_add_call(s->batch, call)));
    }
}

static void do_addfetch(script_t *s, const char *arg)
{
    const char *upstream = ap_getword(s->r->pool, &arg, ':');
    const char *path = ap_getword(s->r->pool, &arg, ':');

    ap_rprintf(s->r, "addfetch %s\n",
               outcome(cp_batch_add_fetch(s->batch, upstream, path,
                                          *arg ? arg : NULL)));
}

static apr_interval_time_t timeout_of(const char *arg)
{
    return *arg == '-' ? -1 : apr_time_from_msec(apr_atoi64(arg));
}

static void do_waitall(script_t *s, const char *arg)
{
    ap_rprintf(s->r, "waitall %s\n",
               outcome(cp_batch_wait(s->batch, timeout_of(arg))));
}

static void do_waitnext(script_t *s, const char *arg)
{
    int i;
    const char *word = outcome(cp_batch_next(s->batch, timeout_of(arg), &i));

    ap_rprintf(s->r, "waitnext %s %d\n", word, i);
}

static void do_result(script_t *s, const char *arg)
{
    connpool_response_t *response;
    const char *error;
    apr_status_t rv = cp_batch_result(s->batch, atoi(arg), &response, &error);

    if (rv == APR_SUCCESS) {
        print_response(s, "result", response);
    }
    else {
        ap_rprintf(s->r, "result %s %s\n", outcome(rv), error);
    }
}

static void do_endbatch(script_t *s, const char *arg)
{
    cp_batch_end(s->batch);
    ap_rputs("endbatch\n", s->r);
}

/* --- since version 2 --- */

#ifdef CONNPOOL_API_VERSION

static void do_version(script_t *s, const char *arg)
{
    ap_rprintf(s->r, "version %d of %d\n", CONNPOOL_API_VERSION,
               cp_api_version());
}

static void do_failure(script_t *s, const char *arg)
{
    const char *rest, *word;
    connpool_call_t *call = call_of(s, arg, &rest);
    int status, retry;

    if (call) {
        word = cp_call_failure(call, &status, &retry);
        ap_rprintf(s->r, "failure %s %d %d\n", word ? word : "none", status,
                   retry);
    }
}

static void do_answer(script_t *s, const char *arg)
{
    const char *rest, *etag, *retry;
    connpool_call_t *call = call_of(s, arg, &rest);
    connpool_response_t *response;
    apr_status_t rv;

    if (!call) {
        return;
    }
    rv = cp_call_answer(call, &response);
    if (!response) {
        ap_rprintf(s->r, "answer %s\n", outcome(rv));
        return;
    }
    etag = cp_response_header(response, "ETag");
    retry = cp_response_header(response, "Retry-After");
    ap_rprintf(s->r, "answer %s %s %s\n", outcome(rv), etag ? etag : "-",
               retry ? retry : "-");
    print_response(s, "response", response);
}

static void do_fetchfailure(script_t *s, const char *arg)
{
    int status, retry;
    const char *cause;
    const char *word = cp_fetch_failure(s->r, &status, &retry, &cause);

    ap_rprintf(s->r, "fetchfailure %s %d %d %s\n", word ? word : "none", status,
               retry, cause ? cause : "-");
}

static void do_itemfailure(script_t *s, const char *arg)
{
    int status, retry;
    const char *word = cp_batch_failure(s->batch, atoi(arg), &status, &retry);

    ap_rprintf(s->r, "itemfailure %s %d %d\n", word ? word : "none", status,
               retry);
}

#endif

/* --- the request --- */

static void do_sub(script_t *s, const char *arg)
{
    request_rec *sub = ap_sub_req_lookup_uri(arg, s->r, s->r->output_filters);

    if (sub->status == HTTP_OK) {
        ap_run_sub_req(sub);
    }
    ap_rprintf(s->r, "\nsub %d\n", sub->status);
    ap_destroy_sub_req(sub);
}

static void do_redirect(script_t *s, const char *arg)
{
    s->is_ended = 1;
    ap_internal_redirect(arg, s->r);
}

static void do_status(script_t *s, const char *arg)
{
    s->is_ended = 1;
    s->status = atoi(arg);
}

static void do_touch(script_t *s, const char *arg)
{
    apr_file_t *file;

    if (apr_file_open(&file, arg, APR_FOPEN_WRITE | APR_FOPEN_CREATE,
                      APR_FPROT_OS_DEFAULT, s->r->pool)
        == APR_SUCCESS) {
        apr_file_close(file);
    }
    ap_rputs("touch\n", s->r);
}

static void do_await(script_t *s, const char *arg)
{
    apr_time_t end = apr_time_now() + PATIENCE;
    apr_finfo_t info;
    apr_status_t rv;

    do {
        rv = apr_stat(&info, arg, APR_FINFO_TYPE, s->r->pool);
        if (rv != APR_SUCCESS) {
            apr_sleep(apr_time_from_msec(5));
        }
    } while (rv != APR_SUCCESS && apr_time_now() < end);
    ap_rprintf(s->r, "await %s\n", outcome(rv));
}

static const struct {
    const char *name;
    void (*run)(script_t *s, const char *arg);
} steps[] = {
    {"acquire", do_acquire},
    {"release", do_release},
    {"discard", do_discard},
    {"same", do_same},
    {"sqlite", do_sqlite},
    {"exec", do_exec},
    {"open", do_open},
    {"close", do_close},
    {"curl", do_curl},
    {"perform", do_perform},
    {"named", do_named},
    {"useragent", do_useragent},
    {"sql", do_sql},
    {"bind", do_bind},
    {"run", do_run},
    {"next", do_next},
    {"rows", do_rows},
    {"end", do_end},
    {"error", do_error},
    {"fetch", do_fetch},
    {"constraint", do_constraint},
    {"sub", do_sub},
    {"redirect", do_redirect},
    {"status", do_status},
    {"touch", do_touch},
    {"await", do_await},
    {"batch", do_batch},
    {"addcall", do_addcall},
    {"addfetch", do_addfetch},
    {"waitall", do_waitall},
    {"waitnext", do_waitnext},
    {"result", do_result},
    {"endbatch", do_endbatch},
    {"heap", do_heap},
#ifdef CONNPOOL_API_VERSION
    {"version", do_version},
    {"failure", do_failure},
    {"answer", do_answer},
    {"itemfailure", do_itemfailure},
    {"fetchfailure", do_fetchfailure},
#endif
};

static void run_step(script_t *s, char *step)
{
    char *arg = strchr(step, '=');

    if (!arg) {
        return;
    }
    *arg++ = '\0';
    ap_unescape_urlencoded(arg);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (strcmp(steps[i].name, step) == 0) {
            steps[i].run(s, arg);
            return;
        }
    }
    ap_rprintf(s->r, "unknown step %s\n", step);
}

static int cptest_handler(request_rec *r)
{
    script_t *s;
    const char *args = r->args ? r->args : "";

    if (!r->handler || strcmp(r->handler, "cptest") != 0) {
        return DECLINED;
    }
    ap_set_content_type(r, "text/plain");
    if (!is_complete) {
        ap_rputs("mod_connpool is missing\n", r);
        return OK;
    }
    s = apr_pcalloc(r->pool, sizeof(*s));
    s->r = r;
    s->status = OK;
    while (*args && !s->is_ended) {
        run_step(s, ap_getword(r->pool, &args, '&'));
    }
    return s->status;
}

static void cptest_retrieve(void)
{
    is_complete = 1;
#define RETRIEVE(name)                                                         \
    cp_##name = APR_RETRIEVE_OPTIONAL_FN(connpool_##name);                     \
    is_complete &= cp_##name != NULL;
    EACH_FUNCTION(RETRIEVE)
    EACH_NEW_FUNCTION(RETRIEVE)
}

static void cptest_register(apr_pool_t *p)
{
    ap_hook_optional_fn_retrieve(cptest_retrieve, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_handler(cptest_handler, NULL, NULL, APR_HOOK_MIDDLE);
}

module AP_MODULE_DECLARE_DATA cptest_module = {
    .version = MODULE_MAGIC_NUMBER_MAJOR,
    .minor_version = MODULE_MAGIC_NUMBER_MINOR,
    .module_index = -1,
    .name = "mod_cptest.c",
    .magic = MODULE_MAGIC_COOKIE,
    .register_hooks = cptest_register,
};
