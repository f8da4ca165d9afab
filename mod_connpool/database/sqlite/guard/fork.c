/* SPDX-License-Identifier: Apache-2.0
 * SQLite in a process that was forked while others had files open.
 *
 * SQLite keeps one record of each file per process, by device and inode, with
 * the locks that the process has on it, because POSIX locks belong to
 * processes. A fork inherits the records, but not the locks: a new connection
 * would count itself among the holders of a lock that the kernel does not know.
 * So files get other numbers here than in the process before, and new records.
 */
#ifndef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64 /* as in SQLite, whose struct stat this is */
#endif
#include "database/sqlite/guard/fork.h"

#include "database/sqlite/guard/guard.h"

#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

typedef int (*stat_fn)(const char *path, struct stat *info);
typedef int (*fstat_fn)(int fd, struct stat *info);

/* A forked process has one thread when this is written. */
static struct {
    stat_fn stat;
    fstat_fn fstat;
    ino_t number; /* of this process */
} original;

static int renumbered_stat(const char *path, struct stat *info)
{
    int rc = original.stat(path, info);

    info->st_ino ^= original.number;
    return rc;
}

static int renumbered_fstat(int fd, struct stat *info)
{
    int rc = original.fstat(fd, info);

    info->st_ino ^= original.number;
    return rc;
}

/* In the order in which SQLite takes them: opening (with a shared cache), the
 * lists of the process, files, page caches, numbers, memory. */
static const int locks[] = {
    SQLITE_MUTEX_STATIC_OPEN, SQLITE_MUTEX_STATIC_MAIN,
    SQLITE_MUTEX_STATIC_VFS1, SQLITE_MUTEX_STATIC_VFS2,
    SQLITE_MUTEX_STATIC_VFS3, SQLITE_MUTEX_STATIC_LRU,
    SQLITE_MUTEX_STATIC_PMEM, SQLITE_MUTEX_STATIC_PRNG,
    SQLITE_MUTEX_STATIC_MEM,
};

#define LOCKS ((int)(sizeof(locks) / sizeof(locks[0])))

static void lock_all(void)
{
    for (int i = 0; i < LOCKS; i++) {
        sqlite3_mutex_enter(sqlite3_mutex_alloc(locks[i]));
    }
}

static void unlock_all(void)
{
    for (int i = LOCKS - 1; i >= 0; i--) {
        sqlite3_mutex_leave(sqlite3_mutex_alloc(locks[i]));
    }
}

static void renumber_files(void)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find("unix"); /* below any other */

    /* Above what file systems use, so that no two files meet. */
    original.number = (ino_t)getpid() << (sizeof(ino_t) > 4 ? 40 : 0);
    if (original.stat || !vfs || vfs->iVersion < 3) {
        return;
    }
    original.stat = (stat_fn)vfs->xGetSystemCall(vfs, "stat");
    original.fstat = (fstat_fn)vfs->xGetSystemCall(vfs, "fstat");
    if (original.stat && original.fstat) {
        vfs->xSetSystemCall(vfs, "stat", (sqlite3_syscall_ptr)renumbered_stat);
        vfs->xSetSystemCall(vfs, "fstat",
                            (sqlite3_syscall_ptr)renumbered_fstat);
    }
}

void cp_sqlite_fork(cp_fork_step_t step)
{
    switch (step) {
    case CP_FORK_COMES:
        lock_all();
        break;
    case CP_FORK_IS_DONE:
        unlock_all();
        break;
    case CP_FORK_BEGINS:
        renumber_files();
        cp_guard_forget();
        break;
    }
}
