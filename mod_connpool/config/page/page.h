/* SPDX-License-Identifier: Apache-2.0
 * page= of ConnPoolQuery. */
#ifndef CONNPOOL_PAGE_H
#define CONNPOOL_PAGE_H

#include "glue.h"

/** When all is defined: make the pages of the queries that have page=, with the
 * parameters limit and after.
 * @return OK, or what a hook returns that has logged an error */
int connpool_check_pages(apr_pool_t *p, server_rec *main_server);

#endif
