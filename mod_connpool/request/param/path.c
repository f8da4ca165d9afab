/* SPDX-License-Identifier: Apache-2.0
 * A part of a request's path in the encoding that it came in. httpd decodes
 * r->uri, and no encoding of that is the client's again: "%2F" is not "/", and
 * what AllowEncodedSlashes NoDecode keeps looks like "%252F" decoded. */
#include "request/param/path.h"

#include "glue.h"

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

/* As the client has sent it; NULL: somebody has rewritten the path. */
static const char *sent_tail(request_rec *r, const char *tail)
{
    apr_size_t size = strlen(r->uri), rest = strlen(tail);
    const char *encoded = encoded_path(r);

    return encoded && rest <= size && strcmp(r->uri + size - rest, tail) == 0
               ? find_tail(encoded, r->uri, r->uri + size - rest)
               : NULL;
}

const char *connpool_encoded_tail(request_rec *r, const char *tail)
{
    const char *found = sent_tail(r, tail);

    return found ? encode_rest(r, found) : encode_anew(r, tail);
}

/* "%2F", or what becomes it. */
static int has_encoded_slash(const char *path)
{
    for (; *path && *path != '?'; path++) {
        if (strncasecmp(path, "%2F", 3) == 0
            || strncasecmp(path, "%252F", 5) == 0) {
            return 1;
        }
    }
    return 0;
}

const char *connpool_raw_tail(request_rec *r, const char *tail)
{
    const char *found = sent_tail(r, tail);

    if (!found && slash_config(r)->allow_encoded_slashes && r->unparsed_uri
        && has_encoded_slash(r->unparsed_uri)) {
        return NULL;
    }
    return found ? found : encode_anew(r, tail);
}
