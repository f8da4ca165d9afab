/* SPDX-License-Identifier: Apache-2.0
 * ConnPoolDatabase: a database and the pool of its connections. */
#include "config/database.h"

#include "glue.h"
#include "base/option.h"
#include "config/config.h"
#include "config/line/option.h"
#include "config/setting.h"
#include "database/database.h"

#include <ap_provider.h>
#include <apr_strings.h>
#include <http_main.h>

#define DB(field) APR_OFFSETOF(connpool_database_t, field)

static const cp_option_t database_options[] = {
    {CP_INT("max", DB(pool.max), CP_UNSET, 1, 1000)},
    {CP_INT("min", DB(pool.min), 0, 0, 1000)},
    {CP_INT("server-max", DB(pool.server_max), 0, 1, 100000)},
    {CP_DURATION("acquire", DB(pool.acquire), 2 * CP_SECOND, 0, CP_HOUR)},
    {CP_INT("queue", DB(pool.queue), 256, 0, 100000)},
    {CP_DURATION("idle", DB(pool.idle), 600 * CP_SECOND, 0, CP_WEEK)},
    {CP_DURATION("lifetime", DB(pool.lifetime), CP_HOUR, 0, CP_WEEK)},
    {CP_DURATION("check", DB(pool.check), 30 * CP_SECOND, 0, CP_WEEK)},
    {CP_DURATION("leak", DB(pool.leak), 60 * CP_SECOND, 0, CP_WEEK)},
    {CP_DURATION("timeout", DB(timeout), 5 * CP_SECOND, CP_MILLISECOND,
                 CP_HOUR)},
    {CP_CHOICE("overflow", DB(overflow_direct), 1, connpool_overflow_names)},
    {CP_INT("overflow-max", DB(pool.overflow_max), 10, 0, 1000)},
    {NULL},
};

const cp_option_t *connpool_database_keys(void)
{
    return database_options;
}

/* What the message may show of an address that is not understood: no password.
 */
static const char *shown(apr_pool_t *p, const char *text, const char *scheme)
{
    return strpbrk(text, "=@") ? apr_pstrcat(p, scheme, ":...", NULL) : text;
}

/* Is there one that was built for another version of the seam? */
static int is_of_other_version(apr_pool_t *p, const char *scheme)
{
    const apr_array_header_t *groups = ap_list_provider_groups(p);

    for (int i = 0; i < groups->nelts; i++) {
        const ap_list_provider_groups_t *group = &APR_ARRAY_IDX(
            groups, i, ap_list_provider_groups_t);

        if (strcmp(group->provider_group, CP_DATABASE_GROUP) == 0
            && ap_lookup_provider(CP_DATABASE_GROUP, scheme,
                                  group->provider_version)) {
            return 1;
        }
    }
    return 0;
}

static int by_scheme(const void *a, const void *b)
{
    return strcmp((*(const cp_database_driver_t *const *)a)->scheme,
                  (*(const cp_database_driver_t *const *)b)->scheme);
}

apr_array_header_t *connpool_drivers(apr_pool_t *p)
{
    const apr_array_header_t *names = ap_list_provider_names(
        p, CP_DATABASE_GROUP, CP_DATABASE_VERSION);
    apr_array_header_t *drivers = apr_array_make(
        p, names->nelts, sizeof(const cp_database_driver_t *));

    for (int i = 0; i < names->nelts; i++) {
        const char *scheme = APR_ARRAY_IDX(names, i, ap_list_provider_names_t)
                                 .provider_name;

        APR_ARRAY_PUSH(drivers, const cp_database_driver_t *) =
            ap_lookup_provider(CP_DATABASE_GROUP, scheme, CP_DATABASE_VERSION);
    }
    qsort(drivers->elts, (size_t)drivers->nelts, (size_t)drivers->elt_size,
          by_scheme);
    return drivers;
}

/* "sqlite:PATH or another:WORD" */
static const char *list_kinds(apr_pool_t *p)
{
    const apr_array_header_t *drivers = connpool_drivers(p);
    const char *kinds = "";

    for (int i = 0; i < drivers->nelts; i++) {
        kinds = apr_pstrcat(
            p, kinds, *kinds ? " or " : "",
            APR_ARRAY_IDX(drivers, i, const cp_database_driver_t *)->syntax,
            NULL);
    }
    return kinds;
}

/* Modules that are not called as what they drive. */
static const struct {
    const char *scheme, *module;
} modules[] = {{"postgresql", "pgsql"}, {"postgres", "pgsql"}};

static const char *module_of(const char *scheme)
{
    for (size_t i = 0; i < sizeof(modules) / sizeof(modules[0]); i++) {
        if (strcmp(modules[i].scheme, scheme) == 0) {
            return modules[i].module;
        }
    }
    return scheme;
}

static const char *no_driver(apr_pool_t *p, const char *text,
                             const char *scheme)
{
    if (is_of_other_version(p, scheme)) {
        return apr_psprintf(p,
                            "the driver for %s: is of another version of "
                            "mod_connpool",
                            scheme);
    }
    if (!*scheme) {
        scheme = "KIND";
    }
    return apr_psprintf(p,
                        "'%s' is not %s; another kind of database needs its "
                        "driver: LoadModule connpool_%s_module "
                        "modules/mod_connpool_%s.so",
                        shown(p, text, scheme), list_kinds(p),
                        module_of(scheme), module_of(scheme));
}

/* The driver of SCHEME:..., and what stands behind the colon. */
static const char *find_driver(apr_pool_t *p, const char *text,
                               connpool_database_t *db, const char **paddress)
{
    const char *colon = strchr(text, ':');
    const char *scheme = colon ? apr_pstrndup(p, text, (size_t)(colon - text))
                               : "";

    db->driver = ap_lookup_provider(CP_DATABASE_GROUP, scheme,
                                    CP_DATABASE_VERSION);
    if (!db->driver || db->driver->abi != CP_DATABASE_ABI) {
        return no_driver(p, text, scheme);
    }
    if (!colon[1]) {
        return apr_psprintf(p, "'%s' is not %s", text, db->driver->syntax);
    }
    *paddress = colon + 1;
    return NULL;
}

/* Who it is, in the words of its driver. */
static const char *read_address(apr_pool_t *p, connpool_database_t *db,
                                const char *text)
{
    const char *address = "";
    const char *error = find_driver(p, text, db, &address);

    if (error) {
        return error;
    }
    db->config = apr_pcalloc(p, db->driver->config_size);
    cp_options_clear(db->driver->keys, db->config);
    cp_options_complete(db->driver->keys, db->config);
    return db->driver->address(p, db->config, db->name, address,
                               ap_server_root_relative);
}

const char *connpool_cmd_database(cmd_parms *cmd, void *dummy, const char *line)
{
    connpool_database_t *db = apr_pcalloc(cmd->pool, sizeof(*db));
    connpool_keys_t keys[] = {{database_options, db}, {NULL}, {NULL}};
    const char **words;
    const char *error = connpool_read_words(
        cmd, line, 2,
        apr_pstrcat(cmd->temp_pool, "ConnPoolDatabase NAME ",
                    list_kinds(cmd->temp_pool), " ...", NULL),
        &words);

    if (error) {
        return error;
    }
    cp_options_clear(database_options, db);
    cp_options_complete(database_options, db);
    db->name = db->pool.name = words[0];
    db->server = cmd->server;
    db->where = connpool_where(cmd);
    error = read_address(cmd->pool, db, words[1]);
    if (error) {
        return connpool_complaint(cmd, db->name, NULL, error);
    }
    keys[1] = (connpool_keys_t){db->driver->keys, db->config};
    error = connpool_read_options(cmd, db->name, words + 2, keys);
    db->driver->describe(db->config, &db->facts);
    return error ? error
                 : connpool_define(cmd, CONNPOOL_DATABASE, db->name, db);
}

connpool_database_t *connpool_find_database(cmd_parms *cmd, const char *name)
{
    connpool_database_t *db = apr_hash_get(
        connpool_server(cmd->server)->all_databases, name, APR_HASH_KEY_STRING);

    return db || !cmd->server->is_virtual
               ? db
               : apr_hash_get(connpool_server(ap_server_conf)->all_databases,
                              name, APR_HASH_KEY_STRING);
}
