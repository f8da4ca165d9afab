/* SPDX-License-Identifier: Apache-2.0 */
#include "answers/web/location.h"

#include "answers/encode.h"
#include "base/bytes/buffer.h"

#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>

#define LOCATION_BYTES 4096

/* --- the template --- */

/* What RFC 3986 allows in a path, a query and a fragment, escapes included. */
static int is_url_char(const char *c)
{
    if (*c == '%') {
        return apr_isxdigit(c[1]) && apr_isxdigit(c[2]);
    }
    return apr_isalnum(*c) || strchr("-._~!$&'()*+,;=:@/?#", *c) != NULL;
}

static void add_part(apr_array_header_t *parts, cp_location_kind_t kind,
                     const char *text)
{
    APR_ARRAY_PUSH(parts, cp_location_part_t) = (cp_location_part_t){kind,
                                                                     text};
}

static const char *add_name(apr_pool_t *p, apr_array_header_t *parts,
                            const char *name)
{
    if (!*name || !strcmp(name, ":")) {
        return "there is no name in {}";
    }
    if (strchr(name, '{')) {
        return "a { stands within another";
    }
    if (*name == ':') {
        add_part(parts, CP_LOCATION_PARAM, name + 1);
    }
    else if (!strcmp(name, "last_insert_rowid")) {
        add_part(parts, CP_LOCATION_ROWID, name);
    }
    else if (!strcmp(name, "changes")) {
        add_part(parts, CP_LOCATION_CHANGES, name);
    }
    else {
        add_part(parts, CP_LOCATION_COLUMN, name);
    }
    return NULL;
}

const char *cp_location_parse(apr_pool_t *p, const char *text,
                              apr_array_header_t **pparts)
{
    apr_array_header_t *parts = apr_array_make(p, 4,
                                               sizeof(cp_location_part_t));
    const char *start = text, *end, *error;

    *pparts = parts;
    if (text[0] != '/' || text[1] == '/') {
        return "it is a path: it begins with one '/'";
    }
    for (; *text; text++) {
        if (*text != '{' && !is_url_char(text)) {
            return apr_psprintf(p,
                                "at '%.20s': that cannot stand in a URL as it "
                                "is; names stand in {}",
                                text);
        }
        if (*text != '{') {
            continue;
        }
        add_part(parts, CP_LOCATION_TEXT,
                 apr_pstrmemdup(p, start, (apr_size_t)(text - start)));
        end = strchr(text, '}');
        if (!end) {
            return "a { has no }";
        }
        error = add_name(
            p, parts,
            apr_pstrmemdup(p, text + 1, (apr_size_t)(end - text - 1)));
        if (error) {
            return error;
        }
        text = end;
        start = end + 1;
    }
    add_part(parts, CP_LOCATION_TEXT, start);
    return NULL;
}

/* --- the path --- */

static void append_encoded(cp_buffer_t *buf, const char *data, apr_size_t size)
{
    static const char hex[] = "0123456789ABCDEF";

    for (; size > 0; data++, size--) {
        unsigned char c = (unsigned char)*data;
        char escape[3] = {'%', hex[c >> 4], hex[c & 15]};
        int is_plain = apr_isalnum(c) || strchr("-._~", c);

        cp_buffer_append(buf, is_plain && c ? data : escape,
                         is_plain && c ? 1 : 3);
    }
}

/* A reader of URLs takes these for something else than a name, with or without
 * escapes. */
static int is_dots(const char *data, apr_size_t size)
{
    return size <= 2 && memcmp(data, "..", size) == 0;
}

/* "//host" would be another server. */
static int append_value(cp_buffer_t *buf, const cp_value_t *value)
{
    const char *data = value->as.bytes.data;
    apr_size_t size;

    if (value->storage == CP_NULL) {
        return 0;
    }
    if (value->storage != CP_TEXT && value->storage != CP_BLOB) {
        cp_encode_text(buf, value);
        return 1;
    }
    size = value->as.bytes.size;
    if (size == 0 || size > LOCATION_BYTES || is_dots(data, size)) {
        return 0;
    }
    append_encoded(buf, data, size);
    return 1;
}

const char *cp_location_fill(apr_pool_t *p, const apr_array_header_t *parts,
                             cp_location_value_fn value, void *baton)
{
    cp_buffer_t buf = CP_BUFFER_MAY_FAIL;
    const char *location = NULL;
    int is_whole = 1;

    for (int i = 0; i < parts->nelts && is_whole; i++) {
        const cp_location_part_t *part = &APR_ARRAY_IDX(parts, i,
                                                        cp_location_part_t);
        const cp_value_t *found;

        if (part->kind == CP_LOCATION_TEXT) {
            cp_buffer_append(&buf, part->text, strlen(part->text));
            continue;
        }
        found = value(baton, part);
        is_whole = found && append_value(&buf, found)
                   && buf.size <= LOCATION_BYTES;
    }
    if (is_whole && !buf.has_failed && buf.size <= LOCATION_BYTES) {
        location = apr_pstrmemdup(p, buf.data, buf.size);
    }
    cp_buffer_free(&buf);
    return location;
}
