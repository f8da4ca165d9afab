/* SPDX-License-Identifier: Apache-2.0
 * What the root and the configuration need of the report. */
#ifndef CONNPOOL_REPORT_H
#define CONNPOOL_REPORT_H

#include "glue.h"

int connpool_status_handler(request_rec *r);
int connpool_health_handler(request_rec *r);

/** Ask all databases and upstreams that this request sees, at once. */
void connpool_probe_all(request_rec *r);

void connpool_status_register(apr_pool_t *p);

#endif
