/* SPDX-License-Identifier: Apache-2.0
 * A write-ahead log that another program cuts, or takes away, while it is in
 * use. The index of the log, in shared memory, says what the log must hold:
 * each generation has a salt of its own, which stands in the log, too. So it
 * can be told which of several files is the log, whatever has become of its
 * name. */
#include "base/log.h"
#include "database/sqlite/guard/file.h"
#include "database/sqlite/guard/guard.h"

#include <stdio.h>
#include <string.h>

#define PATH_ROOM    4096
#define FRAME_HEADER 24 /* bytes before each page in the log */
#define LOG_HEADER   32
#define LOG_SALT     16
#define FRAME_SALT   8 /* in the header of a frame */
#define SALT_SIZE    CP_LOG_SALT_SIZE

/* What the index of the log says, https://sqlite.org/walformat.html */
#define INDEX_IS_INIT  12 /* a byte */
#define INDEX_PAGE     14 /* 16 bits; 1 stands for 64K */
#define INDEX_FRAMES   16 /* 32 bits, in the byte order of this machine */
#define INDEX_COPY     48 /* where all of it stands again */
#define INDEX_SIZE     100
#define INDEX_SALT     32
#define INDEX_BACKFILL 96 /* likewise: how many of them are in the database */

/* --- the index --- */

/* As it is now. */
typedef struct index_t {
    char bytes[INDEX_SIZE];
} index_t;

static uint32_t number_at(const index_t *index, int offset)
{
    uint32_t number;

    memcpy(&number, index->bytes + offset, sizeof(number));
    return number;
}

static uint32_t page_size(const index_t *index)
{
    uint16_t page;

    memcpy(&page, index->bytes + INDEX_PAGE, sizeof(page));
    return (page & 0xfe00U) + ((page & 1U) << 16);
}

/* 0 when there is none, or somebody is writing it: what is told twice differs
 * then. */
static int read_index(const file_t *database, index_t *index)
{
    volatile const char *from = database->index;

    for (int i = 0; from && i < INDEX_SIZE; i++) {
        index->bytes[i] = from[i];
    }
    return from && index->bytes[INDEX_IS_INIT]
           && memcmp(index->bytes, index->bytes + INDEX_COPY, INDEX_COPY) == 0;
}

static sqlite3_int64 end_of_frames(const index_t *index)
{
    return LOG_HEADER
           + (sqlite3_int64)number_at(index, INDEX_FRAMES)
                 * (page_size(index) + FRAME_HEADER);
}

/* Bytes that the log must have, 0 when nothing in it is needed. */
static sqlite3_int64 size_of_log(const index_t *index)
{
    return number_at(index, INDEX_FRAMES) == number_at(index, INDEX_BACKFILL)
               ? 0
               : end_of_frames(index);
}

/* --- which log it is --- */

/* Until it was open it may have been another one, even if there was one
 * before. */
void cp_log_opened(file_t *log, const cp_sqlite_identity_t *before)
{
    cp_sqlite_identity_t now = cp_sqlite_identify(log->name);
    cp_guard_t *guard = cp_guard_current();

    if (!before->is_there || cp_sqlite_is_same(before, &now)) {
        log->identity = now;
    }
    if (guard && strcmp(log->name, guard->common->log_path) == 0) {
        __atomic_store_n(&guard->common->opened_log, now.inode,
                         __ATOMIC_RELAXED);
    }
}

static int is_in_place(const file_t *log)
{
    cp_sqlite_identity_t now = cp_sqlite_identify(log->name);

    return cp_sqlite_is_same(&log->identity, &now);
}

/* Eight bytes of the log that tell its generation from all others. */
static int has_salt(const file_t *log, sqlite3_int64 at, const index_t *index)
{
    char found[SALT_SIZE];

    return log->real->pMethods->xRead(log->real, found, SALT_SIZE, at)
               == SQLITE_OK
           && memcmp(found, index->bytes + INDEX_SALT, SALT_SIZE) == 0;
}

static void know(file_t *log, const char *salt)
{
    memcpy(log->salt, salt, SALT_SIZE);
    log->is_known = 1;
}

/* Is it the log that the index speaks of? Only asked of what was committed: a
 * writer tells the index of a new salt with its first commit. */
static int is_meant(file_t *log, const index_t *index)
{
    const char *salt = index->bytes + INDEX_SALT;

    if (log->is_known && memcmp(log->salt, salt, SALT_SIZE) == 0) {
        return 1;
    }
    if (!has_salt(log, LOG_SALT, index)) {
        return 0;
    }
    know(log, salt);
    return 1;
}

/* --- what is missing --- */

/* What the index speaks of is not in this log. If it was there once, and the
 * log is still the one that others open, it was cut; else that was another log,
 * which somebody may have open. */
static void note_lack(const cp_guard_t *guard, const file_t *log)
{
    if (!guard) {
        return;
    }
    if (log->is_known && is_in_place(log)) {
        cp_guard_note_cut(guard->common);
    }
    else {
        cp_guard_note_lost(guard->common);
    }
}

/* The same eight bytes as in an index that is read whole, and no others being
 * written meanwhile: they need no look at the rest. */
static int is_of_known_generation(const file_t *log)
{
    volatile const char *from = log->database->index + INDEX_SALT;

    for (int i = 0; i < SALT_SIZE; i++) {
        if (from[i] != log->salt[i]) {
            return 0;
        }
    }
    return log->is_known;
}

/* Of pages in frames only: whoever makes the index anew reads all else, and
 * what the index says is of no use then. */
int cp_log_read(file_t *log, int rc, int size, sqlite3_int64 at)
{
    int is_short = rc == SQLITE_IOERR_SHORT_READ;
    index_t index;

    if ((rc != SQLITE_OK && !is_short) || !log->database
        || !log->database->index || size < 512
        || (at - LOG_HEADER) % (size + FRAME_HEADER) != FRAME_HEADER
        || (!is_short && is_of_known_generation(log))
        || !read_index(log->database, &index) || at >= end_of_frames(&index)
        || page_size(&index) != (uint32_t)size) {
        return rc;
    }
    if (!is_meant(log, &index)) {
        note_lack(cp_guard_current(), log);
        return SQLITE_IOERR_READ;
    }
    if (is_short && at < size_of_log(&index)) {
        note_lack(cp_guard_current(), log);
    }
    return rc;
}

void cp_log_written(file_t *log, const void *data, int size, sqlite3_int64 at)
{
    if (at == 0 && size == LOG_HEADER) {
        know(log, (const char *)data + LOG_SALT);
    }
}

/* Pages are always written to the log right behind those that are there. */
int cp_log_has_hole(const file_t *log, sqlite3_int64 at)
{
    sqlite3_int64 size;

    if (log->real->pMethods->xFileSize(log->real, &size) != SQLITE_OK
        || at <= size) {
        return 0;
    }
    note_lack(cp_guard_current(), log);
    return 1;
}

/* Is what the index speaks of there, at its beginning and its end? Somebody may
 * have made the log longer again, or another of it. */
static int is_whole(const index_t *index, file_t *log)
{
    sqlite3_int64 needed = size_of_log(index), size;

    if (needed == 0) {
        return 1;
    }
    return log->real->pMethods->xFileSize(log->real, &size) == SQLITE_OK
           && size >= needed && has_salt(log, LOG_SALT, index)
           && is_meant(log, index)
           && has_salt(log,
                       needed - FRAME_HEADER - page_size(index) + FRAME_SALT,
                       index);
}

/* Not if the index was another one while we looked. */
static int is_lacking(const file_t *database, file_t *log)
{
    index_t before, after;

    return read_index(database, &before) && !is_whole(&before, log)
           && read_index(database, &after)
           && memcmp(&before, &after, INDEX_COPY) == 0;
}

/* --- of a connection --- */

/* NULL: it has none. */
static file_t *log_of(const cp_guard_t *guard)
{
    sqlite3_vfs *vfs = NULL;
    sqlite3_file *file = NULL;

    sqlite3_file_control(guard->handle, "main", SQLITE_FCNTL_VFS_POINTER, &vfs);
    sqlite3_file_control(guard->handle, "main", SQLITE_FCNTL_FILE_POINTER,
                         &file);
    return vfs && strcmp(vfs->zName, CP_VFS_NAME) == 0 && file && file->pMethods
               ? ((file_t *)file)->log
               : NULL;
}

/* Empty: it has none. */
static void index_path(const file_t *log, char path[PATH_ROOM])
{
    size_t size = strlen(log->name);

    *path = '\0';
    if (size > 4 && size < PATH_ROOM) {
        memcpy(path, log->name, size + 1);
        memcpy(path + size - 4, "-shm", 4);
    }
}

/* Within a process all connections to a file share one index, whatever others
 * find at its path by now: only what is mapped tells which it is. */
static int is_index_in_place(const file_t *log)
{
    file_t *database = log->database;
    cp_sqlite_identity_t now;
    char path[PATH_ROOM];

    index_path(log, path);
    now = cp_sqlite_identify(path);
    if (!database->index_identity.is_there && database->index
        && cp_sqlite_is_mapped_from(database->index, path)) {
        database->index_identity = now;
    }
    return !database->index
           || cp_sqlite_is_same(&database->index_identity, &now);
}

int cp_guard_index_is_removed(const cp_guard_t *guard)
{
    const file_t *log = log_of(guard);

    return log && !is_index_in_place(log);
}

int cp_guard_log_is_removed(const cp_guard_t *guard)
{
    const file_t *log = log_of(guard);

    return log && (!is_in_place(log) || !is_index_in_place(log));
}

int cp_guard_log_is_lacking(const cp_guard_t *guard)
{
    file_t *log = log_of(guard);

    if (!log || !is_lacking(log->database, log)) {
        return 0;
    }
    note_lack(guard, log);
    return 1;
}

cp_log_need_t cp_guard_log_need(const cp_guard_t *guard)
{
    file_t *log = log_of(guard);
    char path[PATH_ROOM];
    index_t index;

    if (!log || !log->database->index) {
        return CP_LOG_NOT_NEEDED;
    }
    index_path(log, path);
    if (!is_index_in_place(log) && cp_sqlite_identify(path).is_there) {
        return CP_LOG_UNKNOWN;
    }
    /* Nobody writes it: we have the lock. */
    return read_index(log->database, &index) && size_of_log(&index) > 0
                   && is_whole(&index, log)
               ? CP_LOG_NEEDED
               : CP_LOG_NOT_NEEDED;
}
