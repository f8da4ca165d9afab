/* SPDX-License-Identifier: Apache-2.0
 * What went wrong in a transfer, in words for clients and for the log. */
#include "http/job/error.h"

#include "base/error.h"
#include "http/job/job.h"
#include "http/upstream/upstream.h"

apr_status_t cp_http_error(cp_error_t *err, const cp_upstream_t *upstream,
                           cp_error_class_t cls, apr_status_t rv,
                           const char *cause)
{
    return cp_error_set(err, cls, rv, cause, "upstream '%s': %s",
                        upstream->config.name, cause);
}

typedef struct curl_error_t {
    CURLcode code;
    cp_error_class_t cls;
    int is_retryable; /* the connection failed, not the conversation */
    const char *cause;
} curl_error_t;

#define CAUSE_CLOSED  "the upstream closed the connection too early"
#define CAUSE_FORMED  "the upstream's answer is malformed"
#define CAUSE_TLS     "no secure connection to the upstream could be made"
#define CAUSE_CONFIG  "the certificates set for the upstream cannot be used"
#define CAUSE_MEMORY  "out of memory"
#define CAUSE_UNKNOWN "the fetch from the upstream failed"

static const curl_error_t curl_errors[] = {
    {CURLE_COULDNT_RESOLVE_HOST, CP_ERR_UPSTREAM, 0,
     "the upstream's name could not be resolved"},
    {CURLE_COULDNT_CONNECT, CP_ERR_UPSTREAM, 1,
     "the upstream refused the connection"},
    {CURLE_GOT_NOTHING, CP_ERR_UPSTREAM, 1, CAUSE_CLOSED},
    {CURLE_RECV_ERROR, CP_ERR_UPSTREAM, 1, CAUSE_CLOSED},
    {CURLE_SEND_ERROR, CP_ERR_UPSTREAM, 1, CAUSE_CLOSED},
    {CURLE_PARTIAL_FILE, CP_ERR_UPSTREAM, 0, CAUSE_CLOSED},
    {CURLE_SEND_FAIL_REWIND, CP_ERR_UPSTREAM, 0, CAUSE_CLOSED},
    {CURLE_UPLOAD_FAILED, CP_ERR_UPSTREAM, 0,
     "the upstream takes no body of unknown length"},
    {CURLE_HTTP2, CP_ERR_UPSTREAM, 1, CAUSE_FORMED},
    {CURLE_HTTP2_STREAM, CP_ERR_UPSTREAM, 1, CAUSE_FORMED},
    {CURLE_WEIRD_SERVER_REPLY, CP_ERR_UPSTREAM, 0, CAUSE_FORMED},
    {CURLE_UNSUPPORTED_PROTOCOL, CP_ERR_UPSTREAM, 0, CAUSE_FORMED},
    {CURLE_BAD_CONTENT_ENCODING, CP_ERR_UPSTREAM, 0, CAUSE_FORMED},
    {CURLE_PEER_FAILED_VERIFICATION, CP_ERR_UPSTREAM, 0,
     "the upstream's certificate was not accepted"},
    {CURLE_SSL_CONNECT_ERROR, CP_ERR_UPSTREAM, 0, CAUSE_TLS},
    {CURLE_SSL_CIPHER, CP_ERR_UPSTREAM, 0, CAUSE_TLS},
    {CURLE_SSL_CERTPROBLEM, CP_ERR_UPSTREAM, 0, CAUSE_CONFIG},
    {CURLE_SSL_CACERT_BADFILE, CP_ERR_UPSTREAM, 0, CAUSE_CONFIG},
    {CURLE_OUT_OF_MEMORY, CP_ERR_MEMORY, 0, CAUSE_MEMORY},
    {CURLE_FAILED_INIT, CP_ERR_MEMORY, 0, CAUSE_MEMORY},
    {CURLE_OK, CP_ERR_UPSTREAM, 0, CAUSE_UNKNOWN},
};

static const curl_error_t *find_error(CURLcode code)
{
    const curl_error_t *error = curl_errors;

    while (error->code != code && error->code != CURLE_OK) {
        error++;
    }
    return error;
}

static const struct {
    cp_error_class_t cls;
    const char *cause;
} faults[CP_FAULTS] = {
    [CP_FAULT_HEADERS] = {CP_ERR_UPSTREAM, "the upstream's head is too large"},
    [CP_FAULT_HEAD] = {CP_ERR_UPSTREAM, CAUSE_FORMED},
    [CP_FAULT_HEAD_CUT] = {CP_ERR_UPSTREAM,
                           "the upstream closed the connection within its "
                           "head"},
    [CP_FAULT_ENCODING] = {CP_ERR_UPSTREAM,
                           "the upstream's answer is encoded in a way that was "
                           "not asked for"},
    [CP_FAULT_CODED] = {CP_ERR_UPSTREAM,
                        "the upstream's compressed answer is damaged or cut"},
    [CP_FAULT_MEMORY] = {CP_ERR_MEMORY, CAUSE_MEMORY},
    [CP_FAULT_SIZE] = {CP_ERR_SIZE, "the upstream's answer is too large"},
    [CP_FAULT_AGAIN] = {CP_ERR_UPSTREAM, CAUSE_CLOSED},
};

/* curl calls a refused address a failure to connect. */
static int is_address_refused(const cp_job_t *job)
{
    return job->guard.is_refused && job->phase == CP_PHASE_CONNECT;
}

/* To curl a line that is longer than it likes (100 KB) is a lack of memory. */
static int is_too_long(const cp_job_t *job)
{
    return job->code == CURLE_OUT_OF_MEMORY && job->phase != CP_PHASE_CONNECT;
}

apr_status_t cp_http_explain(const cp_job_t *job, const cp_upstream_t *upstream,
                             cp_error_t *err)
{
    const curl_error_t *error = find_error(job->code);
    const char *name = upstream->config.name;
    cp_job_fault_t fault = is_too_long(job) ? CP_FAULT_HEADERS : job->fault;

    if (fault != CP_FAULT_NONE) {
        return cp_http_error(err, upstream, faults[fault].cls, APR_SUCCESS,
                             faults[fault].cause);
    }
    if (is_address_refused(job)) {
        return cp_error_set(err, CP_ERR_REFUSED, APR_SUCCESS,
                            "the upstream's address is not allowed",
                            "upstream '%s': it is %s (private= and plaintext= "
                            "decide)",
                            name, job->guard.address);
    }
    return cp_error_set(err, error->cls, APR_SUCCESS, error->cause,
                        "upstream '%s': %s (curl %d)", name,
                        *job->curl_error ? job->curl_error
                                         : curl_easy_strerror(job->code),
                        (int)job->code);
}

int cp_http_is_retryable(const cp_job_t *job)
{
    return find_error(job->code)->is_retryable && job->header_bytes == 0
           && (job->sendings == 0 || cp_job_may_repeat(job))
           && !is_address_refused(job);
}
