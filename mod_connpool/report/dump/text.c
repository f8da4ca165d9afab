/* SPDX-License-Identifier: Apache-2.0
 * A dry run for people. */
#include "glue.h"
#include "report/dump/dump.h"
#include "report/dump/facts/facts.h"
#include "report/dump/gather.h"

#include <apr_lib.h>
#include <apr_strings.h>

static const char *heading(apr_pool_t *p, const connpool_section_t *section)
{
    static const char *const nouns[] = {
        [CONNPOOL_SECTION_MODULE] = "",
        [CONNPOOL_SECTION_SERVER] = "server ",
        [CONNPOOL_SECTION_DATABASE] = "database ",
        [CONNPOOL_SECTION_UPSTREAM] = "upstream ",
        [CONNPOOL_SECTION_QUERY] = "query ",
        [CONNPOOL_SECTION_PARAM] = "  parameter ",
    };
    const char *of = section->kind > CONNPOOL_SECTION_SERVER && *section->server
                         ? apr_pstrcat(p, " of ", section->server, NULL)
                         : "";

    return apr_pstrcat(p, nouns[section->kind], section->name, of,
                       section->where ? " at " : "",
                       section->where ? section->where : "", NULL);
}

/* Names in somebody's database may hold what a terminal obeys. */
static const char *printable(apr_pool_t *p, const char *text)
{
    char *copy = apr_pstrdup(p, text);

    for (char *c = copy; *c; c++) {
        if (apr_iscntrl(*c)) {
            *c = '?';
        }
    }
    return copy;
}

static void print_section(apr_pool_t *p, const connpool_section_t *section,
                          apr_file_t *out)
{
    const char *indent = section->kind == CONNPOOL_SECTION_PARAM ? "    "
                                                                 : "  ";

    apr_file_printf(out, "%s\n", heading(p, section));
    for (int i = 0; i < section->settings->nelts; i++) {
        const connpool_fact_t *fact = &APR_ARRAY_IDX(section->settings, i,
                                                     connpool_fact_t);

        apr_file_printf(out, "%s%-26s %-15s [%s]\n", indent, fact->name,
                        fact->value ? printable(p, fact->value) : "none",
                        connpool_origin_show(p, &fact->origin));
    }
    for (int i = 0; i < section->found->nelts; i++) {
        const connpool_found_t *found = &APR_ARRAY_IDX(section->found, i,
                                                       connpool_found_t);

        if (found->severity == CP_SEVERITY_INFO) {
            apr_file_printf(out, "%s%-26s %s\n", indent, found->name,
                            printable(p, found->value));
        }
        else {
            apr_file_printf(out, "%s%s: %s: %s\n", indent,
                            connpool_severity_name(found->severity),
                            found->name, printable(p, found->value));
        }
    }
}

/* What people look for first stands at the end. */
int connpool_dump_text(apr_pool_t *p, server_rec *main_server, apr_file_t *out)
{
    const connpool_facts_t *facts = connpool_facts(p, main_server);
    int errors = facts->count[CP_SEVERITY_ERROR];

    for (int i = 0; i < facts->sections->nelts; i++) {
        print_section(
            p, APR_ARRAY_IDX(facts->sections, i, const connpool_section_t *),
            out);
    }
    apr_file_printf(out, "mod_connpool: %s%s\n", connpool_facts_sum(p, facts),
                    errors ? ": it could not serve all of this" : "");
    return errors;
}
