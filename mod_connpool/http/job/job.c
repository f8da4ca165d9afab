/* SPDX-License-Identifier: Apache-2.0
 * One transfer: what curl's callbacks do with head and body. */
#include "http/job/job.h"

#include "base/bytes/buffer.h"
#include "base/clock.h"
#include "http/job/bell.h"
#include "http/job/fetch.h"
#include "http/job/gunzip.h"
#include "http/upload/upload.h"
#include "http/upstream/guard.h"
#include "http/upstream/upstream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of a coded body, decoded at once. */
#define DECODE_PIECE ((size_t)16 * 1024)

/* ---- Life ---- */

cp_job_t *cp_job_create(CURL *easy, const cp_upstream_t *upstream,
                        cp_bell_t *bell)
{
    cp_job_t *job = calloc(1, sizeof(*job));

    if (!job) {
        return NULL;
    }
    job->refs = 1;
    job->easy = easy;
    job->max_body = upstream->config.max_body;
    job->content_length = -1;
    job->active_at = cp_clock_now();
    pthread_mutex_init(&job->lock, NULL);
    cp_bell_ref(bell);
    job->bell = bell;
    job->guard.upstream = upstream;
    return job;
}

void cp_job_ref(cp_job_t *job)
{
    __atomic_fetch_add(&job->refs, 1, __ATOMIC_RELAXED);
}

void cp_job_unref(cp_job_t *job)
{
    if (__atomic_sub_fetch(&job->refs, 1, __ATOMIC_ACQ_REL) > 0) {
        return;
    }
    if (job->owner) {
        job->release(job->owner);
    }
    cp_bell_unref(job->bell);
    curl_url_cleanup(job->url);
    curl_slist_free_all(job->headers);
    pthread_mutex_destroy(&job->lock);
    cp_buffer_free(&job->text);
    cp_buffer_free(&job->body);
    free(job->location);
    cp_gunzip_free(job->gunzip);
    cp_upload_free(job->upload);
    free(job);
}

/* curl is content: so are we, if there was a head for it and, for a coded body,
 * the coding's own end. The declared length says nothing about that. */
static int is_whole(cp_job_t *job)
{
    if (!job->is_final) {
        job->fault = CP_FAULT_HEAD_CUT;
    }
    else if (job->gunzip && !cp_gunzip_is_complete(job->gunzip)) {
        job->fault = CP_FAULT_CODED;
    }
    return job->fault == CP_FAULT_NONE;
}

void cp_job_finish(cp_job_t *job, cp_job_end_t end, CURLcode code)
{
    CURL *orphan;

    if (cp_job_is_answered_early(job, code)) {
        code = CURLE_OK;
    }
    if (end == CP_END_CURL && code == CURLE_OK && !is_whole(job)) {
        code = CURLE_WEIRD_SERVER_REPLY;
    }
    pthread_mutex_lock(&job->lock);
    orphan = job->is_abandoned ? job->easy : NULL;
    job->code = code;
    job->end = end;
    job->has_news = 1;
    pthread_mutex_unlock(&job->lock);
    cp_bell_ring(job->bell);
    if (orphan) {
        curl_easy_cleanup(orphan);
    }
}

static void touch(cp_job_t *job)
{
    __atomic_store_n(&job->active_at, cp_clock_now(), __ATOMIC_RELAXED);
}

static size_t fail(cp_job_t *job, cp_job_fault_t fault)
{
    job->fault = fault;
    return 0;
}

/* ---- Head ---- */

/* Headers that are about this connection, or that would make the client
 * believe something about our own host or about bytes we have changed. A length
 * that stays true comes back in add_length. */
#define LEFT_OUT(name)                                                         \
    {                                                                          \
        name, sizeof(name) - 1                                                 \
    }
static const struct {
    const char *name;
    size_t size;
} left_out[] = {
    LEFT_OUT("Connection"),
    LEFT_OUT("Keep-Alive"),
    LEFT_OUT("Proxy-Authenticate"),
    LEFT_OUT("Proxy-Authentication-Info"),
    LEFT_OUT("Proxy-Connection"),
    LEFT_OUT("TE"),
    LEFT_OUT("Trailer"),
    LEFT_OUT("Transfer-Encoding"),
    LEFT_OUT("Upgrade"),
    LEFT_OUT("Alt-Svc"),
    LEFT_OUT("Strict-Transport-Security"),
    LEFT_OUT("Set-Cookie"),
    LEFT_OUT("Set-Cookie2"),
    LEFT_OUT("Content-Length"),
    LEFT_OUT("Content-Encoding"),
};

/* The administrator wants it, or the status says nothing without it. */
static int is_kept(const cp_job_t *job, const char *name)
{
    const char *const *wanted = job->guard.upstream->config.answer_headers;

    while (wanted && *wanted && strcasecmp(*wanted, name) != 0) {
        wanted++;
    }
    return (wanted && *wanted)
           || (job->status == 407
               && strcasecmp(name, "Proxy-Authenticate") == 0);
}

/* Sizes first: hardly a name is compared in vain. */
static int is_left_out(const cp_job_t *job, const char *name, size_t size)
{
    for (size_t i = 0; i < sizeof(left_out) / sizeof(left_out[0]); i++) {
        if (left_out[i].size == size
            && strcasecmp(left_out[i].name, name) == 0) {
            return !is_kept(job, name);
        }
    }
    return 0;
}

static int is_token(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        int is_alpha = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';

        if (!is_alpha
            && (c <= 0x20 || c >= 0x7f || strchr("()<>@,;:\\\"/[]?={}", c))) {
            return 0;
        }
    }
    return size > 0;
}

static int is_text(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];

        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return 0;
        }
    }
    return 1;
}

static cp_job_fault_t note_length(cp_job_t *job, const char *value)
{
    char *end;
    long long length;

    if (*value < '0' || *value > '9') {
        return CP_FAULT_HEAD;
    }
    length = strtoll(value, &end, 10);
    if (*end || (job->content_length >= 0 && job->content_length != length)) {
        return CP_FAULT_HEAD;
    }
    job->content_length = length;
    return CP_FAULT_NONE;
}

/* The one coding that was asked for, once. */
static cp_job_fault_t note_coding(cp_job_t *job, const char *value)
{
    if ((strcasecmp(value, "gzip") != 0 && strcasecmp(value, "x-gzip") != 0)
        || !job->accepts_gzip || job->gunzip) {
        return CP_FAULT_ENCODING;
    }
    job->gunzip = cp_gunzip_create();
    return job->gunzip ? CP_FAULT_NONE : CP_FAULT_MEMORY;
}

/* What curl or we must know of the answer, whether or not it is passed on. */
static cp_job_fault_t note_header(cp_job_t *job, const char *name,
                                  const char *value)
{
    if (strcasecmp(name, "Content-Length") == 0) {
        return note_length(job, value);
    }
    if (strcasecmp(name, "Content-Encoding") == 0) {
        if (strcasecmp(value, "identity") == 0) {
            return CP_FAULT_NONE;
        }
        job->is_coded = 1;
        return note_coding(job, value);
    }
    if (strcasecmp(name, "Transfer-Encoding") == 0) {
        job->is_coded = 1;
        return strcasecmp(value, "chunked") == 0 ? CP_FAULT_NONE
                                                 : CP_FAULT_ENCODING;
    }
    if (strcasecmp(name, "Connection") == 0) {
        size_t used = strlen(job->connection);

        snprintf(job->connection + used, sizeof(job->connection) - used, ",%s",
                 value);
    }
    else if (strcasecmp(name, "Location") == 0 && !job->location
             && job->follows_redirects) {
        job->location = strdup(value);
        return job->location ? CP_FAULT_NONE : CP_FAULT_MEMORY;
    }
    return CP_FAULT_NONE;
}

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t')) {
        at++;
    }
    return at;
}

/* Keep it in job->text, unless it is to be left out. */
static cp_job_fault_t add_header(cp_job_t *job, const char *line, size_t size)
{
    const char *end = line + size;
    const char *colon = memchr(line, ':', size);
    size_t name_size = colon ? (size_t)(colon - line) : 0;
    size_t start = job->text.size;
    const char *value;
    cp_job_fault_t fault;

    if (!is_token(line, name_size) || !is_text(line, size)) {
        return CP_FAULT_HEAD;
    }
    value = skip_blanks(colon + 1, end);
    while (end > value && (end[-1] == ' ' || end[-1] == '\t')) {
        end--;
    }
    if (!cp_buffer_try_append(&job->text, line, name_size)
        || !cp_buffer_try_append(&job->text, "", 1)
        || !cp_buffer_try_append(&job->text, value, (size_t)(end - value))
        || !cp_buffer_try_append(&job->text, "", 1)) {
        return CP_FAULT_MEMORY;
    }
    line = job->text.data + start;
    fault = note_header(job, line, line + name_size + 1);
    if (is_left_out(job, line, name_size)) {
        job->text.size = start;
    }
    else {
        job->header_count++;
    }
    return fault;
}

static int begin_head(cp_job_t *job, const char *line, size_t size)
{
    const char *space = memchr(line, ' ', size);
    const char *end = line + size;

    job->status = 0;
    job->text.size = 0;
    job->header_count = 0;
    job->content_length = -1;
    job->is_coded = 0;
    job->connection[0] = '\0';
    free(job->location);
    job->location = NULL;
    cp_gunzip_free(job->gunzip);
    job->gunzip = NULL;
    job->is_in_head = 1;
    if (!space || end - space < 4) {
        return 0;
    }
    for (const char *digit = space + 1; digit < space + 4; digit++) {
        if (*digit < '0' || *digit > '9') {
            return 0;
        }
        job->status = job->status * 10 + (*digit - '0');
    }
    return job->status >= 100 && job->status <= 599;
}

static int is_redirect(const cp_job_t *job)
{
    return job->location
           && (job->status == 301 || job->status == 302 || job->status == 303
               || job->status == 307 || job->status == 308);
}

/* The declared length, when it is that of the bytes that are passed on, or
 * would be for GET. */
static int add_length(cp_job_t *job)
{
    char line[48];
    int size;

    if (job->content_length < 0 || job->content_length > job->max_body
        || job->is_coded || job->status == 204 || job->status == 304) {
        return 1;
    }
    size = snprintf(line, sizeof(line), "Content-Length%c%lld", '\0',
                    (long long)job->content_length);
    job->header_count++;
    return cp_buffer_try_append(&job->text, line, (size_t)size + 1);
}

static int has_no_body(const cp_job_t *job)
{
    return job->is_head || job->status == 204 || job->status == 304;
}

/* An interim answer: the real one follows. But curl takes 101 for the last,
 * although nothing was to be switched to, and what is said of a body here for
 * the next one's. */
static cp_job_fault_t end_interim(const cp_job_t *job)
{
    return job->status == 101 || job->content_length >= 0 || job->is_coded
               ? CP_FAULT_HEAD
               : CP_FAULT_NONE;
}

static cp_job_fault_t end_head(cp_job_t *job)
{
    job->is_in_head = 0;
    if (job->status < 200) {
        return end_interim(job);
    }
    job->is_final = 1;
    if (has_no_body(job) || is_redirect(job)) {
        cp_gunzip_free(job->gunzip);
        job->gunzip = NULL;
    }
    if (is_redirect(job)) {
        return CP_FAULT_NONE; /* nobody sees it: the waiter goes on */
    }
    free(job->location);
    job->location = NULL;
    if (!job->is_head && job->content_length > job->max_body) {
        return CP_FAULT_SIZE;
    }
    if (!add_length(job)) {
        return CP_FAULT_MEMORY;
    }
    __atomic_store_n(&job->phase, CP_PHASE_BODY, __ATOMIC_RELAXED);
    pthread_mutex_lock(&job->lock);
    job->has_head = 1;
    job->has_news = 1;
    pthread_mutex_unlock(&job->lock);
    if (job->on_news) {
        job->on_news(job);
    }
    return CP_FAULT_NONE;
}

static cp_job_fault_t take_line(cp_job_t *job, const char *line, size_t size)
{
    job->header_bytes += size;
    if (job->header_bytes > CP_JOB_HEADERS_MAX) {
        return CP_FAULT_HEADERS;
    }
    if (job->is_final) {
        return CP_FAULT_NONE; /* a trailer */
    }
    while (size > 0 && (line[size - 1] == '\n' || line[size - 1] == '\r')) {
        size--;
    }
    if (!job->is_in_head) {
        return size >= 5 && memcmp(line, "HTTP/", 5) == 0
                       && begin_head(job, line, size)
                   ? CP_FAULT_NONE
                   : CP_FAULT_HEAD;
    }
    return size == 0 ? end_head(job) : add_header(job, line, size);
}

size_t cp_job_on_header(char *data, size_t unit, size_t count, void *baton)
{
    cp_job_t *job = baton;
    cp_job_fault_t fault;

    touch(job);
    fault = take_line(job, data, unit * count);
    return fault == CP_FAULT_NONE ? unit * count : fail(job, fault);
}

int cp_job_is_listed(const char *list, const char *name)
{
    size_t size = strlen(name);

    while (*list) {
        list += strspn(list, ", \t");
        if (strncasecmp(list, name, size) == 0
            && strcspn(list, ", \t") == size) {
            return 1;
        }
        list += strcspn(list, ", \t");
    }
    return 0;
}

cp_http_header_t *cp_job_headers(const cp_job_t *job, int *pcount)
{
    const char *text = job->text.data;
    cp_http_header_t *headers = malloc(((size_t)job->header_count + 1)
                                       * sizeof(*headers));
    int count = 0;

    for (int i = 0; headers && i < job->header_count; i++) {
        headers[count].name = text;
        text += strlen(text) + 1;
        headers[count].value = text;
        text += strlen(text) + 1;
        count += !cp_job_is_listed(job->connection, headers[count].name);
    }
    *pcount = count;
    return headers;
}

/* ---- Body ---- */

/* Is there room for so much more? Else the waiter will have the transfer go on
 * when it has taken what is there. */
static int has_room(cp_job_t *job, size_t size)
{
    int is_full;

    pthread_mutex_lock(&job->lock);
    is_full = job->body.size > 0 && job->body.size + size > CP_JOB_WINDOW;
    job->is_paused = is_full;
    pthread_mutex_unlock(&job->lock);
    return !is_full;
}

static cp_job_fault_t keep(cp_job_t *job, const char *data, size_t size)
{
    int is_first, is_kept;

    if (size == 0) {
        return CP_FAULT_NONE;
    }
    if (job->body_bytes + (apr_int64_t)size > job->max_body) {
        return CP_FAULT_SIZE;
    }
    pthread_mutex_lock(&job->lock);
    is_first = job->body.size == 0;
    is_kept = cp_buffer_try_append(&job->body, data, size);
    job->has_news = 1;
    pthread_mutex_unlock(&job->lock);
    job->body_bytes += (apr_int64_t)size;
    if (is_first && job->on_news) {
        job->on_news(job);
    }
    return is_kept ? CP_FAULT_NONE : CP_FAULT_MEMORY;
}

static size_t take_plain(cp_job_t *job, const char *data, size_t size)
{
    cp_job_fault_t fault;

    if (!has_room(job, size)) {
        return CURL_WRITEFUNC_PAUSE;
    }
    fault = keep(job, data, size);
    return fault == CP_FAULT_NONE ? size : fail(job, fault);
}

/* Decode only what there is room for, then pause: a chunk can grow a
 * thousandfold. To curl a chunk is taken as a whole or not at all, and shown
 * again after a pause: what of it is decoded already is skipped. */
static size_t take_coded(cp_job_t *job, const char *data, size_t size)
{
    const char *at = data + (job->decoded < size ? job->decoded : size);
    size_t left = size - (size_t)(at - data);
    char piece[DECODE_PIECE];
    size_t got;

    do {
        cp_gunzip_state_t state;
        cp_job_fault_t fault;

        if (!has_room(job, sizeof(piece))) {
            job->decoded = (size_t)(at - data);
            return CURL_WRITEFUNC_PAUSE;
        }
        got = sizeof(piece);
        state = cp_gunzip_run(job->gunzip, &at, &left, piece, &got);
        fault = keep(job, piece, got);
        if (state != CP_GUNZIP_GOING) {
            fault = state == CP_GUNZIP_DAMAGED ? CP_FAULT_CODED
                                               : CP_FAULT_MEMORY;
        }
        if (fault != CP_FAULT_NONE) {
            return fail(job, fault);
        }
    } while (left > 0 || got == sizeof(piece));
    job->decoded = 0;
    return size;
}

size_t cp_job_on_body(char *data, size_t unit, size_t count, void *baton)
{
    cp_job_t *job = baton;
    size_t size = unit * count;

    touch(job);
    if (!job->is_final) {
        return fail(job, CP_FAULT_HEAD);
    }
    if (job->location) {
        job->body_bytes += (apr_int64_t)size;
        return job->body_bytes > job->max_body ? fail(job, CP_FAULT_SIZE)
                                               : size;
    }
    return job->gunzip ? take_coded(job, data, size)
                       : take_plain(job, data, size);
}

/* ---- The handle ---- */

/* Called when the connection stands, and for reused ones as well, which may
 * have been opened under another upstream's rules. */
static int on_connected(void *baton, char *remote, char *local, int remote_port,
                        int local_port)
{
    cp_job_t *job = baton;

    if (!cp_http_may_use(&job->guard, remote)) {
        return CURL_PREREQFUNC_ABORT;
    }
    return cp_job_note_sending(job) ? CURL_PREREQFUNC_OK
                                    : CURL_PREREQFUNC_ABORT;
}

void cp_job_attach(cp_job_t *job)
{
    curl_easy_setopt(job->easy, CURLOPT_CURLU,
                     job->url ? job->url : job->guard.upstream->url);
    curl_easy_setopt(job->easy, CURLOPT_PRIVATE, job);
    curl_easy_setopt(job->easy, CURLOPT_ERRORBUFFER, job->curl_error);
    curl_easy_setopt(job->easy, CURLOPT_HEADERFUNCTION, cp_job_on_header);
    curl_easy_setopt(job->easy, CURLOPT_HEADERDATA, job);
    curl_easy_setopt(job->easy, CURLOPT_WRITEFUNCTION, cp_job_on_body);
    curl_easy_setopt(job->easy, CURLOPT_WRITEDATA, job);
    curl_easy_setopt(job->easy, CURLOPT_PREREQFUNCTION, on_connected);
    curl_easy_setopt(job->easy, CURLOPT_PREREQDATA, job);
    curl_easy_setopt(job->easy, CURLOPT_HTTPHEADER, job->headers);
    cp_job_attach_method(job);
}
