/* SPDX-License-Identifier: Apache-2.0
 * What goes out: the URL and the headers of one request. */
#include "http/job/request.h"

#include "base/error.h"
#include "http/job/error.h"
#include "http/job/fetch.h"
#include "http/upstream/upstream.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

static apr_status_t bad_input(cp_error_t *err, const cp_upstream_t *upstream,
                              const char *cause)
{
    return cp_http_error(err, upstream, CP_ERR_INPUT, APR_EINVAL, cause);
}

static apr_status_t no_memory(cp_error_t *err, const cp_upstream_t *upstream)
{
    return cp_http_error(err, upstream, CP_ERR_MEMORY, APR_ENOMEM,
                         "out of memory");
}

static int is_printable(const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c <= 0x20 || c == 0x7f) {
            return 0;
        }
    }
    return 1;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One character of a path as a server may see it; its length goes to *psize. */
static int path_char(const char *at, size_t *psize)
{
    int high, low;

    *psize = 1;
    if (*at == '%' && (high = hex_value(at[1])) >= 0
        && (low = hex_value(at[2])) >= 0) {
        *psize = 3;
        return high * 16 + low;
    }
    return (unsigned char)*at;
}

/* ".." in any disguise that a server might undo. Parameters (";") belong to no
 * name, and "\" separates names for some. */
static int climbs(const char *path)
{
    int dots = 0, others = 0, c;
    size_t size;

    for (;; path += size) {
        c = path_char(path, &size);
        if (c == '\0' && size == 3) {
            return 1; /* %00 would end the name for some */
        }
        if (c == '\0' || c == '/' || c == '\\' || c == ';') {
            if (dots == 2 && !others) {
                return 1;
            }
            dots = others = 0;
            if (c == '\0') {
                return 0;
            }
        }
        else if (c == '.') {
            dots++;
        }
        else {
            others = 1;
        }
    }
}

/* As one text: parts that are set one by one curl encodes a little anew. */
static CURLUcode append(CURLU *url, const cp_upstream_t *upstream,
                        const char *more, const char *query)
{
    size_t path = strlen(upstream->path);
    const char *own = upstream->query;
    size_t size = strlen(upstream->root) + path + strlen(more) + strlen(own)
                  + strlen(query) + 4;
    const char *slash = *more && *more != '/' ? "/" : "";
    char *text = malloc(size);
    CURLUcode code;

    if (!text) {
        return CURLUE_OUT_OF_MEMORY;
    }
    path -= *more && path > 0 && upstream->path[path - 1] == '/';
    apr_snprintf(text, size, "%s%.*s%s%s%s%s%s%s", upstream->root, (int)path,
                 upstream->path, slash, more, *own || *query ? "?" : "", own,
                 *own && *query ? "&" : "", query);
    code = curl_url_set(url, CURLUPART_URL, text,
                        CURLU_DISALLOW_USER | CURLU_PATH_AS_IS);
    free(text);
    return code;
}

apr_status_t cp_http_build_url(CURLU **purl, const cp_upstream_t *upstream,
                               const cp_fetch_request_t *request,
                               cp_error_t *err)
{
    const char *path_info = request->path_info ? request->path_info : "";
    const char *query = request->query ? request->query : "";

    *purl = NULL;
    if (!cp_http_method(request->method)) {
        return bad_input(err, upstream, "the method is not one that is sent");
    }
    if (!is_printable(path_info) || strpbrk(path_info, "?#")) {
        return bad_input(err, upstream, "the path has a character not allowed");
    }
    if (climbs(path_info)) {
        return bad_input(err, upstream, "the path leaves the upstream's own");
    }
    if (!is_printable(query) || strchr(query, '#')) {
        return bad_input(err, upstream,
                         "the query has a character not allowed");
    }
    if (!*path_info && !*query) {
        return APR_SUCCESS;
    }
    *purl = curl_url();
    return *purl && append(*purl, upstream, path_info, query) == CURLUE_OK
               ? APR_SUCCESS
               : no_memory(err, upstream);
}

/* Those that frame the message or that are ours to set. */
static int is_ours(const char *name)
{
    static const char *const ours[] = {"Host",           "Connection",
                                       "Content-Length", "Transfer-Encoding",
                                       "Upgrade",        "TE",
                                       "Trailer",        "Accept-Encoding",
                                       "Keep-Alive",     "Proxy-Connection",
                                       "Expect"};

    for (size_t i = 0; i < sizeof(ours) / sizeof(*ours); i++) {
        if (strcasecmp(name, ours[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

static int is_sendable(const cp_http_header_t *header)
{
    if (!*header->name || is_ours(header->name)
        || strpbrk(header->name, "()<>@,;:\\\"/[]?={}")
        || !is_printable(header->name)) {
        return 0;
    }
    for (const char *c = header->value; *c; c++) {
        if (((unsigned char)*c < 0x20 && *c != '\t') || *c == 0x7f) {
            return 0;
        }
    }
    return 1;
}

static int add_line(struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*list, line);

    if (longer) {
        *list = longer;
    }
    return longer != NULL;
}

static int add_header(struct curl_slist **list, const cp_http_header_t *header)
{
    size_t size = strlen(header->name) + strlen(header->value) + 3;
    char *line = malloc(size);
    int is_added = 0;

    if (line) {
        /* curl's way to send a header without a value: a semicolon. */
        apr_snprintf(line, size, *header->value ? "%s: %s" : "%s;%s",
                     header->name, header->value);
        is_added = add_line(list, line);
    }
    free(line);
    return is_added;
}

int cp_http_wants_part(const cp_fetch_request_t *request)
{
    for (int i = 0; i < request->header_count; i++) {
        if (strcasecmp(request->headers[i].name, "Range") == 0) {
            return 1;
        }
    }
    return 0;
}

/* The administrator has said what it is. */
static int is_set(const cp_upstream_config_t *config, const char *name)
{
    for (int i = 0; config && i < config->set_header_count; i++) {
        if (strcasecmp(config->set_headers[i].name, name) == 0) {
            return 1;
        }
    }
    return 0;
}

/* All but those that `but` sets. */
static apr_status_t add_headers(struct curl_slist **plist,
                                const cp_upstream_t *upstream,
                                const cp_http_header_t *headers, int count,
                                const cp_upstream_config_t *but,
                                cp_error_t *err)
{
    for (int i = 0; i < count; i++) {
        if (!is_sendable(&headers[i])) {
            return bad_input(err, upstream, "a header cannot be sent");
        }
        if (!is_set(but, headers[i].name) && !add_header(plist, &headers[i])) {
            return no_memory(err, upstream);
        }
    }
    return APR_SUCCESS;
}

apr_status_t cp_http_build_headers(struct curl_slist **plist,
                                   const cp_upstream_t *upstream,
                                   const cp_fetch_request_t *request,
                                   cp_error_t *err)
{
    const cp_upstream_config_t *config = &upstream->config;
    apr_status_t rv = add_headers(plist, upstream, config->set_headers,
                                  config->set_header_count, NULL, err);

    if (rv == APR_SUCCESS) {
        rv = add_headers(plist, upstream, request->headers,
                         request->header_count, config, err);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    /* Not curl's option, or curl would decode: without asking for the end of
     * the coding, and as much as it likes in advance. */
    return add_line(plist, cp_http_wants_part(request)
                               ? "Accept-Encoding: identity"
                               : "Accept-Encoding: gzip")
                   && (!request->source || add_line(plist, "Expect:"))
               ? APR_SUCCESS
               : no_memory(err, upstream);
}

apr_status_t cp_http_redirect(CURLU *url, const cp_upstream_t *upstream,
                              const char *location, cp_error_t *err)
{
    if (curl_url_set(url, CURLUPART_URL, location,
                     CURLU_DISALLOW_USER | CURLU_PATH_AS_IS)
        || !cp_upstream_is_same_origin(url, upstream->url)) {
        return cp_error_set(err, CP_ERR_REFUSED, APR_SUCCESS,
                            "the upstream redirects to another place",
                            "upstream '%s': redirect to %.200s refused",
                            upstream->config.name, location);
    }
    curl_url_set(url, CURLUPART_FRAGMENT, NULL, 0);
    return APR_SUCCESS;
}
