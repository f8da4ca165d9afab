/* SPDX-License-Identifier: Apache-2.0
 * ConnPoolOrigins: what browsers are told of an answer, and whose writes are
 * allowed.
 *
 * Only browsers send Origin and Sec-Fetch-Site, and no script can forge them.
 * Who reads an answer the browser decides, by our headers; who writes is
 * decided here, for a form needs nobody's leave to be sent. */
#include "request/origin/origin.h"

#include "glue.h"
#include "base/origin/origin.h"
#include "config/origin/origins.h"
#include "config/setting.h"
#include "request/origin/own.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <util_filter.h>

#define MAX_AGE      "600" /* seconds that a browser may remember a 204 */
#define HEADERS_SIZE 1024  /* of the list of those that a page would send */
#define ALLOW_ORIGIN "Access-Control-Allow-Origin"
#define EXPOSED                                                                \
    "ETag, Location, Link, ConnPool-Truncated, Retry-After, "                  \
    "Content-Disposition, Content-Range, RateLimit, RateLimit-Policy"

/* Whose page makes the browser ask. */
typedef enum whence_t {
    NOWHERE,   /* nobody says so: no browser, or not for a page */
    HERE,      /* this server's */
    NAMED,     /* of an origin that ConnPoolOrigins names */
    ELSEWHERE, /* another's */
} whence_t;

static const connpool_origins_t *origins_of(request_rec *r)
{
    return connpool_dir(r)->origins;
}

static int is_named(const connpool_origins_t *origins,
                    const cp_origin_t *origin)
{
    for (int i = 0; origins && i < origins->named->nelts; i++) {
        if (cp_origin_equals(&APR_ARRAY_IDX(origins->named, i, cp_origin_t),
                             origin)) {
            return 1;
        }
    }
    return 0;
}

static int is_site(request_rec *r, const char *word)
{
    const char *site = apr_table_get(r->headers_in, "Sec-Fetch-Site");

    return site && strcasecmp(site, word) == 0;
}

static whence_t whence(request_rec *r)
{
    const char *text = apr_table_get(r->headers_in, "Origin");
    cp_origin_t origin;

    if (!text) {
        return is_site(r, "cross-site") || is_site(r, "same-site") ? ELSEWHERE
                                                                   : NOWHERE;
    }
    if (!cp_origin_parse(&origin, text)) {
        if (is_named(origins_of(r), &origin)) {
            return NAMED;
        }
        if (connpool_origin_is_own(r, &origin)) {
            return HERE;
        }
    }
    /* Whatever a proxy has made of our name. */
    return is_site(r, "same-origin") ? HERE : ELSEWHERE;
}

int connpool_origin_is_ruled(request_rec *r)
{
    return origins_of(r) != NULL;
}

/* --- writes --- */

/* Where nobody says whose pages may write: those of this site, which the
 * browser tells, or those of the name that it asks for. */
static int is_other_site(request_rec *r)
{
    const char *text = apr_table_get(r->headers_in, "Origin");
    const char *host = apr_table_get(r->headers_in, "Host");
    cp_origin_t origin, own;

    if (apr_table_get(r->headers_in, "Sec-Fetch-Site")) {
        return is_site(r, "cross-site");
    }
    if (!text || !host) {
        return 0;
    }
    if (cp_origin_parse(&origin, text)) {
        return 1;
    }
    /* A proxy may have taken TLS away: the scheme tells nothing. */
    if (!cp_origin_parse_host(&own, origin.is_secure, host, strlen(host))
        && cp_origin_equals(&origin, &own)) {
        return 0;
    }
    return !connpool_origin_is_own(r, &origin);
}

/* What a browser sends along by itself, whoever's page it is: not a token that
 * the page has put there. */
static int has_credentials(request_rec *r)
{
    const char *authorization = apr_table_get(r->headers_in, "Authorization");

    if (apr_table_get(r->headers_in, "Cookie")) {
        return 1;
    }
    return authorization ? strncasecmp(authorization, "Bearer ", 7) != 0
                         : r->user != NULL;
}

int connpool_is_cross_site(request_rec *r)
{
    const connpool_origins_t *origins = origins_of(r);

    if (!origins) {
        return is_other_site(r);
    }
    /* Anybody's page may write as anybody, not as its reader. */
    return whence(r) == ELSEWHERE && (!origins->is_any || has_credentials(r));
}

/* --- what browsers are told --- */

static void vary(request_rec *r)
{
    const char *known = apr_table_get(r->err_headers_out, "Vary");

    if (!known || !ap_find_token(r->pool, known, "Origin")) {
        apr_table_mergen(r->err_headers_out, "Vary", "Origin");
    }
}

/* Those of err_headers_out are on errors of others, too, as on a 401. */
void connpool_origin_announce(request_rec *r)
{
    const connpool_origins_t *origins = origins_of(r);
    whence_t from;

    if (!origins || r->main) {
        return;
    }
    if (origins->is_any) {
        apr_table_setn(r->err_headers_out, ALLOW_ORIGIN, "*");
        apr_table_setn(r->err_headers_out, "Access-Control-Expose-Headers",
                       EXPOSED);
        return;
    }
    if (origins->named->nelts > 0) {
        vary(r);
    }
    from = whence(r);
    if (from == NAMED || (from == HERE && connpool_origin_is_preflight(r))) {
        apr_table_setn(r->err_headers_out, ALLOW_ORIGIN,
                       apr_table_get(r->headers_in, "Origin"));
        apr_table_setn(r->err_headers_out, "Access-Control-Allow-Credentials",
                       "true");
        apr_table_setn(r->err_headers_out, "Access-Control-Expose-Headers",
                       EXPOSED);
    }
}

int connpool_origin_is_preflight(request_rec *r)
{
    return r->method_number == M_OPTIONS && !r->main && origins_of(r)
           && apr_table_get(r->headers_in, "Origin")
           && apr_table_get(r->headers_in, "Access-Control-Request-Method");
}

int connpool_origin_is_welcome(request_rec *r)
{
    return origins_of(r)->is_any || whence(r) != ELSEWHERE;
}

/* A list of names of headers, and nothing else. */
static int is_list(const char *text)
{
    for (const char *c = text; *c; c++) {
        if (!apr_isalnum(*c) && !strchr("!#$%&'*+-.^_`|~, \t", *c)) {
            return 0;
        }
    }
    return *text && strlen(text) <= HEADERS_SIZE;
}

void connpool_origin_allow(request_rec *r, const char *methods)
{
    const char *headers = apr_table_get(r->headers_in,
                                        "Access-Control-Request-Headers");

    r->status = HTTP_NO_CONTENT;
    r->status_line = NULL;
    apr_table_setn(r->headers_out, "Access-Control-Allow-Methods", methods);
    if (headers && is_list(headers)) {
        apr_table_setn(r->headers_out, "Access-Control-Allow-Headers", headers);
    }
    apr_table_setn(r->headers_out, "Access-Control-Max-Age", MAX_AGE);
    apr_table_unset(r->err_headers_out, "Access-Control-Expose-Headers");
}

int connpool_origin_owns(request_rec *r, const char *header)
{
    return origins_of(r) && strncasecmp(header, "Access-Control-", 15) == 0;
}

/* --- one Vary --- */

static ap_filter_rec_t *vary_filter;

static apr_status_t merge_vary(ap_filter_t *f, apr_bucket_brigade *bb)
{
    request_rec *r = f->r;
    const char *ours = apr_table_get(r->err_headers_out, "Vary");

    if (ours) {
        apr_table_mergen(r->headers_out, "Vary", ours);
        apr_table_unset(r->err_headers_out, "Vary");
    }
    ap_remove_output_filter(f);
    return ap_pass_brigade(f->next, bb);
}

void connpool_origin_watch(request_rec *r)
{
    if (apr_table_get(r->err_headers_out, "Vary")) {
        ap_add_output_filter_handle(vary_filter, NULL, r, r->connection);
    }
}

/* Before those that look at it, as caches do. */
void connpool_origin_register(void)
{
    vary_filter = ap_register_output_filter("CONNPOOL_VARY", merge_vary, NULL,
                                            AP_FTYPE_RESOURCE);
}
