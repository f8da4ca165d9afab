/* SPDX-License-Identifier: Apache-2.0
 * Another module of the same server that uses SQLite for itself: it registers
 * functions and a table for whoever opens a database in this process, and
 * holds as many megabytes in SQLite as the directive ForeignMemory says. What
 * its function does, creating files, must never be done for a schema. */
#include <httpd.h>
#include <http_config.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <fcntl.h>
#include <unistd.h>

extern module AP_MODULE_DECLARE_DATA cpforeign_module
    __attribute__((visibility("default")));

static int megabytes;

static void create_file(sqlite3_context *context, int count,
                        sqlite3_value **values)
{
    int fd = open((const char *)sqlite3_value_text(values[0]),
                  O_CREAT | O_WRONLY, 0600);

    if (fd >= 0) {
        close(fd);
    }
    sqlite3_result_int(context, fd >= 0);
}

static int on_open(sqlite3 *db, char **error, const void *api)
{
    sqlite3_create_function(db, "create_file", 1,
                            SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL,
                            create_file, NULL, NULL);
    return SQLITE_OK;
}

static void child_init(apr_pool_t *p, server_rec *s)
{
    sqlite3_auto_extension((void (*)(void))on_open);
    for (int i = 0; i < megabytes; i++) {
        char *held = sqlite3_malloc(1024 * 1024);

        /* On purpose never freed. */
        if (held) {
            held[0] = 1;
        }
    }
}

static const char *set_memory(cmd_parms *cmd, void *dummy, const char *value)
{
    megabytes = atoi(value);
    return NULL;
}

static const command_rec commands[] = {
    AP_INIT_TAKE1("ForeignMemory", set_memory, NULL, RSRC_CONF,
                  "megabytes to hold in SQLite"),
    {NULL},
};

static void register_hooks(apr_pool_t *p)
{
    ap_hook_child_init(child_init, NULL, NULL, APR_HOOK_REALLY_FIRST);
}

module AP_MODULE_DECLARE_DATA cpforeign_module = {
    STANDARD20_MODULE_STUFF,
    .cmds = commands,
    .register_hooks = register_hooks,
};
