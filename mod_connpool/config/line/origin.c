/* SPDX-License-Identifier: Apache-2.0
 * Where the values of a configuration come from. */
#include "config/line/origin.h"

#include "glue.h"
#include "base/option.h"
#include "config/line/option.h"

#include <apr_hash.h>
#include <apr_strings.h>

const char *connpool_where(cmd_parms *cmd)
{
    return apr_psprintf(cmd->pool, "%s:%d", cmd->directive->filename,
                        cmd->directive->line_num);
}

typedef struct merge_t {
    const void *base;
    const void *add;
} merge_t;

/* Set in pre_config, before any thread, as all here. */
int connpool_origins_kept;

/* All in the pool of connpool_origins_begin; one thread reads the
 * configuration. */
static struct {
    apr_pool_t *p;
    apr_array_header_t *lines; /* connpool_line_t */
    apr_hash_t *fields;        /* address -> connpool_origin_t */
    apr_hash_t *merges;        /* address -> merge_t */
} known;

void connpool_origins_begin(apr_pool_t *p)
{
    known.p = p;
    connpool_origins_kept = p != NULL;
    if (p) {
        known.lines = apr_array_make(p, 32, sizeof(connpool_line_t));
        known.fields = apr_hash_make(p);
        known.merges = apr_hash_make(p);
    }
}

static void keep(apr_hash_t *table, const void *address, const void *value)
{
    const void **key = apr_pmemdup(known.p, &address, sizeof(address));

    apr_hash_set(table, key, sizeof(address), value);
}

static const void *kept(apr_hash_t *table, const void *address)
{
    return apr_hash_get(table, &address, sizeof(address));
}

/* --- while it is read --- */

void connpool_origin_line(cmd_parms *cmd, const char *const *words)
{
    if (connpool_origins_kept) {
        APR_ARRAY_PUSH(known.lines, connpool_line_t) = (connpool_line_t){
            .server = cmd->server,
            .said = cmd->directive,
            .directive = cmd->cmd->name,
            .where = connpool_where(cmd),
            .words = words,
        };
    }
}

void connpool_origin_keys(cmd_parms *cmd, const connpool_keys_t *keys)
{
    connpool_line_t *line;

    if (!connpool_origins_kept || known.lines->nelts == 0) {
        return;
    }
    line = &APR_ARRAY_IDX(known.lines, known.lines->nelts - 1, connpool_line_t);
    for (int i = 0; line->said == cmd->directive && i < CONNPOOL_LINE_TABLES
                    && keys[i].options;
         i++) {
        line->tables[i].options = keys[i].options;
        line->tables[i].target = keys[i].target;
    }
}

static void keep_field(const void *field, connpool_origin_kind_t kind,
                       const char *where)
{
    connpool_origin_t *origin = apr_pcalloc(known.p, sizeof(*origin));

    origin->kind = kind;
    origin->where = where;
    keep(known.fields, field, origin);
}

void connpool_origin_field(cmd_parms *cmd, const void *field)
{
    if (connpool_origins_kept) {
        keep_field(field, CONNPOOL_FROM_DIRECTIVE, connpool_where(cmd));
    }
}

void connpool_origin_variable(const char *variable, const void *field)
{
    if (connpool_origins_kept) {
        keep_field(field, CONNPOOL_FROM_ENVIRONMENT, variable);
    }
}

void connpool_origin_keep_merge(const void *merged, const void *base,
                                const void *add)
{
    merge_t *merge = apr_palloc(known.p, sizeof(*merge));

    merge->base = base;
    merge->add = add;
    keep(known.merges, merged, merge);
}

/* --- afterwards --- */

connpool_origin_t connpool_origin_of(const void *settings, apr_size_t offset)
{
    connpool_origin_t origin = {CONNPOOL_FROM_DEFAULT, NULL, NULL, 0};
    const connpool_origin_t *own;
    const merge_t *merge;

    if (!connpool_origins_kept) {
        return origin;
    }
    own = kept(known.fields, (const char *)settings + offset);
    merge = kept(known.merges, settings);
    if (own) {
        return *own;
    }
    if (merge) {
        origin = connpool_origin_of(merge->add, offset);
    }
    if (merge && origin.kind == CONNPOOL_FROM_DEFAULT) {
        origin = connpool_origin_of(merge->base, offset);
        origin.is_inherited = origin.kind != CONNPOOL_FROM_DEFAULT;
    }
    return origin;
}

const connpool_line_t *connpool_origin_find(const server_rec *s,
                                            const char *directive,
                                            const char *first,
                                            const char *second)
{
    for (int i = 0; connpool_origins_kept && i < known.lines->nelts; i++) {
        const connpool_line_t *line = &APR_ARRAY_IDX(known.lines, i,
                                                     connpool_line_t);

        if (line->server == s && strcmp(line->directive, directive) == 0
            && strcmp(line->words[0], first) == 0
            && (!second || strcmp(line->words[1], second) == 0)) {
            return line;
        }
    }
    return NULL;
}

const char *connpool_line_value(const connpool_line_t *line, const char *key)
{
    apr_size_t size = strlen(key);

    for (const char *const *word = line->words; *word; word++) {
        if (ap_cstr_casecmpn(*word, key, size) == 0 && (*word)[size] == '=') {
            return *word + size + 1;
        }
    }
    return NULL;
}

connpool_origin_t connpool_line_origin(const connpool_line_t *line,
                                       const char *key)
{
    connpool_origin_t origin = {CONNPOOL_FROM_DEFAULT, NULL, NULL, 0};

    if (connpool_line_value(line, key)) {
        origin.kind = CONNPOOL_FROM_DIRECTIVE;
        origin.where = line->where;
    }
    return origin;
}
