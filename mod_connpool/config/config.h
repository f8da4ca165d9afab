/* SPDX-License-Identifier: Apache-2.0
 * How httpd reads the configuration: the hooks and the table of directives,
 * whose handlers lie in one file per kind. */
#ifndef CONNPOOL_CONFIG_H
#define CONNPOOL_CONFIG_H

#include "glue.h"
#include "pool/rate/rate.h"

struct connpool_server_t;

void *connpool_create_server_config(apr_pool_t *p, server_rec *s);
void *connpool_merge_server_config(apr_pool_t *p, void *base, void *add);
void *connpool_create_dir_config(apr_pool_t *p, char *path);
void *connpool_merge_dir_config(apr_pool_t *p, void *base, void *add);
int connpool_pre_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp);
int connpool_check_config(apr_pool_t *pconf, apr_pool_t *plog,
                          apr_pool_t *ptemp, server_rec *main_server);

extern const command_rec connpool_commands[];

/* Definitions: RAW_ARGS. */
const char *connpool_cmd_database(cmd_parms *cmd, void *dummy,
                                  const char *line);
const char *connpool_cmd_upstream(cmd_parms *cmd, void *dummy,
                                  const char *line);
const char *connpool_cmd_query(cmd_parms *cmd, void *dummy, const char *line);
const char *connpool_cmd_param(cmd_parms *cmd, void *dummy, const char *line);

/* Settings of a server: TAKE1; the global ones stand in no virtual host. */
const char *connpool_cmd_setting(cmd_parms *cmd, void *dummy,
                                 const char *value);
const char *connpool_cmd_global_setting(cmd_parms *cmd, void *dummy,
                                        const char *value);
const char *connpool_cmd_cache(cmd_parms *cmd, void *dummy, const char *value);

/* Of a place: ITERATE, TAKE1. */
const char *connpool_cmd_serve(cmd_parms *cmd, void *dir, const char *name);
const char *connpool_cmd_place_setting(cmd_parms *cmd, void *dir,
                                       const char *value);

/* Of a place: TAKE12. */
const char *connpool_cmd_rate_limit(cmd_parms *cmd, void *dir, const char *word,
                                    const char *more);

/** "20/s" and the like into a limit, whose burst is what one unit allows. */
const char *connpool_read_rate(apr_pool_t *p, const char *word,
                               cp_rate_limit_t *limit);

/** "Require" (RAW_ARGS, OR_AUTHCFG) beside the one of mod_authz_core, which
 * alone enforces it: notes that somebody decided who may see what lies here. */
const char *connpool_cmd_require(cmd_parms *cmd, void *dir, const char *args);

/* --- the check of the whole, in parts --- */

/** From the environment of the parent, if no directive says it, or else by
 * default.
 * @return NULL, or a sentence */
const char *connpool_complete_server(apr_pool_t *p,
                                     struct connpool_server_t *sc);

/** All names that places serve are known, and their handlers can serve them.
 * @return OK, or what a hook returns that has logged an error */
int connpool_check_servings(apr_pool_t *p);

#endif
