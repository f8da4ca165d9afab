/* SPDX-License-Identifier: Apache-2.0
 * From SQLite's result codes to classes, causes, and lines for the log. */
#include "base/bytes/utf8.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "database/sqlite/connection.h"
#include "database/sqlite/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <apr_lib.h>
#include <apr_strings.h>

#define MESSAGE_SHOWN 120 /* bytes of SQLite's message in the log */
#define RAISED_SHOWN  200 /* bytes of what a trigger says to clients */

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

typedef struct outcome_t {
    int code; /* primary, or an extended one, which goes first */
    cp_error_class_t cls;
    const char *cause;
    int is_broken; /* this connection must not be reused */
} outcome_t;

static const outcome_t outcomes[] = {
    {SQLITE_CORRUPT_VTAB, CP_ERR_STORAGE,
     "an index of a virtual table does not match its data", 0},
    {SQLITE_READONLY_ROLLBACK, CP_ERR_STORAGE,
     "a write that was interrupted must be undone first", 1},
    {SQLITE_IOERR_GETTEMPPATH, CP_ERR_STORAGE,
     "there is no room for temporary files", 0},
    {SQLITE_BUSY, CP_ERR_STORAGE, "the database is locked by another program",
     0},
    {SQLITE_LOCKED, CP_ERR_STORAGE, "the database is locked", 0},
    {SQLITE_INTERRUPT, CP_ERR_DEADLINE, "the query took longer than its limit",
     0},
    {SQLITE_CONSTRAINT, CP_ERR_INPUT,
     "the values violate a constraint of the database", 0},
    {SQLITE_MISMATCH, CP_ERR_INPUT, "a value has the wrong type", 0},
    {SQLITE_TOOBIG, CP_ERR_SIZE, "a value is too large", 0},
    {SQLITE_RANGE, CP_ERR_INTERNAL, "a parameter does not exist", 0},
    {SQLITE_CORRUPT, CP_ERR_STORAGE, "the database file is damaged", 1},
    {SQLITE_NOTADB, CP_ERR_STORAGE, "the file is not a database", 1},
    {SQLITE_CANTOPEN, CP_ERR_STORAGE, "the database cannot be opened", 1},
    {SQLITE_FULL, CP_ERR_STORAGE, "the disk is full", 0},
    {SQLITE_READONLY, CP_ERR_STORAGE, "the database cannot be written", 1},
    {SQLITE_PERM, CP_ERR_STORAGE, "the database may not be accessed", 1},
    {SQLITE_IOERR, CP_ERR_STORAGE, "the disk failed", 1},
    {SQLITE_PROTOCOL, CP_ERR_STORAGE, "the database is locked", 1},
    {SQLITE_SCHEMA, CP_ERR_STORAGE, "the schema changed", 0},
    {SQLITE_NOMEM, CP_ERR_MEMORY, "out of memory", 1},
    {SQLITE_AUTH, CP_ERR_REFUSED, "the query does what is not allowed", 0},
    {SQLITE_ERROR, CP_ERR_INPUT, "the database refused the values", 0},
};

/* Nobody would look for it: another module has bounded SQLite's memory. Said
 * once for each bound. */
static void tell_heap_limit(void)
{
    static sqlite3_int64 told; /* atomic */
    sqlite3_int64 limit = sqlite3_hard_heap_limit64(-1);

    if (limit > 0
        && __atomic_exchange_n(&told, limit, __ATOMIC_RELAXED) != limit) {
        cp_log(CP_LOG_MARK, CP_LOG_WARNING, 0,
               "SQLite is out of memory: another module of this process has "
               "set a hard heap limit (sqlite3_hard_heap_limit64, PRAGMA "
               "hard_heap_limit) of %lld bytes for all of it, and %lld are in "
               "use; queries are answered 503 until it is raised or removed",
               (long long)limit, (long long)sqlite3_memory_used());
    }
}

static outcome_t outcome_of(int rc)
{
    static const outcome_t other = {0, CP_ERR_INTERNAL, "the database failed",
                                    1};

    for (size_t i = 0; i < COUNT(outcomes); i++) {
        if (outcomes[i].code == rc) {
            return outcomes[i];
        }
    }
    for (size_t i = 0; i < COUNT(outcomes); i++) {
        if (outcomes[i].code == (rc & 0xff)) {
            return outcomes[i];
        }
    }
    return other;
}

/* SQLite's messages quote values: as much of them as helps, and nothing that a
 * terminal would obey. Cut between characters. */
static void show(char *to, size_t size, const char *text, size_t most)
{
    size_t length = strlen(text), used = 0;

    for (size_t i = 0; i < length && i < most && used + 4 < size; i++) {
        to[used++] = apr_iscntrl(text[i]) ? '?' : text[i];
    }
    if (length > used) {
        while (used > 0 && ((unsigned char)text[used] & 0xc0) == 0x80) {
            used--;
        }
        memcpy(to + used, "...", 3);
        used += 3;
    }
    to[used] = '\0';
    if (!cp_utf8_is_valid(to, used)) {
        for (size_t i = 0; i < used; i++) {
            to[i] = (unsigned char)to[i] < 0x80 ? to[i] : '?';
        }
    }
}

/* --- constraints --- */

typedef struct violation_t {
    int code; /* extended */
    cp_error_class_t cls;
    const char *constraint;
    const char *cause;
    const char *before; /* the subject, in SQLite's message; NULL: no subject */
} violation_t;

#define VIOLATES "the values violate a constraint of the database: "

static const violation_t violations[] = {
    {SQLITE_CONSTRAINT_UNIQUE, CP_ERR_CONFLICT, "unique",
     VIOLATES "there is a row like this already", "UNIQUE constraint failed: "},
    {SQLITE_CONSTRAINT_PRIMARYKEY, CP_ERR_CONFLICT, "primary_key",
     VIOLATES "there is a row like this already", "UNIQUE constraint failed: "},
    {SQLITE_CONSTRAINT_ROWID, CP_ERR_CONFLICT, "primary_key",
     VIOLATES "there is a row like this already", "UNIQUE constraint failed: "},
    {SQLITE_CONSTRAINT_FOREIGNKEY, CP_ERR_CONFLICT, "foreign_key",
     VIOLATES "a row that others refer to would be missing", NULL},
    {SQLITE_CONSTRAINT_NOTNULL, CP_ERR_INPUT, "not_null",
     VIOLATES "a value is missing", "NOT NULL constraint failed: "},
    {SQLITE_CONSTRAINT_CHECK, CP_ERR_INPUT, "check",
     VIOLATES "a value is not allowed", "CHECK constraint failed: "},
#ifdef SQLITE_CONSTRAINT_DATATYPE /* 3.37 */
    {SQLITE_CONSTRAINT_DATATYPE, CP_ERR_INPUT, "datatype",
     VIOLATES "a value has the wrong type", " column "},
#endif
    {SQLITE_CONSTRAINT_TRIGGER, CP_ERR_INPUT, "trigger",
     "the values violate a constraint of the database", NULL},
};

/* Virtual tables have no codes of their own, but messages. */
static const violation_t virtual_violations[] = {
    {SQLITE_CONSTRAINT, CP_ERR_CONFLICT, "unique",
     VIOLATES "there is a row like this already", "UNIQUE constraint failed: "},
    {SQLITE_CONSTRAINT, CP_ERR_CONFLICT, "primary_key",
     VIOLATES "there is a row like this already", "constraint failed"},
    {SQLITE_CONSTRAINT, CP_ERR_INPUT, "check",
     VIOLATES "a value is not allowed", "rtree constraint failed: "},
};

static const violation_t *violation_of(int rc, const char *message)
{
    for (size_t i = 0; i < COUNT(violations); i++) {
        if (violations[i].code == rc) {
            return &violations[i];
        }
    }
    for (size_t i = 0; i < COUNT(virtual_violations); i++) {
        const char *before = virtual_violations[i].before;

        if (strncmp(message, before, strlen(before)) == 0) {
            return &virtual_violations[i];
        }
    }
    return NULL;
}

/* A constraint without a name is called by its SQL, which is nobody's
 * business. */
static int is_plain_name(const char *text)
{
    if (!*text) {
        return 0;
    }
    for (; *text; text++) {
        if ((unsigned char)*text < 0x80 && !apr_isalnum(*text)
            && !strchr("_-", *text)) {
            return 0;
        }
    }
    return 1;
}

/* "item.email, item.tenant" as it stands; of "index 'item_lower'" the name. */
static void set_subject(cp_error_t *err, const violation_t *violation,
                        const char *message)
{
    const char *subject = violation->before ? strstr(message, violation->before)
                                            : NULL;
    size_t size;

    if (!subject) {
        return;
    }
    subject += strlen(violation->before);
    size = strlen(subject);
    if (size >= sizeof(err->subject)) {
        return; /* half of a name is none */
    }
    memcpy(err->subject, subject, size + 1);
    if (strncmp(subject, "index '", 7) == 0 && subject[size - 1] == '\'') {
        memmove(err->subject, err->subject + 7, size - 8);
        err->subject[size - 8] = '\0';
    }
    if (strcmp(violation->constraint, "check") == 0
        && !is_plain_name(err->subject)) {
        err->subject[0] = '\0';
    }
}

static void explain_violation(cp_error_t *err, int rc, const char *message)
{
    const violation_t *violation = violation_of(rc, message);

    err->constraint = "other";
    if (!violation) {
        return;
    }
    err->cls = violation->cls;
    err->cause = violation->cause;
    err->constraint = violation->constraint;
    set_subject(err, violation, message);
    if (violation->code == SQLITE_CONSTRAINT_TRIGGER) {
        show(err->message, sizeof(err->message), message, RAISED_SHOWN);
    }
}

/* --- damage --- */

/* SQLite calls a schema malformed that asks for what this library does not
 * have: a function, a module, syntax of a later version. The file is sound. */
static int is_foreign_schema(int rc, const char *message)
{
    static const char *const damages[] = {"invalid rootpage", "orphan index",
                                          NULL};
    const char *reason;

    if ((rc & 0xff) != SQLITE_CORRUPT
        || strncmp(message, "malformed database schema", 25) != 0) {
        return 0;
    }
    reason = strstr(message, ") - ");
    for (const char *const *damage = damages; reason && *damage; damage++) {
        if (strncmp(reason + 4, *damage, strlen(*damage)) == 0) {
            return 0;
        }
    }
    return reason != NULL;
}

/* --- hints --- */

/* Where SQLite looks for a directory for temporary files, in its order. */
static const char *temporary_directory(void)
{
    const char *const places[] = {sqlite3_temp_directory,
                                  getenv("SQLITE_TMPDIR"),
                                  getenv("TMPDIR"),
                                  "/var/tmp",
                                  "/usr/tmp",
                                  "/tmp",
                                  "."};

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        if (places[i] && access(places[i], W_OK | X_OK) == 0) {
            return places[i];
        }
    }
    return NULL;
}

/* Could it be the directory for temporary files that is full or closed? What
 * only reads fills no other. */
static int is_about_temporary(const cp_sqlite_conn_t *conn, int rc, int is_run)
{
    if (rc == SQLITE_IOERR_GETTEMPPATH) {
        return 1;
    }
    return is_run
           && ((rc & 0xff) == SQLITE_FULL || (rc & 0xff) == SQLITE_CANTOPEN
               || rc == SQLITE_IOERR_WRITE || rc == SQLITE_IOERR_FSTAT
               || rc == SQLITE_IOERR_TRUNCATE);
}

static void hint_temporary(const cp_sqlite_conn_t *conn, int rc,
                           cp_error_t *err, char *hint, size_t size)
{
    const char *place = temporary_directory();
    int is_writing = conn->handle && !sqlite3_get_autocommit(conn->handle);

    apr_snprintf(hint, size,
                 place ? "; its temporary files go to %s (SQLITE_TMPDIR, "
                         "TMPDIR)"
                       : "; there is no directory for its temporary files%s: "
                         "set SQLITE_TMPDIR",
                 place ? place : "");
    if (!is_writing) {
        err->cause = "there is no room for temporary files";
    }
}

/* The log's index must be made, or at least be written, even to read. */
static int cannot_join_log(const cp_sqlite_conn_t *conn, int rc)
{
    const cp_sqlite_config_t *config = &conn->db->config;

    if (conn->is_writer || config->is_immutable
        || access(config->path, R_OK) != 0) {
        return 0;
    }
    return rc == SQLITE_READONLY_DIRECTORY || rc == SQLITE_READONLY_CANTINIT
           || rc == SQLITE_READONLY_RECOVERY
           || ((rc & 0xff) == SQLITE_CANTOPEN
               && cp_sqlite_why_unwritable(config->path) != 0);
}

/* A reference to a table or key that is not there; harmless to programs that
 * enforce none. A query itself asks for tables without "main". */
static int is_bad_reference(const cp_sqlite_conn_t *conn)
{
    const char *message = sqlite3_errmsg(conn->handle);

    return conn->db->config.foreign_keys
           && (strncmp(message, "foreign key mismatch", 20) == 0
               || strncmp(message, "no such table: main.", 20) == 0);
}

static void hint_at(cp_sqlite_conn_t *conn, int rc, int is_run, cp_error_t *err,
                    char *hint, size_t size)
{
    int primary = rc & 0xff;

    if (is_about_temporary(conn, rc, is_run)) {
        hint_temporary(conn, rc, err, hint, size);
    }
    else if (cannot_join_log(conn, rc)) {
        err->cause = "the database cannot be opened";
        apr_snprintf(hint, size,
                     "; a file in WAL mode is read through a log beside it, "
                     "which uid %d cannot make: if nobody writes the file, "
                     "declare it immutable=on",
                     (int)geteuid());
    }
    else if (conn->has_refused) {
        apr_cpystrn(hint,
                    "; a function of another module, which schema=trusted "
                    "would admit",
                    size);
    }
    else if (is_bad_reference(conn)) {
        apr_cpystrn(hint,
                    "; foreign_keys=off would leave the schema's references "
                    "alone",
                    size);
    }
    else if (primary == SQLITE_CORRUPT && err->cls == CP_ERR_STORAGE
             && !conn->is_broken) {
        apr_snprintf(hint, size, "; SQLite %s lacks what the schema asks for",
                     sqlite3_libversion());
    }
}

int cp_sqlite_why_unwritable(const char *path)
{
    char directory[APR_PATH_MAX];
    char *slash;

    errno = 0;
    if (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) != 0) {
        return errno;
    }
    apr_cpystrn(directory, path, sizeof(directory));
    slash = strrchr(directory, '/');
    if (slash) {
        *(slash == directory ? slash + 1 : slash) = '\0';
    }
    return faccessat(AT_FDCWD, slash ? directory : ".", W_OK | X_OK, AT_EACCESS)
                   != 0
               ? errno
               : 0;
}

/* The system's reason, where there is one. */
static const char *system_reason(const cp_sqlite_conn_t *conn, int rc)
{
    int primary = rc & 0xff;
    int error = conn->system_error;

    if (primary == SQLITE_READONLY || primary == SQLITE_PERM) {
        /* SQLite has forgotten it. */
        error = cp_sqlite_why_unwritable(conn->db->config.path);
    }
    else if (primary != SQLITE_CANTOPEN && primary != SQLITE_IOERR) {
        return NULL;
    }
    else if (error == 0 && conn->handle) {
        error = sqlite3_system_errno(conn->handle);
    }
    return error ? strerror(error) : NULL;
}

/* --- the error --- */

/* Three words of the message that the cause has as well: it says nothing more.
 */
static int says_the_same(const char *cause, const char *message)
{
    char three[MESSAGE_SHOWN + 1];

    for (const char *at = message; *at;) {
        const char *end = at;
        const char *next = strchr(at, ' ');

        for (int words = 0; words < 3 && end; words++) {
            end = strchr(end + (words > 0), ' ');
            if (!end && words == 2) {
                end = at + strlen(at);
            }
        }
        if (end && (size_t)(end - at) < sizeof(three)) {
            apr_cpystrn(three, at, (size_t)(end - at) + 1);
            if (strcasestr(cause, three)) {
                return 1;
            }
        }
        at = next ? next + 1 : at + strlen(at);
    }
    return 0;
}

static apr_status_t fail(cp_sqlite_conn_t *conn, int rc, const char *doing,
                         int is_run, cp_error_t *err)
{
    /* Of that speaks whoever opens. */
    int is_opening = strcmp(doing, "open") == 0;
    const cp_sqlite_config_t *config = &conn->db->config;
    const char *message = conn->handle ? sqlite3_errmsg(conn->handle)
                                       : sqlite3_errstr(rc);
    const char *reason = system_reason(conn, rc);
    outcome_t outcome = outcome_of(rc);
    char shown[MESSAGE_SHOWN + 8], hint[200] = "";

    if (outcome.cls == CP_ERR_DEADLINE && cp_sqlite_is_stopping(conn->db)) {
        outcome.cls = CP_ERR_CANCELLED;
        outcome.cause = "the server is stopping";
    }
    else if (outcome.cls == CP_ERR_DEADLINE && conn->guard.is_abandoned) {
        outcome.cls = CP_ERR_CANCELLED;
        outcome.cause = "nobody waits for the answer";
    }
    if (is_foreign_schema(rc, message)) {
        outcome.cause = "the schema asks for what this SQLite does not have";
        outcome.is_broken = 0;
    }
    if ((rc & 0xff) == SQLITE_IOERR && conn->db->guarded.is_log_cut) {
        outcome.cause = CP_SQLITE_LOG_CUT;
        outcome.is_broken = 0;
    }
    else if ((rc & 0xff) == SQLITE_IOERR && conn->db->guarded.is_log_lost) {
        outcome.cause = CP_SQLITE_LOG_LOST;
    }
    conn->is_broken |= outcome.is_broken || conn->guard.is_spoilt;
    if ((rc & 0xff) == SQLITE_NOMEM) {
        tell_heap_limit();
    }
    cp_error_set(err, outcome.cls, APR_EGENERAL, outcome.cause, "%s", "");
    if ((rc & 0xff) == SQLITE_CONSTRAINT) {
        explain_violation(err, rc, message);
    }
    hint_at(conn, rc, is_run, err, hint, sizeof(hint));
    show(shown, sizeof(shown),
         says_the_same(err->cause, message) ? "" : message, MESSAGE_SHOWN);
    apr_snprintf(err->detail, sizeof(err->detail),
                 "database '%s'%s%s%s%s%s%s (SQLite %d, %s)%s", config->name,
                 is_opening ? "" : ": cannot ", is_opening ? "" : doing,
                 *shown ? ": " : "", shown, reason ? ": " : "",
                 reason ? reason : "", rc, config->path, hint);
    return APR_EGENERAL;
}

apr_status_t cp_sqlite_fail(cp_sqlite_conn_t *conn, int rc, const char *doing,
                            cp_error_t *err)
{
    return fail(conn, rc, doing, 0, err);
}

apr_status_t cp_sqlite_fail_run(cp_sqlite_conn_t *conn, int rc, cp_error_t *err)
{
    return fail(conn, rc, "run", 1, err);
}

int cp_sqlite_is_late(cp_sqlite_conn_t *conn, int rc, cp_error_t *err)
{
    if (conn->is_broken || !cp_guard_is_over(&conn->guard, cp_clock_now())
        || conn->guard.is_abandoned || cp_sqlite_is_stopping(conn->db)) {
        return 0;
    }
    if ((rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED) {
        return 0; /* it has given up in time */
    }
    err->cls = CP_ERR_DEADLINE;
    err->cause = "the query took longer than its limit";
    err->constraint = NULL;
    return 1;
}

apr_status_t cp_sqlite_fail_late(cp_sqlite_conn_t *conn, int rc,
                                 const char *doing, cp_error_t *err)
{
    apr_status_t rv = cp_sqlite_fail(conn, rc, doing, err);

    cp_sqlite_is_late(conn, rc, err);
    return rv;
}
