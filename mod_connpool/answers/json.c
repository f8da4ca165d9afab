/* SPDX-License-Identifier: Apache-2.0
 * The grammar of JSON, a function for each of its rules. */
#include "answers/json.h"

#include "base/bytes/utf8.h"

#include <string.h>

typedef struct scan_t {
    const char *at;
    const char *end;
    int depth;
} scan_t;

static int scan_value(scan_t *s);

static void skip_space(scan_t *s)
{
    while (s->at < s->end
           && (*s->at == ' ' || *s->at == '\t' || *s->at == '\n'
               || *s->at == '\r')) {
        s->at++;
    }
}

static int scan_char(scan_t *s, char c)
{
    if (s->at < s->end && *s->at == c) {
        s->at++;
        return 1;
    }
    return 0;
}

static int scan_word(scan_t *s, const char *word)
{
    apr_size_t n = strlen(word);

    if ((apr_size_t)(s->end - s->at) < n || memcmp(s->at, word, n) != 0) {
        return 0;
    }
    s->at += n;
    return 1;
}

static int scan_digits(scan_t *s)
{
    const char *first = s->at;

    while (s->at < s->end && *s->at >= '0' && *s->at <= '9') {
        s->at++;
    }
    return s->at > first;
}

static int scan_number(scan_t *s)
{
    scan_char(s, '-');
    if (!scan_char(s, '0') && !scan_digits(s)) {
        return 0;
    }
    if (scan_char(s, '.') && !scan_digits(s)) {
        return 0;
    }
    if (scan_char(s, 'e') || scan_char(s, 'E')) {
        if (!scan_char(s, '+')) {
            scan_char(s, '-');
        }
        return scan_digits(s);
    }
    return 1;
}

/* The four digits behind "\u"; -1: they are none. */
static int scan_unit(scan_t *s)
{
    int unit = 0;

    if (s->end - s->at < 4) {
        return -1;
    }
    for (int i = 0; i < 4; i++) {
        char c = *s->at++;
        char lower = (char)(c | 0x20);

        if (c >= '0' && c <= '9') {
            unit = unit * 16 + (c - '0');
        }
        else if (lower >= 'a' && lower <= 'f') {
            unit = unit * 16 + (lower - 'a' + 10);
        }
        else {
            return -1;
        }
    }
    return unit;
}

static int scan_escape(scan_t *s)
{
    int unit;

    if (s->at == s->end) {
        return 0;
    }
    if (*s->at != 'u') {
        return memchr("\"\\/bfnrt", *s->at++, 8) != NULL;
    }
    s->at++;
    unit = scan_unit(s);
    if (unit >= 0xd800 && unit < 0xdc00) {
        if (!scan_word(s, "\\u")) {
            return 0;
        }
        unit = scan_unit(s);
        return unit >= 0xdc00 && unit < 0xe000;
    }
    return unit >= 0 && (unit < 0xdc00 || unit >= 0xe000);
}

static int scan_string(scan_t *s)
{
    if (!scan_char(s, '"')) {
        return 0;
    }
    while (s->at < s->end) {
        unsigned char c = (unsigned char)*s->at++;

        if (c == '"') {
            return 1;
        }
        if (c < 0x20 || (c == '\\' && !scan_escape(s))) {
            return 0;
        }
    }
    return 0;
}

static int scan_member(scan_t *s)
{
    skip_space(s);
    if (!scan_string(s)) {
        return 0;
    }
    skip_space(s);
    return scan_char(s, ':') && scan_value(s);
}

/* What stands between the brackets, and the last one. */
static int scan_list(scan_t *s, int (*scan_one)(scan_t *s), char last)
{
    if (++s->depth > CP_JSON_DEPTH_MAX) {
        return 0;
    }
    skip_space(s);
    if (!scan_char(s, last)) {
        do {
            if (!scan_one(s)) {
                return 0;
            }
        } while (scan_char(s, ','));
        if (!scan_char(s, last)) {
            return 0;
        }
    }
    s->depth--;
    return 1;
}

/* With the blanks around it. */
static int scan_value(scan_t *s)
{
    int is_valid;

    skip_space(s);
    if (s->at == s->end) {
        return 0;
    }
    switch (*s->at) {
    case '{':
        s->at++;
        is_valid = scan_list(s, scan_member, '}');
        break;
    case '[':
        s->at++;
        is_valid = scan_list(s, scan_value, ']');
        break;
    case '"':
        is_valid = scan_string(s);
        break;
    case 't':
        is_valid = scan_word(s, "true");
        break;
    case 'f':
        is_valid = scan_word(s, "false");
        break;
    case 'n':
        is_valid = scan_word(s, "null");
        break;
    default:
        is_valid = scan_number(s);
        break;
    }
    skip_space(s);
    return is_valid;
}

int cp_json_is_valid(const char *data, apr_size_t size)
{
    scan_t s = {data, data + size, 0};

    return size > 0 && cp_utf8_is_valid(data, size) && scan_value(&s)
           && s.at == s.end;
}
