/* SPDX-License-Identifier: Apache-2.0
 * Brings what the report knows before cp_state_judge. */
#ifndef CONNPOOL_JUDGE_H
#define CONNPOOL_JUDGE_H

#include "report/lines/gather.h"

/** The whole report, for the server that answers. Lives as long as the request.
 */
connpool_status_t *connpool_status_gather(request_rec *r);

/** Let every line of the report be judged, and list the causes. */
void connpool_status_judge(connpool_status_t *report);

/** "DOWN: gone (storage). DEGRADED: u3", or "OK". */
const char *connpool_status_verdict(const connpool_status_t *report);

/** "2026-08-12T17:46:00Z". */
const char *connpool_status_time(apr_pool_t *p, apr_time_t at);

/** Nothing of it is open, and nothing can be opened, as far as is known. */
int connpool_status_is_unopened(const connpool_pool_line_t *line);

/** The query cannot be prepared, as far as known. */
int connpool_status_is_unprepared(const connpool_query_line_t *line);

/** How much is asked of the cache in vain: what its condition looks at. */
uint64_t connpool_status_cache_failures(const connpool_status_t *report);

#endif
