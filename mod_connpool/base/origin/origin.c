/* SPDX-License-Identifier: Apache-2.0 */
#include "base/origin/origin.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <apr_lib.h>

#define NO_HOST  "has no host"
#define BAD_HOST "has a host that is none"
#define BAD_PORT "has a port that is none: 1 to 65535"

static const struct {
    const char *text;
    int is_secure;
} schemes[] = {{"https://", 1}, {"http://", 0}};

/* What stands where only a host and a port may, in words. */
static const char *explain(char c)
{
    switch (c) {
    case '/':
        return "has a path: an origin ends with its host or port";
    case '*':
        return "has a wildcard: each origin has to be named";
    case '@':
        return "has a user: an origin is a scheme, a host and a port";
    case '?':
    case '#':
        return "has a query: an origin ends with its host or port";
    default:
        return (unsigned char)c >= 0x80
                   ? "has letters beyond ASCII: write the name as browsers "
                     "send it, xn--..."
                   : BAD_HOST;
    }
}

static int is_name_char(char c)
{
    return apr_isalnum(c) || c == '-' || c == '_' || c == '.';
}

static const char *take_name(cp_origin_t *origin, const char *text,
                             apr_size_t size)
{
    if (size > 0 && text[size - 1] == '.') {
        size--; /* the same name, said to be complete */
    }
    if (size == 0) {
        return NO_HOST;
    }
    if (size >= sizeof(origin->host)) {
        return BAD_HOST;
    }
    for (apr_size_t i = 0; i < size; i++) {
        if (!is_name_char(text[i])) {
            return explain(text[i]);
        }
        if (text[i] == '.' && (i == 0 || text[i - 1] == '.')) {
            return BAD_HOST;
        }
        origin->host[i] = (char)apr_tolower(text[i]);
    }
    if (origin->host[size - 1] == '.') {
        return BAD_HOST;
    }
    origin->host[size] = '\0';
    return NULL;
}

/* "[2001:DB8::1]" without its brackets. */
static const char *take_ipv6(cp_origin_t *origin, const char *text,
                             apr_size_t size)
{
    char address[INET6_ADDRSTRLEN];
    struct in6_addr bytes;

    if (size >= sizeof(address)) {
        return BAD_HOST;
    }
    memcpy(address, text, size);
    address[size] = '\0';
    if (inet_pton(AF_INET6, address, &bytes) != 1) {
        return BAD_HOST;
    }
    inet_ntop(AF_INET6, &bytes, address, sizeof(address));
    snprintf(origin->host, sizeof(origin->host), "[%s]", address);
    return NULL;
}

/* Digits up to the end. */
static const char *take_port(cp_origin_t *origin, const char *text,
                             apr_size_t size)
{
    int port = 0;

    for (apr_size_t i = 0; i < size; i++) {
        if (!apr_isdigit(text[i])) {
            return strchr("/?#*", text[i]) ? explain(text[i]) : BAD_PORT;
        }
        port = port * 10 + (text[i] - '0');
        if (port > 65535) {
            return BAD_PORT;
        }
    }
    origin->port = port;
    return port > 0 ? NULL : BAD_PORT;
}

const char *cp_origin_parse_host(cp_origin_t *origin, int is_secure,
                                 const char *text, apr_size_t size)
{
    const char *end = text + size, *colon, *error;

    origin->is_secure = is_secure;
    origin->port = is_secure ? 443 : 80;
    if (size > 0 && *text == '[') {
        const char *bracket = memchr(text, ']', size);

        if (!bracket) {
            return BAD_HOST;
        }
        error = take_ipv6(origin, text + 1, (apr_size_t)(bracket - text) - 1);
        colon = bracket + 1;
        if (!error && colon < end && *colon != ':') {
            return explain(*colon);
        }
    }
    else {
        colon = memchr(text, ':', size);
        colon = colon ? colon : end;
        error = take_name(origin, text, (apr_size_t)(colon - text));
    }
    return error || colon == end
               ? error
               : take_port(origin, colon + 1, (apr_size_t)(end - colon) - 1);
}

const char *cp_origin_parse(cp_origin_t *origin, const char *text)
{
    if (strcasecmp(text, "null") == 0) {
        return "is what pages without an origin send: anybody's";
    }
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        apr_size_t size = strlen(schemes[i].text);

        if (strncasecmp(text, schemes[i].text, size) == 0) {
            return cp_origin_parse_host(origin, schemes[i].is_secure,
                                        text + size, strlen(text + size));
        }
    }
    return "begins with neither https:// nor http://";
}

int cp_origin_equals(const cp_origin_t *a, const cp_origin_t *b)
{
    return a->is_secure == b->is_secure && a->port == b->port
           && strcmp(a->host, b->host) == 0;
}
