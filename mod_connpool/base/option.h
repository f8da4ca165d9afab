/* SPDX-License-Identifier: Apache-2.0
 * Tables of what an administrator may write: keys, ranges, defaults, and where
 * each value goes in a struct. Plain data, so that a table may come from a
 * driver in a file of its own. */
#ifndef CP_OPTION_H
#define CP_OPTION_H

#include <apr_general.h>
#include <apr_pools.h>
#include <apr_time.h>

/** A number that nobody wrote. No option may be given this value. */
#define CP_UNSET (-1)

typedef enum cp_option_type_t {
    CP_OPTION_INT,      /**< field: int */
    CP_OPTION_DURATION, /**< field: apr_interval_time_t */
    CP_OPTION_SIZE,     /**< field: apr_int64_t, bytes */
    CP_OPTION_FLAG,     /**< field: int, 0 or 1 */
    CP_OPTION_CHOICE,   /**< field: int, the place in choices */
    CP_OPTION_NAME,     /**< field: const char *, one of choices */
    CP_OPTION_WORD,     /**< field: const char *, as it stands */
    CP_OPTION_FILE,     /**< field: const char *, path of a file */
} cp_option_type_t;

/** One key; a table ends with {NULL}. */
typedef struct cp_option_t {
    const char *key;
    cp_option_type_t type;
    apr_size_t offset;          /**< of the field in the struct */
    apr_int64_t initial;        /**< value when nobody writes it; CP_UNSET: who
                                     owns the struct knows it later. Of a name
                                     its place in choices; word, file: NULL */
    apr_int64_t min, max;       /**< of int, duration (us), size */
    const char *const *choices; /**< of choice, name; ends with NULL */
} cp_option_t;

/* Rows of a table: {CP_INT("max", APR_OFFSETOF(pool_t, max), 10, 1, 1000)}. */
#define CP_INT(key, offset, initial, min, max)                                 \
    key, CP_OPTION_INT, offset, initial, min, max, NULL
#define CP_DURATION(key, offset, initial, min, max)                            \
    key, CP_OPTION_DURATION, offset, initial, min, max, NULL
#define CP_SIZE(key, offset, initial, min, max)                                \
    key, CP_OPTION_SIZE, offset, initial, min, max, NULL
#define CP_FLAG(key, offset, initial)                                          \
    key, CP_OPTION_FLAG, offset, initial, 0, 1, NULL
#define CP_CHOICE(key, offset, initial, choices)                               \
    key, CP_OPTION_CHOICE, offset, initial, 0, 0, choices
#define CP_NAME(key, offset, initial, choices)                                 \
    key, CP_OPTION_NAME, offset, initial, 0, 0, choices
#define CP_WORD(key, offset) key, CP_OPTION_WORD, offset, CP_UNSET, 0, 0, NULL
#define CP_FILE(key, offset) key, CP_OPTION_FILE, offset, CP_UNSET, 0, 0, NULL

/* Units of ranges: a week is for ever. */
#define CP_MILLISECOND apr_time_from_msec(1)
#define CP_SECOND      apr_time_from_sec(1)
#define CP_HOUR        apr_time_from_sec(3600)
#define CP_WEEK        apr_time_from_sec(7 * 24 * 3600)
#define CP_KIB         APR_INT64_C(1024)
#define CP_MIB         (1024 * CP_KIB)
#define CP_GIB         (1024 * CP_MIB)
#define CP_TIB         (1024 * CP_GIB)

/* In all of these target is the struct that the table's offsets are of. */

/** Make each field unset: CP_UNSET, or NULL. */
void cp_options_clear(const cp_option_t *options, void *target);

/** Take from base what is unset in target. */
void cp_options_inherit(const cp_option_t *options, void *target,
                        const void *base);

/** Give what is unset its initial value. */
void cp_options_complete(const cp_option_t *options, void *target);

/** The row of that key, or NULL. */
const cp_option_t *cp_options_find(const cp_option_t *options, const char *key);

/** "max, min, acquire": for messages. */
const char *cp_options_list(apr_pool_t *p, const cp_option_t *options);

/** Write the value that `text` means into the option's field; a file's name
 * goes in as it stands, the caller has looked for it.
 * @return NULL, or a sentence that names the value and what is allowed */
const char *cp_option_set(apr_pool_t *p, const cp_option_t *option,
                          void *target, const char *text);

/** The option's field as an administrator would write it; NULL: it is unset. */
const char *cp_option_show(apr_pool_t *p, const cp_option_t *option,
                           const void *target);

/** The field of an int, a duration (us), a size or a flag.
 * @return 0: it is none of these, or unset */
int cp_option_number(const cp_option_t *option, const void *target,
                     apr_int64_t *pvalue);

#endif
