/* SPDX-License-Identifier: Apache-2.0 */
#include "answers/web/disposition.h"

#include "base/bytes/utf8.h"

#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>

#define NAME_BYTES 255 /* what file systems take */

/* Nothing of a name: controls, and what turns the direction of the text, so
 * that "exe.txt" is read where "txt.exe" stands. */
static int is_dropped(const unsigned char *c, int size)
{
    if (size == 1) {
        return *c < 0x20 || *c == 0x7f;
    }
    if (size == 2) {
        return c[0] == 0xc2 && c[1] < 0xa0;
    }
    if (size != 3 || c[0] != 0xe2) {
        return 0;
    }
    return (c[1] == 0x80 && (c[2] == 0x8e || c[2] == 0x8f))
           || (c[1] == 0x80 && c[2] >= 0xa8 && c[2] <= 0xae)
           || (c[1] == 0x81 && c[2] >= 0xa6 && c[2] <= 0xa9);
}

/* The name as clients may have it, in UTF-8. */
static char *clean_name(apr_pool_t *p, const char *name, apr_size_t size)
{
    char *clean = apr_palloc(p, NAME_BYTES + 1);
    apr_size_t used = 0;

    for (int length; size > 0; name += length, size -= (apr_size_t)length) {
        const char *from = name;
        int taken;

        length = taken = cp_utf8_next(name, size);
        if (length < 0) {
            length = -length;
            from = "\xef\xbf\xbd"; /* U+FFFD */
            taken = 3;
        }
        if (is_dropped((const unsigned char *)from, taken)) {
            continue;
        }
        if (used + (apr_size_t)taken > NAME_BYTES) {
            break;
        }
        memcpy(clean + used, from, (apr_size_t)taken);
        if (*from == '/' || *from == '\\') {
            clean[used] = '_';
        }
        used += (apr_size_t)taken;
    }
    clean[used] = '\0';
    return clean;
}

/* What old readers get: a '%' would be decoded by some. *pis_same: it is the
 * name. */
static const char *ascii_name(apr_pool_t *p, const char *name, int *pis_same)
{
    char *ascii = apr_palloc(p, strlen(name) + 1);
    char *to = ascii;

    *pis_same = 1;
    for (; *name; name++) {
        unsigned char c = (unsigned char)*name;

        if ((c & 0xc0) == 0x80) {
            continue; /* the rest of a character */
        }
        if (c >= 0x80 || c == '"' || c == '%') {
            *pis_same = 0;
            c = '_';
        }
        *to++ = (char)c;
    }
    *to = '\0';
    return ascii;
}

/* attr-char of RFC 8187. */
static const char *extended_name(apr_pool_t *p, const char *name)
{
    static const char hex[] = "0123456789ABCDEF";
    char *text = apr_palloc(p, 3 * strlen(name) + 1);
    char *to = text;

    for (; *name; name++) {
        unsigned char c = (unsigned char)*name;

        if (apr_isalnum(c) || strchr("!#$&+-.^_`|~", c)) {
            *to++ = (char)c;
            continue;
        }
        *to++ = '%';
        *to++ = hex[c >> 4];
        *to++ = hex[c & 15];
    }
    *to = '\0';
    return text;
}

const char *cp_disposition(apr_pool_t *p, const char *name, apr_size_t size)
{
    const char *clean = clean_name(p, name, size);
    int is_same;
    const char *ascii = ascii_name(p, clean, &is_same);

    if (!*clean) {
        return NULL;
    }
    return is_same
               ? apr_pstrcat(p, "attachment; filename=\"", ascii, "\"", NULL)
               : apr_pstrcat(p, "attachment; filename=\"", ascii,
                             "\"; filename*=UTF-8''", extended_name(p, clean),
                             NULL);
}
