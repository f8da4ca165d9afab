/* SPDX-License-Identifier: Apache-2.0
 * What went wrong in a transfer, in words for clients and for the log. */
#ifndef CP_HTTP_ERROR_H
#define CP_HTTP_ERROR_H

#include "base/error.h"
#include "http/job/job.h"
#include "http/upstream/upstream.h"

/** An error whose detail says no more than its cause. */
apr_status_t cp_http_error(cp_error_t *err, const cp_upstream_t *upstream,
                           cp_error_class_t cls, apr_status_t rv,
                           const char *cause);

/** Why an ended job failed, deadlines excepted. */
apr_status_t cp_http_explain(const cp_job_t *job, const cp_upstream_t *upstream,
                             cp_error_t *err);

/** The connection failed before anything was answered, and what was sent may be
 * sent again. */
int cp_http_is_retryable(const cp_job_t *job);

#endif
