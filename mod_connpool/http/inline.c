/* SPDX-License-Identifier: Apache-2.0
 * The runner without a loop: the calling thread drives the transfer itself, in
 * a multi handle of the connection's own, which also keeps its socket. */
#include "http/inline.h"

#include "base/clock.h"
#include "http/inherit.h"
#include "http/job/handle.h"
#include "http/job/job.h"
#include "http/upstream/guard.h"

#include <sys/select.h>
#include <unistd.h>

static CURLM *own_multi(cp_conn_t *conn)
{
    if (!conn->own) {
        conn->own = cp_http_multi_create();
        if (conn->own) {
            curl_multi_setopt(conn->own, CURLMOPT_MAXCONNECTS, 1L);
        }
    }
    return conn->own;
}

static curl_socket_t open_own(void *baton, curlsocktype purpose,
                              struct curl_sockaddr *address)
{
    cp_conn_t *conn = baton;

    conn->own_fd = cp_http_open_socket(conn->opening, purpose, address);
    conn->own_opened = cp_clock_now();
    return conn->own_fd;
}

static int close_own(void *baton, curl_socket_t fd)
{
    cp_conn_t *conn = baton;

    if (conn->own_fd == fd) {
        conn->own_fd = -1;
    }
    return close(fd);
}

int cp_inline_start(cp_conn_t *conn, cp_job_t *job)
{
    CURLM *multi = own_multi(conn);

    conn->is_kept = 0;
    conn->opening = &job->guard;
    curl_easy_setopt(job->easy, CURLOPT_OPENSOCKETFUNCTION, open_own);
    curl_easy_setopt(job->easy, CURLOPT_OPENSOCKETDATA, conn);
    curl_easy_setopt(job->easy, CURLOPT_CLOSESOCKETFUNCTION, close_own);
    curl_easy_setopt(job->easy, CURLOPT_CLOSESOCKETDATA, conn);
    return multi && curl_multi_add_handle(multi, job->easy) == CURLM_OK;
}

static void finish(cp_conn_t *conn, cp_job_t *job, CURLcode code)
{
    curl_multi_remove_handle(conn->own, job->easy);
    conn->is_kept = code == CURLE_OK && conn->own_fd >= 0;
    conn->own_used = cp_clock_now();
    cp_job_finish(job, CP_END_CURL, code);
}

void cp_inline_stop(cp_conn_t *conn, cp_job_t *job)
{
    if (job->end == CP_END_NONE) {
        curl_multi_remove_handle(conn->own, job->easy);
    }
}

void cp_inline_unpause(cp_conn_t *conn, cp_job_t *job)
{
    CURLcode code = curl_easy_pause(job->easy, CURLPAUSE_CONT);

    /* What curl kept back goes to our callback at once, and may be refused. */
    if (code != CURLE_OK) {
        finish(conn, job, code);
    }
}

/* While a name is looked up, curl waits for the thread that does it. */
static void keep_lookup_private(CURLM *multi)
{
    fd_set reads, writes, errors;
    int last = -1;

    FD_ZERO(&reads);
    FD_ZERO(&writes);
    FD_ZERO(&errors);
    if (curl_multi_fdset(multi, &reads, &writes, &errors, &last) == CURLM_OK) {
        for (int fd = 0; fd <= last; fd++) {
            if (FD_ISSET(fd, &reads) || FD_ISSET(fd, &writes)) {
                cp_http_keep_private(fd);
            }
        }
    }
}

void cp_inline_work(cp_conn_t *conn, cp_job_t *job, int fd,
                    apr_interval_time_t wait)
{
    struct curl_waitfd also = {.fd = fd, .events = CURL_WAIT_POLLIN};
    CURLMsg *msg;
    int running, left;

    curl_multi_perform(conn->own, &running);
    if (running > 0 && job->phase == CP_PHASE_CONNECT) {
        keep_lookup_private(conn->own);
    }
    if (running > 0 && !job->has_news) {
        curl_multi_poll(conn->own, fd >= 0 ? &also : NULL, fd >= 0,
                        (int)cp_http_milliseconds(wait), NULL);
        curl_multi_perform(conn->own, &running);
    }
    while ((msg = curl_multi_info_read(conn->own, &left))) {
        if (msg->msg == CURLMSG_DONE) {
            finish(conn, job, msg->data.result);
            return;
        }
    }
}
