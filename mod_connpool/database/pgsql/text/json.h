/* SPDX-License-Identifier: Apache-2.0
 * What the server sends as text, as values: numbers exact, JSON and arrays as
 * JSON, times as ISO 8601 has them, bytea as bytes. */
#ifndef CP_PG_JSON_H
#define CP_PG_JSON_H

#include "base/bytes/buffer.h"
#include "database/value.h"

/** Make a value of a column of this type. What cannot stand as it came is
 * written behind scratch, where the value's bytes are then: its data is left to
 * the caller, who knows where the buffer ends up.
 * @return 1: they are, from the scratch's size at the call */
int cp_pg_decode(unsigned oid, const char *text, apr_size_t size,
                 cp_buffer_t *scratch, cp_value_t *value);

#endif
