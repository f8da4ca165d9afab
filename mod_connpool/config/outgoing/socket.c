/* SPDX-License-Identifier: Apache-2.0
 * socket= of an upstream. */
#include "glue.h"
#include "config/outgoing/outgoing.h"
#include "http/upstream/upstream.h"

#include <stddef.h>
#include <sys/un.h>

#include <apr_file_info.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_protocol.h>

int connpool_is_last_reading(void)
{
    return ap_state_query(AP_SQ_MAIN_STATE) != AP_SQ_MS_CREATE_PRE_CONFIG
           || ap_state_query(AP_SQ_RUN_MODE) == AP_SQ_RM_CONFIG_TEST;
}

const char *connpool_check_socket(cmd_parms *cmd, const char *upstream,
                                  const char *path)
{
    struct sockaddr_un address;
    apr_finfo_t info;
    apr_status_t rv;

    if (*path != '/') {
        return apr_psprintf(cmd->pool, "'%s' is not an absolute path", path);
    }
    if (strlen(path) >= sizeof(address.sun_path)) {
        return apr_psprintf(cmd->pool,
                            "'%s' is longer than a socket's path may be (%d)",
                            path, (int)sizeof(address.sun_path) - 1);
    }
    rv = apr_stat(&info, path, APR_FINFO_TYPE, cmd->temp_pool);
    if (rv == APR_SUCCESS && info.filetype != APR_SOCK) {
        return apr_psprintf(cmd->pool, "'%s' is not a socket", path);
    }
    if (rv != APR_SUCCESS && connpool_is_last_reading()) {
        ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_WARNING, rv, cmd->server,
                     "ConnPoolUpstream %s: socket=%s is not there now",
                     upstream, path);
    }
    return NULL;
}
