/* SPDX-License-Identifier: Apache-2.0
 * The report as JSON. */
#ifndef CONNPOOL_JSON_H
#define CONNPOOL_JSON_H

#include "base/bytes/buffer.h"
#include "report/lines/gather.h"

/** The member "causes": all that is not ok, worst first. */
void connpool_json_causes(cp_buffer_t *buf, const connpool_status_t *report);

void connpool_status_write_json(cp_buffer_t *buf,
                                const connpool_status_t *report);

#endif
