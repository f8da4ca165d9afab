/* SPDX-License-Identifier: Apache-2.0
 * Statements in libpq's pipeline mode: one way to the server and back for all
 * of them. */
#ifndef CP_PG_PIPELINE_H
#define CP_PG_PIPELINE_H

#include "database/ahead.h"

/** See database/ahead.h. */
extern const cp_ahead_t cp_pg_ahead;

#endif
