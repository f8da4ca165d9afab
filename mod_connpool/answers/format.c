/* SPDX-License-Identifier: Apache-2.0 */
#include "answers/format.h"

#include <stddef.h>

const char *const cp_format_names[CP_FORMATS + 1] = {
    [CP_FORMAT_OBJECTS] = "objects",
    [CP_FORMAT_ARRAYS] = "arrays",
    [CP_FORMAT_OBJECT] = "object",
    [CP_FORMAT_VALUE] = "value",
    [CP_FORMAT_NDJSON] = "ndjson",
    [CP_FORMAT_CSV] = "csv",
    [CP_FORMAT_JSON] = "json",
    [CP_FORMAT_RAW] = "raw",
    [CP_FORMATS] = NULL,
};

const char *cp_format_content_type(cp_format_t format)
{
    switch (format) {
    case CP_FORMAT_NDJSON:
        return "application/x-ndjson";
    case CP_FORMAT_CSV:
        return "text/csv; charset=utf-8";
    case CP_FORMAT_RAW:
        return "application/octet-stream";
    default:
        return "application/json";
    }
}

int cp_format_is_value(cp_format_t format)
{
    return format == CP_FORMAT_VALUE || format == CP_FORMAT_JSON
           || format == CP_FORMAT_RAW;
}

int cp_format_is_single(cp_format_t format)
{
    return format == CP_FORMAT_OBJECT || cp_format_is_value(format);
}
