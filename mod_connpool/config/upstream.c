/* SPDX-License-Identifier: Apache-2.0
 * ConnPoolUpstream: an upstream and the pool of its connections. */
#include "config/upstream.h"

#include "glue.h"
#include "base/option.h"
#include "config/config.h"
#include "config/line/option.h"
#include "config/method/method.h"
#include "config/outgoing/outgoing.h"
#include "config/setting.h"
#include "http/upstream/upstream.h"

#include <apr_lib.h>
#include <apr_strings.h>

static const char *const allow_names[] = {"refuse", "allow", NULL};

typedef struct upstream_options_t {
    connpool_upstream_t up;
    const char *headers;
    const char *answer_headers;
    const char *rate;
    const char *methods;
    const char *set_headers;
} upstream_options_t;

#define UP(field) APR_OFFSETOF(upstream_options_t, up.field)

static const cp_option_t upstream_options[] = {
    {CP_INT("max", UP(pool.max), CP_UNSET, 1, 10000)},
    {CP_INT("perhost", UP(perhost), CP_UNSET, 1, 10000)},
    {CP_DURATION("acquire", UP(pool.acquire), 2 * CP_SECOND, 0, CP_HOUR)},
    {CP_INT("queue", UP(pool.queue), 256, 0, 100000)},
    {CP_DURATION("connect", UP(http.connect), CP_UNSET, CP_MILLISECOND,
                 CP_HOUR)},
    {CP_DURATION("read", UP(http.read), CP_UNSET, CP_MILLISECOND, CP_HOUR)},
    {CP_DURATION("total", UP(http.total), 30 * CP_SECOND, CP_MILLISECOND,
                 24 * CP_HOUR)},
    {CP_DURATION("keepalive", UP(http.keepalive), CP_UNSET, 0, CP_WEEK)},
    {CP_DURATION("lifetime", UP(http.lifetime), CP_HOUR, 0, CP_WEEK)},
    {CP_DURATION("leak", UP(pool.leak), 60 * CP_SECOND, 0, CP_WEEK)},
    {CP_SIZE("max-body", UP(http.max_body), 8 * CP_MIB, 1, CP_TIB)},
    {CP_INT("redirects", UP(http.redirects), 0, 0, 10)},
    {CP_INT("retry", UP(http.retries), 1, 0, 10)},
    {CP_INT("breaker", UP(breaker), 5, 0, 1000000)},
    {CP_FLAG("coalesce", UP(coalesces), 0)},
    {CP_FLAG("http2", UP(http.http2), 0)},
    {CP_FILE("ca", UP(http.ca))},
    {CP_FILE("cert", UP(http.cert))},
    {CP_FILE("key", UP(http.key))},
    {CP_CHOICE("private", UP(http.allow_private), 0, allow_names)},
    {CP_CHOICE("plaintext", UP(http.allow_plaintext), 0, allow_names)},
    {CP_WORD("headers", APR_OFFSETOF(upstream_options_t, headers))},
    {CP_WORD("answer-headers",
             APR_OFFSETOF(upstream_options_t, answer_headers))},
    {CP_WORD("methods", APR_OFFSETOF(upstream_options_t, methods))},
    {CP_SIZE("max-request", UP(max_request), CP_MIB, 0, CP_TIB)},
    {CP_WORD("socket", UP(http.socket))},
    {CP_WORD("set-headers", APR_OFFSETOF(upstream_options_t, set_headers))},
    {CP_WORD("rate", APR_OFFSETOF(upstream_options_t, rate))},
    {CP_CHOICE("overflow", UP(overflow_direct), 1, connpool_overflow_names)},
    {CP_INT("overflow-max", UP(pool.overflow_max), 10, 0, 1000)},
    {NULL},
};

const cp_option_t *connpool_upstream_keys(void)
{
    return upstream_options;
}

/* Headers that a request may hand on: names the client cannot misuse to break
 * the framing or to choose the host. */
static const char *read_header_list(cmd_parms *cmd, connpool_upstream_t *up,
                                    const char *list)
{
    char *names = apr_pstrdup(cmd->pool, list);
    char *name, *state;

    for (name = apr_strtok(names, ",", &state); name;
         name = apr_strtok(NULL, ",", &state)) {
        const char *c = name;

        while (apr_isalnum(*c) || *c == '-' || *c == '_') {
            c++;
        }
        if (*c || c == name) {
            return apr_psprintf(cmd->pool, "'%s' is not a header's name", name);
        }
        if (connpool_is_own_header(name)) {
            return apr_psprintf(
                cmd->pool, "'%s' cannot be handed on to an upstream", name);
        }
        APR_ARRAY_PUSH(up->headers, const char *) = name;
    }
    return up->headers->nelts > 0 ? NULL : "no header is named";
}

/* Headers of the answer that are passed on as well: any but those about the
 * connection or the bytes, which we change, and what httpd says itself. */
static const char *read_answer_headers(cmd_parms *cmd,
                                       const connpool_upstream_t *up,
                                       const char *list,
                                       apr_array_header_t *names)
{
    static const char *const refused[] = {"connection",
                                          "keep-alive",
                                          "proxy-authenticate",
                                          "proxy-authentication-info",
                                          "proxy-authorization",
                                          "proxy-connection",
                                          "te",
                                          "trailer",
                                          "trailers",
                                          "transfer-encoding",
                                          "upgrade",
                                          "http2-settings",
                                          "content-length",
                                          "content-encoding",
                                          "date",
                                          "server",
                                          NULL};
    char *rest = apr_pstrdup(cmd->pool, list);

    while (rest) {
        char *name = rest;
        apr_size_t size = strcspn(name, ",");

        rest = name[size] ? name + size + 1 : NULL;
        name[size] = '\0';
        if (*ap_scan_http_token(name) || !*name) {
            return apr_psprintf(cmd->pool, "'%s' is not a header's name", name);
        }
        for (const char *const *bad = refused; *bad; bad++) {
            if (strcasecmp(name, *bad) == 0) {
                return apr_psprintf(cmd->pool,
                                    "'%s' cannot be passed on: it is about the "
                                    "connection or its bytes, or httpd's own",
                                    name);
            }
        }
        if (up->coalesces && strcasecmp(name, "set-cookie") == 0) {
            return "'Set-Cookie' is for one client, and coalesce=on shares "
                   "answers";
        }
        APR_ARRAY_PUSH(names, const char *) = name;
    }
    return NULL;
}

int connpool_hands_on(const connpool_upstream_t *up, const char *header)
{
    for (int i = 0; i < up->headers->nelts; i++) {
        if (strcasecmp(APR_ARRAY_IDX(up->headers, i, const char *), header)
            == 0) {
            return 1;
        }
    }
    return 0;
}

static const char *read_header_lists(cmd_parms *cmd, upstream_options_t *target)
{
    connpool_upstream_t *up = &target->up;
    apr_array_header_t *names = apr_array_make(cmd->pool, 4,
                                               sizeof(const char *));
    const char *error = NULL;

    up->headers = apr_array_make(cmd->pool, 4, sizeof(const char *));
    if (target->headers) {
        error = read_header_list(cmd, up, target->headers);
        if (error) {
            return connpool_complaint(cmd, up->name, "headers", error);
        }
    }
    if (target->answer_headers) {
        error = read_answer_headers(cmd, up, target->answer_headers, names);
        if (error) {
            return connpool_complaint(cmd, up->name, "answer-headers", error);
        }
    }
    if (connpool_hands_on(up, "Range")) {
        APR_ARRAY_PUSH(names, const char *) = "Accept-Ranges";
    }
    APR_ARRAY_PUSH(names, const char *) = NULL;
    up->http.answer_headers = (const char *const *)names->elts;
    return NULL;
}

/* How it is asked. */
static const char *read_asking(cmd_parms *cmd, upstream_options_t *target)
{
    connpool_upstream_t *up = &target->up;
    const char *error = connpool_methods_read(
        cmd->pool, target->methods ? target->methods : "GET", 1, &up->methods);

    if (error) {
        return connpool_complaint(cmd, up->name, "methods", error);
    }
    if (up->http.socket) {
        error = connpool_check_socket(cmd, up->name, up->http.socket);
        up->bases->origin = apr_pstrcat(cmd->pool, "unix:", up->http.socket,
                                        NULL);
    }
    if (!error && up->http.socket && up->base_count > 1) {
        error = "goes with one URL, not with several";
    }
    if (error) {
        return connpool_complaint(cmd, up->name, "socket", error);
    }
    if (target->set_headers) {
        error = connpool_read_set_headers(cmd, target->set_headers, &up->http);
    }
    return error ? connpool_complaint(cmd, up->name, "set-headers", error)
                 : NULL;
}

static const char *add_base(apr_pool_t *p, connpool_upstream_t *up,
                            const char *url)
{
    connpool_base_t *base = &up->bases[up->base_count];
    const char *error = cp_upstream_check_url(p, url, &base->origin);

    if (error) { /* no word of the URL where it may hold a password */
        return strchr(url, '@') ? apr_pstrcat(p, "the URL ", error, NULL)
                                : apr_psprintf(p, "'%s' %s", url, error);
    }
    for (int i = 0; i < up->base_count; i++) {
        if (strcmp(up->bases[i].http.url, url) == 0) {
            return apr_psprintf(p, "'%s' is named twice", url);
        }
    }
    base->http.url = url;
    up->base_count++;
    return NULL;
}

/* "http://a/ http://b/" */
static const char *read_bases(apr_pool_t *p, connpool_upstream_t *up,
                              const char *text)
{
    char *url, *state, *urls = apr_pstrdup(p, text);
    const char *error = NULL;

    up->bases = apr_pcalloc(p, CONNPOOL_BASES_MAX * sizeof(*up->bases));
    for (url = apr_strtok(urls, " \t", &state); url && !error;
         url = apr_strtok(NULL, " \t", &state)) {
        error = up->base_count < CONNPOOL_BASES_MAX
                    ? add_base(p, up, url)
                    : apr_psprintf(p, "more than %d URLs", CONNPOOL_BASES_MAX);
    }
    if (!error && up->base_count == 0) {
        error = "no URL is named";
    }
    for (int i = 0; i < up->base_count; i++) {
        up->bases[i].name = up->base_count == 1
                                ? up->name
                                : apr_psprintf(p, "%s#%d", up->name, i + 1);
    }
    return error;
}

const char *connpool_cmd_upstream(cmd_parms *cmd, void *dummy, const char *line)
{
    upstream_options_t *target = apr_pcalloc(cmd->pool, sizeof(*target));
    const connpool_keys_t keys[] = {{upstream_options, target}, {NULL}};
    connpool_upstream_t *up = &target->up;
    const char **words;
    const char *error = connpool_read_words(
        cmd, line, 2, "ConnPoolUpstream NAME URL ...", &words);

    if (error) {
        return error;
    }
    cp_options_clear(upstream_options, target);
    cp_options_complete(upstream_options, target);
    up->name = up->pool.name = up->http.name = words[0];
    up->server = cmd->server;
    up->where = connpool_where(cmd);
    error = read_bases(cmd->pool, up, words[1]);
    if (error) {
        return connpool_complaint(cmd, up->name, NULL, error);
    }
    error = connpool_read_options(cmd, up->name, words + 2, keys);
    if (error) {
        return error;
    }
    error = read_header_lists(cmd, target);
    if (!error) {
        error = read_asking(cmd, target);
    }
    if (error) {
        return error;
    }
    if (target->rate) {
        error = connpool_read_rate(cmd->pool, target->rate, &up->rate);
        if (error) {
            return connpool_complaint(cmd, up->name, "rate", error);
        }
    }
    return connpool_define(cmd, CONNPOOL_UPSTREAM, up->name, up);
}
