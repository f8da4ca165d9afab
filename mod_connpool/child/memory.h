/* SPDX-License-Identifier: Apache-2.0
 * The bound on what a child uses: ConnPoolMemory. */
#ifndef CONNPOOL_MEMORY_H
#define CONNPOOL_MEMORY_H

#include "glue.h"

#include <stdint.h>

#include <httpd.h>

/** Who keeps memory for later: how many bytes, and how to let go of all. Both
 * are called by any thread. */
typedef struct connpool_memory_user_t {
    uint64_t (*bytes)(void);
    void (*shrink)(void);
} connpool_memory_user_t;

/** From child_init, before any thread: the first of them. */
void connpool_memory_start(void);

/** From child_init, before any thread: one more who counts, and who shrinks
 * when those before it did not make enough room. Must last as long as the
 * child. */
void connpool_memory_join(const connpool_memory_user_t *user);

/** Does what this child uses leave room for one more request, under the bound
 * of that server? A fetch needs room for its answer only, whatever databases
 * hold. Shrinks what is idle before it says no; counts both. */
int connpool_memory_allows(server_rec *s, int is_database);

/** The process has no memory for `what`, a part of a request or of its answer:
 * count it and log it. */
void connpool_memory_lacks(request_rec *r, const char *what);

/** From the maintenance thread: shrink when the main server's bound is
 * exceeded, and show what is used. */
void connpool_memory_maintain(void);

#endif
