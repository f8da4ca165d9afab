/* SPDX-License-Identifier: Apache-2.0
 * Directives: read, inherit, complete, check. Everything that can be known
 * without opening a database is refused here, so that configtest tells. */
#include "config/config.h"

#include "glue.h"
#include "answers/encode.h"
#include "base/number.h"
#include "config/definitions.h"
#include "database/sqlite/scan.h"
#include "database/value.h"
#include "http/http.h"
#include "report/report.h"
#include "cache/provider.h"

#include <stdlib.h>

#include <ap_mpm.h>
#include <apr_file_io.h>
#include <apr_hash.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <http_protocol.h>

#define FOREVER        apr_time_from_sec(7 * 24 * 3600)
#define MAXLEN_DEFAULT (64 * 1024)
#define MILLISECOND    apr_time_from_msec(1)

/* --- what a server starts with --- */

void *connpool_create_server_config(apr_pool_t *p, server_rec *s)
{
    connpool_server_t *sc = apr_pcalloc(p, sizeof(*sc));

    sc->server = s;
    sc->engine = CONNPOOL_UNSET;
    sc->http_pool = CONNPOOL_UNSET;
    sc->db_pool = CONNPOOL_UNSET;
    sc->event_loop = CONNPOOL_UNSET;
    sc->http_max = CONNPOOL_UNSET;
    sc->http_per_host = CONNPOOL_UNSET;
    sc->http_connect = CONNPOOL_UNSET;
    sc->http_read = CONNPOOL_UNSET;
    sc->http_keepalive = CONNPOOL_UNSET;
    sc->http_cleanup = CONNPOOL_UNSET;
    sc->db_max = CONNPOOL_UNSET;
    sc->server_status = CONNPOOL_UNSET;
    sc->memory = CONNPOOL_UNSET;
    sc->cache_local = CONNPOOL_UNSET;
    sc->slow = CONNPOOL_UNSET;
    sc->server_timing = CONNPOOL_UNSET;
    sc->databases = apr_array_make(p, 2, sizeof(connpool_database_t *));
    sc->upstreams = apr_array_make(p, 2, sizeof(connpool_upstream_t *));
    sc->queries = apr_array_make(p, 8, sizeof(connpool_query_t *));
    sc->all_databases = apr_hash_make(p);
    sc->all_upstreams = apr_hash_make(p);
    sc->all_queries = apr_hash_make(p);
    return sc;
}

#define INHERIT(field)                                                         \
    sc->field = (add->field == CONNPOOL_UNSET) ? base->field : add->field

void *connpool_merge_server_config(apr_pool_t *p, void *basev, void *addv)
{
    const connpool_server_t *base = basev;
    const connpool_server_t *add = addv;
    connpool_server_t *sc = apr_pmemdup(p, add, sizeof(*add));

    INHERIT(engine);
    INHERIT(http_pool);
    INHERIT(db_pool);
    INHERIT(event_loop);
    INHERIT(http_max);
    INHERIT(http_per_host);
    INHERIT(http_connect);
    INHERIT(http_read);
    INHERIT(http_keepalive);
    INHERIT(http_cleanup);
    INHERIT(db_max);
    INHERIT(server_status);
    INHERIT(memory);
    INHERIT(cache_local);
    INHERIT(slow);
    INHERIT(server_timing);
    /* By pointer: a virtual host shares the pools, it never doubles them. */
    sc->all_databases = apr_hash_overlay(p, add->all_databases,
                                         base->all_databases);
    sc->all_upstreams = apr_hash_overlay(p, add->all_upstreams,
                                         base->all_upstreams);
    sc->all_queries = apr_hash_overlay(p, add->all_queries, base->all_queries);
    return sc;
}

void *connpool_create_dir_config(apr_pool_t *p, char *path)
{
    connpool_dir_t *dir = apr_pcalloc(p, sizeof(*dir));

    dir->batch.max = CONNPOOL_UNSET;
    dir->batch.parallel = CONNPOOL_UNSET;
    dir->batch.body = CONNPOOL_UNSET;
    return dir;
}

#define INHERIT_PLACE(field)                                                   \
    dir->field = (add->field == CONNPOOL_UNSET) ? base->field : add->field

void *connpool_merge_dir_config(apr_pool_t *p, void *basev, void *addv)
{
    const connpool_dir_t *base = basev;
    const connpool_dir_t *add = addv;
    connpool_dir_t *dir = apr_pmemdup(p, add, sizeof(*add));

    if (!add->serve) {
        dir->serve = base->serve;
        dir->location = base->location;
    }
    dir->has_require = base->has_require || add->has_require;
    INHERIT_PLACE(batch.max);
    INHERIT_PLACE(batch.parallel);
    INHERIT_PLACE(batch.body);
    return dir;
}

connpool_server_t *connpool_server(server_rec *s)
{
    return ap_get_module_config(s->module_config, connpool_self);
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

/* --- options: key=value --- */

typedef enum option_kind_t {
    OPTION_INT,
    OPTION_DURATION,
    OPTION_SIZE,
    OPTION_FLAG,
    OPTION_CHOICE, /* field: int, the place in choices */
    OPTION_FILE,   /* field: const char *, a readable file */
    OPTION_WORD,   /* field: const char *, as it stands */
} option_kind_t;

/* One key of a directive: where its value goes, and what is allowed. */
typedef struct option_t {
    const char *key;
    option_kind_t kind;
    apr_size_t offset;
    apr_int64_t min, max;
    const char *const *choices;
} option_t;

/* Wrap an error sentence: "ConnPoolX NAME: key=...". */
static const char *complain(cmd_parms *cmd, const char *name, const char *key,
                            const char *sentence)
{
    return apr_pstrcat(cmd->pool, cmd->cmd->name, name ? " " : "",
                       name ? name : "", key ? ": " : "", key ? key : "", ": ",
                       sentence, NULL);
}

static const char *check_file(cmd_parms *cmd, const char *value,
                              const char **pfile)
{
    apr_finfo_t info;
    const char *file = ap_server_root_relative(cmd->pool, value);

    if (!file
        || apr_stat(&info, file, APR_FINFO_TYPE, cmd->temp_pool) != APR_SUCCESS
        || info.filetype != APR_REG) {
        return apr_psprintf(cmd->pool, "'%s' is not a file", value);
    }
    *pfile = file;
    return NULL;
}

static const char *set_option(cmd_parms *cmd, const option_t *option,
                              char *target, const char *value)
{
    void *field = target + option->offset;
    apr_int64_t number;
    const char *error;

    switch (option->kind) {
    case OPTION_INT:
        error = cp_params_int(cmd->pool, value, option->min, option->max,
                              &number);
        if (!error) {
            *(int *)field = (int)number;
        }
        return error;
    case OPTION_DURATION:
        return cp_params_duration(cmd->pool, value, option->min, option->max,
                                  field);
    case OPTION_SIZE:
        return cp_params_size(cmd->pool, value, option->min, option->max,
                              field);
    case OPTION_FLAG:
        return cp_params_flag(cmd->pool, value, 0, field);
    case OPTION_CHOICE:
        return cp_params_choice(cmd->pool, value, option->choices, field);
    case OPTION_FILE:
        return check_file(cmd, value, field);
    case OPTION_WORD:
        *(const char **)field = apr_pstrdup(cmd->pool, value);
        return NULL;
    }
    return "unknown kind of option";
}

static const char *list_keys(apr_pool_t *p, const option_t *options)
{
    const char *keys = "";

    for (; options->key; options++) {
        keys = apr_pstrcat(p, keys, *keys ? ", " : "", options->key, NULL);
    }
    return keys;
}

static const option_t *find_option(const option_t *options, const char *key)
{
    for (; options->key; options++) {
        if (strcmp(options->key, key) == 0) {
            return options;
        }
    }
    return NULL;
}

/* Read all words from `words` on into target, by the table of options. */
static const char *read_options(cmd_parms *cmd, const char *name,
                                const char **words, const option_t *options,
                                void *target)
{
    apr_hash_t *seen = apr_hash_make(cmd->temp_pool);

    for (; *words; words++) {
        const char *key, *value, *error;
        const option_t *option;

        error = cp_params_option(cmd->pool, *words, &key, &value);
        if (error) {
            return complain(cmd, name, NULL, error);
        }
        option = find_option(options, key);
        if (!option) {
            return complain(cmd, name, NULL,
                            apr_psprintf(cmd->pool,
                                         "unknown key '%s'; allowed are %s",
                                         key, list_keys(cmd->pool, options)));
        }
        if (apr_hash_get(seen, key, APR_HASH_KEY_STRING)) {
            return complain(cmd, name, key, "given twice");
        }
        apr_hash_set(seen, key, APR_HASH_KEY_STRING, key);
        error = set_option(cmd, option, target, value);
        if (error) {
            return complain(cmd, name, *words, error);
        }
    }
    return NULL;
}

/* Split the line; its first `needed` words must be there. */
static const char *read_words(cmd_parms *cmd, const char *line, int needed,
                              const char *syntax, const char ***pwords)
{
    int count;
    const char *error = cp_params_split(cmd->pool, line, pwords, &count);

    if (error) {
        return complain(cmd, NULL, NULL, error);
    }
    if (count < needed) {
        return complain(
            cmd, NULL, NULL,
            apr_pstrcat(cmd->pool, "too few words; write ", syntax, NULL));
    }
    error = cp_params_name(cmd->pool, (*pwords)[0]);
    return error ? complain(cmd, NULL, NULL, error) : NULL;
}

static const char *here(cmd_parms *cmd)
{
    return apr_psprintf(cmd->pool, "%s:%d", cmd->directive->filename,
                        cmd->directive->line_num);
}

static int is_named(apr_hash_t *names, const char *name)
{
    return apr_hash_get(names, name, APR_HASH_KEY_STRING) != NULL;
}

/* Enter a definition under its name, which must be new in this server. An
 * upstream is a pool, as databases are, and is served, as queries are: it
 * shares its name with none of them. */
static const char *define(cmd_parms *cmd, apr_hash_t *names,
                          apr_array_header_t *list, const char *name,
                          void *definition)
{
    const connpool_server_t *sc = connpool_server(cmd->server);
    int is_taken = is_named(names, name) || is_named(sc->all_upstreams, name);

    if (names == sc->all_upstreams) {
        is_taken |= is_named(sc->all_databases, name)
                    || is_named(sc->all_queries, name);
    }
    if (is_taken) {
        return complain(cmd, name, NULL,
                        "this name is defined twice in this server");
    }
    apr_hash_set(names, name, APR_HASH_KEY_STRING, definition);
    *(void **)apr_array_push(list) = definition;
    return NULL;
}

static const char *const overflow_names[] = {"reject", "direct", NULL};
static const char *const allow_names[] = {"refuse", "allow", NULL};

/* --- ConnPoolDatabase --- */

static const char *const synchronous_names[] = {"off", "normal", "full", NULL};

typedef struct database_options_t {
    connpool_database_t db;
    int synchronous;
} database_options_t;

#define DB(field) APR_OFFSETOF(database_options_t, db.field)

static const option_t database_options[] = {
    {"max", OPTION_INT, DB(pool.max), 1, 1000, NULL},
    {"min", OPTION_INT, DB(pool.min), 0, 1000, NULL},
    {"acquire", OPTION_DURATION, DB(pool.acquire), 0, apr_time_from_sec(3600),
     NULL},
    {"queue", OPTION_INT, DB(pool.queue), 0, 100000, NULL},
    {"idle", OPTION_DURATION, DB(pool.idle), 0, FOREVER, NULL},
    {"lifetime", OPTION_DURATION, DB(pool.lifetime), 0, FOREVER, NULL},
    {"check", OPTION_DURATION, DB(pool.check), 0, FOREVER, NULL},
    {"leak", OPTION_DURATION, DB(pool.leak), 0, FOREVER, NULL},
    {"busy", OPTION_DURATION, DB(sqlite.busy), 0, apr_time_from_sec(3600),
     NULL},
    {"timeout", OPTION_DURATION, DB(timeout), MILLISECOND,
     apr_time_from_sec(3600), NULL},
    {"cache", OPTION_SIZE, DB(sqlite.cache), 16 * 1024, 1024 * 1024 * 1024,
     NULL},
    {"synchronous", OPTION_CHOICE,
     APR_OFFSETOF(database_options_t, synchronous), 0, 0, synchronous_names},
    {"readonly", OPTION_FLAG, DB(sqlite.is_readonly), 0, 0, NULL},
    {"overflow", OPTION_CHOICE, DB(overflow_direct), 0, 0, overflow_names},
    {"overflow-max", OPTION_INT, DB(pool.overflow_max), 0, 1000, NULL},
    {"length", OPTION_SIZE, DB(sqlite.length), 1024, 1024 * 1024 * 1024, NULL},
    {"like", OPTION_INT, DB(sqlite.like), 1, 50000, NULL},
    {NULL, OPTION_INT, 0, 0, 0, NULL},
};

static void database_defaults(connpool_database_t *db)
{
    db->pool.max = CONNPOOL_UNSET;
    db->pool.min = 0;
    db->pool.queue = 256;
    db->pool.acquire = apr_time_from_sec(2);
    db->pool.idle = apr_time_from_sec(600);
    db->pool.lifetime = apr_time_from_sec(3600);
    db->pool.check = apr_time_from_sec(30);
    db->pool.leak = apr_time_from_sec(60);
    db->pool.overflow_max = 10;
    db->overflow_direct = 1;
    db->timeout = apr_time_from_sec(5);
    db->sqlite.busy = apr_time_from_sec(5);
    db->sqlite.cache = 512 * 1024;
    db->sqlite.length = 1000000;
    db->sqlite.like = 50;
}

static const char *database_path(cmd_parms *cmd, const char *name,
                                 const char *dsn, const char **ppath)
{
    const char *path;

    if (strncmp(dsn, "sqlite:", 7) != 0 || !dsn[7]) {
        return complain(cmd, name, NULL,
                        apr_psprintf(cmd->pool,
                                     "'%s' is not sqlite:PATH, the one kind "
                                     "of database there is",
                                     dsn));
    }
    path = dsn + 7;
    if (strstr(path, "${")) {
        return complain(cmd, name, NULL,
                        apr_psprintf(cmd->pool,
                                     "'%s' holds a variable that is not set",
                                     path));
    }
    if (strcmp(path, ":memory:") != 0) {
        path = ap_server_root_relative(cmd->pool, path);
    }
    if (!path) {
        return complain(cmd, name, NULL, "the path is not valid");
    }
    *ppath = path;
    return NULL;
}

static const char *cmd_database(cmd_parms *cmd, void *dummy, const char *line)
{
    connpool_server_t *sc = connpool_server(cmd->server);
    database_options_t *target = apr_pcalloc(cmd->pool, sizeof(*target));
    connpool_database_t *db = &target->db;
    const char **words;
    const char *error = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT);

    if (error) {
        return error;
    }
    error = read_words(cmd, line, 2, "ConnPoolDatabase NAME sqlite:PATH ...",
                       &words);
    if (error) {
        return error;
    }
    database_defaults(db);
    target->synchronous = 1;
    db->name = db->pool.name = db->sqlite.name = words[0];
    db->server = cmd->server;
    db->where = here(cmd);
    error = database_path(cmd, db->name, words[1], &db->sqlite.path);
    if (!error) {
        error = read_options(cmd, db->name, words + 2, database_options,
                             target);
    }
    if (error) {
        return error;
    }
    db->sqlite.synchronous = synchronous_names[target->synchronous];
    return define(cmd, sc->all_databases, sc->databases, db->name, db);
}

/* --- ConnPoolUpstream --- */

typedef struct upstream_options_t {
    connpool_upstream_t up;
    const char *headers;
} upstream_options_t;

#define UP(field) APR_OFFSETOF(upstream_options_t, up.field)

static const option_t upstream_options[] = {
    {"max", OPTION_INT, UP(pool.max), 1, 10000, NULL},
    {"perhost", OPTION_INT, UP(perhost), 1, 10000, NULL},
    {"acquire", OPTION_DURATION, UP(pool.acquire), 0, apr_time_from_sec(3600),
     NULL},
    {"queue", OPTION_INT, UP(pool.queue), 0, 100000, NULL},
    {"connect", OPTION_DURATION, UP(http.connect), MILLISECOND,
     apr_time_from_sec(3600), NULL},
    {"read", OPTION_DURATION, UP(http.read), MILLISECOND,
     apr_time_from_sec(3600), NULL},
    {"total", OPTION_DURATION, UP(http.total), MILLISECOND,
     apr_time_from_sec(24 * 3600), NULL},
    {"keepalive", OPTION_DURATION, UP(http.keepalive), 0, FOREVER, NULL},
    {"lifetime", OPTION_DURATION, UP(http.lifetime), 0, FOREVER, NULL},
    {"leak", OPTION_DURATION, UP(pool.leak), 0, FOREVER, NULL},
    {"max-body", OPTION_SIZE, UP(http.max_body), 1, APR_INT64_C(1) << 40, NULL},
    {"redirects", OPTION_INT, UP(http.redirects), 0, 10, NULL},
    {"retry", OPTION_INT, UP(http.retries), 0, 10, NULL},
    {"breaker", OPTION_INT, UP(breaker), 0, 1000000, NULL},
    {"coalesce", OPTION_FLAG, UP(coalesces), 0, 0, NULL},
    {"http2", OPTION_FLAG, UP(http.http2), 0, 0, NULL},
    {"ca", OPTION_FILE, UP(http.ca), 0, 0, NULL},
    {"cert", OPTION_FILE, UP(http.cert), 0, 0, NULL},
    {"key", OPTION_FILE, UP(http.key), 0, 0, NULL},
    {"private", OPTION_CHOICE, UP(http.allow_private), 0, 0, allow_names},
    {"plaintext", OPTION_CHOICE, UP(http.allow_plaintext), 0, 0, allow_names},
    {"headers", OPTION_WORD, APR_OFFSETOF(upstream_options_t, headers), 0, 0,
     NULL},
    {"overflow", OPTION_CHOICE, UP(overflow_direct), 0, 0, overflow_names},
    {"overflow-max", OPTION_INT, UP(pool.overflow_max), 0, 1000, NULL},
    {NULL, OPTION_INT, 0, 0, 0, NULL},
};

static void upstream_defaults(connpool_upstream_t *up)
{
    up->pool.max = CONNPOOL_UNSET;
    up->pool.min = 0;
    up->pool.queue = 256;
    up->pool.acquire = apr_time_from_sec(2);
    up->pool.leak = apr_time_from_sec(60);
    up->pool.overflow_max = 10;
    up->perhost = CONNPOOL_UNSET;
    up->breaker = 5;
    up->overflow_direct = 1;
    up->http.connect = CONNPOOL_UNSET;
    up->http.read = CONNPOOL_UNSET;
    up->http.keepalive = CONNPOOL_UNSET;
    up->http.total = apr_time_from_sec(30);
    up->http.lifetime = apr_time_from_sec(3600);
    up->http.max_body = 8 * 1024 * 1024;
    up->http.retries = 1;
}

/* Headers that a request may hand on: names the client cannot misuse to break
 * the framing or to choose the host. */
static const char *read_header_list(cmd_parms *cmd, connpool_upstream_t *up,
                                    const char *list)
{
    static const char *const refused[] = {"host",
                                          "connection",
                                          "keep-alive",
                                          "te",
                                          "trailer",
                                          "upgrade",
                                          "transfer-encoding",
                                          "expect",
                                          "proxy-connection",
                                          "content-length",
                                          "accept-encoding",
                                          "range",
                                          "if-range",
                                          NULL};
    char *names = apr_pstrdup(cmd->pool, list);
    char *name, *state;

    for (name = apr_strtok(names, ",", &state); name;
         name = apr_strtok(NULL, ",", &state)) {
        const char *c = name;

        while (apr_isalnum(*c) || *c == '-' || *c == '_') {
            c++;
        }
        if (*c || c == name) {
            return apr_psprintf(cmd->pool, "'%s' is not a header's name", name);
        }
        for (const char *const *bad = refused; *bad; bad++) {
            if (strcasecmp(name, *bad) == 0) {
                return apr_psprintf(
                    cmd->pool, "'%s' cannot be handed on to an upstream", name);
            }
        }
        APR_ARRAY_PUSH(up->headers, const char *) = name;
    }
    return NULL;
}

static const char *cmd_upstream(cmd_parms *cmd, void *dummy, const char *line)
{
    connpool_server_t *sc = connpool_server(cmd->server);
    upstream_options_t *target = apr_pcalloc(cmd->pool, sizeof(*target));
    connpool_upstream_t *up = &target->up;
    const char **words;
    const char *error = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT);

    if (error) {
        return error;
    }
    error = read_words(cmd, line, 2, "ConnPoolUpstream NAME URL ...", &words);
    if (error) {
        return error;
    }
    upstream_defaults(up);
    up->name = up->pool.name = up->http.name = words[0];
    up->http.url = words[1];
    up->server = cmd->server;
    up->where = here(cmd);
    up->headers = apr_array_make(cmd->pool, 4, sizeof(const char *));
    error = cp_upstream_check_url(cmd->pool, words[1], &up->origin);
    if (error) { /* no word of the URL where it may hold a password */
        return complain(
            cmd, up->name, NULL,
            strchr(words[1], '@')
                ? apr_pstrcat(cmd->pool, "the URL ", error, NULL)
                : apr_psprintf(cmd->pool, "'%s' %s", words[1], error));
    }
    error = read_options(cmd, up->name, words + 2, upstream_options, target);
    if (error) {
        return error;
    }
    if (target->headers) {
        error = read_header_list(cmd, up, target->headers);
        if (error) {
            return complain(cmd, up->name, "headers", error);
        }
    }
    return define(cmd, sc->all_upstreams, sc->upstreams, up->name, up);
}

/* --- ConnPoolQuery --- */

typedef struct query_options_t {
    connpool_query_t query;
    const char *methods;
    const char *ttl;
    int format;
} query_options_t;

static const char *const cache_names[] = {"private", "shared", NULL};

#define QUERY(field) APR_OFFSETOF(query_options_t, query.field)

static const option_t query_options[] = {
    {"write", OPTION_FLAG, QUERY(is_write), 0, 0, NULL},
    {"methods", OPTION_WORD, APR_OFFSETOF(query_options_t, methods), 0, 0,
     NULL},
    {"max-rows", OPTION_INT, QUERY(max_rows), 1, 1000000000, NULL},
    {"max-bytes", OPTION_SIZE, QUERY(max_bytes), 1, APR_INT64_C(1) << 40, NULL},
    {"timeout", OPTION_DURATION, QUERY(timeout), MILLISECOND,
     apr_time_from_sec(3600), NULL},
    {"format", OPTION_CHOICE, APR_OFFSETOF(query_options_t, format), 0, 0,
     cp_format_names},
    {"ttl", OPTION_WORD, APR_OFFSETOF(query_options_t, ttl), 0, 0, NULL},
    {"stale", OPTION_DURATION, QUERY(caching.stale), 0, FOREVER, NULL},
    {"stale-if-error", OPTION_DURATION, QUERY(caching.stale_if_error), 0,
     FOREVER, NULL},
    {"cache", OPTION_CHOICE, QUERY(caching.is_shared), 0, 0, cache_names},
    {"coalesce", OPTION_FLAG, QUERY(caching.coalesces), 0, 0, NULL},
    {NULL, OPTION_INT, 0, 0, 0, NULL},
};

static const char *read_methods(cmd_parms *cmd, connpool_query_t *query,
                                const char *list)
{
    static const char *const allowed[] = {"GET", "POST", "PUT", "DELETE", NULL};
    char *names, *name, *state;

    if (!list) {
        list = query->is_write ? "POST,PUT,DELETE" : "GET";
    }
    names = apr_pstrdup(cmd->pool, list);
    for (name = apr_strtok(names, ",", &state); name;
         name = apr_strtok(NULL, ",", &state)) {
        int place;
        const char *error = cp_params_choice(cmd->pool, name, allowed, &place);

        if (error) {
            return error;
        }
        if (place == 0 && query->is_write) {
            return "a query that writes cannot answer GET";
        }
        query->methods |= AP_METHOD_BIT << ap_method_number_of(allowed[place]);
    }
    return query->methods ? NULL : "no method is named";
}

/* The statement's kind must be what was declared. */
static const char *check_verb(cmd_parms *cmd, const connpool_query_t *query)
{
    static const char *const reads[] = {"SELECT", "VALUES", NULL};
    static const char *const writes[] = {"INSERT", "UPDATE", "DELETE",
                                         "REPLACE", NULL};
    const char *const *allowed = query->is_write ? writes : reads;

    for (; *allowed; allowed++) {
        if (strcmp(*allowed, query->shape.verb) == 0) {
            return NULL;
        }
    }
    return apr_psprintf(cmd->pool, "%s, not %s",
                        query->is_write
                            ? "with write=on the statement is an INSERT, "
                              "UPDATE, DELETE or REPLACE"
                            : "without write=on the statement is a SELECT or "
                              "VALUES",
                        query->shape.verb);
}

static const char *read_ttl(cmd_parms *cmd, const char *text,
                            connpool_caching_t *caching)
{
    const char *error;

    if (!text) {
        return NULL;
    }
    if (strcasecmp(text, "data") == 0) {
        caching->is_by_data = 1;
        return NULL;
    }
    error = cp_params_duration(cmd->pool, text, MILLISECOND, FOREVER,
                               &caching->ttl);
    return error ? apr_pstrcat(cmd->pool, error, ", or data", NULL) : NULL;
}

/* What would have no effect, or a wrong one, is a mistake. */
static const char *check_caching(cmd_parms *cmd, const connpool_query_t *query)
{
    const connpool_caching_t *caching = &query->caching;
    const char *word;

    if (query->is_write && connpool_query_is_collected(query)) {
        return "ttl= and coalesce= are for reads, not with write=on";
    }
    if (!caching->ttl && (caching->stale > 0 || caching->stale_if_error > 0)) {
        return "stale= and stale-if-error= need ttl=DURATION: they say for how "
               "long an answer may be used after it";
    }
    if (caching->is_shared && !connpool_query_is_cached(query)) {
        return "cache=shared needs ttl=";
    }
    if (caching->is_by_data && cp_sql_is_volatile(query->sql, &word)) {
        return apr_psprintf(cmd->pool,
                            "ttl=data cannot work: %s in the SQL gives "
                            "another value while the data stay the same; use "
                            "ttl=DURATION",
                            word);
    }
    return NULL;
}

static const char *cmd_query(cmd_parms *cmd, void *dummy, const char *line)
{
    connpool_server_t *sc = connpool_server(cmd->server);
    query_options_t *target = apr_pcalloc(cmd->pool, sizeof(*target));
    connpool_query_t *query = &target->query;
    const char **words;
    const char *error = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT);

    if (error) {
        return error;
    }
    error = read_words(cmd, line, 3, "ConnPoolQuery NAME DATABASE \"SQL\" ...",
                       &words);
    if (error) {
        return error;
    }
    query->name = words[0];
    query->database_name = words[1];
    query->sql = words[2];
    query->server = cmd->server;
    query->where = here(cmd);
    query->max_rows = CONNPOOL_MAX_ROWS;
    query->max_bytes = CONNPOOL_MAX_BYTES;
    query->timeout = CONNPOOL_UNSET;
    query->params = apr_array_make(cmd->pool, 4, sizeof(connpool_param_t *));
    error = cp_sql_scan(cmd->pool, query->sql, &query->shape);
    if (error) {
        return complain(cmd, query->name, NULL, error);
    }
    error = read_options(cmd, query->name, words + 3, query_options, target);
    if (error) {
        return error;
    }
    query->format = target->format;
    error = check_verb(cmd, query);
    if (error) {
        return complain(cmd, query->name, NULL, error);
    }
    error = read_methods(cmd, query, target->methods);
    if (error) {
        return complain(cmd, query->name, "methods", error);
    }
    error = read_ttl(cmd, target->ttl, &query->caching);
    if (error) {
        return complain(cmd, query->name, "ttl", error);
    }
    error = check_caching(cmd, query);
    if (error) {
        return complain(cmd, query->name, NULL, error);
    }
    return define(cmd, sc->all_queries, sc->queries, query->name, query);
}

/* --- ConnPoolParam --- */

typedef struct param_options_t {
    const char *fallback, *min, *max, *match;
    apr_int64_t maxlen;
} param_options_t;

#define PARAM(field) APR_OFFSETOF(param_options_t, field)

static const option_t param_options[] = {
    {"default", OPTION_WORD, PARAM(fallback), 0, 0, NULL},
    {"min", OPTION_WORD, PARAM(min), 0, 0, NULL},
    {"max", OPTION_WORD, PARAM(max), 0, 0, NULL},
    {"maxlen", OPTION_SIZE, PARAM(maxlen), 1, 1024 * 1024, NULL},
    {"match", OPTION_WORD, PARAM(match), 0, 0, NULL},
    {NULL, OPTION_INT, 0, 0, 0, NULL},
};

static const char *param_bound(cmd_parms *cmd, connpool_param_t *param,
                               const char *text, int *phas, cp_value_t *value)
{
    const char *error;

    if (!text) {
        return NULL;
    }
    if (param->spec.type != CP_TYPE_INTEGER && param->spec.type != CP_TYPE_REAL
        && param->spec.type != CP_TYPE_DATE) {
        return "min and max are for integer, real and date; text and blob have "
               "maxlen";
    }
    error = cp_value_parse(cmd->pool, &param->spec, text, strlen(text), value);
    if (error) {
        return apr_psprintf(cmd->pool, "the bound '%s' %s", text, error);
    }
    *phas = 1;
    return NULL;
}

/* A key that would have no effect is a mistake. */
static const char *check_param_keys(const connpool_param_t *param,
                                    const param_options_t *options)
{
    cp_type_t type = param->spec.type;

    if (options->match && type != CP_TYPE_TEXT && type != CP_TYPE_DATE) {
        return "match= is for text and date";
    }
    if (options->maxlen != CONNPOOL_UNSET && type != CP_TYPE_TEXT
        && type != CP_TYPE_BLOB) {
        return "maxlen= is for text and blob";
    }
    return NULL;
}

static const char *complete_param(cmd_parms *cmd, connpool_param_t *param,
                                  const param_options_t *options)
{
    cp_param_spec_t *spec = &param->spec;
    cp_value_t min = {0}, max = {0};
    int has_min = 0, has_max = 0;
    const char *error;

    error = check_param_keys(param, options);
    if (error) {
        return error;
    }
    spec->maxlen = options->maxlen == CONNPOOL_UNSET
                       ? MAXLEN_DEFAULT
                       : (apr_size_t)options->maxlen;
    /* Both bounds are parsed before either is in force. */
    error = param_bound(cmd, param, options->min, &has_min, &min);
    if (!error) {
        error = param_bound(cmd, param, options->max, &has_max, &max);
    }
    if (error) {
        return error;
    }
    spec->has_max = has_max;
    spec->max = max;
    if (has_min && has_max && cp_value_in_range(cmd->pool, spec, &min)) {
        return apr_psprintf(cmd->pool, "min=%s is above max=%s", options->min,
                            options->max);
    }
    spec->has_min = has_min;
    spec->min = min;
    if (options->match) {
        param->match = ap_pregcomp(cmd->pool, options->match, AP_REG_EXTENDED);
        if (!param->match) {
            return apr_psprintf(cmd->pool,
                                "match='%s' is not a regular expression",
                                options->match);
        }
    }
    if (options->fallback) {
        if (spec->is_required) {
            return "a required parameter needs no default";
        }
        error = connpool_param_parse(cmd->pool, param, options->fallback,
                                     strlen(options->fallback),
                                     &spec->fallback);
        if (error) {
            return apr_psprintf(cmd->pool, "the default '%s' %s",
                                options->fallback, error);
        }
        spec->has_default = 1;
    }
    return NULL;
}

static int names_contain(const apr_array_header_t *names, const char *name)
{
    for (int i = 0; i < names->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(names, i, const char *), name) == 0) {
            return 1;
        }
    }
    return 0;
}

static connpool_param_t *find_param(const connpool_query_t *query,
                                    const char *name)
{
    for (int i = 0; i < query->params->nelts; i++) {
        connpool_param_t *param = APR_ARRAY_IDX(query->params, i,
                                                connpool_param_t *);

        if (strcmp(param->spec.name, name) == 0) {
            return param;
        }
    }
    return NULL;
}

static const char *cmd_param(cmd_parms *cmd, void *dummy, const char *line)
{
    connpool_server_t *sc = connpool_server(cmd->server);
    connpool_param_t *param = apr_pcalloc(cmd->pool, sizeof(*param));
    param_options_t options = {.maxlen = CONNPOOL_UNSET};
    connpool_query_t *query;
    const char **words;
    const char *error = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT);
    int type = CP_TYPE_TEXT;

    if (error) {
        return error;
    }
    error = read_words(cmd, line, 2, "ConnPoolParam QUERY PARAM [TYPE] ...",
                       &words);
    if (error) {
        return error;
    }
    query = apr_hash_get(sc->all_queries, words[0], APR_HASH_KEY_STRING);
    if (!query || query->server != cmd->server) {
        return complain(cmd, words[0], NULL,
                        "no such query is defined above in this server");
    }
    param->spec.name = words[1];
    if (!names_contain(query->shape.names, words[1])) {
        return complain(
            cmd, words[0], words[1],
            apr_psprintf(cmd->pool, "the SQL has no parameter :%s", words[1]));
    }
    if (find_param(query, words[1])) {
        return complain(cmd, words[0], words[1], "declared twice");
    }
    words += 2;
    if (*words && !strchr(*words, '=') && strcasecmp(*words, "required") != 0) {
        error = cp_params_choice(cmd->pool, *words, cp_type_names, &type);
        if (error) {
            return complain(cmd, query->name, param->spec.name, error);
        }
        words++;
    }
    param->spec.type = type;
    if (*words && strcasecmp(*words, "required") == 0) {
        param->spec.is_required = 1;
        words++;
    }
    error = read_options(cmd, query->name, words, param_options, &options);
    if (error) {
        return error;
    }
    error = complete_param(cmd, param, &options);
    if (error) {
        return complain(cmd, query->name, param->spec.name, error);
    }
    APR_ARRAY_PUSH(query->params, connpool_param_t *) = param;
    return NULL;
}

/* --- ConnPoolServe
 * ---------------------------------------------------------------------- */

/* A place that serves names: checked when all definitions are known. */
typedef struct serving_t {
    server_rec *server;
    const connpool_dir_t *dir;
    const char *where;
    const char *name;
    const char *handler; /* set in the same section; NULL: elsewhere */
} serving_t;

/* Made anew by pre_config on each reading of the configuration. */
static apr_array_header_t *servings;

/* The largest ConnPoolBatchMax of any place; likewise. */
static int largest_batch_max;

int connpool_pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    servings = apr_array_make(pconf, 8, sizeof(serving_t));
    largest_batch_max = 0;
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

            return ap_getword_conf(cmd->pool, &args);
        }
    }
    return NULL;
}

static const char *cmd_serve(cmd_parms *cmd, void *dirv, const char *name)
{
    connpool_dir_t *dir = dirv;
    const ap_directive_t *section = cmd->directive->parent;
    serving_t *serving = apr_array_push(servings);

    serving->server = cmd->server;
    serving->dir = dir;
    serving->where = here(cmd);
    serving->name = name;
    serving->handler = handler_beside(cmd);
    if (!dir->serve) {
        dir->serve = apr_array_make(cmd->pool, 1, sizeof(const char *));
    }
    APR_ARRAY_PUSH(dir->serve, const char *) = name;
    if (dir->serve->nelts > 1 && serving->handler
        && (strcmp(serving->handler, "connpool-query") == 0
            || strcmp(serving->handler, "connpool-fetch") == 0)) {
        return complain(
            cmd, NULL, NULL,
            apr_pstrcat(cmd->pool, serving->handler, " serves one name", NULL));
    }
    while (section && strcasecmp(section->directive, "<If") == 0) {
        section = section->parent;
    }
    if (section && strcasecmp(section->directive, "<Location") == 0 && cmd->path
        && cmd->path[0] == '/') {
        dir->location = cmd->path;
    }
    return NULL;
}

/* --- ConnPoolBatch...: of a server, a virtual host, or a place
 * ---------------------------------------------- */

#define PLACE(field) APR_OFFSETOF(connpool_dir_t, field)

static const option_t place_settings[] = {
    {"ConnPoolBatchMax", OPTION_INT, PLACE(batch.max), 1, 1000, NULL},
    {"ConnPoolBatchParallel", OPTION_INT, PLACE(batch.parallel), 1, 100, NULL},
    {"ConnPoolBatchBody", OPTION_SIZE, PLACE(batch.body), 1, 64 * 1024 * 1024,
     NULL},
    {NULL, OPTION_INT, 0, 0, 0, NULL},
};

static const char *cmd_place_setting(cmd_parms *cmd, void *dirv,
                                     const char *value)
{
    const connpool_dir_t *dir = dirv;
    const option_t *setting = find_option(place_settings, cmd->cmd->name);
    const char *error = setting ? set_option(cmd, setting, dirv, value)
                                : "is not a setting";

    if (dir->batch.max > largest_batch_max) {
        largest_batch_max = dir->batch.max;
    }
    return error ? complain(cmd, NULL, NULL, error) : NULL;
}

/* --- numbers and flags
 * -------------------------------------------------------------------- */

#define SERVER(field) APR_OFFSETOF(connpool_server_t, field)

static const char *const report_names[] = {"off", "on", "full", NULL};

/* Directives of one value: the same machinery as options. */
static const option_t settings[] = {
    {"ConnPoolEngine", OPTION_FLAG, SERVER(engine), 0, 0, NULL},
    {"ConnPoolHTTPPool", OPTION_FLAG, SERVER(http_pool), 0, 0, NULL},
    {"ConnPoolDBPool", OPTION_FLAG, SERVER(db_pool), 0, 0, NULL},
    {"ConnPoolEventLoop", OPTION_FLAG, SERVER(event_loop), 0, 0, NULL},
    {"ConnPoolHTTPMax", OPTION_INT, SERVER(http_max), 1, 10000, NULL},
    {"ConnPoolHTTPPerHost", OPTION_INT, SERVER(http_per_host), 1, 10000, NULL},
    {"ConnPoolHTTPConnectTimeout", OPTION_DURATION, SERVER(http_connect),
     MILLISECOND, apr_time_from_sec(3600), NULL},
    {"ConnPoolHTTPReadTimeout", OPTION_DURATION, SERVER(http_read), MILLISECOND,
     apr_time_from_sec(3600), NULL},
    {"ConnPoolHTTPKeepAlive", OPTION_DURATION, SERVER(http_keepalive), 0,
     FOREVER, NULL},
    {"ConnPoolHTTPCleanup", OPTION_FLAG, SERVER(http_cleanup), 0, 0, NULL},
    {"ConnPoolDBMax", OPTION_INT, SERVER(db_max), 1, 1000, NULL},
    {"ConnPoolServerStatus", OPTION_CHOICE, SERVER(server_status), 0, 0,
     report_names},
    {"ConnPoolMemory", OPTION_SIZE, SERVER(memory), 1024 * 1024,
     APR_INT64_C(1) << 40, NULL},
    {"ConnPoolCacheLocal", OPTION_SIZE, SERVER(cache_local), 64 * 1024,
     APR_INT64_C(1) << 40, NULL},
    {"ConnPoolSlowLog", OPTION_DURATION, SERVER(slow), 0,
     apr_time_from_sec(3600), NULL},
    {"ConnPoolServerTiming", OPTION_FLAG, SERVER(server_timing), 0, 0, NULL},
    {NULL, OPTION_INT, 0, 0, 0, NULL},
};

static const char *cmd_setting(cmd_parms *cmd, void *dummy, const char *value)
{
    connpool_server_t *sc = connpool_server(cmd->server);
    const option_t *setting = find_option(settings, cmd->cmd->name);
    const char *error = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT);

    if (error) {
        return error;
    }
    error = setting ? set_option(cmd, setting, (char *)sc, value)
                    : "is not a setting";
    return error ? complain(cmd, NULL, NULL, error) : NULL;
}

static const char *cmd_global_setting(cmd_parms *cmd, void *dummy,
                                      const char *value)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    return error ? error : cmd_setting(cmd, dummy, value);
}

static const char *cmd_cache(cmd_parms *cmd, void *dummy, const char *value)
{
    const char *error = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    if (error) {
        return error;
    }
    if (!apr_isalpha(*value)) {
        return complain(
            cmd, NULL, NULL,
            apr_psprintf(cmd->pool, "'%s' is not PROVIDER[:ARGUMENTS]", value));
    }
    connpool_server(cmd->server)->cache = value;
    return NULL;
}

/* --- the environment
 * -------------------------------------------------------------------------
 */

typedef struct variable_t {
    const char *name;
    apr_size_t offset;
    int is_flag;
    int max;
} variable_t;

static const variable_t variables[] = {
    {"ENABLE_CONNECTION_POOLING", SERVER(engine), 1, 0},
    {"ENABLE_SHARED_EVENT_LOOP", SERVER(event_loop), 1, 0},
    {"HTTP_POOL_SIZE", SERVER(http_max), 0, 10000},
    {"HTTP_PER_HOST", SERVER(http_per_host), 0, 10000},
    {"DB_POOL_SIZE", SERVER(db_max), 0, 1000},
};

/* What no directive says is taken from the parent's environment. There, as
 * Compose files and the like write it, empty means unset. */
static const char *read_environment(apr_pool_t *p, connpool_server_t *sc)
{
    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
        const variable_t *var = &variables[i];
        int *field = (int *)((char *)sc + var->offset);
        const char *text = getenv(var->name);
        const char *error;
        apr_int64_t number;

        if (*field != CONNPOOL_UNSET || !text || !*text) {
            continue;
        }
        if (var->is_flag) {
            error = cp_params_flag(p, text, 1, field);
        }
        else {
            error = cp_params_int(p, text, 1, var->max, &number);
            *field = error ? *field : (int)number;
        }
        if (error) {
            return apr_pstrcat(p, "environment variable ", var->name, ": ",
                               error, NULL);
        }
    }
    return NULL;
}

static void set_default(int *field, int value)
{
    if (*field == CONNPOOL_UNSET) {
        *field = value;
    }
}

static void set_default_time(apr_interval_time_t *field,
                             apr_interval_time_t value)
{
    if (*field == CONNPOOL_UNSET) {
        *field = value;
    }
}

static connpool_batch_limits_t complete_batch(const connpool_dir_t *dir)
{
    connpool_batch_limits_t limits = dir->batch;

    set_default(&limits.max, 20);
    set_default(&limits.parallel, 8);
    set_default_time(&limits.body, 1024 * 1024);
    return limits;
}

connpool_batch_limits_t connpool_batch_limits(request_rec *r)
{
    return complete_batch(connpool_dir(r));
}

static int is_prefork(void)
{
    int is_threaded = AP_MPMQ_NOT_SUPPORTED;

    ap_mpm_query(AP_MPMQ_IS_THREADED, &is_threaded);
    return is_threaded == AP_MPMQ_NOT_SUPPORTED;
}

static void complete_server(connpool_server_t *sc)
{
    set_default(&sc->engine, 1);
    set_default(&sc->http_pool, 1);
    set_default(&sc->db_pool, 1);
    /* A loop's thread and sockets for one request at a time is waste. */
    set_default(&sc->event_loop, !is_prefork());
    set_default(&sc->http_max, 100);
    set_default(&sc->http_per_host, 30);
    set_default_time(&sc->http_connect, apr_time_from_sec(30));
    set_default_time(&sc->http_read, apr_time_from_sec(10));
    set_default_time(&sc->http_keepalive, apr_time_from_sec(30));
    set_default(&sc->http_cleanup, 1);
    set_default(&sc->db_max, 10);
    set_default(&sc->server_status, CONNPOOL_REPORT_ON);
    set_default_time(&sc->memory, 20 * 1024 * 1024);
    set_default_time(&sc->cache_local, 4 * 1024 * 1024);
    set_default_time(&sc->slow, apr_time_from_msec(250));
    set_default(&sc->server_timing, 0);
}

/* --- the check of the whole
 * --------------------------------------------------------------------- */

static const char *complete_database(apr_pool_t *p, connpool_server_t *sc,
                                     connpool_database_t *db)
{
    set_default(&db->pool.max, sc->db_max);
    if (!db->overflow_direct) {
        db->pool.overflow_max = 0;
    }
    if (db->pool.min > db->pool.max) {
        return apr_psprintf(p, "ConnPoolDatabase %s: min=%d is above max=%d",
                            db->name, db->pool.min, db->pool.max);
    }
    if (strcmp(db->sqlite.path, ":memory:") == 0) {
        return apr_psprintf(
            p,
            "ConnPoolDatabase %s: sqlite::memory: cannot be pooled: each "
            "connection of each child would be another, empty database",
            db->name);
    }
    return NULL;
}

static const char *complete_upstream(apr_pool_t *p, connpool_server_t *sc,
                                     connpool_upstream_t *up)
{
    set_default(&up->pool.max, sc->http_max);
    set_default(&up->perhost, sc->http_per_host);
    set_default_time(&up->http.connect, sc->http_connect);
    set_default_time(&up->http.read, sc->http_read);
    set_default_time(&up->http.keepalive, sc->http_keepalive);
    if (!up->overflow_direct) {
        up->pool.overflow_max = 0;
    }
    /* An upstream has one host and one server: the lowest limit is the limit.
     */
    if (up->pool.max > up->perhost) {
        up->pool.max = up->perhost;
    }
    if (up->pool.max > sc->http_max) {
        up->pool.max = sc->http_max;
    }
    up->pool.idle = up->http.keepalive;
    up->pool.lifetime = up->http.lifetime;
    up->pool.check = FOREVER;
    if (!up->http.cert != !up->http.key) {
        return apr_psprintf(
            p, "ConnPoolUpstream %s: cert= and key= belong together", up->name);
    }
    return NULL;
}

static const char *complete_query(apr_pool_t *p, connpool_server_t *sc,
                                  connpool_query_t *query)
{
    query->database = apr_hash_get(sc->all_databases, query->database_name,
                                   APR_HASH_KEY_STRING);
    if (!query->database) {
        return apr_psprintf(p, "ConnPoolQuery %s: database '%s' is not defined",
                            query->name, query->database_name);
    }
    if (query->is_write && query->database->sqlite.is_readonly) {
        return apr_psprintf(p,
                            "ConnPoolQuery %s: write=on, but database '%s' is "
                            "readonly=on",
                            query->name, query->database_name);
    }
    set_default_time(&query->timeout, query->database->timeout);
    for (int i = 0; i < query->shape.names->nelts; i++) {
        const char *name = APR_ARRAY_IDX(query->shape.names, i, const char *);

        if (!find_param(query, name)) {
            return apr_psprintf(p,
                                "ConnPoolQuery %s: the SQL's parameter :%s "
                                "is not declared; "
                                "add: ConnPoolParam %s %s TYPE",
                                query->name, name, query->name, name);
        }
    }
    return NULL;
}

static int report(server_rec *s, const char *where, const char *error)
{
    ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_ERR, 0, s, "%s%s%s", error,
                 where ? " at " : "", where ? where : "");
    return HTTP_INTERNAL_SERVER_ERROR;
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
            return report(s, db->where, error);
        }
    }
    for (int i = 0; i < sc->upstreams->nelts; i++) {
        connpool_upstream_t *up = APR_ARRAY_IDX(sc->upstreams, i,
                                                connpool_upstream_t *);

        error = complete_upstream(p, sc, up);
        if (error) {
            return report(s, up->where, error);
        }
    }
    for (int i = 0; i < sc->queries->nelts; i++) {
        connpool_query_t *query = APR_ARRAY_IDX(sc->queries, i,
                                                connpool_query_t *);

        error = complete_query(p, sc, query);
        if (error) {
            return report(s, query->where, error);
        }
    }
    return OK;
}

/* More names than one request may have run. What surrounds the place is not
 * known here: the largest bound that there is may hold in it. */
static const char *check_batch_size(apr_pool_t *p, const serving_t *serving)
{
    const connpool_dir_t *dir = serving->dir;
    int max = dir->batch.max;

    if (max == CONNPOOL_UNSET) {
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

/* NULL, or what is wrong with a name that is served. */
static const char *check_serving(apr_pool_t *p, const serving_t *serving)
{
    const connpool_server_t *sc = connpool_server(serving->server);
    const char *handler = serving->handler ? serving->handler : "";
    int is_query = apr_hash_get(sc->all_queries, serving->name,
                                APR_HASH_KEY_STRING)
                   != NULL;
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
        return NULL;
    }
    if (is_query && is_upstream) {
        return apr_psprintf(p,
                            "ConnPoolServe: '%s' is both a query and an "
                            "upstream",
                            serving->name);
    }
    return check_batch_size(p, serving);
}

static int check_servings(apr_pool_t *p)
{
    for (int i = 0; i < servings->nelts; i++) {
        const serving_t *serving = &APR_ARRAY_IDX(servings, i, serving_t);
        const char *error = check_serving(p, serving);

        if (error) {
            return report(serving->server, serving->where, error);
        }
    }
    return OK;
}

/* The shared cache, if any query wants one. */
static int check_cache(apr_pool_t *pconf, apr_pool_t *ptemp,
                       server_rec *main_server)
{
    const connpool_query_t *needing = NULL;
    const char *error;

    for (server_rec *s = main_server; s && !needing; s = s->next) {
        const connpool_server_t *sc = connpool_server(s);

        for (int i = 0; i < sc->queries->nelts && !needing; i++) {
            const connpool_query_t *query = APR_ARRAY_IDX(sc->queries, i,
                                                          connpool_query_t *);

            needing = query->caching.ttl > 0 ? query : NULL;
        }
    }
    error = needing ? connpool_provider_create(
                pconf, ptemp, connpool_server(main_server)->cache)
                    : NULL;
    return error ? report(main_server, needing->where,
                          apr_psprintf(ptemp, "ConnPoolQuery %s: ttl=: %s",
                                       needing->name, error))
                 : OK;
}

int connpool_check_config(apr_pool_t *pconf, apr_pool_t *plog,
                          apr_pool_t *ptemp, server_rec *main_server)
{
    for (server_rec *s = main_server; s; s = s->next) {
        const char *error = read_environment(pconf, connpool_server(s));

        if (error) {
            return report(s, NULL, error);
        }
        complete_server(connpool_server(s));
    }
    for (server_rec *s = main_server; s; s = s->next) {
        int status = check_server(pconf, s);

        if (status != OK) {
            return status;
        }
    }
    if (check_servings(pconf) != OK) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    return check_cache(pconf, ptemp, main_server);
}

/* --- the table
 * -----------------------------------------------------------------------------------
 */

#define SETTING(name, text)                                                    \
    AP_INIT_TAKE1(name, cmd_setting, NULL, RSRC_CONF, text)

#define PLACE_SETTING(name, text)                                              \
    AP_INIT_TAKE1(name, cmd_place_setting, NULL, RSRC_CONF | ACCESS_CONF, text)

const command_rec connpool_commands[] = {
    SETTING("ConnPoolEngine", "On or Off: keep connections open for reuse"),
    SETTING("ConnPoolHTTPPool", "On or Off: pool outgoing HTTP connections"),
    SETTING("ConnPoolDBPool", "On or Off: pool database connections"),
    AP_INIT_TAKE1("ConnPoolEventLoop", cmd_global_setting, NULL, RSRC_CONF,
                  "On or Off: run outgoing HTTP in one event loop per child"),
    SETTING("ConnPoolHTTPMax", "outgoing HTTP connections per child"),
    SETTING("ConnPoolHTTPPerHost",
            "outgoing HTTP connections per host and child"),
    SETTING("ConnPoolHTTPConnectTimeout", "time to connect to an upstream"),
    SETTING("ConnPoolHTTPReadTimeout", "longest silence of an upstream"),
    SETTING("ConnPoolHTTPKeepAlive", "time an idle connection is kept"),
    SETTING("ConnPoolHTTPCleanup",
            "On or Off: drop idle connections that the upstream closed"),
    SETTING("ConnPoolDBMax", "connections per database and child"),
    SETTING("ConnPoolMemory", "memory of pools and buffers in each child"),
    AP_INIT_TAKE1("ConnPoolCache", cmd_cache, NULL, RSRC_CONF,
                  "PROVIDER[:ARGUMENTS]: where answers with ttl=DURATION are "
                  "kept; default shmcb"),
    AP_INIT_TAKE1("ConnPoolCacheLocal", cmd_global_setting, NULL, RSRC_CONF,
                  "memory of answers with ttl=data in each child"),
    SETTING("ConnPoolSlowLog", "log queries that take longer; 0: none"),
    SETTING("ConnPoolServerTiming", "On or Off: the header Server-Timing"),
    SETTING("ConnPoolServerStatus", "On, Off or Full: in mod_status's report"),
    AP_INIT_RAW_ARGS("ConnPoolDatabase", cmd_database, NULL, RSRC_CONF,
                     "NAME sqlite:PATH [key=value ...]"),
    AP_INIT_RAW_ARGS("ConnPoolUpstream", cmd_upstream, NULL, RSRC_CONF,
                     "NAME URL [key=value ...]"),
    AP_INIT_RAW_ARGS("ConnPoolQuery", cmd_query, NULL, RSRC_CONF,
                     "NAME DATABASE \"SQL\" [key=value ...]"),
    AP_INIT_RAW_ARGS("ConnPoolParam", cmd_param, NULL, RSRC_CONF,
                     "QUERY PARAM [TYPE] [required] [key=value ...]"),
    AP_INIT_ITERATE("ConnPoolServe", cmd_serve, NULL, ACCESS_CONF,
                    "names of queries or upstreams to serve here"),
    PLACE_SETTING("ConnPoolBatchMax", "items of one batch"),
    PLACE_SETTING("ConnPoolBatchParallel", "fetches of a batch at once"),
    PLACE_SETTING("ConnPoolBatchBody",
                  "size of the body that asks for a batch"),
    AP_INIT_RAW_ARGS("Require", connpool_status_require, NULL, OR_AUTHCFG,
                     "heard beside mod_authz_core, which enforces it"),
    {NULL},
};
