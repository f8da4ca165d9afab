/* SPDX-License-Identifier: Apache-2.0
 * What was configured, as it holds, and a look at all of it. */
#include "report/dump/gather.h"

#include "glue.h"
#include "base/number.h"
#include "child/child.h"
#include "config/database.h"
#include "config/query.h"
#include "config/setting.h"
#include "config/upstream.h"
#include "report/dump/facts/facts.h"
#include "report/dump/job.h"
#include "report/dump/look.h"
#include "report/dump/facts/settings.h"
#include "report/dump/facts/total.h"

#include <apr_strings.h>

typedef struct gathering_t {
    connpool_facts_t *facts;
    apr_array_header_t *jobs; /* connpool_job_t */
    apr_hash_t *looks; /* connpool_database_t * -> connpool_database_look_t * */
} gathering_t;

static connpool_section_t *begin(connpool_facts_t *facts,
                                 connpool_section_kind_t kind, const char *name,
                                 const server_rec *s, const char *where)
{
    connpool_section_t *section = connpool_section_add(facts, kind, name);

    section->server = connpool_server_key(facts->p, s);
    section->where = where;
    return section;
}

/* Of what was begun last. */
static int last_index(const connpool_facts_t *facts)
{
    return facts->sections->nelts - 1;
}

/* --- servers --- */

static void gather_server(connpool_facts_t *facts, server_rec *s)
{
    const char *key = connpool_server_key(facts->p, s);
    connpool_section_t *section = begin(
        facts, CONNPOOL_SECTION_SERVER, *key ? key : "main", s,
        s->is_virtual && s->defn_name
            ? apr_psprintf(facts->p, "%s:%u", s->defn_name, s->defn_line_number)
            : NULL);

    connpool_settings_of_server(facts, section, s);
}

/* --- definitions --- */

static void gather_database(connpool_database_t *db, void *baton)
{
    gathering_t *g = baton;
    connpool_section_t *section = begin(g->facts, CONNPOOL_SECTION_DATABASE,
                                        db->name, db->server, db->where);
    connpool_database_look_t *look = apr_pcalloc(g->facts->p, sizeof(*look));

    connpool_settings_of_database(g->facts, section, db);
    connpool_total_of_database(g->facts, section, db);
    look->database = db;
    look->queries = apr_array_make(g->facts->p, 8,
                                   sizeof(connpool_told_query_t));
    apr_hash_set(g->looks, &look->database, sizeof(look->database), look);
    APR_ARRAY_PUSH(g->jobs, connpool_job_t) = (connpool_job_t){
        .work = connpool_look_at_database,
        .subject = look,
        .section = last_index(g->facts),
        .limit = CONNPOOL_LOOK_AT_DATABASE,
        .late = "the look at it did not end in time: the storage does not "
                "answer, or others keep the database locked",
    };
}

static void gather_upstream(connpool_upstream_t *up, void *baton)
{
    gathering_t *g = baton;
    connpool_section_t *section = begin(g->facts, CONNPOOL_SECTION_UPSTREAM,
                                        up->name, up->server, up->where);
    apr_interval_time_t limit = up->http.connect < CONNPOOL_LOOK_AT_UPSTREAM
                                    ? up->http.connect
                                    : CONNPOOL_LOOK_AT_UPSTREAM;

    connpool_settings_of_upstream(g->facts, section, up);
    connpool_total_of_upstream(g->facts, section, up);
    connpool_found_servings(g->facts, section, up);
    APR_ARRAY_PUSH(g->jobs, connpool_job_t) = (connpool_job_t){
        .work = connpool_look_at_upstream,
        .subject = up,
        .section = last_index(g->facts),
        .limit = limit,
        .late = apr_psprintf(g->facts->p, "its name was not resolved within %s",
                             cp_params_show_duration(g->facts->p, limit)),
    };
}

static void allow_time(gathering_t *g)
{
    for (int i = 0; i < g->jobs->nelts; i++) {
        connpool_job_t *job = &APR_ARRAY_IDX(g->jobs, i, connpool_job_t);

        if (job->work == connpool_look_at_database) {
            const connpool_database_look_t *look = job->subject;

            job->limit += look->queries->nelts * CONNPOOL_LOOK_AT_QUERY;
        }
    }
}

static void gather_query(connpool_query_t *query, void *baton)
{
    gathering_t *g = baton;
    connpool_section_t *section = begin(g->facts, CONNPOOL_SECTION_QUERY,
                                        query->name, query->server,
                                        query->where);
    connpool_database_look_t *look = apr_hash_get(g->looks, &query->database,
                                                  sizeof(query->database));

    connpool_settings_of_query(g->facts, section, query);
    connpool_found_servings(g->facts, section, query);
    if (look) {
        APR_ARRAY_PUSH(look->queries,
                       connpool_told_query_t) = (connpool_told_query_t){
            query, last_index(g->facts)};
    }
    for (int i = 0; i < query->params->nelts; i++) {
        const connpool_param_t *param = APR_ARRAY_IDX(query->params, i,
                                                      connpool_param_t *);

        section = begin(g->facts, CONNPOOL_SECTION_PARAM, param->spec.name,
                        query->server, NULL);
        connpool_settings_of_param(section, query, param);
    }
}

static connpool_facts_t *gather(apr_pool_t *p, server_rec *main_server)
{
    connpool_facts_t *facts = apr_pcalloc(p, sizeof(*facts));
    gathering_t g = {facts, apr_array_make(p, 8, sizeof(connpool_job_t)),
                     apr_hash_make(p)};
    connpool_section_t *module;

    /* Post_config, which would do so, does not run in a configtest. */
    connpool_child.main_server = main_server;
    facts->p = p;
    facts->sections = apr_array_make(p, 32, sizeof(connpool_section_t *));
    module = connpool_section_add(facts, CONNPOOL_SECTION_MODULE,
                                  "mod_connpool " CONNPOOL_VERSION);
    for (server_rec *s = main_server; s; s = s->next) {
        gather_server(facts, s);
    }
    connpool_each_database(gather_database, &g);
    connpool_each_upstream(gather_upstream, &g);
    connpool_each_query(gather_query, &g);
    connpool_total_of_all(facts, module, main_server);
    allow_time(&g);
    connpool_jobs_run(facts, main_server, g.jobs);
    return facts;
}

const connpool_facts_t *connpool_facts(apr_pool_t *p, server_rec *main_server)
{
    static connpool_facts_t *facts; /* a configtest reads one configuration */

    if (!facts) {
        facts = gather(p, main_server);
    }
    return facts;
}
