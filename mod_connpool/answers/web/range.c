/* SPDX-License-Identifier: Apache-2.0 */
#include "answers/web/range.h"

#include "answers/web/token.h"

#include <string.h>
#include <strings.h>

typedef enum verdict_t {
    WITHIN,
    BEYOND,
    NO_RANGE
} verdict_t;

/* A number at *ptext, which moves behind it; 0: there is none. What no number
 * holds is larger than any body. */
static int read_number(const char **ptext, apr_uint64_t *pnumber)
{
    const char *c = *ptext;
    apr_uint64_t n = 0;

    for (; *c >= '0' && *c <= '9'; c++) {
        n = n > (APR_UINT64_MAX - 9) / 10 ? APR_UINT64_MAX
                                          : n * 10 + (apr_uint64_t)(*c - '0');
    }
    *pnumber = n;
    if (c == *ptext) {
        return 0;
    }
    *ptext = c;
    return 1;
}

/* "5-9", "5-", "-5". */
static verdict_t judge(const char **ptext, apr_uint64_t size)
{
    apr_uint64_t first, last;
    int has_first = read_number(ptext, &first);

    if (**ptext != '-') {
        return NO_RANGE;
    }
    ++*ptext;
    if (!read_number(ptext, &last)) {
        return !has_first ? NO_RANGE : first < size ? WITHIN : BEYOND;
    }
    if (!has_first) {
        return last > 0 && size > 0 ? WITHIN : BEYOND;
    }
    return last < first ? NO_RANGE : first < size ? WITHIN : BEYOND;
}

int cp_range_is_beyond(const char *header, apr_uint64_t size)
{
    if (!header || strncasecmp(header, "bytes=", 6) != 0) {
        return 0;
    }
    header += 6;
    for (;;) {
        header += cp_blank_size(header);
        if (judge(&header, size) != BEYOND) {
            return 0;
        }
        header += cp_blank_size(header);
        if (!*header) {
            return 1;
        }
        if (*header++ != ',') {
            return 0;
        }
    }
}
