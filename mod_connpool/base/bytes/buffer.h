/* SPDX-License-Identifier: Apache-2.0
 * A growing byte buffer: malloc'd, doubled, owned by its holder. */
#ifndef CP_BUFFER_H
#define CP_BUFFER_H

#include <string.h>

#include <apr.h>

/** Begins as {0}. */
typedef struct cp_buffer_t {
    char *data;
    apr_size_t size;
    apr_size_t capacity;
} cp_buffer_t;

/** For cp_buffer_reserve, when there is no room. */
void cp_buffer_grow(cp_buffer_t *buf, apr_size_t more);

/** Make room for `more` bytes behind size. Aborts like APR when memory ends. */
static inline void cp_buffer_reserve(cp_buffer_t *buf, apr_size_t more)
{
    if (__builtin_expect(buf->capacity - buf->size < more, 0)) {
        cp_buffer_grow(buf, more);
    }
}

/** Append into room that was reserved. */
static inline void cp_buffer_put(cp_buffer_t *buf, const char *data,
                                 apr_size_t size)
{
    memcpy(buf->data + buf->size, data, size);
    buf->size += size;
}

static inline void cp_buffer_put_char(cp_buffer_t *buf, char c)
{
    buf->data[buf->size++] = c;
}

/** Reserve, and put. */
void cp_buffer_append(cp_buffer_t *buf, const char *data, apr_size_t size);

/** The same for what others send, who must not end the process.
 * @return 0 without memory: the buffer is as it was */
int cp_buffer_try_append(cp_buffer_t *buf, const char *data, apr_size_t size);

void cp_buffer_free(cp_buffer_t *buf);

#endif
