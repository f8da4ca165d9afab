/* SPDX-License-Identifier: Apache-2.0
 * The drivers of databases that are built in. */
#ifndef CP_REGISTRY_H
#define CP_REGISTRY_H

#include "database/database.h"

/** Ends with NULL. */
extern const cp_database_driver_t *const cp_database_drivers[];

/** The one for this scheme, or NULL. */
const cp_database_driver_t *cp_database_find(const char *scheme);

#endif
