/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

apr_status_t cp_error_set(cp_error_t *err, cp_error_class_t cls,
                          apr_status_t rv, const char *cause,
                          const char *format, ...)
{
    va_list args;

    err->cls = cls;
    err->rv = rv;
    err->is_told = 0;
    err->is_transient = 0;
    err->retry_after = 0;
    err->cause = cause;
    err->constraint = NULL;
    err->state[0] = '\0';
    err->subject[0] = '\0';
    err->message[0] = '\0';
    va_start(args, format);
    vsnprintf(err->detail, sizeof(err->detail), format, args);
    va_end(args);
    return rv == APR_SUCCESS ? APR_EGENERAL : rv;
}

apr_status_t cp_error_memory(cp_error_t *err, const char *what)
{
    return cp_error_set(err, CP_ERR_MEMORY, APR_ENOMEM, "out of memory",
                        "no memory for %s", what);
}

void cp_error_clear(cp_error_t *err)
{
    err->cls = CP_ERR_NONE;
    err->rv = APR_SUCCESS;
    err->is_told = 0;
    err->is_transient = 0;
    err->retry_after = 0;
    err->cause = "";
    err->constraint = NULL;
    err->state[0] = '\0';
    err->subject[0] = '\0';
    err->message[0] = '\0';
    err->detail[0] = '\0';
}

/* Where the text stands as a part between colons, or NULL. */
static char *find_part(char *detail, const char *text)
{
    size_t length = strlen(text);
    char *at = detail;

    while (length > 0 && (at = strstr(at, text)) != NULL) {
        if ((at == detail || (at - detail >= 2 && at[-2] == ':'))
            && (at[length] == '\0' || strncmp(at + length, ": ", 2) == 0)) {
            return at;
        }
        at += length;
    }
    return NULL;
}

static void cut_part(char *detail, const char *text)
{
    char *at = find_part(detail, text);
    char *rest;

    if (!at) {
        return;
    }
    rest = at + strlen(text);
    if (*rest) {
        rest += 2;
    }
    else if (at > detail) {
        at -= 2;
    }
    memmove(at, rest, strlen(rest) + 1);
}

const char *cp_error_more(const cp_error_t *err, const char *what, char *buffer,
                          size_t size)
{
    buffer[0] = '\0';
    if (size < 3 || !*err->detail) {
        return buffer;
    }
    snprintf(buffer, size, ": %s", err->detail);
    cut_part(buffer + 2, what);
    cut_part(buffer + 2, err->cause);
    if (!buffer[2]) {
        buffer[0] = '\0';
    }
    return buffer;
}

const char *cp_error_class_name(cp_error_class_t cls)
{
    static const char *const names[CP_ERR_CLASSES] = {
        [CP_ERR_NONE] = "none",         [CP_ERR_INPUT] = "input",
        [CP_ERR_REFUSED] = "refused",   [CP_ERR_CONFLICT] = "conflict",
        [CP_ERR_SIZE] = "size",         [CP_ERR_RATE] = "rate",
        [CP_ERR_UPSTREAM] = "upstream", [CP_ERR_CAPACITY] = "capacity",
        [CP_ERR_STORAGE] = "storage",   [CP_ERR_MEMORY] = "memory",
        [CP_ERR_DEADLINE] = "deadline", [CP_ERR_CANCELLED] = "cancelled",
        [CP_ERR_INTERNAL] = "internal",
    };

    return cls < CP_ERR_CLASSES ? names[cls] : "unknown";
}
