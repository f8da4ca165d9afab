/* SPDX-License-Identifier: Apache-2.0
 * Names of what is counted, and leaks. */
#include "stats/stats.h"

#include <stddef.h>
#include <string.h>

static const char *const close_reasons[CP_CLOSE_REASONS] = {
    [CP_CLOSE_IDLE] = "idle",           [CP_CLOSE_LIFETIME] = "lifetime",
    [CP_CLOSE_DEAD] = "dead",           [CP_CLOSE_FLUSHED] = "flushed",
    [CP_CLOSE_DISCARDED] = "discarded", [CP_CLOSE_UNPOOLED] = "unpooled",
    [CP_CLOSE_OVERFLOW] = "overflow",   [CP_CLOSE_SHUTDOWN] = "shutdown",
    [CP_CLOSE_YIELDED] = "yielded",     [CP_CLOSE_KILLED] = "killed",
};

const char *cp_close_reason_name(cp_close_reason_t reason)
{
    return (unsigned)reason < CP_CLOSE_REASONS ? close_reasons[reason]
                                               : "unknown";
}

/* A sequence lock whose sequence is `since`: readers accept the holder when
 * there was one before and the same one after they had copied it. Who sees one
 * byte of a new holder also sees that the old one is gone: release, acquire. */
void cp_leak_write(cp_leak_t *leak, uint64_t since, const char *holder)
{
    size_t length = since ? strnlen(holder, CP_HOLDER_SIZE - 1) : 0;

    __atomic_store_n(&leak->since, 0, __ATOMIC_RELAXED);
    for (size_t i = 0; i < length; i++) {
        __atomic_store_n(&leak->holder[i], holder[i], __ATOMIC_RELEASE);
    }
    __atomic_store_n(&leak->holder[length], '\0', __ATOMIC_RELEASE);
    __atomic_store_n(&leak->since, since, __ATOMIC_RELEASE);
}

int cp_leak_read(const cp_leak_t *leak, cp_leak_t *copy)
{
    copy->since = __atomic_load_n(&leak->since, __ATOMIC_ACQUIRE);
    for (size_t i = 0; i < CP_HOLDER_SIZE; i++) {
        copy->holder[i] = __atomic_load_n(&leak->holder[i], __ATOMIC_ACQUIRE);
    }
    copy->holder[CP_HOLDER_SIZE - 1] = '\0';
    return copy->since != 0
           && copy->since == __atomic_load_n(&leak->since, __ATOMIC_RELAXED);
}

const char *cp_span_name(cp_span_t span)
{
    static const char *const names[CP_SPANS] = {
        [CP_SPAN_QUEUE] = "queue",           [CP_SPAN_LOOKUP] = "lookup",
        [CP_SPAN_TCP] = "connect",           [CP_SPAN_TLS] = "tls",
        [CP_SPAN_FIRST_BYTE] = "first_byte",
    };

    return span < CP_SPANS ? names[span] : "unknown";
}

const char *cp_status_class_name(int i)
{
    static const char *const names[] = {"none", "1xx", "2xx",
                                        "3xx",  "4xx", "5xx"};

    return names[i];
}
