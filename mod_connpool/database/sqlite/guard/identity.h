/* SPDX-License-Identifier: Apache-2.0
 * Which file stands at a path, or behind a piece of memory. */
#ifndef CP_SQLITE_IDENTITY_H
#define CP_SQLITE_IDENTITY_H

#include <sys/stat.h>
#include <sys/types.h>

typedef struct cp_sqlite_identity_t {
    int is_there;
    dev_t device;
    ino_t inode;
} cp_sqlite_identity_t;

cp_sqlite_identity_t cp_sqlite_identity_of(const struct stat *st);

cp_sqlite_identity_t cp_sqlite_identify(const char *path);

/* The same file; two that are not there are none. */
int cp_sqlite_is_same(const cp_sqlite_identity_t *a,
                      const cp_sqlite_identity_t *b);

/* Is what is mapped at that address the file of that path, which nobody has
 * removed? For rare occasions: it reads the list of all mappings; yes, where
 * there is no such list. */
int cp_sqlite_is_mapped_from(const volatile void *address, const char *path);

#endif
