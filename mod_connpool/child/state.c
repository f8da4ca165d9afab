/* SPDX-License-Identifier: Apache-2.0
 * The state of this process, and where it counts. */
#include "glue.h"
#include "child/child.h"
#include "config/query.h"
#include "config/setting.h"
#include "config/upstream.h"
#include "stats/segment.h"
#include "stats/stats.h"

#include <apr_strings.h>

connpool_child_t connpool_child;

static const char *host_and_port(apr_pool_t *p, const server_rec *s)
{
    return apr_psprintf(p, "%s:%u",
                        s->server_hostname ? s->server_hostname : "?",
                        (unsigned)(s->addrs ? s->addrs->host_port : s->port));
}

const char *connpool_server_key(apr_pool_t *p, const server_rec *s)
{
    const char *key;
    int same = 1;

    if (!s->is_virtual) {
        return "";
    }
    key = host_and_port(p, s);
    for (const server_rec *other = connpool_child.main_server->next;
         other && other != s; other = other->next) {
        same += strcmp(host_and_port(p, other), key) == 0;
    }
    return same > 1 ? apr_psprintf(p, "%s#%d", key, same) : key;
}

cp_query_stats_t *connpool_query_stats(const connpool_query_t *query)
{
    return cp_segment_query(connpool_child.segment, connpool_child.slot,
                            query->entry);
}

cp_upstream_stats_t *connpool_upstream_stats(const connpool_upstream_t *up)
{
    return cp_segment_upstream(connpool_child.segment, connpool_child.slot,
                               up->entry);
}

cp_upstream_stats_t *connpool_base_stats(const connpool_base_t *base)
{
    return cp_segment_upstream(connpool_child.segment, connpool_child.slot,
                               base->entry);
}

cp_cache_stats_t *connpool_cache_stats(void)
{
    return &cp_segment_process(connpool_child.segment, connpool_child.slot)
                ->cache;
}

/* A virtual host may have its engine on while the main server's is off. */
int connpool_wants_loop(void)
{
    for (server_rec *s = connpool_child.main_server; s; s = s->next) {
        const connpool_server_t *sc = connpool_server(s);

        if (sc->engine && apr_hash_count(sc->all_upstreams) > 0) {
            return connpool_server(connpool_child.main_server)->event_loop;
        }
    }
    return 0;
}
