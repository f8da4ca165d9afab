/* SPDX-License-Identifier: Apache-2.0
 * Who may see a report, and how one is sent. */
#ifndef CONNPOOL_ACCESS_H
#define CONNPOOL_ACCESS_H

#include "glue.h"
#include "base/bytes/buffer.h"

/** What status and health ask first: method, access. *pargs is set when the
 * request may be answered; else the result is the handler's. */
int connpool_report_guard(request_rec *r, apr_table_t **pargs);

/** Send a report with the headers of a page that needs nothing from outside;
 * frees buf. r->status may be set before. */
int connpool_send_report(request_rec *r, const char *content_type,
                         cp_buffer_t *buf);

#endif
