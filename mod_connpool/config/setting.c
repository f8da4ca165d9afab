/* SPDX-License-Identifier: Apache-2.0
 * What a server is set to, by directives of one value, the environment and
 * defaults; and what is defined in it. */
#include "config/setting.h"

#include "glue.h"
#include "base/number.h"
#include "base/option.h"
#include "config/config.h"
#include "config/database.h"
#include "config/line/option.h"
#include "config/line/origin.h"
#include "config/query.h"
#include "config/upstream.h"

#include <stdlib.h>

#include <ap_mpm.h>
#include <apr_lib.h>
#include <apr_strings.h>

#define SERVER(field) APR_OFFSETOF(connpool_server_t, field)

static const char *const report_names[] = {"off", "on", "full", NULL};

static const cp_option_t settings[] = {
    {CP_FLAG("ConnPoolEngine", SERVER(engine), 1)},
    {CP_FLAG("ConnPoolHTTPPool", SERVER(http_pool), 1)},
    {CP_FLAG("ConnPoolDBPool", SERVER(db_pool), 1)},
    {CP_FLAG("ConnPoolEventLoop", SERVER(event_loop), CP_UNSET)},
    {CP_INT("ConnPoolHTTPMax", SERVER(http_max), 100, 1, 10000)},
    {CP_INT("ConnPoolHTTPPerHost", SERVER(http_per_host), 30, 1, 10000)},
    {CP_DURATION("ConnPoolHTTPConnectTimeout", SERVER(http_connect),
                 30 * CP_SECOND, CP_MILLISECOND, CP_HOUR)},
    {CP_DURATION("ConnPoolHTTPReadTimeout", SERVER(http_read), 10 * CP_SECOND,
                 CP_MILLISECOND, CP_HOUR)},
    {CP_DURATION("ConnPoolHTTPKeepAlive", SERVER(http_keepalive),
                 30 * CP_SECOND, 0, CP_WEEK)},
    {CP_FLAG("ConnPoolHTTPCleanup", SERVER(http_cleanup), 1)},
    {CP_INT("ConnPoolDBMax", SERVER(db_max), 10, 1, 1000)},
    {CP_CHOICE("ConnPoolServerStatus", SERVER(server_status),
               CONNPOOL_REPORT_ON, report_names)},
    {CP_SIZE("ConnPoolMemory", SERVER(memory), 20 * CP_MIB, CP_MIB, CP_TIB)},
    {CP_SIZE("ConnPoolCacheLocal", SERVER(cache_local), 4 * CP_MIB, 64 * CP_KIB,
             CP_TIB)},
    {CP_DURATION("ConnPoolSlowLog", SERVER(slow), 250 * CP_MILLISECOND, 0,
                 CP_HOUR)},
    {CP_FLAG("ConnPoolServerTiming", SERVER(server_timing), 0)},
    {NULL},
};

void *connpool_create_server_config(apr_pool_t *p, server_rec *s)
{
    connpool_server_t *sc = apr_pcalloc(p, sizeof(*sc));

    sc->server = s;
    cp_options_clear(settings, sc);
    sc->databases = apr_array_make(p, 2, sizeof(connpool_database_t *));
    sc->upstreams = apr_array_make(p, 2, sizeof(connpool_upstream_t *));
    sc->queries = apr_array_make(p, 8, sizeof(connpool_query_t *));
    sc->all_databases = apr_hash_make(p);
    sc->all_upstreams = apr_hash_make(p);
    sc->all_queries = apr_hash_make(p);
    return sc;
}

void *connpool_merge_server_config(apr_pool_t *p, void *basev, void *addv)
{
    const connpool_server_t *base = basev;
    const connpool_server_t *add = addv;
    connpool_server_t *sc = apr_pmemdup(p, add, sizeof(*add));

    connpool_origin_merge(sc, base, add);
    cp_options_inherit(settings, sc, base);
    /* By pointer: a virtual host shares the pools, it never doubles them. */
    sc->all_databases = apr_hash_overlay(p, add->all_databases,
                                         base->all_databases);
    sc->all_upstreams = apr_hash_overlay(p, add->all_upstreams,
                                         base->all_upstreams);
    sc->all_queries = apr_hash_overlay(p, add->all_queries, base->all_queries);
    return sc;
}

const cp_option_t *connpool_server_settings(void)
{
    return settings;
}

connpool_server_t *connpool_server(server_rec *s)
{
    return ap_get_module_config(s->module_config, connpool_self);
}

/* --- directives --- */

const char *connpool_cmd_setting(cmd_parms *cmd, void *dummy, const char *value)
{
    const char *error = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT);

    return error ? error
                 : connpool_read_setting(cmd, settings,
                                         connpool_server(cmd->server), value);
}

const char *connpool_cmd_global_setting(cmd_parms *cmd, void *dummy,
                                        const char *value)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    return error ? error : connpool_cmd_setting(cmd, dummy, value);
}

const char *connpool_cmd_cache(cmd_parms *cmd, void *dummy, const char *value)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    if (!error) {
        error = connpool_unset_variable(cmd, NULL, value);
    }
    if (error) {
        return error;
    }
    if (!apr_isalpha(*value)) {
        return connpool_complaint(
            cmd, NULL, NULL,
            apr_psprintf(cmd->pool, "'%s' is not PROVIDER[:ARGUMENTS]", value));
    }
    connpool_server(cmd->server)->cache = value;
    connpool_origin_field(cmd, &connpool_server(cmd->server)->cache);
    return NULL;
}

/* --- what is defined --- */

static int is_named(apr_hash_t *names, const char *name)
{
    return apr_hash_get(names, name, APR_HASH_KEY_STRING) != NULL;
}

/* An upstream is a pool, as databases are, and is served, as queries are: it
 * shares its name with none of them. */
static int is_taken(const connpool_server_t *sc, connpool_kind_t kind,
                    const char *name)
{
    return is_named(sc->all_upstreams, name)
           || (kind != CONNPOOL_QUERY && is_named(sc->all_databases, name))
           || (kind != CONNPOOL_DATABASE && is_named(sc->all_queries, name));
}

const char *connpool_define(cmd_parms *cmd, connpool_kind_t kind,
                            const char *name, void *definition)
{
    const connpool_server_t *sc = connpool_server(cmd->server);
    apr_hash_t *names = sc->all_upstreams;
    apr_array_header_t *list = sc->upstreams;

    if (kind == CONNPOOL_DATABASE) {
        names = sc->all_databases;
        list = sc->databases;
    }
    else if (kind == CONNPOOL_QUERY) {
        names = sc->all_queries;
        list = sc->queries;
    }
    if (is_taken(sc, kind, name)) {
        return connpool_complaint(cmd, name, NULL,
                                  "this name is defined twice in this server");
    }
    apr_hash_set(names, name, APR_HASH_KEY_STRING, definition);
    *(void **)apr_array_push(list) = definition;
    return NULL;
}

/* --- the environment and defaults --- */

/* Flags and numbers that the environment may set. */
static const struct {
    const char *name;
    const char *directive;
} variables[] = {
    {"ENABLE_CONNECTION_POOLING", "ConnPoolEngine"},
    {"ENABLE_SHARED_EVENT_LOOP", "ConnPoolEventLoop"},
    {"HTTP_POOL_SIZE", "ConnPoolHTTPMax"},
    {"HTTP_PER_HOST", "ConnPoolHTTPPerHost"},
    {"DB_POOL_SIZE", "ConnPoolDBMax"},
};

/* What no directive says is taken from the parent's environment. There, as
 * Compose files and the like write it, empty means unset. */
static const char *read_environment(apr_pool_t *p, connpool_server_t *sc)
{
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
        const cp_option_t *option = cp_options_find(settings,
                                                    variables[i].directive);
        int *field = (int *)((char *)sc + option->offset);
        const char *text = getenv(variables[i].name);
        const char *error;

        if (*field != CP_UNSET || !text || !*text) {
            continue;
        }
        error = option->type == CP_OPTION_FLAG
                    ? cp_params_flag(p, text, 1, field)
                    : cp_option_set(p, option, sc, text);
        if (error) {
            return apr_pstrcat(p, "environment variable ", variables[i].name,
                               ": ", error, NULL);
        }
        connpool_origin_variable(variables[i].name, field);
    }
    return NULL;
}

static int is_prefork(void)
{
    int is_threaded = AP_MPMQ_NOT_SUPPORTED;

    ap_mpm_query(AP_MPMQ_IS_THREADED, &is_threaded);
    return is_threaded == AP_MPMQ_NOT_SUPPORTED;
}

const char *connpool_complete_server(apr_pool_t *p, connpool_server_t *sc)
{
    const char *error = read_environment(p, sc);

    if (error) {
        return error;
    }
    /* A loop's thread and sockets for one request at a time is waste. */
    if (sc->event_loop == CP_UNSET) {
        sc->event_loop = !is_prefork();
    }
    cp_options_complete(settings, sc);
    return NULL;
}
