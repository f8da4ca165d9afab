/* SPDX-License-Identifier: Apache-2.0
 * Where the values of a configuration come from, for who asks (a dry run): what
 * stands in which line, what the environment has set, what was inherited.
 * Unless somebody begins, nothing is remembered, and nothing is found. */
#ifndef CONNPOOL_ORIGIN_H
#define CONNPOOL_ORIGIN_H

#include "glue.h"

struct connpool_keys_t;

/** Before each reading of the configuration: forget what was remembered, and
 * remember from now on, in p; NULL: nothing. */
void connpool_origins_begin(apr_pool_t *p);

/* --- while it is read --- */

/** A definition, by its words. */
void connpool_origin_line(cmd_parms *cmd, const char *const *words);

/** The tables of the definition's keys and the structs that they fill; ends
 * with {NULL}. */
void connpool_origin_keys(cmd_parms *cmd, const struct connpool_keys_t *keys);

/** A setting's field, which this directive has filled. */
void connpool_origin_field(cmd_parms *cmd, const void *field);

/** A setting's field, which a variable of the environment has filled. */
void connpool_origin_variable(const char *variable, const void *field);

/** Is anything remembered? Requests merge settings, too, and must not pay. */
extern int connpool_origins_kept;

void connpool_origin_keep_merge(const void *merged, const void *base,
                                const void *add);

/** A server's or place's settings that were made of two. */
static inline void connpool_origin_merge(const void *merged, const void *base,
                                         const void *add)
{
    if (connpool_origins_kept) {
        connpool_origin_keep_merge(merged, base, add);
    }
}

/* --- afterwards --- */

typedef enum connpool_origin_kind_t {
    CONNPOOL_FROM_DEFAULT,
    CONNPOOL_FROM_DIRECTIVE,
    CONNPOOL_FROM_ENVIRONMENT,
} connpool_origin_kind_t;

typedef struct connpool_origin_t {
    connpool_origin_kind_t kind;
    const char *where; /**< "FILE:LINE", or the variable; NULL: default */
    const char *name;  /**< of the directive, where another one than expected
                            has set the value; else NULL */
    int is_inherited;  /**< from the main server */
} connpool_origin_t;

/** Of the setting at this offset of a struct of settings. */
connpool_origin_t connpool_origin_of(const void *settings, apr_size_t offset);

#define CONNPOOL_LINE_TABLES 3

/** A line that defines something. */
typedef struct connpool_line_t {
    server_rec *server;
    const ap_directive_t *said;
    const char *directive; /**< its name */
    const char *where;
    const char *const *words; /**< as they stand; ends with NULL */
    struct {
        const struct cp_option_t *options; /**< NULL: no more */
        const void *target;
    } tables[CONNPOOL_LINE_TABLES + 1];
} connpool_line_t;

/** The line of this directive in this server that begins with these words; the
 * second may be NULL. NULL: there is none. */
const connpool_line_t *connpool_origin_find(const server_rec *s,
                                            const char *directive,
                                            const char *first,
                                            const char *second);

/** The value of key= as it was written there, or NULL. */
const char *connpool_line_value(const connpool_line_t *line, const char *key);

/** Where that value came from, if anybody has written it. */
connpool_origin_t connpool_line_origin(const connpool_line_t *line,
                                       const char *key);

#endif
