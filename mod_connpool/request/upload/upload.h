/* SPDX-License-Identifier: Apache-2.0
 * A request's body on its way to an upstream: read from its client as it comes,
 * within a limit, by the thread that runs the request. */
#ifndef CONNPOOL_UPLOAD_H
#define CONNPOOL_UPLOAD_H

#include "glue.h"
#include "base/clock.h"
#include "http/upload/upload.h"

/** One body. Caller's storage, zeroed; lives as long as the fetch. */
typedef struct connpool_upload_t {
    cp_source_t source; /**< for cp_fetch_request_t */
    request_rec *r;
    apr_bucket_brigade *bb; /* came, and not yet taken */
    apr_int64_t max;
    apr_int64_t seen;    /* bytes so far */
    cp_clock_t came_at;  /**< the last of them */
    cp_clock_t deadline; /**< of the fetch, about */
    int is_there;        /**< the request has a body */
    int is_complete;     /**< all of it was read */
    int status; /**< what to answer, when it could not be read: 400, 408,
                     413; 0 */
} connpool_upload_t;

/** Look at the request's headers; reads nothing, unless a filter of httpd's
 * decodes the body, which changes them when it is first read.
 * @param time that the fetch may take
 * @return OK, or the status to answer */
int connpool_upload_open(connpool_upload_t *upload, request_rec *r,
                         apr_int64_t max, apr_interval_time_t time);

/** The sentence that belongs to its status. */
const char *connpool_upload_detail(const connpool_upload_t *upload, int status);

/** The request is answered before all of its body was read: httpd would read
 * what is left before the next request, so a long one ends the connection.
 * Before the answer's head. */
void connpool_upload_leave(connpool_upload_t *upload);

#endif
