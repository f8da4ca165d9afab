/* SPDX-License-Identifier: Apache-2.0
 * The table of directives: what httpd knows of them. */
#include "config/config.h"
#include "config/handler.h"
#include "config/origin/origins.h"
#include "config/setting.h"
#include "openapi/description.h"

#define SETTING(name, text)                                                    \
    AP_INIT_TAKE1(name, connpool_cmd_setting, NULL, RSRC_CONF, text)

#define PLACE_SETTING(name, text)                                              \
    AP_INIT_TAKE1(name, connpool_cmd_place_setting, NULL,                      \
                  RSRC_CONF | ACCESS_CONF, text)

const command_rec connpool_commands[] = {
    SETTING("ConnPoolEngine", "On|Off: keep connections open for reuse"),
    SETTING("ConnPoolHTTPPool", "On|Off: pool outgoing HTTP connections"),
    SETTING("ConnPoolDBPool", "On|Off: pool database connections"),
    AP_INIT_TAKE1("ConnPoolEventLoop", connpool_cmd_global_setting, NULL,
                  RSRC_CONF,
                  "On|Off: run outgoing HTTP in one event loop per child"),
    SETTING("ConnPoolHTTPMax", "NUMBER: outgoing HTTP connections per child"),
    SETTING("ConnPoolHTTPPerHost",
            "NUMBER: outgoing HTTP connections per host and child"),
    SETTING("ConnPoolHTTPConnectTimeout",
            "DURATION: longest time to connect to an upstream"),
    SETTING("ConnPoolHTTPReadTimeout",
            "DURATION: longest silence of an upstream"),
    SETTING("ConnPoolHTTPKeepAlive",
            "DURATION: how long an idle connection is kept"),
    SETTING("ConnPoolHTTPCleanup",
            "On|Off: drop idle connections that the upstream closed"),
    SETTING("ConnPoolDBMax", "NUMBER: connections per database and child"),
    SETTING("ConnPoolMemory",
            "SIZE: memory of pools and buffers in each child"),
    AP_INIT_TAKE1("ConnPoolCache", connpool_cmd_cache, NULL, RSRC_CONF,
                  "PROVIDER[:ARGUMENTS]: where answers with ttl=DURATION are "
                  "kept; default shmcb"),
    AP_INIT_TAKE1("ConnPoolCacheLocal", connpool_cmd_global_setting, NULL,
                  RSRC_CONF,
                  "SIZE: memory of answers with ttl=data in each child"),
    SETTING("ConnPoolSlowLog",
            "DURATION: log queries that take longer; 0: none"),
    SETTING("ConnPoolServerTiming", "On|Off: the header Server-Timing"),
    SETTING("ConnPoolServerStatus", "On|Off|Full: in mod_status's report"),
    AP_INIT_RAW_ARGS(
        "ConnPoolDatabase", connpool_cmd_database, NULL, RSRC_CONF,
        "NAME KIND:ADDRESS [key=value ...]: a pool of connections"),
    AP_INIT_RAW_ARGS("ConnPoolUpstream", connpool_cmd_upstream, NULL, RSRC_CONF,
                     "NAME \"URL [URL ...]\" [key=value ...]: an HTTP service"),
    AP_INIT_RAW_ARGS("ConnPoolQuery", connpool_cmd_query, NULL, RSRC_CONF,
                     "NAME DATABASE \"SQL\" [key=value ...]: a statement"),
    AP_INIT_RAW_ARGS(
        "ConnPoolParam", connpool_cmd_param, NULL, RSRC_CONF,
        "QUERY PARAM [TYPE] [required] [key=value ...]: a parameter"),
    AP_INIT_RAW_ARGS("ConnPoolDescription", connpool_cmd_description, NULL,
                     RSRC_CONF,
                     "*|NAME [PARAM] \"TEXT\" [title=TEXT] [version=TEXT]: for "
                     "connpool-openapi"),
    AP_INIT_ITERATE("ConnPoolServe", connpool_cmd_serve, NULL, ACCESS_CONF,
                    "NAME ... [walk=on|off]: queries or upstreams to serve "
                    "here"),
    PLACE_SETTING("ConnPoolBatchMax", "NUMBER: items of one batch"),
    PLACE_SETTING("ConnPoolBatchParallel",
                  "NUMBER: fetches of a batch at once"),
    PLACE_SETTING("ConnPoolBatchAtomic",
                  "On|Off: the writes of a database in a batch are one "
                  "transaction"),
    PLACE_SETTING("ConnPoolBatchBody", "SIZE: the body that asks for a batch"),
    AP_INIT_ITERATE(
        "ConnPoolOrigins", connpool_cmd_origins,
        (void *)APR_OFFSETOF(connpool_dir_t, origins), RSRC_CONF | ACCESS_CONF,
        "http[s]://HOST[:PORT]|same|any ...: whose pages may ask and write"),
    AP_INIT_ITERATE(
        "ConnPoolTrustedProxies", connpool_cmd_proxies,
        (void *)APR_OFFSETOF(connpool_dir_t, proxies), RSRC_CONF | ACCESS_CONF,
        "ADDRESS|NETWORK ...: proxies that tell the name they were called by"),
    AP_INIT_TAKE12("ConnPoolRateLimit", connpool_cmd_rate_limit, NULL,
                   RSRC_CONF | ACCESS_CONF,
                   "N/s|N/min|N/h|none [burst=N]: how often a client may come"),
    AP_INIT_RAW_ARGS("Require", connpool_cmd_require, NULL, OR_AUTHCFG,
                     "heard beside mod_authz_core, which enforces it"),
    AP_INIT_RAW_ARGS("SetHandler", connpool_cmd_handler, NULL, OR_FILEINFO,
                     "heard beside the core, which sets it"),
    AP_INIT_RAW_ARGS("AddHandler", connpool_cmd_handler, NULL, OR_FILEINFO,
                     "heard beside mod_mime, which adds it"),
    {NULL},
};
