/* SPDX-License-Identifier: Apache-2.0
 * PostgreSQL as a kind of database. */
#ifndef CP_PG_DRIVER_H
#define CP_PG_DRIVER_H

#include "database/database.h"

extern const cp_database_driver_t cp_pg_driver;

#endif
