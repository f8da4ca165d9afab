/* SPDX-License-Identifier: Apache-2.0
 * A request's body between the thread that has it and the one that drives the
 * transfer: a ring of fixed size, filled by one, emptied by the other. Whoever
 * cannot go on waits for the other, so neither side's pace costs memory. */
#ifndef CP_UPLOAD_H
#define CP_UPLOAD_H

#include <stddef.h>

#include <apr_errno.h>
#include <apr_time.h>

/** Bytes that wait for the upstream at the most. */
#define CP_UPLOAD_WINDOW ((size_t)64 * 1024)

/** Where a body comes from: asked by the thread that waits for the fetch. */
typedef struct cp_source_t {
    /** Up to size bytes that are there already; never waits.
     * @return APR_SUCCESS with *pgot > 0; APR_EAGAIN: none just now; APR_EOF:
     * that was all; else: it cannot be had, and the fetch is given up */
    apr_status_t (*read)(void *baton, char *room, apr_size_t size,
                         apr_size_t *pgot);
    void *baton;
    apr_int64_t size; /**< -1: nobody knows */
    int fd; /**< can be read from when there may be more; -1: look now and then
             */
} cp_source_t;

typedef struct cp_upload_t cp_upload_t;

/** NULL without memory. */
cp_upload_t *cp_upload_create(void);

/** NULL is none. */
void cp_upload_free(cp_upload_t *upload);

/* --- the waiter's side --- */

/** Move what the source has into the ring, as far as there is room, once the
 * runner has asked for the body.
 * @return APR_SUCCESS, also with nothing to do; APR_EAGAIN: there is room, and
 * the source had nothing; or why the source failed */
apr_status_t cp_upload_fill(cp_upload_t *upload, const cp_source_t *source);

/** The runner waits for more, and can go on: it is to be told. True once. */
int cp_upload_must_wake(cp_upload_t *upload);

/** The runner waits for the source. */
int cp_upload_is_starved(cp_upload_t *upload);

/** There is room for what the source may bring. When the ring is full the
 * waiter is told of room. */
int cp_upload_has_room(cp_upload_t *upload);

/** Nothing was read from the source. */
int cp_upload_is_untouched(cp_upload_t *upload);

/** Nobody fills it any more: who takes is told so. */
void cp_upload_abort(cp_upload_t *upload);

/* --- the runner's side --- */

typedef enum cp_take_t {
    CP_TAKE_SOME,
    CP_TAKE_WAIT, /**< nothing is there yet */
    CP_TAKE_END,
    CP_TAKE_ABORT,
} cp_take_t;

/** @param ptold whether the waiter has something to do now */
cp_take_t cp_upload_take(cp_upload_t *upload, char *room, size_t size,
                         size_t *pgot, int *ptold);

/** Bytes that were taken so far. */
apr_int64_t cp_upload_taken(cp_upload_t *upload);

#endif
