/* SPDX-License-Identifier: Apache-2.0
 * A database that lives in the memory of one child and does what it is told: a
 * driver as others would write it, from database/database.h alone.
 *
 * ConnPoolDatabase NAME script:WORD [readonly=on down=FILE]; as long as FILE
 * exists, nothing can be opened, and what is open is replaced. Its SQL:
 *
 *   rows N              N rows (n, name): 1, "row 1"; 2, "row 2"...
 *   echo :a :b          one row of what was bound, columns a, b; those called
 *                       flag_... are declared boolean, doc_... json
 *   sleep MS [rows N]   first lets the time pass
 *   list                the table: one column, name
 *   now                 one row, another one each time
 *   add :name           a write: one more row
 *   clear               a write: all rows go
 *   fail open|commit    a write: from now on that fails...
 *   heal                ...and from now on it does not */
#ifndef SCRIPT_H
#define SCRIPT_H

#include "database/database.h"

extern const cp_database_driver_t script_driver;

#endif
