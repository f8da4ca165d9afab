/* SPDX-License-Identifier: Apache-2.0
 * PostgreSQL for mod_connpool, as a module of its own: servers without it need
 * no libpq. */
#include <httpd.h>
#include <http_config.h>
#include <http_log.h>

#include <ap_provider.h>

#include "base/log.h"
#include "database/pgsql/driver.h"

extern module AP_MODULE_DECLARE_DATA connpool_pgsql_module
    __attribute__((visibility("default")));
APLOG_USE_MODULE(connpool_pgsql);

static void sink(void *baton, const char *file, int line, cp_log_level_t level,
                 apr_status_t rv, const char *text)
{
    static const int levels[] = {
        [CP_LOG_ERROR] = APLOG_ERR,     [CP_LOG_WARNING] = APLOG_WARNING,
        [CP_LOG_NOTICE] = APLOG_NOTICE, [CP_LOG_INFO] = APLOG_INFO,
        [CP_LOG_DEBUG] = APLOG_DEBUG,
    };

    ap_log_error_(file, line, APLOG_MODULE_INDEX, levels[level], rv, baton,
                  "%s", text);
}

static void begin_child(apr_pool_t *p, server_rec *s)
{
    cp_log_install(sink, s,
                   APLOG_IS_LEVEL(s, APLOG_DEBUG) ? CP_LOG_DEBUG : CP_LOG_INFO);
}

static void register_hooks(apr_pool_t *p)
{
    ap_register_provider(p, CP_DATABASE_GROUP, cp_pg_driver.scheme,
                         CP_DATABASE_VERSION, &cp_pg_driver);
    ap_hook_child_init(begin_child, NULL, NULL, APR_HOOK_FIRST);
}

module AP_MODULE_DECLARE_DATA connpool_pgsql_module = {
    .version = MODULE_MAGIC_NUMBER_MAJOR,
    .minor_version = MODULE_MAGIC_NUMBER_MINOR,
    .module_index = -1,
    .name = "mod_connpool_pgsql.c",
    .magic = MODULE_MAGIC_COOKIE,
    .register_hooks = register_hooks,
};
