/* SPDX-License-Identifier: Apache-2.0 */
#include "answers/web/coding.h"

#include "answers/web/token.h"

#include <string.h>
#include <strings.h>

/* Behind the name of a coding: ";q=0", ";q=0.000". */
static int is_refused(const char *text)
{
    text += cp_blank_size(text);
    if (*text != ';') {
        return 0;
    }
    text++;
    text += cp_blank_size(text);
    if ((*text != 'q' && *text != 'Q') || text[1] != '=') {
        return 0;
    }
    text += 2;
    return *text == '0' && text[1 + strspn(text + 1, ".0")] == '\0';
}

static int is_word(const char *text, apr_size_t size, const char *word)
{
    return size == strlen(word) && strncasecmp(text, word, size) == 0;
}

int cp_coding_accepts_gzip(const char *header)
{
    int any = 0;

    while (header && *header) {
        char rest[32];
        apr_size_t size, end;

        header += strspn(header, " \t,");
        size = cp_token_size(header);
        end = size + strcspn(header + size, ",");
        if (end - size >= sizeof(rest)) {
            return 0; /* nobody says so much of a coding */
        }
        memcpy(rest, header + size, end - size);
        rest[end - size] = '\0';
        while (end > size && strchr(" \t", rest[end - size - 1])) {
            rest[--end - size] = '\0';
        }
        if (is_word(header, size, "gzip") || is_word(header, size, "x-gzip")) {
            return !is_refused(rest);
        }
        if (is_word(header, size, "*")) {
            any = !is_refused(rest);
        }
        header += size + strcspn(header + size, ",");
    }
    return any;
}

int cp_coding_is_gzip(const char *data, apr_size_t size)
{
    return size >= 18 && memcmp(data, "\x1f\x8b\x08", 3) == 0;
}
