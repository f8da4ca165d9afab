/* SPDX-License-Identifier: Apache-2.0
 * The inside of an upstream, and its address policy at work. */
#ifndef CP_GUARD_H
#define CP_GUARD_H

#include <curl/curl.h>

#include "http/upstream/upstream.h"

struct cp_upstream_t {
    cp_upstream_config_t config;
    CURLU *url;            /**< only read: threads share it */
    const char *root;      /**< "https://host:port" */
    const char *path;      /**< "/" at least */
    const char *query;     /**< "": none */
    const char *authority; /**< for "Host:"; NULL: let curl say it */
    int is_plaintext;
    int is_literal; /**< the host is an address, written by the administrator */
};

/** The address policy at work for one handle. */
typedef struct cp_guard_t {
    const cp_upstream_t *upstream;
    int is_refused;   /**< some address was refused; runner's */
    char address[64]; /**< which, and why: for the log */
} cp_guard_t;

/** Do fetches share more in one place than sockets, one after another: sockets
 * at the same time, or authorities and sessions of TLS? */
int cp_upstream_gains_from_loop(const cp_upstream_t *upstream);

/** Scheme, host and port (inside.c). */
int cp_upstream_is_same_origin(CURLU *a, CURLU *b);

/** OPENSOCKETFUNCTION: baton is a cp_guard_t. */
curl_socket_t cp_http_open_socket(void *baton, curlsocktype purpose,
                                  struct curl_sockaddr *address);

/** Check the address in text form, of a socket that is open already. */
int cp_http_may_use(cp_guard_t *guard, const char *address);

#endif
