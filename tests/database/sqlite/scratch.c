/* SPDX-License-Identifier: Apache-2.0
 * A directory of its own for the database of a test. */
#include "scratch.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <check.h>

void scratch_make(char dir[SCRATCH_SIZE])
{
    const char *base = getenv("TMPDIR");

    snprintf(dir, SCRATCH_SIZE, "%s/connpool-sqlite-XXXXXX",
             base ? base : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

void scratch_remove(const char *dir)
{
    DIR *listing = opendir(dir);
    struct dirent *entry;
    char name[2 * SCRATCH_SIZE + sizeof(entry->d_name)];

    while (listing && (entry = readdir(listing)) != NULL) {
        if (entry->d_name[0] != '.') {
            snprintf(name, sizeof(name), "%s/%s", dir, entry->d_name);
            remove(name);
        }
    }
    closedir(listing);
    rmdir(dir);
}

cp_sqlite_config_t scratch_config(const char *path)
{
    return (cp_sqlite_config_t){
        .name = "test",
        .path = path,
        .busy = apr_time_from_msec(300),
        .cache = 512 * 1024,
        .synchronous = "normal",
        .length = 1000000,
        .like = 50,
    };
}
