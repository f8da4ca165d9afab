/* SPDX-License-Identifier: Apache-2.0
 * ConnPoolDatabase: a database and the pool of its connections. */
#include "config/database.h"

#include "glue.h"
#include "base/option.h"
#include "config/config.h"
#include "config/option.h"
#include "config/setting.h"

#include <apr_strings.h>

static const char *const synchronous_names[] = {"off", "normal", "full", NULL};

#define DB(field) APR_OFFSETOF(connpool_database_t, field)

static const cp_option_t database_options[] = {
    {CP_INT("max", DB(pool.max), CP_UNSET, 1, 1000)},
    {CP_INT("min", DB(pool.min), 0, 0, 1000)},
    {CP_DURATION("acquire", DB(pool.acquire), 2 * CP_SECOND, 0, CP_HOUR)},
    {CP_INT("queue", DB(pool.queue), 256, 0, 100000)},
    {CP_DURATION("idle", DB(pool.idle), 600 * CP_SECOND, 0, CP_WEEK)},
    {CP_DURATION("lifetime", DB(pool.lifetime), CP_HOUR, 0, CP_WEEK)},
    {CP_DURATION("check", DB(pool.check), 30 * CP_SECOND, 0, CP_WEEK)},
    {CP_DURATION("leak", DB(pool.leak), 60 * CP_SECOND, 0, CP_WEEK)},
    {CP_DURATION("busy", DB(sqlite.busy), 5 * CP_SECOND, 0, CP_HOUR)},
    {CP_DURATION("timeout", DB(timeout), 5 * CP_SECOND, CP_MILLISECOND,
                 CP_HOUR)},
    {CP_SIZE("cache", DB(sqlite.cache), 512 * CP_KIB, 16 * CP_KIB, CP_GIB)},
    {CP_NAME("synchronous", DB(sqlite.synchronous), 1, synchronous_names)},
    {CP_FLAG("readonly", DB(sqlite.is_readonly), 0)},
    {CP_CHOICE("overflow", DB(overflow_direct), 1, connpool_overflow_names)},
    {CP_INT("overflow-max", DB(pool.overflow_max), 10, 0, 1000)},
    {CP_SIZE("length", DB(sqlite.length), 1000000, CP_KIB, CP_GIB)},
    {CP_INT("like", DB(sqlite.like), 50, 1, 50000)},
    {NULL},
};

static const char *database_path(cmd_parms *cmd, const char *name,
                                 const char *dsn, const char **ppath)
{
    const char *path;

    if (strncmp(dsn, "sqlite:", 7) != 0 || !dsn[7]) {
        return connpool_complaint(
            cmd, name, NULL,
            apr_psprintf(cmd->pool,
                         "'%s' is not sqlite:PATH, the one kind "
                         "of database there is",
                         dsn));
    }
    path = dsn + 7;
    if (strstr(path, "${")) {
        return connpool_complaint(
            cmd, name, NULL,
            apr_psprintf(cmd->pool, "'%s' holds a variable that is not set",
                         path));
    }
    if (strcmp(path, ":memory:") != 0) {
        path = ap_server_root_relative(cmd->pool, path);
    }
    if (!path) {
        return connpool_complaint(cmd, name, NULL, "the path is not valid");
    }
    *ppath = path;
    return NULL;
}

const char *connpool_cmd_database(cmd_parms *cmd, void *dummy, const char *line)
{
    connpool_database_t *db = apr_pcalloc(cmd->pool, sizeof(*db));
    const connpool_keys_t keys[] = {{database_options, db}, {NULL}};
    const char **words;
    const char *error = connpool_read_words(
        cmd, line, 2, "ConnPoolDatabase NAME sqlite:PATH ...", &words);

    if (error) {
        return error;
    }
    cp_options_clear(database_options, db);
    cp_options_complete(database_options, db);
    db->name = db->pool.name = db->sqlite.name = words[0];
    db->server = cmd->server;
    db->where = connpool_where(cmd);
    error = database_path(cmd, db->name, words[1], &db->sqlite.path);
    if (!error) {
        error = connpool_read_options(cmd, db->name, words + 2, keys);
    }
    return error ? error
                 : connpool_define(cmd, CONNPOOL_DATABASE, db->name, db);
}
