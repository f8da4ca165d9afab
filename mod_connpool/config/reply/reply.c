/* SPDX-License-Identifier: Apache-2.0
 * What would have no effect, or a wrong one, is a mistake. */
#include "config/reply/reply.h"

#include "answers/web/location.h"
#include "answers/web/media.h"
#include "database/facts.h"
#include "database/shape.h"

#include <string.h>
#include <strings.h>

#include <apr_strings.h>

static const char *const type_names[] = {"stored", "declared", NULL};
static const char *const encoding_names[] = {"identity", "gzip", NULL};
static const char *const none_names[] = {"200", "403", "404",
                                         "409", "412", NULL};
static const int none_statuses[] = {200, 403, 404, 409, 412};

#define REPLY(field) APR_OFFSETOF(connpool_reply_options_t, field)

const cp_option_t connpool_reply_options[] = {
    {CP_WORD("json", REPLY(json))},
    {CP_CHOICE("types", REPLY(types), 0, type_names)},
    {CP_WORD("type", REPLY(type))},
    {CP_CHOICE("encoding", REPLY(encoding), 0, encoding_names)},
    {CP_CHOICE("none", REPLY(none), CP_UNSET, none_names)},
    {CP_WORD("created", REPLY(created))},
    {NULL},
};

/* --- the keys --- */

static int shows_json(cp_format_t format)
{
    return format != CP_FORMAT_CSV && format != CP_FORMAT_RAW
           && format != CP_FORMAT_JSON;
}

static const char *read_json(apr_pool_t *p, const char *list,
                             connpool_reply_t *reply)
{
    char *name, *state;

    if (!shows_json(reply->format)) {
        return apr_psprintf(p,
                            "with format=%s no column is put out as a part of "
                            "JSON",
                            cp_format_names[reply->format]);
    }
    reply->json = apr_array_make(p, 2, sizeof(const char *));
    for (name = apr_strtok(apr_pstrdup(p, list), ",", &state); name;
         name = apr_strtok(NULL, ",", &state)) {
        while (*name == ' ') {
            name++;
        }
        APR_ARRAY_PUSH(reply->json, const char *) = name;
        for (char *end = name + strlen(name); end > name && end[-1] == ' ';) {
            *--end = '\0';
        }
        if (!*name) {
            return "a name is empty";
        }
    }
    return reply->json->nelts > 0 ? NULL : "no column is named";
}

static const char *read_type(apr_pool_t *p, const char *type,
                             connpool_reply_t *reply)
{
    if (reply->format != CP_FORMAT_RAW) {
        return type ? "is for format=raw" : NULL;
    }
    if (type && strcasecmp(type, "column") == 0) {
        return NULL;
    }
    type = type ? type : CP_MEDIA_UNKNOWN;
    reply->type = cp_media_complete(p, type);
    return cp_media_is_valid(type)
               ? NULL
               : apr_psprintf(p,
                              "'%s' is no media type; write one like "
                              "image/png, or column",
                              type);
}

static const char *read_created(apr_pool_t *p, const char *text,
                                connpool_reply_t *reply)
{
    if (!text) {
        return NULL;
    }
    return reply->is_write ? cp_location_parse(p, text, &reply->created)
                           : "is for a query with write=on";
}

const char *connpool_reply_read(apr_pool_t *p,
                                const connpool_reply_options_t *options,
                                connpool_reply_t *reply, const char **pkey)
{
    const char *error = options->json ? read_json(p, options->json, reply)
                                      : NULL;

    *pkey = "json";
    if (error) {
        return error;
    }
    *pkey = "types";
    reply->has_declared_types = options->types == 1;
    if (reply->has_declared_types && !shows_json(reply->format)
        && reply->format != CP_FORMAT_CSV) {
        return apr_psprintf(p, "no type is shown with format=%s",
                            cp_format_names[reply->format]);
    }
    *pkey = "type";
    error = read_type(p, options->type, reply);
    if (error) {
        return error;
    }
    *pkey = "encoding";
    reply->is_gzip = options->encoding == 1;
    if (reply->is_gzip && reply->format != CP_FORMAT_RAW) {
        return "gzip is for format=raw";
    }
    *pkey = "none";
    if (options->none != CP_UNSET && !reply->is_write) {
        return "is for a query with write=on";
    }
    reply->none = options->none == CP_UNSET ? 0 : none_statuses[options->none];
    *pkey = "created";
    return read_created(p, options->created, reply);
}

/* --- with the SQL --- */

static int is_named(const apr_array_header_t *names, const char *name)
{
    for (int i = 0; i < names->nelts; i++) {
        if (!strcmp(APR_ARRAY_IDX(names, i, const char *), name)) {
            return 1;
        }
    }
    return 0;
}

static const char *check_part(apr_pool_t *p, const cp_location_part_t *part,
                              const cp_sql_shape_t *shape, unsigned can)
{
    switch (part->kind) {
    case CP_LOCATION_ROWID:
        return can & CP_CAN_ROWID ? NULL
                                  : "created: this kind of database has no "
                                    "last_insert_rowid";
    case CP_LOCATION_PARAM:
        return is_named(shape->names, part->text)
                   ? NULL
                   : apr_psprintf(p, "created: the SQL has no parameter :%s",
                                  part->text);
    case CP_LOCATION_COLUMN:
        return shape->has_returning
                   ? NULL
                   : apr_psprintf(p,
                                  "created: there is no {%s}: without "
                                  "RETURNING there are {last_insert_rowid}, "
                                  "{changes} and parameters as {:name}",
                                  part->text);
    default:
        return NULL;
    }
}

const char *connpool_reply_check(apr_pool_t *p, const connpool_reply_t *reply,
                                 const cp_sql_shape_t *shape, unsigned can)
{
    const char *error = NULL;
    const char *key = reply->json                      ? "json="
                      : reply->has_declared_types      ? "types="
                      : reply->format == CP_FORMAT_RAW ? "format=raw"
                                                       : NULL;

    if (key && reply->is_write && !shape->has_returning) {
        return apr_pstrcat(p, key, " needs RETURNING: a write has no columns",
                           NULL);
    }
    for (int i = 0; reply->created && !error && i < reply->created->nelts;
         i++) {
        error = check_part(
            p, &APR_ARRAY_IDX(reply->created, i, cp_location_part_t), shape,
            can);
    }
    return error;
}
