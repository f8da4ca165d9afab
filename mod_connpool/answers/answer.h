/* SPDX-License-Identifier: Apache-2.0
 * A whole answer in memory: what batches carry, waiters share, caches keep. */
#ifndef CP_ANSWER_H
#define CP_ANSWER_H

#include <apr_time.h>

#include "base/bytes/buffer.h"

/** Made by one thread, and not changed any more once a second one knows it.
 * Freed with its last reference. Bound to no pool. */
typedef struct cp_answer_t cp_answer_t;
struct cp_answer_t {
    int refs; /* atomic */
    int status;
    apr_time_t made_at;  /**< wall clock, not after its data were read */
    cp_buffer_t headers; /**< name NUL value NUL ... */
    cp_buffer_t body;
    int is_terminated; /**< a NUL stands behind the body */
    /** Told before it is freed, by whoever drops the last reference; NULL:
     * nobody wants to know. */
    void (*on_free)(cp_answer_t *answer);
};

/** Without headers and body, which may fail (see cp_buffer_t); the caller has
 * the one reference.
 * @return NULL: no memory */
cp_answer_t *cp_answer_create(int status);

/** 1 if memory has ended for some of it: nobody else may get to know it. */
int cp_answer_has_failed(const cp_answer_t *answer);

void cp_answer_ref(cp_answer_t *answer);

/** NULL is ignored. */
void cp_answer_unref(cp_answer_t *answer);

/** Append a header. It may be there already: both stay, in order. */
void cp_answer_add(cp_answer_t *answer, const char *name, const char *value);

/** The body is complete: put a NUL behind it, for who takes it for a string, if
 * there is room without asking for more. */
void cp_answer_terminate(cp_answer_t *answer);

/** The first of that name, whatever its case, or NULL. */
const char *cp_answer_header(const cp_answer_t *answer, const char *name);

/** Walk over all headers in order. */
typedef void (*cp_answer_header_fn)(const char *name, const char *value,
                                    void *baton);
void cp_answer_each(const cp_answer_t *answer, cp_answer_header_fn fn,
                    void *baton);

#endif
