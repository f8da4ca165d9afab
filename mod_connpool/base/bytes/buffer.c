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

int cp_buffer_grow(cp_buffer_t *buf, apr_size_t more)
{
    if (buf->has_failed) {
        return 0;
    }
    if (extend(buf, more)) {
        return 1;
    }
    if (!buf->may_fail) {
        abort();
    }
    cp_buffer_free(buf);
    buf->has_failed = 1;
    return 0;
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
    *buf = (cp_buffer_t){.may_fail = buf->may_fail};
}

cp_buffer_t cp_buffer_take(cp_buffer_t *from)
{
    cp_buffer_t taken = *from;

    from->data = NULL;
    cp_buffer_free(from);
    return taken;
}
