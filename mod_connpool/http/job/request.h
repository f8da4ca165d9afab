/* SPDX-License-Identifier: Apache-2.0
 * What goes out: the URL and the headers of one request. */
#ifndef CP_REQUEST_H
#define CP_REQUEST_H

#include <curl/curl.h>

#include "base/error.h"
#include "http/job/fetch.h"
#include "http/upstream/upstream.h"

/** The upstream's URL with the request's path and query. *purl is NULL when it
 * is the upstream's own, and may be set on failure as well; free it with
 * curl_url_cleanup. */
apr_status_t cp_http_build_url(CURLU **purl, const cp_upstream_t *upstream,
                               const cp_fetch_request_t *request,
                               cp_error_t *err);

/** The method as a literal; NULL: it is none that is ever sent (sending.c). */
const char *cp_http_method(const char *method);

/** Is a range of the answer asked for? What is coded cannot be decoded then. */
int cp_http_wants_part(const cp_fetch_request_t *request);

/** Append to *plist, which the caller frees in any case. */
apr_status_t cp_http_build_headers(struct curl_slist **plist,
                                   const cp_upstream_t *upstream,
                                   const cp_fetch_request_t *request,
                                   cp_error_t *err);

/** Follow a Location within the upstream's origin: changes url. */
apr_status_t cp_http_redirect(CURLU *url, const cp_upstream_t *upstream,
                              const char *location, cp_error_t *err);

#endif
