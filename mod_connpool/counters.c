/* SPDX-License-Identifier: Apache-2.0
 * The shared segment of the counters, as the parent makes it, keeps it over
 * restarts, and lets a larger one follow. */
#include "counters.h"

#include "glue.h"
#include "child/child.h"
#include "config/database.h"
#include "config/query.h"
#include "config/upstream.h"
#include "stats/parent/succession.h"
#include "stats/recent/room.h"
#include "stats/segment.h"
#include "stats/stats.h"

#include <ap_mpm.h>
#include <apr_shm.h>
#include <apr_strings.h>

#define SPARE_ENTRIES  4
#define SPARE_CHILDREN 8

/* A module that was replaced by another build must not go on in a segment that
 * the old one laid out. */
typedef struct fingerprint_t {
    char version[16];
    size_t pool, query, upstream, loop, process, batch, sample;
    size_t condition, standing, segment;
} fingerprint_t;

/* A segment, of those that count still. */
typedef struct segment_t {
    cp_segment_t *segment;
    apr_shm_t *shm;
} segment_t;

struct connpool_counters_t {
    apr_array_header_t *segments; /* segment_t, oldest first */
    fingerprint_t fingerprint;    /* of who laid them out */
};

static const char *server_key(const server_rec *s)
{
    return connpool_server_key(s->process->pconf, s);
}

static void count_database(connpool_database_t *db, void *baton)
{
    ((cp_segment_layout_t *)baton)->entries[CP_ENTRY_POOL]++;
}

static void count_upstream(connpool_upstream_t *up, void *baton)
{
    cp_segment_layout_t *layout = baton;

    layout->entries[CP_ENTRY_POOL] += up->base_count;
    layout->entries[CP_ENTRY_UPSTREAM] += up->base_count + (up->base_count > 1);
}

static void count_query(connpool_query_t *query, void *baton)
{
    ((cp_segment_layout_t *)baton)->entries[CP_ENTRY_QUERY]++;
}

int connpool_most_processes(void)
{
    int limit = 1;

    ap_mpm_query(AP_MPMQ_HARD_LIMIT_DAEMONS, &limit);
    return limit + SPARE_CHILDREN;
}

static cp_segment_layout_t wanted_layout(void)
{
    cp_segment_layout_t layout = {{0}, 0, {0}};

    connpool_each_database(count_database, &layout);
    connpool_each_upstream(count_upstream, &layout);
    connpool_each_query(count_query, &layout);
    for (int i = 0; i < CP_ENTRY_KINDS; i++) {
        layout.entries[i] += SPARE_ENTRIES;
    }
    cp_room_lay_out(&layout);
    layout.children = connpool_most_processes();
    return layout;
}

static fingerprint_t own_fingerprint(void)
{
    cp_segment_layout_t smallest = {{1, 1, 1}, 1, {0}};
    fingerprint_t own;

    cp_room_lay_out(&smallest);
    memset(&own, 0, sizeof(own)); /* padding too: it is compared whole */
    apr_cpystrn(own.version, CONNPOOL_VERSION, sizeof(own.version));
    own.pool = sizeof(cp_pool_stats_t);
    own.query = sizeof(cp_query_stats_t);
    own.upstream = sizeof(cp_upstream_stats_t);
    own.loop = sizeof(cp_loop_stats_t);
    own.process = sizeof(cp_process_stats_t);
    own.batch = sizeof(cp_batch_stats_t);
    own.sample = sizeof(cp_sample_t);
    own.condition = sizeof(cp_condition_t);
    own.standing = sizeof(cp_standing_t);
    own.segment = cp_segment_size(&smallest);
    return own;
}

static cp_segment_t *newest(const connpool_counters_t *counters)
{
    const apr_array_header_t *all = counters->segments;

    return APR_ARRAY_IDX(all, all->nelts - 1, segment_t).segment;
}

static apr_status_t make_segment(connpool_counters_t *counters, server_rec *s,
                                 const cp_segment_layout_t *layout)
{
    apr_pool_t *p = s->process->pool;
    apr_size_t size = cp_segment_size(layout);
    apr_shm_t *shm;
    apr_status_t rv = apr_shm_create(&shm, size, NULL, p);
    segment_t *made;

    if (rv != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_CRIT, rv, s,
                     "cannot make a shared segment of %" APR_SIZE_T_FMT
                     " bytes for the counters of %d children",
                     size, layout->children);
        return rv;
    }
    made = apr_array_push(counters->segments);
    made->segment = cp_segment_init(apr_shm_baseaddr_get(shm), layout);
    made->shm = shm;
    return APR_SUCCESS;
}

static void enter_database(connpool_database_t *db, void *baton)
{
    int *pfull = baton;

    db->entry = cp_segment_entry(connpool_child.segment, CP_ENTRY_POOL,
                                 server_key(db->server), db->name);
    *pfull |= db->entry < 0;
}

static void enter_upstream(connpool_upstream_t *up, void *baton)
{
    int *pfull = baton;
    const char *server = server_key(up->server);

    up->entry = cp_segment_entry(connpool_child.segment, CP_ENTRY_UPSTREAM,
                                 server, up->name);
    *pfull |= up->entry < 0;
    for (int i = 0; i < up->base_count; i++) {
        connpool_base_t *base = &up->bases[i];

        base->pool_entry = cp_segment_entry(connpool_child.segment,
                                            CP_ENTRY_POOL, server,
                                            i == 0 ? up->name : base->name);
        base->entry = cp_segment_entry(connpool_child.segment,
                                       CP_ENTRY_UPSTREAM, server, base->name);
        *pfull |= base->pool_entry < 0 || base->entry < 0;
    }
}

static void enter_query(connpool_query_t *query, void *baton)
{
    int *pfull = baton;

    query->entry = cp_segment_entry(connpool_child.segment, CP_ENTRY_QUERY,
                                    server_key(query->server), query->name);
    *pfull |= query->entry < 0;
}

static int enter_all(connpool_counters_t *counters)
{
    int is_full = 0;

    connpool_child.segment = newest(counters);
    connpool_each_database(enter_database, &is_full);
    connpool_each_upstream(enter_upstream, &is_full);
    connpool_each_query(enter_query, &is_full);
    return !is_full;
}

/* Children of the generation before have them mapped still, if they need them.
 */
static void drop_oldest(connpool_counters_t *counters, int count)
{
    segment_t *all = (segment_t *)(void *)counters->segments->elts;

    for (int i = 0; i < count; i++) {
        apr_shm_destroy(all[i].shm);
    }
    counters->segments->nelts -= count;
    memmove(all, all + count, (size_t)counters->segments->nelts * sizeof(*all));
}

/* Half as many entries more than are wanted now: additions do not make a new
 * segment each time. */
static apr_status_t follow(connpool_counters_t *counters, server_rec *s)
{
    cp_segment_t *before = newest(counters);
    cp_segment_layout_t layout = wanted_layout();
    apr_status_t rv;

    for (int i = 0; i < CP_ENTRY_KINDS; i++) {
        layout.entries[i] += layout.entries[i] / 2;
    }
    rv = make_segment(counters, s, &layout);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    cp_segment_follow(newest(counters), before);
    enter_all(counters);
    drop_oldest(counters, cp_segment_succeed(newest(counters)));
    return APR_SUCCESS;
}

static apr_status_t begin(connpool_counters_t **pcounters, server_rec *s)
{
    cp_segment_layout_t layout = wanted_layout();
    connpool_counters_t *counters = apr_pcalloc(s->process->pool,
                                                sizeof(*counters));
    apr_status_t rv;

    counters->segments = apr_array_make(s->process->pool, 4, sizeof(segment_t));
    counters->fingerprint = own_fingerprint();
    rv = make_segment(counters, s, &layout);
    if (rv == APR_SUCCESS) {
        *pcounters = counters;
        enter_all(counters);
    }
    return rv;
}

/* Keep the segment while it has room; else let a larger one follow. */
apr_status_t connpool_set_up_counters(connpool_counters_t **pcounters,
                                      server_rec *s)
{
    fingerprint_t own = own_fingerprint();
    connpool_counters_t *counters = *pcounters;

    if (counters && memcmp(&counters->fingerprint, &own, sizeof(own)) != 0) {
        ap_log_error(APLOG_MARK, APLOG_NOTICE, 0, s,
                     "the counters' segment is of another version of the "
                     "module: counting starts anew");
        counters = NULL;
    }
    if (!counters) {
        return begin(pcounters, s);
    }
    return enter_all(counters) ? APR_SUCCESS : follow(counters, s);
}
