/* SPDX-License-Identifier: Apache-2.0 */
#include "answers/shared/key.h"

#include "base/bytes/buffer.h"
#include "base/bytes/hash.h"
#include "database/value.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Each part begins with one of these; then come eight bytes, of a length or of
 * a number, and as many bytes as the length says. */
typedef enum part_t {
    PART_ABSENT = 'a', /* always of length 0 */
    PART_NULL = '0',   /* likewise */
    PART_TEXT = 't',
    PART_BLOB = 'b',
    PART_INTEGER = 'i', /* a number */
    PART_REAL = 'r',    /* likewise: its bits */
    PART_NAME = 'n',
    PART_TYPE = 'T', /* a number */
} part_t;

static void add_head(cp_key_t *key, part_t part, uint64_t number)
{
    char head[9];

    head[0] = (char)part;
    for (int i = 0; i < 8; i++) {
        head[1 + i] = (char)(number >> (8 * i));
    }
    cp_buffer_append(&key->bytes, head, sizeof(head));
}

static void add_bytes(cp_key_t *key, part_t part, const char *data,
                      apr_size_t size)
{
    add_head(key, part, size);
    if (size > 0) {
        cp_buffer_append(&key->bytes, data, size);
    }
}

void cp_key_add_text(cp_key_t *key, const char *text)
{
    if (text) {
        add_bytes(key, PART_TEXT, text, strlen(text));
    }
    else {
        add_head(key, PART_ABSENT, 0);
    }
}

void cp_key_add_number(cp_key_t *key, apr_int64_t number)
{
    add_head(key, PART_INTEGER, (uint64_t)number);
}

static void add_value(cp_key_t *key, const cp_value_t *value)
{
    uint64_t bits;

    switch (value->storage) {
    case CP_NULL:
        add_head(key, PART_NULL, 0);
        break;
    case CP_INTEGER:
        cp_key_add_number(key, value->as.integer);
        break;
    case CP_REAL:
        memcpy(&bits, &value->as.real, sizeof(bits));
        add_head(key, PART_REAL, bits);
        break;
    case CP_TEXT:
    case CP_JSON:
        add_bytes(key, PART_TEXT, value->as.bytes.data, value->as.bytes.size);
        break;
    case CP_BLOB:
        add_bytes(key, PART_BLOB, value->as.bytes.data, value->as.bytes.size);
        break;
    }
}

void cp_key_add_param(cp_key_t *key, const char *name, cp_type_t type,
                      const cp_value_t *value)
{
    add_bytes(key, PART_NAME, name, strlen(name));
    add_head(key, PART_TYPE, type);
    if (value) {
        add_value(key, value);
    }
    else {
        add_head(key, PART_ABSENT, 0);
    }
}

void cp_key_id(const cp_key_t *key, char id[CP_KEY_ID_SIZE])
{
    static const cp_hash_key_t halves[] = {{1, 0}, {2, 0}};
    uint64_t high = cp_hash(halves[0], key->bytes.data, key->bytes.size);
    uint64_t low = cp_hash(halves[1], key->bytes.data, key->bytes.size);

    snprintf(id, CP_KEY_ID_SIZE, "%016llx%016llx", (unsigned long long)high,
             (unsigned long long)low);
}

void cp_key_free(cp_key_t *key)
{
    cp_buffer_free(&key->bytes);
}
