/* SPDX-License-Identifier: Apache-2.0
 * What the benchmark compares with: a handler that does nothing, and one that
 * answers the same rows through mod_dbd. */
#include <httpd.h>
#include <http_config.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>
#include <apr_dbd.h>
#include <apr_optional.h>
#include <apr_strings.h>
#include <mod_dbd.h>

#include <stdio.h>
#include <string.h>

static APR_OPTIONAL_FN_TYPE(ap_dbd_acquire) * dbd_acquire;

static int answer_empty(request_rec *r)
{
    ap_set_content_type(r, "application/json");
    ap_rputs("[]", r);
    return OK;
}

static void put_row(request_rec *r, const apr_dbd_driver_t *driver,
                    apr_dbd_row_t *row, int is_first)
{
    ap_rprintf(r, "%s{\"id\":%s,\"title\":\"%s\",\"day\":\"%s\"}",
               is_first ? "" : ",", apr_dbd_get_entry(driver, row, 0),
               apr_dbd_get_entry(driver, row, 1),
               apr_dbd_get_entry(driver, row, 2));
}

/* The query "rows" takes the first and the last id, from ?id= and &n=. */
static int answer_dbd(request_rec *r)
{
    ap_dbd_t *dbd = dbd_acquire ? dbd_acquire(r) : NULL;
    apr_dbd_results_t *rows = NULL;
    apr_dbd_row_t *row = NULL;
    int id, count = 1;
    int rv = 1;

    if (!dbd || !r->args || sscanf(r->args, "id=%d&n=%d", &id, &count) < 1) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    apr_dbd_prepared_t *query = apr_hash_get(dbd->prepared, "rows",
                                             APR_HASH_KEY_STRING);
    if (query) {
        rv = apr_dbd_pvselect(dbd->driver, r->pool, dbd->handle, &rows, query,
                              0, apr_itoa(r->pool, id),
                              apr_itoa(r->pool, id + count - 1), NULL);
    }
    if (rv != 0) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    ap_set_content_type(r, "application/json");
    ap_rputs("[", r);
    for (int n = 0; apr_dbd_get_row(dbd->driver, r->pool, rows, &row, -1) == 0;
         n++) {
        put_row(r, dbd->driver, row, n == 0);
    }
    ap_rputs("]", r);
    return OK;
}

static int handler(request_rec *r)
{
    if (r->handler && strcmp(r->handler, "bench-empty") == 0) {
        return answer_empty(r);
    }
    if (r->handler && strcmp(r->handler, "bench-dbd") == 0) {
        return answer_dbd(r);
    }
    return DECLINED;
}

static void retrieve(void)
{
    dbd_acquire = APR_RETRIEVE_OPTIONAL_FN(ap_dbd_acquire);
}

static void hooks(apr_pool_t *p)
{
    ap_hook_handler(handler, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_optional_fn_retrieve(retrieve, NULL, NULL, APR_HOOK_MIDDLE);
}

#pragma GCC visibility push(default)
AP_DECLARE_MODULE(bench) = {
    STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, NULL, hooks,
    AP_MODULE_FLAG_NONE,
};
#pragma GCC visibility pop
