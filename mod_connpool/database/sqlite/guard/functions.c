/* SPDX-License-Identifier: Apache-2.0
 * Functions of SQLite that may take seconds for one call, written anew: they
 * give the same results, take no more than linear time where that is possible,
 * and look at the clock where it is not. SQLite itself looks between two
 * instructions of its virtual machine only. */
#include "database/sqlite/guard/functions.h"

#include <pthread.h>
#include <string.h>

#define SHORT 256 /* bytes in which a plain search is the fastest */

/* --- instr, replace, trim --- */

static int is_inner(unsigned char byte)
{
    return (byte & 0xc0) == 0x80;
}

static sqlite3_int64 count_chars(const unsigned char *text, size_t size)
{
    sqlite3_int64 count = 0;

    for (size_t i = 0; i < size; i++) {
        count += !is_inner(text[i]);
    }
    return count;
}

/* Characters of a text are found where one begins, at the start in any case. */
static sqlite3_int64 place_of(const unsigned char *hay, size_t hay_size,
                              const unsigned char *needle, size_t needle_size,
                              int is_text)
{
    const unsigned char *found;

    if (needle_size > hay_size) {
        return 0;
    }
    if (is_text && is_inner(needle[0])) {
        return memcmp(hay, needle, needle_size) == 0;
    }
    found = memmem(hay, hay_size, needle, needle_size);
    if (!found || found == hay) {
        return found != NULL;
    }
    return 1
           + (is_text ? count_chars(hay + 1, (size_t)(found - hay))
                      : (sqlite3_int64)(found - hay));
}

/* A blob beside a text is taken for one, in a copy: what others see of the
 * value stays as it is. */
static void find_mixed(sqlite3_context *context, sqlite3_value **values)
{
    sqlite3_value *hay = sqlite3_value_dup(values[0]);
    sqlite3_value *needle = sqlite3_value_dup(values[1]);
    const unsigned char *in = hay ? sqlite3_value_text(hay) : NULL;
    const unsigned char *what = needle ? sqlite3_value_text(needle) : NULL;

    if (in && what) {
        sqlite3_result_int64(
            context, place_of(in, (size_t)sqlite3_value_bytes(hay), what,
                              (size_t)sqlite3_value_bytes(needle), 1));
    }
    else {
        sqlite3_result_error_nomem(context);
    }
    sqlite3_value_free(hay);
    sqlite3_value_free(needle);
}

static void run_instr(sqlite3_context *context, int count,
                      sqlite3_value **values)
{
    int types[2] = {sqlite3_value_type(values[0]),
                    sqlite3_value_type(values[1])};
    int are_blobs = types[0] == SQLITE_BLOB && types[1] == SQLITE_BLOB;
    const unsigned char *in, *what;

    if (types[0] == SQLITE_NULL || types[1] == SQLITE_NULL
        || is_late(context)) {
        return;
    }
    if (sqlite3_value_bytes(values[1]) == 0) {
        sqlite3_result_int(context, 1);
        return;
    }
    if (!are_blobs && (types[0] == SQLITE_BLOB || types[1] == SQLITE_BLOB)) {
        find_mixed(context, values);
        return;
    }
    in = are_blobs ? sqlite3_value_blob(values[0])
                   : sqlite3_value_text(values[0]);
    what = are_blobs ? sqlite3_value_blob(values[1])
                     : sqlite3_value_text(values[1]);
    if (!what || (!in && sqlite3_value_bytes(values[0]) > 0)) {
        sqlite3_result_error_nomem(context);
        return;
    }
    sqlite3_result_int64(
        context, place_of(in, (size_t)sqlite3_value_bytes(values[0]), what,
                          (size_t)sqlite3_value_bytes(values[1]), !are_blobs));
}

typedef struct bytes_t {
    const unsigned char *data;
    size_t size;
} bytes_t;

static bytes_t text_of(sqlite3_value *value)
{
    const unsigned char *data = sqlite3_value_text(value);

    return (bytes_t){data, (size_t)sqlite3_value_bytes(value)};
}

/* NULL, with the error set, when it may not be so long. */
static char *make_room(sqlite3_context *context, sqlite3_int64 size)
{
    sqlite3 *handle = sqlite3_context_db_handle(context);
    char *room;

    if (size > sqlite3_limit(handle, SQLITE_LIMIT_LENGTH, -1)) {
        sqlite3_result_error_toobig(context);
        return NULL;
    }
    room = sqlite3_malloc64((sqlite3_uint64)size + 1);
    if (!room) {
        sqlite3_result_error_nomem(context);
    }
    return room;
}

/* In what is short, without memmem's preparations. */
static const unsigned char *find(const unsigned char *from,
                                 const unsigned char *end, bytes_t what)
{
    size_t size = (size_t)(end - from);
    const unsigned char *last;

    if (what.size == 1) {
        return memchr(from, what.data[0], size);
    }
    if (size > SHORT) {
        return memmem(from, size, what.data, what.size);
    }
    if (what.size > size) {
        return NULL;
    }
    last = end - what.size;
    for (; from <= last; from++) {
        from = memchr(from, what.data[0], (size_t)(last - from) + 1);
        if (!from || memcmp(from, what.data, what.size) == 0) {
            return from;
        }
    }
    return NULL;
}

/* What gets longer is counted first: what is too long is never made. */
static void replace_all(sqlite3_context *context, bytes_t in, bytes_t what,
                        bytes_t with)
{
    const unsigned char *end = in.data + in.size, *at = in.data, *found;
    sqlite3_int64 size = (sqlite3_int64)in.size;
    char *out, *to;

    while (with.size > what.size && (found = find(at, end, what)) != NULL) {
        size += (sqlite3_int64)with.size - (sqlite3_int64)what.size;
        at = found + what.size;
    }
    out = to = make_room(context, size);
    if (!out) {
        return;
    }
    for (at = in.data; (found = find(at, end, what)) != NULL;
         at = found + what.size) {
        to = mempcpy(to, at, (size_t)(found - at));
        to = mempcpy(to, with.data, with.size);
    }
    to = mempcpy(to, at, (size_t)(end - at));
    sqlite3_result_text(context, out, (int)(to - out), sqlite3_free);
}

/* What replace() gives for 1 when there is nothing to look for: 1, or, in newer
 * versions, '1'. */
static int keeps_type;

static void decide(void)
{
    sqlite3 *handle = NULL;
    sqlite3_stmt *stmt = NULL;

    if (sqlite3_open(":memory:", &handle) == SQLITE_OK
        && sqlite3_prepare_v2(handle, "SELECT replace(1, '', '')", -1, &stmt,
                              NULL)
               == SQLITE_OK
        && sqlite3_step(stmt) == SQLITE_ROW) {
        keeps_type = sqlite3_column_type(stmt, 0) == SQLITE_INTEGER;
    }
    sqlite3_finalize(stmt);
    sqlite3_close(handle);
}

static void run_replace(sqlite3_context *context, int count,
                        sqlite3_value **values)
{
    bytes_t in = text_of(values[0]), what, with;

    if (!in.data) {
        return;
    }
    what = text_of(values[1]);
    if (!what.data || is_late(context)) {
        return;
    }
    if (what.data[0] == 0) {
        if (keeps_type) {
            sqlite3_result_value(context, values[0]);
        }
        else {
            sqlite3_result_text(context, (const char *)in.data, (int)in.size,
                                SQLITE_TRANSIENT);
        }
        return;
    }
    with = text_of(values[2]);
    if (with.data) {
        replace_all(context, in, what, with);
    }
}

/* Bits of the user data of the trims. */
#define LEFT  1
#define RIGHT 2

/* How many bytes of the text's one side are a character of the set; 0: none
 * are, -1: the time is over. */
static int trim_one(pace_t *pace, bytes_t in, const unsigned char *set,
                    int is_right)
{
    while (*set) {
        const unsigned char *c = set;
        size_t size;

        skip_char(&set);
        size = (size_t)(set - c);
        if (size <= in.size
            && memcmp(is_right ? in.data + in.size - size : in.data, c, size)
                   == 0) {
            return (int)size;
        }
        if (step_over(pace)) {
            return -1;
        }
    }
    return 0;
}

static void run_trim(sqlite3_context *context, int count,
                     sqlite3_value **values)
{
    int sides = (int)(intptr_t)sqlite3_user_data(context);
    const unsigned char *set = (const unsigned char *)" ";
    pace_t pace = pace_of(context);
    bytes_t in = text_of(values[0]);
    int size = 0;

    if (!in.data || sqlite3_value_type(values[0]) == SQLITE_NULL) {
        return;
    }
    if (count == 2 && !(set = sqlite3_value_text(values[1]))) {
        return;
    }
    while ((sides & LEFT) && in.size > 0
           && (size = trim_one(&pace, in, set, 0)) > 0) {
        in.data += size;
        in.size -= (size_t)size;
    }
    while (size >= 0 && (sides & RIGHT) && in.size > 0
           && (size = trim_one(&pace, in, set, 1)) > 0) {
        in.size -= (size_t)size;
    }
    if (size >= 0) {
        sqlite3_result_text(context, (const char *)in.data, (int)in.size,
                            SQLITE_TRANSIENT);
    }
}

/* --- what is quick, unless a statement calls it a hundred times --- */

static void run_hex(sqlite3_context *context, int count, sqlite3_value **values)
{
    static const char digits[] = "0123456789ABCDEF";
    const unsigned char *data = sqlite3_value_blob(values[0]);
    int size = sqlite3_value_bytes(values[0]);
    char *out = is_late(context) ? NULL
                                 : make_room(context, (sqlite3_int64)size * 2);

    if (!out) {
        return;
    }
    for (int i = 0; i < size; i++) {
        out[2 * i] = digits[data[i] >> 4];
        out[2 * i + 1] = digits[data[i] & 15];
    }
    sqlite3_result_text(context, out, 2 * size, sqlite3_free);
}

/* The user data: the first letter of those that are changed. */
static void run_case(sqlite3_context *context, int count,
                     sqlite3_value **values)
{
    unsigned char first = (unsigned char)(intptr_t)sqlite3_user_data(context);
    bytes_t in = text_of(values[0]);
    char *out;

    if (!in.data || is_late(context)) {
        return;
    }
    out = make_room(context, (sqlite3_int64)in.size);
    if (!out) {
        return;
    }
    for (size_t i = 0; i < in.size; i++) {
        unsigned char c = in.data[i];

        out[i] = (char)((unsigned char)(c - first) < 26 ? c ^ 0x20 : c);
    }
    sqlite3_result_text(context, out, (int)in.size, sqlite3_free);
}

/* --- their registration --- */

typedef struct function_t {
    const char *name;
    int count; /* of arguments */
    intptr_t data;
    void (*run)(sqlite3_context *context, int count, sqlite3_value **values);
} function_t;

static const function_t functions[] = {
    {"instr", 2, 0, run_instr},    {"replace", 3, 0, run_replace},
    {"trim", 1, 3, run_trim},      {"trim", 2, 3, run_trim},
    {"ltrim", 1, LEFT, run_trim},  {"ltrim", 2, LEFT, run_trim},
    {"rtrim", 1, RIGHT, run_trim}, {"rtrim", 2, RIGHT, run_trim},
    {"hex", 1, 0, run_hex},        {"upper", 1, 'a', run_case},
    {"lower", 1, 'A', run_case},
};

int cp_guard_add_functions(sqlite3 *handle)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    int rc = SQLITE_OK;

    pthread_once(&once, decide);
    for (size_t i = 0;
         i < sizeof(functions) / sizeof(functions[0]) && rc == SQLITE_OK; i++) {
        rc = cp_function_add(handle, functions[i].name, functions[i].count,
                             (const void *)functions[i].data, functions[i].run);
    }
    if (rc == SQLITE_OK) {
        rc = cp_guard_add_patch(handle);
    }
    return rc == SQLITE_OK ? cp_guard_add_like(handle) : rc;
}
