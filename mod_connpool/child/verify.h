/* SPDX-License-Identifier: Apache-2.0
 * Whether the queries of this child fit their databases. */
#ifndef CONNPOOL_VERIFY_H
#define CONNPOOL_VERIFY_H

#include "base/clock.h"

/** Once: does each database open, and can its queries be prepared? What cannot
 * is logged. pause sleeps until then, and tells whether to go on. */
void connpool_verify_all(int (*pause)(cp_clock_t until));

/** From then on, every second: look again at what could not be verified, or
 * did not fit. */
void connpool_verify_rest(void);

#endif
