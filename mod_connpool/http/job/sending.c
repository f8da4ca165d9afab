/* SPDX-License-Identifier: Apache-2.0
 * What goes out behind the head: the method, and the request's body. */
#include "base/clock.h"
#include "http/job/bell.h"
#include "http/job/job.h"
#include "http/job/request.h"
#include "http/upload/upload.h"

#include <string.h>

const char *cp_http_method(const char *method)
{
    static const char *const methods[] = {"GET", "HEAD",  "POST",
                                          "PUT", "PATCH", "DELETE"};

    for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++) {
        if (strcmp(methods[i], method) == 0) {
            return methods[i];
        }
    }
    return NULL;
}

int cp_job_is_idempotent(const cp_job_t *job)
{
    return strcmp(job->method, "POST") != 0
           && strcmp(job->method, "PATCH") != 0;
}

int cp_job_may_repeat(const cp_job_t *job)
{
    return cp_job_is_idempotent(job)
           && (!job->upload || cp_upload_is_untouched(job->upload));
}

int cp_job_note_sending(cp_job_t *job)
{
    if (job->sendings++ > 0 && !cp_job_may_repeat(job)) {
        job->fault = CP_FAULT_AGAIN;
        return 0;
    }
    __atomic_store_n(&job->active_at, cp_clock_now(), __ATOMIC_RELAXED);
    __atomic_store_n(&job->phase, CP_PHASE_ANSWER, __ATOMIC_RELAXED);
    return 1;
}

int cp_job_is_answered_early(const cp_job_t *job, CURLcode code)
{
    return code == CURLE_SEND_ERROR && job->upload && job->is_final
           && !job->is_coded && job->content_length >= 0
           && (job->is_head || job->body_bytes == job->content_length);
}

/* The upstream takes bytes, so it is not silent. */
static size_t on_read(char *room, size_t unit, size_t count, void *baton)
{
    cp_job_t *job = baton;
    size_t got;
    int has_told;
    cp_take_t found = cp_upload_take(job->upload, room, unit * count, &got,
                                     &has_told);

    if (found == CP_TAKE_SOME) {
        __atomic_store_n(&job->active_at, cp_clock_now(), __ATOMIC_RELAXED);
    }
    if (has_told) {
        pthread_mutex_lock(&job->lock);
        job->has_news = 1;
        pthread_mutex_unlock(&job->lock);
        if (job->on_news) {
            job->on_news(job);
        }
    }
    return found == CP_TAKE_ABORT  ? CURL_READFUNC_ABORT
           : found == CP_TAKE_WAIT ? CURL_READFUNC_PAUSE
                                   : got;
}

/* No body, but the methods that have one say so: "Content-Length: 0". */
static size_t on_read_nothing(char *room, size_t unit, size_t count,
                              void *baton)
{
    return 0;
}

static void attach_body(cp_job_t *job)
{
    curl_easy_setopt(job->easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(job->easy, CURLOPT_INFILESIZE_LARGE,
                     (curl_off_t)(job->upload ? job->upload_size : 0));
    curl_easy_setopt(job->easy, CURLOPT_READFUNCTION,
                     job->upload ? on_read : on_read_nothing);
    curl_easy_setopt(job->easy, CURLOPT_READDATA, job);
}

int cp_job_is_plain(const cp_job_t *job)
{
    return strcmp(job->method, "GET") == 0;
}

void cp_job_attach_method(cp_job_t *job)
{
    if (cp_job_is_plain(job)) {
        return;
    }
    if (job->is_head) {
        curl_easy_setopt(job->easy, CURLOPT_NOBODY, 1L);
        return;
    }
    if (job->upload || strcmp(job->method, "DELETE") != 0) {
        attach_body(job);
    }
    curl_easy_setopt(job->easy, CURLOPT_CUSTOMREQUEST, job->method);
}
