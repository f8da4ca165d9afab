/* SPDX-License-Identifier: Apache-2.0
 * What the counting of costs needs inside of the server: marks between which
 * callgrind counts, and borrowing without anything else. */
#include <httpd.h>
#include <http_config.h>
#include <http_protocol.h>
#include <apr_optional.h>
#include <apr_strings.h>
#include <valgrind/callgrind.h>

#include "mod_connpool.h"

#include <stdlib.h>
#include <string.h>

module AP_MODULE_DECLARE_DATA cost_module;

/* /mark?NAME: what was counted since the last mark goes to a file of its own,
 * which has the name in it. */
static int answer_mark(request_rec *r)
{
    CALLGRIND_DUMP_STATS_AT(r->args ? r->args : "");
    ap_set_content_type(r, "text/plain");
    ap_rputs("marked\n", r);
    return OK;
}

static APR_OPTIONAL_FN_TYPE(connpool_acquire) * acquire;
static APR_OPTIONAL_FN_TYPE(connpool_release) * release;

/* /borrow?TIMES: a connection of the pool `db` is borrowed and given back. */
static int answer_borrow(request_rec *r)
{
    int times = r->args ? atoi(r->args) : 0;

    for (int i = 0; i < times; i++) {
        connpool_conn_t *conn;

        if (!acquire || acquire(&conn, r, "db", CONNPOOL_READ) != APR_SUCCESS) {
            return HTTP_SERVICE_UNAVAILABLE;
        }
        release(conn);
    }
    ap_set_content_type(r, "text/plain");
    ap_rputs("borrowed\n", r);
    return OK;
}

static int handler(request_rec *r)
{
    if (r->handler && strcmp(r->handler, "cost-mark") == 0) {
        return answer_mark(r);
    }
    if (r->handler && strcmp(r->handler, "cost-borrow") == 0) {
        return answer_borrow(r);
    }
    return DECLINED;
}

static void retrieve(void)
{
    acquire = APR_RETRIEVE_OPTIONAL_FN(connpool_acquire);
    release = APR_RETRIEVE_OPTIONAL_FN(connpool_release);
}

static void hooks(apr_pool_t *p)
{
    ap_hook_handler(handler, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_optional_fn_retrieve(retrieve, NULL, NULL, APR_HOOK_MIDDLE);
}

#pragma GCC visibility push(default)
AP_DECLARE_MODULE(cost) = {
    STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, NULL, hooks,
    AP_MODULE_FLAG_NONE,
};
#pragma GCC visibility pop
