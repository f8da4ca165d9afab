/* SPDX-License-Identifier: Apache-2.0
 * One fetch: what to ask for, how the answer comes back, what became of it. */
#ifndef CP_FETCH_H
#define CP_FETCH_H

#include <apr_errno.h>
#include <apr_time.h>

#include "stats/stats.h"

typedef struct cp_http_header_t {
    const char *name;
    const char *value;
} cp_http_header_t;

struct cp_source_t;

/** What to ask for. What it points to is borrowed until the fetch is over. */
typedef struct cp_fetch_request_t {
    const char *method; /**< "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE" */
    const char *path_info; /**< appended to the URL's path, already encoded as
                                it came; NULL or "": none */
    const char *query;     /**< appended with ? or &; NULL or "": none */
    const cp_http_header_t *headers; /**< to send */
    int header_count;
    apr_interval_time_t total; /**< shorter total deadline, 0: the upstream's */
    int is_one_shot;           /**< a socket of its own, then closed */
    int is_lone; /**< its thread waits for nothing else, and may run it */
    const struct cp_source_t *source; /**< of the body; NULL: there is none */
    int is_replaceable; /**< another upstream can be asked instead: no attempt
                             more, and no longer wait than connect= for an
                             answer of what may be asked twice */
} cp_fetch_request_t;

/** How the answer comes back: all in the thread that runs or advances the
 * fetch, which must not be ended from here. */
typedef struct cp_fetch_sink_t {
    /** Status line and headers are complete. headers are valid for the call.
     * Hop-by-hop headers (but for Proxy-Authenticate of 407), Content-Encoding
     * and, unless answer_headers names them, Set-Cookie and what speaks for our
     * own host (HSTS, Alt-Svc) are left out. Content-Length is there when it
     * was declared for the very bytes that go to body. Not APR_SUCCESS: stop.
     */
    apr_status_t (*head)(void *baton, int status,
                         const cp_http_header_t *headers, int count);
    /** Decompressed bytes of the body. Not APR_SUCCESS: stop. */
    apr_status_t (*body)(void *baton, const char *data, apr_size_t size);
    /** Asked about every 100 ms while waiting: nobody wants it any more? */
    int (*is_cancelled)(void *baton);
    void *baton;
    /** Something was given to head or body, and nothing more has come for some
     * 10 ms. NULL: of no interest. Not APR_SUCCESS: stop. */
    apr_status_t (*pause)(void *baton);
} cp_fetch_sink_t;

typedef struct cp_fetch_result_t {
    int status;        /**< of the upstream, 0 before its head */
    apr_int64_t bytes; /**< of the body, decompressed */
    apr_int64_t sent;  /**< of the request's body */
    int answered;      /**< something came, if only what is not passed on */
    int reused;        /**< ran over a socket that was open already */
    int retries;
    int may_repeat; /**< it failed, and another upstream may be asked the same
                     */
    int is_late;    /**< all its time is over, not only that of a phase */
    int ran_inline; /**< without the loop */
    int handshakes; /**< of TLS */
    /** Of the last attempt; -1 for a phase that did not happen. The queue is
     * for the caller to fill in. */
    apr_interval_time_t span_us[CP_SPANS];
    apr_interval_time_t us;
} cp_fetch_result_t;

#endif
