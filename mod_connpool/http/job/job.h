/* SPDX-License-Identifier: Apache-2.0
 * A job is one transfer. Two sides work on it: the runner drives the easy
 * handle (the loop's thread, or the waiter itself), the waiter is the thread of
 * the cp_transfer_t. Everything that the runner may touch belongs to the job
 * and lives until both have dropped it; so a waiter can leave at its deadline.
 */
#ifndef CP_JOB_H
#define CP_JOB_H

#include <pthread.h>

#include <curl/curl.h>

#include <apr_ring.h>

#include "base/bytes/buffer.h"
#include "base/clock.h"
#include "http/job/bell.h"
#include "http/job/fetch.h"
#include "http/job/gunzip.h"
#include "http/upstream/guard.h"
#include "http/upload/upload.h"
#include "http/upstream/upstream.h"

/** Bytes of body that wait for the caller before the transfer is paused. */
#define CP_JOB_WINDOW (256 * 1024)

/** Bytes of all headers of one job, interim answers and trailers included. */
#define CP_JOB_HEADERS_MAX (64 * 1024)

/** How far the transfer is: decides which time limit runs. */
typedef enum cp_job_phase_t {
    CP_PHASE_CONNECT,
    CP_PHASE_ANSWER, /**< request sent, no head yet */
    CP_PHASE_BODY,
} cp_job_phase_t;

/** Why one of our callbacks stopped the transfer. */
typedef enum cp_job_fault_t {
    CP_FAULT_NONE,
    CP_FAULT_HEADERS,  /**< more than CP_JOB_HEADERS_MAX */
    CP_FAULT_HEAD,     /**< head malformed */
    CP_FAULT_HEAD_CUT, /**< the answer ended within its head */
    CP_FAULT_ENCODING, /**< a coding that was not asked for */
    CP_FAULT_CODED,    /**< the coding is damaged, or does not reach its end */
    CP_FAULT_MEMORY,
    CP_FAULT_SIZE,  /**< body over max_body */
    CP_FAULT_AGAIN, /**< curl would send what must be sent once only */
    CP_FAULTS
} cp_job_fault_t;

/** How the runner ended its work. */
typedef enum cp_job_end_t {
    CP_END_NONE,      /**< it has not */
    CP_END_CURL,      /**< the transfer is over, see code */
    CP_END_CANCELLED, /**< the waiter asked for it */
    CP_END_LOST,      /**< the loop ended by a fault */
    CP_END_STOPPED,   /**< the loop was stopped */
} cp_job_end_t;

typedef struct cp_job_t cp_job_t;
struct cp_job_t {
    int refs; /* atomic */

    /* Set before the start, constant afterwards. */
    CURL *easy;
    CURLU *url; /* NULL: the upstream's own */
    struct curl_slist *headers;
    apr_int64_t max_body;
    const char *method; /* a literal */
    int is_head;
    int follows_redirects;
    int accepts_gzip;
    cp_upload_t *upload;     /* the request's body; NULL: none. The job's */
    apr_int64_t upload_size; /* -1: not known */
    void *owner;             /* the runner; NULL when run inline */
    void (*release)(void *owner);   /* drops the job's reference to it */
    cp_bell_t *bell;                /* rings for has_news; holds a reference */
    void (*on_news)(cp_job_t *job); /* see that the waiter looks; NULL inline */

    /* Runner's until has_head is published, then the waiter's (read only). */
    int status;
    cp_buffer_t text; /* name NUL value NUL name NUL value NUL ... */
    int header_count;
    char connection[256]; /* the Connection header: names more to leave out */

    /* Runner's until `end` is published, then the waiter's. */
    cp_guard_t guard;
    int sendings; /* how often the request was about to be sent */
    size_t header_bytes;
    int is_in_head; /* between a status line and the end of its head */
    int is_final;   /* the head that belongs to the body has ended */
    apr_int64_t content_length; /* -1: not declared */
    int is_coded; /* that is not the length of what is passed on */
    apr_int64_t body_bytes;
    cp_gunzip_t *gunzip; /* NULL: the body is not coded */
    size_t decoded;      /* bytes that curl will show again after the pause */
    cp_job_fault_t fault;
    char *location; /* of a redirect that is to be followed */
    char curl_error[CURL_ERROR_SIZE];

    /* Atomic: written by the runner, read by the waiter. */
    int phase; /* cp_job_phase_t */
    cp_clock_t active_at;

    pthread_mutex_t lock; /* guards the next block */
    int has_news;         /* something below changed since the waiter looked */
    int has_head;
    cp_buffer_t body;
    int is_paused;
    int is_abandoned; /* the waiter has left: the runner frees the handle */
    cp_job_end_t end;
    CURLcode code;

    APR_RING_ENTRY(cp_job_t) in_inbox; /* while orders != 0; inbox's lock */
    int orders;
    struct cp_lane_t *lane; /* these five: loop's thread only */
    APR_RING_ENTRY(cp_job_t) in_active;
    APR_RING_ENTRY(cp_job_t) in_touched;
    int is_active;
    int is_touched;
};

/** A job with one reference, or NULL without memory. */
cp_job_t *cp_job_create(CURL *easy, const cp_upstream_t *upstream,
                        cp_bell_t *bell);
void cp_job_ref(cp_job_t *job);
void cp_job_unref(cp_job_t *job);

/** Install the job's callbacks in its handle. */
void cp_job_attach(cp_job_t *job);

/** Set method and body in its handle (sending.c). */
void cp_job_attach_method(cp_job_t *job);

/** Does that change nothing in a handle that is ready? */
int cp_job_is_plain(const cp_job_t *job);

/** Does it come to the same, however often it is done? */
int cp_job_is_idempotent(const cp_job_t *job);

/** Would sending it once more do no harm? Asked by the runner, or when that has
 * given the job back. */
int cp_job_may_repeat(const cp_job_t *job);

/** A connection stands, and the request is about to be sent. 0: it must not be
 * sent once more. Runner's. */
int cp_job_note_sending(cp_job_t *job);

/** What a runner has read: a line of a head or trailer, a piece of the body.
 * @return its size, or CURL_WRITEFUNC_PAUSE: it is to be shown again when the
 * waiter has taken what is there; else the job's fault says what is wrong */
size_t cp_job_on_header(char *data, size_t unit, size_t count, void *job);
size_t cp_job_on_body(char *data, size_t unit, size_t count, void *job);

/** Did only the sending fail, of a body that the upstream has answered? */
int cp_job_is_answered_early(const cp_job_t *job, CURLcode code);

/** Does a list with commas, as that of a Connection header, name that? */
int cp_job_is_listed(const char *list, const char *name);

/** What of the head is to be passed on, once has_head is seen: an array to be
 * freed, pointing into the job. NULL without memory. */
cp_http_header_t *cp_job_headers(const cp_job_t *job, int *pcount);

/** The runner is done, and the handle in no multi any more: tell the waiter, or
 * free the handle when it has left. Does not drop the runner's reference. */
void cp_job_finish(cp_job_t *job, cp_job_end_t end, CURLcode code);

#endif
