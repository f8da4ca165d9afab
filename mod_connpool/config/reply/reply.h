/* SPDX-License-Identifier: Apache-2.0
 * The keys of ConnPoolQuery that say what becomes of rows, and of what a write
 * has done. */
#ifndef CONNPOOL_REPLY_H
#define CONNPOOL_REPLY_H

#include <apr_tables.h>

#include "answers/format.h"
#include "base/log.h"
#include "base/option.h"

struct cp_sql_shape_t;

typedef struct connpool_reply_t {
    cp_format_t format;
    int is_write;
    apr_array_header_t *json; /* const char *: columns that are JSON, or NULL */
    int has_declared_types;   /* types=declared */
    const char *type;         /* of raw bodies; NULL: a column has it */
    int is_gzip;              /* raw bodies may be stored in gzip */
    int none; /* status where nothing has changed; 0: not said */
    apr_array_header_t *created; /* cp_location_part_t: Location, or NULL */
    unsigned conditions;         /* cp_precondition_t bits: those that
                                    parameters read, by cp_preconditions_read */
    cp_log_limit_t misfits;      /* of this child */
} connpool_reply_t;

/** As they are written. */
typedef struct connpool_reply_options_t {
    const char *json, *type, *created;
    int types, encoding, none;
} connpool_reply_options_t;

extern const cp_option_t connpool_reply_options[];

/** Fill reply, whose format and is_write are set, from the options.
 * @return NULL, or a sentence about *pkey */
const char *connpool_reply_read(apr_pool_t *p,
                                const connpool_reply_options_t *options,
                                connpool_reply_t *reply, const char **pkey);

/** Does it go with this SQL, of a driver that can do so (CP_CAN_ bits)?
 * @return NULL, or a sentence */
const char *connpool_reply_check(apr_pool_t *p, const connpool_reply_t *reply,
                                 const struct cp_sql_shape_t *shape,
                                 unsigned can);

#endif
