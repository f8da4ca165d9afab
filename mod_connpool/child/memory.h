/* SPDX-License-Identifier: Apache-2.0
 * The bound on what a child uses: ConnPoolMemory. */
#ifndef CONNPOOL_MEMORY_H
#define CONNPOOL_MEMORY_H

#include "glue.h"

/** Does what this child uses leave room for one more request, under the bound
 * of that server? Shrinks what is idle before it says no; counts both. */
int connpool_memory_allows(server_rec *s);

#endif
