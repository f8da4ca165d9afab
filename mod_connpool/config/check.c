/* SPDX-License-Identifier: Apache-2.0
 * The check of the whole configuration: what definitions take from their
 * server is completed, names are resolved, and all is refused that can be known
 * to be wrong without opening a database, so that configtest tells. */
#include "glue.h"
#include "answers/encode.h"
#include "base/option.h"
#include "config/config.h"
#include "config/database.h"
#include "config/line/option.h"
#include "config/param/source.h"
#include "config/query.h"
#include "config/setting.h"
#include "config/upstream.h"
#include "database/database.h"
#include "http/job/client.h"
#include "http/upstream/upstream.h"

#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>

static void set_default(int *field, int value)
{
    if (*field == CP_UNSET) {
        *field = value;
    }
}

static void set_default_time(apr_interval_time_t *field,
                             apr_interval_time_t value)
{
    if (*field == CP_UNSET) {
        *field = value;
    }
}

static const char *complete_database(apr_pool_t *p, connpool_server_t *sc,
                                     connpool_database_t *db)
{
    const char *error;

    set_default(&db->pool.max, sc->db_max);
    if (!db->overflow_direct) {
        db->pool.overflow_max = 0;
    }
    if (db->pool.min > db->pool.max) {
        return apr_psprintf(p, "ConnPoolDatabase %s: min=%d is above max=%d",
                            db->name, db->pool.min, db->pool.max);
    }
    error = db->driver->check(p, db->config);
    return error ? apr_psprintf(p, "ConnPoolDatabase %s: %s", db->name, error)
                 : NULL;
}

static const char *complete_base(apr_pool_t *p, const connpool_upstream_t *up,
                                 connpool_base_t *base)
{
    const char *url = base->http.url;

    base->http = up->http;
    base->http.url = url;
    base->http.name = base->name;
    return up->http.socket /* it has no address */
               ? NULL
               : cp_upstream_check_reach(p, &base->http, base->origin);
}

static const char *complete_upstream(apr_pool_t *p, connpool_server_t *sc,
                                     connpool_upstream_t *up)
{
    const char *problem = cp_http_too_old(p);

    set_default(&up->pool.max, sc->http_max);
    set_default(&up->perhost, sc->http_per_host);
    set_default_time(&up->http.connect, sc->http_connect);
    set_default_time(&up->http.read, sc->http_read);
    set_default_time(&up->http.keepalive, sc->http_keepalive);
    up->http.drops_dead = sc->http_cleanup;
    if (!up->overflow_direct) {
        up->pool.overflow_max = 0;
    }
    /* Each of its URLs has one host and one server: the lowest limit is the
     * limit. */
    if (up->pool.max > up->perhost) {
        up->pool.max = up->perhost;
    }
    if (up->pool.max > sc->http_max) {
        up->pool.max = sc->http_max;
    }
    up->pool.idle = up->http.keepalive;
    up->pool.lifetime = up->http.lifetime;
    up->pool.check = CP_WEEK;
    if (!up->http.cert != !up->http.key) {
        return apr_psprintf(
            p, "ConnPoolUpstream %s: cert= and key= belong together", up->name);
    }
    for (int i = 0; i < up->base_count && !problem; i++) {
        problem = complete_base(p, up, &up->bases[i]);
    }
    return problem ? apr_pstrcat(p, "ConnPoolUpstream ", up->name, ": ",
                                 problem, NULL)
                   : NULL;
}

static const char *complete_query(apr_pool_t *p, connpool_server_t *sc,
                                  connpool_query_t *query)
{
    connpool_database_t *db = apr_hash_get(
        sc->all_databases, query->database_name, APR_HASH_KEY_STRING);
    const char *error;

    if (!db) {
        return apr_psprintf(p, "ConnPoolQuery %s: database '%s' is not defined",
                            query->name, query->database_name);
    }
    error = connpool_query_resolve(p, query, db);
    if (error) {
        return error;
    }
    if (query->is_write && query->database->facts.is_readonly) {
        return apr_psprintf(p,
                            "ConnPoolQuery %s: write=on, but database '%s' is "
                            "readonly=on",
                            query->name, query->database_name);
    }
    set_default_time(&query->timeout, query->database->timeout);
    error = connpool_source_check(p, query->segments);
    if (error) {
        return apr_psprintf(p, "ConnPoolQuery %s: %s", query->name, error);
    }
    for (int i = 0; i < query->shape.names->nelts; i++) {
        const char *name = APR_ARRAY_IDX(query->shape.names, i, const char *);

        if (connpool_find_param(query, name) < 0) {
            return apr_psprintf(p,
                                "ConnPoolQuery %s: the SQL's parameter :%s "
                                "is not declared; "
                                "add: ConnPoolParam %s %s TYPE",
                                query->name, name, query->name, name);
        }
    }
    return NULL;
}

/* Formats whose answers tell how their columns are called. */
static int shows_names(const connpool_query_t *query)
{
    return query->format != CP_FORMAT_ARRAYS
           && !cp_format_is_value(query->format);
}

static void warn_nameless(const connpool_query_t *query)
{
    const cp_database_driver_t *driver = query->database->driver;
    const char *column = NULL;
    apr_size_t size = 0;

    if (driver->nameless && shows_names(query)) {
        column = driver->nameless(query->sql, &query->shape, &size);
    }
    /* A start reads the configuration twice, a configtest once. */
    if (column
        && (ap_state_query(AP_SQ_MAIN_STATE) != AP_SQ_MS_CREATE_PRE_CONFIG
            || ap_state_query(AP_SQ_RUN_MODE) == AP_SQ_RM_CONFIG_TEST)) {
        ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_WARNING, 0,
                     query->server,
                     "ConnPoolQuery %s at %s: a column of its answer has no "
                     "name, so its SQL is shown: %.*s; write: %.*s AS name",
                     query->name, query->where, (int)(size < 60 ? size : 60),
                     column, (int)(size < 60 ? size : 60), column);
    }
}

static int check_server(apr_pool_t *p, server_rec *s)
{
    connpool_server_t *sc = connpool_server(s);
    const char *error;

    for (int i = 0; i < sc->databases->nelts; i++) {
        connpool_database_t *db = APR_ARRAY_IDX(sc->databases, i,
                                                connpool_database_t *);

        error = complete_database(p, sc, db);
        if (error) {
            return connpool_refuse(s, db->where, error);
        }
    }
    for (int i = 0; i < sc->upstreams->nelts; i++) {
        connpool_upstream_t *up = APR_ARRAY_IDX(sc->upstreams, i,
                                                connpool_upstream_t *);

        error = complete_upstream(p, sc, up);
        if (error) {
            return connpool_refuse(s, up->where, error);
        }
    }
    for (int i = 0; i < sc->queries->nelts; i++) {
        connpool_query_t *query = APR_ARRAY_IDX(sc->queries, i,
                                                connpool_query_t *);

        error = complete_query(p, sc, query);
        if (error) {
            return connpool_refuse(s, query->where, error);
        }
        warn_nameless(query);
    }
    return OK;
}

int connpool_check_config(apr_pool_t *pconf, apr_pool_t *plog,
                          apr_pool_t *ptemp, server_rec *main_server)
{
    for (server_rec *s = main_server; s; s = s->next) {
        const char *error = connpool_complete_server(pconf, connpool_server(s));

        if (error) {
            return connpool_refuse(s, NULL, error);
        }
    }
    for (server_rec *s = main_server; s; s = s->next) {
        int status = check_server(pconf, s);

        if (status != OK) {
            return status;
        }
    }
    return connpool_check_servings(pconf);
}
