/* SPDX-License-Identifier: Apache-2.0
 * Connections, for pools. */
#ifndef CP_PG_CONNECTION_H
#define CP_PG_CONNECTION_H

#include "pool/driver.h"

/** Their ctx is a cp_database_t. */
extern const cp_driver_t cp_pg_reader;
extern const cp_driver_t cp_pg_writer;

/** How many are open in this process. */
int cp_pg_connections(void);

#endif
