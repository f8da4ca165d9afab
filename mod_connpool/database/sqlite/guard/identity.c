/* SPDX-License-Identifier: Apache-2.0
 * Which file stands at a path, or behind a piece of memory. */
#include "database/sqlite/guard/identity.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

cp_sqlite_identity_t cp_sqlite_identity_of(const struct stat *st)
{
    return (cp_sqlite_identity_t){1, st->st_dev, st->st_ino};
}

cp_sqlite_identity_t cp_sqlite_identify(const char *path)
{
    cp_sqlite_identity_t nothing = {0};
    struct stat st;

    return stat(path, &st) == 0 ? cp_sqlite_identity_of(&st) : nothing;
}

int cp_sqlite_is_same(const cp_sqlite_identity_t *a,
                      const cp_sqlite_identity_t *b)
{
    return a->is_there && b->is_there && a->device == b->device
           && a->inode == b->inode;
}

/* By its name: of a file in an overlay the kernel may tell another device and
 * inode there than stat() does. One that was removed is called "NAME
 * (deleted)". */
int cp_sqlite_is_mapped_from(const volatile void *address, const char *path)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char *line = NULL, *name;
    size_t room = 0;
    ssize_t size;
    int is_found = 0, is_it = 0;
    uintptr_t from, to;

    if (!maps) {
        return 1;
    }
    while (!is_found && (size = getline(&line, &room, maps)) > 0) {
        is_found = sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &from, &to) == 2
                   && (uintptr_t)address >= from && (uintptr_t)address < to;
        line[size - 1] = '\0'; /* the end of the line */
        name = strchr(line, '/');
        is_it = is_found && name && strcmp(name, path) == 0;
    }
    free(line);
    fclose(maps);
    return is_it;
}
