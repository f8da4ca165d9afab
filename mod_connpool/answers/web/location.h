/* SPDX-License-Identifier: Apache-2.0
 * Where a new thing is found: templates of Location, "/events/{id}". */
#ifndef CP_LOCATION_H
#define CP_LOCATION_H

#include <apr_pools.h>
#include <apr_tables.h>

#include "database/value.h"

/** What stands in braces. */
typedef enum cp_location_kind_t {
    CP_LOCATION_TEXT,    /**< outside of them: as it is */
    CP_LOCATION_ROWID,   /**< {last_insert_rowid} */
    CP_LOCATION_CHANGES, /**< {changes} */
    CP_LOCATION_PARAM,   /**< {:name} */
    CP_LOCATION_COLUMN,  /**< {name}, of the first row that RETURNING gives */
} cp_location_kind_t;

typedef struct cp_location_part_t {
    cp_location_kind_t kind;
    const char *text; /**< the name, without colon */
} cp_location_part_t;

/** Take a template apart: a path with no other characters than a URL has.
 * @param pparts cp_location_part_t
 * @return NULL, or a sentence */
const char *cp_location_parse(apr_pool_t *p, const char *text,
                              apr_array_header_t **pparts);

/** The value of a part that is not text, or NULL. */
typedef const cp_value_t *(*cp_location_value_fn)(
    void *baton, const cp_location_part_t *part);

/** The path with its values percent-encoded.
 * @return NULL: one of them is not there, or cannot stand in a path: NULL, an
 * empty value, "." or "..", more than headers hold */
const char *cp_location_fill(apr_pool_t *p, const apr_array_header_t *parts,
                             cp_location_value_fn value, void *baton);

#endif
