/* SPDX-License-Identifier: Apache-2.0
 * An HTTP/1 answer as it comes over a socket: which bytes of it are head, body
 * and framing. What they mean is the job's to say. */
#ifndef CP_READER_H
#define CP_READER_H

#include <curl/curl.h>

#include <apr.h>

#include "http/job/job.h"

typedef enum cp_read_t {
    CP_READ_MORE,   /**< all of it, and there is more to come */
    CP_READ_PAUSED, /**< the job takes no more for now */
    CP_READ_DONE,   /**< the answer is complete */
    CP_READ_FAILED, /**< see code, and the job's fault */
} cp_read_t;

typedef enum cp_frame_t {
    CP_FRAME_HEAD,
    CP_FRAME_LENGTH,
    CP_FRAME_CLOSE, /**< up to the end of the connection */
    CP_FRAME_CHUNK,
    CP_FRAME_CHUNK_DATA,
    CP_FRAME_CHUNK_END,
    CP_FRAME_TRAILER,
    CP_FRAME_NONE, /**< nothing more belongs to it */
} cp_frame_t;

enum {
    CP_HTTP_1_1,
    CP_HTTP_1_0,
    CP_HTTP_2,
};

typedef struct cp_reader_t {
    cp_job_t *job;
    cp_frame_t frame;
    apr_int64_t left; /**< of the body, or of the chunk */
    int is_chunked;   /**< how often it is said */
    int version;      /**< CP_HTTP_ */
    CURLcode code;
} cp_reader_t;

void cp_reader_begin(cp_reader_t *reader, cp_job_t *job);

/** Give it what has come and was not used before.
 * @param pused how much was used now: the rest is to be shown again, with more
 * behind it */
cp_read_t cp_reader_feed(cp_reader_t *reader, char *data, size_t size,
                         size_t *pused);

/** Nothing more comes; what it used to be was no CP_READ_DONE. */
cp_read_t cp_reader_end(cp_reader_t *reader);

/** When it is done: may the connection be used again? */
int cp_reader_may_keep(const cp_reader_t *reader);

#endif
