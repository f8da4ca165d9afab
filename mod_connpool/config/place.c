/* SPDX-License-Identifier: Apache-2.0
 * What holds for a place, as httpd's directories and locations are called here:
 * what is served there, how large a batch may be, who may see it. */
#include "glue.h"
#include "base/number.h"
#include "base/option.h"
#include "config/config.h"
#include "config/line/option.h"
#include "config/line/origin.h"
#include "config/query.h"
#include "config/setting.h"
#include "pool/rate/rate.h"

#include <apr_cstr.h>
#include <apr_fnmatch.h>
#include <apr_strings.h>

#define PLACE(field) APR_OFFSETOF(connpool_dir_t, field)

static const cp_option_t place_settings[] = {
    {CP_INT("ConnPoolBatchMax", PLACE(batch.max), 20, 1, 1000)},
    {CP_INT("ConnPoolBatchParallel", PLACE(batch.parallel), 8, 1, 100)},
    {CP_FLAG("ConnPoolBatchAtomic", PLACE(batch.is_atomic), 0)},
    {CP_SIZE("ConnPoolBatchBody", PLACE(batch.body), CP_MIB, 1, 64 * CP_MIB)},
    {NULL},
};

/* Of ConnPoolServe. */
static const cp_option_t serve_keys[] = {
    {CP_FLAG("walk", PLACE(is_walked), 1)},
    {NULL},
};

void *connpool_create_dir_config(apr_pool_t *p, char *path)
{
    connpool_dir_t *dir = apr_pcalloc(p, sizeof(*dir));

    cp_options_clear(place_settings, dir);
    cp_options_clear(serve_keys, dir);
    dir->is_ours = CP_UNSET;
    return dir;
}

void *connpool_merge_dir_config(apr_pool_t *p, void *basev, void *addv)
{
    const connpool_dir_t *base = basev;
    const connpool_dir_t *add = addv;
    connpool_dir_t *dir = apr_pmemdup(p, add, sizeof(*add));

    if (!add->serve) {
        dir->serve = base->serve;
        dir->served = base->served;
    }
    if (!add->handled.kind) {
        dir->handled = base->handled;
    }
    dir->rate = add->rate ? add->rate : base->rate;
    dir->origins = add->origins ? add->origins : base->origins;
    dir->proxies = add->proxies ? add->proxies : base->proxies;
    dir->has_require = base->has_require || add->has_require;
    dir->is_ours = add->is_ours != CP_UNSET ? add->is_ours : base->is_ours;
    dir->is_walked = add->is_walked != CP_UNSET ? add->is_walked
                                                : base->is_walked;
    connpool_origin_merge(dir, base, add);
    cp_options_inherit(place_settings, dir, base);
    return dir;
}

const cp_option_t *connpool_place_settings(void)
{
    return place_settings;
}

connpool_dir_t *connpool_dir(request_rec *r)
{
    return ap_get_module_config(r->per_dir_config, connpool_self);
}

const char *connpool_served_name(request_rec *r)
{
    const connpool_dir_t *dir = connpool_dir(r);

    return dir->serve && dir->serve->nelts > 0
               ? APR_ARRAY_IDX(dir->serve, 0, const char *)
               : NULL;
}

/* --- sections --- */

static const struct {
    const char *name;
    connpool_place_kind_t kind;
} sections[] = {
    {"<Directory", CONNPOOL_PLACE_DIRECTORY},
    {"<DirectoryMatch", CONNPOOL_PLACE_DIRECTORY},
    {"<Files", CONNPOOL_PLACE_FILES},
    {"<FilesMatch", CONNPOOL_PLACE_FILES},
    {"<Location", CONNPOOL_PLACE_LOCATION},
    {"<LocationMatch", CONNPOOL_PLACE_PATTERN},
};

static connpool_place_kind_t kind_of(const ap_directive_t *section)
{
    for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
        if (ap_cstr_casecmp(section->directive, sections[i].name) == 0) {
            return sections[i].kind;
        }
    }
    return CONNPOOL_PLACE_SERVER;
}

connpool_place_t connpool_place_of(cmd_parms *cmd)
{
    const ap_directive_t *section = cmd->directive->parent;
    connpool_place_t place = {CONNPOOL_PLACE_SERVER, NULL, NULL};
    const char *args = "", *path, *end;
    int is_regex;

    while (section && !place.kind) {
        place.kind = kind_of(section);
        args = section->args;
        section = section->parent;
    }
    if (!place.kind) {
        return place;
    }
    end = ap_strrchr_c(args, '>'); /* of <Location /x>, as it was written */
    args = end ? apr_pstrmemdup(cmd->pool, args, (apr_size_t)(end - args))
               : args;
    path = ap_getword_conf(cmd->pool, &args);
    is_regex = place.kind == CONNPOOL_PLACE_PATTERN;
    if (*path == '/' && !apr_fnmatch_test(path)
        && (place.kind == CONNPOOL_PLACE_LOCATION
            || place.kind == CONNPOOL_PLACE_DIRECTORY)) {
        place.path = path;
    }
    else if (place.kind == CONNPOOL_PLACE_LOCATION) {
        place.kind = CONNPOOL_PLACE_PATTERN;
        is_regex = strcmp(path, "~") == 0;
        path = is_regex ? ap_getword_conf(cmd->pool, &args) : path;
    }
    if (is_regex) {
        /* The core has compiled it already, for itself: it is valid. */
        place.regex = ap_pregcomp(cmd->pool, path, AP_REG_EXTENDED);
    }
    return place;
}

/* --- ConnPoolServe --- */

/* connpool_serving_t. Made anew by pre_config on each reading of the
 * configuration. */
static apr_array_header_t *servings;

/* The largest ConnPoolBatchMax of any place; likewise. */
static int largest_batch_max;

/* Somebody limits how often others come; likewise. */
static int has_rates;

int connpool_pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    servings = apr_array_make(pconf, 8, sizeof(connpool_serving_t));
    largest_batch_max = 0;
    has_rates = 0;
    return OK;
}

/* The handler that the section of this directive sets, or NULL. */
static const char *handler_beside(cmd_parms *cmd)
{
    const ap_directive_t *section = cmd->directive->parent;
    const ap_directive_t *d = section ? section->first_child : NULL;

    for (; d; d = d->next) {
        if (ap_cstr_casecmp(d->directive, "SetHandler") == 0) {
            const char *args = d->args;
            char *name = ap_getword_conf(cmd->pool, &args);

            ap_str_tolower(name); /* as the core does */
            return name;
        }
    }
    return NULL;
}

/* What stands in a directory is found by the walk, so it comes too late. */
static const char *read_key(cmd_parms *cmd, connpool_dir_t *dir,
                            const char *word)
{
    const connpool_keys_t keys[] = {{serve_keys, dir}, {NULL}};
    const char *words[] = {word, NULL};
    connpool_place_kind_t kind = connpool_place_of(cmd).kind;
    const char *error = connpool_read_options(cmd, NULL, words, keys);

    if (!error && !dir->is_walked && kind != CONNPOOL_PLACE_LOCATION
        && kind != CONNPOOL_PLACE_PATTERN) {
        error = connpool_complaint(cmd, NULL, word,
                                   "stands in a <Location> or a "
                                   "<LocationMatch>");
    }
    return error;
}

const char *connpool_cmd_serve(cmd_parms *cmd, void *dirv, const char *name)
{
    connpool_dir_t *dir = dirv;
    const char *error = connpool_unset_variable(cmd, NULL, name);
    connpool_serving_t *serving;

    if (error) {
        return error;
    }
    if (strchr(name, '=')) {
        return read_key(cmd, dir, name);
    }
    serving = apr_array_push(servings);
    serving->server = cmd->server;
    serving->dir = dir;
    serving->where = connpool_where(cmd);
    serving->name = name;
    serving->handler = handler_beside(cmd);
    serving->section = cmd->directive->parent;
    serving->place = connpool_place_of(cmd);
    dir->served = serving->place;
    if (!dir->serve) {
        dir->serve = apr_array_make(cmd->pool, 1, sizeof(const char *));
    }
    APR_ARRAY_PUSH(dir->serve, const char *) = name;
    if (dir->serve->nelts > 1 && serving->handler
        && (strcmp(serving->handler, "connpool-query") == 0
            || strcmp(serving->handler, "connpool-fetch") == 0)) {
        return connpool_complaint(
            cmd, NULL, NULL,
            apr_pstrcat(cmd->pool, serving->handler, " serves one name", NULL));
    }
    return NULL;
}

const apr_array_header_t *connpool_servings(void)
{
    return servings;
}

/* --- ConnPoolBatch... --- */

const char *connpool_cmd_place_setting(cmd_parms *cmd, void *dirv,
                                       const char *value)
{
    const connpool_dir_t *dir = dirv;
    const char *error = connpool_read_setting(cmd, place_settings, dirv, value);

    if (dir->batch.max > largest_batch_max) {
        largest_batch_max = dir->batch.max;
    }
    return error;
}

static connpool_batch_limits_t complete_batch(const connpool_dir_t *dir)
{
    connpool_dir_t complete = *dir;

    cp_options_complete(place_settings, &complete);
    return complete.batch;
}

connpool_batch_limits_t connpool_batch_limits(request_rec *r)
{
    return complete_batch(connpool_dir(r));
}

/* --- ConnPoolRateLimit, and rate= of upstreams --- */

int connpool_wants_rates(void)
{
    return has_rates;
}

const char *connpool_read_rate(apr_pool_t *p, const char *word,
                               cp_rate_limit_t *limit)
{
    const char *error = cp_params_rate(p, word, &limit->count, &limit->period);

    if (!error) {
        limit->burst = limit->count;
        has_rates = 1;
    }
    return error;
}

static const char *read_burst(apr_pool_t *p, const char *word, int *pburst)
{
    const char *key, *value;
    const char *error = cp_params_option(p, word, &key, &value);
    apr_int64_t burst = 0;

    if (error || strcmp(key, "burst") != 0) {
        return apr_psprintf(p, "'%s' is not burst=N", word);
    }
    error = cp_params_int(p, value, 1, 1000000, &burst);
    *pburst = (int)burst;
    return error;
}

const char *connpool_cmd_rate_limit(cmd_parms *cmd, void *dirv,
                                    const char *word, const char *more)
{
    connpool_dir_t *dir = dirv;
    connpool_rate_t *rate = apr_pcalloc(cmd->pool, sizeof(*rate));
    const char *error = connpool_unset_variable(cmd, NULL, word);

    if (!error && more) {
        error = connpool_unset_variable(cmd, NULL, more);
    }
    if (error) {
        return error;
    }
    rate->where = connpool_where(cmd);
    rate->text = more ? apr_pstrcat(cmd->pool, word, " ", more, NULL) : word;
    dir->rate = rate;
    if (apr_cstr_casecmp(word, "none") != 0) {
        error = connpool_read_rate(cmd->pool, word, &rate->limit);
    }
    else if (more) {
        error = "none has no burst";
    }
    if (!error && more) {
        error = read_burst(cmd->pool, more, &rate->limit.burst);
    }
    return error ? connpool_complaint(cmd, NULL, NULL, error) : NULL;
}

/* --- Require ---
 *
 * mod_authz_core keeps to itself whether a Require applied, and grants what
 * nobody restricted. So the module listens to Require: httpd hands a directive
 * to every module that knows its name, also inside <RequireAny> and the like.
 *
 * Not every Require speaks about the report. The usual "Require all granted"
 * of the document root says that its files are public, and the report's URL
 * lies there only because it must lie somewhere. It counts when it stands in a
 * <Location> (any that covers the URL, also "/"), which is about URLs, or in
 * the very section that sets the handler. One in a .htaccess file, or for
 * methods other than GET alone, does not count. */

static int names_report(apr_pool_t *p, const ap_directive_t *directive)
{
    const char *args = directive->args;
    const char *handler;

    if (ap_cstr_casecmp(directive->directive, "SetHandler") != 0) {
        return 0;
    }
    handler = ap_getword_conf(p, &args);
    return strcmp(handler, "connpool-status") == 0
           || strcmp(handler, "connpool-health") == 0;
}

static int is_about_report(apr_pool_t *p, const ap_directive_t *require)
{
    for (const ap_directive_t *in = require->parent; in; in = in->parent) {
        if (ap_cstr_casecmpn(in->directive, "<Location", 9) == 0) {
            return 1;
        }
        for (const ap_directive_t *d = in->first_child; d; d = d->next) {
            if (names_report(p, d)) {
                return 1;
            }
        }
    }
    return 0;
}

const char *connpool_cmd_require(cmd_parms *cmd, void *dirv, const char *args)
{
    connpool_dir_t *dir = dirv;

    /* Nobody may believe in a Require that nobody enforces. */
    if (!ap_find_linked_module("mod_authz_core.c")) {
        return "Require needs mod_authz_core, which is not loaded";
    }
    if ((cmd->limited & (AP_METHOD_BIT << M_GET)) != 0
        && is_about_report(cmd->temp_pool, cmd->directive)) {
        dir->has_require = 1;
    }
    return NULL;
}

/* --- the check of what is served --- */

/* More names than one request may have run. What surrounds the place is not
 * known here: the largest bound that there is may hold in it. */
static const char *check_batch_size(apr_pool_t *p,
                                    const connpool_serving_t *serving)
{
    const connpool_dir_t *dir = serving->dir;
    int max = dir->batch.max;

    if (max == CP_UNSET) {
        max = complete_batch(
                  ap_get_module_config(serving->server->lookup_defaults,
                                       connpool_self))
                  .max;
        max = max > largest_batch_max ? max : largest_batch_max;
    }
    return dir->serve->nelts <= max
               ? NULL
               : apr_psprintf(p,
                              "ConnPoolServe: %d names are more than "
                              "ConnPoolBatchMax %d",
                              dir->serve->nelts, max);
}

/* Segments of the path are what follows the place of one query. */
static const char *check_segments(apr_pool_t *p,
                                  const connpool_serving_t *serving,
                                  const connpool_query_t *query)
{
    const char *handler = serving->handler ? serving->handler : "";
    int is_glob = serving->place.kind == CONNPOOL_PLACE_PATTERN
                  && !serving->place.regex;

    if (!query || !query->segments) {
        return NULL;
    }
    if (strcmp(handler, "connpool-batch") == 0) {
        return apr_psprintf(p,
                            "ConnPoolServe: '%s' has parameters with path=, "
                            "which no connpool-batch can give it",
                            serving->name);
    }
    return is_glob ? apr_psprintf(p,
                                  "ConnPoolServe: '%s' has parameters with "
                                  "path=, but nothing is behind a <Location> "
                                  "with wildcards: write <Location \"/path\"> "
                                  "or <LocationMatch \"^/path\">",
                                  serving->name)
                   : NULL;
}

/* NULL, or what is wrong with a name that is served. */
static const char *check_serving(apr_pool_t *p,
                                 const connpool_serving_t *serving)
{
    const connpool_server_t *sc = connpool_server(serving->server);
    const char *handler = serving->handler ? serving->handler : "";
    const connpool_query_t *query = apr_hash_get(sc->all_queries, serving->name,
                                                 APR_HASH_KEY_STRING);
    const char *error;
    int is_query = query != NULL;
    int is_upstream = apr_hash_get(sc->all_upstreams, serving->name,
                                   APR_HASH_KEY_STRING)
                      != NULL;

    if (!is_query && !is_upstream) {
        return apr_psprintf(p,
                            "ConnPoolServe: neither a query nor an upstream is "
                            "named '%s'",
                            serving->name);
    }
    if (!is_query && strcmp(handler, "connpool-query") == 0) {
        return apr_psprintf(p,
                            "ConnPoolServe: connpool-query serves queries, and "
                            "'%s' is an upstream",
                            serving->name);
    }
    if (!is_upstream && strcmp(handler, "connpool-fetch") == 0) {
        return apr_psprintf(p,
                            "ConnPoolServe: connpool-fetch serves upstreams, "
                            "and '%s' is a query",
                            serving->name);
    }
    if (strcmp(handler, "connpool-batch") != 0) {
        return check_segments(p, serving, query);
    }
    if (is_query && is_upstream) {
        return apr_psprintf(p,
                            "ConnPoolServe: '%s' is both a query and an "
                            "upstream",
                            serving->name);
    }
    error = check_segments(p, serving, query);
    return error ? error : check_batch_size(p, serving);
}

int connpool_check_servings(apr_pool_t *p)
{
    for (int i = 0; i < servings->nelts; i++) {
        const connpool_serving_t *serving = &APR_ARRAY_IDX(servings, i,
                                                           connpool_serving_t);
        const char *error = check_serving(p, serving);

        if (error) {
            return connpool_refuse(serving->server, serving->where, error);
        }
    }
    return OK;
}
