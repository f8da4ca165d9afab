/* SPDX-License-Identifier: Apache-2.0 */
#include "http/upload/upload.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct cp_upload_t {
    pthread_mutex_t lock; /* guards the next block, and the filled part of ring;
                             the rest of it is the waiter's */
    size_t from;
    size_t filled;
    int is_wanted;   /* the runner has asked for it */
    int is_complete; /* all of it is in the ring, or was */
    int is_starved;  /* the runner waits for more */
    int is_blocked;  /* the waiter waits for room */
    int is_aborted;
    apr_int64_t taken;
    apr_int64_t given;
    char ring[CP_UPLOAD_WINDOW];
};

cp_upload_t *cp_upload_create(void)
{
    cp_upload_t *upload = malloc(sizeof(*upload));

    if (upload) {
        memset(upload, 0, offsetof(cp_upload_t, ring));
        pthread_mutex_init(&upload->lock, NULL);
    }
    return upload;
}

void cp_upload_free(cp_upload_t *upload)
{
    if (upload) {
        pthread_mutex_destroy(&upload->lock);
        free(upload);
    }
}

/* --- the waiter's side --- */

/* Where the next bytes go: as many as fit there in one piece. */
static size_t find_room(cp_upload_t *upload, char **pat)
{
    size_t end, room;

    pthread_mutex_lock(&upload->lock);
    end = (upload->from + upload->filled) % CP_UPLOAD_WINDOW;
    room = CP_UPLOAD_WINDOW - upload->filled;
    if (!upload->is_wanted || upload->is_complete) {
        room = 0;
    }
    pthread_mutex_unlock(&upload->lock);
    *pat = upload->ring + end;
    return room < CP_UPLOAD_WINDOW - end ? room : CP_UPLOAD_WINDOW - end;
}

static void note_given(cp_upload_t *upload, size_t size, int is_complete)
{
    pthread_mutex_lock(&upload->lock);
    upload->filled += size;
    upload->given += (apr_int64_t)size;
    upload->is_complete |= is_complete;
    pthread_mutex_unlock(&upload->lock);
}

apr_status_t cp_upload_fill(cp_upload_t *upload, const cp_source_t *source)
{
    size_t moved = 0, room;
    char *at;

    /* Once around: the answer wants to be looked at, too. */
    while (moved < CP_UPLOAD_WINDOW && (room = find_room(upload, &at)) > 0) {
        apr_size_t got = 0;
        apr_status_t rv = source->read(source->baton, at, room, &got);

        if (rv == APR_EAGAIN && moved > 0) {
            break;
        }
        if (rv != APR_SUCCESS && rv != APR_EOF) {
            return rv;
        }
        note_given(upload, got, rv == APR_EOF);
        moved += got;
    }
    return APR_SUCCESS;
}

int cp_upload_must_wake(cp_upload_t *upload)
{
    int must_wake;

    pthread_mutex_lock(&upload->lock);
    must_wake = upload->is_starved
                && (upload->filled > 0 || upload->is_complete);
    upload->is_starved &= !must_wake;
    pthread_mutex_unlock(&upload->lock);
    return must_wake;
}

int cp_upload_is_starved(cp_upload_t *upload)
{
    int is_starved;

    pthread_mutex_lock(&upload->lock);
    is_starved = upload->is_starved;
    pthread_mutex_unlock(&upload->lock);
    return is_starved;
}

int cp_upload_has_room(cp_upload_t *upload)
{
    int has_room;

    pthread_mutex_lock(&upload->lock);
    has_room = upload->is_wanted && !upload->is_complete
               && upload->filled < CP_UPLOAD_WINDOW;
    upload->is_blocked = upload->filled == CP_UPLOAD_WINDOW;
    pthread_mutex_unlock(&upload->lock);
    return has_room;
}

int cp_upload_is_untouched(cp_upload_t *upload)
{
    int is_untouched;

    pthread_mutex_lock(&upload->lock);
    is_untouched = upload->given == 0 && !upload->is_complete;
    pthread_mutex_unlock(&upload->lock);
    return is_untouched;
}

void cp_upload_abort(cp_upload_t *upload)
{
    pthread_mutex_lock(&upload->lock);
    upload->is_aborted = 1;
    pthread_mutex_unlock(&upload->lock);
}

/* --- the runner's side --- */

static void copy_out(cp_upload_t *upload, char *room, size_t size)
{
    size_t first = CP_UPLOAD_WINDOW - upload->from;

    first = size < first ? size : first;
    memcpy(room, upload->ring + upload->from, first);
    memcpy(room + first, upload->ring, size - first);
    upload->from = (upload->from + size) % CP_UPLOAD_WINDOW;
    upload->filled -= size;
    upload->taken += (apr_int64_t)size;
}

cp_take_t cp_upload_take(cp_upload_t *upload, char *room, size_t size,
                         size_t *pgot, int *ptold)
{
    cp_take_t found = CP_TAKE_SOME;

    pthread_mutex_lock(&upload->lock);
    *pgot = size < upload->filled ? size : upload->filled;
    copy_out(upload, room, *pgot);
    if (upload->is_aborted) {
        found = CP_TAKE_ABORT;
    }
    else if (*pgot == 0) {
        found = upload->is_complete ? CP_TAKE_END : CP_TAKE_WAIT;
    }
    upload->is_starved = found == CP_TAKE_WAIT;
    /* Half of the room at once, not each byte of it. */
    *ptold = !upload->is_wanted
             || (upload->is_blocked && upload->filled <= CP_UPLOAD_WINDOW / 2);
    upload->is_blocked &= !*ptold;
    upload->is_wanted = 1;
    pthread_mutex_unlock(&upload->lock);
    return found;
}

apr_int64_t cp_upload_taken(cp_upload_t *upload)
{
    apr_int64_t taken;

    pthread_mutex_lock(&upload->lock);
    taken = upload->taken;
    pthread_mutex_unlock(&upload->lock);
    return taken;
}
