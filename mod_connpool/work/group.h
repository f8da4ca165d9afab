/* SPDX-License-Identifier: Apache-2.0
 * Writes of several requests as one transaction. */
#ifndef CONNPOOL_WORK_GROUP_H
#define CONNPOOL_WORK_GROUP_H

#include <apr_errno.h>

struct connpool_rows_t;
struct cp_value_t;

/** connpool_rows_run, for what may be committed together with writes of other
 * requests of this child: whoever has the writer's connection does what others
 * have queued as well. Nobody hears of his write before it is committed, and
 * what was undone is done again, by itself. */
apr_status_t connpool_group_run(struct connpool_rows_t *rows,
                                const struct cp_value_t *values);

#endif
