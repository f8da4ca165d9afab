/* SPDX-License-Identifier: Apache-2.0
 * The drivers of databases that are built in: the one place that names them. */
#include "database/registry.h"

#include "database/database.h"
#include "database/sqlite/sqlite.h"

#include <string.h>

const cp_database_driver_t *const cp_database_drivers[] = {
    &cp_sqlite_driver,
    NULL,
};

const cp_database_driver_t *cp_database_find(const char *scheme)
{
    const cp_database_driver_t *const *driver = cp_database_drivers;

    while (*driver && strcmp((*driver)->scheme, scheme) != 0) {
        driver++;
    }
    return *driver;
}
