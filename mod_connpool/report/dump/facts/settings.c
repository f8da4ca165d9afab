/* SPDX-License-Identifier: Apache-2.0
 * Settings as they hold. The tables by which the configuration is read tell
 * which there are, so that a new one is shown without a line here. */
#include "report/dump/facts/settings.h"

#include "glue.h"
#include "base/number.h"
#include "base/option.h"
#include "child/child.h"
#include "config/database.h"
#include "config/line/origin.h"
#include "config/method/method.h"
#include "config/query.h"
#include "config/setting.h"
#include "config/upstream.h"
#include "database/value.h"
#include "report/dump/facts/facts.h"
#include "report/dump/facts/secret.h"

#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>

static const connpool_origin_t by_default = {CONNPOOL_FROM_DEFAULT, NULL, NULL,
                                             0};

static connpool_origin_t written_at(const char *where)
{
    return (connpool_origin_t){CONNPOOL_FROM_DIRECTIVE, where, NULL, 0};
}

/* The value of a row of a table. */
static connpool_fact_t *add_option(apr_pool_t *p, connpool_section_t *section,
                                   const cp_option_t *option,
                                   const void *target, connpool_origin_t origin)
{
    const char *value = cp_option_show(p, option, target);
    connpool_fact_t *fact = connpool_fact_add(
        section, option->key,
        value ? connpool_hide_secrets(p, option->key, value) : NULL, origin);

    if (!cp_option_number(option, target, &fact->number)) {
        return fact;
    }
    switch (option->type) {
    case CP_OPTION_DURATION:
        fact->unit = "ms";
        fact->number = apr_time_as_msec(fact->number);
        break;
    case CP_OPTION_SIZE:
        fact->unit = "bytes";
        break;
    case CP_OPTION_FLAG:
        fact->unit = "flag";
        break;
    default:
        fact->unit = "";
    }
    return fact;
}

/* --- servers --- */

static connpool_origin_t of_server(const server_rec *s,
                                   const connpool_server_t *sc,
                                   const cp_option_t *option)
{
    connpool_origin_t origin = connpool_origin_of(sc, option->offset);

    /* A virtual host without a directive of ours has its main server's. */
    origin.is_inherited |= sc->server != s
                           && origin.kind == CONNPOOL_FROM_DIRECTIVE;
    return origin;
}

static void add_cache(connpool_section_t *section, server_rec *s)
{
    const connpool_server_t *sc = connpool_server(s);

    if (!s->is_virtual) {
        connpool_fact_add(
            section, "ConnPoolCache", sc->cache ? sc->cache : "shmcb",
            connpool_origin_of(sc, APR_OFFSETOF(connpool_server_t, cache)));
    }
}

/* What places have that say nothing themselves. */
static void add_places(apr_pool_t *p, connpool_section_t *section,
                       server_rec *s)
{
    const connpool_dir_t *dir = ap_get_module_config(s->lookup_defaults,
                                                     connpool_self);
    const connpool_dir_t *main_dir = ap_get_module_config(
        connpool_child.main_server->lookup_defaults, connpool_self);
    const cp_option_t *option = connpool_place_settings();
    connpool_dir_t complete = *dir;

    cp_options_complete(option, &complete);
    for (; option->key; option++) {
        connpool_origin_t origin = connpool_origin_of(dir, option->offset);

        origin.is_inherited |= s->is_virtual && dir == main_dir
                               && origin.kind == CONNPOOL_FROM_DIRECTIVE;
        add_option(p, section, option, &complete, origin);
    }
    if (dir->rate) {
        connpool_origin_t origin = written_at(dir->rate->where);

        origin.is_inherited = s->is_virtual && dir->rate == main_dir->rate;
        connpool_fact_add(section, "ConnPoolRateLimit", dir->rate->text,
                          origin);
    }
    else {
        connpool_fact_add(section, "ConnPoolRateLimit", NULL, by_default);
    }
}

/* What of a kind is defined in a server, and by which names it is seen. */
typedef struct kind_t {
    const char *plural;
    apr_size_t list; /* of connpool_server_t */
    apr_size_t names;
} kind_t;

static const apr_array_header_t *own_of(const server_rec *s, const kind_t *kind)
{
    const connpool_server_t *sc = connpool_server((server_rec *)s);

    return *(apr_array_header_t *const *)((const char *)sc + kind->list);
}

/* Each definition begins with its name. */
static const char *add_names(apr_pool_t *p, const char *list,
                             const kind_t *kind, server_rec *of, server_rec *s)
{
    const char *sc = (const char *)connpool_server(s);
    apr_hash_t *seen = *(apr_hash_t *const *)(sc + kind->names);
    const apr_array_header_t *own = own_of(of, kind);

    for (int i = 0; i < own->nelts; i++) {
        const char *const *definition = APR_ARRAY_IDX(own, i,
                                                      const char *const *);

        if (apr_hash_get(seen, *definition, APR_HASH_KEY_STRING)
            == definition) {
            list = apr_pstrcat(p, list, *list ? ", " : "", *definition,
                               of == s ? "" : " (of the main server)", NULL);
        }
    }
    return list;
}

static void find_names(connpool_facts_t *facts, connpool_section_t *section,
                       server_rec *s)
{
    static const kind_t kinds[] = {
        {"databases", APR_OFFSETOF(connpool_server_t, databases),
         APR_OFFSETOF(connpool_server_t, all_databases)},
        {"upstreams", APR_OFFSETOF(connpool_server_t, upstreams),
         APR_OFFSETOF(connpool_server_t, all_upstreams)},
        {"queries", APR_OFFSETOF(connpool_server_t, queries),
         APR_OFFSETOF(connpool_server_t, all_queries)},
    };
    server_rec *main_server = connpool_child.main_server;

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        const char *list = "";

        if (connpool_server(s)->server == s) {
            list = add_names(facts->p, list, &kinds[i], s, s);
        }
        if (s->is_virtual) {
            list = add_names(facts->p, list, &kinds[i], main_server, s);
        }
        connpool_found_add(facts, section, CP_SEVERITY_INFO, kinds[i].plural,
                           *list ? list : "none");
    }
}

static void find_flags(connpool_facts_t *facts, connpool_section_t *section,
                       const connpool_server_t *sc)
{
    static const char each[] = "each request opens its connections, and closes "
                               "them: nothing is pooled";

    if (!sc->engine) {
        connpool_found_add(facts, section, CP_SEVERITY_INFO,
                           "ConnPoolEngine Off", each);
    }
    else if (!sc->db_pool) {
        connpool_found_add(facts, section, CP_SEVERITY_INFO,
                           "ConnPoolDBPool Off", each);
    }
    if (sc->engine && !sc->http_pool) {
        connpool_found_add(facts, section, CP_SEVERITY_INFO,
                           "ConnPoolHTTPPool Off", each);
    }
}

void connpool_settings_of_server(connpool_facts_t *facts,
                                 connpool_section_t *section, server_rec *s)
{
    const connpool_server_t *sc = connpool_server(s);

    for (const cp_option_t *option = connpool_server_settings(); option->key;
         option++) {
        add_option(facts->p, section, option, sc, of_server(s, sc, option));
    }
    add_cache(section, s);
    add_places(facts->p, section, s);
    find_names(facts, section, s);
    find_flags(facts, section, sc);
}

/* --- definitions --- */

/* Keys whose default is a setting of the server. */
typedef struct fallback_t {
    const char *key;
    const char *directive;
} fallback_t;

static const fallback_t database_fallbacks[] = {{"max", "ConnPoolDBMax"},
                                                {NULL, NULL}};
static const fallback_t upstream_fallbacks[] = {
    {"max", "ConnPoolHTTPMax"},
    {"perhost", "ConnPoolHTTPPerHost"},
    {"connect", "ConnPoolHTTPConnectTimeout"},
    {"read", "ConnPoolHTTPReadTimeout"},
    {"keepalive", "ConnPoolHTTPKeepAlive"},
    {NULL, NULL},
};
static const fallback_t query_fallbacks[] = {{NULL, NULL}};

static connpool_origin_t of_fallback(server_rec *s, const char *directive)
{
    const connpool_server_t *sc = connpool_server(s);
    connpool_origin_t origin = of_server(
        s, sc, cp_options_find(connpool_server_settings(), directive));

    origin.name = directive;
    return origin;
}

static connpool_origin_t of_key(const connpool_line_t *line, const char *key,
                                const fallback_t *fallbacks)
{
    connpool_origin_t origin = connpool_line_origin(line, key);

    for (; origin.kind == CONNPOOL_FROM_DEFAULT && fallbacks->key;
         fallbacks++) {
        if (strcmp(fallbacks->key, key) == 0) {
            return of_fallback(line->server, fallbacks->directive);
        }
    }
    return origin;
}

static void add_keys(apr_pool_t *p, connpool_section_t *section,
                     const connpool_line_t *line, const fallback_t *fallbacks)
{
    for (int i = 0; line && line->tables[i].options; i++) {
        const cp_option_t *option = line->tables[i].options;

        for (; option->key; option++) {
            add_option(p, section, option, line->tables[i].target,
                       of_key(line, option->key, fallbacks));
        }
    }
}

static connpool_fact_t *find_fact(connpool_section_t *section, const char *name)
{
    for (int i = 0; i < section->settings->nelts; i++) {
        connpool_fact_t *fact = &APR_ARRAY_IDX(section->settings, i,
                                               connpool_fact_t);

        if (strcmp(fact->name, name) == 0) {
            return fact;
        }
    }
    return NULL;
}

void connpool_settings_of_database(connpool_facts_t *facts,
                                   connpool_section_t *section,
                                   const connpool_database_t *db)
{
    connpool_fact_t *limit;

    connpool_fact_add(
        section, "address",
        apr_pstrcat(facts->p, db->driver->scheme, ":", db->facts.address, NULL),
        written_at(db->where));
    add_keys(
        facts->p, section,
        connpool_origin_find(db->server, "ConnPoolDatabase", db->name, NULL),
        database_fallbacks);
    limit = find_fact(section, "server-max");
    if (limit && !db->pool.server_max) {
        limit->value = limit->unit = NULL;
    }
}

/* The lowest limit counts, whoever has set it. */
static void correct_max(connpool_section_t *section,
                        const connpool_upstream_t *up,
                        const connpool_line_t *line)
{
    connpool_fact_t *max = find_fact(section, "max");
    const connpool_fact_t *perhost = find_fact(section, "perhost");
    const char *written = line ? connpool_line_value(line, "max") : NULL;

    if (!max || !perhost || (written && atoi(written) == up->pool.max)) {
        return;
    }
    if (up->pool.max == up->perhost) {
        max->origin = perhost->origin;
        if (!max->origin.name) {
            max->origin.name = "perhost=";
        }
    }
    else {
        max->origin = of_fallback(up->server, "ConnPoolHTTPMax");
    }
}

void connpool_settings_of_upstream(connpool_facts_t *facts,
                                   connpool_section_t *section,
                                   const connpool_upstream_t *up)
{
    const connpool_line_t *line = connpool_origin_find(
        up->server, "ConnPoolUpstream", up->name, NULL);

    for (int i = 0; i < up->base_count; i++) {
        connpool_fact_add(
            section, "url",
            connpool_hide_secrets(facts->p, "url", up->bases[i].http.url),
            written_at(up->where));
    }
    add_keys(facts->p, section, line, upstream_fallbacks);
    correct_max(section, up, line);
}

/* What follows from others, when nobody has written it. */
static void complete_query(apr_pool_t *p, connpool_section_t *section,
                           const connpool_query_t *query)
{
    const connpool_database_t *db = query->database;
    const connpool_line_t *line = connpool_origin_find(
        db->server, "ConnPoolDatabase", db->name, NULL);
    connpool_fact_t *methods = find_fact(section, "methods");
    connpool_fact_t *timeout = find_fact(section, "timeout");

    if (methods) {
        methods->value = connpool_methods_text(p, query->methods, ",");
    }
    if (timeout && timeout->origin.kind == CONNPOOL_FROM_DEFAULT && line) {
        timeout->origin = connpool_line_origin(line, "timeout");
        timeout->origin.name = "timeout= of its database";
    }
}

void connpool_settings_of_query(connpool_facts_t *facts,
                                connpool_section_t *section,
                                const connpool_query_t *query)
{
    connpool_fact_add(section, "database", query->database_name,
                      written_at(query->where));
    connpool_fact_add(section, "sql", query->sql, written_at(query->where));
    add_keys(
        facts->p, section,
        connpool_origin_find(query->server, "ConnPoolQuery", query->name, NULL),
        query_fallbacks);
    complete_query(facts->p, section, query);
}

/* --- parameters --- */

/* The words that have no value: a type, "required", and what else there is. */
static const char *find_type(const connpool_line_t *line)
{
    const char *word = line->words[2];

    return word && !strchr(word, '=') && strcasecmp(word, "required") != 0
               ? word
               : NULL;
}

static int has_length(const cp_param_spec_t *spec)
{
    return spec->type == CP_TYPE_TEXT || spec->type == CP_TYPE_BLOB
           || spec->type == CP_TYPE_JSON;
}

static void add_written(apr_pool_t *p, connpool_section_t *section,
                        const connpool_line_t *line)
{
    for (const char *const *word = line->words + 2; *word; word++) {
        const char *equals = strchr(*word, '=');
        char *key;

        if (equals) {
            key = apr_pstrmemdup(p, *word, (apr_size_t)(equals - *word));
            ap_str_tolower(key);
            connpool_fact_add(section, key,
                              connpool_hide_secrets(p, key, equals + 1),
                              written_at(line->where));
        }
    }
}

void connpool_settings_of_param(connpool_section_t *section,
                                const connpool_query_t *query,
                                const connpool_param_t *param)
{
    const connpool_line_t *line = connpool_origin_find(
        query->server, "ConnPoolParam", query->name, param->spec.name);
    apr_pool_t *p = section->settings->pool;
    connpool_origin_t written = written_at(line ? line->where : query->where);
    connpool_fact_t *fact;

    if (!line) {
        written.name = "page="; /* which brings parameters along */
    }
    section->where = written.where;
    connpool_fact_add(section, "type", cp_type_names[param->spec.type],
                      !line || find_type(line) ? written : by_default);
    fact = connpool_fact_add(section, "required",
                             param->spec.is_required ? "on" : "off",
                             param->spec.is_required ? written : by_default);
    fact->unit = "flag";
    fact->number = param->spec.is_required;
    if (line) {
        add_written(p, section, line);
    }
    if (has_length(&param->spec)
        && !(line && connpool_line_value(line, "maxlen"))) {
        connpool_fact_add(
            section, "maxlen",
            cp_params_show_size(p, (apr_int64_t)param->spec.maxlen),
            line ? by_default : written);
    }
}

/* --- places --- */

/* Does the name mean this definition in that server? */
static int is_meant(const connpool_serving_t *serving, const void *definition)
{
    const connpool_server_t *sc = connpool_server(serving->server);

    return apr_hash_get(sc->all_queries, serving->name, APR_HASH_KEY_STRING)
               == definition
           || apr_hash_get(sc->all_upstreams, serving->name,
                           APR_HASH_KEY_STRING)
                  == definition;
}

void connpool_found_servings(connpool_facts_t *facts,
                             connpool_section_t *section,
                             const void *definition)
{
    const apr_array_header_t *servings = connpool_servings();
    int is_served = 0;

    for (int i = 0; i < servings->nelts; i++) {
        const connpool_serving_t *serving = &APR_ARRAY_IDX(servings, i,
                                                           connpool_serving_t);
        const ap_directive_t *in = serving->section;

        if (is_meant(serving, definition)) {
            is_served = 1;
            connpool_found_add(
                facts, section, CP_SEVERITY_INFO, "served",
                apr_pstrcat(facts->p, serving->handler ? serving->handler : "",
                            " in ", in ? in->directive : "the server",
                            in && *in->args ? " " : "", in ? in->args : "",
                            " at ", serving->where, NULL));
        }
    }
    if (!is_served) {
        connpool_found_add(facts, section, CP_SEVERITY_INFO, "served",
                           "nowhere");
    }
}
