/* SPDX-License-Identifier: Apache-2.0
 * A directory of its own for the database of a test. */
#ifndef SCRATCH_H
#define SCRATCH_H

#include "database/sqlite/sqlite.h"

#define SCRATCH_SIZE 256

/* In $TMPDIR. */
void scratch_make(char dir[SCRATCH_SIZE]);

/* With all that is in it. */
void scratch_remove(const char *dir);

/* As administrators have it, but for a patience that a test may wait out. */
cp_sqlite_config_t scratch_config(const char *path);

#endif
