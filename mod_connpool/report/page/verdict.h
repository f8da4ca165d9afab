/* SPDX-License-Identifier: Apache-2.0
 * What the page begins with. */
#ifndef CONNPOOL_VERDICT_H
#define CONNPOOL_VERDICT_H

#include "base/bytes/buffer.h"
#include "report/lines/gather.h"

/** All that is wrong, in one coloured sentence, and each thing in a line. */
void connpool_status_write_verdict(cp_buffer_t *buf,
                                   const connpool_status_t *report);

/** A cell with a state's word in its colour. */
void connpool_status_write_state(cp_buffer_t *buf, const char *word);

#endif
