/* SPDX-License-Identifier: Apache-2.0
 * A part of a request's path in the encoding that it came in. httpd decodes
 * r->uri, and no encoding of that is the client's again: "%2F" is not "/", and
 * what AllowEncodedSlashes NoDecode keeps looks like "%252F" decoded. */
#include "serve/path.h"

#include "glue.h"
#include "config/setting.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_core.h>

static int hex_digit(char c)
{
    return apr_isdigit(c) ? c - '0' : (c | 0x20) - 'a' + 10;
}

/* AllowEncodedSlashes as it was when httpd decoded the path: of the server, for
 * no place was known yet. */
static const core_dir_config *slash_config(const request_rec *r)
{
    return ap_get_core_module_config(r->server->lookup_defaults);
}

/* The path of the request line, as httpd has cleaned it before decoding. */
static const char *encoded_path(request_rec *r)
{
    const core_server_config *core = ap_get_core_module_config(
        r->server->module_config);
    unsigned flags = AP_NORMALIZE_NOT_ABOVE_ROOT
                     | AP_NORMALIZE_DECODE_UNRESERVED;
    const char *begin = r->unparsed_uri ? r->unparsed_uri : "";
    const char *host = strstr(begin, "://");
    char *path;

    if (*begin != '/' && host) {
        begin = host + 3 + strcspn(host + 3, "/?#");
    }
    path = apr_pstrmemdup(r->pool, begin, strcspn(begin, "?#"));
    if (core->merge_slashes != AP_CORE_CONFIG_OFF) {
        flags |= AP_NORMALIZE_MERGE_SLASHES;
    }
    return *path == '/' && ap_normalize_path(path, flags) ? path : NULL;
}

/* Where in `encoded` that begins which has become `tail`, the end of `plain`.
 * NULL: they are not the same path. */
static const char *find_tail(const char *encoded, const char *plain,
                             const char *tail)
{
    const char *found = NULL;

    for (;;) {
        int is_escape = *encoded == '%' && apr_isxdigit(encoded[1])
                        && apr_isxdigit(encoded[2]);

        if (plain == tail) {
            found = encoded;
        }
        if (*plain == '\0' || *encoded == '\0') {
            return *plain == *encoded ? found : NULL;
        }
        if (is_escape
            && (unsigned char)*plain
                   == hex_digit(encoded[1]) * 16 + hex_digit(encoded[2])) {
            encoded += 3;
            plain++;
        }
        else if (*plain == *encoded) { /* a slash's escape is kept as it is */
            encoded++;
            plain++;
        }
        else {
            return NULL;
        }
    }
}

/* What a URL must not contain is encoded, slashes that httpd has decoded are,
 * and nothing else is changed. */
static const char *encode_rest(request_rec *r, const char *path)
{
    const core_dir_config *core = slash_config(r);
    char *encoded = apr_palloc(r->pool, 3 * strlen(path) + 1);
    char *out = encoded;

    for (; *path; path++) {
        if (core->decode_encoded_slashes && strncasecmp(path, "%2F", 3) == 0) {
            *out++ = '/';
            path += 2;
        }
        else if (apr_isalnum(*path) || strchr("-._~!$&'()*+,;=:@/%", *path)) {
            *out++ = *path;
        }
        else {
            out += apr_snprintf(out, 4, "%%%02X", (unsigned char)*path);
        }
    }
    *out = '\0';
    return encoded;
}

/* Somebody has rewritten the path. Only of slashes is it known which were
 * encoded, where httpd has kept them so. */
static const char *encode_anew(request_rec *r, const char *tail)
{
    const core_dir_config *core = slash_config(r);
    char *encoded = ap_os_escape_path(r->pool, tail, 1);
    char *out = encoded;

    if (!core->allow_encoded_slashes || core->decode_encoded_slashes) {
        return encoded;
    }
    for (const char *in = encoded; *in; in++) {
        *out++ = *in;
        if (strncasecmp(in, "%252F", 5) == 0) {
            in += 2;
        }
    }
    *out = '\0';
    return encoded;
}

const char *connpool_encoded_tail(request_rec *r, const char *tail)
{
    apr_size_t size = strlen(r->uri), rest = strlen(tail);
    const char *encoded = encoded_path(r);
    const char *found = NULL;

    if (encoded && rest <= size && strcmp(r->uri + size - rest, tail) == 0) {
        found = find_tail(encoded, r->uri, r->uri + size - rest);
    }
    return found ? encode_rest(r, found) : encode_anew(r, tail);
}

/* The Location that serves, without the slash at its end; NULL: another kind of
 * place does. */
static const char *location_of(request_rec *r)
{
    const connpool_place_t *place = &connpool_dir(r)->served;
    apr_size_t n;

    if (place->kind != CONNPOOL_PLACE_LOCATION || !place->path) {
        return NULL;
    }
    n = strlen(place->path);
    while (n > 0 && place->path[n - 1] == '/') {
        n--;
    }
    return apr_pstrndup(r->pool, place->path, n);
}

const char *connpool_place_path(request_rec *r)
{
    const char *location = location_of(r);
    apr_size_t size = strlen(r->uri);
    apr_size_t rest = r->path_info ? strlen(r->path_info) : 0;

    return location ? location
                    : apr_pstrndup(r->pool, r->uri,
                                   rest <= size ? size - rest : size);
}

const char *connpool_path_behind_place(request_rec *r)
{
    const char *location = location_of(r);
    apr_size_t n = location ? strlen(location) : 0;

    if (!location) {
        return r->path_info ? connpool_encoded_tail(r, r->path_info) : "";
    }
    return strncmp(r->uri, location, n) == 0
               ? connpool_encoded_tail(r, r->uri + n)
               : "";
}
