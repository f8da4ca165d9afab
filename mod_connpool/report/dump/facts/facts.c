/* SPDX-License-Identifier: Apache-2.0
 * Sections, and what stands in them. */
#include "report/dump/facts/facts.h"

#include "glue.h"

#include <apr_strings.h>

connpool_section_t *connpool_section_add(connpool_facts_t *facts,
                                         connpool_section_kind_t kind,
                                         const char *name)
{
    connpool_section_t *section = apr_pcalloc(facts->p, sizeof(*section));

    section->kind = kind;
    section->name = name;
    section->server = "";
    section->settings = apr_array_make(facts->p, 16, sizeof(connpool_fact_t));
    section->found = apr_array_make(facts->p, 4, sizeof(connpool_found_t));
    section->numbers = apr_array_make(facts->p, 4, sizeof(connpool_number_t));
    APR_ARRAY_PUSH(facts->sections, connpool_section_t *) = section;
    return section;
}

connpool_fact_t *connpool_fact_add(connpool_section_t *section,
                                   const char *name, const char *value,
                                   connpool_origin_t origin)
{
    connpool_fact_t *fact = apr_array_push(section->settings);

    *fact = (connpool_fact_t){.name = name, .value = value, .origin = origin};
    return fact;
}

void connpool_found_add(connpool_facts_t *facts, connpool_section_t *section,
                        cp_severity_t severity, const char *name,
                        const char *value)
{
    APR_ARRAY_PUSH(section->found, connpool_found_t) = (connpool_found_t){
        severity, name, value};
    facts->count[severity]++;
}

void connpool_number_add(connpool_section_t *section, const char *name,
                         apr_int64_t value)
{
    APR_ARRAY_PUSH(section->numbers,
                   connpool_number_t) = (connpool_number_t){name, value};
}

const char *connpool_origin_show(apr_pool_t *p, const connpool_origin_t *origin)
{
    const char *inherited = origin->is_inherited ? "inherited, " : "";
    const char *name = origin->name ? origin->name : "";

    switch (origin->kind) {
    case CONNPOOL_FROM_DIRECTIVE:
        return apr_pstrcat(p, inherited, name, *name ? " at " : "",
                           origin->where, NULL);
    case CONNPOOL_FROM_ENVIRONMENT:
        return apr_pstrcat(p, inherited, "environment variable ", origin->where,
                           NULL);
    default:
        return apr_pstrcat(p, "default", *name ? " of " : "", name, NULL);
    }
}

const char *connpool_severity_name(cp_severity_t severity)
{
    static const char *const names[CP_SEVERITIES] = {"info", "warning",
                                                     "error"};

    return names[severity];
}

static const char *count_of(apr_pool_t *p, int count, const char *noun)
{
    return apr_psprintf(p, "%d %s%s", count, noun, count == 1 ? "" : "s");
}

const char *connpool_facts_sum(apr_pool_t *p, const connpool_facts_t *facts)
{
    return apr_pstrcat(
        p, count_of(p, facts->count[CP_SEVERITY_ERROR], "error"), ", ",
        count_of(p, facts->count[CP_SEVERITY_WARNING], "warning"), NULL);
}
