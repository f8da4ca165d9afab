/* SPDX-License-Identifier: Apache-2.0
 * The scripted driver as a module of its own. */
#include <httpd.h>
#include <http_config.h>
#include <http_log.h>

#include <ap_provider.h>

#include "base/log.h"
#include "drivers/script.h"

extern module AP_MODULE_DECLARE_DATA connpool_script_module
    __attribute__((visibility("default")));
APLOG_USE_MODULE(connpool_script);

static void sink(void *baton, const char *file, int line, cp_log_level_t level,
                 apr_status_t rv, const char *text)
{
    ap_log_error_(file, line, APLOG_MODULE_INDEX,
                  level == CP_LOG_DEBUG ? APLOG_DEBUG : APLOG_WARNING, rv,
                  baton, "%s", text);
}

static void script_child_init(apr_pool_t *p, server_rec *s)
{
    cp_log_install(sink, s, CP_LOG_INFO);
}

static void script_register(apr_pool_t *p)
{
    ap_register_provider(p, CP_DATABASE_GROUP, script_driver.scheme,
                         CP_DATABASE_VERSION, &script_driver);
    /* As if it had been built beside an older mod_connpool. */
    ap_register_provider(p, CP_DATABASE_GROUP, "stale", "0", &script_driver);
    ap_hook_child_init(script_child_init, NULL, NULL, APR_HOOK_MIDDLE);
}

module AP_MODULE_DECLARE_DATA connpool_script_module = {
    .version = MODULE_MAGIC_NUMBER_MAJOR,
    .minor_version = MODULE_MAGIC_NUMBER_MINOR,
    .module_index = -1,
    .name = "mod_connpool_script.c",
    .magic = MODULE_MAGIC_COOKIE,
    .register_hooks = script_register,
};
