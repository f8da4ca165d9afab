/* SPDX-License-Identifier: Apache-2.0
 * Who may see a report, and how one is sent. */
#include "report/access.h"

#include "glue.h"
#include "base/bytes/buffer.h"
#include "config/setting.h"
#include "request/output.h"

#include <http_protocol.h>
#include <util_script.h>

/* Stricter than cp_address_scope, which looks into addresses that are routed:
 * a sender at 2002:7f00:1::1 is anything but local. */
static int is_loopback(const apr_sockaddr_t *address)
{
    const struct in6_addr *v6 = &address->sa.sin6.sin6_addr;

    if (address->family == AF_INET) {
        return ntohl(address->sa.sin.sin_addr.s_addr) >> 24 == 127;
    }
    return address->family == AF_INET6
           && (IN6_IS_ADDR_LOOPBACK(v6)
               || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127));
}

/* As "Require local" sees it: loopback, or both ends have one address. */
static int is_local(const request_rec *r)
{
    return is_loopback(r->useragent_addr)
           || apr_sockaddr_equal(r->connection->local_addr, r->useragent_addr);
}

/* Local clients only, unless a Require says otherwise. */
static int may_see(request_rec *r)
{
    return connpool_dir(r)->has_require || is_local(r);
}

int connpool_report_guard(request_rec *r, apr_table_t **pargs)
{
    int rv;

    if (connpool_answer_method(r, AP_METHOD_BIT << M_GET)) {
        return OK;
    }
    rv = ap_discard_request_body(r);
    if (rv != OK) {
        return rv;
    }
    if (!may_see(r)) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                      "%s: refused to a client that is not local; a Require in "
                      "its <Location> would decide instead",
                      r->handler);
        return connpool_problem(r, HTTP_FORBIDDEN,
                                "only local clients may see this", NULL);
    }
    ap_args_to_table(r, pargs);
    return OK;
}

int connpool_send_report(request_rec *r, const char *content_type,
                         cp_buffer_t *buf)
{
    ap_set_content_type(r, content_type);
    ap_set_content_length(r, (apr_off_t)buf->size);
    apr_table_setn(r->headers_out, "X-Content-Type-Options", "nosniff");
    apr_table_setn(r->headers_out, "Referrer-Policy", "no-referrer");
    apr_table_setn(r->headers_out, "Content-Security-Policy",
                   "default-src 'none'; style-src 'self'; base-uri 'none'; "
                   "form-action 'none'; frame-ancestors 'none'; "
                   "script-src 'self'; connect-src 'self'");
    if (!r->header_only) {
        ap_rwrite(buf->data, (int)buf->size, r);
    }
    cp_buffer_free(buf);
    return OK;
}
