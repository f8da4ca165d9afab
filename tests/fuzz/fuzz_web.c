/* SPDX-License-Identifier: Apache-2.0
 * What goes into headers of answers out of tables: no value can end its header,
 * leave its quotes, or lead to another server. The first byte says which. */
#include "fuzz.h"

#include <string.h>

#include "answers/web/coding.h"
#include "answers/web/condition.h"
#include "answers/web/disposition.h"
#include "answers/web/location.h"
#include "answers/web/media.h"
#include "answers/web/range.h"

static int is_printable(const char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || (unsigned char)*text >= 0x7f) {
            return 0;
        }
    }
    return 1;
}

static void check_disposition(apr_pool_t *p, const uint8_t *data, size_t size)
{
    const char *header = cp_disposition(p, fuzz_copy(p, data, size), size);
    const char *name;

    if (!header) {
        return;
    }
    MUST(is_printable(header) && strlen(header) < 2048);
    MUST(strncmp(header, "attachment; filename=\"", 22) == 0);
    name = header + 22;
    MUST(!strpbrk(name, "\\/%") || strstr(name, "\"; filename*=UTF-8''"));
    name = strchr(name, '"');
    MUST(name && (name[1] == '\0' || !strncmp(name, "\"; filename*=", 13)));
    MUST(!strchr(name + 1, '"'));
}

static void check_media(apr_pool_t *p, const uint8_t *data, size_t size)
{
    const char *type = fuzz_text(p, data, size);

    if (cp_media_is_valid(type)) {
        MUST(!strpbrk(cp_media_complete(p, type), "\r\n\x7f"));
        MUST(strchr(type, '/')
             && !strncmp(cp_media_complete(p, type), type, strlen(type)));
    }
}

static const cp_value_t *value_of(void *baton, const cp_location_part_t *part)
{
    return baton;
}

/* A template, a newline, and what it is filled with. */
static void check_location(apr_pool_t *p, const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, '\n', size);
    size_t length = end ? (size_t)(end - data) : size;
    const char *text = fuzz_text(p, data, length);
    apr_array_header_t *parts;
    cp_value_t value = {.storage = CP_TEXT};
    const char *location;

    value.as.bytes.size = end ? size - length - 1 : 0;
    value.as.bytes.data = fuzz_copy(p, end ? end + 1 : data,
                                    value.as.bytes.size);
    if (cp_location_parse(p, text, &parts)) {
        return;
    }
    MUST(parts->nelts > 0);
    location = cp_location_fill(p, parts, value_of, &value);
    MUST(!location
         || (is_printable(location) && location[0] == '/' && location[1] != '/'
             && !strpbrk(location, " \"<>\\^`{|}")));
}

static void check_requests(apr_pool_t *p, const uint8_t *data, size_t size)
{
    const char *text = fuzz_text(p, data, size);

    MUST(!cp_coding_accepts_gzip(text) || strpbrk(text, "zZ*"));
    MUST(!cp_range_is_beyond(text, 10) || cp_range_is_beyond(text, 5));
    MUST(cp_preconditions_read(text) < 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *p = fuzz_pool();

    switch (fuzz_byte(&data, &size) % 4) {
    case 0:
        check_disposition(p, data, size);
        break;
    case 1:
        check_media(p, data, size);
        break;
    case 2:
        check_location(p, data, size);
        break;
    default:
        check_requests(p, data, size);
        break;
    }
    return 0;
}
