/* SPDX-License-Identifier: Apache-2.0
 * Members of the JSON objects that reports are made of. */
#ifndef CP_PUT_H
#define CP_PUT_H

#include <stdint.h>

#include "base/bytes/buffer.h"

/** Text as it is. */
void connpool_json_put(cp_buffer_t *buf, const char *text);

/** A member's comma belongs to the one that follows: `separator` is "" for the
 * first, "," or ",\n" for the others. */
void connpool_json_key(cp_buffer_t *buf, const char *separator,
                       const char *key);
void connpool_json_text(cp_buffer_t *buf, const char *separator,
                        const char *key, const char *value);
void connpool_json_number(cp_buffer_t *buf, const char *separator,
                          const char *key, uint64_t value);
void connpool_json_boolean(cp_buffer_t *buf, const char *separator,
                           const char *key, int value);

#endif
