/* SPDX-License-Identifier: Apache-2.0
 * curl opens and closes, keeps, and does all that is not plain; between its
 * uses the socket of a plain connection is silent, and a request and its answer
 * can go over it without curl's multi handle, whose states, timers and look-ups
 * cost more than everything else of a fetch. What curl then finds is an idle
 * socket, or a closed one. */
#include "http/kept/kept.h"

#include "base/bytes/buffer.h"
#include "base/clock.h"
#include "http/job/handle.h"
#include "http/job/job.h"
#include "http/kept/reader.h"
#include "http/upstream/guard.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define FIRST_ROOM ((size_t)16 * 1024)

struct cp_kept_t {
    cp_conn_t *conn;
    cp_job_t *job;
    int fd;
    cp_buffer_t out;
    size_t sent;
    cp_clock_t sent_at;
    cp_clock_t first_at;
    cp_reader_t reader;
    char *in; /* what has come, and was not used yet, lies between */
    size_t begin, end, room;
};

/* --- may it be used? --- */

static int is_plain(const cp_job_t *job)
{
    return !job->upload && job->guard.upstream->authority
           && (job->is_head || strcmp(job->method, "GET") == 0);
}

/* As curl has been told with its options. */
static int is_young(const cp_conn_t *conn, const cp_upstream_config_t *config)
{
    cp_clock_t now = cp_clock_now();

    return config->keepalive >= APR_USEC_PER_SEC
           && now - conn->own_used < config->keepalive
           && (config->lifetime <= 0
               || now - conn->own_opened < config->lifetime);
}

/* Whatever can be read before the request is no answer to it. */
static int is_silent(int fd)
{
    char byte;

    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0
           && (errno == EAGAIN || errno == EWOULDBLOCK);
}

/* Nothing more comes over it. curl finds that out when it looks at it. */
static void say_goodbye(cp_conn_t *conn)
{
    if (conn->own_fd >= 0) {
        shutdown(conn->own_fd, SHUT_RDWR);
    }
    conn->is_kept = 0;
}

/* The other side may be writing still, and must not do so for ever: only curl
 * can close its socket, and does so together with what keeps it. */
static void close_socket(cp_conn_t *conn)
{
    if (conn->own) {
        curl_multi_cleanup(conn->own);
        conn->own = NULL;
    }
    conn->is_kept = 0;
}

/* --- the request --- */

static void put(cp_buffer_t *out, const char *text)
{
    cp_buffer_append(out, text, strlen(text));
}

static int put_place(cp_buffer_t *out, const cp_job_t *job)
{
    const cp_upstream_t *upstream = job->guard.upstream;
    char *path = NULL, *query = NULL;
    CURLUcode code = CURLUE_OK;

    if (!job->url) {
        put(out, upstream->path);
        put(out, *upstream->query ? "?" : "");
        put(out, upstream->query);
        return 1;
    }
    if (curl_url_get(job->url, CURLUPART_PATH, &path, 0) == CURLUE_OK) {
        put(out, path);
        code = curl_url_get(job->url, CURLUPART_QUERY, &query, 0);
    }
    if (query) {
        put(out, "?");
        put(out, query);
    }
    curl_free(query);
    curl_free(path);
    return path && (code == CURLUE_OK || code == CURLUE_NO_QUERY);
}

static int has_line(const struct curl_slist *list, const char *name)
{
    size_t size = strlen(name);

    while (list && strncasecmp(list->data, name, size) != 0) {
        list = list->next;
    }
    return list != NULL;
}

/* "Name: value", or curl's way to say that there is no value. */
static void put_lines(cp_buffer_t *out, const struct curl_slist *list)
{
    for (; list; list = list->next) {
        size_t size = strlen(list->data);

        if (list->data[size - 1] == ';' && !strchr(list->data, ':')) {
            cp_buffer_append(out, list->data, size - 1);
            put(out, ":");
        }
        else {
            cp_buffer_append(out, list->data, size);
        }
        put(out, "\r\n");
    }
}

/* What curl would send. */
static int put_request(cp_buffer_t *out, const cp_job_t *job)
{
    put(out, job->method);
    put(out, " ");
    if (!put_place(out, job)) {
        return 0;
    }
    put(out, " HTTP/1.1\r\nHost: ");
    put(out, job->guard.upstream->authority);
    put(out, "\r\n");
    if (!has_line(job->headers, "User-Agent:")) {
        put(out, "User-Agent: " CP_HTTP_AGENT "\r\n");
    }
    if (!has_line(job->headers, "Accept:")) {
        put(out, "Accept: */*\r\n");
    }
    put_lines(out, job->headers);
    put(out, "\r\n");
    return !out->has_failed;
}

cp_kept_t *cp_kept_start(cp_conn_t *conn, cp_job_t *job)
{
    cp_kept_t *kept;

    if (!conn->is_kept || conn->own_fd < 0 || !is_plain(job)
        || !is_young(conn, &job->guard.upstream->config)) {
        return NULL;
    }
    if (!is_silent(conn->own_fd)) {
        say_goodbye(conn);
        return NULL;
    }
    kept = malloc(sizeof(*kept));
    if (!kept) {
        return NULL;
    }
    *kept = (cp_kept_t){.conn = conn,
                        .job = job,
                        .fd = conn->own_fd,
                        .out = CP_BUFFER_MAY_FAIL,
                        .room = FIRST_ROOM};
    kept->in = malloc(kept->room);
    if (!kept->in || !put_request(&kept->out, job)) {
        cp_buffer_free(&kept->out);
        free(kept->in);
        free(kept);
        return NULL;
    }
    cp_reader_begin(&kept->reader, job);
    return kept;
}

/* --- at work --- */

static void finish(cp_kept_t *kept, CURLcode code)
{
    kept->conn->own_used = cp_clock_now();
    if (code != CURLE_OK || kept->begin != kept->end) {
        close_socket(kept->conn);
    }
    else if (!cp_reader_may_keep(&kept->reader)) {
        say_goodbye(kept->conn);
    }
    cp_job_finish(kept->job, CP_END_CURL, code);
}

/* The job's: to be looked at by who waits. */
static int has_news(const cp_kept_t *kept)
{
    return kept->job->has_news;
}

static void use(cp_kept_t *kept)
{
    size_t used;
    cp_read_t found = cp_reader_feed(&kept->reader, kept->in + kept->begin,
                                     kept->end - kept->begin, &used);

    kept->begin += used;
    if (found == CP_READ_DONE) {
        finish(kept, CURLE_OK);
    }
    else if (found == CP_READ_FAILED) {
        finish(kept, kept->reader.code);
    }
}

/* A line may be longer than the room is, but no longer than a head. */
static int make_room(cp_kept_t *kept)
{
    char *grown;

    if (kept->begin > 0) {
        memmove(kept->in, kept->in + kept->begin, kept->end - kept->begin);
        kept->end -= kept->begin;
        kept->begin = 0;
    }
    if (kept->end < kept->room) {
        return 1;
    }
    if (kept->room > CP_JOB_HEADERS_MAX) {
        kept->job->fault = CP_FAULT_HEADERS;
        return 0;
    }
    grown = realloc(kept->in, kept->room * 2);
    if (!grown) {
        kept->job->fault = CP_FAULT_MEMORY;
        return 0;
    }
    kept->in = grown;
    kept->room *= 2;
    return 1;
}

/* The other side has closed: was that the answer's end? */
static int end(cp_kept_t *kept)
{
    if (kept->first_at == 0) {
        return 0;
    }
    if (cp_reader_end(&kept->reader) == CP_READ_DONE) {
        kept->reader.frame = CP_FRAME_CLOSE;
        finish(kept, CURLE_OK);
    }
    else {
        finish(kept, kept->reader.code);
    }
    return 1;
}

static int note_error(cp_kept_t *kept, CURLcode code, const char *what)
{
    char *text = kept->job->curl_error;

    if (kept->first_at == 0) {
        return 0;
    }
    snprintf(text, CURL_ERROR_SIZE, "%s failure: %s", what, strerror(errno));
    finish(kept, code);
    return 1;
}

static int is_patience(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

static int receive(cp_kept_t *kept)
{
    ssize_t got;

    if (!make_room(kept)) {
        finish(kept, CURLE_WRITE_ERROR);
        return 1;
    }
    got = recv(kept->fd, kept->in + kept->end, kept->room - kept->end,
               MSG_DONTWAIT);
    if (got < 0) {
        return is_patience(errno) || note_error(kept, CURLE_RECV_ERROR, "Recv");
    }
    if (got == 0) {
        return end(kept);
    }
    if (kept->first_at == 0) {
        kept->first_at = cp_clock_now();
    }
    kept->end += (size_t)got;
    use(kept);
    return 1;
}

static int send_rest(cp_kept_t *kept)
{
    ssize_t sent = send(kept->fd, kept->out.data + kept->sent,
                        kept->out.size - kept->sent,
                        MSG_NOSIGNAL | MSG_DONTWAIT);

    if (sent < 0) {
        return is_patience(errno) || note_error(kept, CURLE_SEND_ERROR, "Send");
    }
    kept->sent += (size_t)sent;
    return 1;
}

static int begin(cp_kept_t *kept)
{
    kept->sent_at = cp_clock_now();
    if (!cp_job_note_sending(kept->job)) {
        finish(kept, CURLE_ABORTED_BY_CALLBACK);
        return 1;
    }
    return send_rest(kept);
}

int cp_kept_work(cp_kept_t *kept, apr_interval_time_t wait)
{
    struct pollfd poll_for = {.fd = kept->fd, .events = POLLIN};

    if (kept->sent_at == 0 && !begin(kept)) {
        return 0;
    }
    if (kept->begin < kept->end && !has_news(kept)) {
        use(kept);
    }
    if (has_news(kept)) {
        return 1;
    }
    if (kept->sent < kept->out.size) {
        poll_for.events |= POLLOUT;
    }
    if (poll(&poll_for, 1, (int)cp_http_milliseconds(wait)) <= 0) {
        return 1;
    }
    if ((poll_for.revents & POLLOUT) && !send_rest(kept)) {
        return 0;
    }
    return has_news(kept) || !(poll_for.revents & ~POLLOUT) || receive(kept);
}

apr_interval_time_t cp_kept_first_byte(const cp_kept_t *kept)
{
    return kept->first_at > 0 ? kept->first_at - kept->sent_at : -1;
}

void cp_kept_stop(cp_kept_t *kept)
{
    if (kept->job->end == CP_END_NONE) {
        close_socket(kept->conn);
    }
    cp_buffer_free(&kept->out);
    free(kept->in);
    free(kept);
}
