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
    SETTING("ConnPoolEngine", "On or Off: keep connections open for reuse"),
    SETTING("ConnPoolHTTPPool", "On or Off: pool outgoing HTTP connections"),
    SETTING("ConnPoolDBPool", "On or Off: pool database connections"),
    AP_INIT_TAKE1("ConnPoolEventLoop", connpool_cmd_global_setting, NULL,
                  RSRC_CONF,
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
    AP_INIT_TAKE1("ConnPoolCache", connpool_cmd_cache, NULL, RSRC_CONF,
                  "PROVIDER[:ARGUMENTS]: where answers with ttl=DURATION are "
                  "kept; default shmcb"),
    AP_INIT_TAKE1("ConnPoolCacheLocal", connpool_cmd_global_setting, NULL,
                  RSRC_CONF, "memory of answers with ttl=data in each child"),
    SETTING("ConnPoolSlowLog", "log queries that take longer; 0: none"),
    SETTING("ConnPoolServerTiming", "On or Off: the header Server-Timing"),
    SETTING("ConnPoolServerStatus", "On, Off or Full: in mod_status's report"),
    AP_INIT_RAW_ARGS("ConnPoolDatabase", connpool_cmd_database, NULL, RSRC_CONF,
                     "NAME KIND:ADDRESS [key=value ...]"),
    AP_INIT_RAW_ARGS("ConnPoolUpstream", connpool_cmd_upstream, NULL, RSRC_CONF,
                     "NAME URL [key=value ...]"),
    AP_INIT_RAW_ARGS("ConnPoolQuery", connpool_cmd_query, NULL, RSRC_CONF,
                     "NAME DATABASE \"SQL\" [key=value ...]"),
    AP_INIT_RAW_ARGS("ConnPoolParam", connpool_cmd_param, NULL, RSRC_CONF,
                     "QUERY PARAM [TYPE] [required] [key=value ...]"),
    AP_INIT_RAW_ARGS("ConnPoolDescription", connpool_cmd_description, NULL,
                     RSRC_CONF,
                     "*|NAME [PARAM] \"TEXT\" [title=TEXT] [version=TEXT]"),
    AP_INIT_ITERATE("ConnPoolServe", connpool_cmd_serve, NULL, ACCESS_CONF,
                    "names of queries or upstreams to serve here"),
    PLACE_SETTING("ConnPoolBatchMax", "items of one batch"),
    PLACE_SETTING("ConnPoolBatchParallel", "fetches of a batch at once"),
    PLACE_SETTING("ConnPoolBatchAtomic",
                  "On or Off: the writes of a database in a batch are one "
                  "transaction"),
    PLACE_SETTING("ConnPoolBatchBody",
                  "size of the body that asks for a batch"),
    AP_INIT_ITERATE("ConnPoolOrigins", connpool_cmd_origins,
                    (void *)APR_OFFSETOF(connpool_dir_t, origins),
                    RSRC_CONF | ACCESS_CONF,
                    "whose pages may ask and write: https://HOST ..., same, "
                    "any"),
    AP_INIT_ITERATE("ConnPoolTrustedProxies", connpool_cmd_proxies,
                    (void *)APR_OFFSETOF(connpool_dir_t, proxies),
                    RSRC_CONF | ACCESS_CONF,
                    "addresses and networks of proxies that tell the name "
                    "they were called by"),
    AP_INIT_TAKE12("ConnPoolRateLimit", connpool_cmd_rate_limit, NULL,
                   RSRC_CONF | ACCESS_CONF,
                   "N/s [burst=N]: how often a client may come; none"),
    AP_INIT_RAW_ARGS("Require", connpool_cmd_require, NULL, OR_AUTHCFG,
                     "heard beside mod_authz_core, which enforces it"),
    AP_INIT_RAW_ARGS("SetHandler", connpool_cmd_handler, NULL, OR_FILEINFO,
                     "heard beside the core, which sets it"),
    AP_INIT_RAW_ARGS("AddHandler", connpool_cmd_handler, NULL, OR_FILEINFO,
                     "heard beside mod_mime, which adds it"),
    {NULL},
};
