/* SPDX-License-Identifier: Apache-2.0
 * An answer as bytes, for stores that others can write to as well: whatever is
 * not exactly what was put in is not taken out. */
#ifndef CP_ENTRY_H
#define CP_ENTRY_H

#include <apr_time.h>

#include "answers/answer.h"
#include "answers/shared/key.h"
#include "base/bytes/buffer.h"

/** Wall clock (us), so that machines can share entries. */
typedef struct cp_entry_times_t {
    apr_time_t expires;              /**< fresh before */
    apr_time_t stale_until;          /**< usable while somebody refreshes it */
    apr_time_t stale_if_error_until; /**< usable while the source is down */
} cp_entry_times_t;

/** Why bytes are, or are not, an entry. All but the first are misses. */
typedef enum cp_entry_verdict_t {
    CP_ENTRY_VALID,
    CP_ENTRY_SHORT,    /**< fewer bytes than any entry has */
    CP_ENTRY_MAGIC,    /**< something else */
    CP_ENTRY_FORMAT,   /**< of another release */
    CP_ENTRY_LENGTH,   /**< cut, or with something behind it */
    CP_ENTRY_CHECKSUM, /**< damaged */
    CP_ENTRY_KEY,      /**< whole, but of another key */
    CP_ENTRY_CONTENT,  /**< whole, but nothing that we would write */
    CP_ENTRY_MEMORY,   /**< there is no memory for what it holds */
    CP_ENTRY_VERDICTS
} cp_entry_verdict_t;

/** "valid", "short", ...; for counters and logs. */
extern const char *const cp_entry_verdict_names[CP_ENTRY_VERDICTS + 1];

/** Append the entry to buf, which may fail. */
void cp_entry_encode(cp_buffer_t *buf, const cp_key_t *key,
                     const cp_answer_t *answer, const cp_entry_times_t *times);

/** How many bytes cp_entry_encode appends. */
apr_size_t cp_entry_size(const cp_key_t *key, const cp_answer_t *answer);

/** Only reads within size bytes; data may be anything, at any alignment. With
 * CP_ENTRY_VALID *panswer is the caller's to unref; else nothing is set. */
cp_entry_verdict_t cp_entry_decode(const void *data, apr_size_t size,
                                   const cp_key_t *key, cp_answer_t **panswer,
                                   cp_entry_times_t *times);

#endif
