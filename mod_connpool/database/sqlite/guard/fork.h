/* SPDX-License-Identifier: Apache-2.0
 * SQLite and processes that are forked from its own. */
#ifndef CP_SQLITE_FORK_H
#define CP_SQLITE_FORK_H

#include "database/fork.h"

/** See cp_database_driver_t. None of SQLite's own locks is inherited, and files
 * that the process before has open are opened as if they were others. */
void cp_sqlite_fork(cp_fork_step_t step);

#endif
