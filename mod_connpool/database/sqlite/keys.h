/* SPDX-License-Identifier: Apache-2.0
 * The keys of ConnPoolDatabase that are SQLite's, beside the struct that they
 * fill: a new one is a member and a row here, and the line that obeys it. */
#ifndef CP_SQLITE_KEYS_H
#define CP_SQLITE_KEYS_H

#include "base/option.h"

#include <apr_general.h>
#include <apr_global_mutex.h>
#include <apr_time.h>

/** What the administrator wrote of a database. Strings are borrowed. */
typedef struct cp_sqlite_config_t {
    const char *name;
    const char *path; /**< absolute */
    int is_readonly;
    int is_immutable;       /**< nobody writes the file: no locks, no log */
    int is_trusted;         /**< its schema may call other modules' functions */
    int foreign_keys;       /**< are enforced */
    int recursive_triggers; /**< a trigger may fire itself */
    int is_grouped; /**< writes of strangers may be committed together */
    apr_interval_time_t busy; /**< wait for locks of other programs */
    apr_int64_t cache;        /**< bytes of page cache per connection */
    const char *synchronous;  /**< "off", "normal", "full" */
    apr_int64_t length;       /**< bytes of the longest value or row */
    int like;                 /**< bytes of the longest LIKE pattern */

    /** One per database file and server, held around every write and every
     * checkpoint; made before the fork. NULL: this process is alone. */
    apr_global_mutex_t *write_lock;
} cp_sqlite_config_t;

/* The driver's; nobody else looks at it. */
static const char *const cp_sqlite_schema_names[] = {"untrusted", "trusted",
                                                     NULL};
static const char *const cp_sqlite_synchronous_names[] = {"off", "normal",
                                                          "full", NULL};

#define CP_SQLITE_FIELD(name) APR_OFFSETOF(cp_sqlite_config_t, name)

static const cp_option_t cp_sqlite_keys[] = {
    {CP_DURATION("busy", CP_SQLITE_FIELD(busy), 5 * CP_SECOND, 0, CP_HOUR)},
    {CP_SIZE("cache", CP_SQLITE_FIELD(cache), 512 * CP_KIB, 16 * CP_KIB,
             CP_GIB)},
    {CP_NAME("synchronous", CP_SQLITE_FIELD(synchronous), 1,
             cp_sqlite_synchronous_names)},
    {CP_FLAG("readonly", CP_SQLITE_FIELD(is_readonly), 0)},
    {CP_FLAG("immutable", CP_SQLITE_FIELD(is_immutable), 0)},
    {CP_CHOICE("schema", CP_SQLITE_FIELD(is_trusted), 0,
               cp_sqlite_schema_names)},
    {CP_FLAG("foreign_keys", CP_SQLITE_FIELD(foreign_keys), 1)},
    {CP_FLAG("recursive_triggers", CP_SQLITE_FIELD(recursive_triggers), 0)},
    {CP_FLAG("group", CP_SQLITE_FIELD(is_grouped), 1)},
    {CP_SIZE("length", CP_SQLITE_FIELD(length), 1000000, CP_KIB, CP_GIB)},
    {CP_INT("like", CP_SQLITE_FIELD(like), 50, 1, 50000)},
    {.key = NULL},
};

#undef CP_SQLITE_FIELD

#endif
