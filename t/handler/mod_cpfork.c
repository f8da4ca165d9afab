/* SPDX-License-Identifier: Apache-2.0
 * A module that runs requests in processes that it forks from httpd's children,
 * as mpm_itk does, before any other handler. The header X-Fork says how:
 *
 *   fork   by fork()
 *   clone  by the system call, so that no handler of pthread_atfork runs
 *   held   by fork(), while this request holds a connection of its own
 *   twice  by fork() in a forked process
 *   exit   by fork(), and ends by exit() instead of _exit() */
#include <httpd.h>
#include <http_config.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mod_connpool.h"

extern module AP_MODULE_DECLARE_DATA cpfork_module
    __attribute__((visibility("default")));

static pid_t divide(const char *how)
{
    return strcmp(how, "clone") == 0
               ? (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL)
               : fork();
}

/* Run the request to its last byte, and end. */
static void finish(request_rec *r, const char *how)
{
    conn_rec *c = r->connection;
    apr_bucket_brigade *bb = apr_brigade_create(r->pool, c->bucket_alloc);
    int status;

    apr_table_unset(r->headers_in, "X-Fork");
    c->keepalive = AP_CONN_CLOSE;
    status = ap_invoke_handler(r);
    if (status == OK) {
        ap_finalize_request_protocol(r);
    }
    else {
        ap_die(status, r);
    }
    APR_BRIGADE_INSERT_TAIL(bb, apr_bucket_flush_create(c->bucket_alloc));
    ap_pass_brigade(c->output_filters, bb);
    if (strcmp(how, "exit") == 0) {
        exit(0);
    }
    _exit(0);
}

/* A read under way, which the forked process inherits. */
static connpool_call_t *begin_read(request_rec *r)
{
    APR_OPTIONAL_FN_TYPE(connpool_call_sql) *sql = APR_RETRIEVE_OPTIONAL_FN(
        connpool_call_sql);
    APR_OPTIONAL_FN_TYPE(connpool_call_run) *run = APR_RETRIEVE_OPTIONAL_FN(
        connpool_call_run);
    APR_OPTIONAL_FN_TYPE(connpool_call_next) *next = APR_RETRIEVE_OPTIONAL_FN(
        connpool_call_next);
    connpool_call_t *call;

    return sql && sql(&call, r, "main", "SELECT a FROM t", CONNPOOL_READ) == 0
                   && run(call) == 0 && next(call) == 0
               ? call
               : NULL;
}

static int end_read(connpool_call_t *call)
{
    APR_OPTIONAL_FN_TYPE(connpool_call_next) *next = APR_RETRIEVE_OPTIONAL_FN(
        connpool_call_next);
    APR_OPTIONAL_FN_TYPE(connpool_call_end) *end = APR_RETRIEVE_OPTIONAL_FN(
        connpool_call_end);

    return next(call) == APR_SUCCESS && end(call) == APR_SUCCESS;
}

static int fork_handler(request_rec *r)
{
    const char *how = apr_table_get(r->headers_in, "X-Fork");
    connpool_call_t *call = NULL;
    int status = 0;
    pid_t pid;

    if (!how) {
        return DECLINED;
    }
    if (strcmp(how, "held") == 0 && !(call = begin_read(r))) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    pid = divide(how);
    if (pid == 0 && strcmp(how, "twice") == 0) {
        pid = divide(how);
        if (pid > 0) {
            waitpid(pid, NULL, 0);
            _exit(0);
        }
    }
    if (pid == 0) {
        finish(r, how);
    }
    /* The answer is on its way: nothing of this process may follow. */
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0
        || (call && !end_read(call))) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      "a forked process ended with status %d, or has harmed "
                      "this one",
                      status);
    }
    r->connection->keepalive = AP_CONN_CLOSE;
    r->connection->aborted = 1;
    return OK;
}

static void register_hooks(apr_pool_t *p)
{
    ap_hook_handler(fork_handler, NULL, NULL, APR_HOOK_REALLY_FIRST);
}

AP_DECLARE_MODULE(cpfork) = {
    STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, NULL, register_hooks,
    AP_MODULE_FLAG_NONE,
};
