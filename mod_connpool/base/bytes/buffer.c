/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes/buffer.h"

#include <stdlib.h>

/* malloc keeps such pieces ready for each thread. */
#define BUFFER_MIN 1024

static int extend(cp_buffer_t *buf, apr_size_t more)
{
    apr_size_t needed, capacity = buf->capacity ? buf->capacity : BUFFER_MIN;
    char *grown;

    if (__builtin_add_overflow(buf->size, more, &needed)) {
        return 0;
    }
    while (capacity < needed
           && !__builtin_mul_overflow(capacity, 2, &capacity)) {
    }
    if (capacity < needed) {
        return 0;
    }
    grown = realloc(buf->data, capacity);
    if (!grown) {
        return 0;
    }
    buf->data = grown;
    buf->capacity = capacity;
    return 1;
}

void cp_buffer_grow(cp_buffer_t *buf, apr_size_t more)
{
    if (!extend(buf, more)) {
        abort();
    }
}

void cp_buffer_append(cp_buffer_t *buf, const char *data, apr_size_t size)
{
    if (size > 0) {
        cp_buffer_reserve(buf, size);
        cp_buffer_put(buf, data, size);
    }
}

int cp_buffer_try_append(cp_buffer_t *buf, const char *data, apr_size_t size)
{
    if (buf->capacity - buf->size < size && !extend(buf, size)) {
        return 0;
    }
    if (size > 0) {
        cp_buffer_put(buf, data, size);
    }
    return 1;
}

void cp_buffer_free(cp_buffer_t *buf)
{
    free(buf->data);
    memset(buf, 0, sizeof(*buf));
}
