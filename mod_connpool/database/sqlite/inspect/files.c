/* SPDX-License-Identifier: Apache-2.0
 * A database's files, as the file system tells of them. They are never opened:
 * that would drop the locks of SQLite. */
#include "database/sqlite/inspect/inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_strings.h>

#define NAME_SIZE 64

/* A name, or the number of somebody who has none. */
static const char *user_name(uid_t id, char name[NAME_SIZE])
{
    const struct passwd *user = getpwuid(id);

    apr_snprintf(name, NAME_SIZE, "%ld", (long)id);
    return user ? apr_cpystrn(name, user->pw_name, NAME_SIZE), name : name;
}

static const char *group_name(gid_t id, char name[NAME_SIZE])
{
    const struct group *group = getgrgid(id);

    apr_snprintf(name, NAME_SIZE, "%ld", (long)id);
    return group ? apr_cpystrn(name, group->gr_name, NAME_SIZE), name : name;
}

/* "read and write" */
static const char *may(const char *path)
{
    int can_read = faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) == 0;
    int can_write = faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0;

    return can_read    ? can_write ? "may be read and written"
                                   : "may be read, not written"
           : can_write ? "may be written, not read"
                       : "may be neither read nor written";
}

static void tell(const char *name, const char *path, int is_expected,
                 const cp_findings_t *to)
{
    char user[NAME_SIZE], group[NAME_SIZE], size[32] = "";
    struct stat st;

    if (stat(path, &st) != 0) {
        if (is_expected || errno != ENOENT) {
            cp_finding_add(to, CP_SEVERITY_INFO, name, "%s: %s", path,
                           strerror(errno));
        }
        return;
    }
    if (S_ISREG(st.st_mode)) {
        apr_snprintf(size, sizeof(size), ", %" APR_INT64_T_FMT " bytes",
                     (apr_int64_t)st.st_size);
    }
    cp_finding_add(to, CP_SEVERITY_INFO, name,
                   "%s%s, mode %04o, owner %s, group %s: %s", path, size,
                   (unsigned)st.st_mode & 07777, user_name(st.st_uid, user),
                   group_name(st.st_gid, group), may(path));
}

void cp_sqlite_tell_files(const char *path, const cp_findings_t *to)
{
    char beside[APR_PATH_MAX];
    const char *slash = strrchr(path, '/');
    int size = slash && slash > path ? (int)(slash - path) : 1;

    tell("file", path, 1, to);
    apr_snprintf(beside, sizeof(beside), "%.*s", size, slash ? path : ".");
    tell("directory", beside, 1, to);
    apr_snprintf(beside, sizeof(beside), "%s-wal", path);
    tell("log", beside, 0, to);
    apr_snprintf(beside, sizeof(beside), "%s-shm", path);
    tell("log index", beside, 0, to);
    apr_snprintf(beside, sizeof(beside), "%s-journal", path);
    tell("journal", beside, 0, to);
}
