/* SPDX-License-Identifier: Apache-2.0
 * Easy handles: what is set on each, and how a connection keeps one. */
#ifndef CP_HANDLE_H
#define CP_HANDLE_H

#include <curl/curl.h>

#include "base/clock.h"
#include "http/upstream/guard.h"
#include "http/upstream/upstream.h"

/** What upstreams see of us. */
#define CP_HTTP_AGENT "mod_connpool/0.1"

/** A connection of cp_http_driver. The handle is NULL when the loop still
 * holds it; the next use makes a new one. */
typedef struct cp_conn_t {
    CURL *easy;
    CURLM *own;  /**< runs the handle, and keeps its socket, without loop */
    int own_fd;  /**< that socket, or -1 */
    int is_kept; /**< and it is open and idle, after a fetch that went well */
    cp_clock_t own_opened;
    cp_clock_t own_used; /**< the last time */
    cp_guard_t *opening; /**< of the fetch that may open it */
    cp_guard_t guard;    /**< for cp_http_easy */
    int is_lent;         /**< cp_http_easy has shown the handle to strangers */
    int is_ready; /**< the options of cp_http_prepare stand, and no others but
                       those that each fetch sets */
} cp_conn_t;

/** See that every option is set that does not depend on a request. The address
 * policy is for who runs the handle: where sockets are kept differs. */
void cp_http_prepare(cp_conn_t *conn, const cp_upstream_t *upstream);

/** The handle is not in use any more, and is to know nothing of its last fetch.
 * @param is_clean it went well, and set nothing that not each fetch sets */
void cp_http_settle(cp_conn_t *conn, int is_clean);

/** Rounded up, at least 1, for curl's options and poll. */
static inline long cp_http_milliseconds(apr_interval_time_t interval)
{
    apr_int64_t ms = interval / 1000 + (interval % 1000 != 0);

    return ms < 1 ? 1 : ms > 0x7fffffff ? 0x7fffffff : (long)ms;
}

#endif
