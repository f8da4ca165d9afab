/* SPDX-License-Identifier: Apache-2.0
 * The module's record and its hooks. */
#include "glue.h"

#include "api/api.h"
#include "config/config.h"
#include "database/sqlite/sqlite.h"
#include "config/handler.h"
#include "config/page/page.h"
#include "lifecycle.h"
#include "openapi/openapi.h"
#include "report/dump/dump.h"
#include "report/report.h"
#include "request/account.h"
#include "request/origin/origin.h"
#include "request/output.h"
#include "request/param/segment.h"
#include "serve/serve.h"
#include "cache/provider.h"
#include "child/child.h"
#include "child/fork.h"
#include "stats/segment.h"

#include <ap_expr.h>
#include <ap_mpm.h>
#include <ap_provider.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>
#include <http_request.h>
#include <mpm_common.h>
#include <util_mutex.h>

/* What `apachectl -t -D NAME` prints. */
static const connpool_dump_t dumps[] = {
    {"DUMP_CONNPOOL", connpool_dump_text, 0},
    {"DUMP_CONNPOOL_JSON", connpool_dump_json, 1},
    {"DUMP_CONNPOOL_OPENAPI", connpool_openapi_dump, 1},
    {NULL, NULL, 0},
};

static void test_config(apr_pool_t *pconf, server_rec *s)
{
    connpool_dump_run(dumps, pconf, s);
}

static int pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    apr_status_t rv = ap_mutex_register(pconf, "connpool", NULL,
                                        APR_LOCK_DEFAULT, 0);

    if (rv == APR_SUCCESS) {
        rv = ap_mutex_register(pconf, CONNPOOL_CACHE_MUTEX, NULL,
                               APR_LOCK_DEFAULT, 0);
    }
    connpool_forget_handlers(pconf);
    connpool_dump_prepare(dumps, pconf);
    return rv == APR_SUCCESS ? connpool_pre_config(pconf, plog, ptemp) : rv;
}

/* The one symbol that the file exports: httpd looks it up by name. */
extern module AP_MODULE_DECLARE_DATA connpool_module
    __attribute__((visibility("default")));

static const connpool_handler_t handlers[] = {
    {"connpool-query", connpool_query_handler, CONNPOOL_NEEDS_QUERY, 1, 0},
    {"connpool-fetch", connpool_fetch_handler, CONNPOOL_NEEDS_UPSTREAM, 1, 1},
    {"connpool-batch", connpool_batch_handler, CONNPOOL_NEEDS_EITHER, 1, 0},
    {"connpool-status", connpool_status_handler, CONNPOOL_NEEDS_NOTHING, 0, 0},
    {"connpool-health", connpool_health_handler, CONNPOOL_NEEDS_NOTHING, 0, 0},
    {"connpool-openapi", connpool_openapi_handler, CONNPOOL_NEEDS_NOTHING, 0,
     0},
    {NULL, NULL, CONNPOOL_NEEDS_NOTHING, 0, 0},
};

static int check_rest(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp,
                      server_rec *s)
{
    int status = connpool_check_pages(pconf, s);

    if (status == OK) {
        status = connpool_check_handlers(pconf, handlers);
    }
    return status == OK ? connpool_walk_check(ptemp, s) : status;
}

/* Refused, or broken off: its time says nothing about those that are served. */
static int has_failed(int status)
{
    return status == HTTP_TOO_MANY_REQUESTS || ap_is_HTTP_SERVER_ERROR(status);
}

/* The time of work of ours is recorded. */
static int timed(int (*work)(request_rec *r), request_rec *r)
{
    cp_process_stats_t *stats = cp_segment_process(connpool_child.segment,
                                                   connpool_child.slot);
    cp_clock_t began = cp_clock_now();
    int status = connpool_answer_rate(r) ? OK : work(r);
    int answer = status == OK || status == DONE ? r->status : status;

    cp_histogram_record(has_failed(answer) ? &stats->request_failed_us
                                           : &stats->request_us,
                        cp_clock_now() - began);
    return status;
}

/* Browsers ask whether a page may ask; that costs no client of its rate. */
static int answer_preflight(request_rec *r, const connpool_handler_t *found)
{
    connpool_fork_settle();
    return connpool_origin_is_welcome(r)
               ? found->run(r)
               : connpool_problem(r, HTTP_FORBIDDEN,
                                  "Pages of this origin may not ask here.",
                                  NULL);
}

/* What SetHandler says, which the core heeds much later. NULL: none of ours. */
static const connpool_handler_t *set_handler(request_rec *r)
{
    const core_dir_config *core = ap_get_core_module_config(r->per_dir_config);
    const char *name = core->handler, *error = NULL;
    char *lower;

    if (core->expr_handler) {
        name = ap_expr_str_exec(r, core->expr_handler, &error);
    }
    if (error || !name) {
        return NULL;
    }
    lower = apr_pstrdup(r->pool, name);
    ap_str_tolower(lower);
    return connpool_find_handler(handlers, lower);
}

/* Before anybody is asked who he is: browsers send preflights without saying
 * so, and a page may read why it was not let in. What sets the handler later
 * (AddHandler, rewriting) is met by the handler. */
static int greet(request_rec *r)
{
    const connpool_handler_t *found;
    int status;

    if (!connpool_origin_is_ruled(r)) {
        return DECLINED;
    }
    found = set_handler(r);
    if (!found || !found->is_timed) {
        return DECLINED;
    }
    connpool_origin_announce(r);
    if (!connpool_origin_is_preflight(r)) {
        return DECLINED;
    }
    ap_run_insert_filter(r);
    status = answer_preflight(r, found);
    return status == OK ? DONE : status;
}

static int handler(request_rec *r)
{
    const connpool_handler_t *found;

    if (!r->handler || strncmp(r->handler, "connpool-", 9) != 0) {
        return DECLINED;
    }
    found = connpool_find_handler(handlers, r->handler);
    if (!found) {
        ap_log_rerror(APLOG_MARK, APLOG_ERR, 0, r,
                      "SetHandler %s: there is no such handler", r->handler);
        return DECLINED;
    }
    if (found->is_timed && connpool_origin_is_ruled(r)) {
        connpool_origin_announce(r);
        connpool_origin_watch(r);
    }
    if (!found->takes_path && connpool_has_extra_path(r)
        && !connpool_takes_segments(r)) {
        return connpool_problem(r, HTTP_NOT_FOUND,
                                "Nothing is served at this path.", NULL);
    }
    if (found->is_timed && connpool_origin_is_preflight(r)) {
        return answer_preflight(r, found);
    }
    connpool_fork_settle();
    return found->is_timed ? timed(found->run, r) : found->run(r);
}

/* httpd calls it before anything else of ours. */
static void register_hooks(apr_pool_t *p)
{
    connpool_self = &connpool_module;
    ap_register_provider(p, CP_DATABASE_GROUP, cp_sqlite_driver.scheme,
                         CP_DATABASE_VERSION, &cp_sqlite_driver);
    ap_hook_pre_config(pre_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_check_config(connpool_check_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_check_config(check_rest, NULL, NULL, APR_HOOK_LAST);
    ap_hook_check_config(connpool_provider_check_config, NULL, NULL,
                         APR_HOOK_LAST);
    ap_hook_test_config(test_config, NULL, NULL, APR_HOOK_REALLY_LAST);
    ap_hook_post_config(connpool_post_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_init(connpool_child_init, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_stopping(connpool_child_stopping, NULL, NULL,
                           APR_HOOK_MIDDLE);
    ap_hook_child_status(connpool_child_status, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_log_transaction(connpool_log_account, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_header_parser(greet, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_handler(handler, NULL, NULL, APR_HOOK_MIDDLE);
    connpool_walk_register();
    connpool_status_register(p);
    connpool_trailer_register();
    connpool_origin_register();
    connpool_call_api_register();
    connpool_answer_api_register();
    connpool_fetch_api_register();
    connpool_connection_api_register();
    connpool_batch_api_register();
}

AP_DECLARE_MODULE(connpool) = {
    STANDARD20_MODULE_STUFF,
    connpool_create_dir_config,
    connpool_merge_dir_config,
    connpool_create_server_config,
    connpool_merge_server_config,
    connpool_commands,
    register_hooks,
    AP_MODULE_FLAG_NONE,
};
