/* SPDX-License-Identifier: Apache-2.0 */
#include "answers/web/media.h"

#include "answers/web/token.h"

#include <string.h>
#include <strings.h>

#include <apr_strings.h>

#define SIZE_MAX_SENT 200

/* "..." with its escapes; 0: it is none. */
static apr_size_t quoted_size(const char *text)
{
    const char *c = text;

    if (*c++ != '"') {
        return 0;
    }
    for (; *c != '"'; c++) {
        if (*c == '\\') {
            c++;
        }
        if ((unsigned char)*c < ' ' || *c == 0x7f) {
            return 0; /* its end, too */
        }
    }
    return (apr_size_t)(c + 1 - text);
}

/* Behind a ';' with its blanks: name=value. */
static apr_size_t parameter_size(const char *text)
{
    apr_size_t name = cp_token_size(text);
    apr_size_t value;

    if (name == 0 || text[name] != '=') {
        return 0;
    }
    value = cp_token_size(text + name + 1);
    if (value == 0) {
        value = quoted_size(text + name + 1);
    }
    return value > 0 ? name + 1 + value : 0;
}

static int is_range(const char *text, apr_size_t size)
{
    return memchr(text, '*', size) != NULL;
}

int cp_media_is_valid(const char *text)
{
    apr_size_t type = cp_token_size(text);
    apr_size_t subtype;

    if (type == 0 || text[type] != '/' || strlen(text) > SIZE_MAX_SENT) {
        return 0;
    }
    subtype = cp_token_size(text + type + 1);
    if (subtype == 0 || is_range(text, type + 1 + subtype)) {
        return 0;
    }
    text += type + 1 + subtype;
    while (*text) {
        apr_size_t size;

        text += cp_blank_size(text);
        if (*text != ';') {
            return 0;
        }
        text++;
        text += cp_blank_size(text);
        size = parameter_size(text);
        if (size == 0) {
            return 0;
        }
        text += size;
    }
    return 1;
}

static int has_charset(const char *type)
{
    const char *parameter = type;

    while ((parameter = strchr(parameter, ';')) != NULL) {
        parameter++;
        parameter += cp_blank_size(parameter);
        if (strncasecmp(parameter, "charset=", 8) == 0) {
            return 1;
        }
    }
    return 0;
}

const char *cp_media_complete(apr_pool_t *p, const char *type)
{
    return strncasecmp(type, "text/", 5) == 0 && !has_charset(type)
               ? apr_pstrcat(p, type, "; charset=utf-8", NULL)
               : type;
}
