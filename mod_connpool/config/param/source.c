/* SPDX-License-Identifier: Apache-2.0
 * from= and path= of ConnPoolParam: where a value comes from that is none of
 * the client's. */
#include "config/param/source.h"

#include "glue.h"
#include "base/number.h"

#include <apr_strings.h>

static const char *read_expression(cmd_parms *cmd, connpool_source_t *source)
{
    const char *error = NULL;

    if (!*source->text) {
        return "from= is empty";
    }
    source->from = ap_expr_parse_cmd(cmd, source->text,
                                     AP_EXPR_FLAG_STRING_RESULT, &error, NULL);
    return error
               ? apr_psprintf(cmd->pool, "from=\"%s\" is not an expression: %s",
                              source->text, error)
               : NULL;
}

const char *connpool_source_read(cmd_parms *cmd, const char *from,
                                 const char *path, connpool_source_t **psource)
{
    connpool_source_t *source;
    const char *error;
    apr_int64_t segment;

    *psource = NULL;
    if (!from && !path) {
        return NULL;
    }
    if (from && path) {
        return "from= and path= are two sources: one is possible";
    }
    source = *psource = apr_pcalloc(cmd->pool, sizeof(*source));
    source->text = from;
    if (from) {
        return read_expression(cmd, source);
    }
    error = cp_params_int(cmd->pool, path, 1, CONNPOOL_SEGMENTS_MAX, &segment);
    if (error) {
        return apr_psprintf(cmd->pool, "path=: %s", error);
    }
    source->segment = (int)segment;
    return NULL;
}

int connpool_source_count(unsigned segments)
{
    int count = 0;

    for (; segments; segments >>= 1) {
        count++;
    }
    return count;
}

const char *connpool_source_check(apr_pool_t *p, unsigned segments)
{
    int count = connpool_source_count(segments);

    for (int i = 0; i < count; i++) {
        if (!(segments & (1U << i))) {
            return apr_psprintf(p,
                                "path=%d is declared, but no parameter has "
                                "path=%d",
                                count, i + 1);
        }
    }
    return NULL;
}
