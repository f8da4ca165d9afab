/* SPDX-License-Identifier: Apache-2.0
 * The report as a page. */
#ifndef CONNPOOL_PAGE_H
#define CONNPOOL_PAGE_H

#include "base/bytes/buffer.h"
#include "report/lines/gather.h"

/** Seconds until the page is loaded again, unless ?refresh= says otherwise. */
#define CONNPOOL_STATUS_REFRESH 5

/** refresh: seconds until the browser loads it again, 0: never. */
void connpool_status_write_page(cp_buffer_t *buf,
                                const connpool_status_t *report, int refresh);

#endif
