/* SPDX-License-Identifier: Apache-2.0
 * What clients and caches between are told of answers that are kept. */
#include "glue.h"
#include "answers/answer.h"
#include "config/query.h"
#include "request/output.h"
#include "serve/reply.h"
#include "serve/serve.h"
#include "work/cache.h"
#include "work/reply.h"

#include <apr_strings.h>

static const char *const outcome_names[CONNPOOL_OUTCOMES] = {
    [CONNPOOL_BYPASS] = "bypass",
    [CONNPOOL_MISS] = "miss",
    [CONNPOOL_HIT] = "hit",
    [CONNPOOL_STALE] = "stale",
    [CONNPOOL_COALESCED] = "coalesced",
};

/* Is the answer for this client only? With cache=shared a cookie decides
 * nothing; who has passed an access check has passed it for himself. */
static int is_private(request_rec *r, const connpool_query_t *query)
{
    return r->user || apr_table_get(r->headers_in, "Authorization")
           || (!query->caching.is_shared
               && apr_table_get(r->headers_in, "Cookie"));
}

static const char *add_seconds(apr_pool_t *p, const char *control,
                               const char *name, apr_interval_time_t span)
{
    return apr_psprintf(p, "%s, %s=%" APR_TIME_T_FMT, control, name,
                        apr_time_sec(span > 0 ? span : 0));
}

/* max-age counts from when the answer was made, as Age does: what is left is
 * the difference. */
static const char *cache_control(request_rec *r, const connpool_query_t *query,
                                 const connpool_served_t *served)
{
    const connpool_caching_t *caching = &query->caching;
    const char *control = is_private(r, query) ? "private" : NULL;

    if (!caching->ttl || r->method_number != M_GET) {
        return control && caching->is_by_data ? "private, no-cache"
                                              : "no-cache";
    }
    control = add_seconds(r->pool, control ? control : "", "max-age",
                          served->expires - served->answer->made_at);
    if (caching->stale > 0) {
        control = add_seconds(r->pool, control, "stale-while-revalidate",
                              caching->stale);
    }
    if (caching->stale_if_error > 0) {
        control = add_seconds(r->pool, control, "stale-if-error",
                              caching->stale_if_error);
    }
    return *control == ',' ? control + 2 : control;
}

/* With ttl=data the database has just said that the answer is as good as a new
 * one. */
static void add_age(request_rec *r, const connpool_query_t *query,
                    const connpool_served_t *served)
{
    apr_interval_time_t age = apr_time_now() - served->answer->made_at;

    if (query->caching.ttl > 0
        && (served->outcome == CONNPOOL_HIT
            || served->outcome == CONNPOOL_STALE)) {
        apr_table_setn(r->headers_out, "Age",
                       apr_off_t_toa(r->pool, age > 0 ? apr_time_sec(age) : 0));
    }
}

static void set_header(const char *name, const char *value, void *r)
{
    connpool_set_reply_header(r, name, value);
}

int connpool_send_served(request_rec *r, const connpool_query_t *query,
                         connpool_served_t *served)
{
    cp_answer_t *answer = served->answer;
    const char *truncated = cp_answer_header(answer, "ConnPool-Truncated");
    int status;

    if (connpool_query_is_cached(query) || query->caching.coalesces) {
        apr_table_setn(r->notes, "connpool-cache",
                       outcome_names[served->outcome]);
    }
    if (connpool_query_is_cached(query)) {
        apr_table_mergen(r->headers_out, "Vary",
                         query->caching.is_shared ? "Authorization"
                                                  : "Cookie,Authorization");
    }
    if (answer->status >= 400) {
        status = answer->status;
        cp_answer_unref(answer);
        return connpool_problem(r, status, connpool_reply_absence(query), NULL);
    }
    connpool_set_status(r, answer->status);
    cp_answer_each(answer, set_header, r);
    if (truncated) {
        apr_table_set(r->headers_out, "ConnPool-Truncated", truncated);
    }
    add_age(r, query, served);
    status = connpool_send_shared(r, answer, cache_control(r, query, served));
    cp_answer_unref(answer);
    return status;
}
