/* SPDX-License-Identifier: Apache-2.0
 * The request's body, as the waiter sees it: from its source into the job, at
 * the pace of the slower side. The runner never reads from a client. */
#include "base/clock.h"
#include "base/error.h"
#include "http/attempt.h"
#include "http/inline.h"
#include "http/job/bell.h"
#include "http/job/error.h"
#include "http/job/fetch.h"
#include "http/job/job.h"
#include "http/loop.h"
#include "http/upload/upload.h"

/* Between two looks at a source without a descriptor: longer and longer while
 * nothing comes. */
#define FIRST_PAUSE   apr_time_from_msec(1)
#define LONGEST_PAUSE apr_time_from_msec(16)

apr_status_t cp_attempt_feed_begin(cp_transfer_t *t)
{
    const cp_source_t *source = t->request.source;

    if (!source) {
        return APR_SUCCESS;
    }
    t->job->upload = cp_upload_create();
    t->job->upload_size = source->size;
    t->is_deceived = 0;
    return t->job->upload ? APR_SUCCESS
                          : cp_http_error(&t->err, t->upstream, CP_ERR_MEMORY,
                                          APR_ENOMEM, "out of memory");
}

/* The upstream is not silent: we are. */
static void excuse_upstream(cp_job_t *job)
{
    __atomic_store_n(&job->active_at, cp_clock_now(), __ATOMIC_RELAXED);
}

apr_status_t cp_attempt_feed(cp_transfer_t *t)
{
    cp_job_t *job = t->job;
    apr_status_t rv;

    if (!job->upload) {
        return APR_SUCCESS;
    }
    rv = cp_upload_fill(job->upload, t->request.source);
    if (rv != APR_SUCCESS && rv != APR_EAGAIN) {
        return cp_http_error(&t->err, t->upstream, CP_ERR_CANCELLED, rv,
                             "the request's body could not be read");
    }
    t->is_deceived &= rv == APR_EAGAIN;
    if (rv == APR_SUCCESS || t->look_pause == 0) {
        t->look_pause = FIRST_PAUSE;
    }
    if (cp_upload_must_wake(job->upload)) {
        excuse_upstream(job);
        if (t->is_inline) {
            cp_inline_unpause(t->conn, job);
        }
        else {
            cp_loop_order(job, CP_ORDER_UNPAUSE);
        }
    }
    else if (cp_upload_is_starved(job->upload)) {
        excuse_upstream(job);
    }
    return APR_SUCCESS;
}

int cp_attempt_is_starved(const cp_transfer_t *t)
{
    return t->job->upload && cp_upload_is_starved(t->job->upload);
}

int cp_attempt_source_fd(cp_transfer_t *t, cp_clock_t *puntil)
{
    const cp_source_t *source = t->request.source;
    cp_clock_t next;

    if (!source || !t->job->upload || !cp_upload_has_room(t->job->upload)) {
        return -1;
    }
    if (source->fd >= 0 && !t->is_deceived) {
        return source->fd;
    }
    /* A filter may want more than the socket has before it gives anything. */
    t->is_deceived = 0;
    next = cp_clock_after(t->look_pause);
    if (t->look_pause < LONGEST_PAUSE) {
        t->look_pause *= 2;
    }
    *puntil = next < *puntil ? next : *puntil;
    return -1;
}

void cp_attempt_wait(cp_transfer_t *t, cp_clock_t until)
{
    int fd = cp_attempt_source_fd(t, &until);

    if (fd < 0) {
        cp_bell_wait(t->bell, until);
    }
    else if (cp_bell_wait_also(t->bell, fd, until) == APR_EAGAIN) {
        t->is_deceived = 1; /* unless something comes of it */
    }
}
