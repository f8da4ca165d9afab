/* SPDX-License-Identifier: Apache-2.0
 * Headers: of an upstream's head only such go on as mean the same when they
 * come from us, and none can hold a line's end; of ours to it, likewise. The
 * first byte says which; lines end with a newline. */
#include "http/job/job.h"
#include "http/job/request.h"

#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

static const char *const never[] = {"connection",
                                    "keep-alive",
                                    "proxy-connection",
                                    "te",
                                    "trailer",
                                    "upgrade",
                                    "alt-svc",
                                    "transfer-encoding",
                                    "set-cookie",
                                    "content-encoding",
                                    "strict-transport-security",
                                    NULL};

static void check_header(const char *name, const char *value)
{
    MUST(*name && !strpbrk(name, "\r\n: \t") && !strpbrk(value, "\r\n"));
    for (const char *const *left = never; *left; left++) {
        MUST(strcasecmp(name, *left) != 0);
    }
}

static void check_job(const cp_job_t *job)
{
    int count;
    cp_http_header_t *headers = cp_job_headers(job, &count);

    MUST(headers && count <= job->header_count);
    MUST(job->status >= 100 && job->status <= 599);
    for (int i = 0; i < count; i++) {
        check_header(headers[i].name, headers[i].value);
    }
    free(headers);
}

/* Lines as curl gives them: one at a time, with its end, and without a NUL. */
static void feed(apr_pool_t *p, cp_job_t *job, const uint8_t *data, size_t size)
{
    while (size > 0 && job->phase != CP_PHASE_BODY) {
        const uint8_t *end = memchr(data, '\n', size);
        size_t length = end ? (size_t)(end - data) + 1 : size;
        char *line = fuzz_copy(p, data, length);

        if (cp_job_on_header(line, 1, length, job) != length) {
            MUST(job->fault != CP_FAULT_NONE);
            return;
        }
        data += length;
        size -= length;
    }
    if (job->phase == CP_PHASE_BODY) {
        check_job(job);
    }
}

static void receive(apr_pool_t *p, unsigned how, const uint8_t *data,
                    size_t size)
{
    static cp_upstream_t upstream = {.config = {.name = "u"}};
    cp_bell_t *bell = cp_bell_create();
    cp_job_t *job;
    CURL *easy = curl_easy_init();

    upstream.config.max_body = 1000;
    job = cp_job_create(easy, &upstream, bell);
    MUST(job);
    job->follows_redirects = (how & 2) != 0;
    job->is_head = (how & 4) != 0;
    feed(p, job, data, size);
    cp_job_unref(job);
    cp_bell_unref(bell);
    curl_easy_cleanup(easy);
}

/* name NUL value NUL ...: those that the request brings. */
static void send_on(apr_pool_t *p, const uint8_t *data, size_t size)
{
    cp_upstream_t upstream = {.config = {.name = "u"}};
    cp_http_header_t headers[8];
    cp_fetch_request_t request = {.method = "GET", .headers = headers};
    struct curl_slist *list = NULL;
    cp_error_t err;

    while (size > 0 && request.header_count < 8) {
        cp_http_header_t *header = &headers[request.header_count++];
        size_t got = strnlen((const char *)data, size);

        header->name = fuzz_text(p, data, got);
        data += got + (got < size);
        size -= got + (got < size);
        got = strnlen((const char *)data, size);
        header->value = fuzz_text(p, data, got);
        data += got + (got < size);
        size -= got + (got < size);
    }
    if (cp_http_build_headers(&list, &upstream, &request, &err)
        == APR_SUCCESS) {
        for (struct curl_slist *line = list; line; line = line->next) {
            MUST(!strpbrk(line->data, "\r\n"));
            MUST(strncasecmp(line->data, "host:", 5) != 0
                 && strncasecmp(line->data, "transfer-encoding:", 18) != 0
                 && strncasecmp(line->data, "content-length:", 15) != 0);
        }
    }
    curl_slist_free_all(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *p = fuzz_pool();
    unsigned how = fuzz_byte(&data, &size);

    if (how & 1) {
        send_on(p, data, size);
    }
    else {
        receive(p, how, data, size);
    }
    return 0;
}
