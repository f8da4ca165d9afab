/* SPDX-License-Identifier: Apache-2.0 */
#include "answers/web/condition.h"

#include "answers/web/token.h"

#include <string.h>
#include <strings.h>

#include <apr_lib.h>

const cp_precondition_name_t cp_precondition_names[] = {
    {"If-Match", CP_IF_MATCH},
    {"If-None-Match", CP_IF_NONE_MATCH},
    {"If-Unmodified-Since", CP_IF_UNMODIFIED_SINCE},
    {NULL, 0},
};

static int is_word_char(char c)
{
    return apr_isalnum(c) || c == '-' || c == '_';
}

static int ends_with(const char *text, const char *end, const char *word)
{
    const char *start = end - strlen(word);

    return start >= text && strncasecmp(start, word, strlen(word)) == 0
           && (start == text || !is_word_char(start[-1]));
}

/* Does `%{HTTP:`, `%{req:`, `req('`, `http("` or the like end here? */
static int is_reader(const char *text, const char *end)
{
    static const char *const functions[] = {"HTTP", "req", "req_novary", NULL};

    if (end > text && (end[-1] == '\'' || end[-1] == '"')) {
        end--;
    }
    while (end > text && cp_blank_size(end - 1) > 0) {
        end--;
    }
    if (end == text || (end[-1] != ':' && end[-1] != '(')) {
        return 0;
    }
    end--;
    while (end > text && cp_blank_size(end - 1) > 0) {
        end--;
    }
    for (int i = 0; functions[i]; i++) {
        if (ends_with(text, end, functions[i])) {
            return 1;
        }
    }
    return 0;
}

static int reads(const char *expression, const char *header)
{
    apr_size_t size = strlen(header);

    for (const char *c = expression; *c; c++) {
        if (strncasecmp(c, header, size) == 0 && !is_word_char(c[size])
            && is_reader(expression, c)) {
            return 1;
        }
    }
    return 0;
}

unsigned cp_preconditions_read(const char *expression)
{
    unsigned bits = 0;

    for (const cp_precondition_name_t *name = cp_precondition_names;
         name->header; name++) {
        bits |= reads(expression, name->header) ? name->bit : 0;
    }
    return bits;
}
