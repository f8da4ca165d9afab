/* SPDX-License-Identifier: Apache-2.0
 * What goes out: problems, whole answers, streams, files. */
#ifndef CONNPOOL_OUTPUT_H
#define CONNPOOL_OUTPUT_H

#include "glue.h"
#include "base/bytes/buffer.h"
#include "base/error.h"
#include "base/log.h"
#include "request/origin/origin.h"

struct connpool_upstream_t;
struct cp_answer_t;

/** Send application/problem+json; returns OK (the answer is complete). errors
 * (connpool_input_error_t) and detail may be NULL. */
int connpool_problem(request_rec *r, int status, const char *detail,
                     const apr_array_header_t *errors);

/** Which constraint of a database did not hold, as in cp_error_t. */
typedef struct connpool_violation_t {
    const char *constraint; /* NULL: none */
    const char *subject;    /* may be NULL or "" */
} connpool_violation_t;

/** Append its object to a buffer. retry_after: seconds; 0 is not shown. */
void connpool_problem_write(cp_buffer_t *buf, int status, const char *detail,
                            int retry_after, const apr_array_header_t *errors,
                            const connpool_violation_t *violation);

/** Answer OPTIONS, and what is not among methods (bits), by telling which are;
 * GET includes HEAD.
 * @return whether that was the answer: the handler returns OK */
int connpool_answer_method(request_rec *r, apr_int64_t methods);

/** Count the request against ConnPoolRateLimit, once, with its headers
 * (rate.c).
 * @return whether it was one too many: the handler returns OK */
int connpool_answer_rate(request_rec *r);

/** Take one from the rate= of an upstream: APR_SUCCESS, or err. */
apr_status_t connpool_take_rate(const struct connpool_upstream_t *up,
                                cp_error_t *err);

/** connpool_problem for a core error: maps the class, logs the detail. `what`
 * names the query or upstream, whose `complaints` limit the lines per class. */
int connpool_problem_of(request_rec *r, const char *what, const cp_error_t *err,
                        cp_log_limit_t *complaints);

/** Log a core error as connpool_problem_of does. */
void connpool_complain(request_rec *r, const char *what, const cp_error_t *err,
                       cp_log_limit_t *complaints);

/** " (3 more like this since the last line)", "" for 0. */
const char *connpool_suppressed(apr_pool_t *p, uint64_t count);

/** The sentence for the client: what, the cause, when to come again. */
const char *connpool_explain(apr_pool_t *p, const char *what,
                             const cp_error_t *err);

/** HTTP status of an error class. */
int connpool_status_of(cp_error_class_t cls);

/** Send a complete body: type, length, strong ETag, 304 and HEAD handled. The
 * buffer's storage passes to the output and is emptied. */
int connpool_send_whole(request_rec *r, const char *content_type,
                        cp_buffer_t *body);

/** The same under a tag that tells more than the bytes do; NULL: none. */
int connpool_send_tagged(request_rec *r, const char *content_type,
                         const char *etag, cp_buffer_t *body);

/** Send an answer that others may have, too: its type, its ETag, 304 and HEAD
 * handled. The caller keeps its reference, and may give it back at once. */
int connpool_send_shared(request_rec *r, struct cp_answer_t *answer,
                         const char *cache_control);

/** connpool_send_whole from a file and a buffer, for bodies too long to hold:
 * no tag. */
int connpool_send_file(request_rec *r, const char *content_type,
                       apr_file_t *file, apr_off_t size, cp_buffer_t *rest);

/** Send so many bytes of the file (NULL: none), then the buffer's, under the
 * headers that are set. */
void connpool_pass_collected(request_rec *r, apr_file_t *file, apr_off_t size,
                             cp_buffer_t *rest);

/** ap_meets_conditions, which also knows our ETag when a filter has put the
 * name of a coding behind it. */
int connpool_meets_conditions(request_rec *r);

/** What connpool_meets_conditions found, as a handler's answer: 412 as a
 * problem. */
int connpool_condition_answer(request_rec *r, int status);

/** Hand the buffer's bytes to the output; its storage goes along. */
void connpool_add_buffer(apr_bucket_brigade *bb, cp_buffer_t *buf);
apr_status_t connpool_pass_buffer(request_rec *r, cp_buffer_t *buf,
                                  int is_last);

/** The headers that every body of ours has. */
void connpool_set_body_headers(request_rec *r, const char *content_type,
                               const char *cache_control);

/** Begin / continue / end an answer of unknown length. */
void connpool_stream_begin(request_rec *r, const char *content_type);
apr_status_t connpool_stream_write(request_rec *r, cp_buffer_t *chunk);

/** Nothing more is there for now: the client gets what was written. */
apr_status_t connpool_stream_flush(request_rec *r);

/** A part of it; the bytes are the caller's again. */
apr_status_t connpool_stream_bytes(request_rec *r, const char *data,
                                   apr_size_t size);
/** So many of the file's bytes as a part of it; NULL: nothing. */
apr_status_t connpool_stream_file(request_rec *r, apr_file_t *file,
                                  apr_off_t from, apr_off_t size);
void connpool_stream_end(request_rec *r);
/** Say, before the body, that this header of r->trailers_out may follow it. */
void connpool_trailer_announce(request_rec *r, const char *name);
void connpool_trailer_register(void);
/** End it so that the client sees it is cut: no last chunk, close. */
void connpool_stream_cut(request_rec *r);

/** Write to a client for at most so long: while a reader is held. Restores the
 * connection's own timeout with `left` < 0. */
void connpool_limit_client_wait(request_rec *r, apr_interval_time_t left);

/** Nobody waits for the answer: the client has closed its connection, or the
 * child ends at once. */
int connpool_client_is_gone(request_rec *r);

/** Can bytes be sent now, or before so long, without waiting for the client? */
int connpool_client_is_ready(request_rec *r, apr_interval_time_t patience);

/** Bytes of an answer that are collected in memory. */
#define CONNPOOL_HELD_BYTES (1024 * 1024)

/** Move the buffer's bytes to the end of a temporary file, which is made when
 * *pfile is NULL. Nobody can find it, and it ends with the request. */
apr_status_t connpool_spill(request_rec *r, apr_file_t **pfile,
                            cp_buffer_t *buf, cp_error_t *err);

/** Tell the child's figures how much the buffer holds by now. *pcounted is what
 * they know of it, 0 at first. */
void connpool_count_buffer(const cp_buffer_t *buf, apr_size_t *pcounted);

#endif
