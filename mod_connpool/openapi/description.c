/* SPDX-License-Identifier: Apache-2.0
 * ConnPoolDescription: titles and texts of what is served. */
#include "openapi/description.h"

#include "glue.h"
#include "base/number.h"
#include "base/option.h"
#include "config/line/option.h"
#include "config/query.h"
#include "config/setting.h"

#include <apr_hash.h>
#include <apr_strings.h>
#include <http_main.h>

#define SYNTAX             "ConnPoolDescription *|NAME [PARAM] \"TEXT\" [title=TEXT]"
#define DESCRIPTION(field) APR_OFFSETOF(connpool_description_t, field)

static const cp_option_t description_keys[] = {
    {CP_WORD("title", DESCRIPTION(title))},
    {CP_WORD("version", DESCRIPTION(version))},
    {NULL},
};

static const connpool_description_t *find_in(const connpool_server_t *sc,
                                             const char *name,
                                             const char *param)
{
    for (int i = 0; sc->descriptions && i < sc->descriptions->nelts; i++) {
        const connpool_description_t *d = &APR_ARRAY_IDX(
            sc->descriptions, i, connpool_description_t);

        if (strcmp(d->name, name) == 0
            && (param ? d->param && strcmp(d->param, param) == 0 : !d->param)) {
            return d;
        }
    }
    return NULL;
}

const connpool_description_t *connpool_find_description(server_rec *s,
                                                        const char *name,
                                                        const char *param)
{
    const connpool_description_t *found = find_in(connpool_server(s), name,
                                                  param);

    return found || !s->is_virtual
               ? found
               : find_in(connpool_server(ap_server_conf), name, param);
}

static int is_known(apr_hash_t *names, const char *name)
{
    return apr_hash_get(names, name, APR_HASH_KEY_STRING) != NULL;
}

/* Those of pages are declared when all lines are read. */
static int has_param(const connpool_query_t *query, const char *name)
{
    return connpool_find_param(query, name) >= 0
           || (query->paged_by
               && (strcmp(name, "limit") == 0 || strcmp(name, "after") == 0));
}

/* NULL, or what is wrong with what is described. */
static const char *check_subject(cmd_parms *cmd,
                                 const connpool_description_t *d)
{
    const connpool_server_t *sc = connpool_server(cmd->server);
    const connpool_query_t *query = apr_hash_get(sc->all_queries, d->name,
                                                 APR_HASH_KEY_STRING);

    if (d->version && strcmp(d->name, "*") != 0) {
        return "version= is for *, the server as a whole";
    }
    if (find_in(sc, d->name, d->param)) {
        return "described twice in this server";
    }
    if (strcmp(d->name, "*") == 0) {
        return d->param ? "the server itself has no parameters" : NULL;
    }
    if (!query && !is_known(sc->all_upstreams, d->name)) {
        return "no such query or upstream is defined above in this server";
    }
    if (d->param && (!query || !has_param(query, d->param))) {
        return apr_psprintf(cmd->pool, "no parameter %s is declared above",
                            d->param);
    }
    return NULL;
}

/* Is the word one of the keys with its value? A text may hold a '=' as well. */
static int is_key(apr_pool_t *p, const char *word)
{
    const char *end = strchr(word, '=');

    return end
           && cp_options_find(
               description_keys,
               apr_pstrmemdup(p, word, (apr_size_t)(end - word)));
}

/* [PARAM] TEXT, behind the name.
 * @return the keys behind them */
static const char **read_text(apr_pool_t *p, const char **words,
                              connpool_description_t *d)
{
    d->name = *words++;
    if (words[1] && !is_key(p, words[1])) {
        d->param = *words++;
    }
    d->text = *words++;
    return words;
}

const char *connpool_cmd_description(cmd_parms *cmd, void *dummy,
                                     const char *line)
{
    connpool_server_t *sc = connpool_server(cmd->server);
    connpool_description_t d = {NULL};
    const connpool_keys_t keys[] = {{description_keys, &d}, {NULL}};
    const char *error = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT);
    const char **words;
    int count;

    if (error) {
        return error;
    }
    error = cp_params_split(cmd->pool, line, &words, &count);
    if (!error && count < 2) {
        error = "too few words; write " SYNTAX;
    }
    if (error) {
        return connpool_complaint(cmd, NULL, NULL, error);
    }
    words = read_text(cmd->pool, words, &d);
    error = connpool_read_options(cmd, d.name, words, keys);
    if (error) {
        return error;
    }
    error = check_subject(cmd, &d);
    if (error) {
        return connpool_complaint(cmd, d.name, d.param, error);
    }
    if (!sc->descriptions) {
        sc->descriptions = apr_array_make(cmd->pool, 4, sizeof(d));
    }
    APR_ARRAY_PUSH(sc->descriptions, connpool_description_t) = d;
    return NULL;
}
