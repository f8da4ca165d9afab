/* SPDX-License-Identifier: Apache-2.0
 * Inside of outgoing HTTP: what cp_http*.c, cp_fetch.c and cp_loop.c share.
 *
 * A job is one transfer. Two sides work on it: the runner drives the easy
 * handle (the loop's thread, or the waiter itself), the waiter is the thread of
 * the cp_transfer_t. Everything that the runner may touch belongs to the job
 * and lives until both have dropped it; so a waiter can leave at its deadline.
 */
#ifndef CP_FETCH_H
#define CP_FETCH_H

#include <pthread.h>

#include <curl/curl.h>

#include <apr_ring.h>

#include "base/bell.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "http/http.h"
#include "http/loop.h"

/** Bytes of body that wait for the caller before the transfer is paused. */
#define CP_JOB_WINDOW (256 * 1024)

/** Bytes of all headers of one job, interim answers and trailers included. */
#define CP_JOB_HEADERS_MAX (64 * 1024)

/** One life of the loop's thread; see cp_generation.h. */
typedef struct cp_generation_t cp_generation_t;
typedef struct cp_job_t cp_job_t;

/** The address policy at work for one handle. */
typedef struct cp_guard_t {
    const cp_upstream_t *upstream;
    int is_refused;   /**< some address was refused; runner's */
    char address[64]; /**< which, and why: for the log */
} cp_guard_t;

/** A connection of cp_http_driver. The handle is NULL when the loop still
 * holds it; the next use makes a new one. */
typedef struct cp_conn_t {
    CURL *easy;
    CURLM *own; /**< runs the handle, and keeps its socket, without loop */
    cp_guard_t guard; /**< for cp_http_easy */
    int is_lent;      /**< cp_http_easy has shown the handle to strangers */
} cp_conn_t;

struct cp_upstream_t {
    cp_upstream_config_t config;
    CURLU *url;
    int is_plaintext;
    int is_literal; /**< the host is an address, written by the administrator */
};

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
    CP_FAULT_ENCODING, /**< a coding that was not asked for */
    CP_FAULT_SIZE,     /**< body over max_body */
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

/** What the waiter asks of the loop; bits, guarded by the inbox's lock. */
#define CP_ORDER_SUBMIT  1
#define CP_ORDER_CANCEL  2
#define CP_ORDER_UNPAUSE 4

struct cp_job_t {
    int refs; /* atomic */

    /* Set before the start, constant afterwards. */
    CURL *easy;
    struct curl_slist *headers;
    apr_int64_t max_body;
    int is_head;
    int follows_redirects;
    cp_generation_t *generation; /* NULL when run inline; holds a reference */
    cp_bell_t *bell;             /* rings for has_news; holds a reference */
    void (*on_news)(cp_job_t *job); /* see that the waiter looks; NULL inline */

    /* Runner's until has_head is published, then the waiter's (read only). */
    int status;
    cp_buffer_t text; /* name NUL value NUL name NUL value NUL ... */
    int header_count;
    char connection[256]; /* the Connection header: names more to leave out */

    /* Runner's until `end` is published, then the waiter's. */
    cp_guard_t guard;
    size_t header_bytes;
    apr_int64_t content_length; /* -1: not declared */
    int is_coded; /* that is not the length of what is passed on */
    apr_int64_t body_bytes;
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
    APR_RING_ENTRY(cp_job_t) in_active; /* these four: loop's thread only */
    APR_RING_ENTRY(cp_job_t) in_touched;
    int is_active;
    int is_touched;
};

/* cp_http.c: handles. */

/** Reset the handle and set every option that does not depend on a request. */
void cp_http_configure(CURL *easy, const cp_upstream_t *upstream,
                       cp_guard_t *guard);

/** OPENSOCKETFUNCTION: baton is a cp_guard_t. */
curl_socket_t cp_http_open_socket(void *baton, curlsocktype purpose,
                                  struct curl_sockaddr *address);

/** Rounded up, at least 1, for curl's options and poll. */
static inline long cp_http_milliseconds(apr_interval_time_t interval)
{
    apr_int64_t ms = interval / 1000 + (interval % 1000 != 0);

    return ms < 1 ? 1 : ms > 0x7fffffff ? 0x7fffffff : (long)ms;
}

/** Check the address in text form, of a socket that is open already. */
int cp_http_may_use(cp_guard_t *guard, const char *address);

/* cp_http_request.c: what goes out. */

/** The upstream's URL with the request's path and query. *purl may be set on
 * failure as well; free it with curl_url_cleanup. */
apr_status_t cp_http_build_url(CURLU **purl, const cp_upstream_t *upstream,
                               const cp_fetch_request_t *request,
                               cp_error_t *err);

/** Append to *plist, which the caller frees in any case. */
apr_status_t cp_http_build_headers(struct curl_slist **plist,
                                   const cp_upstream_t *upstream,
                                   const cp_fetch_request_t *request,
                                   cp_error_t *err);

/** Follow a Location within the upstream's origin: changes url. */
apr_status_t cp_http_redirect(CURLU *url, const cp_upstream_t *upstream,
                              const char *location, cp_error_t *err);

/* cp_http_error.c */

/** An error whose detail says no more than its cause. */
apr_status_t cp_http_error(cp_error_t *err, const cp_upstream_t *upstream,
                           cp_error_class_t cls, apr_status_t rv,
                           const char *cause);

/** Why an ended job failed, deadlines excepted. */
apr_status_t cp_http_explain(const cp_job_t *job, const cp_upstream_t *upstream,
                             cp_error_t *err);

/** The connection failed before anything was answered. */
int cp_http_is_retryable(const cp_job_t *job);

/* cp_http_job.c: the runner's callbacks. */

/** A job with one reference, or NULL without memory. */
cp_job_t *cp_job_create(CURL *easy, const cp_upstream_t *upstream,
                        cp_bell_t *bell);
void cp_job_ref(cp_job_t *job);
void cp_job_unref(cp_job_t *job);

/** Install the job's callbacks in its handle. */
void cp_job_attach(cp_job_t *job);

/** What of the head is to be passed on, once has_head is seen: an array to be
 * freed, pointing into the job. NULL without memory. */
cp_http_header_t *cp_job_headers(const cp_job_t *job, int *pcount);

/** The runner is done, and the handle in no multi any more: tell the waiter, or
 * free the handle when it has left. Does not drop the runner's reference. */
void cp_job_finish(cp_job_t *job, cp_job_end_t end, CURLcode code);

/* cp_http_inline.c: the runner without a loop. */

int cp_inline_start(cp_conn_t *conn, cp_job_t *job);

/** Take the handle out, unless the job has ended. */
void cp_inline_stop(cp_conn_t *conn, cp_job_t *job);

void cp_inline_unpause(cp_conn_t *conn, cp_job_t *job);

/** Work on the transfer until there is news, or for so long. */
void cp_inline_work(cp_conn_t *conn, cp_job_t *job, apr_interval_time_t wait);

/* cp_loop.c */

/** Hand the job to the loop.
 * @return APR_SUCCESS; APR_EAGAIN without a living thread; APR_EOF when stopped
 */
apr_status_t cp_loop_submit(cp_loop_t *loop, cp_job_t *job);

/** Send orders for a job that was submitted. Ignored once it has ended. */
void cp_loop_order(cp_job_t *job, int orders);

/** The thread that runs the job cannot be relied upon any more. */
int cp_loop_is_lost(const cp_job_t *job);

/** A job has left the wait, in whatever way. */
void cp_loop_left(cp_job_t *job);

/** A fetch ran inline because the loop was lost. */
void cp_loop_count_inline(cp_loop_t *loop);

void cp_generation_unref(cp_generation_t *generation);

#endif
