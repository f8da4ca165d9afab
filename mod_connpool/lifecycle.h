/* SPDX-License-Identifier: Apache-2.0
 * The lives of the parent and its children, from hook to hook. */
#ifndef CONNPOOL_LIFECYCLE_H
#define CONNPOOL_LIFECYCLE_H

#include "glue.h"

#include <ap_mpm.h>
#include <apr_hash.h>
#include <scoreboard.h>

int connpool_post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp,
                         server_rec *main_server);
void connpool_child_init(apr_pool_t *pchild, server_rec *main_server);
void connpool_child_stopping(apr_pool_t *pchild, int graceful);
void connpool_child_status(server_rec *s, pid_t pid, ap_generation_t gen,
                           int slot, mpm_child_status status);

/** The permits of server-max= for so many processes at once (permits.c). *kept
 * is kept over restarts, NULL at first. */
apr_status_t connpool_permits_set_up(apr_hash_t **kept, server_rec *main_server,
                                     int processes);
/** That child has ended: what it held is free. */
void connpool_permits_fold(pid_t pid);

/** The maintenance thread (maintain.c); watch is called several times a second.
 */
void connpool_maintenance_start(server_rec *s, void (*watch)(void));
void connpool_maintenance_stop(void);

#endif
