/* SPDX-License-Identifier: Apache-2.0
 * What tells one cached or shared answer from all others: parts with their
 * kinds and lengths, so that no two lists of parts make the same bytes. */
#ifndef CP_KEY_H
#define CP_KEY_H

#include "base/bytes/buffer.h"
#include "database/value.h"

/** Begins as {0}; ends with cp_key_free. */
typedef struct cp_key_t {
    cp_buffer_t bytes; /**< the key: compare it whole */
} cp_key_t;

/** Append a part of text: server, name of the query, path, SQL, ... NULL is
 * another part than "". */
void cp_key_add_text(cp_key_t *key, const char *text);

void cp_key_add_number(cp_key_t *key, apr_int64_t number);

/** Append a parameter as it is bound. value NULL: it was not given. */
void cp_key_add_param(cp_key_t *key, const char *name, cp_type_t type,
                      const cp_value_t *value);

/** Hexadecimal digits and the NUL. */
#define CP_KEY_ID_SIZE 33

/** A short name of the key, the same on every machine, for stores that cannot
 * take any bytes. Keys may share one: entries repeat their keys. */
void cp_key_id(const cp_key_t *key, char id[CP_KEY_ID_SIZE]);

void cp_key_free(cp_key_t *key);

#endif
