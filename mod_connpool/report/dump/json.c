/* SPDX-License-Identifier: Apache-2.0
 * A dry run for programs: the same facts as one document. */
#include "glue.h"
#include "answers/put.h"
#include "base/bytes/buffer.h"
#include "report/dump/dump.h"
#include "report/dump/facts/facts.h"
#include "report/dump/gather.h"

#include <apr_strings.h>

static void put_signed(cp_buffer_t *buf, const char *key, apr_int64_t value)
{
    char text[32];

    apr_snprintf(text, sizeof(text), "%" APR_INT64_T_FMT, value);
    connpool_json_key(buf, ",", key);
    connpool_json_put(buf, text);
}

static void put_origin(cp_buffer_t *buf, const connpool_origin_t *origin)
{
    static const char *const kinds[] = {"default", "directive", "environment"};

    connpool_json_text(buf, ",", "from", kinds[origin->kind]);
    if (origin->kind == CONNPOOL_FROM_DIRECTIVE) {
        connpool_json_text(buf, ",", "where", origin->where);
    }
    else if (origin->kind == CONNPOOL_FROM_ENVIRONMENT) {
        connpool_json_text(buf, ",", "variable", origin->where);
    }
    if (origin->name) {
        connpool_json_text(buf, ",", "by", origin->name);
    }
    connpool_json_boolean(buf, ",", "inherited", origin->is_inherited);
}

/* "value" is a number or a truth value where it is one, "text" what the dump
 * for people shows. */
static void put_setting(cp_buffer_t *buf, const char *separator,
                        const connpool_fact_t *fact)
{
    connpool_json_key(buf, separator, fact->name);
    connpool_json_put(buf, "{");
    connpool_json_text(buf, "", "text", fact->value ? fact->value : "none");
    if (!fact->value) {
        connpool_json_key(buf, ",", "value");
        connpool_json_put(buf, "null");
    }
    else if (!fact->unit) {
        connpool_json_text(buf, ",", "value", fact->value);
    }
    else if (strcmp(fact->unit, "flag") == 0) {
        connpool_json_boolean(buf, ",", "value", fact->number != 0);
    }
    else {
        put_signed(buf, "value", fact->number);
        if (*fact->unit) {
            connpool_json_text(buf, ",", "unit", fact->unit);
        }
    }
    put_origin(buf, &fact->origin);
    connpool_json_put(buf, "}");
}

static void put_numbers(cp_buffer_t *buf, const connpool_section_t *section)
{
    char text[32];

    connpool_json_key(buf, ",", "numbers");
    connpool_json_put(buf, "{");
    for (int i = 0; i < section->numbers->nelts; i++) {
        const connpool_number_t *number = &APR_ARRAY_IDX(section->numbers, i,
                                                         connpool_number_t);

        apr_snprintf(text, sizeof(text), "%" APR_INT64_T_FMT, number->value);
        connpool_json_key(buf, i ? "," : "", number->name);
        connpool_json_put(buf, text);
    }
    connpool_json_put(buf, "}");
}

static void put_section(cp_buffer_t *buf, const connpool_section_t *section)
{
    connpool_json_text(buf, "", "name", section->name);
    connpool_json_text(buf, ",", "server", section->server);
    if (section->where) {
        connpool_json_text(buf, ",", "where", section->where);
    }
    connpool_json_key(buf, ",", "settings");
    connpool_json_put(buf, "{");
    for (int i = 0; i < section->settings->nelts; i++) {
        put_setting(buf, i ? "," : "",
                    &APR_ARRAY_IDX(section->settings, i, connpool_fact_t));
    }
    connpool_json_put(buf, "}");
    put_numbers(buf, section);
    connpool_json_key(buf, ",", "findings");
    connpool_json_put(buf, "[");
    for (int i = 0; i < section->found->nelts; i++) {
        const connpool_found_t *found = &APR_ARRAY_IDX(section->found, i,
                                                       connpool_found_t);

        connpool_json_text(buf, i ? ",{" : "{", "severity",
                           connpool_severity_name(found->severity));
        connpool_json_text(buf, ",", "name", found->name);
        connpool_json_text(buf, ",", "value", found->value);
        connpool_json_put(buf, "}");
    }
    connpool_json_put(buf, "]");
}

/* The parameters of a query stand behind it; returns the first that is none. */
static int put_params(cp_buffer_t *buf, const connpool_facts_t *facts, int i)
{
    const char *separator = "{";

    connpool_json_key(buf, ",", "params");
    connpool_json_put(buf, "[");
    for (; i < facts->sections->nelts; i++) {
        const connpool_section_t *section = APR_ARRAY_IDX(
            facts->sections, i, const connpool_section_t *);

        if (section->kind != CONNPOOL_SECTION_PARAM) {
            break;
        }
        connpool_json_put(buf, separator);
        put_section(buf, section);
        connpool_json_put(buf, "}");
        separator = ",{";
    }
    connpool_json_put(buf, "]");
    return i;
}

static void put_kind(cp_buffer_t *buf, const char *key,
                     const connpool_facts_t *facts,
                     connpool_section_kind_t kind)
{
    const char *separator = "\n{";

    connpool_json_key(buf, ",\n", key);
    connpool_json_put(buf, "[");
    for (int i = 0; i < facts->sections->nelts; i++) {
        const connpool_section_t *section = APR_ARRAY_IDX(
            facts->sections, i, const connpool_section_t *);

        if (section->kind != kind) {
            continue;
        }
        connpool_json_put(buf, separator);
        put_section(buf, section);
        if (kind == CONNPOOL_SECTION_QUERY) {
            i = put_params(buf, facts, i + 1) - 1;
        }
        connpool_json_put(buf, "}");
        separator = ",\n{";
    }
    connpool_json_put(buf, "]");
}

int connpool_dump_json(apr_pool_t *p, server_rec *main_server, apr_file_t *out)
{
    const connpool_facts_t *facts = connpool_facts(p, main_server);
    int errors = facts->count[CP_SEVERITY_ERROR];
    cp_buffer_t buf = {0};

    connpool_json_text(&buf, "{", "version", CONNPOOL_VERSION);
    connpool_json_boolean(&buf, ",", "ok", errors == 0);
    connpool_json_number(&buf, ",", "errors", (uint64_t)errors);
    connpool_json_number(&buf, ",", "warnings",
                         (uint64_t)facts->count[CP_SEVERITY_WARNING]);
    connpool_json_key(&buf, ",\n", "module");
    connpool_json_put(&buf, "{");
    put_section(&buf,
                APR_ARRAY_IDX(facts->sections, 0, const connpool_section_t *));
    connpool_json_put(&buf, "}");
    put_kind(&buf, "servers", facts, CONNPOOL_SECTION_SERVER);
    put_kind(&buf, "databases", facts, CONNPOOL_SECTION_DATABASE);
    put_kind(&buf, "upstreams", facts, CONNPOOL_SECTION_UPSTREAM);
    put_kind(&buf, "queries", facts, CONNPOOL_SECTION_QUERY);
    connpool_json_put(&buf, "}\n");
    apr_file_write_full(out, buf.data, buf.size, NULL);
    cp_buffer_free(&buf);
    return errors;
}
