/* SPDX-License-Identifier: Apache-2.0
 * What it comes to at worst, over all children. */
#include "report/dump/facts/total.h"

#include "glue.h"
#include "base/number.h"
#include "child/child.h"
#include "child/fork.h"
#include "config/database.h"
#include "config/setting.h"
#include "config/upstream.h"
#include "database/database.h"
#include "http/job/client.h"
#include "http/upstream/upstream.h"
#include "pool/pool.h"
#include "report/dump/facts/facts.h"

#include <pwd.h>
#include <unistd.h>

#include <ap_mpm.h>
#include <apr_strings.h>
#include <unixd.h>

/* Of a connection that is open to an upstream: libcurl's buffers. */
#define HTTP_CONNECTION (20 * CP_KIB)

static int count_children(void)
{
    int children = 0;

    ap_mpm_query(AP_MPMQ_MAX_DAEMONS, &children);
    return children > 0 ? children : 1;
}

static apr_int64_t count_in_child(const cp_pool_config_t *pool)
{
    int most = pool->max + pool->overflow_max;

    return pool->server_max && pool->server_max < most ? pool->server_max
                                                       : most;
}

static apr_int64_t count_in_all(const cp_pool_config_t *pool)
{
    apr_int64_t all = count_children() * count_in_child(pool);

    return pool->server_max && pool->server_max < all ? pool->server_max : all;
}

static void find_connections(connpool_facts_t *facts,
                             connpool_section_t *section,
                             const cp_pool_config_t *pool, apr_int64_t each)
{
    apr_pool_t *p = facts->p;
    apr_int64_t most = count_in_child(pool);
    apr_int64_t all = count_in_all(pool);

    connpool_found_add(facts, section, CP_SEVERITY_INFO, "connections",
                       apr_psprintf(p,
                                    "at worst %" APR_INT64_T_FMT
                                    " in each of %d children (%d "
                                    "one-shot ones included), %" APR_INT64_T_FMT
                                    " in all; %s in each child, %s in all",
                                    most, count_children(), pool->overflow_max,
                                    all, cp_params_show_size(p, most * each),
                                    cp_params_show_size(p, all * each)));
    connpool_number_add(section, "connections_per_child", most);
    connpool_number_add(section, "connections", all);
    connpool_number_add(section, "bytes_per_child", most * each);
    connpool_number_add(section, "bytes", all * each);
}

void connpool_total_of_database(connpool_facts_t *facts,
                                connpool_section_t *section,
                                const connpool_database_t *db)
{
    int children = count_children();

    find_connections(facts, section, &db->pool, db->facts.cache);
    if (db->pool.server_max && children * db->pool.min > db->pool.server_max) {
        connpool_found_add(
            facts, section, CP_SEVERITY_WARNING, "connections",
            apr_psprintf(facts->p,
                         "min=%d in each of %d children are more than "
                         "server-max=%d: some children keep none open",
                         db->pool.min, children, db->pool.server_max));
    }
}

void connpool_total_of_upstream(connpool_facts_t *facts,
                                connpool_section_t *section,
                                const connpool_upstream_t *up)
{
    find_connections(facts, section, &up->pool, HTTP_CONNECTION);
    for (int i = 0; i < up->base_count && !up->http.socket; i++) {
        const connpool_base_t *base = &up->bases[i];
        const char *doubt = cp_upstream_warning(facts->p, &base->http,
                                                base->origin);

        if (doubt) {
            connpool_found_add(facts, section, CP_SEVERITY_WARNING, "reach",
                               doubt);
        }
    }
}

/* --- the whole --- */

typedef struct total_t {
    apr_int64_t databases, upstreams; /* connections of all children */
    apr_int64_t caches;               /* bytes of those of databases */
    apr_int64_t kept; /* of one child, without one-shot ones, as the log has it
                       */
    const cp_database_driver_t *driver;
    int is_written; /* a database of that driver */
} total_t;

static void add_database(connpool_database_t *db, void *baton)
{
    total_t *total = baton;
    apr_int64_t all = count_in_all(&db->pool);

    total->databases += all;
    total->caches += all * db->facts.cache;
    total->kept += db->pool.max * db->facts.cache;
    total->is_written |= db->driver == total->driver && !db->facts.is_readonly;
}

/* Upstreams of a server share ConnPoolHTTPMax; what is one-shot stands beside
 * all limits. */
static apr_int64_t count_upstreams(const connpool_server_t *sc)
{
    apr_int64_t pooled = 0, single = 0;

    for (int i = 0; i < sc->upstreams->nelts; i++) {
        const connpool_upstream_t *up = APR_ARRAY_IDX(sc->upstreams, i,
                                                      connpool_upstream_t *);

        pooled += up->pool.max;
        single += up->pool.overflow_max;
    }
    return (pooled < sc->http_max ? pooled : sc->http_max) + single;
}

static apr_int64_t count_all_upstreams(void)
{
    apr_int64_t sum = 0;

    for (server_rec *s = connpool_child.main_server; s; s = s->next) {
        const connpool_server_t *sc = connpool_server(s);

        sum += sc->server == s ? count_upstreams(sc) : 0;
    }
    return sum;
}

static void tell_totals(connpool_facts_t *facts, connpool_section_t *module,
                        const total_t *total, apr_int64_t bound)
{
    apr_pool_t *p = facts->p;
    apr_int64_t children = count_children();
    apr_int64_t http = total->upstreams * HTTP_CONNECTION;

    connpool_found_add(facts, module, CP_SEVERITY_INFO, "children",
                       apr_psprintf(p, "%d at the most (MPM %s)", (int)children,
                                    ap_show_mpm()));
    connpool_found_add(
        facts, module, CP_SEVERITY_INFO, "connections",
        apr_psprintf(p,
                     "at worst, over all children: %" APR_INT64_T_FMT
                     " to databases, %" APR_INT64_T_FMT " to upstreams",
                     total->databases, total->upstreams));
    connpool_found_add(
        facts, module, CP_SEVERITY_INFO, "memory",
        apr_psprintf(p,
                     "at worst, over all children: %s in caches of databases, "
                     "%s in connections to upstreams; ConnPoolMemory bounds "
                     "databases and answers in the making to %s in each child, "
                     "%s in all",
                     cp_params_show_size(p, total->caches),
                     cp_params_show_size(p, http),
                     cp_params_show_size(p, bound),
                     cp_params_show_size(p, children * bound)));
    connpool_number_add(module, "children", children);
    connpool_number_add(module, "database_connections", total->databases);
    connpool_number_add(module, "upstream_connections", total->upstreams);
    connpool_number_add(module, "cache_bytes", total->caches);
    connpool_number_add(module, "upstream_bytes", http);
    connpool_number_add(module, "memory_bound_bytes", children * bound);
}

static void find_totals(connpool_facts_t *facts, connpool_section_t *module,
                        apr_int64_t bound)
{
    total_t total = {0};

    connpool_each_database(add_database, &total);
    total.upstreams = count_children() * count_all_upstreams();
    tell_totals(facts, module, &total, bound);
    if (total.kept > bound) {
        connpool_found_add(
            facts, module, CP_SEVERITY_WARNING, "memory",
            apr_psprintf(facts->p,
                         "caches of databases can take %s in each child, more "
                         "than ConnPoolMemory (%s): lower max= or cache=, or "
                         "raise the bound",
                         cp_params_show_size(facts->p, total.kept),
                         cp_params_show_size(facts->p, bound)));
    }
}

static void find_libraries(connpool_facts_t *facts, connpool_section_t *module)
{
    const apr_array_header_t *drivers = connpool_drivers(facts->p);

    for (int i = 0; i < drivers->nelts; i++) {
        const cp_database_driver_t *driver = APR_ARRAY_IDX(
            drivers, i, const cp_database_driver_t *);
        const char *risk = driver->risk ? driver->risk(facts->p) : NULL;
        total_t total = {.driver = driver};

        connpool_each_database(add_database, &total);
        connpool_found_add(facts, module, CP_SEVERITY_INFO, "library",
                           driver->library(facts->p));
        if (risk && total.is_written) {
            connpool_found_add(facts, module, CP_SEVERITY_WARNING, "risk",
                               risk);
        }
    }
    connpool_found_add(facts, module, CP_SEVERITY_INFO, "library",
                       cp_http_version(facts->p));
}

/* As whom it was looked, and whether the server will be that one. */
static void find_user(connpool_facts_t *facts, connpool_section_t *module)
{
    uid_t configured = ap_unixd_config.user_id;
    uid_t uid = geteuid() == 0 ? configured : geteuid();
    const struct passwd *user = getpwuid(uid);
    const char *name = apr_psprintf(facts->p, "%s (uid %d)",
                                    user ? user->pw_name : "?", (int)uid);

    connpool_found_add(facts, module, CP_SEVERITY_INFO, "user", name);
    if (uid != configured) {
        connpool_found_add(
            facts, module, CP_SEVERITY_WARNING, "user",
            apr_psprintf(facts->p,
                         "files were looked at as %s, not as the server's user "
                         "%s: run this as root if the server is started so",
                         name, ap_unixd_config.user_name));
    }
    if (connpool_fork_expected()) {
        connpool_found_add(
            facts, module, CP_SEVERITY_WARNING, "user",
            apr_psprintf(facts->p,
                         "%s runs requests in processes of their own, perhaps "
                         "of other users, where nothing is pooled",
                         connpool_fork_expected()));
    }
}

void connpool_total_of_all(connpool_facts_t *facts, connpool_section_t *module,
                           server_rec *main_server)
{
    find_libraries(facts, module);
    find_user(facts, module);
    find_totals(facts, module, connpool_server(main_server)->memory);
    for (int i = 0; i < facts->sections->nelts; i++) {
        if (APR_ARRAY_IDX(facts->sections, i, connpool_section_t *)->kind
            > CONNPOOL_SECTION_SERVER) {
            return;
        }
    }
    connpool_found_add(facts, module, CP_SEVERITY_INFO, "nothing",
                       "no server defines a ConnPoolDatabase, ConnPoolUpstream "
                       "or ConnPoolQuery: there is nothing to serve");
}
