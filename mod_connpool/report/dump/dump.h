/* SPDX-License-Identifier: Apache-2.0
 * Dry runs: what `apachectl -t -D NAME` prints, and what it comes to. Without
 * such a name nothing is done. */
#ifndef CONNPOOL_DUMP_H
#define CONNPOOL_DUMP_H

#include "glue.h"

#include <apr_file_io.h>

/** One that can be asked for. */
typedef struct connpool_dump_t {
    const char *define; /**< the word behind -D; NULL ends a table */
    /** Write it. Called once, in the parent, with what was configured, checked
     * and completed, and before anybody is served.
     * @return 0: the server could serve all of it; else httpd ends with 1 */
    int (*print)(apr_pool_t *p, server_rec *main_server, apr_file_t *out);
    int is_for_programs; /**< stdout has nothing else: what other dumps say goes
                              to stderr */
} connpool_dump_t;

/** From pre_config: is one of them asked for? Then it is prepared. */
void connpool_dump_prepare(const connpool_dump_t *table, apr_pool_t *pconf);

/** From test_config, behind all others: print what is asked for. Ends the
 * process when something could not serve. */
void connpool_dump_run(const connpool_dump_t *table, apr_pool_t *pconf,
                       server_rec *main_server);

/** DUMP_CONNPOOL, for people. */
int connpool_dump_text(apr_pool_t *p, server_rec *main_server, apr_file_t *out);

/** DUMP_CONNPOOL_JSON: the same for programs. */
int connpool_dump_json(apr_pool_t *p, server_rec *main_server, apr_file_t *out);

#endif
