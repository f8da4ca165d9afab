/* SPDX-License-Identifier: Apache-2.0
 * Between our connections and SQLite's own way to the files: all is passed on
 * as it is, but nobody sleeps, reads or waits for another program's lock for
 * longer than his statement may take, and nothing is written behind the end of
 * a write-ahead log that somebody has cut. Other users of SQLite in this
 * process do not meet it: it is not the default, and has no state but that of
 * the files that it opened. */
#include "base/clock.h"
#include "base/meanwhile.h"
#include "database/sqlite/guard/file.h"
#include "database/sqlite/guard/guard.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define WRITE_LOCK 0                      /* among the locks of the index */
#define GRACE      apr_time_from_msec(60) /* for a rollback to begin */

static sqlite3_vfs *real_vfs;
static sqlite3_vfs *our_vfs; /* these are set once */
static int is_registered;

/* --- the clock --- */

/* Files that nobody needs whose time is over. The journals are not among them:
 * a rollback reads those. */
#define READ_IN_TIME                                                           \
    (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL | SQLITE_OPEN_TEMP_JOURNAL          \
     | SQLITE_OPEN_TRANSIENT_DB)

/* A rollback reads what a writer has changed, too: once the statement was told
 * to end it may, and it gets some time if it was interrupted. If it is refused
 * all the same, pages in memory are not as they were; they never reach the
 * file then, see on_write. */
static int may_roll_back(cp_guard_t *guard, cp_clock_t now)
{
    if (guard->is_ending || !cp_guard_is_over(guard, now - GRACE)) {
        return 1;
    }
    guard->is_spoilt = 1;
    return 0;
}

/* Must the statement of this thread end? */
static int is_late(const file_t *file)
{
    cp_guard_t *guard = cp_guard_current();
    cp_clock_t now;

    if (!guard || !(file->flags & READ_IN_TIME)) {
        return 0;
    }
    now = cp_clock_now();
    return cp_guard_is_over(guard, now)
           && !(guard->is_writer
                && (file->flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL))
                && may_roll_back(guard, now));
}

/* SQLite takes BUSY for a reason to sleep and come again, for ten seconds in
 * all, unless it is told another error. */
static int bounded(int rc)
{
    cp_guard_t *guard = cp_guard_current();
    cp_clock_t now;

    /* A checkpoint asks for what it can get, and waits in on_busy only. */
    if (rc != SQLITE_BUSY || !guard || guard->is_checkpointing) {
        return rc;
    }
    now = cp_clock_now();
    cp_meanwhile_tend(now);
    if (cp_guard_is_over(guard, now)) {
        return SQLITE_INTERRUPT;
    }
    return now >= cp_guard_patience(guard, now) ? SQLITE_BUSY_TIMEOUT : rc;
}

static int on_sleep(sqlite3_vfs *vfs, int us)
{
    cp_guard_t *guard = cp_guard_current();
    cp_clock_t now, until, limit;

    if (!guard) {
        return real_vfs->xSleep(real_vfs, us);
    }
    now = cp_clock_now();
    until = cp_clock_add(now, us);
    limit = cp_guard_patience(guard, now);
    cp_meanwhile_sleep(until < limit ? until : limit);
    return us;
}

/* --- files --- */

static int on_close(sqlite3_file *file)
{
    file_t *mine = (file_t *)file;

    if (mine->database && mine->database->log == mine) {
        mine->database->log = NULL;
    }
    return real_of(file)->pMethods->xClose(real_of(file));
}

static int on_read(sqlite3_file *file, void *data, int size, sqlite3_int64 at)
{
    file_t *mine = (file_t *)file;
    int rc;

    if (is_late(mine)) {
        return SQLITE_INTERRUPT;
    }
    rc = mine->real->pMethods->xRead(mine->real, data, size, at);
    return mine->database ? cp_log_read(mine, rc, size, at) : rc;
}

static int on_write(sqlite3_file *file, const void *data, int size,
                    sqlite3_int64 at)
{
    file_t *mine = (file_t *)file;
    cp_guard_t *guard = cp_guard_current();
    int rc;

    if (mine->flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)) {
        if (guard && guard->is_spoilt) {
            return SQLITE_IOERR_WRITE;
        }
        if ((mine->flags & SQLITE_OPEN_WAL) && cp_log_has_hole(mine, at)) {
            return SQLITE_IOERR_WRITE;
        }
    }
    else if (is_late(mine)) {
        return SQLITE_INTERRUPT;
    }
    rc = mine->real->pMethods->xWrite(mine->real, data, size, at);
    if (rc == SQLITE_OK && mine->database) {
        cp_log_written(mine, data, size, at);
    }
    return rc;
}

static int on_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    return real_of(file)->pMethods->xTruncate(real_of(file), size);
}

static int on_sync(sqlite3_file *file, int flags)
{
    return real_of(file)->pMethods->xSync(real_of(file), flags);
}

static int on_file_size(sqlite3_file *file, sqlite3_int64 *size)
{
    return real_of(file)->pMethods->xFileSize(real_of(file), size);
}

static int on_lock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xLock(real_of(file), level);
}

static int on_unlock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xUnlock(real_of(file), level);
}

static int on_check_lock(sqlite3_file *file, int *is_reserved)
{
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file),
                                                       is_reserved);
}

static int on_control(sqlite3_file *file, int what, void *data)
{
    return real_of(file)->pMethods->xFileControl(real_of(file), what, data);
}

static int on_sector_size(sqlite3_file *file)
{
    return real_of(file)->pMethods->xSectorSize(real_of(file));
}

static int on_device(sqlite3_file *file)
{
    return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}

static int on_index_map(sqlite3_file *file, int region, int size, int extend,
                        void volatile **pplace)
{
    file_t *mine = (file_t *)file;
    int rc = mine->real->pMethods->xShmMap(mine->real, region, size, extend,
                                           pplace);

    if (rc == SQLITE_OK && region == 0) {
        mine->index = *pplace;
    }
    return bounded(rc);
}

static int on_index_lock(sqlite3_file *file, int offset, int count, int flags)
{
    int rc = real_of(file)->pMethods->xShmLock(real_of(file), offset, count,
                                               flags);

    /* For the lock of writers SQLite asks on_busy. */
    return offset == WRITE_LOCK ? rc : bounded(rc);
}

static void on_index_barrier(sqlite3_file *file)
{
    real_of(file)->pMethods->xShmBarrier(real_of(file));
}

static int on_index_unmap(sqlite3_file *file, int is_deleted)
{
    ((file_t *)file)->index = NULL;
    return real_of(file)->pMethods->xShmUnmap(real_of(file), is_deleted);
}

static int on_fetch(sqlite3_file *file, sqlite3_int64 at, int size,
                    void **pplace)
{
    return real_of(file)->pMethods->xFetch(real_of(file), at, size, pplace);
}

static int on_unfetch(sqlite3_file *file, sqlite3_int64 at, void *place)
{
    return real_of(file)->pMethods->xUnfetch(real_of(file), at, place);
}

#define METHODS(version)                                                       \
    {                                                                          \
        version, on_close, on_read, on_write, on_truncate, on_sync,            \
            on_file_size, on_lock, on_unlock, on_check_lock, on_control,       \
            on_sector_size, on_device, on_index_map, on_index_lock,            \
            on_index_barrier, on_index_unmap, on_fetch, on_unfetch             \
    }

/* By what the real file can do. Those without shared memory have none either.
 */
static const sqlite3_io_methods methods[] = {METHODS(1), METHODS(2),
                                             METHODS(3)};
static const sqlite3_io_methods methods_without_index = {
    1,          on_close,       on_read,   on_write,  on_truncate,
    on_sync,    on_file_size,   on_lock,   on_unlock, on_check_lock,
    on_control, on_sector_size, on_device, NULL,      NULL,
    NULL,       NULL,           NULL,      NULL};

static const sqlite3_io_methods *methods_for(const sqlite3_io_methods *real)
{
    if (real->iVersion < 2 || !real->xShmMap) {
        return &methods_without_index;
    }
    return &methods[real->iVersion < 3 || !real->xFetch ? 1 : 2];
}

static int on_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file,
                   int flags, int *pflags)
{
    file_t *mine = (file_t *)file;
    cp_sqlite_identity_t before = {0};
    int is_log = name && (flags & SQLITE_OPEN_WAL);
    int rc;

    memset(mine, 0, sizeof(*mine));
    mine->flags = flags;
    mine->real = (sqlite3_file *)(mine + 1);
    if (is_log) {
        mine->name = name;
        before = cp_sqlite_identify(name);
    }
    rc = real_vfs->xOpen(real_vfs, name, mine->real, flags, pflags);
    if (mine->real->pMethods) {
        mine->base.pMethods = methods_for(mine->real->pMethods);
    }
    if (rc == SQLITE_OK && is_log) {
        /* Of a database that was opened here, too. */
        mine->database = (file_t *)sqlite3_database_file_object(name);
        mine->database->log = mine;
        cp_log_opened(mine, &before);
    }
    return rc;
}

/* --- the rest of a VFS: all of it the real one's --- */

static int on_delete(sqlite3_vfs *vfs, const char *name, int is_synced)
{
    return real_vfs->xDelete(real_vfs, name, is_synced);
}

static int on_access(sqlite3_vfs *vfs, const char *name, int flags,
                     int *presult)
{
    return real_vfs->xAccess(real_vfs, name, flags, presult);
}

static int on_full_path(sqlite3_vfs *vfs, const char *name, int size,
                        char *room)
{
    return real_vfs->xFullPathname(real_vfs, name, size, room);
}

static void *on_dl_open(sqlite3_vfs *vfs, const char *name)
{
    return real_vfs->xDlOpen(real_vfs, name);
}

static void on_dl_error(sqlite3_vfs *vfs, int size, char *room)
{
    real_vfs->xDlError(real_vfs, size, room);
}

typedef void (*symbol_fn)(void);

static symbol_fn on_dl_symbol(sqlite3_vfs *vfs, void *library, const char *name)
{
    return real_vfs->xDlSym(real_vfs, library, name);
}

static void on_dl_close(sqlite3_vfs *vfs, void *library)
{
    real_vfs->xDlClose(real_vfs, library);
}

static int on_randomness(sqlite3_vfs *vfs, int size, char *room)
{
    return real_vfs->xRandomness(real_vfs, size, room);
}

static int on_current_time(sqlite3_vfs *vfs, double *ptime)
{
    return real_vfs->xCurrentTime(real_vfs, ptime);
}

static int on_last_error(sqlite3_vfs *vfs, int size, char *room)
{
    return real_vfs->xGetLastError
               ? real_vfs->xGetLastError(real_vfs, size, room)
               : 0;
}

static int on_current_time_int64(sqlite3_vfs *vfs, sqlite3_int64 *ptime)
{
    return real_vfs->xCurrentTimeInt64(real_vfs, ptime);
}

/* Never taken back: it is a child's, and who walks over SQLite's list while the
 * child ends must still find it there. So it is no part of this file's data. */
static void register_vfs(void)
{
    real_vfs = sqlite3_vfs_find(NULL);
    our_vfs = real_vfs ? malloc(sizeof(*our_vfs) + sizeof(CP_VFS_NAME)) : NULL;
    if (!our_vfs) {
        return;
    }
    *our_vfs = (sqlite3_vfs){
        .iVersion = real_vfs->iVersion < 2 ? 1 : 2,
        .szOsFile = (int)sizeof(file_t) + real_vfs->szOsFile,
        .mxPathname = real_vfs->mxPathname,
        .zName = strcpy((char *)(our_vfs + 1), CP_VFS_NAME),
        .xOpen = on_open,
        .xDelete = on_delete,
        .xAccess = on_access,
        .xFullPathname = on_full_path,
        .xDlOpen = on_dl_open,
        .xDlError = on_dl_error,
        .xDlSym = on_dl_symbol,
        .xDlClose = on_dl_close,
        .xRandomness = on_randomness,
        .xSleep = on_sleep,
        .xCurrentTime = on_current_time,
        .xGetLastError = on_last_error,
        .xCurrentTimeInt64 = on_current_time_int64,
    };
    is_registered = sqlite3_vfs_register(our_vfs, 0) == SQLITE_OK;
}

const char *cp_guard_vfs(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, register_vfs);
    return is_registered ? CP_VFS_NAME : NULL;
}
