/* SPDX-License-Identifier: Apache-2.0
 * A growing byte buffer: malloc'd, doubled, owned by its holder. */
#ifndef CP_BUFFER_H
#define CP_BUFFER_H

#include <string.h>

#include <apr.h>

/** Begins as {0}. When memory ends it aborts, as APR does. One whose size a
 * request decides must not: with may_fail it loses what it holds, takes nothing
 * more, and its holder asks has_failed before the bytes are used. */
typedef struct cp_buffer_t {
    char *data;
    apr_size_t size;
    apr_size_t capacity;
    unsigned char may_fail;   /**< set by the holder, who promises to ask */
    unsigned char has_failed; /**< until cp_buffer_free */
} cp_buffer_t;

/** An empty one that may fail. */
#define CP_BUFFER_MAY_FAIL ((cp_buffer_t){.may_fail = 1})

/** For cp_buffer_reserve, when there is no room. */
int cp_buffer_grow(cp_buffer_t *buf, apr_size_t more);

/** Make room for `more` bytes behind size.
 * @return 0: there is none, for want of memory */
static inline int cp_buffer_reserve(cp_buffer_t *buf, apr_size_t more)
{
    return __builtin_expect(buf->capacity - buf->size >= more, 1)
           || cp_buffer_grow(buf, more);
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
static inline void cp_buffer_append(cp_buffer_t *buf, const char *data,
                                    apr_size_t size)
{
    if (size > 0 && cp_buffer_reserve(buf, size)) {
        cp_buffer_put(buf, data, size);
    }
}

/** The same for what others send, who must not end the process.
 * @return 0 without memory: the buffer is as it was */
int cp_buffer_try_append(cp_buffer_t *buf, const char *data, apr_size_t size);

/** Empty it. It may fail as before. */
void cp_buffer_free(cp_buffer_t *buf);

/** Hand the bytes to a new holder; *from is empty then. */
cp_buffer_t cp_buffer_take(cp_buffer_t *from);

#endif
