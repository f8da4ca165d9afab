/* SPDX-License-Identifier: Apache-2.0
 * Lines of the configuration: words, key=value options, and complaints. */
#include "config/line/option.h"

#include "glue.h"
#include "base/number.h"
#include "base/option.h"
#include "config/line/origin.h"

#include <apr_file_io.h>
#include <apr_hash.h>
#include <apr_lib.h>
#include <apr_strings.h>

const char *const connpool_overflow_names[] = {"reject", "direct", NULL};

const char *connpool_complaint(cmd_parms *cmd, const char *name,
                               const char *key, const char *sentence)
{
    return apr_pstrcat(cmd->pool, cmd->cmd->name, name ? " " : "",
                       name ? name : "", key ? ": " : "", key ? key : "", ": ",
                       sentence, NULL);
}

const char *connpool_unset_variable(cmd_parms *cmd, const char *name,
                                    const char *word)
{
    const char *start = word;
    const char *end;

    while ((start = strstr(start, "${")) != NULL
           && (end = strchr(start, '}')) != NULL) {
        /* httpd leaves it as it stands. x${2} is a regular expression. */
        if (apr_isalpha(start[2]) || start[2] == '_') {
            return connpool_complaint(
                cmd, name, NULL,
                apr_psprintf(cmd->pool,
                             "it holds a variable that is not set: '%.*s' is "
                             "not set in the environment, and no Define sets "
                             "it",
                             (int)(end + 1 - start), start));
        }
        start += 2;
    }
    return NULL;
}

int connpool_refuse(server_rec *s, const char *where, const char *error)
{
    ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_ERR, 0, s, "%s%s%s", error,
                 where ? " at " : "", where ? where : "");
    return HTTP_INTERNAL_SERVER_ERROR;
}

static const char *find_file(cmd_parms *cmd, const char *value,
                             const char **pfile)
{
    apr_finfo_t info;
    const char *file = ap_server_root_relative(cmd->pool, value);

    if (!file
        || apr_stat(&info, file, APR_FINFO_TYPE, cmd->temp_pool) != APR_SUCCESS
        || info.filetype != APR_REG) {
        return apr_psprintf(cmd->pool, "'%s' is not a file", value);
    }
    *pfile = file;
    return NULL;
}

static const char *set_option(cmd_parms *cmd, const cp_option_t *option,
                              void *target, const char *value)
{
    const char *error = option->type == CP_OPTION_FILE
                            ? find_file(cmd, value, &value)
                            : NULL;

    return error ? error : cp_option_set(cmd->pool, option, target, value);
}

/* The table that has the key, or the end of them. */
static const connpool_keys_t *find_keys(const connpool_keys_t *keys,
                                        const char *key)
{
    while (keys->options && !cp_options_find(keys->options, key)) {
        keys++;
    }
    return keys;
}

static const char *unknown_key(cmd_parms *cmd, const char *key,
                               const connpool_keys_t *keys)
{
    const char *allowed = cp_options_list(cmd->pool, keys->options);

    for (keys++; keys->options; keys++) {
        allowed = apr_pstrcat(cmd->pool, allowed, ", ",
                              cp_options_list(cmd->pool, keys->options), NULL);
    }
    return apr_psprintf(cmd->pool, "unknown key '%s'; allowed are %s", key,
                        allowed);
}

const char *connpool_read_options(cmd_parms *cmd, const char *name,
                                  const char **words,
                                  const connpool_keys_t *keys)
{
    apr_hash_t *seen = apr_hash_make(cmd->temp_pool);

    connpool_origin_keys(cmd, keys);
    for (; *words; words++) {
        const char *key, *value, *error;
        const connpool_keys_t *in;

        error = cp_params_option(cmd->pool, *words, &key, &value);
        if (error) {
            return connpool_complaint(cmd, name, NULL, error);
        }
        in = find_keys(keys, key);
        if (!in->options) {
            return connpool_complaint(cmd, name, NULL,
                                      unknown_key(cmd, key, keys));
        }
        if (apr_hash_get(seen, key, APR_HASH_KEY_STRING)) {
            return connpool_complaint(cmd, name, key, "given twice");
        }
        apr_hash_set(seen, key, APR_HASH_KEY_STRING, key);
        error = set_option(cmd, cp_options_find(in->options, key), in->target,
                           value);
        if (error) {
            return connpool_complaint(cmd, name, *words, error);
        }
    }
    return NULL;
}

const char *connpool_read_setting(cmd_parms *cmd, const cp_option_t *settings,
                                  void *target, const char *value)
{
    const cp_option_t *setting = cp_options_find(settings, cmd->cmd->name);
    const char *error = connpool_unset_variable(cmd, NULL, value);

    if (error) {
        return error;
    }
    error = setting ? set_option(cmd, setting, target, value)
                    : "is not a setting";
    if (error) {
        return connpool_complaint(cmd, NULL, NULL, error);
    }
    connpool_origin_field(cmd, (const char *)target + setting->offset);
    return NULL;
}

const char *connpool_read_words(cmd_parms *cmd, const char *line, int needed,
                                const char *syntax, const char ***pwords)
{
    const char *error = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT);
    const char *name;
    int count;

    if (error) {
        return error;
    }
    error = cp_params_split(cmd->pool, line, pwords, &count);
    if (error) {
        return connpool_complaint(cmd, NULL, NULL, error);
    }
    if (count < needed) {
        return connpool_complaint(
            cmd, NULL, NULL,
            apr_pstrcat(cmd->pool, "too few words; write ", syntax, NULL));
    }
    name = cp_params_name(cmd->pool, (*pwords)[0]) ? NULL : (*pwords)[0];
    for (const char **word = *pwords; *word; word++) {
        error = connpool_unset_variable(cmd, name, *word);
        if (error) {
            return error;
        }
    }
    connpool_origin_line(cmd, *pwords);
    error = cp_params_name(cmd->pool, (*pwords)[0]);
    return error ? connpool_complaint(cmd, NULL, NULL, error) : NULL;
}
