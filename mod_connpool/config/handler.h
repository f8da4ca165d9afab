/* SPDX-License-Identifier: Apache-2.0
 * The handlers that there are, and the places that set them. */
#ifndef CONNPOOL_HANDLER_H
#define CONNPOOL_HANDLER_H

#include "glue.h"

struct connpool_serving_t;

/** What ConnPoolServe must name for a handler. */
typedef enum connpool_needs_t {
    CONNPOOL_NEEDS_NOTHING,
    CONNPOOL_NEEDS_QUERY,
    CONNPOOL_NEEDS_UPSTREAM,
    CONNPOOL_NEEDS_EITHER,
} connpool_needs_t;

typedef struct connpool_handler_t {
    const char *name; /**< as in SetHandler; NULL ends a table */
    int (*run)(request_rec *r);
    connpool_needs_t needs;
    int is_timed;   /**< it answers with work of ours */
    int takes_path; /**< what follows its place in the URL is its business */
} connpool_handler_t;

const connpool_handler_t *connpool_find_handler(const connpool_handler_t *table,
                                                const char *name);

/** Before each reading of the configuration. */
void connpool_forget_handlers(apr_pool_t *pconf);

/** "SetHandler" and "AddHandler" (RAW_ARGS, OR_FILEINFO) beside those of the
 * core and of mod_mime, which alone carry them out. */
const char *connpool_cmd_handler(cmd_parms *cmd, void *dir, const char *args);

/** All handlers that are set by a name like ours exist, and have something to
 * serve.
 * @return OK, or what a hook returns that has logged an error */
int connpool_check_handlers(apr_pool_t *p, const connpool_handler_t *table);

/** The handler that answers where a name is served: the one set beside it, or
 * one of another section that holds there as well; NULL: none. */
const char *connpool_handler_of(const struct connpool_serving_t *serving);

/** Does the URL go on behind the place that serves it, or the file name behind
 * the file? What nobody asks for is not there. */
int connpool_has_extra_path(request_rec *r);

#endif
