/* SPDX-License-Identifier: Apache-2.0
 * libcurl opens pairs of sockets for itself, to wake a poll up and to hear from
 * a thread that looks a name up, and older versions leave them to every program
 * that anybody in this process executes. */
#ifndef CP_INHERIT_H
#define CP_INHERIT_H

#include <curl/curl.h>

/** curl_multi_init, whose descriptors no other program inherits. */
CURLM *cp_http_multi_create(void);

/** A socket that curl waits for: neither it nor, when it is one of a pair, the
 * other one is inherited. */
void cp_http_keep_private(int fd);

#endif
