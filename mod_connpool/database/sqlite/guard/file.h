/* SPDX-License-Identifier: Apache-2.0
 * A file that a connection has open, and what is known of a write-ahead log. */
#ifndef CP_SQLITE_FILE_H
#define CP_SQLITE_FILE_H

#include <sqlite3.h>

#include "database/sqlite/guard/identity.h"

#define CP_VFS_NAME      "connpool" /* of the VFS that opens them */
#define CP_LOG_SALT_SIZE 8

/* One thread at a time works with it: its connection's. */
typedef struct file_t {
    sqlite3_file base;
    int flags;                  /* it was opened with */
    struct file_t *log;         /* of a database: NULL: it has none open */
    struct file_t *database;    /* of a log: whose it is */
    volatile const char *index; /* of a database: of its log; NULL: not known */
    cp_sqlite_identity_t index_identity; /* of a database: likewise; not there:
                                            not asked for yet */
    const char *name;                    /* of a log */
    cp_sqlite_identity_t identity; /* of a log; not there: not known for sure */
    char salt[CP_LOG_SALT_SIZE];   /* of a log: the index spoke of it last */
    int is_known;                  /* salt is set */
    sqlite3_file *real;            /* behind this struct */
} file_t;

static inline sqlite3_file *real_of(sqlite3_file *file)
{
    return ((file_t *)file)->real;
}

/* --- logs (log.c) --- */

/* Around the opening of a log: which file is it? */
void cp_log_opened(file_t *log, const cp_sqlite_identity_t *before);

/* Result of a read of so much from there, that of the real file being rc: an
 * error if the log is not the one that the index speaks of. */
int cp_log_read(file_t *log, int rc, int size, sqlite3_int64 at);

/* After that was written. */
void cp_log_written(file_t *log, const void *data, int size, sqlite3_int64 at);

/* Would a write there leave a hole, since somebody has cut the log? */
int cp_log_has_hole(const file_t *log, sqlite3_int64 at);

#endif
