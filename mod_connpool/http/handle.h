/* SPDX-License-Identifier: Apache-2.0
 * The inside of upstreams and connections, for the files that use curl. */
#ifndef CP_HANDLE_H
#define CP_HANDLE_H

#include <curl/curl.h>

#include "http/upstream.h"

/** The address policy at work for one handle. */
typedef struct cp_guard_t {
    const cp_upstream_t *upstream;
    int is_refused;   /**< some address was refused; runner's */
    char address[64]; /**< which, and why: for the log */
} cp_guard_t;

/** A connection of cp_http_driver. The handle is NULL when the loop still
 * holds it; the next use makes a new one. */
typedef struct cp_conn_t {
    CURL *easy;
    CURLM *own; /**< runs the handle, and keeps its socket, without loop */
    cp_guard_t guard; /**< for cp_http_easy */
    int is_lent;      /**< cp_http_easy has shown the handle to strangers */
} cp_conn_t;

struct cp_upstream_t {
    cp_upstream_config_t config;
    CURLU *url;
    int is_plaintext;
    int is_literal; /**< the host is an address, written by the administrator */
};

/** Reset the handle and set every option that does not depend on a request. */
void cp_http_configure(CURL *easy, const cp_upstream_t *upstream,
                       cp_guard_t *guard);

/** OPENSOCKETFUNCTION: baton is a cp_guard_t. */
curl_socket_t cp_http_open_socket(void *baton, curlsocktype purpose,
                                  struct curl_sockaddr *address);

/** Rounded up, at least 1, for curl's options and poll. */
static inline long cp_http_milliseconds(apr_interval_time_t interval)
{
    apr_int64_t ms = interval / 1000 + (interval % 1000 != 0);

    return ms < 1 ? 1 : ms > 0x7fffffff ? 0x7fffffff : (long)ms;
}

/** Check the address in text form, of a socket that is open already. */
int cp_http_may_use(cp_guard_t *guard, const char *address);

#endif
