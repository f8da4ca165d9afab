/* SPDX-License-Identifier: Apache-2.0
 * The sections of a configuration, and what ConnPoolServe names in them. */
#ifndef CONNPOOL_PLACE_H
#define CONNPOOL_PLACE_H

#include "glue.h"
#include "config/setting.h"

/** The section that a directive stands in; <If> and the like belong to the one
 * around them. */
connpool_place_t connpool_place_of(cmd_parms *cmd);

/** A name that a place serves: checked when all definitions are known. */
typedef struct connpool_serving_t {
    server_rec *server;
    const struct connpool_dir_t *dir;
    const char *where;
    const char *name;
    const char *handler; /**< set in the same section; NULL: elsewhere */
    const ap_directive_t *section;
    connpool_place_t place;
} connpool_serving_t;

/** All of them (connpool_serving_t). */
const apr_array_header_t *connpool_servings(void);

#endif
