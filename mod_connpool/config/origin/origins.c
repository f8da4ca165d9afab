/* SPDX-License-Identifier: Apache-2.0
 * ConnPoolOrigins and ConnPoolTrustedProxies. */
#include "config/origin/origins.h"

#include "glue.h"
#include "base/origin/origin.h"
#include "config/line/option.h"

#include <apr_cstr.h>
#include <apr_lib.h>
#include <apr_network_io.h>
#include <apr_strings.h>

#define ALLOWED "https://HOST[:PORT] or http://..., same, any"

/* The pointer in the place's configuration that this directive fills. */
static void **field_of(cmd_parms *cmd, void *dir)
{
    return (void **)((char *)dir + (apr_size_t)cmd->info);
}

static const char *complain(cmd_parms *cmd, const char *word, const char *why,
                            const char *allowed)
{
    return connpool_complaint(
        cmd, NULL, NULL,
        apr_psprintf(cmd->pool, "'%s' %s; allowed are %s", word, why, allowed));
}

static const char *add_origin(cmd_parms *cmd, connpool_origins_t *origins,
                              const char *word)
{
    cp_origin_t origin;
    const char *why = cp_origin_parse(&origin, word);

    if (why) {
        return complain(cmd, word, why, ALLOWED);
    }
    APR_ARRAY_PUSH(origins->named, cp_origin_t) = origin;
    return NULL;
}

const char *connpool_cmd_origins(cmd_parms *cmd, void *dir, const char *word)
{
    const char *error = connpool_unset_variable(cmd, NULL, word);
    void **field = field_of(cmd, dir);
    connpool_origins_t *origins = *field;
    int is_any = apr_cstr_casecmp(word, "any") == 0;
    int is_first = !origins;

    if (error) {
        return error;
    }
    if (is_first) {
        origins = apr_pcalloc(cmd->pool, sizeof(*origins));
        origins->named = apr_array_make(cmd->pool, 2, sizeof(cp_origin_t));
        *field = origins;
    }
    if ((is_any && !is_first) || (origins->is_any && !is_any)) {
        return complain(cmd, word, "beside others: any is all of them",
                        ALLOWED);
    }
    origins->is_any = is_any;
    return is_any || apr_cstr_casecmp(word, "same") == 0
               ? NULL
               : add_origin(cmd, origins, word);
}

/* APR takes parts of addresses for networks ("10"), which nobody means who has
 * forgotten the rest. */
static apr_ipsubnet_t *read_network(apr_pool_t *p, const char *word)
{
    apr_ipsubnet_t *network;
    char *address = apr_pstrdup(p, word);
    char *mask = strchr(address, '/');
    int dots = 0;

    if (mask) {
        *mask++ = '\0';
    }
    for (const char *c = address; *c; c++) {
        dots += *c == '.';
    }
    if ((mask && !*mask) || (!strchr(address, ':') && dots != 3)) {
        return NULL;
    }
    return apr_ipsubnet_create(&network, address, mask, p) == APR_SUCCESS
               ? network
               : NULL;
}

const char *connpool_cmd_proxies(cmd_parms *cmd, void *dir, const char *word)
{
    const char *error = connpool_unset_variable(cmd, NULL, word);
    void **field = field_of(cmd, dir);
    apr_ipsubnet_t *network;

    if (error) {
        return error;
    }
    network = read_network(cmd->pool, word);
    if (!network) {
        return complain(cmd, word, "is neither an address nor a network",
                        "192.0.2.1, 10.0.0.0/8, ::1, fd00::/8");
    }
    if (!*field) {
        *field = apr_array_make(cmd->pool, 2, sizeof(apr_ipsubnet_t *));
    }
    APR_ARRAY_PUSH((apr_array_header_t *)*field, apr_ipsubnet_t *) = network;
    return NULL;
}
