/* SPDX-License-Identifier: Apache-2.0
 * How httpd reads the configuration: the directives and its hooks. */
#ifndef CONNPOOL_CONFIG_H
#define CONNPOOL_CONFIG_H

#include "glue.h"

extern const command_rec connpool_commands[];
void *connpool_create_server_config(apr_pool_t *p, server_rec *s);
void *connpool_merge_server_config(apr_pool_t *p, void *base, void *add);
void *connpool_create_dir_config(apr_pool_t *p, char *path);
void *connpool_merge_dir_config(apr_pool_t *p, void *base, void *add);
int connpool_pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp);
int connpool_check_config(apr_pool_t *pconf, apr_pool_t *plog,
                          apr_pool_t *ptemp, server_rec *main_server);

#endif
