/* SPDX-License-Identifier: Apache-2.0
 * What the benchmark compares with: a handler that only answers, always the
 * same, one that asks the same database through mod_dbd, and one with a pool of
 * its own (bare.c). Where there was a choice, it is the cheaper one: mod_dbd's
 * text is not even escaped. */
#include "bare.h"

#include <httpd.h>
#include <http_config.h>
#include <http_connection.h>
#include <http_protocol.h>
#include <apr_dbd.h>
#include <apr_file_io.h>
#include <apr_optional.h>
#include <apr_strings.h>
#include <mod_dbd.h>

#include <stdlib.h>
#include <string.h>

module AP_MODULE_DECLARE_DATA bench_module;

typedef struct bench_dir_t {
    const char *body; /* BenchBody: what bench-empty answers */
    apr_size_t size;
    const char *query;  /* BenchQuery: the statement bench-dbd runs */
    bench_bare_t *bare; /* BenchBare: what bench-bare asks */
} bench_dir_t;

static APR_OPTIONAL_FN_TYPE(ap_dbd_acquire) * dbd_acquire;

/* BenchConnectDelay: how long each new connection waits before it is heard, as
 * if the client were far away. Set while the configuration is read. */
static apr_interval_time_t connect_delay;

static int answer_empty(request_rec *r, const bench_dir_t *dir)
{
    ap_set_content_type(r, "application/json");
    ap_rwrite(dir->body, (int)dir->size, r);
    return OK;
}

static void put_row(request_rec *r, const apr_dbd_driver_t *driver,
                    apr_dbd_row_t *row, int is_first)
{
    ap_rvputs(r, is_first ? "{\"id\":" : ",{\"id\":",
              apr_dbd_get_entry(driver, row, 0), ",\"title\":\"",
              apr_dbd_get_entry(driver, row, 1), "\",\"day\":\"",
              apr_dbd_get_entry(driver, row, 2), "\"}", NULL);
}

/* What follows "name=" in the query string, up to the next &. */
static const char *argument(request_rec *r, const char *name)
{
    const char *found = r->args ? strstr(r->args, name) : NULL;

    return found ? apr_pstrndup(r->pool, found + strlen(name),
                                strcspn(found + strlen(name), "&"))
                 : NULL;
}

/* ?first=1, or ?first=1&last=50 */
static int answer_dbd(request_rec *r, const bench_dir_t *dir)
{
    const char *first = argument(r, "first=");
    const char *last = argument(r, "last=");
    ap_dbd_t *dbd = dbd_acquire ? dbd_acquire(r) : NULL;
    apr_dbd_results_t *rows = NULL;
    apr_dbd_row_t *row = NULL;
    apr_dbd_prepared_t *query = NULL;

    if (dbd) {
        query = apr_hash_get(dbd->prepared, dir->query, APR_HASH_KEY_STRING);
    }
    if (!query || !first
        || apr_dbd_pvselect(dbd->driver, r->pool, dbd->handle, &rows, query, 0,
                            first, last, NULL)
               != 0) {
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
    const bench_dir_t *dir = ap_get_module_config(r->per_dir_config,
                                                  &bench_module);

    if (r->handler && strcmp(r->handler, "bench-empty") == 0 && dir->body) {
        return answer_empty(r, dir);
    }
    if (r->handler && strcmp(r->handler, "bench-dbd") == 0 && dir->query) {
        return answer_dbd(r, dir);
    }
    if (r->handler && strcmp(r->handler, "bench-bare") == 0 && dir->bare) {
        return bench_bare_answer(r, dir->bare);
    }
    return DECLINED;
}

static const char *set_body(cmd_parms *cmd, void *config, const char *path)
{
    bench_dir_t *dir = config;
    apr_finfo_t info;
    apr_file_t *file;
    char *body;
    apr_status_t rv = apr_file_open(&file, path, APR_READ, 0, cmd->pool);

    if (rv == APR_SUCCESS) {
        rv = apr_file_info_get(&info, APR_FINFO_SIZE, file);
    }
    if (rv == APR_SUCCESS) {
        body = apr_palloc(cmd->pool, (apr_size_t)info.size);
        rv = apr_file_read_full(file, body, (apr_size_t)info.size, &dir->size);
        dir->body = body;
        apr_file_close(file);
    }
    return rv == APR_SUCCESS
               ? NULL
               : apr_psprintf(cmd->pool, "BenchBody: cannot read %s", path);
}

static const char *set_bare(cmd_parms *cmd, void *config, const char *path,
                            const char *sql, const char *max)
{
    bench_dir_t *dir = config;

    dir->bare = bench_bare_define(cmd->pool, path, sql, max ? atoi(max) : 10);
    return NULL;
}

static const char *set_delay(cmd_parms *cmd, void *config, const char *ms)
{
    connect_delay = apr_time_from_msec(atoi(ms));
    return NULL;
}

static int delay_connection(conn_rec *c, void *socket)
{
    if (connect_delay > 0) {
        apr_sleep(connect_delay);
    }
    return OK;
}

static void *create_dir(apr_pool_t *p, char *path)
{
    return apr_pcalloc(p, sizeof(bench_dir_t));
}

static void *merge_dir(apr_pool_t *p, void *base, void *add)
{
    return add;
}

static const command_rec commands[] = {
    AP_INIT_TAKE1("BenchBody", set_body, NULL, ACCESS_CONF,
                  "file whose content bench-empty answers"),
    AP_INIT_TAKE1("BenchQuery", ap_set_string_slot,
                  (void *)APR_OFFSETOF(bench_dir_t, query), ACCESS_CONF,
                  "name of the prepared statement that bench-dbd runs"),
    AP_INIT_TAKE23("BenchBare", set_bare, NULL, ACCESS_CONF,
                   "SQLite file and statement that bench-bare asks, and the "
                   "most connections"),
    AP_INIT_TAKE1("BenchConnectDelay", set_delay, NULL, RSRC_CONF,
                  "milliseconds that each new connection waits"),
    {NULL},
};

static int pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    bench_bare_forget();
    return OK;
}

static void child_init(apr_pool_t *p, server_rec *s)
{
    bench_bare_child_init(p);
}

static void retrieve(void)
{
    dbd_acquire = APR_RETRIEVE_OPTIONAL_FN(ap_dbd_acquire);
}

static void hooks(apr_pool_t *p)
{
    ap_hook_pre_config(pre_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_child_init(child_init, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_pre_connection(delay_connection, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_handler(handler, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_optional_fn_retrieve(retrieve, NULL, NULL, APR_HOOK_MIDDLE);
}

#pragma GCC visibility push(default)
AP_DECLARE_MODULE(bench) = {
    STANDARD20_MODULE_STUFF, create_dir, merge_dir, NULL, NULL, commands, hooks,
    AP_MODULE_FLAG_NONE,
};
#pragma GCC visibility pop
