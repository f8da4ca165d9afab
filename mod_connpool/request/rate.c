/* SPDX-License-Identifier: Apache-2.0
 * How often a client may come, and an upstream be asked. */
#include "glue.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "child/child.h"
#include "config/setting.h"
#include "config/upstream.h"
#include "pool/rate/rate.h"
#include "request/account.h"
#include "request/output.h"
#include "stats/cell.h"
#include "stats/segment.h"
#include "stats/stats.h"

#include <apr_strings.h>

#define TELL_EVERY apr_time_from_sec(10)

/* Whole seconds, never early. */
static int seconds(apr_interval_time_t interval)
{
    return (int)((interval + APR_USEC_PER_SEC - 1) / APR_USEC_PER_SEC);
}

/* Who it is, as mod_remoteip has found out: an IPv4 address, or the network of
 * 64 bits that one customer of IPv6 has. Others have no address: they share. */
static const char *client_of(request_rec *r, apr_size_t *psize)
{
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
    const apr_sockaddr_t *address = r->useragent_addr;
    const char *bytes;

    *psize = 4;
    if (address && address->family == APR_INET) {
        return (const char *)&address->sa.sin.sin_addr;
    }
    if (!address || address->family != APR_INET6) {
        *psize = 0;
        return "";
    }
    bytes = (const char *)&address->sa.sin6.sin6_addr;
    if (memcmp(bytes, mapped, sizeof(mapped)) == 0) {
        return bytes + sizeof(mapped);
    }
    *psize = 8;
    return bytes;
}

static uint64_t key_of(request_rec *r, const connpool_rate_t *rate)
{
    apr_size_t size;
    const char *client = client_of(r, &size);
    apr_size_t prefix = strlen(rate->where) + 1;
    char *key = apr_palloc(r->pool, prefix + size);

    memcpy(key, rate->where, prefix);
    memcpy(key + prefix, client, size);
    return cp_rate_key(connpool_child.rates, key, prefix + size);
}

/* The fields of draft-ietf-httpapi-ratelimit-headers-10. */
static void tell_rate(request_rec *r, const cp_rate_limit_t *limit,
                      const cp_rate_verdict_t *verdict)
{
    int window = seconds(limit->period * limit->burst / limit->count);

    apr_table_setn(
        r->headers_out, "RateLimit-Policy",
        apr_psprintf(r->pool, "\"client\";q=%d;w=%d", limit->burst, window));
    apr_table_setn(r->headers_out, "RateLimit",
                   apr_psprintf(r->pool, "\"client\";r=%d;t=%d",
                                verdict->remaining,
                                seconds(verdict->is_allowed ? verdict->full
                                                            : verdict->retry)));
}

static void log_refusal(request_rec *r, const connpool_rate_t *rate)
{
    static cp_log_limit_t limit;
    uint64_t suppressed;

    if (cp_log_allowed(&limit, TELL_EVERY, &suppressed)) {
        ap_log_rerror(APLOG_MARK, APLOG_NOTICE, 0, r,
                      "ConnPoolRateLimit %s at %s: this client comes too "
                      "often%s",
                      rate->text, rate->where,
                      connpool_suppressed(r->pool, suppressed));
    }
}

static int refuse(request_rec *r, const connpool_rate_t *rate,
                  const cp_rate_verdict_t *verdict)
{
    int wait = seconds(verdict->retry);

    cp_stats_add(
        &cp_segment_process(connpool_child.segment, connpool_child.slot)
             ->refused_rate,
        1);
    log_refusal(r, rate);
    apr_table_setn(r->headers_out, "Retry-After", apr_itoa(r->pool, wait));
    return connpool_problem(
        r, HTTP_TOO_MANY_REQUESTS,
        apr_psprintf(r->pool,
                     "More requests than are allowed to one client (%s). "
                     "Come again in %d s.",
                     rate->text, wait),
        NULL);
}

int connpool_answer_rate(request_rec *r)
{
    const connpool_rate_t *rate = connpool_dir(r)->rate;
    connpool_state_t *state;
    cp_rate_verdict_t verdict;

    if (!rate || rate->limit.count == 0 || !connpool_child.rates) {
        return 0;
    }
    state = connpool_state(r);
    if (state->is_rated) {
        return 0; /* a subrequest, or redirected */
    }
    state->is_rated = 1;
    verdict = cp_rate_take(connpool_child.rates, key_of(r, rate), &rate->limit,
                           cp_clock_now());
    tell_rate(r, &rate->limit, &verdict);
    if (!verdict.is_allowed) {
        refuse(r, rate, &verdict);
    }
    return !verdict.is_allowed;
}

apr_status_t connpool_take_rate(const connpool_upstream_t *up, cp_error_t *err)
{
    cp_rate_verdict_t verdict;
    char key[512];
    int size;

    if (up->rate.count == 0 || !connpool_child.rates) {
        return APR_SUCCESS;
    }
    size = apr_snprintf(key, sizeof(key), "%s %s", up->name, up->where);
    verdict = cp_rate_take(
        connpool_child.rates,
        cp_rate_key(connpool_child.rates, key, (apr_size_t)size), &up->rate,
        cp_clock_now());
    if (verdict.is_allowed) {
        return APR_SUCCESS;
    }
    cp_stats_add(&connpool_upstream_stats(up)->refused_rate, 1);
    cp_error_set(err, CP_ERR_RATE, APR_EBUSY,
                 "it has been asked as often as it may be",
                 "upstream '%s': rate=%d/%ds is used up", up->name,
                 up->rate.count, (int)apr_time_sec(up->rate.period));
    err->retry_after = seconds(verdict.retry);
    return APR_EBUSY;
}
